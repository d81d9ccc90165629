/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The files in config/: the manual is the one that the tables make, and the example is one that loads. Also
 * the units that both are full of.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/cleanup.h>
#include <sluice/config_load.h>

/* a file of the tree, found from where this one was compiled */
static const char *tree(const char *name, char *buf, size_t size)
{
	const char *here = __FILE__, *end = strstr(here, "tests/unit/");

	assert_non_null(end);
	snprintf(buf, size, "%.*s%s", (int)(end - here), here, name);
	return buf;
}

static void test_reference(void **state)
{
	_cleanup_(buf_freep) struct buf want = BUF_INIT;
	_cleanup_(buf_freep) struct buf have = BUF_INIT;
	char path[512];
	FILE *file = fopen(tree("config/reference.md", path, sizeof(path)), "r");
	size_t n;

	assert_non_null(file);
	while ((n = fread(buf_grow(&have, 4096), 1, 4096, file)))
		have.len += n;
	fclose(file);
	config_reference(&want);
	/* made anew by: sluice config-reference > config/reference.md */
	assert_string_equal(buf_str(&have), buf_str(&want));
}

static void test_example(void **state)
{
	struct config_report report = CONFIG_REPORT_INIT;
	struct config *cfg = NULL;
	char path[512];
	struct config_request req = { .path = tree("config/sluice.example.yaml", path, sizeof(path)) };

	setenv("BLUE_URI", "postgresql://sluice@blue/shop", 1);
	setenv("GREEN_URI", "postgresql://sluice@green/shop", 1);
	if (config_load(&req, &cfg, &report) < 0)
		fail_msg("%s", buf_str(&report.errors));
	assert_string_equal(cfg->source.uri, "postgresql://sluice@blue/shop");
	config_free(cfg);
	config_report_fini(&report);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = { { "0", 0 }, { "250ms", 250 }, { "30s", 30000 }, { "10m", 600000 }, { "1h", 3600000 },
		{ "2d", 172800000 }, { "1m30s", 90000 }, { "1.5s", 1500 } };
	static const char *const bad[] = { "", "10", "s", "-1s", "1 s", "1S", "1e3s", "10msx",
		"99999999999999999999d", "0x1s", "nan" };
	int64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_true(config_parse_duration(good[i].text, &ms));
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(config_parse_duration(bad[i], &ms));
}

static void test_sizes(void **state)
{
	static const char *const bad[] = { "", "10", "MiB", "1MB", "1mib", "-1B", "1 MiB", "9999999999TiB" };
	uint64_t bytes;

	assert_true(config_parse_size("512B", &bytes));
	assert_int_equal(bytes, 512);
	assert_true(config_parse_size("64KiB", &bytes));
	assert_int_equal(bytes, 65536);
	assert_true(config_parse_size("2GiB", &bytes));
	assert_int_equal(bytes, 2ull << 30);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(config_parse_size(bad[i], &bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
