/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Every message of every capture given, cut after each of its bytes, must be refused, leave everything as it
 * was, and say a place within what is there; with a byte more it must be refused as well. Each is decoded
 * from an allocation of exactly its length, for the address sanitizer and valgrind to watch.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture.h"

static char **paths;
static size_t messages;

static void check_refused(const struct pgoutput_decoder *d, const uint8_t *bytes, size_t len, int error)
{
	struct pgoutput_decoder copy = *d;
	struct pgoutput_message msg, untouched;
	uint8_t *exact = malloc(len ? len : 1);

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	memset(&msg, 0x5a, sizeof(msg));
	memset(&untouched, 0x5a, sizeof(untouched));
	int r = pgoutput_decode(&copy, exact, len, &msg);
	free(exact);
	assert_true(r < 0);
	if (error)
		assert_int_equal(r, error);
	assert_memory_equal(&msg, &untouched, sizeof(msg));
	assert_int_equal(copy.in_stream, d->in_stream);
	assert_true(copy.error_offset <= len);
}

static void check_message(struct pgoutput_decoder *d, const uint8_t *bytes, size_t len)
{
	struct pgoutput_message msg;
	uint8_t *longer = malloc(len + 1);

	assert_non_null(longer);
	for (size_t cut = 0; cut < len; cut++)
		check_refused(d, bytes, cut, 0);
	memcpy(longer, bytes, len);
	longer[len] = 0;
	check_refused(d, longer, len + 1, PGOUTPUT_ERROR_TRAILING);
	free(longer);
	assert_int_equal(pgoutput_decode(d, bytes, len, &msg), 0);
	messages++;
}

static void test_E05_every_byte(void **state)
{
	(void)state;
	for (char **path = paths; *path; path++) {
		struct capture capture;
		struct pgoutput_decoder d;
		size_t pos = 0, len;

		assert_int_equal(capture_load(*path, &capture), 0);
		assert_true(capture_decoder(capture.data, capture.len, &d));
		for (const uint8_t *bytes; capture_next(capture.data, capture.len, &pos, &bytes, &len);)
			check_message(&d, bytes, len);
		assert_false(d.in_stream);
		capture_fini(&capture);
	}
	assert_true(messages > 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_E05_every_byte) };
	paths = capture_paths(argc - 1, argv + 1);
	if (!paths)
		return 2;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	capture_paths_free(paths);
	return failed;
}
