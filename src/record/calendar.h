/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Days and dates of the proleptic Gregorian calendar. Its years repeat after 400 of them (146,097 days); counted from March on, a leap
 * day is the last of its year, and the months before it have lengths that one formula gives. Year 0 is 1 BC. Pure; inline,
 * because every date of a row goes through here.
 */

#include <stdint.h>

#define CALENDAR_ERA_DAYS INT64_C(146097)
#define CALENDAR_TO_1970  INT64_C(719468) /* days from the first of March of year 0 */

/** calendar_days() - days since 1970-01-01. */
static inline int64_t calendar_days(int64_t year, uint32_t month, uint32_t day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + (int64_t)day - 1;

	return era * CALENDAR_ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
	       CALENDAR_TO_1970;
}

/** calendar_date() - the date of a day since 1970-01-01. */
static inline void calendar_date(int64_t days, int64_t *ret_year, uint32_t *ret_month, uint32_t *ret_day)
{
	int64_t z = days + CALENDAR_TO_1970;
	int64_t era = (z >= 0 ? z : z - (CALENDAR_ERA_DAYS - 1)) / CALENDAR_ERA_DAYS;
	uint32_t doe = (uint32_t)(z - era * CALENDAR_ERA_DAYS);
	uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*ret_day = doy - (153 * mp + 2) / 5 + 1;
	*ret_month = mp < 10 ? mp + 3 : mp - 9;
	*ret_year = (int64_t)yoe + era * 400 + (*ret_month <= 2);
}
