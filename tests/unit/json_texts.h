/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Random texts of every type, as PostgreSQL prints them and sometimes a little otherwise; the same in every run. */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/buf.h>
#include <sluice/cleanup.h>

#define NUMERIC(p, s) (((p) << 16 | ((s)&0x7FF)) + 4)

static uint64_t seed = 0x9E3779B97F4A7C15u;

static inline uint64_t random_u64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545F4914F6CDD1Du;
}

static inline uint32_t below(uint32_t n)
{
	return (uint32_t)(random_u64() >> 33) % n;
}

static inline bool one_in(uint32_t n)
{
	return !below(n);
}

#define PICK(out, ...)                                                                                       \
	do {                                                                                                 \
		static const char *const picks[] = { __VA_ARGS__ };                                          \
		buf_puts(out, picks[below(sizeof(picks) / sizeof(*picks))]);                                 \
	} while (0)

static inline void put_digits(uint32_t n, struct buf *out)
{
	for (uint32_t i = 0; i < n; i++)
		buf_putc(out, (char)('0' + below(10)));
}

static inline void put_text(struct buf *out)
{
	static const char *const pieces[] = { "a", "word ", "\"", "\\", "\n", "\t", "\x01", "\x1f", "\x7f",
		"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xD0\xB6\xD0\xB7", "NULL", "{", "}", ",",
		"'", "/", " ", "  ", "__debezium_unavailable_value", "0123456789abcdef", "\xEF\xBF\xBF",
		"\xC2\x80", "\v", "null", ":", "[", "]" };

	if (one_in(6)) {
		PICK(out, "", "NULL", "null", "__debezium_unavailable_value", "NaN", "{}", "\\", "\"", " ");
		return;
	}
	for (uint32_t n = below(6) + 1; n; n--)
		buf_puts(out, pieces[below(sizeof(pieces) / sizeof(*pieces))]);
}

static inline void put_bool(struct buf *out)
{
	PICK(out, "t", "f");
}

static inline void put_bits(struct buf *out)
{
	for (uint32_t n = one_in(3) ? 7 : below(70); n; n--)
		buf_putc(out, one_in(2) ? '1' : '0');
}

static inline void put_bit(struct buf *out)
{
	PICK(out, "0", "1");
}

static inline void put_int2(struct buf *out)
{
	if (one_in(4))
		PICK(out, "0", "-1", "32767", "-32768");
	else
		buf_printf(out, "%d", (int16_t)random_u64());
}

static inline void put_int4(struct buf *out)
{
	if (one_in(4))
		PICK(out, "0", "-1", "2147483647", "-2147483648");
	else
		buf_printf(out, "%d", (int32_t)random_u64() >> below(31));
}

static inline void put_int8(struct buf *out)
{
	if (one_in(4))
		PICK(out, "0", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993");
	else
		buf_printf(out, "%lld", (long long)random_u64() >> below(63));
}

static inline void put_float(struct buf *out)
{
	if (one_in(3))
		PICK(out, "0", "-0", "NaN", "Infinity", "-Infinity", "1e+15", "1e-05", "5e-324",
			"1.7976931348623157e+308");
	else
		buf_printf(out, "%.*g", (int)below(17) + 1,
			(double)(int64_t)random_u64() / (double)(1 + below(100000)));
}

static inline void put_numeric(uint32_t digits, uint32_t scale, struct buf *out)
{
	uint32_t n = one_in(3) ? digits : below(digits) + 1;

	if (one_in(12)) {
		PICK(out, "NaN", "Infinity", "-Infinity", "0", "-1", "12.345");
		return;
	}
	if (one_in(2))
		buf_putc(out, '-');
	buf_putc(out, (char)('1' + below(9)));
	put_digits(n - 1, out);
	if (!scale)
		return;
	buf_putc(out, '.');
	put_digits(scale, out);
}

static inline void put_decimal(struct buf *out)
{
	put_numeric(8, 2, out);
}

static inline void put_wide_decimal(struct buf *out)
{
	put_numeric(60, 30, out);
}

static inline void put_rounded(struct buf *out)
{
	size_t from = out->len;

	put_numeric(4, 0, out);
	if (one_in(2) && !memchr(out->data + from, 'N', out->len - from) && out->data[out->len - 1] != 'y')
		buf_puts(out, "00");
}

static inline void put_free_numeric(struct buf *out)
{
	size_t from = out->len;

	put_numeric(below(60) + 1, one_in(2) ? below(30) : 0, out);
	if (one_in(4) && memchr(out->data + from, '.', out->len - from))
		buf_puts(out, "00");
}

static inline void put_money(struct buf *out)
{
	PICK(out, "$0.00", "-$0.01", "$1,234.56", "$999.99", "-$12,345,678.90", "$92,233,720,368,547,758.07",
		"-$92,233,720,368,547,758.08");
}

static inline void put_bytea(struct buf *out)
{
	buf_puts(out, "\\x");
	for (uint32_t n = below(20) * 2; n; n--)
		buf_putc(out, "0123456789abcdef"[below(16)]);
}

static inline void put_day(struct buf *out)
{
	uint32_t year = one_in(5) ? 1 + below(12000) : 1900 + below(200);

	buf_printf(out, "%04u-%02u-%02u", year, 1 + below(12), 1 + below(28));
}

static inline void put_clock(struct buf *out)
{
	if (one_in(20)) {
		buf_puts(out, "24:00:00");
		return;
	}
	buf_printf(out, "%02u:%02u:%02u", below(24), below(60), below(60));
	if (one_in(2)) {
		buf_putc(out, '.');
		put_digits(below(6), out);
		buf_putc(out, (char)('1' + below(9)));
	}
}

static inline void put_era(struct buf *out)
{
	if (one_in(8))
		buf_puts(out, " BC");
}

static inline void put_zone(struct buf *out)
{
	if (one_in(4))
		PICK(out, "+01", "-08", "+05:30", "-03:30", "+15:59:59");
	else
		buf_puts(out, "+00");
}

static inline void put_date(struct buf *out)
{
	if (one_in(12)) {
		PICK(out, "infinity", "-infinity", "5874897-12-31", "4714-11-24 BC");
		return;
	}
	put_day(out);
	put_era(out);
}

static inline void put_timestamp(struct buf *out)
{
	if (one_in(12)) {
		PICK(out, "infinity", "-infinity", "294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC",
			"294247-01-10 04:00:25.2", "294247-01-10 04:00:54.775807", "1970-01-01 00:00:00",
			"1969-12-31 23:59:59.999999");
		return;
	}
	put_day(out);
	buf_putc(out, ' ');
	put_clock(out);
	put_era(out);
}

static inline void put_timestamptz(struct buf *out)
{
	if (one_in(12)) {
		PICK(out, "infinity", "-infinity", "294276-12-31 23:59:59.999999+00",
			"4714-11-24 00:00:00+00 BC");
		return;
	}
	put_day(out);
	buf_putc(out, ' ');
	put_clock(out);
	put_zone(out);
	put_era(out);
}

static inline void put_timetz(struct buf *out)
{
	put_clock(out);
	put_zone(out);
}

static inline void put_interval(struct buf *out)
{
	PICK(out, "00:00:00", "1 day", "-1 days +02:03:00", "1 year 2 mons 3 days 04:05:06.78",
		"-178000000 years", "2562047788:00:54.775807", "infinity", "1 mon", "-00:00:00.000001");
}

static inline void put_coordinates(struct buf *out)
{
	buf_putc(out, '(');
	put_float(out);
	buf_putc(out, ',');
	put_float(out);
	buf_putc(out, ')');
}

static inline void put_line(struct buf *out)
{
	PICK(out, "{1,-1,0}", "{0.5,1e+20,-3}", "{-0,1,NaN}");
}

static inline void put_circle(struct buf *out)
{
	buf_putc(out, '<');
	put_coordinates(out);
	buf_puts(out, ",3.5>");
}

static inline void put_lseg(struct buf *out)
{
	PICK(out, "[(1,2),(3,4)]", "[(0,-0),(1e+100,0.1)]");
}

static inline void put_path(struct buf *out)
{
	PICK(out, "[(1,2),(3,4)]", "((1,2),(3,4),(5,6))", "((0,0))");
}

static inline void put_box(struct buf *out)
{
	PICK(out, "(3,4),(1,2)", "(0.1,0.2),(-0,-1)");
}

static inline void put_polygon(struct buf *out)
{
	PICK(out, "((0,0),(1,0),(1,1))", "((1,1))");
}

struct kind {
	uint32_t type_oid;
	int32_t modifier;
	void (*put)(struct buf *out);
	uint32_t array_oid; /* 0 = none that the envelope knows */
};

static const struct kind kinds[] = {
	{ 16, -1, put_bool, 1000 },
	{ 17, -1, put_bytea, 1001 },
	{ 20, -1, put_int8, 1016 },
	{ 21, -1, put_int2, 1005 },
	{ 23, -1, put_int4, 1007 },
	{ 25, -1, put_text, 1009 },
	{ 114, -1, put_text, 199 },
	{ 142, -1, put_text, 0 },
	{ 600, -1, put_coordinates, 0 },
	{ 601, -1, put_lseg, 0 },
	{ 602, -1, put_path, 0 },
	{ 603, -1, put_box, 0 },
	{ 604, -1, put_polygon, 0 },
	{ 628, -1, put_line, 0 },
	{ 700, -1, put_float, 1021 },
	{ 701, -1, put_float, 1022 },
	{ 718, -1, put_circle, 0 },
	{ 790, -1, put_money, 0 },
	{ 869, -1, put_text, 1041 },
	{ 1042, 9, put_text, 1014 },
	{ 1043, -1, put_text, 1015 },
	{ 1082, -1, put_date, 1182 },
	{ 1083, -1, put_clock, 1183 },
	{ 1083, 2, put_clock, 1183 },
	{ 1114, -1, put_timestamp, 1115 },
	{ 1114, 3, put_timestamp, 1115 },
	{ 1184, -1, put_timestamptz, 1185 },
	{ 1184, 0, put_timestamptz, 1185 },
	{ 1186, -1, put_interval, 1187 },
	{ 1266, -1, put_timetz, 1270 },
	{ 1560, 1, put_bit, 0 },
	{ 1560, 7, put_bits, 0 },
	{ 1562, -1, put_bits, 0 },
	{ 1562, 80, put_bits, 0 },
	{ 1700, -1, put_free_numeric, 1231 },
	{ 1700, NUMERIC(10, 2), put_decimal, 1231 },
	{ 1700, NUMERIC(90, 30), put_wide_decimal, 0 },
	{ 1700, NUMERIC(4, -2), put_rounded, 1231 },
	{ 2950, -1, put_text, 2951 },
	{ 3614, -1, put_text, 0 },
	{ 3802, -1, put_text, 3807 },
	{ 3904, -1, put_text, 3905 },
	{ 16500, -1, put_text, 0 },
	{ 1003, -1, put_text, 0 },
};

#define N_KINDS (sizeof(kinds) / sizeof(*kinds))

/* as array_out() quotes, and now and then where it would not */
static inline void put_element(const struct buf *element, struct buf *out)
{
	bool quoted = !element->len || one_in(50) ||
		      (element->len == 4 && !strncasecmp((const char *)element->data, "null", 4));

	for (size_t i = 0; i < element->len; i++)
		quoted |= memchr("\"\\{}, \t\n\r\v\f", element->data[i], 11) != NULL;
	if (quoted)
		buf_putc(out, '"');
	for (size_t i = 0; i < element->len; i++) {
		if (element->data[i] == '"' || element->data[i] == '\\')
			buf_putc(out, '\\');
		buf_putc(out, (char)element->data[i]);
	}
	if (quoted)
		buf_putc(out, '"');
}

static inline void put_array(const struct kind *kind, struct buf *out)
{
	_cleanup_(buf_freep) struct buf element = BUF_INIT;

	if (one_in(20)) {
		PICK(out, "{{1,2},{3,4}}", "[0:1]={1,2}", "[5:5]={\"a b\"}");
		return;
	}
	buf_putc(out, '{');
	for (uint32_t i = 0, n = below(4); i < n; i++) {
		if (i)
			buf_putc(out, ',');
		if (one_in(8)) {
			buf_puts(out, "NULL");
			continue;
		}
		buf_clear(&element);
		kind->put(&element);
		put_element(&element, out);
	}
	buf_putc(out, '}');
}
