/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Columns that come at the source: what is remembered, what is refused, and which text may stand in a statement. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/buf.h>

#include "sink/postgres/ddl.h"

static const struct column_facts numbers[] = { { .number = 1 }, { .number = 2 }, { .number = 3 },
	{ .number = 4 }, { .number = 5 } };

/* a target with the columns of `there`, whose own numbers are 1, 2, …, for a relation with the columns given */
struct fixture {
	struct target target;
	struct target_column there[4];
	struct column columns[4];
	struct relation_spec spec;
};

static void setup(struct fixture *fx, const char *there)
{
	*fx = (struct fixture){
		.spec = { .id = 500, .schema = "s", .name = "t", .identity = IDENTITY_DEFAULT }
	};
	fx->spec.columns = fx->columns;
	fx->spec.file = 500;
	for (; there[fx->target.n_columns]; fx->target.n_columns++) {
		struct target_column *column = &fx->there[fx->target.n_columns];

		column->name = strndup(there + fx->target.n_columns, 1);
		column->number = (int16_t)(fx->target.n_columns + 1);
	}
	fx->target.columns = fx->there;
	fx->target.sql_name = (char[]){ "\"s\".\"t\"" };
	fx->target.schema = "s";
	fx->target.name = "t";
}

static void has(struct fixture *fx, const char *name, const struct column_facts *facts)
{
	fx->columns[fx->spec.n_columns++] = (struct column){ .name = name, .type_oid = 25, .facts = facts };
}

static void take(struct fixture *fx)
{
	relation_unref(fx->target.rel);
	fx->target.rel = relation_new(&fx->spec);
}

static void teardown(struct fixture *fx)
{
	relation_unref(fx->target.rel);
	for (uint32_t i = 0; i < fx->target.n_columns; i++)
		free(fx->there[i].name);
}

static struct ddl_known *remember(const struct fixture *fx, const struct ddl_known *old)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct ddl_known *known;

	ddl_known_put(&text, old, &fx->target);
	known = ddl_known_parse(text.data, text.len);
	assert_non_null(known);
	for (size_t i = 0; i < text.len; i++)
		assert_null(ddl_known_parse(text.data, i));
	return known;
}

static const char *refuses(
	struct fixture *fx, const struct ddl_known *known, const struct column_facts *facts)
{
	const char *renamed;

	has(fx, "n", facts);
	take(fx);
	fx->spec.n_columns--;
	return ddl_refuses(known, &fx->target, fx->spec.n_columns, false, &renamed);
}

static void rows_that_nobody_wrote_are_known(void **state)
{
	const struct column_facts plain = { .number = 3 }, preset = { .number = 3, .preset = "5" },
				  missing = { .number = 3,
					  .missing = "x",
					  .preset = "random()",
					  .not_null = true },
				  not_null = { .number = 3, .not_null = true };
	struct ddl_known *known;
	struct fixture fx;

	setup(&fx, "ab");
	has(&fx, "a", &numbers[0]);
	has(&fx, "b", &numbers[1]);
	take(&fx);
	known = remember(&fx, NULL);
	/* the file of the beginning */
	assert_null(refuses(&fx, known, &plain));
	assert_null(refuses(&fx, known, &preset));
	assert_null(refuses(&fx, known, &not_null));
	/* another file than the one remembered */
	fx.spec.file = 900;
	assert_non_null(refuses(&fx, known, &plain));
	assert_non_null(refuses(&fx, known, &preset));
	assert_non_null(refuses(&fx, known, &not_null));
	assert_null(refuses(&fx, known, &missing));
	/* remembered by now */
	take(&fx);
	ddl_known_free(known);
	known = remember(&fx, NULL);
	assert_int_equal(known->file, 900);
	assert_null(refuses(&fx, known, &plain));
	/* what was seen when other columns were there already proves nothing */
	fx.spec.file = 901;
	fx.spec.behind = true;
	take(&fx);
	struct ddl_known *later = remember(&fx, known);

	assert_int_equal(later->file, 900);
	assert_non_null(refuses(&fx, later, &plain));
	ddl_known_free(later);
	ddl_known_free(known);
	teardown(&fx);
}

static void numbers_tell_which_column_it_is(void **state)
{
	const struct column_facts computed = { .number = 3, .computed = true, .missing = "1" },
				  retyped = { .number = 3, .retyped = true },
				  gone = { .number = 0, .preset = "f()" }, gap = { .number = 4, .gap = 3 };
	struct ddl_known *known, *more;
	const char *renamed;
	struct fixture fx;

	setup(&fx, "ab");
	has(&fx, "a", &numbers[0]);
	has(&fx, "b", &numbers[1]);
	take(&fx);
	known = remember(&fx, NULL);
	assert_non_null(refuses(&fx, known, &computed));
	assert_non_null(refuses(&fx, known, &retyped));
	assert_non_null(refuses(&fx, known, NULL));
	assert_null(refuses(&fx, known, &gone));
	/* 3 came and went unseen: it may have been this one's name */
	assert_non_null(refuses(&fx, known, &gap));
	assert_non_null(refuses(&fx, NULL, &gap));
	/* 3 was seen, and is gone */
	fx.there[1].number = 7;
	fx.columns[1].facts = &numbers[2];
	take(&fx);
	more = remember(&fx, known);
	assert_int_equal(more->highest, 3);
	assert_null(refuses(&fx, more, &gap));
	/* another table of that name */
	fx.columns[1].facts = &numbers[1];
	assert_null(refuses(&fx, more, &gap));
	assert_non_null(refuses(&fx, NULL, &numbers[4]));
	fx.spec.id = fx.spec.file = 501;
	assert_non_null(refuses(&fx, more, &gap));
	fx.spec.id = fx.spec.file = 500;
	/* renamed */
	fx.spec.n_columns = 1;
	assert_non_null(refuses(&fx, more, &numbers[2]));
	has(&fx, "n", &numbers[2]);
	take(&fx);
	assert_non_null(ddl_refuses(more, &fx.target, 1, true, &renamed));
	assert_string_equal(renamed, "b");
	assert_non_null(ddl_refuses(NULL, &fx.target, 1, true, &renamed));
	ddl_known_free(more);
	/* 4 was there, though it was not sent */
	fx.spec.highest = 4;
	take(&fx);
	more = remember(&fx, known);
	assert_non_null(refuses(&fx, more, &numbers[3]));
	assert_null(refuses(&fx, more, &numbers[4]));
	ddl_known_free(more);
	ddl_known_free(known);
	teardown(&fx);
}

static void columns_that_mean_another_are_found(void **state)
{
	struct error err = ERROR_INIT;
	struct ddl_known *known;
	struct fixture fx;

	setup(&fx, "ab");
	has(&fx, "a", &numbers[0]);
	has(&fx, "b", &numbers[1]);
	take(&fx);
	known = remember(&fx, NULL);
	assert_false(ddl_mistaken(known, &fx.target, &err));
	fx.columns[1].facts = &numbers[4];
	take(&fx);
	assert_true(ddl_mistaken(known, &fx.target, &err));
	assert_string_equal(err.code, "PG-COLUMN-ANEW");
	/* made anew at the target as well */
	fx.there[1].number = 9;
	assert_false(ddl_mistaken(known, &fx.target, &err));
	fx.there[1].number = 2;
	/* swapped names */
	fx.columns[0].facts = &numbers[1];
	fx.columns[1].facts = &numbers[0];
	take(&fx);
	assert_true(ddl_mistaken(known, &fx.target, &err));
	assert_string_equal(err.code, "PG-COLUMN-RENAMED");
	ddl_known_free(known);
	teardown(&fx);
}

static void only_plain_defaults_are_written(void **state)
{
	static const char *const plain[] = { "42", "1.5", "true", "'x'::text",
		"'it''s \\'::character varying", "'{1,2}'::integer[]", "'1'::numeric(10,2)", "now()",
		"NULL::text", "''" };
	static const char *const other[] = { "", "f()", "1; drop table t", "'x'; drop table t", "'x' || f()",
		"'x'::text; x", "'x'::\"a\"", "'x", "E'x'", "now() + '1 day'::interval",
		"nextval('s'::regclass)", "'x'::", "-1", "'a''", "(1)" };

	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		assert_true(ddl_default_is_plain(plain[i]));
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++)
		assert_false(ddl_default_is_plain(other[i]));
}

static void damaged_memory_is_none(void **state)
{
	static const char *const bad[] = { "", "2 1 1 1 0\n", "1 1 1 1 1\n", "1 1 1 1 9999999999\n",
		"1 1 1 99999 0\n", "1 1 1 1 1\n1 1 5 abc\n", "1 1 1 1 1\n1 1 4294967295 a\n", "x",
		"1 1 1 1 1\n1 1 1 ab\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_null(ddl_known_parse(bad[i], strlen(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_that_nobody_wrote_are_known),
		cmocka_unit_test(numbers_tell_which_column_it_is),
		cmocka_unit_test(columns_that_mean_another_are_found),
		cmocka_unit_test(only_plain_defaults_are_written),
		cmocka_unit_test(damaged_memory_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
