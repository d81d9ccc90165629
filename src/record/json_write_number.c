/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers. Integers and floats are copied as their text once they are seen to be what they should be: nothing is
 * rounded, nothing is printed. Decimals become the base64 of an unscaled two's complement integer, big-endian and as
 * short as possible, as Kafka Connect wants them.
 *
 * The text of a decimal is taken apart into a sign and a run of digits without the point; up to 18 digits are one
 * machine word, longer ones are converted by chunks of 18 digits (PostgreSQL ends at 147,455 digits).
 */

#include "json_write.h"

#define CHUNK_DIGITS   18u
#define CHUNK_BASE     UINT64_C(1000000000000000000)
#define DECIMAL_DIGITS 150000u

/* digits of a number in a row, without point, sign and leading zeros */
struct digits {
	uint8_t *s;
	size_t len;
	bool negative;
};

/* a plain decimal taken apart; both parts point into the text */
struct plain {
	bool negative;
	struct json_text whole, fraction;
};

static size_t count_digits(const uint8_t *s, const uint8_t *end)
{
	const uint8_t *p = s;

	while (p < end && (uint8_t)(*p - '0') < 10)
		p++;
	return (size_t)(p - s);
}

bool json_is_float(struct json_text text)
{
	const uint8_t *p = text.s, *end = text.s + text.len;
	size_t n;

	if (json_text_is(text, "NaN") || json_text_is(text, "Infinity") || json_text_is(text, "-Infinity"))
		return true;
	if (p < end && *p == '-')
		p++;
	n = count_digits(p, end);
	if (!n || (n > 1 && *p == '0'))
		return false;
	p += n;
	if (p < end && *p == '.') {
		n = count_digits(++p, end);
		if (!n)
			return false;
		p += n;
	}
	if (p < end && *p == 'e') {
		p++;
		if (p < end && (*p == '-' || *p == '+'))
			p++;
		n = count_digits(p, end);
		if (!n)
			return false;
		p += n;
	}
	return p == end;
}

enum json_written json_float(struct json_text text, struct buf *out)
{
	if (!json_is_float(text))
		return JSON_MALFORMED;
	if (text.s[text.len - 1] > '9') {
		buf_putc(out, '"');
		buf_put(out, text.s, text.len);
		buf_putc(out, '"');
		return JSON_EXACT;
	}
	buf_put(out, text.s, text.len);
	if (!json_text_is(text, "-0"))
		return JSON_EXACT;
	buf_puts(out, ".0");
	return JSON_INEXACT;
}

enum json_written json_integer(struct json_text text, int64_t lowest, int64_t highest, struct buf *out)
{
	const uint8_t *p = text.s, *end = text.s + text.len;
	uint64_t limit = (uint64_t)highest, v = 0;
	size_t n;

	if (p < end && *p == '-') {
		limit = 0 - (uint64_t)lowest;
		p++;
		if (p < end && *p == '0')
			return JSON_MALFORMED;
	}
	n = count_digits(p, end);
	if (!n || n > 19 || p + n != end || (n > 1 && *p == '0'))
		return JSON_MALFORMED;
	while (p < end)
		v = v * 10 + (uint64_t)(*p++ - '0');
	if (v > limit)
		return JSON_MALFORMED;
	buf_put(out, text.s, text.len);
	return JSON_EXACT;
}

static bool take_plain(struct json_text text, struct plain *ret)
{
	const uint8_t *p = text.s, *end = text.s + text.len;

	*ret = (struct plain){ 0 };
	if (text.len > DECIMAL_DIGITS)
		return false;
	if (p < end && *p == '-') {
		ret->negative = true;
		p++;
	}
	ret->whole = (struct json_text){ p, count_digits(p, end) };
	p += ret->whole.len;
	if (!ret->whole.len || p == end)
		return ret->whole.len > 0;
	if (*p++ != '.')
		return false;
	ret->fraction = (struct json_text){ p, count_digits(p, end) };
	return ret->fraction.len && p + ret->fraction.len == end;
}

/* the magnitude as shortest two's complement; limbs are 32 bits, lowest first */
static void put_limbs(const uint32_t *limbs, size_t n, bool negative, uint8_t *bytes, struct buf *out)
{
	size_t len = n * 4 + 1, from = 0;
	unsigned carry = negative;

	bytes[0] = 0;
	for (size_t i = 0; i < n * 4; i++)
		bytes[len - 1 - i] = (uint8_t)(limbs[i / 4] >> i % 4 * 8);
	for (size_t i = len; negative && i-- > 0;) {
		carry += (uint8_t)~bytes[i];
		bytes[i] = (uint8_t)carry;
		carry >>= 8;
	}
	while (from + 1 < len && ((bytes[from] == 0 && bytes[from + 1] < 0x80) ||
					 (bytes[from] == 0xFF && bytes[from + 1] >= 0x80)))
		from++;
	json_base64(bytes + from, len - from, out);
}

static uint64_t chunk_value(const uint8_t *s, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)(s[i] - '0');
	return v;
}

static void put_short(uint64_t v, bool negative, struct buf *out)
{
	uint64_t word = negative ? 0 - v : v;
	uint8_t bytes[8];
	size_t from = 0;

	for (size_t i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(word >> (56 - i * 8));
	while (from < 7 && ((bytes[from] == 0 && bytes[from + 1] < 0x80) ||
				   (bytes[from] == 0xFF && bytes[from + 1] >= 0x80)))
		from++;
	json_base64(bytes + from, 8 - from, out);
}

/* scratch holds the digits at its begin; limbs and bytes go behind them */
static void put_unscaled(struct digits digits, struct buf *scratch, struct buf *out)
{
	size_t at = 0, n = 0, room, limbs_at = (scratch->len + 7) & ~(size_t)7;
	uint32_t *limbs;

	if (digits.len <= CHUNK_DIGITS) {
		put_short(chunk_value(digits.s, digits.len), digits.negative, out);
		return;
	}
	/* a digit is 3.33 bits; two limbs for each begun chunk of 18 are enough */
	room = (digits.len / CHUNK_DIGITS + 1) * 2 + 2;
	buf_grow(scratch, limbs_at - scratch->len + room * 8 + 1);
	limbs = (uint32_t *)(void *)(scratch->data + limbs_at);
	digits.s = scratch->data;
	while (at < digits.len) {
		size_t step = (digits.len - at) % CHUNK_DIGITS;
		__uint128_t carry;

		if (!step)
			step = CHUNK_DIGITS;
		carry = chunk_value(digits.s + at, step);
		for (size_t i = 0; i < n; i++) {
			carry += (__uint128_t)limbs[i] * CHUNK_BASE;
			limbs[i] = (uint32_t)carry;
			carry >>= 32;
		}
		while (carry) {
			limbs[n++] = (uint32_t)carry;
			carry >>= 32;
		}
		at += step;
	}
	put_limbs(limbs, n, digits.negative, scratch->data + limbs_at + room * 4, out);
}

/* the digits of a plain number with `scale` of them behind the point, in scratch; digits too many are cut off */
static struct digits scaled(const struct plain *plain, int32_t scale, struct buf *scratch)
{
	size_t fraction = scale > 0 ? (size_t)scale : 0;
	size_t kept = plain->fraction.len < fraction ? plain->fraction.len : fraction;
	size_t cut = scale < 0 ? (size_t)-scale : 0, skip = 0;

	buf_clear(scratch);
	buf_grow(scratch, plain->whole.len + fraction);
	buf_put(scratch, plain->whole.s, cut < plain->whole.len ? plain->whole.len - cut : 0);
	buf_put(scratch, plain->fraction.s, kept);
	for (size_t i = kept; i < fraction; i++)
		buf_putc(scratch, '0');
	while (skip < scratch->len && scratch->data[skip] == '0')
		skip++;
	memmove(scratch->data, scratch->data + skip, scratch->len - skip);
	scratch->len -= skip;
	return (struct digits){ scratch->data, scratch->len, plain->negative };
}

/* is the text what a reader prints for it? */
static bool is_canonical(const struct plain *plain, int32_t scale, bool zero)
{
	size_t zeros = 0;

	if (plain->whole.len > 1 && plain->whole.s[0] == '0')
		return false;
	if (plain->negative && zero)
		return false;
	if (plain->fraction.len != (scale > 0 ? (size_t)scale : 0))
		return false;
	while (zeros < plain->whole.len && plain->whole.s[plain->whole.len - 1 - zeros] == '0')
		zeros++;
	return scale >= 0 ||
	       (zero ? plain->whole.len == 1 && plain->whole.s[0] == '0' : zeros >= (size_t)-scale);
}

static bool is_nan(struct json_text text)
{
	return json_text_is(text, "NaN") || json_text_is(text, "Infinity") || json_text_is(text, "-Infinity");
}

enum json_written json_decimal(
	const struct json_type *type, struct json_text text, struct buf *scratch, struct buf *out)
{
	struct plain plain;
	struct digits digits;

	if (is_nan(text)) {
		buf_puts(out, "null");
		return JSON_INEXACT;
	}
	if (!take_plain(text, &plain))
		return JSON_MALFORMED;
	digits = scaled(&plain, type->scale, scratch);
	put_unscaled(digits, scratch, out);
	return is_canonical(&plain, type->scale, !digits.len) ? JSON_EXACT : JSON_INEXACT;
}

enum json_written json_variable(struct json_text text, struct buf *scratch, struct buf *out)
{
	struct plain plain;
	struct digits digits;
	int32_t scale;

	if (is_nan(text)) {
		buf_puts(out, "null");
		return JSON_INEXACT;
	}
	if (!take_plain(text, &plain))
		return JSON_MALFORMED;
	scale = (int32_t)plain.fraction.len;
	digits = scaled(&plain, scale, scratch);
	buf_puts(out, "{\"scale\":");
	json_u64((uint64_t)scale, out);
	buf_puts(out, ",\"value\":");
	put_unscaled(digits, scratch, out);
	buf_putc(out, '}');
	return is_canonical(&plain, scale, !digits.len) ? JSON_EXACT : JSON_INEXACT;
}

/* -$1,234.56: thousands in groups of three, two digits behind the point, as lc_monetary C has it */
enum json_written json_money(struct json_text text, struct buf *scratch, struct buf *out)
{
	const uint8_t *p = text.s, *end = text.s + text.len;
	struct digits digits = { 0 };
	size_t skip = 0;

	if (p < end && *p == '-') {
		digits.negative = true;
		p++;
	}
	if (end - p < 5 || *p++ != '$' || end[-3] != '.' || count_digits(end - 2, end) != 2 || *p == ',')
		return JSON_MALFORMED;
	buf_clear(scratch);
	for (const uint8_t *q = p; q < end - 3; q++) {
		bool comma = (size_t)(end - 3 - q) % 4 == 0;

		if (comma ? *q != ',' : (uint8_t)(*q - '0') >= 10)
			return JSON_MALFORMED;
		if (!comma)
			buf_putc(scratch, (char)*q);
	}
	buf_put(scratch, end - 2, 2);
	while (skip < scratch->len && scratch->data[skip] == '0')
		skip++;
	digits.s = scratch->data + skip;
	digits.len = scratch->len - skip;
	/* 64 bits of cents */
	if (digits.len > 19 || chunk_value(digits.s, digits.len) > (uint64_t)INT64_MAX + digits.negative)
		return JSON_MALFORMED;
	put_short(chunk_value(digits.s, digits.len), digits.negative, out);
	return (*p == '0' && end - p > 4) || (digits.negative && !digits.len) ? JSON_INEXACT : JSON_EXACT;
}
