/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Values to array parameters and COPY data: exact bytes, strict numbers, nothing cut. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sink/postgres/copy.h"
#include "sink/postgres/params.h"

static struct value text(const char *s)
{
	return (struct value){ (const uint8_t *)s, (uint32_t)strlen(s), VALUE_PRESENT, VALUE_TEXT, 0 };
}

static const struct value null_value = { .state = VALUE_NULL };

/* one element through an encoding; the bytes behind the header, or false */
static bool one(enum params_encoding encoding, struct value v, struct buf *out)
{
	const struct value *row = &v;

	buf_clear(out);
	return params_put_binary(out, encoding, 1, false, &(struct params_column){ &row, 1, 0 });
}

static void accept(enum params_encoding encoding, const char *s, const void *bytes, uint32_t len)
{
	struct buf out = BUF_INIT;
	uint32_t be = __builtin_bswap32(len);

	assert_true(one(encoding, text(s), &out));
	assert_int_equal(out.len, 24 + len);
	assert_memory_equal(out.data + 20, &be, 4);
	assert_memory_equal(out.data + 24, bytes, len);
	buf_fini(&out);
}

static void refuse(enum params_encoding encoding, const char *s)
{
	struct buf out = BUF_INIT;

	assert_false(one(encoding, text(s), &out));
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

static void test_integers(void **state)
{
	accept(PARAMS_INT2, "-32768", "\x80\x00", 2);
	accept(PARAMS_INT2, "32767", "\x7f\xff", 2);
	refuse(PARAMS_INT2, "32768");
	refuse(PARAMS_INT2, "-32769");
	accept(PARAMS_INT4, "0", "\0\0\0\0", 4);
	accept(PARAMS_INT4, "-1", "\xff\xff\xff\xff", 4);
	accept(PARAMS_INT4, "2147483647", "\x7f\xff\xff\xff", 4);
	refuse(PARAMS_INT4, "2147483648");
	accept(PARAMS_INT8, "9223372036854775807", "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
	accept(PARAMS_INT8, "-9223372036854775808", "\x80\0\0\0\0\0\0\0", 8);
	refuse(PARAMS_INT8, "9223372036854775808");
	refuse(PARAMS_INT8, "99999999999999999999");
	refuse(PARAMS_INT4, "");
	refuse(PARAMS_INT4, "-");
	refuse(PARAMS_INT4, "1.0");
	refuse(PARAMS_INT4, " 1");
	refuse(PARAMS_INT4, "1e3");
}

static void test_other_encodings(void **state)
{
	accept(PARAMS_BYTES, "a\"\\é", "a\"\\é", 5);
	accept(PARAMS_BOOL, "t", "\1", 1);
	accept(PARAMS_BOOL, "f", "\0", 1);
	refuse(PARAMS_BOOL, "true");
	accept(PARAMS_BYTEA, "\\x00FFa0", "\0\xff\xa0", 3);
	accept(PARAMS_BYTEA, "\\x", "", 0);
	refuse(PARAMS_BYTEA, "\\x0");
	refuse(PARAMS_BYTEA, "abc");
	refuse(PARAMS_BYTEA, "\\x0g");
	accept(PARAMS_UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
		"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11", 16);
	refuse(PARAMS_UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1");
	refuse(PARAMS_UUID, "a0eebc999-c0b-4ef8-bb6d-6bb9bd380a11");
	accept(PARAMS_JSONB, "{}", "\1{}", 3);
	refuse(PARAMS_LITERAL, "1.5");
}

static void test_array_header(void **state)
{
	struct value a[2] = { text("x"), text("7") }, b[2] = { text("y"), null_value };
	const struct value *rows[] = { a, b };
	struct params_column col = { rows, 2, 1 };
	struct buf out = BUF_INIT;

	assert_true(params_put_binary(&out, PARAMS_INT4, 23, false, &col));
	assert_int_equal(out.len, 20 + 8 + 4);
	assert_memory_equal(out.data,
		"\0\0\0\1"
		"\0\0\0\1"
		"\0\0\0\x17"
		"\0\0\0\2"
		"\0\0\0\1"
		"\0\0\0\4"
		"\0\0\0\7"
		"\xff\xff\xff\xff",
		32);
	buf_fini(&out);
}

static void test_raw_binary(void **state)
{
	struct value a = { (const uint8_t *)"\x40\x09\x21\xfb", 4, VALUE_PRESENT, VALUE_BINARY, 0 };
	const struct value *row = &a;
	struct params_column col = { &row, 1, 0 };
	struct buf out = BUF_INIT;

	assert_true(params_put_binary(&out, PARAMS_LITERAL, 700, true, &col));
	assert_memory_equal(out.data + 24, "\x40\x09\x21\xfb", 4);
	/* of another type: neither as it is nor as text */
	buf_clear(&out);
	assert_false(params_put_binary(&out, PARAMS_INT4, 23, false, &col));
	assert_false(params_put_literal(&out, ',', &col));
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

static void test_literal(void **state)
{
	struct value v[] = { text("a,b"), text("q\"\\"), null_value, text(""), text("NULL"), text("{}") };
	const struct value *rows[] = { &v[0], &v[1], &v[2], &v[3], &v[4], &v[5] };
	struct params_column col = { rows, 6, 0 };
	struct buf out = BUF_INIT;

	assert_true(params_put_literal(&out, ',', &col));
	assert_string_equal((const char *)out.data, "{\"a,b\",\"q\\\"\\\\\",NULL,\"\",\"NULL\",\"{}\"}");
	assert_int_equal(out.len, strlen((const char *)out.data));
	buf_clear(&out);
	assert_true(params_put_literal(&out, ';', &col));
	assert_memory_equal(out.data, "{\"a,b\";", 7);
	buf_fini(&out);
}

static void test_copy_text(void **state)
{
	struct value row[] = { text("1"), null_value, text("a\tb\\c\nd\re"), text("\\."), text("") };
	const uint32_t columns[] = { 0, 1, 2, 3, 4 };
	struct buf out = BUF_INIT;

	assert_true(copy_put_text(&out, row, columns, 5));
	assert_string_equal(buf_str(&out), "1\t\\N\ta\\tb\\\\c\\nd\\re\t\\\\.\t\n");
	row[4].format = VALUE_BINARY;
	buf_clear(&out);
	assert_false(copy_put_text(&out, row, columns, 5));
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

static void test_copy_binary(void **state)
{
	struct value row[] = { { (const uint8_t *)"\0\0\0\5", 4, VALUE_PRESENT, VALUE_BINARY, 0 },
		null_value };
	const uint32_t columns[] = { 1, 0 };
	struct buf out = BUF_INIT;

	copy_put_binary_header(&out);
	assert_true(copy_put_binary(&out, row, columns, 2));
	copy_put_binary_trailer(&out);
	assert_int_equal(out.len, 19 + 2 + 4 + 8 + 2);
	assert_memory_equal(out.data,
		"PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0\0\2\xff\xff\xff\xff\0\0\0\4\0\0\0\5\xff\xff", 35);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_other_encodings),
		cmocka_unit_test(test_array_header),
		cmocka_unit_test(test_raw_binary),
		cmocka_unit_test(test_literal),
		cmocka_unit_test(test_copy_text),
		cmocka_unit_test(test_copy_binary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
