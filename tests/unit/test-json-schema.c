/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Relations in the topic of schemas: written, read, and refused. */

#include "json_fixture.h"

static void a_relation_comes_back_whole(void **state)
{
	struct column columns[] = { { "id", INT8, -1, true },
		{ "a\"\\\n\xC3\xA9", DECIMAL, NUMERIC(10, 2), false },
		{ "u", 4294967295u, -2147483647, false } };
	struct relation_spec spec = { .id = 4294967295u,
		.schema = "sch\"ema",
		.name = "t.x",
		.identity = IDENTITY_INDEX,
		.n_columns = 3,
		.columns = columns };
	struct relation *rel = relation_new(&spec), *back = NULL;
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct error err = ERROR_INIT;

	relation_write_json(rel, &out);
	assert_int_equal(relation_read_json(out.data, out.len, &back, &err), 0);
	assert_int_equal(back->id, rel->id);
	assert_int_equal(back->fingerprint, rel->fingerprint);
	assert_int_equal(back->n_keys, 1);
	assert_string_equal(back->columns[1].name, rel->columns[1].name);
	assert_int_equal(back->columns[2].type_oid, 4294967295u);
	assert_int_equal(back->columns[2].type_modifier, -2147483647);
	relation_unref(back);
	for (size_t i = 0; i < out.len; i++) {
		assert_true(relation_read_json(out.data, i, &back, &err) < 0);
		assert_string_equal(err.code, "SCHEMA-FORMAT");
	}
	relation_unref(rel);
}

static void facts_of_columns_come_back(void **state)
{
	const struct column_facts all = { .number = 32767,
		.gap = 3,
		.not_null = true,
		.computed = true,
		.retyped = true,
		.missing = "a\"\n",
		.preset = "'x'::text",
		.type_schema = "s",
		.type_name = "mood",
		.collation_schema = "pg_catalog",
		.collation = "C" };
	const struct column_facts none = { 0 };
	struct column columns[] = { { "a", INT8, -1, true, &none }, { "b", INT8, -1, false, &all } };
	struct relation_spec spec = {
		.schema = "s", .name = "t", .identity = IDENTITY_FULL, .columns = columns
	};
	struct relation *rel, *plain, *back = NULL;
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct error err = ERROR_INIT;

	spec.n_columns = 2;
	spec.file = 4294967295u;
	spec.behind = true;
	spec.highest = 7;
	rel = relation_new(&spec);
	relation_write_json(rel, &out);
	assert_int_equal(relation_read_json(out.data, out.len, &back, &err), 0);
	assert_int_equal(back->file, spec.file);
	assert_true(back->behind);
	assert_int_equal(back->highest, 7);
	assert_int_equal(back->columns[0].facts->number, 0);
	assert_null(back->columns[0].facts->missing);
	assert_int_equal(back->columns[1].facts->number, 32767);
	assert_int_equal(back->columns[1].facts->gap, 3);
	assert_true(back->columns[1].facts->not_null && back->columns[1].facts->computed);
	assert_true(back->columns[1].facts->retyped);
	assert_string_equal(back->columns[1].facts->missing, all.missing);
	assert_string_equal(back->columns[1].facts->preset, all.preset);
	assert_string_equal(back->columns[1].facts->type_schema, "s");
	assert_string_equal(back->columns[1].facts->type_name, "mood");
	assert_string_equal(back->columns[1].facts->collation_schema, "pg_catalog");
	assert_string_equal(back->columns[1].facts->collation, "C");
	/* a column's number is a part of what it is, its default is not */
	columns[1].facts = &none;
	plain = relation_new(&spec);
	assert_int_not_equal(plain->fingerprint, rel->fingerprint);
	relation_unref(plain);
	columns[1].facts = &(struct column_facts){ .number = 32767 };
	plain = relation_new(&spec);
	assert_int_equal(plain->fingerprint, rel->fingerprint);
	relation_unref(plain);
	relation_unref(back);
	relation_unref(rel);
}

static void a_relation_that_is_none(void **state)
{
	static const char *const bad[] = { "", "null", "[]", "{}", "1", "\"x\"",
		"{\"schema\":\"s\",\"name\":\"t\"}",
		"{\"id\":1,\"schema\":\"s\",\"name\":\"t\",\"identity\":\"d\",\"fingerprint\":\"0000000000000001\",\"columns\":[]}",
		"{\"id\":1,\"schema\":\"s\",\"schema\":\"s\",\"name\":\"t\",\"identity\":\"d\"}",
		"{\"id\":4294967296,\"schema\":\"s\",\"name\":\"t\",\"identity\":\"d\"}",
		"{\"id\":1,\"schema\":\"s\",\"name\":\"t\",\"identity\":\"z\"}",
		"{\"id\":1,\"schema\":\"s\",\"name\":\"t\",\"identity\":\"d\",\"columns\":[{}]}",
		"{\"id\":1,\"schema\":\"s\\u0000\",\"name\":\"t\",\"identity\":\"d\"}" };
	struct relation *rel = NULL;
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_true(relation_read_json(bad[i], strlen(bad[i]), &rel, &err) < 0);
		assert_string_equal(err.code, "SCHEMA-FORMAT");
		assert_int_equal(err.class, ERROR_DATA);
	}
	assert_null(rel);
}

static void what_a_later_version_adds_is_skipped(void **state)
{
	struct column column = { "id", INT4, -1, true };
	struct relation_spec spec = { .id = 16400,
		.schema = "public",
		.name = "t",
		.identity = IDENTITY_DEFAULT,
		.n_columns = 1,
		.columns = &column };
	struct relation *rel = relation_new(&spec), *back = NULL;
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct error err = ERROR_INIT;

	buf_printf(&out,
		"{\"new\":{\"id\":5,\"columns\":[{\"name\":\"x\"}]},\"columns\":[{\"key\":true,\"more\":[1,{\"name\":2}],"
		"\"type\":23,\"name\":\"id\"}],\"name\":\"t\",\"identity\":\"d\",\"schema\":\"public\","
		"\"fingerprint\":\"%016llx\",\"id\":16400}",
		(unsigned long long)rel->fingerprint);
	assert_int_equal(relation_read_json(out.data, out.len, &back, &err), 0);
	assert_int_equal(back->id, 16400);
	assert_int_equal(back->n_columns, 1);
	relation_unref(back);
	relation_unref(rel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_relation_comes_back_whole),
		cmocka_unit_test(facts_of_columns_come_back),
		cmocka_unit_test(a_relation_that_is_none),
		cmocka_unit_test(what_a_later_version_adds_is_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
