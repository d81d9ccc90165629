/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The monitor's thread looks at the source every second, in the first seconds of a stream five times as often, on a
 * connection of its own: lag, the slot's health, the phase, and the barrier without which nothing is called ready. It
 * never touches the data's way. A source that does not answer makes the numbers stale and says so; only what a person
 * has to decide about ends the attempt.
 *
 * With a log between the halves, the reader's monitor looks at the source and its reader sends what it saw with the log;
 * the applier's monitor knows the source from there alone. So the lag is always that from source to target, and a
 * reader that has ended shows as a lag that grows.
 */

#include <poll.h>
#include <string.h>

#include <sluice/fault.h>

#include "attempt.h"
#include "lag.h"

#define TURN_MS	     1000
#define STOP_POLL_MS 100
/* the first turns of a stream, so that a short start, or one that only has to see that nothing is missing, is not shown late */
#define EARLY_MS    200
#define EARLY_TURNS 25
/* how long the limits may be exceeded before the phase falls back from in-sync */
#define FALL_BACK_MS 10000
/* the reader's news come once a second; after this long without any the log's head is not known any more */
#define NEWS_LATE_MS 5000

struct monitor {
	struct attempt *at;
	struct lag lag;
	double last_lag;
	struct mono last_contact; /* .us 0 = never */
	struct wall last_heard;	  /* the newest news from a log, the source's clock */
	struct mono limits_met, limits_missed;
	struct wall limits_met_at; /* the source's clock */
	uint64_t barrier;	   /* 0 = not written since the limits were met */
	enum phase stored;	   /* the phase that the target holds */
	bool stored_known;
	uint32_t early_turns; /* of this attempt, with the stream begun */
};

static void monitor_phase(struct monitor *mon, enum phase phase)
{
	struct attempt *at = mon->at;
	struct error err = ERROR_INIT;
	const char *name = phase_to_string(phase);

	if (mon->stored_known && mon->stored == phase)
		return;
	status_phase(at->ctx->status, phase);
	log_info(at->ctx->log, "phase", "phase changed", "phase=%s", name);
	/* behind a log the target's state can be written once a partition is ours; tried again in the next turn */
	if (at->sink && at->sink->state && state_set(at->sink->state, "phase", name, strlen(name), &err) < 0)
		return;
	mon->stored = phase;
	mon->stored_known = true;
}

static void monitor_stale(struct monitor *mon)
{
	struct status *st = mon->at->ctx->status;

	status_lock(st);
	if (mon->at->src)
		st->source.connected = false;
	if (mon->last_contact.us && mon->at->sink) {
		double since = (double)mono_diff_us(mono_now(), mon->last_contact) / 1e6;

		st->lag_seconds = since > mon->last_lag ? since : mon->last_lag;
	}
	status_unlock(st);
}

/* the distance from the source's end, as known from health, to what is passed */
static void monitor_lag(struct monitor *mon, const struct source_health *health, uint64_t passed)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;
	struct lag_input in = {
		.head = health->head,
		.server_time = health->server_time,
		.passed = passed,
		.pending = { atomic_load(&at->pending_us) },
	};

	status_lock(st);
	if (at->sink)
		in.applied = st->applied_commit_time;
	mon->last_lag = lag_update(&mon->lag, &in);
	/* in one process with an applier the lag is the applier's to tell */
	if (at->role != ROLE_READER || at->opt->role == ROLE_READER) {
		st->lag_seconds = mon->last_lag;
		st->lag_bytes = health->head > passed ? (int64_t)(health->head - passed) : 0;
		st->lag_measured = mono_now();
	}
	status_unlock(st);
}

static void monitor_publish(struct monitor *mon, const struct source_health *health)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;
	bool sends = at->role == ROLE_READER;

	if (atomic_load(&at->streaming) && health->head)
		monitor_lag(mon, health, atomic_load(sends ? &at->sent : &at->passed));
	if (sends) {
		int64_t behind_us = (int64_t)(mon->last_lag * 1e6);

		atomic_store(&at->news_at_us, health->server_time.us);
		atomic_store(&at->news_clear_us, mon->last_lag >= 0 ? health->server_time.us - behind_us : 0);
		atomic_store(&at->news_head, health->head);
	}
	status_lock(st);
	st->source.connected = true;
	st->source.last_contact = wall_now();
	at->format->position(
		(struct position){ health->head, 0 }, st->source.position, sizeof(st->source.position));
	st->slot_retained_bytes = health->retained_bytes;
	st->slot_safe_bytes = health->safe_bytes;
	memcpy(st->slot_wal_status, health->wal_status, sizeof(st->slot_wal_status));
	st->prepared_transactions = health->prepared_transactions;
	st->new_tables = health->new_tables;
	status_unlock(st);
	if (health->server_time.us)
		atomic_store(&at->clock_offset_us, health->server_time.us - wall_now().us);
	mon->last_contact = mono_now();
}

/* the limits, the barrier behind them, and the phase that follows from both */
static int monitor_readiness(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;
	const struct config *cfg = at->ctx->cfg;
	struct mono now = mono_now();
	bool met, applied;

	status_lock(st);
	met = st->lag_seconds >= 0 && st->lag_seconds * 1000 <= (double)cfg->cutover.max_lag_ms &&
	      st->lag_bytes >= 0 && (uint64_t)st->lag_bytes <= cfg->cutover.max_lag_bytes;
	status_unlock(st);
	if (met && !mon->limits_met.us) {
		mon->limits_met = now;
		mon->limits_met_at.us = wall_now().us + atomic_load(&at->clock_offset_us);
	}
	if (!met) {
		if (mon->limits_met.us)
			mon->limits_missed = now;
		mon->limits_met = (struct mono){ 0 };
		mon->barrier = 0;
	}
	if (met && at->src && !mon->barrier && at->src->ops->barrier(at->src, &mon->barrier, err) < 0)
		return -1;
	if (at->src)
		applied = mon->barrier && atomic_load(&at->passed) >= mon->barrier;
	else /* a heartbeat behind everything committed at that moment is the log's barrier */
		applied = met && atomic_load(&at->passed_clear_us) >= mon->limits_met_at.us;
	status_lock(st);
	st->limits_met_since = mon->limits_met;
	st->barrier_applied = applied;
	status_unlock(st);

	if (met)
		monitor_phase(mon, at->opt->ready && at->opt->ready(at->ctx) ? PHASE_READY : PHASE_IN_SYNC);
	else if (!mon->stored_known || mon->stored < PHASE_CATCHING_UP ||
		 mono_diff_us(now, mon->limits_missed) >= FALL_BACK_MS * 1000)
		monitor_phase(mon, PHASE_CATCHING_UP);
	else if (mon->stored == PHASE_READY)
		monitor_phase(mon, PHASE_IN_SYNC);
	return 0;
}

/* the end point of --until-synced: a marker behind all that was committed when we started */
static int monitor_until(struct monitor *mon, struct error *err)
{
	uint64_t major = 0;

	if (!mon->at->opt->until_synced || atomic_load(mon->at->until))
		return 0;
	if (mon->at->src->ops->barrier(mon->at->src, &major, err) < 0)
		return -1;
	atomic_store(mon->at->until, major);
	return 0;
}

/* the applier's turn behind a log */
static int monitor_log(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	struct source_health health = { 0 };
	int64_t silent_us;

	pthread_mutex_lock(&at->lock);
	health.head = at->heard.head;
	health.server_time = at->heard.at;
	silent_us = at->heard.when.us ? mono_diff_us(mono_now(), at->heard.when) : 0;
	mon->last_contact = at->heard.when;
	pthread_mutex_unlock(&at->lock);
	if (!mon->last_contact.us)
		return 0; /* nothing is known yet */
	if (silent_us > NEWS_LATE_MS * 1000) {
		monitor_stale(mon);
		return 0;
	}
	if (mon->last_heard.us != health.server_time.us)
		atomic_store(&at->clock_offset_us, health.server_time.us - (wall_now().us - silent_us));
	mon->last_heard = health.server_time;
	health.server_time.us += silent_us;
	monitor_lag(mon, &health, atomic_load(&at->passed));
	return monitor_readiness(mon, err);
}

static int monitor_turn(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	struct source_health health = {
		.retained_bytes = -1,
		.safe_bytes = -1,
		.prepared_transactions = -1,
	};

	if (SLUICE_FAULT_POINT("pipeline.monitor.turn"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.monitor.turn");
	if (!at->src)
		return monitor_log(mon, err);
	if (at->src->ops->watch(at->src, &health, err) < 0)
		return -1;
	monitor_publish(mon, &health);
	if (!atomic_load(&at->streaming)) {
		monitor_phase(mon, PHASE_SNAPSHOT);
		return 0;
	}
	if (monitor_until(mon, err) < 0)
		return -1;
	if (!atomic_load(&at->post_done)) {
		monitor_phase(mon, PHASE_SNAPSHOT);
		return 0;
	}
	/* who only sends cannot say how far the target is */
	if (at->role == ROLE_WHOLE)
		return monitor_readiness(mon, err);
	if (at->opt->role == ROLE_READER)
		monitor_phase(mon, PHASE_CATCHING_UP);
	return 0;
}

static bool monitor_due(const struct monitor *mon, struct mono last)
{
	struct attempt *at = mon->at;
	bool early =
		mon->early_turns < EARLY_TURNS && atomic_load(&at->streaming) && atomic_load(&at->post_done);

	return mono_diff_us(mono_now(), last) >= (early ? EARLY_MS : TURN_MS) * INT64_C(1000);
}

void *monitor_main(void *arg)
{
	struct attempt *at = arg;
	struct monitor mon = { .at = at, .last_lag = -1 };
	struct error err = ERROR_INIT;

	while (!atomic_load(&at->monitor_stop)) {
		struct mono began = mono_now();

		if (atomic_load(&at->streaming) && atomic_load(&at->post_done))
			mon.early_turns++;
		if (monitor_turn(&mon, &err) < 0) {
			monitor_stale(&mon);
			if (err.class != ERROR_TRANSIENT)
				attempt_fail(at, "source", &err);
		}
		while (!atomic_load(&at->monitor_stop) && !monitor_due(&mon, began))
			poll(NULL, 0, STOP_POLL_MS);
	}
	return NULL;
}
