/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Readiness: one thing is wrong at a time, and the one reason for it is expected; then several at once.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <sluice/readiness.h>

#define NOW_S 1000

static struct mono seconds(double s)
{
	return (struct mono){ (int64_t)(s * 1e6) };
}

static struct config settings(void)
{
	struct config cfg = { .cutover = { .max_lag_ms = 1000, .max_lag_bytes = 1000, .hold_ms = 30000 } };

	return cfg;
}

/* everything as it should be */
static void status_good(struct status *st)
{
	status_init(st);
	st->phase = PHASE_IN_SYNC;
	st->state = STATE_RUNNING;
	st->source.connected = st->target.connected = true;
	st->lag_seconds = 0.5;
	st->lag_bytes = 100;
	st->lag_measured = seconds(NOW_S - 1);
	st->limits_met_since = seconds(NOW_S - 31);
	st->barrier_applied = true;
	st->prepared_transactions = 0;
	st->sequences_mapped = true;
}

static void judge(
	const struct config *cfg, const struct status *st, uint64_t dead_letters, struct readiness *ret)
{
	struct readiness_input in = {
		.cfg = cfg, .st = st, .dead_letters = dead_letters, .now = seconds(NOW_S)
	};

	memset(ret, 0xff, sizeof(*ret)); /* nothing of before may shine through */
	readiness_judge(&in, ret);
}

static void break_target(struct status *st)
{
	st->target.connected = false;
}

static void break_source(struct status *st)
{
	st->source.connected = false;
}

static void break_retrying(struct status *st)
{
	st->state = STATE_RETRYING;
	snprintf(st->state_reason, sizeof(st->state_reason), "connection refused");
}

static void break_starting(struct status *st)
{
	st->state = STATE_STARTING;
}

static void break_draining(struct status *st)
{
	st->state = STATE_DRAINING;
}

static void break_stale(struct status *st)
{
	st->lag_measured = seconds(NOW_S - 11);
}

static void break_never_measured(struct status *st)
{
	st->lag_measured = (struct mono){ 0 };
}

static void break_unknown_lag(struct status *st)
{
	st->lag_seconds = -1;
}

static void break_blocked(struct status *st)
{
	st->state = STATE_BLOCKED;
	snprintf(st->state_code, sizeof(st->state_code), "PG-SLOT-LOST");
	snprintf(st->state_remedy, sizeof(st->state_remedy), "sluice resync");
}

static void break_standby(struct status *st)
{
	st->state = STATE_STANDBY;
}

static void break_paused(struct status *st)
{
	st->state = STATE_PAUSED;
}

static void break_snapshot(struct status *st)
{
	st->phase = PHASE_SNAPSHOT;
	st->snapshot_running = true;
	st->snapshot_tables_total = 41;
	st->snapshot_tables_done = 7;
}

static void break_switched(struct status *st)
{
	st->phase = PHASE_SWITCHED;
}

static void break_lag_seconds(struct status *st)
{
	st->lag_seconds = 4.1;
	st->limits_met_since = (struct mono){ 0 };
}

static void break_lag_bytes(struct status *st)
{
	st->lag_bytes = 1001;
}

static void break_hold(struct status *st)
{
	st->limits_met_since = seconds(NOW_S - 12);
	st->barrier_applied = true;
}

static void break_barrier(struct status *st)
{
	st->barrier_applied = false;
}

static void break_prepared(struct status *st)
{
	st->prepared_transactions = 2;
}

static void break_sequences(struct status *st)
{
	st->sequences_mapped = false;
}

static void break_new_tables(struct status *st)
{
	st->new_tables = 3;
}

static const struct {
	void (*break_it)(struct status *st);
	uint64_t dead_letters;
	const char *code, *value, *limit, *remedy;
	double eta; /* -1 = unknown */
} rows[] = {
	{ break_target, 0, "not_connected", "", "", "", -1 },
	{ break_source, 0, "not_connected", "", "", "", -1 },
	{ break_retrying, 0, "not_connected", "", "", "", -1 },
	{ break_starting, 0, "not_connected", "", "", "", -1 },
	{ break_draining, 0, "not_connected", "", "", "", -1 },
	{ break_stale, 0, "stale", "11.000", "10.000", "", -1 },
	{ break_never_measured, 0, "stale", "", "", "", -1 },
	{ break_unknown_lag, 0, "stale", "", "", "", -1 },
	{ break_blocked, 0, "blocked", "", "", "sluice resync", -1 },
	{ break_standby, 0, "standby", "", "", "", -1 },
	{ break_paused, 0, "paused", "", "", "sluice resume", -1 },
	{ break_snapshot, 0, "snapshot", "7", "41", "", -1 },
	{ break_switched, 0, "phase", "", "", "", -1 },
	{ break_lag_seconds, 0, "lag_seconds", "4.100", "1.000", "", -1 },
	{ break_lag_bytes, 0, "lag_bytes", "1001", "1000", "", -1 },
	{ break_hold, 0, "hold", "12.000", "30.000", "", 18 },
	{ break_barrier, 0, "hold", "", "", "", 0 },
	{ break_prepared, 0, "prepared_transactions", "2", "0",
		"COMMIT PREPARED or ROLLBACK PREPARED; see pg_prepared_xacts", -1 },
	{ break_sequences, 0, "sequences", "", "", "", -1 },
	{ break_new_tables, 0, "new_tables", "3", "0", "start over (README), or exclude them", -1 },
	{ NULL, 5, "dead_letters", "5", "0", "sluice dead-letters list", -1 },
};

static void test_one_reason_each(void **state)
{
	struct config cfg = settings();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct readiness ready;
		struct status st;

		status_good(&st);
		if (rows[i].break_it)
			rows[i].break_it(&st);
		judge(&cfg, &st, rows[i].dead_letters, &ready);
		assert_false(ready.ready);
		assert_int_equal(ready.n_reasons, 1);
		assert_string_equal(ready.reasons[0].code, rows[i].code);
		assert_string_equal(ready.reasons[0].value, rows[i].value);
		assert_string_equal(ready.reasons[0].limit, rows[i].limit);
		assert_string_equal(ready.reasons[0].remedy, rows[i].remedy);
		assert_true(ready.reasons[0].message[0] != 0);
		assert_true(ready.eta_seconds == rows[i].eta);
		status_fini(&st);
	}
}

static void test_ready(void **state)
{
	static const enum phase phases[] = { PHASE_CATCHING_UP, PHASE_IN_SYNC, PHASE_READY };
	struct config cfg = settings();

	for (size_t i = 0; i < 3; i++) {
		struct readiness ready;
		struct status st;

		status_good(&st);
		st.phase = phases[i];
		judge(&cfg, &st, 0, &ready);
		assert_true(ready.ready);
		assert_true(ready.limits_met);
		assert_int_equal(ready.n_reasons, 0);
		assert_true(ready.eta_seconds == 0);
		status_fini(&st);
	}
}

static bool has(const struct readiness *ready, const char *code)
{
	for (uint32_t i = 0; i < ready->n_reasons; i++)
		if (strcmp(ready->reasons[i].code, code) == 0)
			return true;
	return false;
}

static void test_all_reasons_at_once(void **state)
{
	struct config cfg = settings();
	struct readiness ready;
	struct status st;

	status_good(&st);
	break_lag_seconds(&st);
	break_lag_bytes(&st);
	break_prepared(&st);
	break_sequences(&st);
	break_new_tables(&st);
	judge(&cfg, &st, 1, &ready);
	assert_int_equal(ready.n_reasons, 6);
	assert_true(has(&ready, "lag_seconds") && has(&ready, "lag_bytes") && has(&ready, "new_tables"));
	assert_true(has(&ready, "prepared_transactions") && has(&ready, "sequences") &&
		    has(&ready, "dead_letters"));
	assert_false(has(&ready, "hold")); /* it begins when the limits are met */
	assert_false(ready.limits_met);
	assert_true(ready.eta_seconds < 0);
	status_fini(&st);
}

/* 10 s of lag that fell by 4 in 2 s: the limit of 1 s is 4.5 s away, and then it has to hold for 30 s */
static void test_eta_of_falling_lag(void **state)
{
	struct config cfg = settings();
	struct readiness ready;
	struct status st;

	status_good(&st);
	st.lag_seconds = 10;
	st.n_samples = 2;
	st.samples[0] =
		(struct status_sample){ .at = seconds(NOW_S - 2), .lag_seconds = 14, .lag_bytes = 100 };
	st.samples[1] = (struct status_sample){ .at = seconds(NOW_S), .lag_seconds = 10, .lag_bytes = 100 };
	judge(&cfg, &st, 0, &ready);
	assert_true(ready.eta_seconds > 34.4 && ready.eta_seconds < 34.6);
	st.samples[0].lag_seconds = 9; /* rising */
	judge(&cfg, &st, 0, &ready);
	assert_true(ready.eta_seconds < 0);
	status_fini(&st);
}

/* sequences are a matter of two PostgreSQLs */
static void test_other_drivers_have_no_sequences(void **state)
{
	struct config cfg = settings();
	struct readiness ready;
	struct status st;

	status_good(&st);
	st.sequences_mapped = false;
	cfg.target.type = PEER_DISCARD;
	judge(&cfg, &st, 0, &ready);
	assert_true(ready.ready);
	status_fini(&st);
}

static void test_cured_by_time(void **state)
{
	assert_true(readiness_cured_by_time("lag_seconds"));
	assert_true(readiness_cured_by_time("hold"));
	assert_true(readiness_cured_by_time("snapshot"));
	assert_true(readiness_cured_by_time("not_connected"));
	assert_false(readiness_cured_by_time("blocked"));
	assert_false(readiness_cured_by_time("paused"));
	assert_false(readiness_cured_by_time("dead_letters"));
	assert_false(readiness_cured_by_time("phase"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_reason_each),
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_all_reasons_at_once),
		cmocka_unit_test(test_eta_of_falling_lag),
		cmocka_unit_test(test_other_drivers_have_no_sequences),
		cmocka_unit_test(test_cured_by_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
