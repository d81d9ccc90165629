/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * E05: every message of every capture given, with each of its first bits turned over, one after the other. What comes of it is judged by
 * the fuzzer's target: refused without a trace, or accepted with all in it inside of the bytes that are there.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture.h"
#include "fuzz-decode.h"

/* all that says what a message holds stands in its first bytes; behind them are values */
#define BYTES_MOST 24

static char **paths;
static size_t damaged;

static void check_message(uint8_t version, const uint8_t *bytes, size_t len)
{
	uint8_t *capture = malloc(len + 5);

	assert_non_null(capture);
	capture[0] = version;
	for (int i = 0; i < 4; i++)
		capture[1 + i] = (uint8_t)(len >> (24 - 8 * i));
	memcpy(capture + 5, bytes, len);
	for (size_t bit = 0; bit < len * 8 && bit < BYTES_MOST * 8; bit++) {
		capture[5 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		LLVMFuzzerTestOneInput(capture, len + 5);
		capture[5 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		damaged++;
	}
	free(capture);
}

static void test_E05_every_bit(void **state)
{
	(void)state;
	for (char **path = paths; *path; path++) {
		struct capture capture;
		size_t pos = 0, len;

		assert_int_equal(capture_load(*path, &capture), 0);
		for (const uint8_t *bytes; capture_next(capture.data, capture.len, &pos, &bytes, &len);)
			check_message(capture.data[0], bytes, len);
		capture_fini(&capture);
	}
	assert_true(damaged > 10000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_E05_every_bit) };
	paths = capture_paths(argc - 1, argv + 1);
	if (!paths)
		return 2;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	capture_paths_free(paths);
	return failed;
}
