/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Histograms, and the text of /metrics in Prometheus' format or in OpenMetrics. Every series is there from the start,
 * with zeros, so that a rate over a counter sees its first increment; what is unknown is NaN. Both formats have the
 * same series: only the name of a counter's family and the last line differ. Names and labels are part of the operators'
 * contract.
 *
 *   invariants  a family's lines are together; labels begin with stream and direction (but for process_*);
 *               a histogram's count equals its +Inf bucket, although threads add meanwhile
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/log_lag.h>
#include <sluice/metrics.h>
#include <sluice/report.h>

#include "process.h"

#define HISTOGRAM_FIRST_US  100u
#define HISTOGRAM_FACTOR_US 3u
#define HISTOGRAM_FACTOR_N  4u

static void histogram_add(struct histogram *h, uint64_t value, uint64_t first, unsigned factor)
{
	uint64_t bound = first;
	unsigned i = 0;

	while (i < HISTOGRAM_BUCKETS && value > bound) {
		bound *= factor;
		i++;
	}
	metric_add(&h->buckets[i], 1);
	metric_add(&h->count, 1);
	metric_add(&h->sum, value);
}

void histogram_add_us(struct histogram *h, uint64_t us)
{
	histogram_add(h, us, HISTOGRAM_FIRST_US, HISTOGRAM_FACTOR_US);
}

void histogram_add_n(struct histogram *h, uint64_t n)
{
	histogram_add(h, n, 1, HISTOGRAM_FACTOR_N);
}

struct writer {
	struct buf *out;
	bool openmetrics;
	char labels[128]; /* stream="shop",direction="forward" */
	char family[80];  /* the one being written */
};

/* name is without the prefix for sluice's own families */
static void write_family(struct writer *w, const char *name, const char *kind, const char *help)
{
	size_t len = strlen(name);

	if (strcmp(w->family, name) == 0)
		return;
	snprintf(w->family, sizeof(w->family), "%s", name);
	if (w->openmetrics && strcmp(kind, "counter") == 0 && len > 6 &&
		strcmp(name + len - 6, "_total") == 0)
		len -= 6; /* there the family has no suffix, its samples have */
	buf_printf(w->out, "# HELP %.*s %s.\n# TYPE %.*s %s\n", (int)len, name, help, (int)len, name, kind);
}

static void write_double(struct writer *w, double value)
{
	char text[40] = "NaN";

	/* the shortest text that is read back as the same number */
	for (int digits = 15; !isnan(value) && digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	buf_printf(w->out, " %s\n", text);
}

/* labels: more of them, beginning with a comma, or "" */
static void write_sample(struct writer *w, const char *name, const char *labels)
{
	buf_printf(w->out, "%s{%s%s}", name, w->labels, labels);
}

static void write_gauge(
	struct writer *w, const char *name, const char *labels, const char *help, double value)
{
	write_family(w, name, "gauge", help);
	write_sample(w, name, labels);
	write_double(w, value);
}

/* one line of METRICS: the exported name may carry labels of its own */
static void write_metric(
	struct writer *w, enum metric_kind kind, const char *exported, const char *help, uint64_t value)
{
	const char *brace = strchr(exported, '{');
	size_t len = brace ? (size_t)(brace - exported) : strlen(exported);
	char name[80], labels[64] = "";

	snprintf(name, sizeof(name), "sluice_%.*s", (int)len, exported);
	if (brace)
		snprintf(labels, sizeof(labels), ",%.*s", (int)strlen(brace) - 2, brace + 1);
	write_family(w, name, kind == METRIC_COUNTER ? "counter" : "gauge", help);
	write_sample(w, name, labels);
	buf_printf(w->out, " %llu\n", (unsigned long long)value);
}

static void write_errors(
	struct writer *w, const char *name, const char *help, const atomic_uint_fast64_t (*values)[8])
{
	static const char *const stages[STAGE_COUNT] = {
		[STAGE_SOURCE] = "source",
		[STAGE_TRANSPORT] = "transport",
		[STAGE_SINK] = "sink",
		[STAGE_SNAPSHOT] = "snapshot",
	};
	char labels[80];

	write_family(w, name, "counter", help);
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		for (int class = ERROR_TRANSIENT; class <= ERROR_BUG; class ++) {
			snprintf(labels, sizeof(labels), ",stage=\"%s\",class=\"%s\"", stages[stage],
				error_class_to_string((enum error_class) class));
			write_sample(w, name, labels);
			buf_printf(w->out, " %llu\n", (unsigned long long)metric_get(&values[stage][class]));
		}
	}
}

/* unit: what one of the stored numbers is in the exported unit (1e-6 for microseconds as seconds) */
static void write_histogram(
	struct writer *w, const char *name, const char *help, const struct histogram *h, double unit)
{
	double bound = unit < 1 ? HISTOGRAM_FIRST_US * unit : 1;
	unsigned factor = unit < 1 ? HISTOGRAM_FACTOR_US : HISTOGRAM_FACTOR_N;
	uint64_t total = 0;

	write_family(w, name, "histogram", help);
	for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		char le[32] = "+Inf";

		if (i < HISTOGRAM_BUCKETS)
			snprintf(le, sizeof(le), "%.10g", bound);
		/* a float by its looks: the same series in both formats */
		if (!strpbrk(le, ".eI"))
			snprintf(le, sizeof(le), "%.0f.0", bound);
		total += metric_get(&h->buckets[i]);
		buf_printf(w->out, "%s_bucket{%s,le=\"%s\"} %llu\n", name, w->labels, le,
			(unsigned long long)total);
		bound *= factor;
	}
	buf_printf(w->out, "%s_sum{%s}", name, w->labels);
	write_double(w, (double)metric_get(&h->sum) * unit);
	buf_printf(w->out, "%s_count{%s} %llu\n", name, w->labels, (unsigned long long)total);
}

static double wall_seconds(struct wall t)
{
	return (double)t.us / 1e6;
}

static double known(int64_t value)
{
	return value < 0 ? NAN : (double)value;
}

static void write_enums(struct writer *w, const struct status *st)
{
	static const char *const statuses[] = { "reserved", "extended", "unreserved", "lost" };
	char labels[64];

	for (int i = 0; i < PHASE_COUNT; i++) {
		snprintf(labels, sizeof(labels), ",phase=\"%s\"", phase_to_string((enum phase)i));
		write_gauge(
			w, "sluice_phase", labels, "1 for the phase of the migration", (int)st->phase == i);
	}
	for (int i = 0; i < STATE_COUNT; i++) {
		snprintf(labels, sizeof(labels), ",state=\"%s\"", run_state_to_string((enum run_state)i));
		write_gauge(w, "sluice_state", labels, "1 for the state of the process", (int)st->state == i);
	}
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		snprintf(labels, sizeof(labels), ",status=\"%s\"", statuses[i]);
		write_gauge(w, "sluice_source_slot_wal_status", labels, "1 for the slot's wal_status",
			strcmp(st->slot_wal_status, statuses[i]) == 0);
	}
}

static double snapshot_ratio(const struct status *st)
{
	double ratio;

	if (st->phase > PHASE_SNAPSHOT)
		return 1;
	if (!st->snapshot_bytes_estimated)
		return st->snapshot_tables_total && st->snapshot_tables_done == st->snapshot_tables_total;
	ratio = (double)st->snapshot_bytes_done / (double)st->snapshot_bytes_estimated;
	return ratio > 1 ? 1 : ratio;
}

static void write_status(struct writer *w, const struct status *st, struct mono now)
{
	double lag = status_lag_seconds(st, now);

	write_gauge(w, "sluice_lag_seconds", "",
		"Age of the oldest source transaction that is committed and not applied",
		lag < 0 ? NAN : lag);
	write_gauge(w, "sluice_lag_bytes", "", "Distance from the source's end to the applied point",
		known(st->lag_bytes));
	write_enums(w, st);
	write_gauge(w, "sluice_connected", ",peer=\"source\"", "1 while the peer is connected",
		st->source.connected);
	write_gauge(w, "sluice_connected", ",peer=\"target\"", "", st->target.connected);
	write_gauge(w, "sluice_last_contact_timestamp_seconds", ",peer=\"source\"",
		"When the peer last answered", wall_seconds(st->source.last_contact));
	write_gauge(w, "sluice_last_contact_timestamp_seconds", ",peer=\"target\"", "",
		wall_seconds(st->target.last_contact));
	write_gauge(w, "sluice_last_applied_commit_timestamp_seconds", "",
		"Commit time, by the source's clock, of the last transaction applied",
		wall_seconds(st->applied_commit_time));
	write_gauge(w, "sluice_snapshot_progress_ratio", "", "Part of the snapshot that is copied, 0 to 1",
		snapshot_ratio(st));
	write_gauge(w, "sluice_snapshot_transaction_age_seconds", "",
		"Age of the transaction that holds the source's xmin for the snapshot, 0 = none",
		st->snapshot_transaction_started.us
			? (double)mono_diff_us(now, st->snapshot_transaction_started) / 1e6
			: 0);
	write_gauge(w, "sluice_source_slot_retained_bytes", "", "WAL that the source keeps for the slot",
		known(st->slot_retained_bytes));
	if (st->slot_safe_bytes >= 0)
		write_gauge(w, "sluice_source_slot_safe_bytes", "",
			"WAL that may still be written before the slot is lost", (double)st->slot_safe_bytes);
}

/* where a log joins the halves: what each adds to the lag */
static void write_halves(struct writer *w, const struct halves *halves)
{
	static const char help[] = "Part of lag_seconds that is this half's";

	write_gauge(w, "sluice_half_lag_seconds", ",half=\"reader\"", help,
		halves->reader.seconds < 0 ? NAN : halves->reader.seconds);
	write_gauge(w, "sluice_half_lag_seconds", ",half=\"applier\"", help,
		halves->applier.seconds < 0 ? NAN : halves->applier.seconds);
}

/* topics are [A-Za-z0-9._-]: nothing to escape */
static void write_log_lags(struct writer *w, const struct status *st)
{
	char labels[TOPIC_MAX + 64];

	for (uint32_t i = 0; i < st->n_log_lags; i++) {
		const struct log_lag *lag = &st->log_lags[i];

		if (!lag->held)
			continue;
		snprintf(labels, sizeof(labels), ",topic=\"%s\",partition=\"%d\"", lag->topic,
			(int)lag->partition);
		write_gauge(w, "sluice_kafka_consumer_lag_records", labels,
			"Messages of the partition that are not durably applied yet", known(lag->records));
	}
}

static void write_info(struct writer *w, const struct context *ctx)
{
	static const char *const peers[] = { "postgresql", "mongodb", "generator", "discard" };
	static const char *const transports[] = { "direct", "kafka" };
	char labels[160];

	snprintf(labels, sizeof(labels), ",version=\"%s\"", SLUICE_VERSION);
	write_gauge(w, "sluice_build_info", labels, "Which sluice this is", 1);
	snprintf(labels, sizeof(labels), ",role=\"%s\",source=\"%s\",target=\"%s\",transport=\"%s\"",
		*ctx->log->role ? ctx->log->role : "run", peers[ctx->cfg->source.type],
		peers[ctx->cfg->target.type], transports[ctx->cfg->transport.type]);
	write_gauge(w, "sluice_stream_info", labels, "What runs here", 1);
}

static void write_process_line(
	struct writer *w, const char *name, const char *kind, const char *help, double value)
{
	write_family(w, name, kind, help);
	buf_puts(w->out, name);
	write_double(w, value);
}

static void write_process(struct writer *w)
{
	struct process_usage usage;

	process_usage_read(&usage);
	write_process_line(
		w, "process_cpu_seconds_total", "counter", "User and system CPU time", usage.cpu_seconds);
	write_process_line(
		w, "process_resident_memory_bytes", "gauge", "Resident memory", (double)usage.resident_bytes);
	write_process_line(
		w, "process_virtual_memory_bytes", "gauge", "Virtual memory", (double)usage.virtual_bytes);
	write_process_line(w, "process_open_fds", "gauge", "Open file descriptors", (double)usage.open_fds);
	write_process_line(
		w, "process_max_fds", "gauge", "Limit of open file descriptors", (double)usage.max_fds);
	write_process_line(
		w, "process_start_time_seconds", "gauge", "When the process began", usage.start_seconds);
}

void report_metrics(
	const struct context *ctx, const struct readiness *ready, bool openmetrics, struct buf *ret)
{
	const struct metrics *m = ctx->metrics;
	struct writer w = { .out = ret, .openmetrics = openmetrics };

	/* cfg->name is [a-z0-9_]{1,40}: nothing to escape */
	snprintf(w.labels, sizeof(w.labels), "stream=\"%s\",direction=\"%s\"", ctx->cfg->name,
		*ctx->log->direction ? ctx->log->direction : "forward");
#define WRITE_METRIC(kind, field, name, help)                                                                \
	write_metric(&w, METRIC_##kind, name, help, metric_get(&m->field));
	METRICS(WRITE_METRIC)
#undef WRITE_METRIC
	write_errors(&w, "sluice_retries_total", "Attempts begun anew after an error", m->retries);
	write_errors(&w, "sluice_errors_total", "Errors that ended an attempt", m->errors);
	write_histogram(&w, "sluice_commit_to_apply_seconds",
		"From the commit at the source to that at the target", &m->commit_to_apply_us, 1e-6);
	write_histogram(
		&w, "sluice_apply_batch_duration_seconds", "Time to apply a group", &m->apply_batch_us, 1e-6);
	if (ctx->cfg->transport.type == TRANSPORT_KAFKA)
		write_histogram(&w, "sluice_kafka_produce_duration_seconds",
			"Time until a batch is acked by the log", &m->kafka_produce_us, 1e-6);
	write_histogram(
		&w, "sluice_apply_batch_size_records", "Records in a group", &m->apply_batch_records, 1);
	status_lock(ctx->status);
	write_status(&w, ctx->status, mono_now());
	if (ctx->cfg->transport.type == TRANSPORT_KAFKA)
		write_halves(&w, &ctx->status->halves);
	write_log_lags(&w, ctx->status);
	status_unlock(ctx->status);
	write_gauge(&w, "sluice_cutover_ready", "", "1 when a cutover may begin", ready && ready->ready);
	write_info(&w, ctx);
	write_process(&w);
	if (openmetrics)
		buf_puts(ret, "# EOF\n");
}
