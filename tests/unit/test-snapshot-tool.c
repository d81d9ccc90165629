/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Children: their version, output and input, a limit on output, a stop, and what they say when they fail.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sluice/postgres_tool.h>

static void test_version(void **state)
{
	(void)state;
	assert_int_equal(pg_tool_version("pg_dump (PostgreSQL) 15.8 (Debian 15.8-1)\n"), 15);
	assert_int_equal(pg_tool_version("pg_restore (PostgreSQL) 18beta1\n"), 18);
	assert_int_equal(pg_tool_version("something else 15\n"), 0);
	assert_int_equal(pg_tool_version(""), 0);
}

static int run(const char *script, const struct buf *input, size_t limit, const atomic_bool *stop,
	struct buf *out, struct error *err)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	struct pg_tool_run how = {
		.argv = argv, .input = input, .output_limit_bytes = limit, .stop = stop, .application = "x"
	};

	return pg_tool_run(&how, out, err);
}

static void test_input_and_output(void **state)
{
	struct buf in = BUF_INIT, out = BUF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	buf_puts(&in, "through a file in memory");
	assert_int_equal(run("cat", &in, 1000, NULL, &out, &err), 0);
	assert_string_equal(buf_str(&out), "through a file in memory");
	buf_clear(&out);
	/* nothing of our own environment that may hold a secret */
	assert_int_equal(setenv("SLUICE_TARGET_PASSWORD", "canary", 1), 0);
	assert_int_equal(run("env", NULL, 100000, NULL, &out, &err), 0);
	assert_null(strstr(buf_str(&out), "canary"));
	assert_non_null(strstr(buf_str(&out), "PGAPPNAME=x"));
	buf_fini(&in);
	buf_fini(&out);
}

static void test_failures(void **state)
{
	struct buf out = BUF_INIT;
	struct error err = ERROR_INIT;
	atomic_bool stop = true;

	(void)state;
	assert_int_equal(run("echo noise >&2; echo 'pg_dump: error: no such thing' >&2; exit 1", NULL, 10,
				 NULL, &out, &err),
		-1);
	assert_string_equal(err.code, "PG-TOOL-FAILED");
	assert_non_null(strstr(err.message, "error: no such thing"));
	assert_null(strstr(err.message, "noise"));
	assert_int_equal(run("echo 12345678901", NULL, 10, NULL, &out, &err), -1);
	assert_string_equal(err.code, "PG-TOOL-OUTPUT");
	assert_int_equal(run("exec cat /dev/zero", NULL, SIZE_MAX, &stop, &out, &err), -1);
	assert_string_equal(err.code, "STOPPED");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_input_and_output),
		cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
