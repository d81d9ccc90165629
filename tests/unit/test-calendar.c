/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The calendar against the rule of leap years, day by day: from before PostgreSQL's first date (4714-11-24 BC) to the year 10000, and
 * at its last one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdbool.h>

#include "record/calendar.h"

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static uint32_t month_days(int64_t year, uint32_t month)
{
	static const uint32_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

static void assert_date(int64_t days, int64_t year, uint32_t month, uint32_t day)
{
	int64_t found_year;
	uint32_t found_month, found_day;

	calendar_date(days, &found_year, &found_month, &found_day);
	assert_int_equal(found_year, year);
	assert_int_equal(found_month, month);
	assert_int_equal(found_day, day);
	assert_int_equal(calendar_days(year, month, day), days);
}

static void test_day_by_day(void **state)
{
	int64_t days = calendar_days(-4720, 1, 1), begin = days;

	(void)state;
	for (int64_t year = -4720; year < 10000; year++) {
		for (uint32_t month = 1; month <= 12; month++) {
			for (uint32_t day = 1; day <= month_days(year, month); day++)
				assert_date(days++, year, month, day);
		}
	}
	assert_true(begin < 0 && days > 2900000);
}

static void test_known_days(void **state)
{
	(void)state;
	assert_date(0, 1970, 1, 1);
	assert_date(-1, 1969, 12, 31);
	assert_date(10957, 2000, 1, 1);
	assert_date(-719528, 0, 1, 1);
	assert_date(-2440588, -4713, 11, 24); /* day 0 of Julian days, where PostgreSQL's dates begin */
	assert_date(INT64_C(2145031948) + 10957, 5874897, 12, 31); /* where they end */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_day_by_day),
		cmocka_unit_test(test_known_days),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
