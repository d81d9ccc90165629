/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A group in its reduced form: runs of records become their net effect per key (net_build()), written as whole arrays, or by
 * COPY where many rows come in. What ends a run, and what must be looked at alone (tables with triggers, keys that a dead
 * letter blocks), goes record by record in between.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/net.h>

#include "apply.h"

#define COPY_MIN_ROWS	500u /* below, an array INSERT is faster than the round trip of a COPY */
#define QUEUE_MAX_ITEMS 1024u
#define RUN_MIN_RECORDS 8u /* fewer between two special records are not worth reducing */

static void apply_scratch(struct apply *apply, uint32_t n)
{
	if (n <= apply->cap_rows)
		return;
	apply->cap_rows = n + n / 2;
	apply->keys = realloc(apply->keys, apply->cap_rows * sizeof(*apply->keys));
	apply->rows = realloc(apply->rows, apply->cap_rows * sizeof(*apply->rows));
	if (!apply->keys || !apply->rows)
		abort();
}

/* rows of one set of present columns */
static int reduced_run(struct apply *apply, struct target *target, enum net_op op, const struct row_set *set,
	struct error *err)
{
	int r;

	if (op == NET_INSERT && set->n >= COPY_MIN_ROWS) {
		r = apply_wait(apply, err);
		if (r != 0)
			return r;
		r = execute_copy(apply, target, set, err);
		if (r == QUEUE_FAILED)
			return apply_failed(apply, err);
		if (r != EXECUTE_NO_COPY)
			return r;
	}
	switch (op) {
	case NET_INSERT:
		return execute_rows(apply, target, STATEMENT_INSERT, set, false, err);
	case NET_UPDATE:
		return execute_rows(apply, target, STATEMENT_UPDATE, set, true, err);
	case NET_DELETE:
		return execute_rows(apply, target, STATEMENT_DELETE, set, true, err);
	case NET_OPS:
		break;
	}
	return error_set(err, ERROR_BUG, "NET-OP", "unknown net operation %d", (int)op);
}

static void reduced_note(struct apply *apply, struct target *target, const struct net_row *rows, uint32_t n)
{
	for (uint32_t i = 0; target->deferred && i < n; i++)
		deferred_note(apply, target, target->n_keys ? rows[i].key : NULL);
}

static int reduced_table(
	struct apply *apply, const struct net_table *table, enum net_op op, struct error *err)
{
	const struct net_row *rows = table->rows[op];
	uint32_t n = table->n_rows[op];
	struct target *target;
	int r = 0;

	if (!n)
		return 0;
	if (target_tables_find(apply, table->rel, &target, err) < 0)
		return -1;
	apply_scratch(apply, n);
	for (uint32_t i = 0; i < n; i++) {
		apply->keys[i] = rows[i].key;
		apply->rows[i] = rows[i].row;
	}
	for (uint32_t from = 0, to; r == 0 && from < n; from = to) {
		struct row_set set = { apply->keys + from, op == NET_DELETE ? NULL : apply->rows + from, 0,
			NULL };

		for (to = from + 1; to < n && rows[to].present == rows[from].present;)
			to++;
		set.n = to - from;
		set.rec = rows[from].rec;
		r = reduced_run(apply, target, op, &set, err);
	}
	if (op != NET_DELETE)
		reduced_note(apply, target, rows, n);
	return r;
}

/* all deletes, then all updates, then all inserts: a value that moves between rows is free before it is taken */
static int reduced_tables(struct apply *apply, const struct net_table *tables, struct error *err)
{
	int r = 0;

	for (int op = NET_DELETE; op < NET_OPS; op++)
		for (const struct net_table *table = tables; r == 0 && table; table = table->next)
			r = reduced_table(apply, table, (enum net_op)op, err);
	return r;
}

/* must this record be looked at alone? */
static bool is_special(struct apply *apply, const struct record *rec, struct target **last)
{
	if (rec->op != RECORD_INSERT && rec->op != RECORD_UPDATE && rec->op != RECORD_DELETE &&
		rec->op != RECORD_READ)
		return false;
	if ((!*last || (*last)->rel != rec->rel)) {
		struct error ignored = ERROR_INIT;

		if (target_tables_find(apply, rec->rel, last, &ignored) < 0)
			return false; /* raised when its rows are written */
	}
	return target_must_be_ordered(*last) || letters_blocks(apply, rec, *last);
}

/* the first special record from *at on; false = none, the whole rest can be reduced */
static bool find_special(
	struct apply *apply, const struct apply_group *group, struct net_at *at, uint32_t *ret_records)
{
	struct target *last = NULL;
	const struct record *rec;

	*ret_records = 0;
	for (; (rec = net_at_record(group, at)); at->record++) {
		if (is_special(apply, rec, &last))
			return true;
		++*ret_records;
	}
	return false;
}

static int special_record(struct apply *apply, const struct record *rec, struct error *err)
{
	struct target *target;
	struct error why = ERROR_INIT;

	if (rec->rel && apply->blocked) {
		if (target_tables_find(apply, rec->rel, &target, err) < 0)
			return -1;
		if (letters_blocks(apply, rec, target)) {
			error_set(&why, ERROR_DATA, "BLOCKED",
				"an earlier record of this key is a dead letter");
			return letters_put(apply, rec, &why, err);
		}
	}
	return ordered_queue(apply, rec, err);
}

/* one record by itself, between runs */
static int reduced_single(struct apply *apply, const struct record *rec, struct error *err)
{
	int r = special_record(apply, rec, err);

	if (r == 0 && apply->sink->queue.n >= QUEUE_MAX_ITEMS)
		r = apply_wait(apply, err);
	return r;
}

/* records from *at to the end of group: runs, and what ends them */
static int reduced_span(
	struct apply *apply, const struct apply_group *group, struct net_at *at, struct error *err)
{
	const struct record *rec;
	int r = 0;

	while (r == 0 && net_at_record(group, at)) {
		struct net_table *tables = NULL;
		int end = net_build(apply->net, group, at, &tables);

		r = reduced_tables(apply, tables, err);
		if (r == 0 && end == NET_BOUNDARY && (rec = net_at_record(group, at))) {
			r = reduced_single(apply, rec, err);
			at->record++;
		}
	}
	return r;
}

/* the group up to (not including) a record */
static struct apply_group group_until(
	const struct apply_group *group, struct span *spans, struct net_at until)
{
	struct apply_group head = *group;

	memcpy(spans, group->spans, (until.span + 1) * sizeof(*spans));
	spans[until.span].to = until.record;
	head.spans = spans;
	head.n_spans = until.span + 1;
	return head;
}

/* what has to be looked at alone is cut out, with what little stands between */
int reduced_group(struct apply *apply, const struct apply_group *group, struct error *err)
{
	struct span *spans = calloc(group->n_spans + 1, sizeof(*spans));
	struct net_at at = net_at_begin(group), special = at;
	uint32_t records;
	int r = 0;

	if (!spans)
		abort();
	while (r == 0 && (apply->tables.special || apply->blocked) &&
		find_special(apply, group, &special, &records)) {
		struct apply_group head = group_until(group, spans, special);

		if (records >= RUN_MIN_RECORDS)
			r = reduced_span(apply, &head, &at, err);
		else
			for (const struct record *rec; r == 0 && (rec = net_at_record(&head, &at));
				at.record++)
				r = reduced_single(apply, rec, err);
		if (r == 0)
			r = reduced_single(apply, net_at_record(group, &special), err);
		special.record++;
		at = special;
	}
	if (r == 0)
		r = reduced_span(apply, group, &at, err);
	free(spans);
	return r == 0 ? deferred_check(apply, err) : r;
}
