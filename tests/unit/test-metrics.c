/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The text of /metrics is parsed line by line, as a scraper would: names, kinds, labels and values.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/report.h>

#include "context_fixture.h"

static char name[] = "shop";

static int setup(void **state)
{
	memset(&counters, 0, sizeof(counters));
	status_init(&status);
	cfg.name = name;
	return 0;
}

static int teardown(void **state)
{
	status_fini(&status);
	return 0;
}

/* the whole value of the line that begins with series, "" when there is none */
static const char *value_of(const char *text, const char *series)
{
	static char value[64];
	char needle[256];
	const char *at;

	snprintf(needle, sizeof(needle), "\n%s ", series);
	at = strstr(text, needle);
	value[0] = 0;
	if (at)
		sscanf(at + strlen(needle), "%63[^\n]", value);
	return value;
}

static void expect(struct buf *text, const char *metric, const char *labels, const char *value)
{
	char series[256];

	snprintf(series, sizeof(series), "sluice_%s{stream=\"shop\",direction=\"forward\"%s%s}", metric,
		*labels ? "," : "", labels);
	assert_string_equal(value_of(buf_str(text), series), value);
}

static void render(bool openmetrics, struct buf *ret)
{
	struct readiness ready = { .ready = true };

	buf_clear(ret);
	report_metrics(&ctx, &ready, openmetrics, ret);
}

static void test_zeros_from_the_start(void **state)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;

	render(false, &text);
	expect(&text, "read_records_total", "op=\"insert\"", "0");
	expect(&text, "applied_records_total", "op=\"truncate\"", "0");
	expect(&text, "applied_transactions_total", "", "0");
	expect(&text, "retries_total", "stage=\"sink\",class=\"transient\"", "0");
	expect(&text, "errors_total", "stage=\"snapshot\",class=\"bug\"", "0");
	expect(&text, "verified_rows_total", "", "0");
	expect(&text, "dead_letters_pending", "", "0");
	expect(&text, "commit_to_apply_seconds_count", "", "0");
	expect(&text, "connected", "peer=\"target\"", "0");
	expect(&text, "phase", "phase=\"prepare\"", "1");
	expect(&text, "phase", "phase=\"ready\"", "0");
	expect(&text, "state", "state=\"starting\"", "1");
	expect(&text, "source_slot_wal_status", "status=\"lost\"", "0");
	expect(&text, "snapshot_progress_ratio", "", "0");
	expect(&text, "cutover_ready", "", "1");
	expect(&text, "build_info", "version=\"" SLUICE_VERSION "\"", "1");
	expect(&text, "stream_info",
		"role=\"run\",source=\"postgresql\",target=\"postgresql\",transport=\"direct\"", "1");
	/* unknown is not zero */
	expect(&text, "lag_seconds", "", "NaN");
	expect(&text, "lag_bytes", "", "NaN");
	expect(&text, "source_slot_retained_bytes", "", "NaN");
	expect(&text, "source_slot_safe_bytes", "", "");
	/* of Kafka and MongoDB only */
	assert_null(strstr(buf_str(&text), "kafka"));
	assert_null(strstr(buf_str(&text), "oplog"));
}

static void test_values(void **state)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;

	metric_add(
		&counters.applied_update, UINT64_C(18446744073709551615)); /* exact, not through a double */
	metric_add(&counters.retries[STAGE_SOURCE][ERROR_TRANSIENT], 7);
	status.lag_seconds = 0.25;
	status.lag_bytes = 3 * 1024 * 1024;
	status.source.connected = true;
	status.source.last_contact = (struct wall){ 1700000000250000 };
	status.slot_safe_bytes = 0;
	snprintf(status.slot_wal_status, sizeof(status.slot_wal_status), "extended");
	status.phase = PHASE_SNAPSHOT;
	status.snapshot_bytes_done = 1;
	status.snapshot_bytes_estimated = 4;
	render(false, &text);
	expect(&text, "applied_records_total", "op=\"update\"", "18446744073709551615");
	expect(&text, "retries_total", "stage=\"source\",class=\"transient\"", "7");
	expect(&text, "lag_seconds", "", "0.25");
	expect(&text, "lag_bytes", "", "3145728");
	expect(&text, "last_contact_timestamp_seconds", "peer=\"source\"", "1700000000.25");
	expect(&text, "source_slot_safe_bytes", "", "0");
	expect(&text, "source_slot_wal_status", "status=\"extended\"", "1");
	expect(&text, "snapshot_progress_ratio", "", "0.25");
	expect(&text, "phase", "phase=\"snapshot\"", "1");
	expect(&text, "phase", "phase=\"prepare\"", "0");
}

static void test_histograms(void **state)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;

	histogram_add_us(&counters.commit_to_apply_us, 0);
	histogram_add_us(&counters.commit_to_apply_us, 100); /* a bound belongs to its bucket */
	histogram_add_us(&counters.commit_to_apply_us, 101);
	histogram_add_us(&counters.commit_to_apply_us, UINT64_C(1000000) * 86400);
	histogram_add_n(&counters.apply_batch_records, 1);
	histogram_add_n(&counters.apply_batch_records, 5);
	render(false, &text);
	expect(&text, "commit_to_apply_seconds_bucket", "le=\"0.0001\"", "2");
	expect(&text, "commit_to_apply_seconds_bucket", "le=\"0.0003\"", "3");
	expect(&text, "commit_to_apply_seconds_bucket", "le=\"1434.8907\"", "3");
	expect(&text, "commit_to_apply_seconds_bucket", "le=\"+Inf\"", "4");
	expect(&text, "commit_to_apply_seconds_count", "", "4");
	expect(&text, "commit_to_apply_seconds_sum", "", "86400.000201");
	expect(&text, "apply_batch_size_records_bucket", "le=\"1.0\"", "1");
	expect(&text, "apply_batch_size_records_bucket", "le=\"4.0\"", "1");
	expect(&text, "apply_batch_size_records_bucket", "le=\"16.0\"", "2");
	expect(&text, "apply_batch_size_records_bucket", "le=\"1073741824.0\"", "2");
	expect(&text, "apply_batch_size_records_sum", "", "6");
}

/* "# TYPE name kind", or the series' name of a sample */
struct line {
	char family[128], kind[16];
	bool sample;
};

static void parse_line(const char *line, size_t len, struct line *ret)
{
	char text[512];

	assert_true(len > 0 && len < sizeof(text));
	memcpy(text, line, len);
	text[len] = 0;
	memset(ret, 0, sizeof(*ret));
	if (sscanf(text, "# TYPE %127s %15s", ret->family, ret->kind) == 2)
		return;
	if (strncmp(text, "# HELP ", 7) == 0)
		return;
	assert_int_not_equal(text[0], '#');
	ret->sample = true;
	assert_int_equal(sscanf(text, "%127[a-z0-9_]", ret->family), 1);
	/* a value, and nothing behind it */
	{
		const char *value = strrchr(text, ' ');
		char *end;

		assert_non_null(value);
		strtod(value + 1, &end);
		assert_int_equal(*end, 0);
		assert_true(end > value + 1);
	}
}

/* every family is announced once and before its samples, which stand together */
static void check_families(struct buf *text, bool openmetrics)
{
	char seen[128][128], kind[16] = "", family[128] = "";
	uint32_t n_seen = 0;
	const char *at = buf_str(text);

	while (*at && strncmp(at, "# EOF\n", 6) != 0) {
		const char *end = strchr(at, '\n');
		struct line line;

		assert_non_null(end);
		parse_line(at, (size_t)(end - at), &line);
		at = end + 1;
		if (*line.kind) {
			for (uint32_t i = 0; i < n_seen; i++)
				assert_string_not_equal(seen[i], line.family);
			snprintf(seen[n_seen++], sizeof(seen[0]), "%s", line.family);
			snprintf(family, sizeof(family), "%s", line.family);
			snprintf(kind, sizeof(kind), "%s", line.kind);
		} else if (line.sample) {
			const char *suffix = line.family + strlen(family);

			assert_int_equal(strncmp(line.family, family, strlen(family)), 0);
			if (strcmp(kind, "histogram") == 0)
				assert_true(strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
					    strcmp(suffix, "_count") == 0);
			else if (strcmp(kind, "counter") == 0 && openmetrics)
				assert_string_equal(suffix, "_total");
			else
				assert_string_equal(suffix, "");
			if (strcmp(kind, "counter") == 0)
				assert_string_equal(line.family + strlen(line.family) - 6, "_total");
		}
	}
	assert_true(n_seen > 35);
	assert_string_equal(at, openmetrics ? "# EOF\n" : "");
}

static void test_families(void **state)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;

	render(false, &text);
	check_families(&text, false);
	render(true, &text);
	check_families(&text, true);
}

static void test_process(void **state)
{
	static const char *const names[] = { "process_cpu_seconds_total", "process_resident_memory_bytes",
		"process_virtual_memory_bytes", "process_open_fds", "process_max_fds",
		"process_start_time_seconds" };
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	double start, age;

	render(false, &text);
	for (size_t i = 0; i < 6; i++)
		assert_true(strtod(value_of(buf_str(&text), names[i]), NULL) > 0);
	start = strtod(value_of(buf_str(&text), "process_start_time_seconds"), NULL);
	age = (double)wall_now().us / 1e6 - start;
	assert_true(age > -3 && age < 600); /* the kernel's boot time is whole seconds */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_zeros_from_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_histograms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_families, setup, teardown),
		cmocka_unit_test_setup_teardown(test_process, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
