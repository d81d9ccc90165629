/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * From the JSON form of a value to PostgreSQL's text, kind by kind, as the table in json_types.h has it. Numbers are digits
 * all the way: nothing passes through a double.
 */

#include <stdlib.h>
#include <string.h>

#include "calendar.h"
#include "json_read.h"

#define DAY_US INT64_C(86400000000)
#define DECIMAL_MAX                                                                                          \
	((size_t)128 * 1024) /* bytes of an unscaled integer: beyond anything that numeric holds */
#define SCALE_MAX INT64_C(20000)

bool read_i64(struct read_text text, int64_t *ret)
{
	bool negative = text.len && text.s[0] == '-';
	uint64_t n = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	size_t i = negative;

	if (!text.s || i == text.len)
		return false;
	for (; i < text.len; i++) {
		unsigned digit = (unsigned)(text.s[i] - '0');

		if (digit > 9 || n > (limit - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret = negative ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

bool read_u64(struct read_text text, uint64_t *ret)
{
	uint64_t n = 0;

	if (!text.s || !text.len)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(text.s[i] - '0');

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret = n;
	return true;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool read_base64(struct read_text text, struct buf *out)
{
	size_t len = text.len;
	uint8_t *at;

	if (!text.s || len % 4)
		return false;
	at = buf_grow(out, len / 4 * 3 + 1);
	for (size_t i = 0; i < len; i += 4) {
		int a = base64_digit(text.s[i]), b = base64_digit(text.s[i + 1]);
		bool last = i + 4 == len;
		int c = last && text.s[i + 2] == '=' ? -2 : base64_digit(text.s[i + 2]);
		int d = last && text.s[i + 3] == '=' ? -2 : base64_digit(text.s[i + 3]);

		if (a < 0 || b < 0 || c == -1 || d == -1 || (c == -2 && d != -2))
			return false;
		*at++ = (uint8_t)(a << 2 | b >> 4);
		if (c >= 0)
			*at++ = (uint8_t)(b << 4 | c >> 2);
		if (d >= 0)
			*at++ = (uint8_t)(c << 6 | d);
	}
	out->len = (size_t)(at - out->data);
	return true;
}

static void put_hex(const struct buf *bytes, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t *at = buf_grow(out, 2 * bytes->len + 2);

	*at++ = '\\';
	*at++ = 'x';
	for (size_t i = 0; i < bytes->len; i++) {
		*at++ = (uint8_t)digits[bytes->data[i] >> 4];
		*at++ = (uint8_t)digits[bytes->data[i] & 15];
	}
	out->len = (size_t)(at - out->data);
}

/* little-endian bytes, cut at the highest bit; the leftmost digit is the highest bit */
static bool put_bits(const struct json_type *type, const struct buf *bytes, struct buf *out)
{
	size_t n = bytes->len * 8;

	if (!type->varying && type->length > 0) {
		size_t length = (size_t)type->length;

		for (size_t i = length; i < n; i++) {
			if (bytes->data[i / 8] >> (i % 8) & 1)
				return false;
		}
		for (size_t i = length; i > n; i--)
			buf_putc(out, '0');
		n = n < length ? n : length;
	} else {
		while (n && !(bytes->data[(n - 1) / 8] >> ((n - 1) % 8) & 1))
			n--;
	}
	for (size_t i = n; i > 0; i--)
		buf_putc(out, bytes->data[(i - 1) / 8] >> ((i - 1) % 8) & 1 ? '1' : '0');
	return true;
}

/* big-endian two's complement as decimal digits, without leading zeros ("0" for zero); consumes bytes */
static void put_integer(struct buf *bytes, bool *ret_negative, struct buf *digits)
{
	uint8_t *at = bytes->data, *end = bytes->data + bytes->len;
	bool negative = bytes->len && at[0] & 0x80;
	size_t first = digits->len;

	if (negative) {
		unsigned carry = 1;

		for (uint8_t *p = end; p > at; p--) {
			unsigned v = (uint8_t)~p[-1] + carry;

			p[-1] = (uint8_t)v;
			carry = v >> 8;
		}
	}
	/* least significant first, then turned round */
	while (at < end) {
		uint32_t rest = 0;

		while (at < end && !*at)
			at++;
		if (at == end)
			break;
		for (uint8_t *p = at; p < end; p++) {
			uint64_t v = (uint64_t)rest << 8 | *p;

			*p = (uint8_t)(v / 10000000);
			rest = (uint32_t)(v % 10000000);
		}
		for (int i = 0; i < 7; i++, rest /= 10)
			buf_putc(digits, (char)('0' + rest % 10));
	}
	while (digits->len > first + 1 && digits->data[digits->len - 1] == '0')
		digits->len--;
	if (digits->len == first)
		buf_putc(digits, '0');
	for (size_t i = first, j = digits->len - 1; i < j; i++, j--) {
		uint8_t c = digits->data[i];

		digits->data[i] = digits->data[j];
		digits->data[j] = c;
	}
	*ret_negative = negative;
}

/* digits with a point before the last `scale` of them */
static void put_scaled(const struct buf *digits, int64_t scale, struct buf *out)
{
	size_t len = digits->len, behind = scale > 0 ? (size_t)scale : 0;

	if (len > behind)
		buf_put(out, digits->data, len - behind);
	else
		buf_putc(out, '0');
	if (behind) {
		buf_putc(out, '.');
		for (size_t i = len; i < behind; i++)
			buf_putc(out, '0');
		buf_put(out, digits->data + (len > behind ? len - behind : 0), len < behind ? len : behind);
	}
	for (int64_t i = scale; i < 0 && !(len == 1 && digits->data[0] == '0'); i++)
		buf_putc(out, '0');
}

static void put_money(const struct buf *digits, bool negative, struct buf *out)
{
	struct buf plain = BUF_INIT;
	size_t whole;

	put_scaled(digits, 2, &plain);
	whole = plain.len - 3;
	buf_puts(out, negative ? "-$" : "$");
	for (size_t i = 0; i < whole; i++) {
		if (i && (whole - i) % 3 == 0)
			buf_putc(out, ',');
		buf_putc(out, (char)plain.data[i]);
	}
	buf_put(out, plain.data + whole, 3);
	buf_fini(&plain);
}

static bool put_decimal(enum json_kind kind, struct read_text value, int64_t scale, struct buf *out)
{
	struct buf bytes = BUF_INIT, digits = BUF_INIT;
	bool negative = false;
	bool ok = value.len <= DECIMAL_MAX && scale >= -SCALE_MAX && scale <= SCALE_MAX &&
		  read_base64(value, &bytes);

	if (ok) {
		put_integer(&bytes, &negative, &digits);
		if (kind == JSON_MONEY) {
			put_money(&digits, negative, out);
		} else {
			if (negative)
				buf_putc(out, '-');
			put_scaled(&digits, scale, out);
		}
	}
	buf_fini(&bytes);
	buf_fini(&digits);
	return ok;
}

/* at least `width` digits; n is not negative */
static void put_padded(int64_t n, unsigned width, struct buf *out)
{
	char digits[20];
	unsigned at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	while (sizeof(digits) - at < width)
		digits[--at] = '0';
	buf_put(out, digits + at, sizeof(digits) - at);
}

/* the date without its era; *ret_bc: " BC" belongs behind everything */
static void put_date(int64_t days, bool *ret_bc, struct buf *out)
{
	int64_t year;
	unsigned month, day;

	calendar_date(days, &year, &month, &day);
	*ret_bc = year <= 0;
	if (year <= 0)
		year = 1 - year;
	put_padded(year, 4, out);
	buf_putc(out, '-');
	put_padded(month, 2, out);
	buf_putc(out, '-');
	put_padded(day, 2, out);
}

static void put_clock(int64_t us, struct buf *out)
{
	int64_t s = us / 1000000;
	unsigned fraction = (unsigned)(us % 1000000);

	put_padded(s / 3600, 2, out);
	buf_putc(out, ':');
	put_padded(s / 60 % 60, 2, out);
	buf_putc(out, ':');
	put_padded(s % 60, 2, out);
	if (!fraction)
		return;
	buf_putc(out, '.');
	put_padded(fraction, 6, out);
	while (out->data[out->len - 1] == '0')
		out->len--;
}

static bool put_timestamp(int64_t n, int64_t unit_us, struct buf *out)
{
	int64_t us, days;
	bool bc;

	if (n == JSON_INFINITY || n == JSON_MINUS_INFINITY) {
		buf_puts(out, n > 0 ? "infinity" : "-infinity");
		return true;
	}
	if (__builtin_mul_overflow(n, unit_us, &us))
		return false;
	days = us / DAY_US - (us % DAY_US < 0);
	put_date(days, &bc, out);
	buf_putc(out, ' ');
	put_clock(us - days * DAY_US, out);
	if (bc)
		buf_puts(out, " BC");
	return true;
}

/* [+-]YYYY…-MM-DDTHH:MM:SS[.f…]Z */
static bool put_zoned_timestamp(struct read_text text, struct buf *out)
{
	const char *end = text.s + text.len, *p = text.s, *tee = memchr(text.s, 'T', text.len), *digits;
	bool negative = text.len && *p == '-';
	int64_t year;
	size_t time_len;

	if ((text.len == 8 && !memcmp(p, "infinity", 8)) || (text.len == 9 && !memcmp(p, "-infinity", 9))) {
		buf_put(out, p, text.len);
		return true;
	}
	if (!tee || tee - p < 10 || end - tee < 10 || end[-1] != 'Z')
		return false;
	digits = p + (negative || *p == '+');
	if (!read_i64((struct read_text){ digits, (size_t)(tee - 6 - digits) }, &year) || year < 0 ||
		tee[-6] != '-')
		return false;
	if (negative || !year)
		year = negative ? year + 1 : 1;
	put_padded(year, 4, out);
	buf_put(out, tee - 6, 6);
	buf_putc(out, ' ');
	time_len = (size_t)(end - 1 - (tee + 1));
	buf_put(out, tee + 1, time_len);
	if (memchr(tee, '.', (size_t)(end - tee))) {
		while (out->data[out->len - 1] == '0')
			out->len--;
		if (out->data[out->len - 1] == '.')
			out->len--;
	}
	buf_puts(out, "+00");
	if (negative || !memcmp(digits, "0000-", 5))
		buf_puts(out, " BC");
	return true;
}

static bool put_zoned_time(struct read_text text, struct buf *out)
{
	if (text.len < 9 || text.s[text.len - 1] != 'Z')
		return false;
	buf_put(out, text.s, text.len - 1);
	buf_puts(out, "+00");
	return true;
}

static bool put_number_kind(const struct json_type *type, const struct read_scalar *in, struct buf *out)
{
	int64_t n;
	bool bc;

	if (in->type != SCALAR_NUMBER || !read_i64(in->text, &n))
		return false;
	if (type->kind == JSON_TIMESTAMP || type->kind == JSON_MICRO_TIMESTAMP)
		return put_timestamp(n, type->kind == JSON_TIMESTAMP ? 1000 : 1, out);
	if (type->kind == JSON_DATE) {
		if (n < -100000000 || n > 3000000000)
			return false;
		put_date(n, &bc, out);
		if (bc)
			buf_puts(out, " BC");
		return true;
	}
	if (n < 0 || n > DAY_US)
		return false;
	put_clock(type->kind == JSON_TIME ? n * 1000 : n, out);
	return true;
}

static bool put_string_kind(const struct json_type *type, struct read_text text, struct buf *out)
{
	struct buf bytes = BUF_INIT;
	bool ok;

	if (type->kind == JSON_STRING) {
		buf_put(out, text.s, text.len);
		return true;
	}
	if (type->kind == JSON_ZONED_TIMESTAMP)
		return put_zoned_timestamp(text, out);
	if (type->kind == JSON_ZONED_TIME)
		return put_zoned_time(text, out);
	if (type->kind == JSON_DECIMAL || type->kind == JSON_MONEY)
		return put_decimal(type->kind, text, type->scale, out);
	ok = read_base64(text, &bytes);
	if (ok && type->kind == JSON_BYTES)
		put_hex(&bytes, out);
	else
		ok = ok && put_bits(type, &bytes, out);
	buf_fini(&bytes);
	return ok;
}

bool read_scalar_value(const struct json_type *type, const struct read_scalar *in, struct buf *out)
{
	bool truth = in->type == SCALAR_TRUE || in->type == SCALAR_FALSE;
	int64_t n;

	switch (type->kind) {
	case JSON_BOOLEAN:
		buf_putc(out, in->type == SCALAR_TRUE ? 't' : 'f');
		return truth;
	case JSON_BIT:
		buf_putc(out, in->type == SCALAR_TRUE ? '1' : '0');
		return truth;
	case JSON_INT16:
	case JSON_INT32:
	case JSON_INT64:
		buf_put(out, in->text.s, in->text.len);
		return in->type == SCALAR_NUMBER && read_i64(in->text, &n);
	case JSON_FLOAT:
	case JSON_DOUBLE:
		buf_put(out, in->text.s, in->text.len);
		return in->type == SCALAR_NUMBER || in->type == SCALAR_STRING;
	case JSON_DATE:
	case JSON_TIME:
	case JSON_MICRO_TIME:
	case JSON_TIMESTAMP:
	case JSON_MICRO_TIMESTAMP:
		return put_number_kind(type, in, out);
	case JSON_STRING:
	case JSON_BYTES:
	case JSON_BITS:
	case JSON_DECIMAL:
	case JSON_MONEY:
	case JSON_ZONED_TIMESTAMP:
	case JSON_ZONED_TIME:
		return in->type == SCALAR_STRING && put_string_kind(type, in->text, out);
	case JSON_DURATION:
		return in->type == SCALAR_NUMBER; /* what it was stands in sluice.exact */
	case JSON_VARIABLE:
	case JSON_POINT:
	case JSON_LINE:
	case JSON_CIRCLE:
	case JSON_GEOMETRY:
	case JSON_ARRAY:
		break;
	}
	return false;
}

static void put_text(struct read_text text, struct buf *out)
{
	buf_put(out, text.s, text.len);
}

bool read_struct_value(const struct json_type *type, const struct read_struct *in, struct buf *out)
{
	bool circle = type->kind == JSON_CIRCLE;
	int64_t scale;

	if (type->kind == JSON_VARIABLE)
		return read_i64(in->scale, &scale) && scale >= 0 && in->value.s &&
		       put_decimal(JSON_VARIABLE, in->value, scale, out);
	if (type->kind == JSON_GEOMETRY)
		return true; /* what it was stands in sluice.exact */
	if (type->kind == JSON_LINE && in->a.s && in->b.s && in->c.s) {
		buf_putc(out, '{');
		put_text(in->a, out);
		buf_putc(out, ',');
		put_text(in->b, out);
		buf_putc(out, ',');
		put_text(in->c, out);
		buf_putc(out, '}');
		return true;
	}
	if ((type->kind != JSON_POINT && !circle) || !in->x.s || !in->y.s || (circle && !in->radius.s))
		return false;
	buf_puts(out, circle ? "<(" : "(");
	put_text(in->x, out);
	buf_putc(out, ',');
	put_text(in->y, out);
	buf_putc(out, ')');
	if (circle) {
		buf_putc(out, ',');
		put_text(in->radius, out);
		buf_putc(out, '>');
	}
	return true;
}

void read_element(const char *text, size_t len, struct buf *out)
{
	bool quote = text && (!len || (len == 4 && !strncasecmp(text, "NULL", 4)));

	if (!text) {
		buf_puts(out, "NULL");
		return;
	}
	for (size_t i = 0; i < len && !quote; i++)
		quote = strchr("\"\\{},", text[i]) || (text[i] && strchr(" \t\n\r\v\f", text[i]));
	if (!quote) {
		buf_put(out, text, len);
		return;
	}
	buf_putc(out, '"');
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			buf_putc(out, '\\');
		buf_putc(out, text[i]);
	}
	buf_putc(out, '"');
}
