/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What stands in a group, before anything is sent: counts, where progress goes with it, and which records are not applied at
 * all (of a transaction that its ABORT takes back, of an attempt at a table that another one has replaced). The batches
 * stay as they are; what is left out falls between the spans.
 */

#include <string.h>

#include <sluice/net.h>

#include "apply.h"

static void scan_bytes(struct apply_result *res, const struct apply_group *group)
{
	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];

		if (span->batch->n_records)
			res->bytes +=
				span->batch->arena.bytes * (span->to - span->from) / span->batch->n_records;
	}
}

/* behind a log progress is where the last transaction ended, else where the one begun is to end */
static void scan_begin(struct apply *apply, const struct record *rec)
{
	if (!apply->row->partition)
		apply->next = (struct progress_next){ .position = { rec->pos.major, POSITION_END },
			.resume = apply->next.resume,
			.commit_time = rec->begin->commit_time,
			.offset = -1 };
	apply->commit_time = rec->begin->commit_time;
}

static void scan_end(struct apply *apply, const struct record *rec)
{
	struct apply_result *res = &apply->result;

	if (apply->row->partition)
		apply->next.position = rec->pos;
	res->transactions++;
	apply->next.resume = res->resume = rec->end->resume;
	apply->next.commit_time = res->commit_time = rec->end->commit_time;
	res->position = apply->next.position;
}

static void scan_mark(struct apply *apply, const struct record *rec)
{
	/* without a log the position is that of the BEGIN, and what follows it is skipped after a restart */
	if (apply->row->partition && rec->pos.major)
		apply->next.position = rec->pos;
}

static int scan_record(struct apply *apply, const struct record *rec, struct error *err)
{
	struct apply_result *res = &apply->result;
	struct group_scan *scan = &apply->scan;

	if (rec->op != RECORD_HEARTBEAT && rec->op != RECORD_MESSAGE && rec->op != RECORD_SCHEMA)
		scan->idle = false;
	switch ((enum record_op)rec->op) {
	case RECORD_BEGIN:
		scan_begin(apply, rec);
		break;
	case RECORD_INSERT:
		res->inserts++;
		break;
	case RECORD_READ:
		res->reads++;
		break;
	case RECORD_UPDATE:
		res->updates++;
		break;
	case RECORD_DELETE:
		res->deletes++;
		break;
	case RECORD_TRUNCATE:
		res->truncates++;
		break;
	case RECORD_END:
		scan_end(apply, rec);
		break;
	case RECORD_ABORT:
		scan->aborts = true;
		scan_mark(apply, rec);
		break;
	case RECORD_HEARTBEAT:
		if (rec->heartbeat->resume.len)
			apply->next.resume = res->resume = rec->heartbeat->resume;
		scan_mark(apply, rec);
		break;
	case RECORD_CHUNK:
		scan->chunks = true;
		apply->commit_time = (struct wall){ 0 };
		break;
	case RECORD_SCHEMA:
	case RECORD_MESSAGE:
		break;
	case RECORD_FENCE:
		return error_set(err, ERROR_BUG, "RECORD", "a %s record cannot be applied",
			record_op_to_string(rec->op));
	}
	return 0;
}

int group_scan(struct apply *apply, const struct apply_group *group, struct error *err)
{
	struct apply_result *res = &apply->result;
	const struct span *last = &group->spans[group->n_spans - 1];
	struct net_at at = net_at_begin(group);
	const struct record *rec;

	*res = (struct apply_result){ 0 };
	apply->scan = (struct group_scan){ .idle = !apply->open, .chunks = apply->row->chunk.open };
	for (; (rec = net_at_record(group, &at)); at.record++)
		if (scan_record(apply, rec, err) < 0)
			return -1;
	if (apply->row->partition) {
		apply->next.offset = last->batch->records[last->to - 1].offset;
		apply->next.reign = last->batch->reign;
	}
	res->records = res->inserts + res->reads + res->updates + res->deletes + res->truncates;
	scan_bytes(res, group);
	return 0;
}

/* where a transaction begins, or nothing is open */
static bool is_boundary(const struct record *rec)
{
	return rec->op == RECORD_BEGIN || rec->op == RECORD_END || rec->op == RECORD_ABORT ||
	       rec->op == RECORD_HEARTBEAT || rec->op == RECORD_CHUNK;
}

bool group_cut_aborts(struct group_cut *cut, const struct apply_group *group)
{
	struct net_at at = net_at_begin(group);
	const struct record *rec;
	uint32_t from = 0, i = 0;
	bool bounded = false, open = false;

	for (; (rec = net_at_record(group, &at)); at.record++, i++) {
		if (rec->op == RECORD_ABORT) {
			memset(cut->dropped + from, 1, i + 1 - from);
			open = open || !bounded;
		}
		if (is_boundary(rec)) {
			from = rec->op == RECORD_BEGIN ? i : i + 1;
			bounded = true;
		}
	}
	return open;
}

struct group_cut group_cut_new(struct arena *arena, const struct apply_group *group)
{
	struct group_cut cut = { 0 };

	for (uint32_t i = 0; i < group->n_spans; i++)
		cut.n += group->spans[i].to - group->spans[i].from;
	cut.dropped = arena_alloc(arena, cut.n + 1);
	memset(cut.dropped, 0, cut.n + 1);
	return cut;
}

struct apply_group group_without(
	struct arena *arena, const struct apply_group *group, const struct group_cut *cut)
{
	struct apply_group ret = *group;
	uint32_t runs = 0, i = 0;
	struct span *spans;

	if (!cut->dropped || !memchr(cut->dropped, 1, cut->n))
		return ret;
	for (uint32_t k = 0; k < cut->n; k++)
		runs += !cut->dropped[k] && (!k || cut->dropped[k - 1]);
	spans = arena_alloc(arena, (runs + group->n_spans + 1) * sizeof(*spans));
	ret.spans = spans;
	ret.n_spans = 0;
	for (uint32_t s = 0; s < group->n_spans; s++) {
		const struct span *span = &group->spans[s];
		struct span *run = NULL;

		for (uint32_t k = span->from; k < span->to; k++, i++) {
			if (cut->dropped[i]) {
				run = NULL;
				continue;
			}
			if (!run) {
				run = &spans[ret.n_spans++];
				*run = (struct span){ span->batch, k, k };
			}
			run->to = k + 1;
		}
	}
	return ret;
}
