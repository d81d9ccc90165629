/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * How tables are cut into chunks: no block is read twice or not at all, whatever the sizes, and the SQL reads just that.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "source/postgres/snapshot.h"

#define MIB ((uint64_t)1 << 20)

static void test_chunks_count(void **state)
{
	(void)state;
	assert_int_equal(plan_chunks(0, 0, 128 * MIB), 1);
	assert_int_equal(plan_chunks(8192, 8192, 128 * MIB), 1);
	assert_int_equal(plan_chunks(128 * MIB, 128 * MIB, 128 * MIB), 1);
	assert_int_equal(plan_chunks(128 * MIB + 8192, 128 * MIB + 8192, 128 * MIB), 2);
	/* TOAST counts: a small heap with large values is cut too */
	assert_int_equal(plan_chunks(MIB, 1024 * MIB, 128 * MIB), 8);
	/* but never into more pieces than it has blocks */
	assert_int_equal(plan_chunks(2 * 8192, 1024 * MIB, MIB), 2);
	/* a table size that is older than the heap's */
	assert_int_equal(plan_chunks(256 * MIB, 0, 128 * MIB), 2);
	assert_int_equal(plan_chunks(256 * MIB, 256 * MIB, 0), 1);
}

static void test_ranges_cover_everything_once(void **state)
{
	static const uint64_t heaps[] = { 0, 8192, 3 * 8192, 1000 * 8192, 8192 * (uint64_t)4000000000 };
	static const uint32_t counts[] = { 1, 2, 3, 7, 1000 };

	(void)state;
	for (size_t h = 0; h < sizeof(heaps) / sizeof(*heaps); h++) {
		for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
			uint64_t expect = 0;

			for (uint32_t i = 0; i < counts[c]; i++) {
				uint64_t low, high;

				plan_range(heaps[h], counts[c], i, &low, &high);
				assert_true(low == expect);
				assert_true(high >= low);
				expect = high;
			}
			/* rows that were added behind the size we saw belong to the last one */
			assert_true(expect == UINT64_MAX);
		}
	}
}

static void test_binary_types(void **state)
{
	(void)state;
	assert_true(plan_binary_type(23));    /* int4 */
	assert_true(plan_binary_type(1700));  /* numeric */
	assert_true(plan_binary_type(3802));  /* jsonb */
	assert_false(plan_binary_type(2205)); /* regclass: an oid of this database */
	assert_false(plan_binary_type(1033)); /* aclitem: no binary form */
	assert_false(plan_binary_type(16999));
	assert_false(plan_binary_type(13000)); /* given at initdb, differs between versions */
}

static void expect_sql(const struct snapshot_chunk *chunk, const struct plan_leaf *leaf, const char *expected)
{
	struct buf sql = BUF_INIT;

	plan_copy_sql(&sql, chunk, leaf);
	assert_string_equal(buf_str(&sql), expected);
	buf_fini(&sql);
}

static void test_copy_sql(void **state)
{
	char schema[] = "s", name[] = "t\"x", columns[] = "\"a\", \"b\"", filter[] = "(a > 5)", none[] = "";
	struct plan_leaf leaf = { .schema = schema, .name = name };
	struct plan_table plan = { .columns = columns };
	struct snapshot_table table = { .driver = &plan, .format = SNAPSHOT_TEXT_COPY };
	struct snapshot_chunk chunk = { .table = &table, .low = 0, .high = UINT64_MAX };

	(void)state;
	expect_sql(&chunk, &leaf, "COPY \"s\".\"t\"\"x\" (\"a\", \"b\") TO STDOUT");
	table.format = SNAPSHOT_BINARY_COPY;
	chunk.low = 10;
	chunk.high = 20;
	expect_sql(&chunk, &leaf,
		"COPY (SELECT \"a\", \"b\" FROM ONLY \"s\".\"t\"\"x\" WHERE ctid OPERATOR(pg_catalog.>=) '(10,0)' AND ctid "
		"OPERATOR(pg_catalog.<) '(20,0)') TO STDOUT (FORMAT binary)");
	table.format = SNAPSHOT_TEXT_COPY;
	chunk.high = UINT64_MAX;
	plan.filter = filter;
	expect_sql(&chunk, &leaf,
		"COPY (SELECT \"a\", \"b\" FROM ONLY \"s\".\"t\"\"x\" WHERE ctid OPERATOR(pg_catalog.>=) '(10,0)' AND ((a > 5))) TO "
		"STDOUT");
	chunk.low = 0;
	expect_sql(&chunk, &leaf,
		"COPY (SELECT \"a\", \"b\" FROM ONLY \"s\".\"t\"\"x\" WHERE ((a > 5))) TO STDOUT");
	/* a table without columns has rows all the same */
	plan.filter = NULL;
	plan.columns = none;
	expect_sql(&chunk, &leaf, "COPY (SELECT  FROM ONLY \"s\".\"t\"\"x\") TO STDOUT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks_count),
		cmocka_unit_test(test_ranges_cover_everything_once),
		cmocka_unit_test(test_binary_types),
		cmocka_unit_test(test_copy_sql),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
