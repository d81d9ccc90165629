/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The text of a schema: cut into its entries, also where names are strange; which table an entry locks; COPY text taken
 * apart; which column an error is about, without ever taking a row's value for one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "sink/postgres/load.h"

static const char text[] =
	"\\restrict abc\n\nSET lock_timeout = 0;\n\n"
	"--\n-- Name: app; Type: SCHEMA; Schema: -; Owner: -\n--\n\nCREATE SCHEMA app;\n\n\n"
	"--\n-- Name: odd; Type: X; name; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE odd ();\n\n\n"
	"--\n-- Name: not a header\n\n"
	"--\n-- Name: EXTENSION citext; Type: COMMENT; Schema: -; Owner: -\n--\n\nCOMMENT ON EXTENSION citext IS 'x';\n\n"
	"\\unrestrict abc\n\n";

static void test_script_parse(void **state)
{
	struct script script;
	struct buf sql = BUF_INIT;

	(void)state;
	script_parse(&script, text, strlen(text));
	assert_int_equal(script.n, 3);
	assert_true(script_is(&script.items[0], "SCHEMA"));
	assert_true(script_is(&script.items[1], "TABLE"));
	assert_false(script_is(&script.items[1], "TABLES"));
	assert_int_equal(script.items[1].name_len, strlen("odd; Type: X; name"));
	assert_true(script_has(&script.items[1], "CREATE TABLE odd"));
	assert_false(script_has(&script.items[0], "odd"));
	for (uint32_t i = 0; i < script.n; i++) {
		assert_false(script_has(&script.items[i], "restrict"));
		assert_false(script_has(&script.items[i], "SET lock_timeout"));
		script_put_pre(&sql, &script.items[i]);
	}
	/* a schema may be there; a comment on what is not ours is left out */
	assert_non_null(strstr(buf_str(&sql), "CREATE SCHEMA IF NOT EXISTS app;"));
	assert_null(strstr(buf_str(&sql), "EXTENSION"));
	buf_fini(&sql);
	script_fini(&script);
	script_parse(&script, "", 0);
	assert_int_equal(script.n, 0);
	script_fini(&script);
}

static void expect_table(const char *sql, const char *expected)
{
	struct script_item item = { .sql = sql, .sql_len = strlen(sql) };
	const char *table = NULL;
	size_t n = script_table(&item, &table);

	if (!expected) {
		assert_int_equal(n, 0);
		return;
	}
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(table, expected, n);
}

static void test_script_table(void **state)
{
	(void)state;
	expect_table("\nALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);\n",
		"public.orders");
	expect_table("ALTER TABLE \"A b\".\"x(;\"\n ADD FOREIGN KEY", "\"A b\".\"x(;\"");
	expect_table("CREATE INDEX i ON public.t USING btree (a);", "public.t");
	expect_table(
		"CREATE UNIQUE INDEX \"i ON x\" ON ONLY public.\"T t\" USING btree (a);", "public.\"T t\"");
	expect_table("ALTER INDEX public.a ATTACH PARTITION public.b;", NULL);
	expect_table("CREATE TRIGGER t BEFORE INSERT ON public.x", NULL);
	expect_table("", NULL);
}

static void test_unescape(void **state)
{
	uint8_t field[] = "a\\tb\\\\n\\n\\N";
	size_t n = load_unescape(field, strlen((char *)field));

	(void)state;
	assert_int_equal(n, strlen("a\tb\\n\nN"));
	assert_memory_equal(field, "a\tb\\n\nN", n);
}

static void test_rows(void **state)
{
	static const char rows[] = "1\tit's\t\\N\n2\ta\\\\b\t\n";
	struct buf sql = BUF_INIT;
	size_t at = 0;

	(void)state;
	assert_int_equal(load_rows_put(&sql, (const uint8_t *)rows, strlen(rows), &at, 3), 2);
	assert_int_equal(at, strlen(rows));
	/* null, the empty string and a text with a quote or a backslash are three things */
	assert_string_equal(buf_str(&sql), " ('1', 'it''s', NULL), ('2',  E'a\\\\b', '')");
	buf_clear(&sql);
	at = 0;
	assert_int_equal(load_rows_put(&sql, (const uint8_t *)"1\t2\n", 4, &at, 3), -1);
	at = 0;
	assert_int_equal(load_rows_put(&sql, (const uint8_t *)"1\t2\t3\t4\n", 8, &at, 3), -1);
	at = 0;
	assert_int_equal(load_rows_put(&sql, (const uint8_t *)"1\t2\t3", 5, &at, 3), -1);
	buf_fini(&sql);
}

static void test_error_column(void **state)
{
	struct column columns[] = { { .name = "id" }, { .name = "we: ird" } };
	struct relation_spec spec = { .schema = "s", .name = "t", .n_columns = 2, .columns = columns };
	struct relation *rel = relation_new(&spec);

	(void)state;
	assert_string_equal(load_error_column(rel, "COPY t, line 3, column id: \"secret\""), "id");
	assert_string_equal(load_error_column(rel, "COPY t, line 3, column we: ird: \"secret\""), "we: ird");
	assert_string_equal(load_error_column(rel, "COPY t, line 3, column id"), "id");
	assert_null(load_error_column(rel, "COPY t, line 3: \"x\""));
	assert_null(load_error_column(rel, "COPY t, line 3, column idx: \"x, column id: y\""));
	assert_null(load_error_column(rel, NULL));
	relation_unref(rel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_script_parse),
		cmocka_unit_test(test_script_table),
		cmocka_unit_test(test_unescape),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_error_column),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
