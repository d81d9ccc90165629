/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What people read: `sluice status`, `sluice ready`, the progress line, numbers with units.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/report.h>

#include "cli/human.h"
#include "cli/progress.h"
#include "cli/status_view.h"

static const struct view_options plain = { false, false };

static void test_status(void **state)
{
	static const char json[] =
		"{\"format_version\":1,\"name\":\"shop\",\"from\":\"service\",\"phase\":\"catching-up\","
		"\"state\":{\"name\":\"running\",\"reason\":null},"
		"\"source\":{\"host\":\"blue\",\"database\":\"shop\",\"slot\":{\"name\":\"sluice_shop\","
		"\"wal_status\":\"reserved\",\"retained_bytes\":222298112,\"safe_bytes\":null}},"
		"\"target\":{\"host\":\"green\",\"database\":\"shop\"},"
		"\"lag\":{\"seconds\":4.1,\"bytes\":39845888,\"bytes_per_second\":-2000000},"
		"\"applied\":{\"position\":\"0/5A3F120\"},"
		"\"throughput\":{\"records_per_second\":81234.5,\"transactions_per_second\":12},"
		"\"snapshot\":{\"running\":false},\"errors\":{\"dead_letters\":0,\"last\":null},"
		"\"alarms\":[{\"code\":\"PG-WAL-KEEP\",\"message\":\"14 h\\u001b[2J left\",\"remedy\":\"raise it\"}],"
		"\"ready\":{\"ready\":false,\"eta_seconds\":50,\"reasons\":["
		"{\"code\":\"lag_seconds\",\"value\":4.100,\"limit\":1.000},"
		"{\"code\":\"hold\",\"value\":12,\"limit\":30},{\"code\":\"sequences\",\"value\":null,\"limit\":null}]}}";
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(status_view(json, &plain, &text, &err), 0);
	assert_string_equal(buf_str(&text), "shop  phase catching-up  state running  blue -> green\n"
					    "lag        4.1 s, 38 MiB   falling, ready in about 50 s\n"
					    "applied    0/5A3F120  81k rec/s, 12 tx/s\n"
					    "slot       sluice_shop keeps 212 MiB of blue's WAL\n"
					    "alarm      PG-WAL-KEEP: 14 h [2J left\n"
					    "           raise it\n"
					    "ready      no: lag_seconds 4.1 > 1, hold 12 < 30, sequences\n");
}

static void test_status_of_one_host(void **state)
{
	static const char json[] =
		"{\"format_version\":1,\"name\":\"shop\",\"from\":\"databases\",\"phase\":\"snapshot\","
		"\"state\":{\"name\":null},\"source\":{\"host\":\"127.0.0.1\",\"database\":\"blue\"},"
		"\"target\":{\"host\":\"127.0.0.1\",\"database\":\"green\"},"
		"\"snapshot\":{\"running\":true,\"bytes_done\":11000000000,\"bytes_estimated\":18000000000,"
		"\"bytes_per_second\":96000000,\"eta_seconds\":74,\"tables_done\":3,\"tables_total\":41}}";
	static const struct view_options bars = { false, true };
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(status_view(json, &bars, &text, &err), 0);
	assert_string_equal(buf_str(&text),
		"shop  phase snapshot  state unknown  127.0.0.1/blue -> 127.0.0.1/green\n"
		"from       the databases: no service answers\n"
		"snapshot   [########------]  61 %  11 GB of 18 GB  96 MB/s  eta 1m14s  3/41 tables\n");
}

static void test_status_names_the_half(void **state)
{
	static const char json[] =
		"{\"format_version\":1,\"name\":\"shop\",\"from\":\"service\",\"phase\":\"catching-up\","
		"\"state\":{\"name\":\"running\"},\"source\":{\"host\":\"blue\"},\"target\":{\"host\":\"green\"},"
		"\"lag\":{\"seconds\":12.3,\"bytes\":39845888},"
		"\"transport\":{\"type\":\"kafka\",\"behind\":\"applier\","
		"\"reader\":{\"seconds\":0.2,\"bytes\":12288,\"silent\":false},"
		"\"applier\":{\"seconds\":12.1,\"records\":48211,\"bytes\":9,\"silent\":true,"
		"\"heard_at\":\"2026-11-21T11:38:54Z\"}}}";
	static const char unknown[] =
		"{\"format_version\":1,\"name\":\"shop\",\"transport\":{\"behind\":null,"
		"\"reader\":{\"seconds\":0,\"bytes\":0},\"applier\":{\"seconds\":null,\"records\":null,\"bytes\":null}}}";
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(status_view(json, &plain, &text, &err), 0);
	assert_string_equal(buf_str(&text),
		"shop  phase catching-up  state running  blue -> green\n"
		"lag        12 s, 38 MiB\n"
		"behind     the applier\n"
		"reader     0.2 s, 12 KiB behind the source\n"
		"applier    12 s, 48k records behind the log   silent since 2026-11-21T11:38:54Z\n");
	buf_clear(&text);
	assert_int_equal(status_view(unknown, &plain, &text, &err), 0);
	assert_non_null(strstr(buf_str(&text), "applier    unknown\n"));
	assert_null(strstr(buf_str(&text), "behind     the"));
}

static void test_foreign_answers(void **state)
{
	static const char *const answers[] = { "", "<html>", "[]", "{}", "{\"ready\"", "null" };
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct ready_answer answer;
	struct error err;

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		err = ERROR_INIT;
		assert_true(status_view(answers[i], &plain, &text, &err) < 0);
		assert_int_equal(error_exit_code(&err), EXIT_UNAVAILABLE);
		assert_true(ready_view(answers[i], &plain, &text, &answer, &err) < 0);
		assert_false(answer.ready);
	}
	/* members of other types are unknown, not trusted */
	err = ERROR_INIT;
	assert_int_equal(
		status_view("{\"format_version\":1,\"lag\":[],\"ready\":7,\"alarms\":{},\"source\":\"x\"}",
			&plain, &text, &err),
		0);
}

static void test_ready(void **state)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct ready_answer answer;
	struct error err = ERROR_INIT;

	assert_int_equal(
		ready_view("{\"ready\":true,\"reasons\":[],\"eta_seconds\":0}", &plain, &text, &answer, &err),
		0);
	assert_true(answer.ready);
	assert_string_equal(buf_str(&text), "ready\n");
	buf_clear(&text);
	assert_int_equal(
		ready_view("{\"ready\":false,\"eta_seconds\":18,\"reasons\":[{\"code\":\"hold\",\"message\":"
			   "\"held for 12 s\",\"value\":12,\"limit\":30,\"remedy\":null}]}",
			&plain, &text, &answer, &err),
		0);
	assert_false(answer.ready);
	assert_true(answer.cured_by_time);
	assert_string_equal(answer.codes, "hold");
	assert_string_equal(buf_str(&text), "not ready, in about 18 s\n"
					    "  hold                  held for 12 s\n");
	buf_clear(&text);
	assert_int_equal(
		ready_view("{\"ready\":false,\"eta_seconds\":null,\"reasons\":[{\"code\":\"hold\"},"
			   "{\"code\":\"dead_letters\",\"message\":\"5 records\",\"remedy\":\"list\"}]}",
			&plain, &text, &answer, &err),
		0);
	assert_false(answer.cured_by_time);
	assert_string_equal(answer.codes, "hold, dead_letters");
	assert_non_null(strstr(buf_str(&text), "                        list\n"));
}

static void expect_line(const struct status *st, unsigned columns, const char *expected)
{
	_cleanup_(buf_freep) struct buf line = BUF_INIT;

	progress_line(st, (struct mono){ 1 }, columns, false, &line);
	assert_string_equal(buf_str(&line), expected);
	assert_true(line.len <= columns);
}

static void test_progress(void **state)
{
	_cleanup_(buf_freep) struct buf coloured = BUF_INIT;
	struct status st;

	status_init(&st);
	st.state = STATE_RUNNING;
	st.source.connected = true;
	st.snapshot_running = true;
	st.snapshot_bytes_done = UINT64_C(11000000000);
	st.snapshot_bytes_estimated = UINT64_C(18000000000);
	st.snapshot_tables_total = 41;
	st.n_samples = 2;
	st.samples[0] = (struct status_sample){ .at = { 0 }, .snapshot_bytes = UINT64_C(10040000000) };
	st.samples[1] = (struct status_sample){
		.at = { 10000000 }, .snapshot_bytes = UINT64_C(11000000000), .records = 810000
	};
	expect_line(
		&st, 120, "snapshot  [########------]  61 %  11.0/18.0 GB  96 MB/s  eta 1m13s  0/41 tables");
	expect_line(&st, 76, "snapshot  [########------]  61 %  11.0/18.0 GB  96 MB/s  eta 1m13s");
	expect_line(&st, 40, "snapshot  61 %  11.0/18.0 GB  96 MB/s");
	expect_line(&st, 14, "snapshot  61 %");
	expect_line(&st, 5, "");
	st.snapshot_bytes_done = st.snapshot_bytes_estimated * 2; /* estimates err */
	expect_line(&st, 64, "snapshot  [##############]  100 %  36.0/36.0 GB  96 MB/s");

	st.snapshot_running = false;
	st.lag_seconds = 0.2;
	st.lag_bytes = 3 * 1024 * 1024;
	snprintf(st.applied_position, sizeof(st.applied_position), "0/5A3F120");
	expect_line(&st, 79, "stream    lag 0.2 s, 3.0 MiB  81k rec/s  applied 0/5A3F120");
	status_state(&st, STATE_BLOCKED, "PG-SLOT-LOST", "the slot is lost\033[2J", "");
	expect_line(&st, 79, "blocked   PG-SLOT-LOST: the slot is lost");
	expect_line(&st, 30, "blocked   PG-SLOT-LOST: the sl");
	progress_line(&st, (struct mono){ 1 }, 79, true, &coloured);
	assert_int_equal(strncmp(buf_str(&coloured), "\033[31mblocked   \033[0mPG", 21), 0);
	status_fini(&st);
}

static void test_human(void **state)
{
	static const struct {
		char *(*fn)(double, char *, size_t);
		double value;
		const char *text;
	} rows[] = {
		{ human_size, 0, "0 B" },
		{ human_size, 1023, "1023 B" },
		{ human_size, 1024, "1.0 KiB" },
		{ human_size, 222298112, "212 MiB" },
		{ human_size, 1024.0 * 1024 * 1024 * 1.5, "1.5 GiB" },
		{ human_disk, 999999, "1.0 MB" },
		{ human_disk, 96e6, "96 MB" },
		{ human_count, 950, "950" },
		{ human_count, 1234567, "1.2M" },
		{ human_duration, -1, "0.0 s" },
		{ human_duration, 0.2, "0.2 s" },
		{ human_duration, 59.4, "59 s" },
		{ human_duration, 59.6, "1m00s" },
		{ human_duration, 74, "1m14s" },
		{ human_duration, 11100, "3h05m" },
		{ human_duration, 187200, "2d04h" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char buf[HUMAN_BYTES];

		assert_string_equal(rows[i].fn(rows[i].value, buf, sizeof(buf)), rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_of_one_host),
		cmocka_unit_test(test_status_names_the_half),
		cmocka_unit_test(test_foreign_answers),
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_human),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
