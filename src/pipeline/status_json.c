/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The JSON of /status and /cutover/ready. Field names are part of the operators' contract and only ever added to. The
 * status is copied under its lock and rendered behind it, so that no thread of the pipeline waits for a client.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/log_lag.h>
#include <sluice/report.h>

#include "json.h"

#define FORMAT_VERSION 1

struct view {
	yajl_gen g;
	const struct context *ctx;
	const struct report_options *opt;
	const struct status *st; /* a copy */
	struct mono now;
	bool service; /* the counters are those of the service, not of this command */
};

static void render_peer(const struct view *v, const char *key, const struct status_peer *peer)
{
	json_open(v->g, key);
	json_string(v->g, "type", peer->type);
	json_string(v->g, "identity", peer->identity);
	json_string(v->g, "version", peer->version);
	json_string(v->g, "host", peer->host);
	json_string(v->g, "database", peer->database);
	json_string(v->g, "position", peer->position);
	json_bool(v->g, "connected", peer->connected);
	json_time(v->g, "last_contact", peer->last_contact);
}

static void render_source(const struct view *v)
{
	const struct status *st = v->st;

	render_peer(v, "source", &st->source);
	if (*st->slot_name) {
		json_open(v->g, "slot");
		json_string(v->g, "name", st->slot_name);
		json_string(v->g, "wal_status", st->slot_wal_status);
		json_i64(v->g, "retained_bytes", st->slot_retained_bytes);
		json_i64(v->g, "safe_bytes", st->slot_safe_bytes);
		yajl_gen_map_close(v->g);
	} else {
		json_null(v->g, "slot");
	}
	json_i64(v->g, "prepared_transactions", st->prepared_transactions);
	json_i64(v->g, "new_tables", v->service ? (int64_t)st->new_tables : -1);
	yajl_gen_map_close(v->g);
}

static void render_state(const struct view *v)
{
	const struct status *st = v->st;

	json_open(v->g, "state");
	json_string(v->g, "name", v->service ? run_state_to_string(st->state) : "");
	json_time(v->g, "since", v->service ? st->state_since : (struct wall){ 0 });
	json_string(v->g, "code", st->state_code);
	json_string(v->g, "reason", st->state_reason);
	json_string(v->g, "remedy", st->state_remedy);
	json_time(v->g, "next_retry_at", st->next_retry_at);
	yajl_gen_map_close(v->g);
}

static void render_lag(const struct view *v, const struct status_rates *rates)
{
	double lag = status_lag_seconds(v->st, v->now);

	json_open(v->g, "lag");
	json_double(v->g, "seconds", lag < 0 ? NAN : lag, 3);
	json_i64(v->g, "bytes", v->st->lag_bytes);
	json_double(v->g, "bytes_per_second", rates->lag_bytes, 0); /* negative: falling */
	yajl_gen_map_close(v->g);
}

static void render_half(const struct view *v, const char *key, const struct half *half)
{
	json_open(v->g, key);
	json_double(v->g, "seconds", half->seconds < 0 ? NAN : half->seconds, 3);
	json_i64(v->g, "bytes", half->bytes);
	if (half == &v->st->halves.applier)
		json_i64(v->g, "records", half->records);
	json_string(v->g, "position", half->position);
	json_time(v->g, "heard_at", half->heard);
	json_bool(v->g, "silent", half->silent);
	yajl_gen_map_close(v->g);
}

static void render_partitions(const struct view *v)
{
	json_key(v->g, "partitions");
	yajl_gen_array_open(v->g);
	for (uint32_t i = 0; i < v->st->n_log_lags; i++) {
		const struct log_lag *lag = &v->st->log_lags[i];

		yajl_gen_map_open(v->g);
		json_string(v->g, "topic", lag->topic);
		json_u64(v->g, "partition", (uint64_t)lag->partition);
		json_i64(v->g, "offset", lag->offset);
		json_i64(v->g, "end", lag->end);
		json_i64(v->g, "lag_records", lag->records);
		json_bool(v->g, "held", lag->held);
		yajl_gen_map_close(v->g);
	}
	yajl_gen_array_close(v->g);
}

/* what a log adds to the transport; the members of an object that is open */
static void render_log(const struct view *v)
{
	const struct config_kafka *cfg = &v->ctx->cfg->transport.kafka;

	json_string(v->g, "layout", cfg->layout == LAYOUT_STREAM ? "stream" : "tables");
	json_string(v->g, "format", cfg->format == KAFKA_BINARY ? "binary" : "json");
	json_string(v->g, "prefix", cfg->prefix);
	json_string(v->g, "reign", v->st->halves.reign);
	json_string(v->g, "behind", half_behind_to_string(v->st->halves.behind));
	render_half(v, "reader", &v->st->halves.reader);
	render_half(v, "applier", &v->st->halves.applier);
	render_partitions(v);
}

static void render_flow(const struct view *v, const struct status_rates *rates)
{
	const struct status *st = v->st;
	const struct metrics *m = v->ctx->metrics;
	uint64_t records = metric_get(&m->applied_insert) + metric_get(&m->applied_update) +
			   metric_get(&m->applied_delete) + metric_get(&m->applied_truncate);

	json_open(v->g, "transport");
	json_string(v->g, "type", v->ctx->cfg->transport.type == TRANSPORT_KAFKA ? "kafka" : "direct");
	json_i64(v->g, "queue_records", v->service ? (int64_t)metric_get(&m->queue_records) : -1);
	json_i64(v->g, "queue_bytes", v->service ? (int64_t)metric_get(&m->queue_bytes) : -1);
	if (v->ctx->cfg->transport.type == TRANSPORT_KAFKA)
		render_log(v);
	yajl_gen_map_close(v->g);
	render_lag(v, rates);
	json_open(v->g, "applied");
	json_string(v->g, "position", st->applied_position);
	json_time(v->g, "commit_time", st->applied_commit_time);
	json_i64(v->g, "transactions", v->service ? (int64_t)metric_get(&m->applied_transactions) : -1);
	json_i64(v->g, "records", v->service ? (int64_t)records : -1);
	yajl_gen_map_close(v->g);
	json_open(v->g, "throughput");
	json_double(v->g, "records_per_second", rates->records, 1);
	json_double(v->g, "transactions_per_second", rates->transactions, 1);
	yajl_gen_map_close(v->g);
}

static void render_snapshot(const struct view *v, const struct status_rates *rates)
{
	const struct status *st = v->st;
	double eta = status_snapshot_eta(st);

	json_open(v->g, "snapshot");
	json_bool(v->g, "running", st->snapshot_running);
	json_u64(v->g, "tables_total", st->snapshot_tables_total);
	json_u64(v->g, "tables_done", st->snapshot_tables_done);
	json_u64(v->g, "rows_done", st->snapshot_rows_done);
	json_i64(v->g, "rows_estimated", v->service ? (int64_t)st->snapshot_rows_estimated : -1);
	json_i64(v->g, "bytes_done", v->service ? (int64_t)st->snapshot_bytes_done : -1);
	json_i64(v->g, "bytes_estimated", v->service ? (int64_t)st->snapshot_bytes_estimated : -1);
	json_double(v->g, "bytes_per_second", st->snapshot_running ? rates->snapshot_bytes : NAN, 0);
	json_double(v->g, "eta_seconds", eta < 0 ? NAN : eta, 0);
	yajl_gen_map_close(v->g);
}

static uint64_t retries_sum(const struct metrics *m)
{
	uint64_t sum = 0;

	for (int stage = 0; stage < STAGE_COUNT; stage++)
		for (int class = 0; class < 8; class ++)
			sum += metric_get(&m->retries[stage][class]);
	return sum;
}

static void render_errors(const struct view *v)
{
	const struct status *st = v->st;

	json_open(v->g, "errors");
	json_i64(v->g, "retries", v->service ? (int64_t)retries_sum(v->ctx->metrics) : -1);
	json_u64(v->g, "dead_letters", metric_get(&v->ctx->metrics->dead_letters_pending));
	if (st->last_error.class == ERROR_NONE) {
		json_null(v->g, "last");
	} else {
		json_open(v->g, "last");
		json_time(v->g, "at", st->last_error_at);
		json_string(v->g, "class", error_class_to_string(st->last_error.class));
		json_string(v->g, "code", st->last_error.code);
		json_string(v->g, "message", st->last_error.message);
		json_string(v->g, "remedy", st->last_error.remedy);
		json_string(v->g, "where", st->last_error_where);
		yajl_gen_map_close(v->g);
	}
	yajl_gen_map_close(v->g);
	json_key(v->g, "alarms");
	yajl_gen_array_open(v->g);
	for (uint32_t i = 0; i < st->n_alarms; i++) {
		yajl_gen_map_open(v->g);
		json_string(v->g, "code", st->alarms[i].code);
		json_string(v->g, "message", st->alarms[i].message);
		json_string(v->g, "remedy", st->alarms[i].remedy);
		yajl_gen_map_close(v->g);
	}
	yajl_gen_array_close(v->g);
}

static void render_verify(const struct view *v)
{
	const struct metrics *m = v->ctx->metrics;
	int64_t success_s = (int64_t)metric_get(&m->verify_success_s);
	bool verified = metric_get(&m->verified_rows) > 0;

	json_open(v->g, "verify");
	json_i64(v->g, "rows", verified ? (int64_t)metric_get(&m->verified_rows) : -1);
	json_i64(v->g, "differences", verified ? (int64_t)metric_get(&m->verify_differences) : -1);
	json_time(v->g, "last_success_at", (struct wall){ success_s * 1000000 });
	yajl_gen_map_close(v->g);
}

static void render_reason(yajl_gen g, const struct readiness_reason *reason)
{
	yajl_gen_map_open(g);
	json_string(g, "code", reason->code);
	json_string(g, "message", reason->message);
	json_number(g, "value", reason->value);
	json_number(g, "limit", reason->limit);
	json_string(g, "remedy", reason->remedy);
	yajl_gen_map_close(g);
}

/* the members of an object that is open */
static void render_readiness(yajl_gen g, const struct readiness *ready)
{
	json_bool(g, "ready", ready->ready);
	json_key(g, "reasons");
	yajl_gen_array_open(g);
	for (uint32_t i = 0; i < ready->n_reasons; i++)
		render_reason(g, &ready->reasons[i]);
	yajl_gen_array_close(g);
	json_double(g, "eta_seconds", ready->eta_seconds < 0 ? NAN : ready->eta_seconds, 0);
}

static void render_tables(const struct view *v)
{
	json_key(v->g, "tables");
	yajl_gen_array_open(v->g);
	for (uint32_t i = 0; i < v->st->n_tables; i++) {
		const struct status_table *table = &v->st->tables[i];

		yajl_gen_map_open(v->g);
		json_string(v->g, "name", table->name);
		json_string(v->g, "state", table->state);
		json_u64(v->g, "rows", table->rows);
		json_i64(v->g, "rows_estimated", table->rows_estimated);
		json_u64(v->g, "inserts", table->inserts);
		json_u64(v->g, "updates", table->updates);
		json_u64(v->g, "deletes", table->deletes);
		json_u64(v->g, "dead_letters", table->dead_letters);
		yajl_gen_map_close(v->g);
	}
	yajl_gen_array_close(v->g);
}

static void render_head(const struct view *v)
{
	const struct log *log = v->ctx->log;

	json_u64(v->g, "format_version", FORMAT_VERSION);
	json_string(v->g, "name", v->ctx->cfg->name);
	json_string(v->g, "version", SLUICE_VERSION);
	json_time(v->g, "generated_at", wall_now());
	json_string(v->g, "from", v->opt->from);
	json_string(v->g, "role", v->service ? (*log->role ? log->role : "run") : "");
	json_string(v->g, "direction", *log->direction ? log->direction : "forward");
	/* it is stored in the target: without that nobody knows it */
	json_string(
		v->g, "phase", v->service || v->st->target.connected ? phase_to_string(v->st->phase) : "");
}

static void render_all(const struct view *v)
{
	struct status_rates rates = status_rates(v->st);

	yajl_gen_map_open(v->g);
	render_head(v);
	render_state(v);
	render_source(v);
	render_peer(v, "target", &v->st->target);
	yajl_gen_map_close(v->g);
	render_flow(v, &rates);
	render_snapshot(v, &rates);
	render_errors(v);
	render_verify(v);
	if (v->opt->ready) {
		json_open(v->g, "ready");
		render_readiness(v->g, v->opt->ready);
		yajl_gen_map_close(v->g);
	} else {
		json_null(v->g, "ready");
	}
	render_tables(v);
	yajl_gen_map_close(v->g);
}

/* those at work first: a list that is cut should show them */
static bool table_busy(const struct status_table *table)
{
	return strcmp(table->state, "copying") == 0 || strcmp(table->state, "blocked") == 0;
}

static void tables_copy(const struct status *from, uint32_t max, struct status *to)
{
	uint32_t n = from->n_tables < max ? from->n_tables : max;

	to->n_tables = 0;
	to->cap_tables = n;
	to->tables = calloc(n ? n : 1, sizeof(*to->tables));
	if (!to->tables)
		abort();
	for (int busy = 1; busy >= 0; busy--)
		for (uint32_t i = 0; i < from->n_tables && to->n_tables < n; i++)
			if (table_busy(&from->tables[i]) == (busy == 1))
				to->tables[to->n_tables++] = from->tables[i];
}

static void partitions_copy(const struct status *from, struct status *to)
{
	to->log_lags = calloc(from->n_log_lags + 1u, sizeof(*to->log_lags));
	if (!to->log_lags)
		abort();
	if (from->n_log_lags)
		memcpy(to->log_lags, from->log_lags, from->n_log_lags * sizeof(*to->log_lags));
}

static yajl_gen json_begin(void)
{
	yajl_gen g = yajl_gen_alloc(NULL);

	if (!g)
		abort();
	yajl_gen_config(g, yajl_gen_validate_utf8, 1);
	return g;
}

static void json_end(yajl_gen g, struct buf *ret)
{
	const unsigned char *text;
	size_t len;

	if (yajl_gen_get_buf(g, &text, &len) == yajl_gen_status_ok)
		buf_put(ret, text, len);
	buf_putc(ret, '\n');
	yajl_gen_free(g);
}

void report_status(const struct context *ctx, const struct report_options *opt, struct buf *ret)
{
	struct status copy;
	struct view v = { .ctx = ctx,
		.opt = opt,
		.st = &copy,
		.now = mono_now(),
		.service = strcmp(opt->from, "service") == 0 };

	status_lock(ctx->status);
	copy = *ctx->status;
	tables_copy(ctx->status, opt->max_tables, &copy);
	partitions_copy(ctx->status, &copy);
	status_unlock(ctx->status);
	v.g = json_begin();
	render_all(&v);
	json_end(v.g, ret);
	free(copy.tables);
	free(copy.log_lags);
}

void report_readiness(const struct readiness *ready, struct buf *ret)
{
	yajl_gen g = json_begin();

	yajl_gen_map_open(g);
	render_readiness(g, ready);
	yajl_gen_map_close(g);
	json_end(g, ret);
}
