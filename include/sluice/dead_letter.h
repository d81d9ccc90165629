/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Dead letters: records that could not be applied, kept whole in the target (sluice.dead_letters) until a
 * person decides. As long as one is pending its key is blocked: later records of that key follow it, so
 * retrying in order of id loses nothing. For the commands; each call opens and closes a session of its own.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/context.h>

struct dead_letter {
	int64_t id;
	const char *at, *position, *table, *op; /* position: hex, "" = none; at: RFC 3339 */
	const char *error_class, *error_code, *message;
	const char *state;  /* pending retried discarded */
	const char *reason; /* of a discard, else "" */
	const char *record; /* JSON with the values; NULL in lists */
	int64_t attempts;
};

/** dead_letter_json() - appends the letter as a JSON object; without a record it has no such key. Pure. */
void dead_letter_json(const struct dead_letter *letter, struct buf *out);

/** dead_letter_list() - calls each() for every dead letter of the stream, oldest first; strings live until each() returns.
 * @all: resolved ones too. Thread: any. Blocks: as the target does. Return: 0, negative. */
int dead_letter_list(const struct context *ctx, bool all,
	void (*each)(void *arg, const struct dead_letter *letter), void *arg, struct error *err);

#define DEAD_LETTER_MISSING 1 /* no such pending dead letter (show: none at all) */
#define DEAD_LETTER_FAILED  2 /* retry: it failed again: *err says why; attempts was raised */
#define DEAD_LETTER_BEHIND  3 /* retry: an older one of the same key is pending: that one first */

/** dead_letter_show() - one with its whole record. It holds row values: for an operator's terminal only. */
int dead_letter_show(const struct context *ctx, int64_t id,
	void (*each)(void *arg, const struct dead_letter *letter), void *arg, struct error *err);
/** dead_letter_retry() - applies the record again and marks it, in one transaction.
 * Return: 0, DEAD_LETTER_MISSING, DEAD_LETTER_FAILED, DEAD_LETTER_BEHIND, negative. */
int dead_letter_retry(const struct context *ctx, int64_t id, struct error *err);
/** dead_letter_discard() - gives the record up, with the reason; written to sluice.audit. Return: 0, DEAD_LETTER_MISSING,
 * negative. */
int dead_letter_discard(const struct context *ctx, int64_t id, const char *reason, struct error *err);
