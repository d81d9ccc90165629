/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The initial copy from its plan to its mark, whatever the drivers:
 *
 *   begin → who makes the tables → tables checked and emptied → chunks, N workers → keys → sequences, ANALYZE → done
 *
 * Every step is durable in the target before the next, so after a crash the same call goes on where it ended: done tables
 * stay, unfinished ones are read again whole under a new snapshot. The same happens, without a crash, to tables that
 * were rewritten under the snapshot: another round, until none is left.
 *
 * While tables have different start points the target is of no one moment, and unique, exclusion and foreign keys could
 * fail on rows that are all right; then they wait for snapshot_post().
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/pipeline.h>
#include <sluice/sink.h>
#include <sluice/source.h>

#include "snapshot_work.h"

#define ROUNDS_MAX 50 /* rounds without one table becoming done */

static void show_plan(struct context *ctx, const struct snapshot_source *src)
{
	struct status *st = ctx->status;

	status_lock(st);
	if (!st->snapshot_running)
		st->snapshot_started = mono_now();
	st->snapshot_running = true;
	st->snapshot_transaction_started = mono_now();
	st->snapshot_tables_total = src->n_tables;
	st->snapshot_tables_done = 0;
	st->snapshot_bytes_estimated = st->snapshot_bytes_done;
	st->snapshot_rows_estimated = st->snapshot_rows_done;
	for (uint32_t i = 0; i < src->n_tables; i++) {
		const struct snapshot_table *table = &src->tables[i];
		struct status_table *entry = status_table_get(st, table->rel->schema, table->rel->name);

		memcpy(entry->state, table->done ? "copied" : "waiting", table->done ? 7 : 8);
		entry->rows_estimated = table->rows_estimated;
		if (table->done) {
			st->snapshot_tables_done++;
			continue;
		}
		entry->rows = 0;
		st->snapshot_bytes_estimated += table->bytes_estimated;
		st->snapshot_rows_estimated += (uint64_t)table->rows_estimated;
	}
	status_unlock(st);
}

static void show_end(struct context *ctx)
{
	status_lock(ctx->status);
	ctx->status->snapshot_running = false;
	ctx->status->snapshot_transaction_started = (struct mono){ 0 };
	status_unlock(ctx->status);
}

static uint32_t tables_done(const struct snapshot_source *src)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < src->n_tables; i++)
		n += src->tables[i].done;
	return n;
}

static bool one_moment(const struct snapshot_source *src)
{
	for (uint32_t i = 1; i < src->n_tables; i++) {
		if (src->tables[i].start != src->tables[0].start)
			return false;
	}
	return true;
}

/* tables made where they have to be, checked, emptied where they are ours */
static int prepare_tables(
	struct context *ctx, struct snapshot_source *src, struct snapshot_sink *sink, struct error *err)
{
	int r = sink->ops->plan(sink, src, err);

	if (r == SNAPSHOT_SCHEMA_WANTED) {
		_cleanup_(buf_freep) struct buf dump = BUF_INIT;

		r = src->ops->dump_schema(src, &dump, err);
		if (r == 0)
			r = sink->ops->schema(sink, "pre-data", &dump, err);
		if (r == 0)
			log_info(ctx->log, "snapshot-schema", "the schema is taken over",
				"tables=%u bytes=%zu", src->n_tables, dump.len);
	}
	for (uint32_t i = 0; r == 0 && i < src->n_tables; i++) {
		if (context_stopping(ctx))
			return SNAPSHOT_STOPPED;
		if (!src->tables[i].done)
			r = sink->ops->table_begin(sink, &src->tables[i], err);
	}
	return r;
}

static void free_targets(struct snapshot_source *src, struct snapshot_sink *sink)
{
	for (uint32_t i = 0; i < src->n_tables; i++)
		sink->ops->table_free(&src->tables[i]);
}

/* refuses what cannot work before a slot keeps the source's WAL */
static int preview(struct source *from, const struct snapshot_to *to, struct error *err)
{
	struct snapshot_source *src = from->snapshot;
	int r = src->ops->preview(src, to->state, err);

	if (r == 0)
		r = to->sink->ops->plan(to->sink, src, err);
	free_targets(src, to->sink);
	return r < 0 ? r : 0;
}

/* one snapshot, one plan, one round of copying */
static int round_run(
	struct context *ctx, struct source *from, const struct snapshot_to *to, bool first, struct error *err)
{
	struct snapshot_source *src = from->snapshot;
	struct snapshot_sink *sink = to->sink;
	char point[40];
	int r = first ? preview(from, to, err) : 0;

	if (r == 0)
		r = src->ops->begin(src, to->state, first, err);
	if (r < 0)
		return r;
	show_plan(ctx, src);
	from->format->position((struct position){ src->start, 0 }, point, sizeof(point));
	log_info(ctx->log, "snapshot-begin", "the snapshot is taken",
		"tables=%u done=%u chunks=%u workers=%u position=%s", src->n_tables, tables_done(src),
		src->n_chunks, ctx->cfg->snapshot.workers, point);
	r = prepare_tables(ctx, src, sink, err);
	if (r == 0)
		r = snapshot_work_run(ctx, src, sink, err);
	return r;
}

/* what comes after the last chunk; the plan is still there */
static int complete(
	struct context *ctx, struct snapshot_source *src, struct snapshot_sink *sink, struct error *err)
{
	_cleanup_(buf_freep) struct buf sequences = BUF_INIT;
	bool together = one_moment(src);
	int r = sink->ops->schema(sink, together ? "post-data" : "keys", NULL, err);

	if (r == 0)
		r = src->ops->finish(src, &sequences, err);
	if (r == 0)
		r = sink->ops->finish(sink, src, &sequences, err);
	if (r == 0)
		log_info(ctx->log, "snapshot-done", "the snapshot is complete", "tables=%u keys=%s",
			src->n_tables, together ? "built" : "deferred");
	return r;
}

/* a request to stop is no error */
static int result(struct context *ctx, int r, struct error *err)
{
	if (r < 0 && !strcmp(err->code, "STOPPED") && context_stopping(ctx))
		return SNAPSHOT_STOPPED;
	return r;
}

int snapshot_run(
	struct context *ctx, struct source *from, const struct snapshot_to *to, bool first, struct error *err)
{
	struct snapshot_source *src = from->snapshot;
	struct snapshot_sink *sink = to->sink;
	uint32_t before = 0, idle = 0;
	int r;

	src->cancel = ctx->stop;
	sink->cancel = ctx->stop;
	src->chunk_bytes = sink->chunk_bytes;
	for (;;) {
		uint32_t now, total;

		r = round_run(ctx, from, to, first, err);
		now = tables_done(src);
		total = src->n_tables;
		if (r == 0 && now == total)
			r = complete(ctx, src, sink, err);
		free_targets(src, sink);
		src->ops->end(src);
		if (r != 0 || now == total)
			break;
		first = false;
		idle = now > before ? 0 : idle + 1;
		before = now;
		if (idle >= ROUNDS_MAX) {
			r = error_set(err, ERROR_TRANSIENT, "SNAPSHOT-RESTARTS",
				"%u tables are rewritten or truncated again and again while they are copied",
				total - now);
			break;
		}
	}
	show_end(ctx);
	src->cancel = NULL;
	sink->cancel = NULL;
	return result(ctx, r, err);
}

int snapshot_post_due(struct sink *to, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	int r = state_get(to->state, STATE_SNAPSHOT_POST, &value, err);

	if (r <= 0)
		return r;
	r = state_get(to->state, STATE_SNAPSHOT_DUMP, &value, err);
	return r < 0 ? r : r == 0;
}

int snapshot_post(struct context *ctx, struct source *from, struct sink *to, struct error *err)
{
	struct snapshot_sink *sink = to->snapshot;
	int r = snapshot_post_due(to, err);

	if (r <= 0)
		return r;
	log_info(ctx->log, "snapshot-post", "building keys, indexes and foreign keys", "state=%s", "begin");
	sink->cancel = ctx->stop;
	r = sink->ops->schema(sink, "post-data", NULL, err);
	sink->cancel = NULL;
	if (r == 0)
		log_info(ctx->log, "snapshot-post", "keys, indexes and foreign keys are built", "state=%s",
			"done");
	return result(ctx, r, err);
}
