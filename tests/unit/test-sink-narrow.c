/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Which column types would change a value without an error. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/postgres/target.h"

#define NUMERIC(precision, scale) ((((precision) << 16) | ((scale)&0x7ff)) + 4)

static void test_numeric(void **state)
{
	assert_null(target_narrows(1700, NUMERIC(10, 2), 1700, NUMERIC(12, 2)));
	assert_null(target_narrows(1700, NUMERIC(10, 2), 1700, NUMERIC(12, 4)));
	assert_null(target_narrows(1700, NUMERIC(10, 2), 1700, -1));
	assert_non_null(target_narrows(1700, NUMERIC(10, 2), 1700, NUMERIC(12, 1)));
	assert_non_null(target_narrows(1700, -1, 1700, NUMERIC(12, 1)));
	assert_null(target_narrows(23, -1, 1700, NUMERIC(12, 0)));
	assert_non_null(target_narrows(23, -1, 1700, NUMERIC(12, -2)));
	assert_non_null(target_narrows(701, -1, 1700, NUMERIC(12, 4)));
	/* too large for the precision raises an error by itself */
	assert_null(target_narrows(1700, NUMERIC(30, 2), 1700, NUMERIC(4, 2)));
}

static void test_floats(void **state)
{
	assert_null(target_narrows(700, -1, 701, -1));
	assert_null(target_narrows(23, -1, 701, -1));
	assert_non_null(target_narrows(20, -1, 701, -1));
	assert_non_null(target_narrows(701, -1, 700, -1));
	assert_non_null(target_narrows(1700, -1, 701, -1));
}

static void test_times(void **state)
{
	assert_null(target_narrows(1184, -1, 1184, -1));
	assert_null(target_narrows(1184, 3, 1184, 3));
	assert_null(target_narrows(1184, 0, 1184, 3));
	assert_null(target_narrows(1184, -1, 1184, 6));
	assert_non_null(target_narrows(1184, -1, 1184, 3));
	assert_non_null(target_narrows(1184, -1, 1114, -1));
	assert_non_null(target_narrows(1114, -1, 1082, -1));
	assert_null(target_narrows(1082, -1, 1114, 0));
	assert_non_null(target_narrows(1266, -1, 1083, -1));
	assert_non_null(target_narrows(1186, -1, 1186, 0x7fff0003));
}

static void test_names(void **state)
{
	assert_null(target_narrows(19, -1, 19, -1));
	assert_non_null(target_narrows(25, -1, 19, -1));
	assert_non_null(target_narrows(25, -1, 18, -1));
	/* varchar(3) raises 22001 when assigned */
	assert_null(target_narrows(25, -1, 1043, 7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numeric),
		cmocka_unit_test(test_floats),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
