/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The batches that the applier holds: received, not yet wholly applied, in order; and the cut that makes the next
 * group of them. Pure but for freeing batches.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/batch.h>
#include <sluice/sink.h>

#define PENDING_MAX_BATCHES 1024u

struct pending {
	struct batch *batches[PENDING_MAX_BATCHES]; /* oldest first */
	uint32_t n;
	uint32_t from; /* first record of batches[0] that is not applied */
	size_t bytes;
	/* the newest END or HEARTBEAT: batches[end_batch]->records[end_record - 1]; has_end false = none */
	bool has_end;
	uint32_t end_batch, end_record;
	struct span spans[PENDING_MAX_BATCHES];
};

/** pending_add() - takes a batch behind the others. The caller keeps n < PENDING_MAX_BATCHES. */
void pending_add(struct pending *pending, struct batch *batch);

/**
 * pending_skip() - drops what progress already covers from the front: transactions whose position.major is not above
 * `applied.major`, and heartbeats between them. Stops at the first record that is to be applied.
 * @in_skipped: whether the front stands inside such a transaction; false at first, kept by the caller.
 * @ret_skipped: row records dropped are added to it.
 * Return: true when something to apply stands at the front now: skipping is over for good.
 */
bool pending_skip(struct pending *pending, struct position applied, bool *in_skipped, uint64_t *ret_skipped);

/**
 * pending_group() - the next group: all up to the newest END or HEARTBEAT, or, when there is none and `partial`
 * allows it, everything (ends = false).
 * Return: false when there is nothing to apply.
 */
bool pending_group(struct pending *pending, bool partial, struct apply_group *ret);

/** pending_is_idle() - true when a group holds heartbeats alone. */
bool pending_is_idle(const struct apply_group *group);

/** pending_copy_mark() - the newest mark of a copy in a group (enum chunk_mark), RECORD_READ for rows of one, 0 for nothing of one. Pure. */
int pending_copy_mark(const struct apply_group *group);

/**
 * pending_consume() - the group was applied: frees batches that are wholly applied.
 * Return: seq of the newest batch wholly applied, 0 = none was freed.
 */
uint64_t pending_consume(struct pending *pending, const struct apply_group *group);

/** pending_oldest() - commit time (wall) of the first BEGIN that is pending; .us 0 = none. */
struct wall pending_oldest(const struct pending *pending);

void pending_clear(struct pending *pending);
