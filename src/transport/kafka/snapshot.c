/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The initial copy into the log. The reader has no target: whoever applies makes the tables, from the schema and the list of
 * tables in the state topic, and keeps its own marks. Here stand what the reader has to know after a crash, and what
 * must be true of the log:
 *
 *   table   "table/…/attempt" is stored, then the TABLE mark goes out: an applier drops what it has of earlier attempts
 *   chunk   BEGIN, rows, END, one chunk after the other
 *   done    the DONE mark behind the last chunk, which is acked with all before it; then "table/…/start" and "table/…/done"
 *           are stored: such a table is never read again
 *   end     "snapshot/sequences", the FINISHED mark acked, "snapshot/done"
 *
 * A crash between two of them makes the reader do the last step again, which an applier can be told twice. Nothing is stored
 * for a chunk, since a table that is not done is read again whole.
 *
 * Workers read the source side by side and write in turns; what they have read waits in a small buffer. Chunks are asked for
 * so small that most of them fit, so BEGIN goes out when all is read: one that is given up for somebody on the source then
 * has not happened. One that did not fit and is given up behind its BEGIN spoils its table, which is read again whole.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>
#include <sluice/fault.h>
#include <sluice/postgres_tool.h>

#include "snapshot.h"

#define BUFFERS_BYTES ((size_t)24 * 1024 * 1024) /* of all workers together */
#define CHUNK_BYTES   ((uint64_t)2 * 1024 * 1024)
#define TURN_MS	      200

struct copy {
	struct snapshot_sink base;
	const struct context *ctx;
	struct snapshot_out *out;
	struct state *state;
	size_t buffer_bytes; /* of one worker */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool taken; /* somebody has the turn */
};

/* snapshot_table.target */
struct copy_table {
	uint32_t attempt, partitions;
	uint32_t chunks; /* written, and their rows; guarded by the turn */
	uint64_t rows;
};

struct snapshot_writer {
	struct copy *copy;
	const struct snapshot_chunk *chunk;
	struct batch *first, **end; /* read, not written yet */
	size_t bytes;
	uint64_t rows;
	bool turn; /* ours; BEGIN is out */
};

static int fault(const char *name, struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point %s", name);
}

static bool cancelled(const struct copy *copy)
{
	return copy->base.cancel && atomic_load(copy->base.cancel);
}

static int stopped(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped before the end");
}

/* whoever has the turn is the only one who talks to the writer */
static int turn_take(struct copy *copy, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&copy->lock);
	while (copy->taken && !cancelled(copy)) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += (long)TURN_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&copy->changed, &copy->lock, &until);
	}
	if (cancelled(copy))
		r = stopped(err);
	else
		copy->taken = true;
	pthread_mutex_unlock(&copy->lock);
	return r;
}

static void turn_give(struct copy *copy)
{
	pthread_mutex_lock(&copy->lock);
	copy->taken = false;
	pthread_cond_signal(&copy->changed);
	pthread_mutex_unlock(&copy->lock);
}

/* the turn is ours */
static int put_mark(struct copy *copy, const struct snapshot_table *table, const struct record_chunk *mark,
	struct error *err)
{
	struct batch *batch = batch_new(NULL);
	struct record *rec = batch_add(batch);
	int r;

	rec->op = RECORD_CHUNK;
	rec->chunk = mark;
	if (table)
		rec->rel = batch_hold(batch, table->rel);
	r = copy->out->ops->put(copy->out, batch, copy->base.cancel, err);
	batch_free(batch);
	return r;
}

static int settle(struct copy *copy, struct error *err)
{
	return copy->out->ops->settle(copy->out, copy->base.cancel, err);
}

/* the state's keys */

static int table_set(struct copy *copy, const struct snapshot_table *table, const char *what,
	const char *value, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;

	buf_printf(&key, "table/%s.%s/%s", table->rel->schema, table->rel->name, what);
	return state_set(copy->state, buf_str(&key), value, strlen(value), err);
}

static int next_attempt(
	struct copy *copy, const struct snapshot_table *table, uint32_t *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	char text[16];
	int r;

	buf_printf(&key, "table/%s.%s/attempt", table->rel->schema, table->rel->name);
	r = state_get(copy->state, buf_str(&key), &value, err);
	if (r < 0)
		return r;
	*ret = r == STATE_MISSING ? 1 : (uint32_t)strtoul(buf_str(&value), NULL, 10) + 1;
	snprintf(text, sizeof(text), "%u", *ret);
	return state_set(copy->state, buf_str(&key), text, strlen(text), err);
}

/* the tables in the order of the plan, one description in each line, for whoever applies */
static int store_tables(struct copy *copy, const struct snapshot_source *src, struct error *err)
{
	_cleanup_(buf_freep) struct buf list = BUF_INIT;
	_cleanup_(buf_freep) struct buf stored = BUF_INIT;
	int r;

	for (uint32_t i = 0; i < src->n_tables; i++) {
		relation_write_json(src->tables[i].rel, &list);
		buf_putc(&list, '\n');
	}
	r = state_get_large(copy->state, "snapshot/tables", &stored, err);
	if (r < 0 || (r == 0 && stored.len == list.len && !memcmp(stored.data, list.data, list.len)))
		return r;
	return state_set_large(copy->state, "snapshot/tables", list.data, list.len, err);
}

/* who makes the tables is decided at the target; what it may need for that goes along */
static int copy_plan(struct snapshot_sink *base, const struct snapshot_source *src, struct error *err)
{
	struct copy *copy = (struct copy *)base;
	_cleanup_(buf_freep) struct buf head = BUF_INIT;
	enum snapshot_schema mode = copy->ctx->cfg->snapshot.schema;
	struct pg_tool tool;
	int r;

	if (!src->n_tables)
		return 0;
	/* all topics are there before the first row: appliers come to know them at once */
	for (uint32_t i = 0; i < src->n_tables; i++) {
		if (copy->out->ops->partitions(copy->out, src->tables[i].rel, err) < 0)
			return -1;
	}
	r = store_tables(copy, src, err);
	if (r < 0 || mode == SCHEMA_EXISTING)
		return r;
	r = state_get(copy->state, "schema/dump", &head, err);
	if (r != STATE_MISSING)
		return r;
	if (pg_tool_find("pg_dump", 1, &tool, err) < 0)
		return mode == SCHEMA_CREATE ? -1 : 0;
	return SNAPSHOT_SCHEMA_WANTED;
}

static int copy_schema(
	struct snapshot_sink *base, const char *section, const struct buf *dump, struct error *err)
{
	struct copy *copy = (struct copy *)base;

	if (!dump)
		return 0; /* keys and indexes are the applier's business */
	if (SLUICE_FAULT_POINT("snapshot.log.schema"))
		return fault("snapshot.log.schema", err);
	return state_set_large(copy->state, "schema/dump", dump->data, dump->len, err);
}

/* behind the last chunk; the turn is ours */
static int put_done(struct copy *copy, const struct snapshot_table *table, struct error *err)
{
	const struct copy_table *own = table->target;
	struct record_chunk mark = {
		.mark = CHUNK_MARK_DONE,
		.no = own->partitions,
		.attempt = own->attempt,
		.rows = own->rows,
		.start = table->start,
	};

	if (put_mark(copy, table, &mark, err) < 0 || settle(copy, err) < 0)
		return -1;
	return SLUICE_FAULT_POINT("snapshot.log.done") ? fault("snapshot.log.done", err) : 0;
}

static int put_table(struct copy *copy, const struct snapshot_table *table, struct error *err)
{
	const struct copy_table *own = table->target;
	struct record_chunk mark = {
		.mark = CHUNK_MARK_TABLE,
		.no = own->partitions,
		.attempt = own->attempt,
		.start = table->start,
	};

	if (put_mark(copy, table, &mark, err) < 0)
		return -1;
	return SLUICE_FAULT_POINT("snapshot.log.table") ? fault("snapshot.log.table", err) : 0;
}

static int copy_table_begin(struct snapshot_sink *base, struct snapshot_table *table, struct error *err)
{
	struct copy *copy = (struct copy *)base;
	struct copy_table *own = table->target;
	int r, n;

	if (!own)
		own = table->target = calloc(1, sizeof(*own));
	if (!own)
		abort();
	if (turn_take(copy, err) < 0)
		return -1;
	n = copy->out->ops->partitions(copy->out, table->rel, err);
	turn_give(copy);
	if (n < 0)
		return -1;
	*own = (struct copy_table){ .partitions = (uint32_t)n };
	atomic_store(&table->spoilt, false);
	table->format = SNAPSHOT_RECORDS;
	if (next_attempt(copy, table, &own->attempt, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.log.attempt"))
		return fault("snapshot.log.attempt", err);
	if (turn_take(copy, err) < 0)
		return -1;
	r = put_table(copy, table, err);
	if (r == 0 && !table->n_chunks) /* a root without partitions */
		r = put_done(copy, table, err);
	turn_give(copy);
	return r;
}

static void copy_table_free(struct snapshot_table *table)
{
	free(table->target);
	table->target = NULL;
}

/* a worker's chunk */

static int copy_writer_new(struct snapshot_sink *base, struct snapshot_writer **ret, struct error *err)
{
	struct snapshot_writer *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->copy = (struct copy *)base;
	w->end = &w->first;
	*ret = w;
	return 0;
}

static void forget(struct snapshot_writer *w)
{
	struct batch *batch;

	while ((batch = w->first)) {
		w->first = batch->next;
		batch_free(batch);
	}
	w->end = &w->first;
	w->bytes = 0;
}

static void copy_chunk_abort(struct snapshot_writer *w)
{
	if (w->turn) {
		/* its BEGIN is out: what follows it in the log can only be the table's next attempt */
		atomic_store(&w->chunk->table->spoilt, true);
		turn_give(w->copy);
	}
	w->turn = false;
	forget(w);
}

static void copy_writer_free(struct snapshot_writer *w)
{
	if (!w)
		return;
	copy_chunk_abort(w);
	free(w);
}

static int copy_chunk_begin(struct snapshot_writer *w, const struct snapshot_chunk *chunk, struct error *err)
{
	w->chunk = chunk;
	w->rows = 0;
	return 0;
}

/* takes the turn if it is not ours yet, and writes what was read so far */
static int write_out(struct snapshot_writer *w, struct error *err)
{
	struct copy *copy = w->copy;
	const struct snapshot_table *table = w->chunk->table;
	const struct copy_table *own = table->target;
	struct batch *batch;

	if (!w->turn) {
		if (turn_take(copy, err) < 0)
			return -1;
		w->turn = true;
		if (put_mark(copy, table,
			    &(struct record_chunk){
				    .mark = CHUNK_MARK_BEGIN, .no = w->chunk->no, .attempt = own->attempt },
			    err) < 0)
			return -1;
		if (SLUICE_FAULT_POINT("snapshot.log.begin"))
			return fault("snapshot.log.begin", err);
	}
	while ((batch = w->first)) {
		if (copy->out->ops->put(copy->out, batch, copy->base.cancel, err) < 0)
			return -1;
		if (SLUICE_FAULT_POINT("snapshot.log.rows"))
			return fault("snapshot.log.rows", err);
		w->first = batch->next;
		if (!w->first)
			w->end = &w->first;
		w->bytes -= batch->arena.bytes;
		batch_free(batch);
	}
	return 0;
}

static int copy_chunk_take(struct snapshot_writer *w, struct batch *take_batch, struct error *err)
{
	take_batch->next = NULL;
	*w->end = take_batch;
	w->end = &take_batch->next;
	w->bytes += take_batch->arena.bytes;
	w->rows += take_batch->n_records;
	return w->turn || w->bytes >= w->copy->buffer_bytes ? write_out(w, err) : 0;
}

/* raw bytes were not asked for */
static int copy_chunk_write(struct snapshot_writer *w, const struct batch *batch, struct error *err)
{
	return error_set(err, ERROR_BUG, "SNAPSHOT-FORMAT", "%s.%s: a log takes records, not bytes",
		w->chunk->table->rel->schema, w->chunk->table->rel->name);
}

static int write_end(struct snapshot_writer *w, struct error *err)
{
	struct copy *copy = w->copy;
	const struct snapshot_table *table = w->chunk->table;
	struct copy_table *own = table->target;
	struct record_chunk mark = {
		.mark = CHUNK_MARK_END,
		.no = w->chunk->no,
		.attempt = own->attempt,
		.rows = w->rows,
	};

	if (write_out(w, err) < 0 || put_mark(copy, table, &mark, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.log.end"))
		return fault("snapshot.log.end", err);
	own->rows += w->rows;
	own->chunks++;
	return own->chunks == table->n_chunks ? put_done(copy, table, err) : 0;
}

static int copy_chunk_commit(struct snapshot_writer *w, uint64_t *ret_rows, struct error *err)
{
	int r = write_end(w, err);

	if (r < 0) {
		copy_chunk_abort(w);
		return r;
	}
	w->turn = false;
	turn_give(w->copy);
	*ret_rows = w->rows;
	return 0;
}

/* its mark is acked; here it is only noted, for the thread that calls looks after others on the source, too */
static int copy_table_done(struct snapshot_sink *base, struct snapshot_table *table, struct error *err)
{
	struct copy *copy = (struct copy *)base;
	char lsn[24];

	snprintf(lsn, sizeof(lsn), "%X/%X", (unsigned)(table->start >> 32), (unsigned)table->start);
	if (table_set(copy, table, "start", lsn, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.log.start"))
		return fault("snapshot.log.start", err);
	return table_set(copy, table, "done", "1", err);
}

/* the highest start point, when there is more than one */
static uint64_t start_max(const struct snapshot_source *src)
{
	uint64_t max = 0;
	bool differ = false;

	for (uint32_t i = 0; i < src->n_tables; i++) {
		differ = differ || src->tables[i].start != src->tables[0].start;
		if (src->tables[i].start > max)
			max = src->tables[i].start;
	}
	return differ ? max : 0;
}

/* one mark behind all rows; where tables have topics of their own, one behind the rows of each */
static int put_finished(struct copy *copy, const struct snapshot_source *src, struct error *err)
{
	struct record_chunk mark = { .mark = CHUNK_MARK_FINISHED, .start = start_max(src) };
	bool each = copy->ctx->cfg->transport.kafka.layout == LAYOUT_TABLES;
	int r = each ? 0 : put_mark(copy, NULL, &mark, err);

	for (uint32_t i = 0; each && r == 0 && i < src->n_tables; i++)
		r = put_mark(copy, &src->tables[i], &mark, err);
	return r == 0 ? settle(copy, err) : r;
}

static int copy_finish(struct snapshot_sink *base, const struct snapshot_source *src,
	const struct buf *sequences, struct error *err)
{
	struct copy *copy = (struct copy *)base;
	int r = state_set_large(copy->state, "snapshot/sequences", sequences->data, sequences->len, err);

	if (r == 0 && SLUICE_FAULT_POINT("snapshot.log.sequences"))
		r = fault("snapshot.log.sequences", err);
	if (r < 0 || turn_take(copy, err) < 0)
		return -1;
	r = put_finished(copy, src, err);
	turn_give(copy);
	if (r == 0 && SLUICE_FAULT_POINT("snapshot.log.finished"))
		r = fault("snapshot.log.finished", err);
	return r == 0 ? state_set(copy->state, "snapshot/done", "1", 1, err) : r;
}

static const struct snapshot_sink_ops ops = {
	.plan = copy_plan,
	.schema = copy_schema,
	.table_begin = copy_table_begin,
	.writer_new = copy_writer_new,
	.chunk_begin = copy_chunk_begin,
	.chunk_write = copy_chunk_write,
	.chunk_take = copy_chunk_take,
	.chunk_commit = copy_chunk_commit,
	.chunk_abort = copy_chunk_abort,
	.writer_free = copy_writer_free,
	.table_done = copy_table_done,
	.table_free = copy_table_free,
	.finish = copy_finish,
};

struct snapshot_sink *snapshot_kafka_new(
	const struct context *ctx, struct snapshot_out *out, struct state *state)
{
	struct copy *copy = calloc(1, sizeof(*copy));
	uint32_t workers = ctx->cfg->snapshot.workers;
	pthread_condattr_t attr;

	if (!copy)
		abort();
	copy->base.ops = &ops;
	copy->base.chunk_bytes = CHUNK_BYTES;
	copy->ctx = ctx;
	copy->out = out;
	copy->state = state;
	copy->buffer_bytes = BUFFERS_BYTES / (workers ? workers : 1);
	pthread_mutex_init(&copy->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&copy->changed, &attr);
	pthread_condattr_destroy(&attr);
	return &copy->base;
}

struct snapshot_sink *snapshot_kafka_free(struct snapshot_sink *snap)
{
	struct copy *copy = (struct copy *)snap;

	if (!copy)
		return NULL;
	pthread_cond_destroy(&copy->changed);
	pthread_mutex_destroy(&copy->lock);
	free(copy);
	return NULL;
}
