/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sluice/buf.h>

static void grows_and_stays_terminated(void **state)
{
	struct buf buf = BUF_INIT;

	assert_string_equal(buf_str(&buf), "");
	for (int i = 0; i < 1000; i++)
		buf_printf(&buf, "%03d,", i);
	assert_int_equal(buf.len, 4000);
	assert_memory_equal(buf_str(&buf) + 3992, "998,999,", 9);
	buf_clear(&buf);
	buf_put(&buf, NULL, 0);
	buf_puts(&buf, "ab");
	buf_putc(&buf, 'c');
	assert_string_equal(buf_str(&buf), "abc");
	buf_fini(&buf);
	buf_fini(&buf);
}

static void one_large_piece_fits(void **state)
{
	struct buf buf = BUF_INIT;
	uint8_t *p = buf_grow(&buf, 1000000);

	memset(p, 7, 1000000);
	buf.len += 1000000;
	assert_true(buf.cap >= 1000000);
	buf_shrink(&buf, 2000000);
	assert_int_equal(buf.len, 0);
	assert_true(buf.cap >= 1000000);
	buf_shrink(&buf, 1000);
	assert_int_equal(buf.cap, 0);
	buf_fini(&buf);
}

static void integers_are_big_endian(void **state)
{
	struct buf buf = BUF_INIT;

	buf_put_u32be(&buf, 0x01020304);
	buf_put_u64be(&buf, 0x0506070809101112);
	assert_memory_equal(buf.data, "\1\2\3\4\5\6\7\x8\x9\x10\x11\x12", 12);
	buf_fini(&buf);
}

static void assert_json(const char *s, size_t len, const char *want)
{
	struct buf buf = BUF_INIT;

	buf_json_string(&buf, s, len);
	assert_string_equal(buf_str(&buf), want);
	buf_fini(&buf);
}

static void json_strings_are_valid_whatever_comes_in(void **state)
{
	assert_json("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
	assert_json("\n\0\x1f", 3, "\"\\u000a\\u0000\\u001f\"");
	assert_json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	assert_json("\xff", 1, "\"\\ufffd\"");
	assert_json("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");			/* overlong */
	assert_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");		/* a surrogate */
	assert_json("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* above U+10FFFF */
	assert_json("x\xe2\x82", 3, "\"x\\ufffd\\ufffd\"");			/* cut */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_stays_terminated),
		cmocka_unit_test(one_large_piece_fits),
		cmocka_unit_test(integers_are_big_endian),
		cmocka_unit_test(json_strings_are_valid_whatever_comes_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
