/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Dates and times: PostgreSQL's ISO text in, days, milliseconds, microseconds or ISO 8601 in UTC out. A moment is kept
 * as days and microseconds of the day, since PostgreSQL's last years do not fit 64 bits of microseconds from 1970.
 *
 * The reader trims the zeros of a fraction, as PostgreSQL does, and prints the zone +00: whatever was written in
 * another way (a longer fraction than the column says, another zone, 24:00:00) is inexact.
 */

#include "calendar.h"
#include "json_write.h"

#define DAY_US	   INT64_C(86400000000)
#define YEAR_LIMIT 5874897 /* of a date; timestamps end earlier */

struct moment {
	int64_t year; /* of the era as printed, from 1 on */
	uint32_t month, day;
	int64_t us; /* of the day, 24:00:00 included */
	int32_t zone_s;
	bool zoned, bc;
	bool odd; /* PostgreSQL would print it otherwise */
	uint32_t fraction_digits;
};

/* two digits below limit; limit = none */
static uint32_t take_two(struct json_at *cur, uint32_t limit)
{
	uint32_t a, b;

	if (cur->end - cur->p < 2)
		return limit;
	a = (uint32_t)cur->p[0] - '0';
	b = (uint32_t)cur->p[1] - '0';
	cur->p += 2;
	return a < 10 && b < 10 && a * 10 + b < limit ? a * 10 + b : limit;
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool take_date(struct json_at *cur, struct moment *ret)
{
	const uint8_t *begin = cur->p;

	while (cur->p < cur->end && (uint8_t)(*cur->p - '0') < 10 && cur->p - begin < 8)
		ret->year = ret->year * 10 + (*cur->p++ - '0');
	if (cur->p - begin < 4 || !ret->year || ret->year > YEAR_LIMIT)
		return false;
	if (cur->p - begin > 4 && *begin == '0')
		ret->odd = true;
	if (!json_take(cur, '-'))
		return false;
	ret->month = take_two(cur, 13);
	if (!json_take(cur, '-'))
		return false;
	ret->day = take_two(cur, 32);
	return ret->month % 13 && ret->day % 32;
}

static bool take_time(struct json_at *cur, struct moment *ret)
{
	uint32_t hour = take_two(cur, 25), minute, second, us = 0, digits = 0;

	if (hour == 25 || !json_take(cur, ':'))
		return false;
	minute = take_two(cur, 60);
	if (minute == 60 || !json_take(cur, ':'))
		return false;
	second = take_two(cur, 60);
	if (second == 60)
		return false;
	if (json_take(cur, '.')) {
		for (; cur->p < cur->end && (uint8_t)(*cur->p - '0') < 10 && digits < 7; digits++)
			us = us * 10 + (uint32_t)(*cur->p++ - '0');
		if (!digits || digits > 6)
			return false;
		if (us % 10 == 0)
			ret->odd = true;
		for (uint32_t i = digits; i < 6; i++)
			us *= 10;
	}
	ret->fraction_digits = digits;
	ret->us = ((hour * 60 + minute) * 60 + second) * INT64_C(1000000) + us;
	return ret->us <= DAY_US;
}

/* +HH, +HH:MM or +HH:MM:SS */
static bool take_zone(struct json_at *cur, struct moment *ret)
{
	bool west = cur->p < cur->end && *cur->p == '-';
	uint32_t v[3] = { 0, 0, 0 };
	const uint8_t *begin = cur->p;

	if (!west && !json_take(cur, '+'))
		return false;
	if (west)
		cur->p++;
	for (int i = 0; i < 3; i++) {
		if (i && !json_take(cur, ':'))
			break;
		v[i] = take_two(cur, 60);
		if (v[i] == 60)
			return false;
	}
	ret->zone_s = (int32_t)((v[0] * 60 + v[1]) * 60 + v[2]) * (west ? -1 : 1);
	ret->zoned = true;
	if (cur->p - begin != 3 || ret->zone_s || west)
		ret->odd = true;
	return true;
}

/* the era at the very end; then the day must exist */
static bool take_end(struct json_at *cur, struct moment *ret)
{
	static const uint8_t days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (cur->end - cur->p == 3 && !memcmp(cur->p, " BC", 3)) {
		ret->bc = true;
		cur->p += 3;
	}
	if (cur->p != cur->end || ret->day > days[ret->month - 1])
		return false;
	return ret->month != 2 || ret->day < 29 || is_leap(ret->bc ? 1 - ret->year : ret->year);
}

static int64_t days_of(const struct moment *at)
{
	return calendar_days(at->bc ? 1 - at->year : at->year, at->month, at->day);
}

static uint8_t *put_two(uint8_t *to, uint32_t v)
{
	*to++ = (uint8_t)('0' + v / 10);
	*to++ = (uint8_t)('0' + v % 10);
	return to;
}

static void put_iso_date(int64_t year, uint32_t month, uint32_t day, struct buf *out)
{
	uint64_t y = (uint64_t)(year < 0 ? -year : year);
	uint8_t *to;

	if (year < 0 || year > 9999)
		buf_putc(out, year < 0 ? '-' : '+');
	if (y > 9999) {
		json_u64(y, out);
		to = buf_grow(out, 8);
	} else {
		to = put_two(put_two(buf_grow(out, 16), (uint32_t)y / 100), (uint32_t)y % 100);
	}
	*to++ = '-';
	to = put_two(to, month);
	*to++ = '-';
	to = put_two(to, day);
	out->len = (size_t)(to - out->data);
}

/* HH:MM:SS and `digits` digits of the second, then Z and the closing quote */
static void put_iso_time(int64_t us, uint32_t digits, struct buf *out)
{
	uint8_t *to = buf_grow(out, 24);
	uint32_t seconds = (uint32_t)(us / 1000000), fraction = (uint32_t)(us % 1000000);

	to = put_two(to, seconds / 3600);
	*to++ = ':';
	to = put_two(to, seconds / 60 % 60);
	*to++ = ':';
	to = put_two(to, seconds % 60);
	if (digits) {
		*to++ = '.';
		to = put_two(put_two(put_two(to, fraction / 10000), fraction / 100 % 100), fraction % 100);
		to -= 6 - digits;
	}
	*to++ = 'Z';
	*to++ = '"';
	out->len = (size_t)(to - out->data);
}

static enum json_written put_date(struct json_at cur, struct buf *out)
{
	struct moment at = { 0 };

	if (!take_date(&cur, &at) || !take_end(&cur, &at))
		return JSON_MALFORMED;
	json_i64(days_of(&at), out);
	return at.odd ? JSON_INEXACT : JSON_EXACT;
}

static enum json_written put_time(struct json_at cur, bool micro, struct buf *out)
{
	struct moment at = { 0 };

	if (!take_time(&cur, &at) || cur.p != cur.end)
		return JSON_MALFORMED;
	json_i64(micro ? at.us : at.us / 1000, out);
	return at.odd || (!micro && at.fraction_digits > 3) ? JSON_INEXACT : JSON_EXACT;
}

static enum json_written put_timestamp(struct json_at cur, bool micro, struct buf *out)
{
	struct moment at = { 0 };
	int64_t us, unit = micro ? 1 : 1000;

	if (!take_date(&cur, &at) || !json_take(&cur, ' ') || !take_time(&cur, &at) || !take_end(&cur, &at))
		return JSON_MALFORMED;
	/* in the column's unit, so that milliseconds have room for all years; days before 1970 round down */
	if (__builtin_mul_overflow(days_of(&at), DAY_US / unit, &us) ||
		__builtin_add_overflow(us, at.us / unit, &us)) {
		buf_puts(out, "null");
		return JSON_INEXACT;
	}
	json_i64(us, out);
	if (at.odd || at.us == DAY_US || us == JSON_INFINITY || us == JSON_MINUS_INFINITY)
		return JSON_INEXACT;
	return !micro && at.fraction_digits > 3 ? JSON_INEXACT : JSON_EXACT;
}

static enum json_written put_zoned_timestamp(struct json_at cur, uint32_t digits, struct buf *out)
{
	struct moment at = { 0 };
	int64_t year;
	uint32_t month, day;

	if (!take_date(&cur, &at) || !json_take(&cur, ' ') || !take_time(&cur, &at) ||
		!take_zone(&cur, &at) || !take_end(&cur, &at))
		return JSON_MALFORMED;
	year = at.bc ? 1 - at.year : at.year;
	month = at.month;
	day = at.day;
	if (at.us == DAY_US)
		at.odd = true;
	if (at.zone_s || at.us == DAY_US) {
		int64_t us = at.us - (int64_t)at.zone_s * 1000000, days = days_of(&at);

		days += us / DAY_US - (us % DAY_US < 0);
		at.us = (us % DAY_US + DAY_US) % DAY_US;
		calendar_date(days, &year, &month, &day);
	}
	buf_putc(out, '"');
	put_iso_date(year, month, day, out);
	buf_putc(out, 'T');
	put_iso_time(at.us, digits, out);
	return at.odd || at.fraction_digits > digits ? JSON_INEXACT : JSON_EXACT;
}

static enum json_written put_zoned_time(struct json_at cur, struct buf *out)
{
	struct moment at = { 0 };
	uint32_t digits = 6;
	int64_t us;

	if (!take_time(&cur, &at) || !take_zone(&cur, &at) || cur.p != cur.end)
		return JSON_MALFORMED;
	us = ((at.us - (int64_t)at.zone_s * 1000000) % DAY_US + DAY_US) % DAY_US;
	for (int64_t fraction = us % 1000000; digits && fraction % 10 == 0; fraction /= 10)
		digits--;
	buf_putc(out, '"');
	put_iso_time(us, digits, out);
	return at.odd || at.us == DAY_US ? JSON_INEXACT : JSON_EXACT;
}

/* infinity has a form of its own in each kind; false = it is finite, or of a kind without infinity */
static bool put_infinity(enum json_kind kind, struct json_text text, struct buf *out)
{
	bool minus = json_text_is(text, "-infinity");

	if (!minus && !json_text_is(text, "infinity"))
		return false;
	if (kind == JSON_DATE)
		buf_puts(out, "null");
	else if (kind == JSON_ZONED_TIMESTAMP)
		buf_puts(out, minus ? "\"-infinity\"" : "\"infinity\"");
	else if (kind == JSON_TIMESTAMP || kind == JSON_MICRO_TIMESTAMP)
		json_i64(minus ? JSON_MINUS_INFINITY : JSON_INFINITY, out);
	else
		return false;
	return true;
}

enum json_written json_time(const struct json_type *type, struct json_text text, struct buf *out)
{
	struct json_at cur = { text.s, text.s + text.len };

	if (text.len && text.s[text.len - 1] == 'y' && put_infinity(type->kind, text, out))
		return type->kind == JSON_DATE ? JSON_INEXACT : JSON_EXACT;
	if (type->kind == JSON_DATE)
		return put_date(cur, out);
	if (type->kind == JSON_TIME || type->kind == JSON_MICRO_TIME)
		return put_time(cur, type->kind == JSON_MICRO_TIME, out);
	if (type->kind == JSON_TIMESTAMP || type->kind == JSON_MICRO_TIMESTAMP)
		return put_timestamp(cur, type->kind == JSON_MICRO_TIMESTAMP, out);
	if (type->kind == JSON_ZONED_TIMESTAMP)
		return put_zoned_timestamp(cur, (uint32_t)type->precision, out);
	return put_zoned_time(cur, out);
}
