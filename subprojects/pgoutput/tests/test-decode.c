/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What the golden texts cannot show: the contract of the functions, the limits, and where the pointers go.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pgoutput.h>

/* a string literal's bytes, without the NUL behind it */
#define DECODE(d, bytes, msg) pgoutput_decode((d), (bytes), sizeof(bytes) - 1, (msg))

static struct pgoutput_decoder decoder(unsigned int version)
{
	struct pgoutput_decoder d;
	assert_int_equal(pgoutput_decoder_init(&d, version, false), 0);
	return d;
}

static void test_init(void **state)
{
	struct pgoutput_decoder d = { .in_stream = true };

	(void)state;
	assert_int_equal(pgoutput_decoder_init(&d, 0, false), PGOUTPUT_ERROR_VERSION);
	assert_int_equal(pgoutput_decoder_init(&d, 5, false), PGOUTPUT_ERROR_VERSION);
	assert_int_equal(pgoutput_decoder_init(&d, 257, false), PGOUTPUT_ERROR_VERSION);
	assert_int_equal(pgoutput_decoder_init(&d, 3, true), PGOUTPUT_ERROR_VERSION);
	assert_true(d.in_stream);
	assert_int_equal(pgoutput_decoder_init(&d, 4, true), 0);
	assert_false(d.in_stream);
	assert_true(d.parallel);
}

static void test_zero_copy(void **state)
{
	static const char bytes[] = "U\0\0\100\1K\0\1t\0\0\0\2abN\0\3n"
				    "b\0\0\0\1\377"
				    "u";
	struct pgoutput_decoder d = decoder(1);
	struct pgoutput_message msg;
	struct pgoutput_column column = { 0 };

	(void)state;
	/* the old tuple has another number of columns than the new one */
	assert_int_equal(DECODE(&d, bytes, &msg), PGOUTPUT_ERROR_COUNT);
	assert_int_equal(d.error_offset, 16);

	const uint8_t *delete = (const uint8_t *)"D\0\0\100\1K\0\3n"
						 "t\0\0\0\2ab"
						 "b\0\0\0\0";
	assert_int_equal(pgoutput_decode(&d, delete, 21, &msg), 0);
	assert_int_equal(msg.kind, PGOUTPUT_DELETE);
	assert_int_equal(msg.row.relation, 0x4001);
	assert_int_equal(msg.row.new.kind, PGOUTPUT_TUPLE_NONE);
	assert_int_equal(msg.row.old.kind, PGOUTPUT_TUPLE_KEY);
	assert_int_equal(msg.row.old.n_columns, 3);
	assert_ptr_equal(msg.row.old.data, delete + 8);
	assert_int_equal(msg.row.old.len, 13);

	struct pgoutput_cursor cur = pgoutput_tuple_begin(&msg.row.old);
	assert_true(pgoutput_tuple_next(&cur, &column));
	assert_int_equal(column.kind, PGOUTPUT_COLUMN_NULL);
	assert_null(column.data);
	assert_true(pgoutput_tuple_next(&cur, &column));
	assert_int_equal(column.kind, PGOUTPUT_COLUMN_TEXT);
	assert_ptr_equal(column.data, delete + 14);
	assert_int_equal(column.len, 2);
	assert_true(pgoutput_tuple_next(&cur, &column));
	assert_int_equal(column.kind, PGOUTPUT_COLUMN_BINARY);
	assert_ptr_equal(column.data, delete + 21);
	assert_int_equal(column.len, 0);
	assert_false(pgoutput_tuple_next(&cur, &column));
	assert_false(pgoutput_tuple_next(&cur, &column));
	assert_int_equal(column.kind, PGOUTPUT_COLUMN_BINARY);

	cur = pgoutput_tuple_begin(&msg.row.new);
	assert_false(pgoutput_tuple_next(&cur, &column));
}

static void test_relation(void **state)
{
	static const char bytes[] = "R\0\0\100\1"
				    "public\0"
				    "t\0"
				    "f"
				    "\0\2"
				    "\1id\0"
				    "\0\0\0\27"
				    "\377\377\377\377"
				    "\0\0"
				    "\0\0\4\23"
				    "\0\0\0\30";
	struct pgoutput_decoder d = decoder(1);
	struct pgoutput_message msg;
	struct pgoutput_attribute attribute = { 0 };

	(void)state;
	assert_int_equal(DECODE(&d, bytes, &msg), 0);
	assert_int_equal(msg.relation.id, 0x4001);
	assert_string_equal(msg.relation.schema.data, "public");
	assert_int_equal(msg.relation.schema.len, 6);
	assert_string_equal(msg.relation.name.data, "t");
	assert_int_equal(msg.relation.identity, PGOUTPUT_IDENTITY_FULL);
	struct pgoutput_cursor cur = pgoutput_relation_begin(&msg.relation);
	assert_true(pgoutput_relation_next(&cur, &attribute));
	assert_string_equal(attribute.name.data, "id");
	assert_int_equal(attribute.type_oid, 23);
	assert_int_equal(attribute.type_modifier, -1);
	assert_true(attribute.key);
	assert_true(pgoutput_relation_next(&cur, &attribute));
	assert_int_equal(attribute.name.len, 0);
	assert_int_equal(attribute.type_oid, 1043);
	assert_int_equal(attribute.type_modifier, 24);
	assert_false(attribute.key);
	assert_false(pgoutput_relation_next(&cur, &attribute));
}

static void test_most_columns(void **state)
{
	static uint8_t bytes[8 + PGOUTPUT_MAX_COLUMNS + 1] = "I\0\0\100\1N";
	struct pgoutput_decoder d = decoder(1);
	struct pgoutput_message msg;
	struct pgoutput_column column;
	size_t n = 0;

	(void)state;
	memset(bytes + 8, PGOUTPUT_COLUMN_NULL, sizeof(bytes) - 8);
	bytes[6] = PGOUTPUT_MAX_COLUMNS >> 8;
	bytes[7] = PGOUTPUT_MAX_COLUMNS & 0xff;
	assert_int_equal(pgoutput_decode(&d, bytes, sizeof(bytes) - 1, &msg), 0);
	struct pgoutput_cursor cur = pgoutput_tuple_begin(&msg.row.new);
	while (pgoutput_tuple_next(&cur, &column))
		n++;
	assert_int_equal(n, PGOUTPUT_MAX_COLUMNS);
	bytes[7]++;
	assert_int_equal(pgoutput_decode(&d, bytes, sizeof(bytes), &msg), PGOUTPUT_ERROR_COUNT);
	assert_int_equal(d.error_offset, 6);
}

static void test_stream_state(void **state)
{
	struct pgoutput_decoder d = decoder(2);
	struct pgoutput_message msg;

	(void)state;
	assert_int_equal(DECODE(&d, "S\0\0\3\t\2", &msg), PGOUTPUT_ERROR_FLAGS);
	assert_false(d.in_stream);
	assert_int_equal(DECODE(&d, "S\0\0\3\t\1", &msg), 0);
	assert_true(d.in_stream);
	assert_true(msg.stream_start.first_segment);
	assert_int_equal(msg.stream_xid, 0);
	assert_int_equal(DECODE(&d, "I\0\0\3\t\0\0\100\1N\0\0", &msg), 0);
	assert_int_equal(msg.stream_xid, 0x309);
	assert_int_equal(DECODE(&d, "O\0\0\0\0\0\0\0\1x\0", &msg), 0);
	assert_int_equal(msg.stream_xid, 0);
	assert_int_equal(DECODE(&d, "EE", &msg), PGOUTPUT_ERROR_TRAILING);
	assert_true(d.in_stream);
	assert_int_equal(DECODE(&d, "E", &msg), 0);
	assert_false(d.in_stream);
	assert_int_equal(DECODE(&d, "I\0\0\100\1N\0\0", &msg), 0);
	assert_int_equal(msg.stream_xid, 0);
}

static void test_size(void **state)
{
	struct pgoutput_decoder d = decoder(1);
	struct pgoutput_message msg;

	(void)state;
	assert_int_equal(pgoutput_decode(&d, NULL, 0, &msg), PGOUTPUT_ERROR_TRUNCATED);
	assert_int_equal(d.error_offset, 0);
	/* refused by its length alone: none of the bytes is touched */
	assert_int_equal(pgoutput_decode(&d, "E", (size_t)1 << 30, &msg), PGOUTPUT_ERROR_SIZE);
}

static void test_format(void **state)
{
	struct pgoutput_decoder d = decoder(1);
	struct pgoutput_message msg;
	char buf[64];
	const char *text = "insert relation=16385 new=N/1\n  new text \"a\\\"\\x0a\"\n";

	(void)state;
	assert_int_equal(DECODE(&d, "I\0\0\100\1N\0\1t\0\0\0\3a\"\n", &msg), 0);
	size_t len = pgoutput_message_format(&msg, buf, sizeof(buf));
	assert_int_equal(len, strlen(text));
	assert_string_equal(buf, text);
	assert_int_equal(pgoutput_message_format(&msg, NULL, 0), len);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(pgoutput_message_format(&msg, buf, 7), len);
	assert_string_equal(buf, "insert");
	assert_int_equal(buf[7], 'x');
	assert_int_equal(pgoutput_message_format(&msg, buf, len), len);
	assert_int_equal(strlen(buf), len - 1);
}

static void test_names(void **state)
{
	(void)state;
	for (int error = PGOUTPUT_ERROR_VERSION; error <= PGOUTPUT_OK; error++)
		assert_string_not_equal(pgoutput_error_to_string(error), "unknown");
	assert_string_equal(pgoutput_error_to_string(PGOUTPUT_ERROR_VERSION - 1), "unknown");
	assert_string_equal(pgoutput_error_to_string(1), "unknown");

	size_t kinds = 0;
	for (int byte = 0; byte < 256; byte++)
		kinds += strcmp(pgoutput_kind_to_string((enum pgoutput_kind)byte), "unknown") != 0;
	assert_int_equal(kinds, 19);
	assert_string_equal(pgoutput_identity_to_string(PGOUTPUT_IDENTITY_INDEX), "index");
	assert_string_equal(pgoutput_tuple_kind_to_string((enum pgoutput_tuple_kind)'x'), "unknown");
	assert_string_equal(pgoutput_column_kind_to_string(PGOUTPUT_COLUMN_UNCHANGED), "unchanged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_zero_copy),
		cmocka_unit_test(test_relation),
		cmocka_unit_test(test_most_columns),
		cmocka_unit_test(test_stream_state),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
