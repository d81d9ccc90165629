/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Intervals as PostgreSQL prints them (IntervalStyle postgres: "1 year 2 mons -3 days +04:05:06.78") to one number of
 * microseconds, with months of 30.4375 days. Days and months are gone after that, so the text is always exact's.
 */

#include "json_write.h"

#define SECOND_US INT64_C(1000000)
#define HOUR_US	  INT64_C(3600000000)
#define DAY_US	  INT64_C(86400000000)
#define MONTH_US  INT64_C(2629800000000) /* 365.25 / 12 days */
#define YEAR_US	  INT64_C(31557600000000)
#define DIGITS	  16 /* no number in an interval has more */

struct cursor {
	const uint8_t *p, *end;
};

/* sign and digits; false = there are none, or too many */
static bool take_number(struct cursor *cur, int64_t *ret, bool *ret_negative)
{
	const uint8_t *begin;
	int64_t v = 0;

	*ret_negative = cur->p < cur->end && *cur->p == '-';
	if (cur->p < cur->end && (*cur->p == '-' || *cur->p == '+'))
		cur->p++;
	begin = cur->p;
	while (cur->p < cur->end && (uint8_t)(*cur->p - '0') < 10 && cur->p - begin < DIGITS)
		v = v * 10 + (*cur->p++ - '0');
	*ret = v;
	return cur->p > begin;
}

/* :MM:SS and a fraction of up to six digits, in microseconds; < 0 = malformed */
static int64_t take_rest(struct cursor *cur)
{
	const uint8_t *p = cur->p;
	int64_t us = 0, unit = 100000;

	if (cur->end - p < 6 || p[0] != ':' || p[3] != ':')
		return -1;
	for (int i = 1; i < 6; i++) {
		if (i != 3 && (uint8_t)(p[i] - '0') >= 10)
			return -1;
	}
	us = (((p[1] - '0') * 10 + p[2] - '0') * 60 + (p[4] - '0') * 10 + p[5] - '0') * SECOND_US;
	p += 6;
	if (p < cur->end && *p == '.') {
		for (p++; p < cur->end && (uint8_t)(*p - '0') < 10; p++, unit /= 10)
			us += (*p - '0') * unit;
	}
	cur->p = p;
	return us;
}

static bool take_word(struct cursor *cur, const char *word)
{
	size_t n = strlen(word), left = (size_t)(cur->end - cur->p);

	if (left < n || memcmp(cur->p, word, n) != 0)
		return false;
	cur->p += n;
	if (cur->p < cur->end && *cur->p == 's')
		cur->p++;
	return true;
}

/* one part: a count with its unit, or the time of day at the end */
static bool take_part(struct cursor *cur, __int128_t *us)
{
	bool negative;
	__int128_t part;
	int64_t v, rest;

	if (!take_number(cur, &v, &negative))
		return false;
	if (cur->p < cur->end && *cur->p == ':') {
		rest = take_rest(cur);
		if (rest < 0 || cur->p != cur->end)
			return false;
		part = (__int128_t)v * HOUR_US + rest;
	} else if (take_word(cur, " year")) {
		part = (__int128_t)v * YEAR_US;
	} else if (take_word(cur, " mon")) {
		part = (__int128_t)v * MONTH_US;
	} else if (take_word(cur, " day")) {
		part = (__int128_t)v * DAY_US;
	} else {
		return false;
	}
	*us += negative ? -part : part;
	return true;
}

enum json_written json_duration(struct json_text text, struct buf *out)
{
	struct cursor cur = { text.s, text.s + text.len };
	__int128_t us = 0;

	if (json_text_is(text, "infinity") || json_text_is(text, "-infinity")) {
		buf_puts(out, "null");
		return JSON_INEXACT;
	}
	/* a year, months, days and a time at most */
	for (int i = 0; i < 4; i++) {
		if (!take_part(&cur, &us))
			return JSON_MALFORMED;
		if (cur.p == cur.end)
			break;
		if (*cur.p++ != ' ')
			return JSON_MALFORMED;
	}
	if (cur.p != cur.end)
		return JSON_MALFORMED;
	if (us > INT64_MAX || us < INT64_MIN)
		buf_puts(out, "null");
	else
		json_i64((int64_t)us, out);
	return JSON_INEXACT;
}
