/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The process's knowledge of itself: setters that copy in, and the rates computed from samples of the counters.
 * Unknown is not zero: lag, slot sizes and prepared transactions begin negative, and a rate without two samples is
 * NAN.
 */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/log_lag.h>
#include <sluice/report.h>
#include <sluice/status.h>

#define SAMPLE_MS 1000

static const char *const phase_names[PHASE_COUNT] = {
	[PHASE_PREPARE] = "prepare",
	[PHASE_SNAPSHOT] = "snapshot",
	[PHASE_CATCHING_UP] = "catching-up",
	[PHASE_IN_SYNC] = "in-sync",
	[PHASE_READY] = "ready",
	[PHASE_FENCING] = "fencing",
	[PHASE_DRAINING] = "draining",
	[PHASE_VERIFYING] = "verifying",
	[PHASE_SWITCHED] = "switched",
	[PHASE_FINISHED] = "finished",
	[PHASE_ROLLED_BACK] = "rolled-back",
};

static const char *const run_state_names[STATE_COUNT] = {
	[STATE_STARTING] = "starting",
	[STATE_STANDBY] = "standby",
	[STATE_RUNNING] = "running",
	[STATE_RETRYING] = "retrying",
	[STATE_PAUSED] = "paused",
	[STATE_BLOCKED] = "blocked",
	[STATE_DRAINING] = "draining",
	[STATE_FINISHED] = "finished",
};

const char *phase_to_string(enum phase phase)
{
	return phase_names[phase];
}

int phase_from_string(const char *s, enum phase *ret)
{
	for (int i = 0; i < PHASE_COUNT; i++) {
		if (strcmp(s, phase_names[i]) == 0) {
			*ret = (enum phase)i;
			return 0;
		}
	}
	return -1;
}

const char *run_state_to_string(enum run_state state)
{
	return run_state_names[state];
}

/* nobody has looked how far the stream is behind, who did before */
static bool status_is_stale(const struct status *st, struct mono now)
{
	return st->lag_measured.us && mono_diff_us(now, st->lag_measured) > STATUS_STALE_MS * INT64_C(1000);
}

/* copies and cuts at a UTF-8 boundary */
static void text_set(char *to, size_t size, const char *from)
{
	size_t len = from ? strlen(from) : 0;

	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
			len--;
	}
	if (len)
		memmove(to, from, len);
	to[len] = 0;
}

void status_init(struct status *st)
{
	memset(st, 0, sizeof(*st));
	pthread_mutex_init(&st->lock, NULL);
	st->state_since = wall_now();
	st->main_turn = mono_now();
	st->lag_seconds = -1;
	st->lag_bytes = -1;
	st->slot_retained_bytes = -1;
	st->slot_safe_bytes = -1;
	st->prepared_transactions = -1;
	halves_init(&st->halves);
}

void status_fini(struct status *st)
{
	free(st->tables);
	st->tables = NULL;
	st->n_tables = st->cap_tables = 0;
	free(st->log_lags);
	st->log_lags = NULL;
	st->n_log_lags = 0;
	pthread_mutex_destroy(&st->lock);
}

void status_state(
	struct status *st, enum run_state state, const char *code, const char *reason, const char *remedy)
{
	status_lock(st);
	if (st->state != state)
		st->state_since = wall_now();
	if (state != STATE_RETRYING)
		st->next_retry_at = (struct wall){ 0 };
	st->state = state;
	text_set(st->state_code, sizeof(st->state_code), code);
	text_set(st->state_reason, sizeof(st->state_reason), reason);
	text_set(st->state_remedy, sizeof(st->state_remedy), remedy);
	status_unlock(st);
}

void status_phase(struct status *st, enum phase phase)
{
	status_lock(st);
	st->phase = phase;
	status_unlock(st);
}

void status_error(struct status *st, const struct error *err, const char *where)
{
	status_lock(st);
	st->last_error = *err;
	st->last_error_at = wall_now();
	text_set(st->last_error_where, sizeof(st->last_error_where), where);
	status_unlock(st);
}

static struct status_alarm *alarm_find(struct status *st, const char *code)
{
	for (uint32_t i = 0; i < st->n_alarms; i++)
		if (strcmp(st->alarms[i].code, code) == 0)
			return &st->alarms[i];
	return NULL;
}

void status_alarm_raise(struct status *st, const char *code, const char *remedy, const char *fmt, ...)
{
	char message[sizeof(st->alarms->message) + 8];
	struct status_alarm *found;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	status_lock(st);
	found = alarm_find(st, code);
	if (!found && st->n_alarms < STATUS_ALARMS)
		found = &st->alarms[st->n_alarms++];
	if (found) {
		text_set(found->code, sizeof(found->code), code);
		text_set(found->message, sizeof(found->message), message);
		text_set(found->remedy, sizeof(found->remedy), remedy);
	}
	status_unlock(st);
}

void status_alarm_clear(struct status *st, const char *code)
{
	struct status_alarm *found;

	status_lock(st);
	found = alarm_find(st, code);
	if (found) {
		struct status_alarm *end = &st->alarms[--st->n_alarms];

		memmove(found, found + 1, (size_t)((char *)end - (char *)found));
	}
	status_unlock(st);
}

struct status_table *status_table_get(struct status *st, const char *schema, const char *name)
{
	char full[sizeof(st->tables->name)];
	struct status_table *table;

	snprintf(full, sizeof(full), "%s.%s", schema, name);
	for (uint32_t i = 0; i < st->n_tables; i++)
		if (strcmp(st->tables[i].name, full) == 0)
			return &st->tables[i];
	if (st->n_tables == st->cap_tables) {
		st->cap_tables = st->cap_tables ? st->cap_tables * 2 : 64;
		st->tables = reallocarray(st->tables, st->cap_tables, sizeof(*st->tables));
		if (!st->tables)
			abort();
	}
	table = &st->tables[st->n_tables++];
	memset(table, 0, sizeof(*table));
	text_set(table->name, sizeof(table->name), full);
	text_set(table->state, sizeof(table->state), "waiting");
	table->rows_estimated = -1;
	return table;
}

void log_lag_set(struct status *st, const struct partition *partition, const struct log_lag *lag)
{
	struct log_lag *to;
	uint32_t i = 0;

	while (i < st->n_log_lags && (st->log_lags[i].partition != partition->id ||
					     strcmp(st->log_lags[i].topic, partition->topic) != 0))
		i++;
	if (!lag) {
		if (i < st->n_log_lags)
			st->log_lags[i] = st->log_lags[--st->n_log_lags];
		return;
	}
	if (i == st->n_log_lags) {
		st->log_lags = reallocarray(st->log_lags, i + 1, sizeof(*st->log_lags));
		if (!st->log_lags)
			abort();
		text_set(st->log_lags[i].topic, sizeof(st->log_lags[i].topic), partition->topic);
		st->log_lags[i].partition = partition->id;
		st->n_log_lags++;
	}
	to = &st->log_lags[i];
	to->offset = lag->offset;
	to->end = lag->end;
	to->held = lag->held;
	to->records = lag->end < 0 ? -1 : lag->end > lag->offset ? lag->end - lag->offset : 0;
}

/* while an attempt is torn down, or between two, nobody measures, and what was said last goes on being true less and less */
static void status_doubt(struct status *st, const struct config *cfg)
{
	struct mono now = mono_now();

	if (!status_is_stale(st, now) ||
		status_lag_seconds(st, now) * 1000 <= (double)cfg->cutover.max_lag_ms)
		return;
	if (st->phase == PHASE_IN_SYNC || st->phase == PHASE_READY)
		st->phase = PHASE_CATCHING_UP;
	st->halves.behind = BEHIND_UNKNOWN;
	st->halves.reader.seconds = st->halves.applier.seconds = -1;
}

void status_sample(const struct context *ctx)
{
	struct status *st = ctx->status;
	const struct metrics *m = ctx->metrics;
	struct status_sample now = {
		.at = mono_now(),
		.records = metric_get(&m->applied_insert) + metric_get(&m->applied_update) +
			   metric_get(&m->applied_delete) + metric_get(&m->applied_truncate),
		.transactions = metric_get(&m->applied_transactions),
	};

	status_lock(st);
	status_doubt(st, ctx->cfg);
	if (st->n_samples &&
		mono_diff_us(now.at, st->samples[st->n_samples - 1].at) < (int64_t)SAMPLE_MS * 1000) {
		status_unlock(st);
		return;
	}
	now.snapshot_bytes = st->snapshot_bytes_done;
	now.lag_seconds = st->lag_seconds;
	now.lag_bytes = st->lag_bytes;
	if (st->n_samples == STATUS_SAMPLES)
		memmove(st->samples, st->samples + 1, sizeof(*st->samples) * --st->n_samples);
	st->samples[st->n_samples++] = now;
	status_unlock(st);
}

static double per_second(double from, double to, double seconds)
{
	return (to - from) / seconds;
}

struct status_rates status_rates(const struct status *st)
{
	struct status_rates rates = { NAN, NAN, NAN, NAN, NAN };
	const struct status_sample *a, *b;
	double seconds;

	if (st->n_samples < 2)
		return rates;
	a = &st->samples[0];
	b = &st->samples[st->n_samples - 1];
	seconds = (double)mono_diff_us(b->at, a->at) / 1e6;
	if (seconds <= 0)
		return rates;
	rates.records = per_second((double)a->records, (double)b->records, seconds);
	rates.transactions = per_second((double)a->transactions, (double)b->transactions, seconds);
	/* a table that is read again takes its bytes back */
	if (b->snapshot_bytes >= a->snapshot_bytes)
		rates.snapshot_bytes =
			per_second((double)a->snapshot_bytes, (double)b->snapshot_bytes, seconds);
	if (a->lag_seconds >= 0 && b->lag_seconds >= 0)
		rates.lag_seconds = per_second(a->lag_seconds, b->lag_seconds, seconds);
	if (a->lag_bytes >= 0 && b->lag_bytes >= 0)
		rates.lag_bytes = per_second((double)a->lag_bytes, (double)b->lag_bytes, seconds);
	return rates;
}

double status_lag_seconds(const struct status *st, struct mono now)
{
	double since = (double)mono_diff_us(now, st->lag_measured) / 1e6;

	if (st->lag_seconds < 0 || !st->lag_measured.us ||
		(st->source.connected && !status_is_stale(st, now)))
		return st->lag_seconds;
	return since > st->lag_seconds ? since : st->lag_seconds;
}

double status_snapshot_eta(const struct status *st)
{
	struct status_rates rates = status_rates(st);

	if (!st->snapshot_running || !st->snapshot_bytes_estimated)
		return -1;
	if (st->snapshot_bytes_done >= st->snapshot_bytes_estimated)
		return 0;
	if (!(rates.snapshot_bytes > 0))
		return -1;
	return (double)(st->snapshot_bytes_estimated - st->snapshot_bytes_done) / rates.snapshot_bytes;
}
