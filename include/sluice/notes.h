/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the two halves of a stream tell each other beside the records: one short text each, kept by the brokers as the metadata of an
 * offset committed for the group "sluice-<name>-notes", which nobody ever joins. Notes are for people, for lag and for readiness:
 * nothing that is applied or confirmed rests on one.
 */

#include <sluice/context.h>
#include <sluice/partition.h>

#define NOTE_TEXT 400 /* with the NUL; brokers take 4096 unless told otherwise */

struct transport_notes;

struct transport_note {
	char topic[TOPIC_MAX]; /* "": the reader's; else of a partition, by the applier that has it */
	int32_t partition;
	int64_t offset; /* behind what is durable at the target; the reader's: 0 */
	char text[NOTE_TEXT];
};

/** transport_notes_new() - connects to nobody yet. */
struct transport_notes *transport_notes_new(const struct context *ctx);
/** transport_notes_free() - NULL is allowed; returns NULL. */
struct transport_notes *transport_notes_free(struct transport_notes *notes);

/**
 * transport_notes_turn() - leaves our notes, unless those before are still on their way, and asks for all.
 * @mine: may be none.
 * @wait_ms: how long to wait for an answer; at least 1 s.
 * Thread: one at a time. Blocks: up to wait_ms, and 1 s more now and then.
 * Return: 1 = transport_notes_all() is what all have left by now; negative: TRANSIENT, or CONFIG with exit 77: it is not allowed.
 */
int transport_notes_turn(struct transport_notes *notes, const struct transport_note *mine, uint32_t n_mine,
	int wait_ms, struct error *err);
/** transport_notes_settle() - waits until what was told is with the brokers. Blocks: up to wait_ms. */
void transport_notes_settle(struct transport_notes *notes, int wait_ms);
/** transport_notes_all() - as of the last answer; borrowed until the next turn. */
const struct transport_note *transport_notes_all(const struct transport_notes *notes, uint32_t *ret_n);

/* where a partition ends */
struct transport_end {
	char topic[TOPIC_MAX];
	int32_t partition;
	int64_t offset; /* behind its last message; < 0 = unknown */
};

/** transport_notes_partitions() - every partition that records may stand in. *ret is the caller's to free().
 * Blocks: up to 1 s. Return: 0, negative. */
int transport_notes_partitions(
	struct transport_notes *notes, struct transport_end **ret, uint32_t *ret_n, struct error *err);
/** transport_notes_ends() - fills in the offsets. Blocks: up to 1 s. Return: 0, negative. */
int transport_notes_ends(
	struct transport_notes *notes, struct transport_end *ends, uint32_t n, struct error *err);
