/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The status: setters, rates, and the JSON, parsed back.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include <sluice/cleanup.h>
#include <sluice/report.h>

#include "context_fixture.h"

static char name[] = "shop", secret[] = "postgresql://u:hunter2@blue/shop";

static int setup(void **state)
{
	memset(&counters, 0, sizeof(counters));
	status_init(&status);
	cfg.name = name;
	cfg.source.uri = cfg.target.uri = secret;
	return 0;
}

static int teardown(void **state)
{
	status_fini(&status);
	return 0;
}

static yajl_val render(const char *from, const struct readiness *ready, uint32_t tables)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct report_options opt = { .from = from, .ready = ready, .max_tables = tables };
	char why[256];
	yajl_val doc;

	report_status(&ctx, &opt, &text);
	assert_null(strstr(buf_str(&text), "hunter2"));
	doc = yajl_tree_parse(buf_str(&text), why, sizeof(why));
	assert_non_null(doc);
	return doc;
}

static yajl_val member(yajl_val doc, const char *a, const char *b)
{
	const char *path[] = { a, b, NULL };
	yajl_val found = yajl_tree_get(doc, path, yajl_t_any);

	if (!found)
		fail_msg("no member %s.%s", a, b ? b : "");
	return found;
}

static size_t count(yajl_val doc, const char *a, const char *b)
{
	yajl_val found = member(doc, a, b);

	assert_true(found->type == yajl_t_array);
	return found->u.array.len;
}

static yajl_val nth(yajl_val doc, const char *a, const char *b, size_t n)
{
	assert_true(count(doc, a, b) > n);
	return member(doc, a, b)->u.array.values[n];
}

static void has_string(yajl_val doc, const char *a, const char *b, const char *value)
{
	yajl_val found = member(doc, a, b);

	assert_true(YAJL_IS_STRING(found));
	assert_string_equal(YAJL_GET_STRING(found), value);
}

static void has_number(yajl_val doc, const char *a, const char *b, const char *value)
{
	yajl_val found = member(doc, a, b);

	assert_true(YAJL_IS_NUMBER(found));
	assert_string_equal(YAJL_GET_NUMBER(found), value);
}

static void has_null(yajl_val doc, const char *a, const char *b)
{
	assert_true(YAJL_IS_NULL(member(doc, a, b)));
}

static void test_unknown_is_null(void **state)
{
	yajl_val doc = render("service", NULL, 100);

	has_number(doc, "format_version", NULL, "1");
	has_string(doc, "name", NULL, "shop");
	has_string(doc, "version", NULL, SLUICE_VERSION);
	has_string(doc, "from", NULL, "service");
	has_string(doc, "role", NULL, "run");
	has_string(doc, "direction", NULL, "forward");
	has_string(doc, "phase", NULL, "prepare");
	has_string(doc, "state", "name", "starting");
	has_null(doc, "state", "reason");
	has_null(doc, "state", "next_retry_at");
	has_null(doc, "source", "position");
	has_null(doc, "source", "slot");
	assert_true(YAJL_IS_FALSE(member(doc, "target", "connected")));
	has_string(doc, "transport", "type", "direct");
	has_null(doc, "lag", "seconds");
	has_null(doc, "lag", "bytes");
	has_null(doc, "applied", "commit_time");
	has_number(doc, "applied", "records", "0");
	has_null(doc, "throughput", "records_per_second");
	has_null(doc, "snapshot", "eta_seconds");
	has_null(doc, "errors", "last");
	has_null(doc, "verify", "differences");
	has_null(doc, "ready", NULL);
	assert_int_equal(count(doc, "alarms", NULL), 0);
	assert_int_equal(count(doc, "tables", NULL), 0);
	yajl_tree_free(doc);
}

static void test_databases_know_no_counters(void **state)
{
	yajl_val doc = render("databases", NULL, 100);

	has_string(doc, "from", NULL, "databases");
	has_null(doc, "state", "name");
	has_null(doc, "role", NULL);
	has_null(doc, "applied", "records");
	has_null(doc, "errors", "retries");
	has_null(doc, "transport", "queue_bytes");
	yajl_tree_free(doc);
}

static void fill(void)
{
	struct error err = {
		.class = ERROR_TRANSIENT, .code = "PG-08006", .message = "connection \"lost\"\n"
	};

	status_state(&status, STATE_RETRYING, "PG-08006", "connection lost", "look at the server");
	status_phase(&status, PHASE_CATCHING_UP);
	status_error(&status, &err, "sink");
	status_alarm_raise(&status, "PG-WAL-KEEP", "raise it", "%d GB left", 3);
	status_alarm_raise(&status, "PG-IDENTITY", "ALTER TABLE", "one");
	status_alarm_raise(&status, "PG-WAL-KEEP", "raise it", "%d GB left", 2);
	status_lock(&status);
	status.lag_seconds = 4.125;
	status.lag_bytes = INT64_C(9007199254740993); /* no double holds it */
	status.source.connected = true;
	status.applied_commit_time = (struct wall){ INT64_C(1700000000123456) };
	snprintf(status.slot_name, sizeof(status.slot_name), "sluice_shop");
	status.slot_retained_bytes = 222298112;
	status_table_get(&status, "public", "orders")->rows = 61204881;
	status_table_get(&status, "public", "items");
	status_unlock(&status);
	metric_add(&counters.applied_insert, UINT64_C(9007199254740993));
	metric_add(&counters.retries[STAGE_SINK][ERROR_TRANSIENT], 2);
	metric_add(&counters.retries[STAGE_SOURCE][ERROR_SCHEMA], 1);
}

static void test_values(void **state)
{
	struct readiness ready = { .n_reasons = 1, .eta_seconds = 34.6 };
	yajl_val doc, item;

	snprintf(ready.reasons[0].code, sizeof(ready.reasons[0].code), "lag_seconds");
	snprintf(ready.reasons[0].value, sizeof(ready.reasons[0].value), "4.125");
	fill();
	doc = render("service", &ready, 100);
	has_string(doc, "phase", NULL, "catching-up");
	has_string(doc, "state", "name", "retrying");
	has_string(doc, "state", "remedy", "look at the server");
	has_number(doc, "lag", "seconds", "4.125");
	has_number(doc, "lag", "bytes", "9007199254740993");
	has_number(doc, "applied", "records", "9007199254740993");
	has_string(doc, "applied", "commit_time", "2023-11-14T22:13:20.123456Z");
	has_number(doc, "errors", "retries", "3");
	assert_true(YAJL_IS_FALSE(member(doc, "ready", "ready")));
	has_number(doc, "ready", "eta_seconds", "35");
	item = nth(doc, "ready", "reasons", 0);
	has_string(item, "code", NULL, "lag_seconds");
	has_number(item, "value", NULL, "4.125");
	has_null(item, "limit", NULL);
	has_null(item, "remedy", NULL);
	item = member(doc, "errors", "last");
	has_string(item, "class", NULL, "transient");
	has_string(item, "message", NULL, "connection \"lost\"\n");
	item = member(doc, "source", "slot");
	has_string(item, "name", NULL, "sluice_shop");
	has_number(item, "retained_bytes", NULL, "222298112");
	assert_int_equal(count(doc, "alarms", NULL), 2);
	has_string(nth(doc, "alarms", NULL, 0), "message", NULL, "2 GB left");
	item = nth(doc, "tables", NULL, 0);
	has_string(item, "name", NULL, "public.orders");
	has_number(item, "rows", NULL, "61204881");
	yajl_tree_free(doc);
}

static void test_alarms_cleared(void **state)
{
	fill();
	status_alarm_clear(&status, "PG-WAL-KEEP");
	status_alarm_clear(&status, "PG-NEVER-RAISED");
	assert_int_equal(status.n_alarms, 1);
	assert_string_equal(status.alarms[0].code, "PG-IDENTITY");
	for (int i = 0; i < 2 * STATUS_ALARMS; i++) {
		char code[24];

		snprintf(code, sizeof(code), "CODE-%d", i);
		status_alarm_raise(&status, code, "", "x");
	}
	assert_int_equal(status.n_alarms, STATUS_ALARMS);
}

static void test_tables_bounded_busy_first(void **state)
{
	yajl_val doc;

	status_lock(&status);
	for (int i = 0; i < 300; i++) {
		char table[16];

		snprintf(table, sizeof(table), "t%d", i);
		status_table_get(&status, "public", table);
	}
	snprintf(status_table_get(&status, "public", "t299")->state, 16, "copying");
	assert_int_equal(status.n_tables, 300);
	status_unlock(&status);
	doc = render("service", NULL, 10);
	assert_int_equal(count(doc, "tables", NULL), 10);
	has_string(nth(doc, "tables", NULL, 0), "name", NULL, "public.t299");
	has_string(nth(doc, "tables", NULL, 1), "name", NULL, "public.t0");
	yajl_tree_free(doc);
}

/* names come from servers, and cutting one to size may cut a character */
static void test_broken_utf8(void **state)
{
	yajl_val doc;

	snprintf(status.source.host, sizeof(status.source.host), "bl\xc3");
	doc = render("service", NULL, 10);
	has_string(doc, "source", "host", "bl?");
	yajl_tree_free(doc);
}

static void test_text_cut_at_character(void **state)
{
	char reason[400];

	memset(reason, 'a', sizeof(reason));
	memcpy(reason + sizeof(status.state_reason) - 3, "\xe2\x82\xac", 3); /* its last byte would not fit */
	reason[sizeof(reason) - 1] = 0;
	status_state(&status, STATE_BLOCKED, "X", reason, "");
	assert_int_equal(strlen(status.state_reason), sizeof(status.state_reason) - 3);
}

static struct mono at(double seconds)
{
	return (struct mono){ (int64_t)(seconds * 1e6) };
}

static void test_rates(void **state)
{
	struct status_rates rates = status_rates(&status);

	assert_true(isnan(rates.records));
	status.n_samples = 2;
	status.samples[0] = (struct status_sample){ .at = at(10),
		.records = 100,
		.transactions = 10,
		.snapshot_bytes = 1000,
		.lag_seconds = 5,
		.lag_bytes = -1 };
	status.samples[1] = (struct status_sample){ .at = at(14),
		.records = 500,
		.transactions = 10,
		.snapshot_bytes = 3000,
		.lag_seconds = 3,
		.lag_bytes = 7 };
	rates = status_rates(&status);
	assert_true(rates.records == 100 && rates.transactions == 0 && rates.snapshot_bytes == 500);
	assert_true(rates.lag_seconds == -0.5);
	assert_true(isnan(rates.lag_bytes)); /* unknown at the beginning */
	status.snapshot_running = true;
	status.snapshot_bytes_done = 3000;
	status.snapshot_bytes_estimated = 8000;
	assert_true(status_snapshot_eta(&status) == 10);
	status.samples[1].snapshot_bytes = 500; /* a table begun again */
	assert_true(status_snapshot_eta(&status) < 0);
}

static void test_samples_once_a_second(void **state)
{
	status_sample(&ctx);
	status_sample(&ctx);
	assert_int_equal(status.n_samples, 1);
	for (int i = 0; i < 2 * STATUS_SAMPLES; i++) {
		status.samples[status.n_samples - 1].at.us -= 2000000;
		status_sample(&ctx);
	}
	assert_int_equal(status.n_samples, STATUS_SAMPLES);
}

static void test_lag_grows_while_away(void **state)
{
	assert_true(status_lag_seconds(&status, at(100)) < 0);
	status.lag_seconds = 2;
	status.lag_measured = at(90);
	status.source.connected = true;
	assert_true(status_lag_seconds(&status, at(100)) == 2);
	status.source.connected = false;
	assert_true(status_lag_seconds(&status, at(91)) == 2);
	assert_true(status_lag_seconds(&status, at(100)) == 10);
	/* and while nobody looks, whoever was connected when somebody did */
	status.source.connected = true;
	assert_true(status_lag_seconds(&status, at(101)) == 11);
}

static void test_names(void **state)
{
	for (int i = 0; i < PHASE_COUNT; i++) {
		enum phase phase = PHASE_COUNT;

		assert_int_equal(phase_from_string(phase_to_string((enum phase)i), &phase), 0);
		assert_int_equal((int)phase, i);
	}
	for (int i = 0; i < STATE_COUNT; i++)
		assert_non_null(run_state_to_string((enum run_state)i));
	enum phase phase;
	assert_int_equal(phase_from_string("nowhere", &phase), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unknown_is_null, setup, teardown),
		cmocka_unit_test_setup_teardown(test_databases_know_no_counters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alarms_cleared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables_bounded_busy_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(test_text_cut_at_character, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_samples_once_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lag_grows_while_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
