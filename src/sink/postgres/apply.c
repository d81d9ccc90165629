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
#include "ddl.h"

#define KEEP_BYTES ((size_t)2 * 1024 * 1024)

struct apply *apply_new(struct sink_postgres *sink)
{
	struct apply *apply = calloc(1, sizeof(*apply));

	if (!apply)
		abort();
	apply->sink = sink;
	apply->net = net_new();
	apply->next = (struct progress_next)PROGRESS_NEXT_INIT;
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

int apply_sql(struct apply *apply, const char *sql, struct error *err)
{
	const struct queue_item item = { .expect = -1, .what = sql, .tag = TAG_CONTROL };

	return queue_sql(&apply->sink->queue, sql, &item, err);
}

/* the queue's failure: worth another try in source order, or an error */
int apply_failed(struct apply *apply, struct error *err)
{
	const struct queue *queue = &apply->sink->queue;
	const struct queue_item *item = &queue->items[queue->failed];
	enum error_class class = queue->error_seen ? queue->error.class : ERROR_DATA;

	if (item->tag != TAG_PROGRESS && (class == ERROR_DATA || class == ERROR_SCHEMA))
		return APPLY_AGAIN;
	return ordered_error(apply, err);
}

/* reads the answers of what is on its way */
int apply_wait(struct apply *apply, struct error *err)
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
		progress_settle(apply->row, false);
		return 0;
	}
	if (apply_sql(apply, savepoint ? "ROLLBACK TO SAVEPOINT sluice_group" : "ROLLBACK", err) < 0)
		return -1;
	r = queue_wait(&apply->sink->queue, err);
	if (r > 0)
		return ordered_error(apply, err);
	queue_clear(&apply->sink->queue);
	if (!savepoint)
		progress_settle(apply->row, false);
	return r;
}

static int group_resolve(struct apply *apply, const struct apply_group *group, struct error *err)
{
	if (!apply->open && (apply->tables.stale || apply->tables.n_aliases > TABLES_ALIASES) &&
		tables_forget(apply, err) < 0)
		return -1;
	for (uint32_t i = 0; i < group->n_spans; i++)
		if (tables_resolve(apply, group->spans[i].batch, err) < 0)
			return -1;
	if ((apply->blocked || !apply->letters_read) && !apply->open) {
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
		if (apply_sql(apply, "BEGIN", err) < 0 ||
			progress_put(apply->sink, apply->row, &apply->next, err) < 0)
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
	if (apply->open && progress_put(apply->sink, apply->row, &apply->next, err) < 0)
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

/* the rows of an open transaction and its savepoints are gone, and so are the letters written in it */
static int apply_rollback(struct apply *apply, struct error *err)
{
	if (queue_enter(&apply->sink->queue, err) < 0 || apply_take_back(apply, false, err) < 0)
		return -1;
	apply->open = false;
	apply->tables.stale |= apply->tables.altered;
	apply->tables.altered = false;
	apply->row->chunk = (struct chunk_at){ 0 };
	deferred_reset(apply);
	letters_doubt(apply);
	return 0;
}

int apply_release(struct apply *apply, const struct progress_row *row, struct error *err)
{
	if (apply->row != row)
		return 0;
	if (apply->open && apply_rollback(apply, err) < 0)
		return -1;
	apply->row = NULL;
	apply->next = (struct progress_next)PROGRESS_NEXT_INIT;
	return queue_leave(&apply->sink->queue, err);
}

/* what is left of the group when aborted transactions and void copies are out, then its marks */
static int group_rows(struct apply *apply, const struct apply_group *group, bool ordered, struct error *err)
{
	struct group_cut cut = { 0 };
	struct apply_group live;
	int r;

	if (apply->scan.aborts || apply->scan.chunks)
		cut = group_cut_new(&apply->arena, group);
	if (apply->scan.aborts)
		group_cut_aborts(&cut, group);
	r = apply->scan.chunks ? chunks_begin(apply, group, &cut, err) : 0;
	if (r != 0)
		return r;
	live = group_without(&apply->arena, group, &cut);
	r = ordered ? ordered_group(apply, &live, err) : reduced_group(apply, &live, err);
	return r == 0 && apply->scan.chunks ? chunks_end(apply, group, &cut, err) : r;
}

static int group_try(struct apply *apply, const struct apply_group *group, struct error *err)
{
	int r = transaction_begin(apply, group, err);

	if (SLUICE_FAULT_POINT("sink.pg.begun"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.begun");
	if (r == 0)
		r = group_rows(apply, group, false, err);
	if (SLUICE_FAULT_POINT("sink.pg.rows"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.rows");
	return r == 0 ? transaction_end(apply, group, err) : r;
}

static void group_settle(struct apply *apply, const struct apply_group *group)
{
	struct tables *tables = &apply->tables;

	apply->open = !group->ends;
	if (group->ends) {
		progress_settle(apply->row, true);
		deferred_reset(apply);
		apply->next = (struct progress_next)PROGRESS_NEXT_INIT;
		apply->tables.altered = false;
	}
	if (apply->scan.chunks)
		chunks_settle(apply);
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
	const struct sink_point point = { .resume = apply->next.resume,
		.position = apply->next.position,
		.offset = apply->next.offset,
		.reign = apply->next.reign };

	*ret = apply->result;
	apply->next = (struct progress_next)PROGRESS_NEXT_INIT;
	if (!point.resume.len && point.offset < 0)
		return 0;
	if (queue_leave(&apply->sink->queue, err) < 0)
		return -1;
	return progress_store(apply->sink, apply->row, &point, err);
}

/* the group's partition is ours, and no other's transaction is open */
static int group_bind(struct apply *apply, const struct apply_group *group, struct error *err)
{
	const struct partition *partition = group->spans[0].batch->partition;
	struct progress_row *row = progress_find(apply->sink, partition);

	if (!row)
		return error_set(err, ERROR_BUG, "PARTITION", "a group of %s/%d, which is not claimed",
			partition ? partition->topic : "", partition ? (int)partition->id : 0);
	if (apply->open && apply->row != row)
		return error_set(err, ERROR_BUG, "PARTITION",
			"a group of %s/%d inside the open transaction of %s/%d", row->topic, (int)row->id,
			apply->row->topic, (int)apply->row->id);
	apply->row = row;
	return 0;
}

/* an ABORT takes back what earlier groups have written; progress still goes on behind it */
static int group_abort(struct apply *apply, const struct apply_group *group, struct error *err)
{
	struct group_cut cut = group_cut_new(&apply->arena, group);

	if (!group_cut_aborts(&cut, group) || !apply->open)
		return 0;
	return apply_rollback(apply, err);
}

/* the reduced form failed: the same records in source order */
static int group_again(struct apply *apply, const struct apply_group *group,
	const struct apply_result *scanned, struct error *err)
{
	bool savepoint = group_has_savepoint(apply, group);
	int r;

	log_debug(apply->sink->base.ctx->log, "ordered", "the reduced form failed, going in source order",
		"records=%llu code=%s", (unsigned long long)scanned->records, apply->sink->queue.sqlstate);
	if (apply_take_back(apply, savepoint, err) < 0)
		return -1;
	apply->result = *scanned;
	deferred_reset(apply);
	r = savepoint ? 0 : transaction_begin(apply, group, err);
	if (r == 0)
		r = group_rows(apply, group, true, err);
	if (r == 0)
		r = transaction_end(apply, group, err);
	return r == APPLY_AGAIN ? ordered_error(apply, err) : r;
}

/* a whole group, or a part of a transaction. Return: 0, APPLY_LACKS: columns have to be made first, before its record
 * *ret_lacks (nothing was done), negative */
static int group_part(
	struct apply *apply, const struct apply_group *group, uint32_t *ret_lacks, struct error *err)
{
	const struct progress_next before = apply->next;
	struct group_cut cut = { 0 };
	struct apply_result scanned;
	int r;

	if (group_scan(apply, group, err) < 0)
		return -1;
	if (apply->scan.idle)
		return group_heartbeat(apply, &scanned, err);
	if (apply->scan.aborts && group_abort(apply, group, err) < 0)
		return -1;
	if (group_resolve(apply, group, err) < 0)
		return -1;
	if (apply->tables.lacking && apply->scan.aborts) {
		cut = group_cut_new(&apply->arena, group);
		group_cut_aborts(&cut, group);
	}
	if (apply->tables.lacking && ddl_find(apply, group, &cut, ret_lacks)) {
		apply->next = before;
		return APPLY_LACKS;
	}
	scanned = apply->result;
	r = group_try(apply, group, err);
	if (r == APPLY_AGAIN)
		r = group_again(apply, group, &scanned, err);
	if (r < 0)
		return r;
	group_settle(apply, group);
	return 0;
}

/* records [from, to) of a group; spans has room for as many as the group has */
static struct apply_group group_slice(
	const struct apply_group *group, uint32_t from, uint32_t to, struct span *spans)
{
	struct apply_group slice = { .spans = spans };
	uint32_t at = 0;

	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];
		uint32_t n = span->to - span->from;
		uint32_t skip = from > at ? from - at : 0, end = to < at + n ? to - at : n;

		if (to > at && skip < end)
			spans[slice.n_spans++] =
				(struct span){ span->batch, span->from + skip, span->from + end };
		at += n;
	}
	return slice;
}

static void add_result(struct apply_result *sum, const struct apply_result *part)
{
	if (part->transactions) {
		sum->position = part->position;
		sum->commit_time = part->commit_time;
	}
	if (part->resume.len)
		sum->resume = part->resume;
	sum->transactions += part->transactions;
	sum->records += part->records;
	sum->bytes += part->bytes;
	sum->reads += part->reads;
	sum->inserts += part->inserts;
	sum->updates += part->updates;
	sum->deletes += part->deletes;
	sum->truncates += part->truncates;
	sum->missing_rows += part->missing_rows;
	sum->conflicts += part->conflicts;
	sum->dead_letters += part->dead_letters;
}

/* where the transaction begins that record `at` stands in; 0 also when it began before the group */
static uint32_t transaction_start(const struct apply_group *group, uint32_t at)
{
	struct net_at place = net_at_begin(group);
	const struct record *rec;
	uint32_t start = 0;

	for (uint32_t i = 0; i < at && (rec = net_at_record(group, &place)); i++, place.record++)
		if (rec->op == RECORD_BEGIN)
			start = i;
	return start;
}

/*
 * The group up to the record that needs columns: whole transactions as a group of their own, then what its transaction
 * has before it, which leaves that one open, as a part of a large one does. Then the columns. Return: 0, negative.
 */
static int group_add_columns(struct apply *apply, const struct apply_group *group, uint32_t at,
	struct apply_result *sum, struct error *err)
{
	struct span *spans = calloc(group->n_spans, sizeof(*spans));
	uint32_t cuts[] = { 0, transaction_start(group, at), at }, ignored = 0;
	struct target *target;
	struct span row;
	int r = 0;

	if (!spans)
		abort();
	for (int i = 0; r == 0 && i < 2; i++) {
		struct apply_group part = group_slice(group, cuts[i], cuts[i + 1], spans);

		part.ends = i == 0;
		if (!part.n_spans)
			continue;
		r = group_part(apply, &part, &ignored, err);
		if (r == 0)
			add_result(sum, &apply->result);
	}
	group_slice(group, at, at + 1, spans);
	row = spans[0];
	free(spans);
	/* its batch may be behind those of the parts, which may have begun with an empty cache */
	if (r == 0)
		r = tables_resolve(apply, row.batch, err);
	if (r < 0)
		return r;
	target = target_tables_peek(apply, row.batch->records[row.from].rel);
	if (r > 0 || !apply->open || !target)
		return error_set(err, ERROR_BUG, "APPLY", "a row stands outside of its transaction");
	return ddl_run(apply, target, err);
}

int apply_group(
	struct apply *apply, const struct apply_group *group, struct apply_result *ret, struct error *err)
{
	struct apply_group rest = *group;
	struct span *spans = NULL;
	uint32_t at = 0, n = 0;
	int r;

	*ret = (struct apply_result){ 0 };
	if (group_bind(apply, group, err) < 0)
		return -1;
	while ((r = group_part(apply, &rest, &at, err)) == APPLY_LACKS) {
		r = group_add_columns(apply, &rest, at, ret, err);
		if (r < 0)
			break;
		n += at;
		if (!spans)
			spans = calloc(group->n_spans, sizeof(*spans));
		if (!spans)
			abort();
		rest = group_slice(group, n, UINT32_MAX, spans);
		rest.ends = group->ends;
	}
	if (r == 0)
		add_result(ret, &apply->result);
	free(spans);
	return r;
}

int apply_idle(struct apply *apply, struct error *err)
{
	int r;

	if (!apply->open) {
		/* letters that were resolved meanwhile unblock their keys, also while nothing comes */
		if (!apply->blocked && apply->letters_read)
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
