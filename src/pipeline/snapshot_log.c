/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The target's half of a copy that comes through a log. Rows and marks are records, which the sink applies; what a copy needs
 * beside them is done here, out of the log's store, before the first mark and behind the last:
 *
 *   "snapshot/tables"      all tables, as the reader planned them → who makes them, do they fit, whose rows do they hold
 *   "schema/dump"          the schema, where the reader could take it → tables now, keys and indexes at the end
 *   "snapshot/sequences"   values; there once the last table is
 *   "table/…/start"        start points: as long as they differ, the target is of no one moment
 *
 * Nothing is kept between calls: what is done stands in the target's store ("snapshot/pre", "snapshot/post/…",
 * "table/…/done", "snapshot/complete"), so after a crash, or in another process, the same calls go on where it ended.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>
#include <sluice/fault.h>
#include <sluice/pipeline.h>
#include <sluice/sink.h>
#include <sluice/source.h>
#include <sluice/transport.h>

/* what the sink wants to see of a source */
struct plan {
	struct snapshot_source src;
	uint32_t n_done;
	uint64_t start; /* highest start point where they differ, else 0 */
};

static void plan_fini(struct plan *plan, struct snapshot_sink *sink)
{
	for (uint32_t i = 0; i < plan->src.n_tables; i++) {
		sink->ops->table_free(&plan->src.tables[i]);
		relation_unref(plan->src.tables[i].rel);
	}
	free(plan->src.tables);
	*plan = (struct plan){ 0 };
}

static int has(struct state *state, const char *key, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	int r = state_get(state, key, &value, err);

	return r < 0 ? r : r == 0;
}

static struct snapshot_table *plan_add(struct plan *plan, struct relation *take_rel)
{
	struct snapshot_source *src = &plan->src;
	struct snapshot_table *table;

	src->tables = realloc(src->tables, (src->n_tables + 1u) * sizeof(*src->tables));
	if (!src->tables)
		abort();
	table = &src->tables[src->n_tables++];
	memset(table, 0, sizeof(*table));
	table->rel = take_rel;
	table->has_key = take_rel->n_keys > 0;
	table->format = SNAPSHOT_RECORDS;
	return table;
}

/* one line of the list */
static int plan_line(struct plan *plan, struct sink *sink, const uint8_t *line, size_t len, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	struct snapshot_table *table;
	struct relation *rel = NULL;
	int r;

	if (relation_read_json(line, len, &rel, err) < 0)
		return error_where(err, "the list of copied tables");
	table = plan_add(plan, rel);
	buf_printf(&key, "table/%s.%s/done", rel->schema, rel->name);
	r = has(sink->state, buf_str(&key), err);
	table->done = r > 0;
	plan->n_done += table->done;
	return r < 0 ? r : 0;
}

/* 0, STATE_MISSING = no copy has come this way, negative */
static int plan_load(struct plan *plan, struct sink *sink, struct state *log, struct error *err)
{
	_cleanup_(buf_freep) struct buf list = BUF_INIT;
	const uint8_t *at, *end, *eol;
	int r = state_get_large(log, "snapshot/tables", &list, err);

	if (r != 0)
		return r;
	at = list.data;
	end = at + list.len;
	for (; r == 0 && at < end && (eol = memchr(at, '\n', (size_t)(end - at))); at = eol + 1)
		r = plan_line(plan, sink, at, (size_t)(eol - at), err);
	return r;
}

/* the start points that the reader stored with the tables it has finished */
static int plan_starts(
	struct plan *plan, struct state *log, const struct source_format *format, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	bool differ = false;

	for (uint32_t i = 0; i < plan->src.n_tables; i++) {
		struct snapshot_table *table = &plan->src.tables[i];
		int r;

		buf_clear(&key);
		buf_printf(&key, "table/%s.%s/start", table->rel->schema, table->rel->name);
		r = state_get(log, buf_str(&key), &value, err);
		if (r < 0)
			return r;
		if (r == 0 && !(format->parse && format->parse(buf_str(&value), &table->start)))
			return error_set(err, ERROR_BUG, "SNAPSHOT-START", "%s.%s has no start point",
				table->rel->schema, table->rel->name);
		differ = differ || table->start != plan->src.tables[0].start;
		if (table->start > plan->start)
			plan->start = table->start;
	}
	if (!differ)
		plan->start = 0;
	return 0;
}

static int make_tables(struct context *ctx, struct sink *sink, struct state *log, struct error *err)
{
	_cleanup_(buf_freep) struct buf dump = BUF_INIT;
	int r = state_get_large(log, "schema/dump", &dump, err);

	if (r == STATE_MISSING) {
		error_set(err, ERROR_CONFIG, "SCHEMA-NONE",
			"the target lacks the tables, and the log holds no schema to make them from");
		return error_remedy(err,
			"make them on the target; or install pg_dump beside the reader, snapshot.schema: create there");
	}
	if (r < 0 || sink->snapshot->ops->schema(sink->snapshot, "pre-data", &dump, err) < 0)
		return -1;
	log_info(ctx->log, "snapshot-schema", "tables are made on the target", "bytes=%zu", dump.len);
	return 0;
}

static int prepare(
	struct context *ctx, struct sink *sink, struct state *log, struct plan *plan, struct error *err)
{
	int r = has(sink->state, "snapshot/complete", err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = plan_load(plan, sink, log, err);
	if (r == STATE_MISSING)
		return error_set(err, ERROR_TRANSIENT, "SNAPSHOT-STATE",
			"a copy begins in the log, but its list of tables is not there");
	if (r == 0)
		r = sink->snapshot->ops->plan(sink->snapshot, &plan->src, err);
	if (SLUICE_FAULT_POINT("snapshot.applier.prepare"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.applier.prepare");
	if (r != SNAPSHOT_SCHEMA_WANTED)
		return r;
	if (make_tables(ctx, sink, log, err) < 0)
		return -1;
	/* looked at anew, now that they are there */
	for (uint32_t i = 0; i < plan->src.n_tables; i++)
		sink->snapshot->ops->table_free(&plan->src.tables[i]);
	return sink->snapshot->ops->plan(sink->snapshot, &plan->src, err);
}

/* keys or all, sequences, statistics, the mark; all of it may have been done before */
static int complete(struct context *ctx, struct sink *sink, struct plan *plan, const struct buf *sequences,
	struct error *err)
{
	const char *section = plan->start ? "keys" : "post-data";

	log_info(ctx->log, "snapshot-post", "the copy is applied, building keys and indexes",
		"state=begin tables=%u section=%s", plan->src.n_tables, section);
	if (sink->snapshot->ops->schema(sink->snapshot, section, NULL, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.applier.keys"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.applier.keys");
	if (sink->snapshot->ops->finish(sink->snapshot, &plan->src, sequences, err) < 0 ||
		state_set(sink->state, "snapshot/complete", "1", 1, err) < 0)
		return -1;
	log_info(ctx->log, "snapshot-done", "the snapshot is complete", "tables=%u keys=%s",
		plan->src.n_tables, plan->start ? "deferred" : "built");
	return 0;
}

/* nothing but what is due later is left; 0 with plan->start set or not */
static int post_at(struct sink *sink, struct state *log, const struct source_format *format,
	struct plan *plan, struct error *err)
{
	int r = snapshot_post_due(sink, err);

	if (r > 0)
		r = plan_load(plan, sink, log, err);
	if (r == 0 && plan->src.n_tables) {
		r = plan_starts(plan, log, format, err);
		if (!plan->start)
			plan->start = 1; /* due at once */
	}
	return r < 0 ? r : 0;
}

static int complete_due(struct context *ctx, struct sink *sink, struct state *log,
	const struct source_format *format, struct plan *plan, struct error *err)
{
	_cleanup_(buf_freep) struct buf sequences = BUF_INIT;
	int r = has(sink->state, "snapshot/complete", err);

	if (r != 0)
		return r < 0 ? r : post_at(sink, log, format, plan, err);
	r = state_get_large(log, "snapshot/sequences", &sequences, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = plan_load(plan, sink, log, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (plan->n_done < plan->src.n_tables)
		return SNAPSHOT_LOG_WAITING;
	if (plan_starts(plan, log, format, err) < 0)
		return -1;
	return complete(ctx, sink, plan, &sequences, err);
}

/* a request to stop is no error */
static int result(struct context *ctx, int r, struct error *err)
{
	return r < 0 && !strcmp(err->code, "STOPPED") && context_stopping(ctx) ? SNAPSHOT_STOPPED : r;
}

int snapshot_log_prepare(struct context *ctx, struct sink *sink, struct state *log, struct error *err)
{
	struct plan plan = { 0 };
	int r;

	if (!sink->snapshot || !sink->state || !log)
		return 0;
	sink->snapshot->cancel = ctx->stop;
	r = prepare(ctx, sink, log, &plan, err);
	plan_fini(&plan, sink->snapshot);
	sink->snapshot->cancel = NULL;
	return result(ctx, r, err);
}

int snapshot_log_complete(struct context *ctx, struct sink *sink, struct state *log,
	const struct source_format *format, uint64_t *ret_post_at, struct error *err)
{
	struct plan plan = { 0 };
	int r;

	*ret_post_at = 0;
	if (!sink->snapshot || !sink->state || !log)
		return 0;
	sink->snapshot->cancel = ctx->stop;
	r = complete_due(ctx, sink, log, format, &plan, err);
	if (r == 0)
		*ret_post_at = plan.start;
	plan_fini(&plan, sink->snapshot);
	sink->snapshot->cancel = NULL;
	return result(ctx, r, err);
}

int snapshot_log_before(struct context *ctx, struct sink *sink, struct error *err)
{
	struct state *log = NULL;
	int r = sink->state ? has(sink->state, "snapshot/complete", err) : 1;

	if (r != 0)
		return r < 0 ? r : 0;
	if (transport_kafka_state_open(ctx, &log, err) < 0)
		return -1;
	r = snapshot_log_prepare(ctx, sink, log, err);
	transport_kafka_state_close(log);
	return r;
}

/* 1 = the log's store has to be looked at, 0 = all is done, negative */
static int behind_due(struct sink *sink, struct error *err)
{
	int r = has(sink->state, "snapshot/complete", err);

	return r == 0 ? 1 : r < 0 ? r : snapshot_post_due(sink, err);
}

int snapshot_log_behind(struct context *ctx, struct sink *sink, const struct source_format *format,
	uint64_t *ret_post_at, struct error *err)
{
	struct state *log = NULL;
	int r = sink->state && sink->snapshot ? behind_due(sink, err) : 0;

	*ret_post_at = 0;
	if (r <= 0 || (r = transport_kafka_state_open(ctx, &log, err)) < 0)
		return r;
	r = snapshot_log_complete(ctx, sink, log, format, ret_post_at, err);
	transport_kafka_state_close(log);
	return r;
}

int snapshot_log_is_complete(struct sink *sink, struct error *err)
{
	int r = sink->state ? has(sink->state, "snapshot/complete", err) : 0;

	if (r <= 0)
		return r;
	r = snapshot_post_due(sink, err);
	return r < 0 ? r : r == 0;
}
