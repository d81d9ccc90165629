/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Copies the chunks of one plan. Each worker thread has a reader and a writer, takes a chunk, moves its bytes, commits, and
 * takes the next. The calling thread meanwhile looks whether somebody on the source waits for us, marks tables done, and
 * keeps the numbers that people watch. The first error ends all; a request to stop ends all without an error. What is not
 * marked done when the last worker has ended is simply not done.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/pipeline.h>

#include "snapshot_work.h"

#define TURN_MS	     250
#define LOG_EVERY_MS 10000
#define NAME_BYTES   136

static const char *table_name(const struct snapshot_table *table, char buf[NAME_BYTES])
{
	snprintf(buf, NAME_BYTES, "%s.%s", table->rel->schema, table->rel->name);
	return buf;
}

/* what became of a chunk */
struct moved {
	const struct snapshot_chunk *chunk;
	uint64_t rows, bytes;
};

static bool cancelled(struct snapshot_work *work)
{
	if (context_stopping(work->ctx))
		atomic_store(&work->cancel, true);
	return atomic_load(&work->cancel);
}

/* the lock is held */
static void fail(struct snapshot_work *work, const struct error *err)
{
	if (!work->failed && strcmp(err->code, "STOPPED") != 0) {
		work->failed = true;
		work->err = *err;
	}
	atomic_store(&work->cancel, true);
	pthread_cond_broadcast(&work->changed);
}

/* the lock is held */
static void wait_changed(struct snapshot_work *work, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&work->changed, &work->lock, &until);
}

static void count_bytes(struct snapshot_work *work, uint64_t bytes)
{
	metric_add(&work->ctx->metrics->snapshot_bytes, bytes);
	status_lock(work->ctx->status);
	work->ctx->status->snapshot_bytes_done += bytes;
	status_unlock(work->ctx->status);
}

/* bytes on disk are not bytes on the way: a finished chunk replaces its estimate, one given up takes its bytes back */
static void settle_bytes(struct snapshot_work *work, const struct moved *moved, bool done)
{
	struct status *st = work->ctx->status;
	uint64_t estimated = moved->chunk->table->bytes_estimated / moved->chunk->table->n_chunks;

	status_lock(st);
	if (!done)
		st->snapshot_bytes_done -= moved->bytes;
	else
		st->snapshot_bytes_estimated += moved->bytes - estimated;
	status_unlock(st);
}

static void show_table(
	struct snapshot_work *work, const struct snapshot_table *table, const char *state, uint64_t rows)
{
	struct status *st = work->ctx->status;
	struct status_table *entry;

	status_lock(st);
	entry = status_table_get(st, table->rel->schema, table->rel->name);
	snprintf(entry->state, sizeof(entry->state), "%s", state);
	entry->rows += rows;
	st->snapshot_rows_done += rows;
	status_unlock(st);
}

/* hands on what was read; records go with their batch, and *batch is a new one */
static int write_batch(
	struct snapshot_work *work, struct snapshot_writer *writer, struct batch **batch, struct error *err)
{
	struct batch *full = *batch;

	if (!full->n_records)
		return full->raw ? work->sink->ops->chunk_write(writer, full, err) : 0;
	*batch = batch_new(NULL);
	return work->sink->ops->chunk_take(writer, full, err);
}

/* moves one chunk's bytes; 0, SNAPSHOT_TABLE_CHANGED, SNAPSHOT_YIELD, negative */
static int copy_chunk(struct snapshot_work *work, struct snapshot_reader *reader,
	struct snapshot_writer *writer, struct moved *moved, struct error *err)
{
	struct batch *batch = batch_new(NULL);
	int r = work->src->ops->open(reader, moved->chunk, err), w = 0;

	if (r == 0)
		w = work->sink->ops->chunk_begin(writer, moved->chunk, err);
	while (r == 0 && w == 0) {
		if (cancelled(work)) {
			r = error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped before the end");
			break;
		}
		r = work->src->ops->read(reader, batch, err);
		if (r < 0 || r == SNAPSHOT_YIELD || r == SNAPSHOT_TABLE_CHANGED)
			break;
		if (batch->raw_len) {
			uint64_t bytes = batch->raw_len;

			w = write_batch(work, writer, &batch, err);
			moved->bytes += bytes;
			count_bytes(work, bytes);
		}
	}
	batch_free(batch);
	if (r == SNAPSHOT_CHUNK_END && w == 0)
		return work->sink->ops->chunk_commit(writer, &moved->rows, err);
	work->sink->ops->chunk_abort(writer);
	if (w < 0)
		return w;
	return r == SNAPSHOT_YIELD && atomic_load(&moved->chunk->table->spoilt) ? SNAPSHOT_TABLE_CHANGED : r;
}

static void chunk_report(
	struct snapshot_work *work, uint32_t i, int r, const struct moved *moved, const struct error *err)
{
	const struct snapshot_table *table = moved->chunk->table;
	char name[NAME_BYTES];

	table_name(table, name);
	settle_bytes(work, moved, r == 0);
	if (r == 0) {
		chunk_list_done(&work->list, i, moved->rows);
		metric_add(&work->ctx->metrics->snapshot_rows, moved->rows);
		show_table(work, table, "copying", moved->rows);
	} else if (r == SNAPSHOT_YIELD) {
		log_info(work->ctx->log, "snapshot-yield",
			"a chunk was given up for others on the source, it comes again", "table=%s chunk=%u",
			name, moved->chunk->no);
		chunk_list_yield(&work->list, i, mono_now());
	} else if (r == SNAPSHOT_TABLE_CHANGED) {
		log_warn(work->ctx->log, "snapshot-table-changed",
			"a table was rewritten or locked by others under the snapshot, it starts anew",
			"table=%s", name);
		chunk_list_changed(&work->list, i);
	} else {
		work->list.running--;
		fail(work, err);
	}
	pthread_cond_broadcast(&work->changed);
}

static int work_loop(
	struct snapshot_work *work, struct snapshot_reader *reader, struct snapshot_writer *writer)
{
	struct error err = ERROR_INIT;

	pthread_mutex_lock(&work->lock);
	while (!cancelled(work)) {
		bool end;
		uint32_t i = chunk_list_take(&work->list, mono_now(), &end);
		struct moved moved = { 0 };
		int r;

		if (end)
			break;
		if (i == CHUNK_NONE) {
			wait_changed(work, TURN_MS);
			continue;
		}
		pthread_mutex_unlock(&work->lock);
		moved.chunk = work->list.chunks[i].chunk;
		show_table(work, moved.chunk->table, "copying", 0);
		r = copy_chunk(work, reader, writer, &moved, &err);
		pthread_mutex_lock(&work->lock);
		chunk_report(work, i, r, &moved, &err);
	}
	pthread_mutex_unlock(&work->lock);
	return 0;
}

static void *work_main(void *arg)
{
	struct snapshot_work *work = arg;
	struct snapshot_reader *reader = NULL;
	struct snapshot_writer *writer = NULL;
	struct error err = ERROR_INIT;
	int r = work->src->ops->reader_new(work->src, &reader, &err);

	if (r == 0)
		r = work->sink->ops->writer_new(work->sink, &writer, &err);
	if (r == 0)
		work_loop(work, reader, writer);
	work->sink->ops->writer_free(writer);
	work->src->ops->reader_free(reader);
	pthread_mutex_lock(&work->lock);
	if (r < 0)
		fail(work, &err);
	work->alive--;
	pthread_cond_broadcast(&work->changed);
	pthread_mutex_unlock(&work->lock);
	return NULL;
}

/* tables whose last chunk is in; the lock is held and let go around the call that stores it */
static void mark_done(struct snapshot_work *work)
{
	for (uint32_t i = 0; i < work->list.n_tables; i++) {
		struct table_entry *entry = &work->list.tables[i];
		struct error err = ERROR_INIT;
		char name[NAME_BYTES];
		int r;

		if (entry->left || entry->changed || entry->reported || entry->table->done || work->failed)
			continue;
		entry->reported = true;
		pthread_mutex_unlock(&work->lock);
		r = work->sink->ops->table_done(work->sink, entry->table, &err);
		pthread_mutex_lock(&work->lock);
		if (r < 0) {
			fail(work, &err);
			return;
		}
		entry->table->done = true;
		show_table(work, entry->table, "copied", 0);
		status_lock(work->ctx->status);
		work->ctx->status->snapshot_tables_done++;
		status_unlock(work->ctx->status);
		log_info(work->ctx->log, "snapshot-table", "a table is copied", "table=%s rows=%llu",
			table_name(entry->table, name), (unsigned long long)entry->rows);
	}
}

static void log_progress(struct snapshot_work *work, struct mono *next)
{
	struct status *st = work->ctx->status;
	unsigned long long tables, total, rows, bytes, estimated;

	if (mono_until_ms(*next, mono_now()) > 0)
		return;
	*next = mono_add_ms(mono_now(), LOG_EVERY_MS);
	status_lock(st);
	tables = st->snapshot_tables_done;
	total = st->snapshot_tables_total;
	rows = st->snapshot_rows_done;
	bytes = st->snapshot_bytes_done;
	estimated = st->snapshot_bytes_estimated;
	status_unlock(st);
	log_info(work->ctx->log, "snapshot-progress", "copying",
		"tables=%llu tables_total=%llu rows=%llu bytes=%llu bytes_estimated=%llu", tables, total,
		rows, bytes, estimated);
}

/* the caller's part: until every worker has ended */
static void attend(struct snapshot_work *work)
{
	struct mono next_log = mono_add_ms(mono_now(), LOG_EVERY_MS), next_watch = mono_now();
	struct error err = ERROR_INIT;

	pthread_mutex_lock(&work->lock);
	while (work->alive) {
		wait_changed(work, TURN_MS);
		mark_done(work);
		if (cancelled(work) || mono_until_ms(next_watch, mono_now()) > 0)
			continue;
		next_watch = mono_add_ms(mono_now(), TURN_MS);
		pthread_mutex_unlock(&work->lock);
		int r = work->src->ops->watch(work->src, &err);

		log_progress(work, &next_log);
		pthread_mutex_lock(&work->lock);
		if (r < 0)
			fail(work, &err);
	}
	mark_done(work);
	pthread_mutex_unlock(&work->lock);
}

static void work_init(struct snapshot_work *work)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&work->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&work->changed, &attr);
	pthread_condattr_destroy(&attr);
	chunk_list_init(&work->list, work->src);
	work->src->cancel = &work->cancel;
	work->sink->cancel = &work->cancel;
}

static void work_fini(struct snapshot_work *work)
{
	work->src->cancel = work->ctx->stop;
	work->sink->cancel = work->ctx->stop;
	chunk_list_fini(&work->list);
	pthread_cond_destroy(&work->changed);
	pthread_mutex_destroy(&work->lock);
}

int snapshot_work_run(
	struct context *ctx, struct snapshot_source *src, struct snapshot_sink *sink, struct error *err)
{
	struct snapshot_work work = { .ctx = ctx, .src = src, .sink = sink };
	uint32_t n = ctx->cfg->snapshot.workers < src->n_chunks ? ctx->cfg->snapshot.workers : src->n_chunks;
	pthread_t *threads = calloc(n ? n : 1, sizeof(*threads));
	bool failed;

	if (!threads)
		abort();
	work_init(&work);
	work.alive = n;
	for (uint32_t i = 0; i < n; i++) {
		if (pthread_create(&threads[i], NULL, work_main, &work) != 0)
			abort();
	}
	attend(&work);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	failed = work.failed;
	if (failed)
		*err = work.err;
	work_fini(&work);
	if (failed)
		return -1;
	return context_stopping(ctx) ? SNAPSHOT_STOPPED : 0;
}
