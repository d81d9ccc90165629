/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A group of records to one target transaction, or to a part of one.
 *
 *   BEGIN · compare-and-swap of progress · [SAVEPOINT] · the group's rows · [checks] · COMMIT
 *
 * Invariants:
 *   1. The compare-and-swap comes first; when it fails everything behind it fails, COMMIT included.
 *   2. COMMIT is sent only after every row count that is expected has been read and fits. (Inserts expect
 *      none, so a group of inserts is one flight.)
 *   3. The rows go in their reduced form first: net effect per key, whole arrays, COPY for many inserts.
 *      When that fails for a reason that lies in the rows, everything is taken back and the same records go
 *      one by one (ordered.c), so that order-dependent transactions succeed and a real error is known by
 *      its record.
 *   4. A transaction larger than a group stays open between groups. Each group's rows stand under a
 *      savepoint, so that only they are taken back; progress names the transaction from the start, its
 *      resume point is set at the END.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/net.h>

#include "apply.h"

#define COPY_MIN_ROWS	500u /* below, an array INSERT is faster than the round trip of a COPY */
#define QUEUE_MAX_ITEMS 1024u
#define RUN_MIN_RECORDS 8u /* fewer between two special records are not worth reducing */
#define KEEP_BYTES	((size_t)2 * 1024 * 1024)

struct apply *apply_new(struct sink_postgres *sink)
{
	struct apply *apply = calloc(1, sizeof(*apply));

	if (!apply)
		abort();
	apply->sink = sink;
	apply->net = net_new();
	return apply;
}

struct apply *apply_free(struct apply *apply)
{
	if (!apply)
		return NULL;
	target_tables_fini(&apply->tables);
	net_free(apply->net);
	buf_fini(&apply->sql);
	buf_fini(&apply->copy);
	for (uint32_t i = 0; i < apply->cap_params; i++)
		buf_fini(&apply->params[i]);
	free(apply->params);
	free(apply->values);
	free(apply->lengths);
	free(apply->formats);
	free(apply->keys);
	free(apply->rows);
	free(apply->key);
	arena_reset(&apply->arena);
	letters_free(apply->blocked);
	free(apply);
	return NULL;
}

static int apply_sql(struct apply *apply, const char *sql, struct error *err)
{
	const struct queue_item item = { .expect = -1, .what = sql, .tag = TAG_CONTROL };

	return queue_sql(&apply->sink->queue, sql, &item, err);
}

/* the queue's failure: worth another try in source order, or an error */
static int apply_failed(struct apply *apply, struct error *err)
{
	const struct queue *queue = &apply->sink->queue;
	const struct queue_item *item = &queue->items[queue->failed];
	enum error_class class = queue->error_seen ? queue->error.class : ERROR_DATA;

	if (item->tag != TAG_PROGRESS && (class == ERROR_DATA || class == ERROR_SCHEMA))
		return APPLY_AGAIN;
	return ordered_error(apply, err);
}

/* reads the answers of what is on its way */
static int apply_wait(struct apply *apply, struct error *err)
{
	int r = queue_wait(&apply->sink->queue, err);

	if (r == QUEUE_FAILED || r == QUEUE_MISMATCH)
		return apply_failed(apply, err);
	if (r == 0) {
		queue_clear(&apply->sink->queue);
		apply->check_rows = false;
	}
	return r;
}

/* ends the whole transaction, or the group's part of an open one */
static int apply_take_back(struct apply *apply, bool savepoint, struct error *err)
{
	int r;

	queue_clear(&apply->sink->queue);
	apply->check_rows = false;
	if (PQtransactionStatus(apply->sink->conn) == PQTRANS_IDLE) {
		/* a COMMIT was refused: nothing is left to take back */
		progress_settle(apply->sink, false);
		return 0;
	}
	if (apply_sql(apply, savepoint ? "ROLLBACK TO SAVEPOINT sluice_group" : "ROLLBACK", err) < 0)
		return -1;
	r = queue_wait(&apply->sink->queue, err);
	if (r > 0)
		return ordered_error(apply, err);
	queue_clear(&apply->sink->queue);
	if (!savepoint)
		progress_settle(apply->sink, false);
	return r;
}

/* ---- the reduced form ---- */

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
	if (rec->op != RECORD_INSERT && rec->op != RECORD_UPDATE && rec->op != RECORD_DELETE)
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
static int reduced_group(struct apply *apply, const struct apply_group *group, struct error *err)
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

/* ---- the transaction ---- */

/* what the group holds, and where progress goes with it */
static int group_scan(struct apply *apply, const struct apply_group *group, struct error *err)
{
	struct apply_result *res = &apply->result;
	struct net_at at = net_at_begin(group);
	const struct record *rec;

	*res = (struct apply_result){ 0 };
	for (; (rec = net_at_record(group, &at)); at.record++) {
		switch ((enum record_op)rec->op) {
		case RECORD_BEGIN:
			apply->next.position = (struct position){ rec->pos.major, POSITION_END };
			apply->next.commit_time = apply->commit_time = rec->begin->commit_time;
			break;
		case RECORD_INSERT:
		case RECORD_READ:
			res->inserts++;
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
			res->transactions++;
			apply->next.resume = res->resume = rec->end->resume;
			apply->next.commit_time = res->commit_time = rec->end->commit_time;
			res->position = apply->next.position;
			break;
		case RECORD_HEARTBEAT:
			apply->next.resume = res->resume = rec->heartbeat->resume;
			break;
		case RECORD_SCHEMA:
		case RECORD_MESSAGE:
			break;
		case RECORD_ABORT:
		case RECORD_FENCE:
		case RECORD_CHUNK:
			return error_set(err, ERROR_BUG, "RECORD", "a %s record cannot be applied",
				record_op_to_string(rec->op));
		}
	}
	res->records = res->inserts + res->updates + res->deletes + res->truncates;
	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];

		if (span->batch->n_records)
			res->bytes +=
				span->batch->arena.bytes * (span->to - span->from) / span->batch->n_records;
	}
	return 0;
}

static int group_resolve(struct apply *apply, const struct apply_group *group, struct error *err)
{
	if (!apply->open && (apply->tables.stale || apply->tables.n_aliases > TABLES_ALIASES) &&
		tables_forget(apply, err) < 0)
		return -1;
	for (uint32_t i = 0; i < group->n_spans; i++)
		if (tables_resolve(apply, group->spans[i].batch, err) < 0)
			return -1;
	if (apply->blocked && !apply->open) {
		if (queue_leave(&apply->sink->queue, err) < 0 || letters_load(apply, err) < 0)
			return -1;
	}
	return queue_enter(&apply->sink->queue, err);
}

/* the rows of a part of a transaction stand under a savepoint */
static bool group_has_savepoint(const struct apply *apply, const struct apply_group *group)
{
	return apply->open || !group->ends;
}

/* opens the transaction, or the next part of the open one */
static int transaction_begin(struct apply *apply, const struct apply_group *group, struct error *err)
{
	if (!apply->open) {
		if (apply_sql(apply, "BEGIN", err) < 0 || progress_put(apply->sink, &apply->next, err) < 0)
			return -1;
		if (!apply->sink->replica_role && apply_sql(apply, "SET CONSTRAINTS ALL DEFERRED", err) < 0)
			return -1;
	}
	if (apply->open && apply_sql(apply, "RELEASE SAVEPOINT sluice_group", err) < 0)
		return -1;
	if (group_has_savepoint(apply, group) && apply_sql(apply, "SAVEPOINT sluice_group", err) < 0)
		return -1;
	return 0;
}

/* a commit whose answer is lost is not decided here: the next claim waits for it and reads what became of it */
static int transaction_end(struct apply *apply, const struct apply_group *group, struct error *err)
{
	int r;

	r = apply->check_rows || group_has_savepoint(apply, group) ? apply_wait(apply, err) : 0;
	if (r != 0 || !group->ends)
		return r;
	/* the open transaction's savepoint ends with it */
	if (apply->open && progress_put(apply->sink, &apply->next, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.before_commit"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.before_commit");
	if (apply_sql(apply, "COMMIT", err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.commit_sent"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.commit_sent");
	r = apply_wait(apply, err);
	/* refused at COMMIT (a deferred constraint): what earlier groups wrote is gone with the transaction */
	return r == APPLY_AGAIN && apply->open ? ordered_error(apply, err) : r;
}

static int group_try(struct apply *apply, const struct apply_group *group, bool ordered, struct error *err)
{
	int r = transaction_begin(apply, group, err);

	if (SLUICE_FAULT_POINT("sink.pg.begun"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.begun");
	if (r == 0)
		r = ordered ? ordered_group(apply, group, err) : reduced_group(apply, group, err);
	if (SLUICE_FAULT_POINT("sink.pg.rows"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.rows");
	return r == 0 ? transaction_end(apply, group, err) : r;
}

static void group_settle(struct apply *apply, const struct apply_group *group)
{
	struct tables *tables = &apply->tables;

	apply->open = !group->ends;
	if (group->ends) {
		progress_settle(apply->sink, true);
		deferred_reset(apply);
		apply->next = (struct progress_next){ 0 };
	}
	apply->next.resume = (struct resume){ 0 }; /* it points into the group's batch */
	for (struct target *target = tables->targets; apply->open && target; target = target->next) {
		target->noted_whole |= target->n_noted != 0;
		target->n_noted = 0;
	}
	for (uint32_t i = 0; i < apply->cap_params; i++)
		if (apply->params[i].cap > KEEP_BYTES)
			buf_fini(&apply->params[i]);
	buf_shrink(&apply->copy, KEEP_BYTES);
	arena_reset(&apply->arena);
}

/* heartbeats alone: what is stored moves, the position stays */
static int group_heartbeat(struct apply *apply, struct apply_result *ret, struct error *err)
{
	struct resume resume = apply->next.resume;

	*ret = apply->result;
	apply->next = (struct progress_next){ 0 };
	if (!resume.len)
		return 0;
	if (queue_leave(&apply->sink->queue, err) < 0)
		return -1;
	return progress_store_resume(apply->sink, resume, err);
}

int apply_group(
	struct apply *apply, const struct apply_group *group, struct apply_result *ret, struct error *err)
{
	struct apply_result scanned;
	int r;

	if (group_scan(apply, group, err) < 0)
		return -1;
	if (!apply->next.position.major)
		return group_heartbeat(apply, ret, err);
	if (group_resolve(apply, group, err) < 0)
		return -1;
	scanned = apply->result;
	r = group_try(apply, group, false, err);
	if (r == APPLY_AGAIN) {
		bool savepoint = group_has_savepoint(apply, group);

		log_debug(apply->sink->base.ctx->log, "ordered",
			"the reduced form failed, going in source order", "records=%llu code=%s",
			(unsigned long long)scanned.records, apply->sink->queue.sqlstate);
		if (apply_take_back(apply, savepoint, err) < 0)
			return -1;
		apply->result = scanned;
		deferred_reset(apply);
		r = savepoint ? 0 : transaction_begin(apply, group, err);
		if (r == 0)
			r = ordered_group(apply, group, err);
		if (r == 0)
			r = transaction_end(apply, group, err);
		if (r == APPLY_AGAIN)
			r = ordered_error(apply, err);
	}
	if (r < 0)
		return r;
	group_settle(apply, group);
	*ret = apply->result;
	return 0;
}

int apply_idle(struct apply *apply, struct error *err)
{
	int r;

	if (!apply->open) {
		/* letters that were resolved meanwhile unblock their keys, also while nothing comes */
		if (!apply->blocked)
			return 0;
		return queue_leave(&apply->sink->queue, err) < 0 ? -1 : letters_load(apply, err);
	}
	if (queue_enter(&apply->sink->queue, err) < 0 || apply_sql(apply, "SELECT 1", err) < 0)
		return -1;
	r = queue_wait(&apply->sink->queue, err);
	if (r > 0)
		return ordered_error(apply, err);
	queue_clear(&apply->sink->queue);
	return r;
}
