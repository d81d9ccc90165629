/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* A record to JSON and back: every state and every byte. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sink/postgres/letter_json.h"

static struct value text(const char *s, uint32_t len)
{
	return (struct value){ (const uint8_t *)s, len, VALUE_PRESENT, VALUE_TEXT, 0 };
}

static void test_round_trip(void **state)
{
	const struct column columns[] = {
		{ "id", 23, -1, true },
		{ "we\"ird", 1043, 24, false },
		{ "n", 1700, -1, false },
		{ "toast", 25, -1, false },
		{ "latin", 25, -1, false },
		{ "binary", 701, -1, false },
	};
	struct relation *rel = relation_new(&(struct relation_spec){ .id = 9,
		.schema = "s.x",
		.name = "t\"",
		.identity = IDENTITY_INDEX,
		.n_columns = 6,
		.columns = columns });
	struct value before[6] = { [0] = text("1", 1) };
	struct value after[6] = {
		text("2", 1),
		text("tab\t \"quote\" \\ é \xf0\x9f\x98\x80 \x01", 25),
		{ .state = VALUE_NULL },
		{ .state = VALUE_ABSENT },
		text("\xff\xc3(", 3),
		{ (const uint8_t *)"\0\1\2", 3, VALUE_PRESENT, VALUE_BINARY, 0 },
	};
	struct record rec = { .op = RECORD_UPDATE,
		.flags = RECORD_BEFORE_KEY | RECORD_KEY_CHANGED | RECORD_TOAST,
		.rel = rel,
		.before = before,
		.after = after };
	struct buf json = BUF_INIT;
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;
	const struct record *back;

	letter_json_put(&json, &rec);
	assert_int_equal(letter_json_read(buf_str(&json), batch, &err), 0);
	assert_int_equal(batch->n_records, 1);
	back = &batch->records[0];
	assert_int_equal(back->op, rec.op);
	assert_int_equal(back->flags, rec.flags);
	assert_string_equal(back->rel->schema, "s.x");
	assert_string_equal(back->rel->name, "t\"");
	assert_int_equal(back->rel->identity, IDENTITY_INDEX);
	assert_int_equal(back->rel->n_columns, 6);
	for (uint32_t i = 0; i < 6; i++) {
		assert_string_equal(back->rel->columns[i].name, columns[i].name);
		assert_int_equal(back->rel->columns[i].type_oid, columns[i].type_oid);
		assert_int_equal(back->rel->columns[i].type_modifier, columns[i].type_modifier);
		assert_int_equal(back->rel->columns[i].key, columns[i].key);
		assert_int_equal(back->before[i].state, before[i].state);
		assert_int_equal(back->after[i].state, after[i].state);
		assert_int_equal(back->after[i].len, after[i].len);
		if (after[i].len)
			assert_memory_equal(back->after[i].data, after[i].data, after[i].len);
	}
	assert_int_equal(back->after[4].format, VALUE_TEXT);
	assert_int_equal(back->after[5].format, VALUE_BINARY);
	batch_free(batch);
	buf_fini(&json);
	relation_unref(rel);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"{\"op\":\"insert\"}",
		"{\"op\":\"truncate\",\"identity\":\"d\",\"schema\":\"s\",\"table\":\"t\",\"columns\":[],\"after\":{}}",
		"{\"op\":\"insert\",\"identity\":\"d\",\"schema\":\"s\",\"table\":\"t\",\"columns\":[],\"after\":{\"x\":\"1\"}}",
		"{\"op\":\"insert\",\"identity\":\"d\",\"schema\":\"s\",\"table\":\"t\",\"columns\":[{\"name\":\"x\"}],"
		"\"after\":{\"x\":{\"hex\":\"0g\"}}}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct batch *batch = batch_new(NULL);
		struct error err = ERROR_INIT;

		assert_true(letter_json_read(bad[i], batch, &err) < 0);
		assert_int_equal(err.class, ERROR_DATA);
		batch_free(batch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
