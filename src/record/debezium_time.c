/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Times in all the ways in which Debezium writes them: counts of a unit, ISO 8601, structs. Everything becomes a count of
 * microseconds or days first, which read_scalar_value() prints.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "calendar.h"
#include "debezium_parts.h"

#define SECOND_US INT64_C(1000000)
#define DAY_US	  INT64_C(86400000000)
/* what PostgreSQL's timestamps hold; beyond it only infinity lies, which Java writes as its own largest year */
#define YEAR_MAX 294276
#define YEAR_MIN (-4712)
#define DATE_MAX 5874897
/* days since 1970: the last one of DATE_MAX; 4714 BC, before which PostgreSQL has none */
#define DATE_MAX_DAYS INT64_C(2145042905)
#define DATE_MIN_DAYS INT64_C(-2440588)
/*
 * What dates without end become in Debezium: streamed ones LocalDate's own limits, beyond all dates; in a snapshot
 * Date(Long.MAX) and Date(Long.MIN) cut to 32 bits, some days off where Java's time zone is not UTC, the second with its era
 * lost. None of them is a date that PostgreSQL has.
 */
#define DATE_CUT_INFINITY	INT64_C(-622191234)
#define DATE_CUT_MINUS_INFINITY INT64_C(-625821272)
#define DATE_CUT_YEAR		292269055
#define YEARS_400_US		(CALENDAR_ERA_DAYS * DAY_US)
#define INTERVAL_MAX		INT64_C(0x7FFFFFFF)

struct moment {
	bool date, time, zone;
	int infinity; /* -1, 1; 0 = finite */
	int64_t year; /* 0 is 1 BC */
	unsigned month, day;
	int64_t us; /* of the day */
	int32_t offset_s;
};

struct cursor {
	const char *p, *end;
};

static bool take_char(struct cursor *cur, char c)
{
	if (cur->p == cur->end || *cur->p != c)
		return false;
	cur->p++;
	return true;
}

static bool take_digits(struct cursor *cur, unsigned least, unsigned most, int64_t *ret)
{
	unsigned n = 0;

	for (*ret = 0; n < most && cur->p < cur->end && (unsigned)(*cur->p - '0') < 10; n++)
		*ret = *ret * 10 + (*cur->p++ - '0');
	return n >= least;
}

static bool print_number(enum json_kind kind, int64_t n, struct buf *out)
{
	const struct json_type type = { .kind = kind };
	struct read_scalar in = { .type = SCALAR_NUMBER };
	char text[24];

	in.text = (struct read_text){ text, (size_t)snprintf(text, sizeof(text), "%" PRId64, n) };
	return read_scalar_value(&type, &in, out);
}

/* a timestamp in UTC: its zone stands before its era */
static bool print_zoned(int64_t us, struct buf *out)
{
	bool bc;

	if (!print_number(JSON_MICRO_TIMESTAMP, us, out))
		return false;
	bc = out->len > 3 && !memcmp(out->data + out->len - 3, " BC", 3);
	if (bc)
		out->len -= 3;
	buf_puts(out, bc ? "+00 BC" : "+00");
	return true;
}

static void put_offset(int32_t offset_s, struct buf *out)
{
	unsigned s = (unsigned)(offset_s < 0 ? -offset_s : offset_s);

	buf_printf(out, "%c%02u", offset_s < 0 ? '-' : '+', s / 3600);
	if (s % 3600)
		buf_printf(out, ":%02u", s / 60 % 60);
	if (s % 60)
		buf_printf(out, ":%02u", s % 60);
}

/* PostgreSQL counts from 2000 on, so its last 30 years are too far from 1970: the calendar is the same 400 years before */
static bool print_late(bool zoned, __int128_t us, struct buf *out)
{
	struct buf text = BUF_INIT;
	bool ok = zoned ? print_zoned((int64_t)(us - YEARS_400_US), &text)
			: print_number(JSON_MICRO_TIMESTAMP, (int64_t)(us - YEARS_400_US), &text);
	const char *rest = ok ? strchr(buf_str(&text), '-') : NULL;
	int64_t year;

	ok = rest && read_i64((struct read_text){ buf_str(&text), (size_t)(rest - buf_str(&text)) }, &year);
	if (ok)
		buf_printf(out, "%" PRId64 "%s", year + 400, rest);
	buf_fini(&text);
	return ok;
}

static bool print_timestamp(bool zoned, const struct moment *m, struct buf *out)
{
	__int128_t us;

	if (!m->date || m->year > YEAR_MAX || m->year < YEAR_MIN)
		return false;
	us = (__int128_t)calendar_days(m->year, m->month, m->day) * DAY_US + m->us - m->offset_s * SECOND_US;
	if (us > INT64_MAX)
		return print_late(zoned, us, out);
	return zoned ? print_zoned((int64_t)us, out) : print_number(JSON_MICRO_TIMESTAMP, (int64_t)us, out);
}

static bool print(const struct json_type *type, const struct moment *m, struct buf *out)
{
	bool is_date = type->kind == JSON_DATE;

	if (m->infinity && type->kind != JSON_TIME && type->kind != JSON_MICRO_TIME) {
		buf_puts(out, m->infinity > 0 ? "infinity" : "-infinity");
		return true;
	}
	if (is_date)
		return m->date && m->year <= DATE_MAX && m->year >= YEAR_MIN &&
		       print_number(JSON_DATE, calendar_days(m->year, m->month, m->day), out);
	if (type->kind == JSON_TIME || type->kind == JSON_MICRO_TIME)
		return m->time && print_number(JSON_MICRO_TIME, m->us, out);
	if (type->kind == JSON_ZONED_TIME) {
		if (!m->time || !print_number(JSON_MICRO_TIME, m->us, out))
			return false;
		put_offset(m->offset_s, out);
		return true;
	}
	if (type->kind == JSON_TIMESTAMP || type->kind == JSON_MICRO_TIMESTAMP ||
		type->kind == JSON_ZONED_TIMESTAMP)
		return print_timestamp(type->kind == JSON_ZONED_TIMESTAMP, m, out);
	return false;
}

/* [+-]Y…-MM-DD */
static bool take_date(struct cursor *cur, struct moment *ret)
{
	bool negative = take_char(cur, '-');
	int64_t month, day;

	if (!negative)
		take_char(cur, '+');
	if (!take_digits(cur, 4, 10, &ret->year) || !take_char(cur, '-') || !take_digits(cur, 2, 2, &month) ||
		!take_char(cur, '-') || !take_digits(cur, 2, 2, &day))
		return false;
	if (negative)
		ret->year = -ret->year;
	ret->month = (unsigned)month;
	ret->day = (unsigned)day;
	ret->date = true;
	return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static int64_t take_fraction(struct cursor *cur)
{
	int64_t us = 0, unit = 100000;

	for (; cur->p < cur->end && (unsigned)(*cur->p - '0') < 10; cur->p++, unit /= 10)
		us += (*cur->p - '0') * unit;
	return us;
}

/* HH:MM[:SS[.f…]] */
static bool take_time(struct cursor *cur, struct moment *ret)
{
	int64_t hour, minute, second = 0, fraction = 0;

	if (!take_digits(cur, 2, 2, &hour) || !take_char(cur, ':') || !take_digits(cur, 2, 2, &minute))
		return false;
	if (take_char(cur, ':') && !take_digits(cur, 2, 2, &second))
		return false;
	if (take_char(cur, '.'))
		fraction = take_fraction(cur);
	ret->us = ((hour * 60 + minute) * 60 + second) * SECOND_US + fraction;
	ret->time = true;
	return hour <= 24 && minute < 60 && second <= 60 && ret->us <= DAY_US;
}

/* Z or ±HH[:MM[:SS]] */
static bool take_zone(struct cursor *cur, struct moment *ret)
{
	int64_t hour, minute = 0, second = 0;
	bool negative;

	if (take_char(cur, 'Z'))
		return ret->zone = true;
	negative = take_char(cur, '-');
	if ((!negative && !take_char(cur, '+')) || !take_digits(cur, 2, 2, &hour))
		return false;
	if (take_char(cur, ':') && !take_digits(cur, 2, 2, &minute))
		return false;
	if (take_char(cur, ':') && !take_digits(cur, 2, 2, &second))
		return false;
	ret->offset_s = (int32_t)((hour * 60 + minute) * 60 + second) * (negative ? -1 : 1);
	ret->zone = true;
	return hour < 24 && minute < 60 && second < 60;
}

bool time_iso(const struct json_type *type, struct read_text text, struct buf *out)
{
	bool wants_date = type->kind == JSON_DATE || type->kind == JSON_TIMESTAMP ||
			  type->kind == JSON_MICRO_TIMESTAMP || type->kind == JSON_ZONED_TIMESTAMP;
	struct cursor cur = { text.s, text.s + text.len };
	struct moment m = { 0 };

	if (text.len == 8 && !memcmp(text.s, "infinity", 8))
		m.infinity = 1;
	else if (text.len == 9 && !memcmp(text.s, "-infinity", 9))
		m.infinity = -1;
	if (m.infinity)
		return print(type, &m, out);
	if (wants_date && !take_date(&cur, &m))
		return false;
	if (cur.p < cur.end && (!wants_date || take_char(&cur, 'T')) && !take_time(&cur, &m))
		return false;
	if (cur.p < cur.end && !take_zone(&cur, &m))
		return false;
	if (cur.p != cur.end)
		return false;
	/* Java's largest and smallest years stand for infinity */
	if (m.date && (m.year > DATE_MAX || m.year < -100000))
		m.infinity = m.year > 0 && m.year != DATE_CUT_YEAR ? 1 : -1;
	if (type->kind != JSON_ZONED_TIMESTAMP && type->kind != JSON_ZONED_TIME)
		m.offset_s = 0;
	return print(type, &m, out);
}

static int64_t floor_div(int64_t n, int64_t by)
{
	return n / by - (n % by < 0);
}

/* microseconds since 1970 in the column's form */
static bool print_instant(const struct json_type *type, int64_t us, int infinity, struct buf *out)
{
	if (infinity) {
		buf_puts(out, infinity > 0 ? "infinity" : "-infinity");
		return true;
	}
	return type->kind == JSON_ZONED_TIMESTAMP ? print_zoned(us, out)
						  : print_number(JSON_MICRO_TIMESTAMP, us, out);
}

static bool print_date(int64_t days, struct buf *out)
{
	int infinity = 0;

	if (days > INT32_MAX || days < INT32_MIN)
		return false;
	if (days > DATE_MAX_DAYS || (days > DATE_CUT_INFINITY - 3 && days < DATE_CUT_INFINITY + 3))
		infinity = 1;
	else if (days < INT32_MIN + INT64_C(20000) ||
		 (days > DATE_CUT_MINUS_INFINITY - 3 && days < DATE_CUT_MINUS_INFINITY + 3))
		infinity = -1;
	if (!infinity)
		return days >= DATE_MIN_DAYS && print_number(JSON_DATE, days, out);
	buf_puts(out, infinity > 0 ? "infinity" : "-infinity");
	return true;
}

bool time_number(const struct json_type *type, enum encoding encoding, struct read_text text, struct buf *out)
{
	int64_t n, us;
	int infinity = 0;

	if (!read_i64(text, &n))
		return false;
	if (encoding == ENCODING_DATE)
		return type->kind == JSON_DATE && print_date(n, out);
	if (encoding == ENCODING_TIME_MS || encoding == ENCODING_TIME_US || encoding == ENCODING_TIME_NS) {
		if (n < 0 || (encoding == ENCODING_TIME_MS && n > DAY_US / 1000))
			return false;
		us = encoding == ENCODING_TIME_MS ? n * 1000 : encoding == ENCODING_TIME_NS ? n / 1000 : n;
		return print_number(JSON_MICRO_TIME, us, out);
	}
	if (n == JSON_INFINITY || n == JSON_INFINITY / 1000 || n == INT64_MAX)
		infinity = 1;
	else if (n == JSON_MINUS_INFINITY || n == JSON_MINUS_INFINITY / 1000 || n == INT64_MIN)
		infinity = -1;
	if (encoding == ENCODING_TIMESTAMP_US &&
		(n == JSON_INFINITY / 1000 || n == JSON_MINUS_INFINITY / 1000))
		infinity = 0; /* a moment in the year 294247 or before Christ */
	us = encoding == ENCODING_TIMESTAMP_NS ? floor_div(n, 1000) : n;
	if (!infinity && encoding == ENCODING_TIMESTAMP_MS && __builtin_mul_overflow(n, 1000, &us))
		return false;
	return print_instant(type, us, infinity, out);
}

/* ---- structs ---- */

static bool in_range(int64_t n, int64_t least, int64_t most)
{
	return n >= least && n <= most;
}

static bool take_zone_id(const struct tree_node *zone, struct moment *m)
{
	struct cursor cur;

	if (!zone || zone->type != TREE_STRING || tree_is(zone, "UTC") || tree_is(zone, "GMT"))
		return true;
	cur = (struct cursor){ zone->text.s, zone->text.s + zone->text.len };
	return take_zone(&cur, m) && cur.p == cur.end;
}

static void put_interval(int64_t months, int64_t days, __int128_t us, struct buf *out);

static bool struct_duration(const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	static const char *const members[] = { "years", "months", "days", "hours", "minutes", "seconds",
		"nanos" };
	int64_t n[7] = { 0 };

	for (int i = 0; i < 7; i++) {
		if (tree_i64(tree, node, members[i], &n[i]) &&
			!in_range(n[i], -INTERVAL_MAX * 10000, INTERVAL_MAX * 10000))
			return false;
	}
	put_interval(n[0] * 12 + n[1], n[2],
		((__int128_t)n[3] * 3600 + n[4] * 60 + n[5]) * SECOND_US + n[6] / 1000, out);
	return true;
}

bool time_struct(
	const struct json_type *type, const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	const struct tree_node *special = tree_member(tree, node, "specialValue");
	int64_t month = 0, day = 0, hour = 0, minute = 0, second = 0, nanos = 0, offset = 0;
	struct moment m = { 0 };

	if (type->kind == JSON_DURATION)
		return struct_duration(tree, node, out);
	m.infinity = tree_is(special, "POSITIVE_INFINITY")   ? 1
		     : tree_is(special, "NEGATIVE_INFINITY") ? -1
							     : 0;
	if (m.infinity)
		return print(type, &m, out);
	m.date = tree_i64(tree, node, "year", &m.year) && tree_i64(tree, node, "month", &month) &&
		 tree_i64(tree, node, "day", &day);
	if (m.date && (!in_range(month, 1, 12) || !in_range(day, 1, 31)))
		return false;
	m.month = (unsigned)month;
	m.day = (unsigned)day;
	m.time = tree_i64(tree, node, "hour", &hour) && tree_i64(tree, node, "minute", &minute);
	tree_i64(tree, node, "second", &second);
	tree_i64(tree, node, "nanos", &nanos);
	if (!in_range(hour, 0, 24) || !in_range(minute, 0, 59) || !in_range(second, 0, 60) ||
		!in_range(nanos, 0, 999999999))
		return false;
	m.us = ((hour * 60 + minute) * 60 + second) * SECOND_US + nanos / 1000;
	if (tree_i64(tree, node, "offsetSeconds", &offset)) {
		if (!in_range(offset, -86399, 86399))
			return false;
		m.offset_s = (int32_t)offset;
	} else if (!take_zone_id(tree_member(tree, node, "zoneId"), &m)) {
		return false; /* the rules of a region are not known here */
	}
	return print(type, &m, out);
}

/* ---- intervals, as with IntervalStyle postgres ---- */

static void put_part(int64_t n, const char *unit, bool *first, bool *before, struct buf *out)
{
	if (!n)
		return;
	buf_printf(out, "%s%s%" PRId64 " %s%s", *first ? "" : " ", *before && n > 0 ? "+" : "", n, unit,
		n == 1 ? "" : "s");
	*before = n < 0;
	*first = false;
}

static void put_interval(int64_t months, int64_t days, __int128_t us, struct buf *out)
{
	bool first = true, before = false, negative = us < 0;
	uint64_t left = (uint64_t)(negative ? -us : us), fraction = left % SECOND_US, s = left / SECOND_US;

	put_part(months / 12, "year", &first, &before, out);
	put_part(months % 12, "mon", &first, &before, out);
	put_part(days, "day", &first, &before, out);
	if (!left && !first)
		return;
	buf_printf(out, "%s%s%02" PRIu64 ":%02u:%02u", first ? "" : " ",
		negative ? "-"
		: before ? "+"
			 : "",
		s / 3600, (unsigned)(s / 60 % 60), (unsigned)(s % 60));
	if (!fraction)
		return;
	buf_printf(out, ".%06u", (unsigned)fraction);
	while (out->data[out->len - 1] == '0')
		out->len--;
}

bool time_duration(struct read_text text, struct buf *out)
{
	int64_t us;

	if (!read_i64(text, &us))
		return false;
	put_interval(0, 0, us, out);
	return true;
}

/* one "-12.5S"; the fraction in microseconds, with the number's sign */
static bool take_term(struct cursor *cur, int64_t *ret, int64_t *ret_fraction, char *ret_unit)
{
	bool negative = take_char(cur, '-');

	if (!negative)
		take_char(cur, '+');
	*ret_fraction = 0;
	if (!take_digits(cur, 1, 15, ret))
		return false;
	if (take_char(cur, '.'))
		*ret_fraction = take_fraction(cur);
	if (cur->p == cur->end)
		return false;
	*ret_unit = *cur->p++;
	if (negative) {
		*ret = -*ret;
		*ret_fraction = -*ret_fraction;
	}
	return true;
}

bool time_interval(struct read_text text, struct buf *out)
{
	struct cursor cur = { text.s, text.s + text.len };
	int64_t months = 0, days = 0, n, fraction;
	__int128_t us = 0;
	bool time = false;
	char unit;

	if (!take_char(&cur, 'P') || cur.p == cur.end)
		return false;
	while (cur.p < cur.end) {
		if (!time && take_char(&cur, 'T')) {
			time = true;
			continue;
		}
		if (!take_term(&cur, &n, &fraction, &unit) || (fraction && unit != 'S'))
			return false;
		if (!time && (unit == 'Y' || unit == 'M' || unit == 'D' || unit == 'W') &&
			!in_range(n, -INTERVAL_MAX, INTERVAL_MAX))
			return false;
		if (!time && unit == 'Y')
			months += n * 12;
		else if (!time && unit == 'M')
			months += n;
		else if (!time && (unit == 'D' || unit == 'W'))
			days += unit == 'W' ? n * 7 : n;
		else if (time && (unit == 'H' || unit == 'M' || unit == 'S'))
			us += (__int128_t)n * SECOND_US *
				      (unit == 'H'	    ? 3600
					      : unit == 'M' ? 60
							    : 1) +
			      fraction;
		else
			return false;
	}
	if (us > INT64_MAX || us < -INT64_MAX || !in_range(months, -INTERVAL_MAX, INTERVAL_MAX) ||
		!in_range(days, -INTERVAL_MAX, INTERVAL_MAX))
		return false;
	put_interval(months, days, us, out);
	return true;
}
