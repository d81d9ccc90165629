/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Where a group is cut. A group wants to be large (one target transaction for many source transactions) and to end
 * with whole transactions, so the cut is at the newest END, HEARTBEAT or copied row received so far. What stands behind it
 * waits for its own END. Only a transaction that outgrows the memory is handed on in parts.
 */

#include <assert.h>
#include <string.h>

#include "pending.h"

static bool is_end(const struct record *rec)
{
	if (rec->op == RECORD_CHUNK)
		return rec->chunk->mark != CHUNK_MARK_BEGIN;
	/* a copied row can be committed by itself: whoever begins its table anew empties it first */
	return rec->op == RECORD_END || rec->op == RECORD_HEARTBEAT || rec->op == RECORD_ABORT ||
	       rec->op == RECORD_READ;
}

static bool is_row(const struct record *rec)
{
	return rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
	       rec->op == RECORD_TRUNCATE;
}

/* finds the newest end in batch `at` at or behind record `from` */
static void find_end(struct pending *pending, uint32_t at, uint32_t from)
{
	const struct batch *batch = pending->batches[at];

	for (uint32_t i = batch->n_records; i > from; i--) {
		if (is_end(&batch->records[i - 1])) {
			pending->has_end = true;
			pending->end_batch = at;
			pending->end_record = i;
			break;
		}
	}
}

void pending_add(struct pending *pending, struct batch *batch)
{
	assert(pending->n < PENDING_MAX_BATCHES);
	if (!pending->n)
		pending->from = 0;
	pending->batches[pending->n] = batch;
	pending->bytes += batch->arena.bytes;
	pending->n++;
	find_end(pending, pending->n - 1, 0);
}

/* frees the first batch */
static uint64_t pending_shift(struct pending *pending)
{
	uint64_t seq = pending->batches[0]->seq;

	pending->bytes -= pending->batches[0]->arena.bytes;
	batch_free(pending->batches[0]);
	memmove(pending->batches, pending->batches + 1, (pending->n - 1) * sizeof(pending->batches[0]));
	pending->n--;
	pending->from = 0;
	return seq;
}

/* finds the newest end anew after the front was moved */
static void pending_rescan(struct pending *pending)
{
	pending->has_end = false;
	for (uint32_t i = pending->n; i > 0 && !pending->has_end; i--)
		find_end(pending, i - 1, i - 1 ? 0 : pending->from);
}

bool pending_skip(struct pending *pending, struct position applied, bool *in_skipped, uint64_t *ret_skipped)
{
	bool found = false;

	while (pending->n && !found) {
		struct batch *batch = pending->batches[0];

		for (; pending->from < batch->n_records; pending->from++) {
			const struct record *rec = &batch->records[pending->from];

			if (rec->op == RECORD_BEGIN)
				*in_skipped = rec->pos.major <= applied.major;
			/* what stands outside transactions (messages) does not say where we are */
			if (!*in_skipped && (rec->op == RECORD_BEGIN || rec->op == RECORD_HEARTBEAT)) {
				found = true;
				break;
			}
			if (*in_skipped && is_row(rec))
				(*ret_skipped)++;
			if (rec->op == RECORD_END || rec->op == RECORD_ABORT)
				*in_skipped = false;
		}
		if (!found)
			pending_shift(pending);
	}
	pending_rescan(pending);
	return found;
}

bool pending_group(struct pending *pending, bool partial, struct apply_group *ret)
{
	uint32_t last, to;

	if (!pending->n)
		return false;
	if (pending->has_end) {
		last = pending->end_batch;
		to = pending->end_record;
	} else if (partial) {
		last = pending->n - 1;
		to = pending->batches[last]->n_records;
	} else {
		return false;
	}
	for (uint32_t i = 0; i <= last; i++) {
		pending->spans[i] = (struct span){
			.batch = pending->batches[i],
			.from = i ? 0 : pending->from,
			.to = i == last ? to : pending->batches[i]->n_records,
		};
	}
	*ret = (struct apply_group){
		.spans = pending->spans,
		.n_spans = last + 1,
		.ends = pending->has_end,
	};
	return true;
}

bool pending_is_idle(const struct apply_group *group)
{
	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];

		for (uint32_t k = span->from; k < span->to; k++) {
			if (span->batch->records[k].op != RECORD_HEARTBEAT)
				return false;
		}
	}
	return true;
}

int pending_copy_mark(const struct apply_group *group)
{
	for (uint32_t i = group->n_spans; i > 0; i--) {
		const struct span *span = &group->spans[i - 1];

		for (uint32_t k = span->to; k > span->from; k--) {
			const struct record *rec = &span->batch->records[k - 1];

			if (rec->op == RECORD_CHUNK)
				return rec->chunk->mark;
			if (rec->op == RECORD_READ)
				return RECORD_READ;
		}
	}
	return 0;
}

uint64_t pending_consume(struct pending *pending, const struct apply_group *group)
{
	const struct span *last = &group->spans[group->n_spans - 1];
	uint32_t to = last->to;
	bool whole = to == last->batch->n_records;
	uint32_t n = whole ? group->n_spans : group->n_spans - 1;
	uint64_t seq = 0;

	for (uint32_t i = 0; i < n; i++)
		seq = pending_shift(pending);
	pending->from = whole ? 0 : to;
	pending_rescan(pending);
	return seq;
}

struct wall pending_oldest(const struct pending *pending)
{
	for (uint32_t i = 0; i < pending->n; i++) {
		const struct batch *batch = pending->batches[i];

		for (uint32_t k = i ? 0 : pending->from; k < batch->n_records; k++) {
			if (batch->records[k].op == RECORD_BEGIN)
				return batch->records[k].begin->commit_time;
		}
	}
	return (struct wall){ 0 };
}

void pending_clear(struct pending *pending)
{
	while (pending->n)
		pending_shift(pending);
	pending->bytes = 0;
	pending->has_end = false;
}
