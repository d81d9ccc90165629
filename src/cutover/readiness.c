/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Decides whether a cutover may begin. Ready means: both sides connected and watched a moment ago, the copy complete,
 * lag within its limits for cutover.hold, a barrier written behind that moment applied, and nothing that would be left
 * behind on the source (prepared transactions, tables not in the stream, sequences) or on the way (dead letters).
 *
 * Each thing that is not so is one reason, so that an operator sees all of them at once. A reason that a person has to
 * cure makes the estimate unknown: waiting would be in vain.
 *
 * What is unknown counts as not ready. Lag of zero on a stream that nobody watches is not lag of zero.
 */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sluice/readiness.h>
#include <sluice/report.h>

static const char *const needs_person[] = { "blocked", "paused", "phase", "dead_letters", "sequences",
	"new_tables", "fence_not_configured", "hook_missing", "reverse_not_possible", "other_stream",
	"verify" };

bool readiness_cured_by_time(const char *code)
{
	for (size_t i = 0; i < sizeof(needs_person) / sizeof(*needs_person); i++)
		if (strcmp(needs_person[i], code) == 0)
			return false;
	return true;
}

static struct readiness_reason *reason_add(struct readiness *ret, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static struct readiness_reason *reason_add(struct readiness *ret, const char *code, const char *fmt, ...)
{
	/* more kinds of reason than places cannot be: each check below adds at most one */
	struct readiness_reason *reason = &ret->reasons[ret->n_reasons++];
	va_list ap;

	memset(reason, 0, sizeof(*reason));
	snprintf(reason->code, sizeof(reason->code), "%s", code);
	va_start(ap, fmt);
	vsnprintf(reason->message, sizeof(reason->message), fmt, ap);
	va_end(ap);
	return reason;
}

static void reason_remedy(struct readiness_reason *reason, const char *remedy)
{
	snprintf(reason->remedy, sizeof(reason->remedy), "%s", remedy);
}

static void reason_u64(struct readiness_reason *reason, uint64_t value, uint64_t limit)
{
	snprintf(reason->value, sizeof(reason->value), "%llu", (unsigned long long)value);
	snprintf(reason->limit, sizeof(reason->limit), "%llu", (unsigned long long)limit);
}

static void reason_seconds(struct readiness_reason *reason, double value, int64_t limit_ms)
{
	snprintf(reason->value, sizeof(reason->value), "%.3f", value);
	snprintf(reason->limit, sizeof(reason->limit), "%lld.%03d", (long long)(limit_ms / 1000),
		(int)(limit_ms % 1000));
}

static void eta_unknown(struct readiness *ret)
{
	ret->eta_seconds = -1;
}

/* all have to be cured, so the slowest counts; once unknown, it stays so */
static void eta_at_least(struct readiness *ret, double seconds)
{
	if (ret->eta_seconds < 0)
		return;
	if (!(seconds >= 0))
		eta_unknown(ret);
	else if (seconds > ret->eta_seconds)
		ret->eta_seconds = seconds;
}

/* how long something above its limit needs to fall to it */
static double eta_falling(double value, double limit, double growth_per_second)
{
	return growth_per_second < 0 ? (value - limit) / -growth_per_second : NAN;
}

/* returns false when the process does not stream, so that its numbers mean nothing */
static bool judge_state(const struct status *st, struct readiness *ret)
{
	struct readiness_reason *reason = NULL;

	switch (st->state) {
	case STATE_RUNNING:
		break;
	case STATE_STARTING:
		reason = reason_add(ret, "not_connected", "the service is starting");
		break;
	case STATE_RETRYING:
		reason = reason_add(ret, "not_connected", "retrying: %.150s", st->state_reason);
		reason_remedy(reason, st->state_remedy);
		break;
	case STATE_STANDBY:
		reason = reason_add(ret, "standby", "another instance holds the lease; ask that one");
		break;
	case STATE_PAUSED:
		reason = reason_add(ret, "paused", "the stream is paused");
		reason_remedy(reason, "sluice resume");
		break;
	case STATE_BLOCKED:
		reason = reason_add(ret, "blocked", "%s: %.150s", st->state_code, st->state_reason);
		reason_remedy(reason, st->state_remedy);
		break;
	case STATE_DRAINING:
	case STATE_FINISHED:
		reason = reason_add(ret, "not_connected", "the service is stopping");
		break;
	case STATE_COUNT:
		break;
	}
	if (reason)
		eta_unknown(ret);
	return !reason;
}

static bool judge_connected(const struct readiness_input *in, struct readiness *ret)
{
	const struct status *st = in->st;
	const char *who = !st->source.connected
				  ? (st->target.connected ? "the source is" : "source and target are")
				  : "the target is";
	double age = (double)mono_diff_us(in->now, st->lag_measured) / 1e6;

	if (!st->source.connected || !st->target.connected) {
		reason_add(ret, "not_connected", "%s not connected", who);
		eta_unknown(ret);
		return false;
	}
	if (!st->lag_measured.us) {
		reason_add(ret, "stale", "the source's end is not known yet");
		eta_unknown(ret);
		return false;
	}
	if (age * 1000 > STATUS_STALE_MS) {
		reason_seconds(reason_add(ret, "stale", "the source's end was last known %.0f s ago", age),
			age, STATUS_STALE_MS);
		eta_unknown(ret);
		return false;
	}
	return true;
}

static void judge_phase(const struct status *st, struct readiness *ret)
{
	struct readiness_reason *reason;

	switch (st->phase) {
	case PHASE_PREPARE:
	case PHASE_SNAPSHOT:
		if (st->snapshot_running || st->snapshot_tables_done < st->snapshot_tables_total)
			reason = reason_add(ret, "snapshot", "the copy has done %llu of %llu tables",
				(unsigned long long)st->snapshot_tables_done,
				(unsigned long long)st->snapshot_tables_total);
		else
			reason = reason_add(ret, "snapshot",
				"the stream has not passed the copy, or its indexes are being built");
		reason_u64(reason, st->snapshot_tables_done, st->snapshot_tables_total);
		eta_at_least(ret, status_snapshot_eta(st));
		break;
	case PHASE_CATCHING_UP:
	case PHASE_IN_SYNC:
	case PHASE_READY:
		break;
	case PHASE_FENCING:
	case PHASE_DRAINING:
	case PHASE_VERIFYING:
		reason_add(ret, "phase", "a cutover is under way: %s", phase_to_string(st->phase));
		eta_unknown(ret);
		break;
	case PHASE_SWITCHED:
	case PHASE_FINISHED:
	case PHASE_ROLLED_BACK:
		reason_add(ret, "phase", "the migration is %s", phase_to_string(st->phase));
		eta_unknown(ret);
		break;
	case PHASE_COUNT:
		break;
	}
}

static void judge_lag(const struct readiness_input *in, struct readiness *ret)
{
	const struct status *st = in->st;
	struct status_rates rates = status_rates(st);
	double lag = status_lag_seconds(st, in->now), limit = (double)in->cfg->cutover.max_lag_ms / 1000;
	uint64_t limit_bytes = in->cfg->cutover.max_lag_bytes;
	bool met = true;

	if (lag < 0 || st->lag_bytes < 0) {
		reason_add(ret, "stale", "the lag is not known yet");
		eta_unknown(ret);
		return;
	}
	if (lag > limit) {
		reason_seconds(
			reason_add(ret, "lag_seconds", "the target is %.1f s behind, limit %g s", lag, limit),
			lag, in->cfg->cutover.max_lag_ms);
		eta_at_least(ret, eta_falling(lag, limit, rates.lag_seconds));
		met = false;
	}
	if ((uint64_t)st->lag_bytes > limit_bytes) {
		reason_u64(reason_add(ret, "lag_bytes", "the target is %lld bytes behind, limit %llu",
				   (long long)st->lag_bytes, (unsigned long long)limit_bytes),
			(uint64_t)st->lag_bytes, limit_bytes);
		eta_at_least(ret, eta_falling((double)st->lag_bytes, (double)limit_bytes, rates.lag_bytes));
		met = false;
	}
	ret->limits_met = met;
}

/* limits that are met have to stay so, and what was committed before they were has to be applied */
static void judge_hold(const struct readiness_input *in, struct readiness *ret)
{
	const struct status *st = in->st;
	int64_t hold_ms = in->cfg->cutover.hold_ms;
	int64_t held_ms = st->limits_met_since.us ? mono_diff_us(in->now, st->limits_met_since) / 1000 : 0;
	double left = (double)(hold_ms - held_ms) / 1000;

	if (st->limits_met_since.us && held_ms >= hold_ms && st->barrier_applied)
		return;
	if (held_ms < hold_ms)
		reason_seconds(reason_add(ret, "hold", "the limits have held for %lld of %lld s",
				       (long long)held_ms / 1000, (long long)hold_ms / 1000),
			(double)held_ms / 1000, hold_ms);
	else
		reason_add(ret, "hold", "the barrier written behind the limits is not applied yet");
	eta_at_least(ret, left > 0 ? left : 0);
}

static void judge_leftovers(const struct readiness_input *in, struct readiness *ret)
{
	const struct status *st = in->st;
	struct readiness_reason *reason;

	if (in->dead_letters) {
		reason = reason_add(ret, "dead_letters", "%llu records are in the dead letters",
			(unsigned long long)in->dead_letters);
		reason_u64(reason, in->dead_letters, 0);
		reason_remedy(reason, "sluice dead-letters list");
	}
	if (st->prepared_transactions > 0) {
		reason = reason_add(ret, "prepared_transactions",
			"%lld prepared transactions are open on the source",
			(long long)st->prepared_transactions);
		reason_u64(reason, (uint64_t)st->prepared_transactions, 0);
		reason_remedy(reason, "COMMIT PREPARED or ROLLBACK PREPARED; see pg_prepared_xacts");
	}
	if (in->cfg->source.type == PEER_POSTGRESQL && in->cfg->target.type == PEER_POSTGRESQL &&
		!st->sequences_mapped && st->phase >= PHASE_CATCHING_UP) /* the copy's last step */
		reason_add(ret, "sequences", "the sequences of the source are not known on the target");
	if (st->new_tables) {
		reason = reason_add(ret, "new_tables",
			"%llu tables match source.include and are not in the stream",
			(unsigned long long)st->new_tables);
		reason_u64(reason, st->new_tables, 0);
		reason_remedy(reason, "start over (README), or exclude them");
	}
	for (uint32_t i = 0; i < ret->n_reasons; i++)
		if (!readiness_cured_by_time(ret->reasons[i].code))
			eta_unknown(ret);
	if (st->prepared_transactions > 0)
		eta_unknown(ret);
}

void readiness_judge(const struct readiness_input *in, struct readiness *ret)
{
	ret->ready = false;
	ret->limits_met = false;
	ret->eta_seconds = 0;
	ret->n_reasons = 0;
	if (judge_state(in->st, ret) && judge_connected(in, ret)) {
		bool snapshot;

		judge_phase(in->st, ret);
		snapshot = in->st->phase < PHASE_CATCHING_UP;
		if (!snapshot)
			judge_lag(in, ret);
		if (ret->limits_met)
			judge_hold(in, ret);
		else if (ret->eta_seconds >= 0)
			ret->eta_seconds += (double)in->cfg->cutover.hold_ms / 1000;
	}
	judge_leftovers(in, ret);
	ret->ready = ret->n_reasons == 0;
}

void readiness_evaluate(const struct context *ctx, struct readiness *ret)
{
	struct readiness_input in = {
		.cfg = ctx->cfg,
		.st = ctx->status,
		.dead_letters = metric_get(&ctx->metrics->dead_letters_pending),
		.now = mono_now(),
	};

	status_lock(ctx->status);
	readiness_judge(&in, ret);
	status_unlock(ctx->status);
}

bool readiness_is_ready(const struct context *ctx)
{
	struct readiness ready;

	readiness_evaluate(ctx, &ready);
	return ready.ready;
}
