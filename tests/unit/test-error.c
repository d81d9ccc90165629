/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <sluice/error.h>

static void carries_class_code_and_message(void **state)
{
	struct error err = ERROR_INIT;

	assert_int_equal(error_set(&err, ERROR_CONFIG, "PG-ROLE", "role %s", "bob"), -1);
	assert_int_equal(err.class, ERROR_CONFIG);
	assert_string_equal(err.code, "PG-ROLE");
	assert_string_equal(err.message, "role bob");
	assert_string_equal(err.remedy, "");
	error_remedy(&err, "ALTER ROLE %s", "bob");
	assert_string_equal(err.remedy, "ALTER ROLE bob");
	error_set(&err, ERROR_DATA, "X", "y");
	assert_string_equal(err.remedy, "");
}

/* an error is often said again in other words, with its own parts */
static void may_be_made_from_itself(void **state)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERROR_DATA, "22P02", "bad value");
	error_set(&err, ERROR_SCHEMA, err.code, "again: %s", err.message);
	assert_string_equal(err.code, "22P02");
	assert_string_equal(err.message, "again: bad value");
	error_remedy(&err, "once");
	error_remedy(&err, "%s more", err.remedy);
	assert_string_equal(err.remedy, "once more");
	error_where(&err, "table %s", "t");
	assert_string_equal(err.message, "table t: again: bad value");
}

static bool ends_with_whole_character(const char *s)
{
	size_t len = strlen(s);

	return len && (unsigned char)s[len - 1] == 0xA9 && (unsigned char)s[len - 2] == 0xC3;
}

static void is_cut_at_a_character(void **state)
{
	struct error err = ERROR_INIT;
	char text[1001] = "";

	for (int i = 0; i < 500; i++)
		memcpy(text + (size_t)i * 2, "\xc3\xa9", 3);
	error_set(&err, ERROR_DATA, "A-CODE-THAT-IS-MUCH-TOO-LONG", "%s", text);
	assert_int_equal(strlen(err.code), sizeof(err.code) - 1);
	assert_true(ends_with_whole_character(err.message));
	error_set(&err, ERROR_DATA, "X", "x%s", text);
	assert_true(ends_with_whole_character(err.message));
	error_remedy(&err, "x%s", text);
	assert_true(ends_with_whole_character(err.remedy));
	error_where(&err, "12");
	assert_true(ends_with_whole_character(err.message));
	assert_memory_equal(err.message, "12: x", 5);
}

static void is_one_line(void **state)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERROR_DATA, "X", "a\nb\rc");
	assert_string_equal(err.message, "a b c");
}

static void class_decides_the_exit_code_unless_said(void **state)
{
	static const struct {
		enum error_class class;
		int code;
	} rows[] = { { ERROR_NONE, 0 }, { ERROR_TRANSIENT, 69 }, { ERROR_DATA, 65 }, { ERROR_SCHEMA, 65 },
		{ ERROR_CONFIG, 78 }, { ERROR_FATAL, 70 }, { ERROR_BUG, 70 } };
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		error_set(&err, rows[i].class, "X", "y");
		assert_int_equal(error_exit_code(&err), rows[i].code);
		assert_string_not_equal(error_class_to_string(rows[i].class), "unknown");
	}
	error_exit(&err, EXIT_RESYNC);
	assert_int_equal(error_exit_code(&err), 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_class_code_and_message),
		cmocka_unit_test(may_be_made_from_itself),
		cmocka_unit_test(is_cut_at_a_character),
		cmocka_unit_test(is_one_line),
		cmocka_unit_test(class_decides_the_exit_code_unless_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
