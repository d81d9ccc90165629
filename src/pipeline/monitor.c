/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The monitor's thread looks at the source every second, in the first seconds of a stream five times as often, on a
 * connection of its own: lag, the slot's health, the phase, and the barrier without which nothing is called ready. It
 * never touches the data's way. A source that does not answer makes the numbers stale and says so; only what a person
 * has to decide about ends the attempt.
 *
 * With a log between the halves, the reader's monitor looks at the source; the applier's knows the source from what the reader
 * leaves with the brokers, and from heartbeats in the log. Both leave notes for each other (exchange.c), so the lag is that from
 * source to target on either side, and a half that has ended shows as a lag that grows.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <sluice/fault.h>

#include "attempt.h"
#include "exchange.h"
#include "lag.h"

#define TURN_MS	     1000
#define STOP_POLL_MS 100
/* between two turns the source's end is sampled: what others write is WAL too, and where it never ends the last sample that was
 * passed is all that tells how far we are behind */
#define SAMPLE_MS 200
#define LAST_MS	  1000
/* the first turns of a stream, so that a short start, or one that only has to see that nothing is missing, is not shown late */
#define EARLY_MS    200
#define EARLY_TURNS 25
/* how long the limits may be exceeded before the phase falls back from in-sync */
#define FALL_BACK_MS 10000

struct monitor {
	struct attempt *at;
	struct lag lag;
	struct lag logged; /* the reader's: behind what is durable in the log */
	double last_lag;
	struct exchange exchange;
	struct source_clock clock;  /* the applier's */
	struct mono last_contact;   /* .us 0 = never */
	struct transport_end *ends; /* the applier's end point, where it cannot ask the source */
	uint32_t n_ends;
	bool ends_known;
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
	bool shown;

	status_lock(at->ctx->status);
	shown = at->ctx->status->phase == phase;
	status_unlock(at->ctx->status);
	if (shown && mon->stored_known && mon->stored == phase)
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
	if (mon->last_contact.us && mon->at->src && mon->at->sink) {
		double since = (double)mono_diff_us(mono_now(), mon->last_contact) / 1e6;

		st->lag_seconds = since > mon->last_lag ? since : mon->last_lag;
	}
	status_unlock(st);
}

/* the applier hears nothing of the source */
static void monitor_silence(struct monitor *mon, int64_t since_us)
{
	struct status *st = mon->at->ctx->status;
	double since = (double)since_us / 1e6;

	status_lock(st);
	st->source.connected = false;
	st->lag_seconds = since > mon->last_lag ? since : mon->last_lag;
	status_unlock(st);
}

/* the applier knows the source by hearsay */
static void monitor_heard(struct monitor *mon, const struct source_health *health)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;

	status_lock(st);
	if (at->opt->role == ROLE_APPLIER) {
		st->source.connected = true;
		st->source.last_contact = wall_now();
		st->prepared_transactions = health->prepared_transactions;
		st->new_tables = health->new_tables;
		at->format->position((struct position){ health->head, 0 }, st->source.position,
			sizeof(st->source.position));
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
	if (at->role == ROLE_APPLIER && atomic_load(&at->passed_clear_us) > in.applied.us)
		in.applied.us = atomic_load(&at->passed_clear_us);
	mon->last_lag = lag_update(&mon->lag, &in);
	/* the lag is the applier's to tell */
	if (at->role != ROLE_READER) {
		st->lag_seconds = mon->last_lag;
		st->lag_bytes = !passed ? -1 : health->head > passed ? (int64_t)(health->head - passed) : 0;
		st->lag_measured = mono_now();
	}
	status_unlock(st);
}

/* what the reader knows goes to whoever is behind the log, and what they know comes back */
static void monitor_exchange(struct monitor *mon, const struct source_health *health)
{
	struct attempt *at = mon->at;
	struct lag_input in = {
		.head = health->head,
		.server_time = health->server_time,
		.passed = atomic_load(&at->durable),
	};
	bool streams = atomic_load(&at->streaming) && health->head;
	double behind = streams ? lag_update(&mon->logged, &in) : -1;
	struct note mine = {
		.at = health->server_time,
		.head = health->head,
		.passed = streams ? in.passed : 0,
		.lag_us = behind < 0 ? -1 : (int64_t)(behind * 1e6),
		.prepared = health->prepared_transactions,
		.new_tables = (int64_t)health->new_tables,
		.phase = PHASE_PREPARE,
	};
	struct sight sight = {
		.head = health->head,
		.now = health->server_time,
		.passed = mine.passed,
		.seconds = behind,
	};

	exchange_turn(&mon->exchange, &mine);
	exchange_show_reader(&mon->exchange, &sight);
}

/* for whoever is behind the log, by the next heartbeat */
static void monitor_news(struct monitor *mon, const struct source_health *health)
{
	struct attempt *at = mon->at;
	int64_t behind_us = (int64_t)(mon->last_lag * 1e6);

	atomic_store(&at->news_at_us, health->server_time.us);
	atomic_store(&at->news_clear_us, mon->last_lag >= 0 ? health->server_time.us - behind_us : 0);
	atomic_store(&at->news_head, health->head);
}

static void monitor_publish(struct monitor *mon, const struct source_health *health)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;
	bool sends = at->role == ROLE_READER;

	if (atomic_load(&at->streaming) && health->head)
		monitor_lag(mon, health, atomic_load(sends ? &at->sent : &at->passed));
	if (sends) {
		monitor_news(mon, health);
		monitor_exchange(mon, health);
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

/* the applier's way to the same: it asks the source itself where it may, else the log's end counts */
static int monitor_end_point(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	uint64_t major = 0;

	if (mon->ends_known)
		return 0;
	free(mon->ends);
	if (transport_notes_partitions(mon->exchange.notes, &mon->ends, &mon->n_ends, err) < 0 ||
		transport_notes_ends(mon->exchange.notes, mon->ends, mon->n_ends, err) < 0)
		return -1;
	for (uint32_t i = 0; i < mon->n_ends; i++) {
		if (mon->ends[i].offset < 0)
			return error_set(err, ERROR_TRANSIENT, "KAFKA-TOPIC",
				"topic %s partition %d: its end is not known", mon->ends[i].topic,
				(int)mon->ends[i].partition);
	}
	if (at->opt->until_synced && !atomic_load(at->until)) {
		if (attempt_mark_source(at, &major, err) < 0)
			return -1;
		atomic_store(at->until, major);
	}
	mon->ends_known = true;
	log_info(at->ctx->log, "end-point", "the end point is known", "of=%s partitions=%u",
		atomic_load(at->until) ? "source" : "log", mon->n_ends);
	return 0;
}

/* the source that was asked for an end point has to be that of the log */
static int monitor_check_source(struct attempt *at, struct error *err)
{
	struct status *st = at->ctx->status;
	char identity[sizeof(st->source.identity)];

	status_lock(st);
	memcpy(identity, st->source.identity, sizeof(identity));
	status_unlock(st);
	if (!*at->marked || !*identity || strcmp(at->marked, identity) == 0)
		return 0;
	error_set(err, ERROR_CONFIG, "UNTIL-SOURCE", "source.uri leads to source %s, the log is that of %s",
		at->marked, identity);
	return error_remedy(err, "point source.uri at the source of the stream, or leave it out");
}

/* with both halves here the reader's end point is the applier's, too: it needs no partition of another process */
static int monitor_until_applied(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	uint64_t until;

	if (at->opt->role != ROLE_APPLIER || !(at->opt->until_synced || at->opt->until))
		return 0;
	if (monitor_end_point(mon, err) < 0)
		return -1;
	until = atomic_load(at->until);
	if (monitor_check_source(at, err) < 0)
		return -1;
	if (!exchange_passed(&mon->exchange, until, atomic_load(&at->durable), mon->ends, mon->n_ends) ||
		!atomic_load(&at->post_done))
		return 0;
	atomic_store(&at->reached, true);
	eventfd_write(at->done_fd, 1);
	return 0;
}

/* what the reader left last, or what a heartbeat in the log says where that is newer; 0 = nothing was ever heard */
static int64_t monitor_hear(struct monitor *mon, struct source_health *ret)
{
	struct attempt *at = mon->at;
	const struct heard *reader = &mon->exchange.reader;
	struct mono since = reader->since;

	*ret = (struct source_health){
		.head = reader->note.head,
		.server_time = reader->note.at,
		.prepared_transactions = reader->note.at.us ? reader->note.prepared : -1,
		.new_tables = reader->note.new_tables > 0 ? (uint64_t)reader->note.new_tables : 0,
	};
	if (reader->note.at.us)
		source_clock_hear(&mon->clock, since, reader->note.at);
	pthread_mutex_lock(&at->lock);
	if (at->heard.when.us) {
		source_clock_hear(&mon->clock, at->heard.when, at->heard.at);
		if (at->heard.at.us > ret->server_time.us) {
			ret->head = at->heard.head;
			ret->server_time = at->heard.at;
			since = at->heard.when;
		}
	}
	pthread_mutex_unlock(&at->lock);
	return since.us;
}

static bool monitor_is_in(struct monitor *mon, enum run_state state)
{
	struct status *st = mon->at->ctx->status;
	bool is;

	status_lock(st);
	is = st->state == state;
	status_unlock(st);
	return is;
}

/* who has no partition shows what the others say, and stores nothing */
static void monitor_others_phase(struct monitor *mon, struct wall now)
{
	struct status *st = mon->at->ctx->status;

	mon->stored_known = false;
	mon->limits_met = (struct mono){ 0 };
	status_lock(st);
	st->phase = exchange_phase(&mon->exchange, now, st->phase);
	st->limits_met_since = mon->limits_met;
	status_unlock(st);
}

static int monitor_applier_phase(struct monitor *mon, struct error *err)
{
	if (!monitor_is_in(mon, STATE_RUNNING))
		return 0;
	if (atomic_load(&mon->at->post_done) &&
		(atomic_load(&mon->at->passed) || atomic_load(&mon->at->passed_clear_us)))
		return monitor_readiness(mon, err);
	monitor_phase(mon, PHASE_SNAPSHOT);
	return 0;
}

/* another applier has the partition: how far it is, it says itself */
static void monitor_stand_by(struct monitor *mon, const struct sight *sight)
{
	struct status *st = mon->at->ctx->status;
	double silence = -1;

	status_lock(st);
	if (sight->silent)
		silence = st->lag_seconds;
	status_unlock(st);
	exchange_show_standby(&mon->exchange, sight);
	status_lock(st);
	/* what a silent source has behind it nobody knows */
	if (silence > st->lag_seconds)
		st->lag_seconds = silence;
	if (!sight->silent)
		mon->last_lag = st->lag_seconds;
	status_unlock(st);
}

/* the applier's turn behind a log */
static int monitor_log(struct monitor *mon, struct error *err)
{
	struct attempt *at = mon->at;
	struct status *st = at->ctx->status;
	struct mono now = mono_now();
	struct source_health health;
	struct note mine = { .lag_us = -1, .prepared = -1, .new_tables = -1 };
	struct sight sight = { .passed = atomic_load(&at->passed), .seconds = -1 };
	bool standby;
	int r = 0;

	mon->last_contact.us = monitor_hear(mon, &health);
	sight.now = source_clock_now(&mon->clock, now);
	sight.head = health.head;
	sight.silent = mono_diff_us(now, mon->last_contact) > NEWS_LATE_MS * 1000;
	standby = monitor_is_in(mon, STATE_STANDBY);
	mon->exchange.stands_by = standby && !at->reader->spread;
	if (mon->last_contact.us && sight.silent) {
		/* nothing else tells how long the silence has lasted than our own clock, be it set well or not */
		if (wall_now().us > sight.now.us)
			sight.now = wall_now();
		monitor_silence(mon, sight.now.us - health.server_time.us);
	} else if (mon->last_contact.us) {
		health.server_time = sight.now;
		atomic_store(&at->clock_offset_us, sight.now.us - wall_now().us);
		if (!mon->exchange.stands_by)
			monitor_lag(mon, &health, sight.passed);
		monitor_heard(mon, &health);
	}
	if (mon->last_contact.us) {
		status_lock(st);
		sight.seconds = st->lag_seconds;
		mine.phase = st->phase;
		status_unlock(st);
		mine.at = sight.now;
		mine.passed = sight.passed;
		mine.durable = atomic_load(&at->durable);
		mine.lag_us = sight.seconds < 0 ? -1 : (int64_t)(sight.seconds * 1e6);
	}
	exchange_turn(&mon->exchange, mon->last_contact.us ? &mine : NULL);
	if (mon->last_contact.us && mon->exchange.stands_by)
		monitor_stand_by(mon, &sight);
	else if (mon->last_contact.us)
		exchange_show_applier(&mon->exchange, &sight);
	if (mon->last_contact.us && standby)
		monitor_others_phase(mon, sight.now);
	else if (mon->last_contact.us)
		r = monitor_applier_phase(mon, err);
	return r < 0 ? r : monitor_until_applied(mon, err);
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
		monitor_phase(mon, exchange_phase(&mon->exchange, health.server_time, PHASE_CATCHING_UP));
	return 0;
}

/* who ends in order leaves a note of where that was */
static void monitor_last(struct monitor *mon)
{
	struct error ignored = ERROR_INIT;

	if (!mon->exchange.notes || !attempt_draining(mon->at) || attempt_aborted(mon->at))
		return;
	transport_notes_settle(mon->exchange.notes, LAST_MS);
	if (monitor_turn(mon, &ignored) == 0)
		transport_notes_settle(mon->exchange.notes, LAST_MS);
}

static void monitor_sample(struct monitor *mon)
{
	struct attempt *at = mon->at;
	struct error ignored = ERROR_INIT; /* the next turn says it */
	struct source_health health;

	if (!at->src) {
		pthread_mutex_lock(&at->lock);
		if (at->heard.head)
			lag_note(&mon->lag, at->heard.head, at->heard.at);
		pthread_mutex_unlock(&at->lock);
		return;
	}
	if (!at->src->ops->head || !atomic_load(&at->streaming) ||
		at->src->ops->head(at->src, &health.head, &health.server_time, &ignored) != 0)
		return;
	if (at->role != ROLE_READER) {
		lag_note(&mon->lag, health.head, health.server_time);
		return;
	}
	lag_note(&mon->logged, health.head, health.server_time);
	monitor_lag(mon, &health, atomic_load(&at->sent));
	monitor_news(mon, &health);
}

static bool monitor_due(const struct monitor *mon, struct mono last)
{
	struct attempt *at = mon->at;
	bool early =
		mon->early_turns < EARLY_TURNS && atomic_load(&at->streaming) && atomic_load(&at->post_done);

	return mono_diff_us(mono_now(), last) >= (early ? EARLY_MS : TURN_MS) * INT64_C(1000);
}

/* until the next turn, or the end */
static void monitor_wait(struct monitor *mon, struct mono began)
{
	struct mono last = began;

	while (!atomic_load(&mon->at->monitor_stop) && !monitor_due(mon, began)) {
		poll(NULL, 0, STOP_POLL_MS);
		if (mono_diff_us(mono_now(), last) < SAMPLE_MS * 1000)
			continue;
		last = mono_now();
		monitor_sample(mon);
	}
}

void *monitor_main(void *arg)
{
	struct attempt *at = arg;
	struct monitor mon = { .at = at, .last_lag = -1 };
	struct error err = ERROR_INIT;

	exchange_init(&mon.exchange, at->ctx, at->role == ROLE_READER ? EXCHANGE_READER : EXCHANGE_APPLIER);
	mon.exchange.alone = at->opt->role != ROLE_WHOLE;
	while (!atomic_load(&at->monitor_stop)) {
		struct mono began = mono_now();

		if (atomic_load(&at->streaming) && atomic_load(&at->post_done))
			mon.early_turns++;
		if (monitor_turn(&mon, &err) < 0) {
			monitor_stale(&mon);
			if (err.class != ERROR_TRANSIENT)
				attempt_fail(at, "source", &err);
		}
		monitor_wait(&mon, began);
	}
	monitor_last(&mon);
	exchange_fini(&mon.exchange);
	free(mon.ends);
	return NULL;
}
