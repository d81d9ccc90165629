/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The SQL of the PostgreSQL sink: shapes, quoting, casts without modifiers, operators with their schema. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/postgres/statement.h"

#define EQ "OPERATOR(pg_catalog.=)"

static void expect(const struct statement_spec *spec, const char *wanted)
{
	struct buf sql = BUF_INIT;

	statement_put(&sql, spec);
	assert_string_equal(buf_str(&sql), wanted);
	buf_fini(&sql);
}

static void test_insert(void **state)
{
	const struct statement_param params[] = {
		{ .column = "id", .type = "integer", .set = true },
		{ .column = "we\"ird", .type = "public.\"T y\"", .text = true, .set = true },
	};

	expect(&(struct statement_spec){ STATEMENT_INSERT, "\"s\".\"t\"", NULL, params, 2 },
		"INSERT INTO \"s\".\"t\" (\"id\", \"we\"\"ird\") OVERRIDING SYSTEM VALUE"
		" SELECT n.p1, n.p2::public.\"T y\" FROM unnest($1, $2) AS n(p1, p2)");
}

static void test_update_and_delete(void **state)
{
	const struct statement_param params[] = {
		{ .column = "k", .type = "citext", .equal = "OPERATOR(public.=)", .key = true },
		{ .column = "a", .type = "integer[]", .equal = EQ, .key = true, .text = true },
		{ .column = "v", .type = "text", .set = true },
	};

	expect(&(struct statement_spec){ STATEMENT_UPDATE, "t", "ONLY t", params, 3 },
		"UPDATE ONLY t AS t SET \"v\" = n.p3 FROM unnest($1, $2, $3) AS n(p1, p2, p3)"
		" WHERE t.\"k\" OPERATOR(public.=) n.p1 AND t.\"a\" OPERATOR(pg_catalog.=) n.p2::integer[]");
	expect(&(struct statement_spec){ STATEMENT_DELETE, "t", "ONLY t", params, 2 },
		"DELETE FROM ONLY t AS t USING unnest($1, $2) AS n(p1, p2)"
		" WHERE t.\"k\" OPERATOR(public.=) n.p1 AND t.\"a\" OPERATOR(pg_catalog.=) n.p2::integer[]");
}

static void test_conflict(void **state)
{
	const struct statement_param params[] = {
		{ .column = "k", .type = "integer", .equal = EQ, .key = true, .set = true },
		{ .column = "v", .type = "text", .set = true },
	};
	const char *const keys[] = { "k" };
	struct statement_spec spec = { STATEMENT_INSERT_OVERWRITE, "t", "ONLY t", params, 2, keys, 1 };

	expect(&spec,
		"WITH n AS MATERIALIZED (SELECT * FROM unnest($1, $2) AS n(p1, p2)), met AS (SELECT 1 FROM ONLY t AS t, n"
		" WHERE t.\"k\" OPERATOR(pg_catalog.=) n.p1), i AS (INSERT INTO t (\"k\", \"v\")"
		" OVERRIDING SYSTEM VALUE SELECT n.p1, n.p2 FROM n ON CONFLICT (\"k\") DO UPDATE SET"
		" \"v\" = EXCLUDED.\"v\" RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM i),"
		" (SELECT pg_catalog.count(*) FROM met)");
	/* nothing beside the key: there is nothing to overwrite */
	spec.n_params = 1;
	expect(&spec,
		"WITH n AS MATERIALIZED (SELECT * FROM unnest($1) AS n(p1)), met AS (SELECT 1 FROM ONLY t AS t, n"
		" WHERE t.\"k\" OPERATOR(pg_catalog.=) n.p1), i AS (INSERT INTO t (\"k\")"
		" OVERRIDING SYSTEM VALUE SELECT n.p1 FROM n ON CONFLICT (\"k\") DO NOTHING RETURNING 1)"
		" SELECT (SELECT pg_catalog.count(*) FROM i), (SELECT pg_catalog.count(*) FROM met)");
}

static void test_whole_row(void **state)
{
	const struct statement_param params[] = {
		{ .column = "a", .type = "integer", .key = true },
		{ .column = "b", .type = "integer[]", .key = true, .text = true },
		{ .column = "a", .type = "integer", .set = true },
	};

	expect(&(struct statement_spec){ STATEMENT_DELETE_WHOLE, "t", "ONLY t", params, 2 },
		"DELETE FROM ONLY t AS t WHERE (t.tableoid, t.ctid) = (SELECT s.tableoid, s.ctid FROM ONLY t AS s WHERE"
		" ROW(s.\"a\", s.\"b\")::record OPERATOR(pg_catalog.*=) ROW(($1)[1], ($2)[1]::integer[])::record LIMIT 1)");
	expect(&(struct statement_spec){ STATEMENT_UPDATE_WHOLE, "t", "ONLY t", params, 3 },
		"UPDATE ONLY t AS t SET \"a\" = ($3)[1] WHERE (t.tableoid, t.ctid) = (SELECT s.tableoid, s.ctid FROM ONLY t AS s"
		" WHERE ROW(s.\"a\", s.\"b\")::record OPERATOR(pg_catalog.*=)"
		" ROW(($1)[1], ($2)[1]::integer[])::record LIMIT 1)");
}

static void test_replace(void **state)
{
	const struct statement_param params[] = {
		{ .column = "k", .type = "text", .equal = EQ, .key = true },
		{ .column = "k", .type = "text", .equal = EQ, .set = true },
		{ .column = "id", .type = "integer", .equal = EQ, .guard = true },
	};
	const char *const kept[] = { "own" };
	struct statement_spec spec = { STATEMENT_REPLACE, "t", "ONLY t", params, 3, NULL, 0, kept, 1 };

	expect(&spec,
		"WITH n AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3) AS n(p1, p2, p3)),"
		" u AS (UPDATE ONLY t AS t SET \"k\" = n.p2 FROM n WHERE t.\"k\" OPERATOR(pg_catalog.=) n.p1"
		" AND t.\"id\" OPERATOR(pg_catalog.=) n.p3 RETURNING 1),"
		" d AS (DELETE FROM ONLY t AS t USING n WHERE t.\"k\" OPERATOR(pg_catalog.=) n.p1"
		" AND NOT (t.\"id\" OPERATOR(pg_catalog.=) n.p3) RETURNING t.*),"
		" i AS (INSERT INTO t (\"k\", \"id\", \"own\") OVERRIDING SYSTEM VALUE SELECT n.p2, n.p3, d.\"own\""
		" FROM d, n RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM i) + (SELECT pg_catalog.count(*) FROM u)");
	spec.n_params = 2;
	expect(&spec,
		"WITH n AS MATERIALIZED (SELECT * FROM unnest($1, $2) AS n(p1, p2)),"
		" d AS (DELETE FROM ONLY t AS t USING n WHERE t.\"k\" OPERATOR(pg_catalog.=) n.p1 RETURNING t.*),"
		" i AS (INSERT INTO t (\"k\", \"own\") OVERRIDING SYSTEM VALUE SELECT n.p2, d.\"own\""
		" FROM d, n RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM i)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_insert),
		cmocka_unit_test(test_update_and_delete),
		cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_whole_row),
		cmocka_unit_test(test_replace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
