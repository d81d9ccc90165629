/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers as Java prints them to numbers as PostgreSQL does. Only what was a float at the source goes through one here;
 * decimals stay digits.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debezium_parts.h"

#define EXPONENT_MAX 20000 /* beyond anything that numeric holds */
#define FLOAT_BYTES  64

/* the program never leaves the locale C, so these take and print a point */
static bool comes_back(const char *s, double v, unsigned bits)
{
	return bits == 32 ? (double)strtof(s, NULL) == v : strtod(s, NULL) == v;
}

/* PostgreSQL: fixed when the exponent is from -4 to 14 (float4: 5), else at least two digits of exponent */
static void put_digits(const char *digits, int n, int exponent, unsigned bits, struct buf *out)
{
	if (exponent < -4 || exponent >= (bits == 32 ? 6 : 15)) {
		buf_putc(out, digits[0]);
		if (n > 1)
			buf_putc(out, '.');
		buf_put(out, digits + 1, (size_t)n - 1);
		buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
		return;
	}
	if (exponent < 0)
		buf_puts(out, "0.");
	for (int i = exponent + 1; i < 0; i++)
		buf_putc(out, '0');
	for (int i = 0; i < n || i <= exponent; i++) {
		if (i && i == exponent + 1)
			buf_putc(out, '.');
		buf_putc(out, i < n ? digits[i] : '0');
	}
}

void number_double(double v, unsigned bits, struct buf *out)
{
	int most = bits == 32 ? 9 : 17, n = 0, exponent;
	double smallest = bits == 32 ? 1.17549435e-38 : 2.2250738585072014e-308;
	char text[FLOAT_BYTES], digits[FLOAT_BYTES];

	if (isnan(v) || isinf(v)) {
		buf_puts(out, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
		return;
	}
	if (signbit(v))
		buf_putc(out, '-');
	v = fabs(v);
	if (v == 0) {
		buf_putc(out, '0');
		return;
	}
	/* 15 (6) digits always come back as they were, so with fewer than that nothing shorter is left out */
	for (int precision = v < smallest ? 1 : bits == 32 ? 6 : 15; precision <= most; precision++) {
		snprintf(text, sizeof(text), "%.*e", precision - 1, v);
		if (comes_back(text, v, bits))
			break;
	}
	for (const char *p = text; *p && *p != 'e'; p++) {
		if (*p != '.')
			digits[n++] = *p;
	}
	while (n > 1 && digits[n - 1] == '0')
		n--;
	exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
	put_digits(digits, n, exponent, bits, out);
}

bool number_float(struct read_text text, unsigned bits, struct buf *out)
{
	char copy[FLOAT_BYTES];
	double v;
	char *end;

	if (!text.len || text.len >= sizeof(copy) || (text.s[0] != '-' && (unsigned)(text.s[0] - '0') > 9))
		return false;
	memcpy(copy, text.s, text.len);
	copy[text.len] = '\0';
	v = bits == 32 ? (double)strtof(copy, &end) : strtod(copy, &end);
	if (end != copy + text.len || isinf(v) || isnan(v))
		return false;
	number_double(v, bits, out);
	return true;
}

/* a decimal taken apart: digits without a point, of which `scale` stand behind it */
struct decimal {
	bool negative;
	struct buf digits;
	int64_t scale;
};

static bool take_exponent(struct read_text text, size_t i, int64_t *ret)
{
	bool plus = i < text.len && text.s[i] == '+';

	i += plus;
	return read_i64((struct read_text){ text.s + i, text.len - i }, ret) && *ret >= -EXPONENT_MAX &&
	       *ret <= EXPONENT_MAX;
}

static bool take_decimal(struct read_text text, struct decimal *ret)
{
	size_t i = text.len && text.s[0] == '-';
	bool point = false;
	int64_t exponent = 0;

	ret->negative = i;
	for (; i < text.len && text.s[i] != 'e' && text.s[i] != 'E'; i++) {
		char c = text.s[i];

		if (c == '.' && !point && ret->digits.len) {
			point = true;
			continue;
		}
		if ((unsigned)(c - '0') > 9)
			return false;
		buf_putc(&ret->digits, c);
		ret->scale += point;
	}
	if (!ret->digits.len || (i < text.len && !take_exponent(text, i + 1, &exponent)))
		return false;
	ret->scale -= exponent;
	for (; ret->scale < 0; ret->scale++)
		buf_putc(&ret->digits, '0');
	return true;
}

/* the digit at a place, which may lie before the first one */
static char digit_at(const struct decimal *d, int64_t i)
{
	return i < 0 ? '0' : (char)d->digits.data[i];
}

static bool is_zero(const struct decimal *d)
{
	for (size_t i = 0; i < d->digits.len; i++) {
		if (d->digits.data[i] != '0')
			return false;
	}
	return true;
}

static void put_decimal(const struct decimal *d, int32_t min_scale, struct buf *out)
{
	int64_t len = (int64_t)d->digits.len, scale = d->scale, whole = len - scale, first = 0;

	while (first < whole - 1 && d->digits.data[first] == '0')
		first++;
	/* what Java adds at the end is not there in PostgreSQL */
	while (scale > (min_scale > 0 ? min_scale : 0) && digit_at(d, whole + scale - 1) == '0')
		scale--;
	if (whole > 0)
		buf_put(out, d->digits.data + first, (size_t)(whole - first));
	else
		buf_putc(out, '0');
	if (scale > 0 || min_scale > 0)
		buf_putc(out, '.');
	for (int64_t i = 0; i < scale || i < min_scale; i++)
		buf_putc(out, i < scale ? digit_at(d, whole + i) : '0');
}

bool number_decimal(struct read_text text, int32_t min_scale, struct buf *out)
{
	struct decimal d = { 0 };
	bool ok = take_decimal(text, &d);

	if (ok) {
		if (d.negative && !is_zero(&d))
			buf_putc(out, '-');
		put_decimal(&d, min_scale, out);
	}
	buf_fini(&d.digits);
	return ok;
}

bool number_money(struct read_text text, struct buf *out)
{
	struct decimal d = { 0 };
	struct buf plain = BUF_INIT;
	bool ok = take_decimal(text, &d);
	size_t whole;

	if (ok) {
		put_decimal(&d, 2, &plain);
		whole = (size_t)((uint8_t *)memchr(plain.data, '.', plain.len) - plain.data);
		buf_puts(out, d.negative && !is_zero(&d) ? "-$" : "$");
		for (size_t i = 0; i < whole; i++) {
			if (i && (whole - i) % 3 == 0)
				buf_putc(out, ',');
			buf_putc(out, (char)plain.data[i]);
		}
		buf_put(out, plain.data + whole, plain.len - whole);
	}
	buf_fini(&d.digits);
	buf_fini(&plain);
	return ok;
}
