/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sluice/hex.h>
#include <sluice/partition.h>

static void bytes_there_and_back(void **state)
{
	uint8_t bytes[256], back[256];
	char text[513];

	for (unsigned i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	*hex_put(text, bytes, 256) = '\0';
	assert_memory_equal(text, "000102030405060708090a0b0c0d0e0f10", 34);
	assert_memory_equal(text + 506, "fdfeff", 7);
	assert_true(hex_get(back, text, 512));
	assert_memory_equal(back, bytes, 256);
}

static void numbers_there_and_back(void **state)
{
	static const uint64_t all[] = { 0, 1, 15, 16, 0x100, 0xfedcba9876543210, UINT64_MAX };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char text[17], expected[17];
		uint64_t back = 0;

		*hex_put_u64(text, all[i]) = '\0';
		snprintf(expected, sizeof(expected), "%016" PRIx64, all[i]);
		assert_string_equal(text, expected);
		assert_true(hex_get_u64(&back, text, 16));
		assert_true(back == all[i]);
		*hex_put_short(text, all[i]) = '\0';
		snprintf(expected, sizeof(expected), "%" PRIx64, all[i]);
		assert_string_equal(text, expected);
	}
}

static void what_is_not_hex_is_refused(void **state)
{
	uint8_t bytes[8];
	uint64_t v = 5;

	assert_true(hex_get(bytes, "", 0));
	assert_false(hex_get(bytes, "0", 1));
	assert_false(hex_get(bytes, "0g", 2));
	assert_false(hex_get(bytes, "g0", 2));
	assert_false(hex_get(bytes, "AB", 2));
	assert_false(hex_get(bytes, "0x", 2));
	assert_false(hex_get_u64(&v, "012345678", 9));
	assert_false(hex_get_u64(&v, "0123456789abcdeg", 16));
	assert_true(v == 5);
}

static void a_reign_has_one_text(void **state)
{
	static const struct reign all[] = { { 1, 0 }, { 12, 0xa1b2c3d4e5f607 }, { UINT64_MAX, UINT64_MAX } };
	static const char *const texts[] = { "1-0000000000000000", "12-00a1b2c3d4e5f607",
		"18446744073709551615-ffffffffffffffff" };
	static const char *const wrong[] = { "", "-", "1", "1-", "0-0000000000000001", "01-0000000000000001",
		"-1-0000000000000001", "1-000000000000001", "1-00000000000000011", "1-000000000000000G",
		"18446744073709551616-0000000000000001", "1x0000000000000001", " 1-0000000000000001" };
	struct reign back = { 7, 7 };
	char text[REIGN_TEXT];

	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(reign_format(all[i], text), texts[i]);
		assert_true(reign_parse(&back, text, strlen(text)));
		assert_true(reign_equal(back, all[i]));
	}
	assert_string_equal(reign_format(REIGN_NONE, text), "");
	back = (struct reign){ 7, 7 };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		if (reign_parse(&back, wrong[i], strlen(wrong[i])))
			fail_msg("'%s' was taken", wrong[i]);
	}
	assert_true(back.number == 7 && back.id == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_there_and_back),
		cmocka_unit_test(numbers_there_and_back),
		cmocka_unit_test(what_is_not_hex_is_refused),
		cmocka_unit_test(a_reign_has_one_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
