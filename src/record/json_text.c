/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Strings, base64 and integers of JSON, as fast as plain C goes: eight bytes at once as long as nothing needs a
 * closer look. Strings are the bulk of what a change stream carries, and few bytes in them are special.
 *
 * Invariant: what comes out is valid UTF-8 and valid JSON whatever came in, or the call says JSON_NOT_UTF8. Room is
 * made for the worst case of a slice at once, so the inner loops test no bounds of the output.
 */

#include "json_write.h"

#define ONES  0x0101010101010101u
#define HIGH  0x8080808080808080u
#define SLICE 4096u

static const char digits16[] = "0123456789abcdef";
static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* marks the high bit of the first byte that is a control, a quote, a backslash or not ASCII; bytes behind it may be
 * marked too, 0 = there is none */
static inline uint64_t special(uint64_t word)
{
	uint64_t quote = word ^ (ONES * '"'), backslash = word ^ (ONES * '\\');

	return ((word - ONES * 0x20) | (quote - ONES) | (backslash - ONES) | word) & HIGH;
}

/* 1 to 7 bytes, filled up with blanks */
static inline uint64_t load_short(const uint8_t *s, size_t n)
{
	uint64_t word;
	uint32_t head, tail;

	if (n >= 4) {
		memcpy(&head, s, 4);
		memcpy(&tail, s + n - 4, 4);
		word = head | (uint64_t)tail << (n - 4) * 8;
	} else {
		word = s[0] | (uint64_t)s[n / 2] << n / 2 * 8 | (uint64_t)s[n - 1] << (n - 1) * 8;
	}
	return word | (ONES * ' ') << n * 8;
}

/* the length of the UTF-8 sequence of a character beyond ASCII, 0 = it is none */
static inline size_t sequence(const uint8_t *s, size_t left)
{
	if (s[0] < 0xE0)
		return left >= 2 && s[0] >= 0xC2 && (s[1] & 0xC0) == 0x80 ? 2 : 0;
	if (left < 3 || (s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80)
		return 0;
	if (s[0] < 0xF0) {
		/* not overlong, no surrogate */
		return (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] >= 0xA0) ? 0 : 3;
	}
	if (left < 4 || (s[3] & 0xC0) != 0x80)
		return 0;
	return s[0] > 0xF4 || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] >= 0x90) ? 0 : 4;
}

static inline uint8_t *escape(uint8_t *to, uint8_t c)
{
	static const char letters[32] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'
	};

	*to++ = '\\';
	if (c >= 0x20) {
		*to++ = c;
	} else if (letters[c]) {
		*to++ = (uint8_t)letters[c];
	} else {
		memcpy(to, "u00", 3);
		to[3] = (uint8_t)digits16[c >> 4];
		to[4] = (uint8_t)digits16[c & 15];
		to += 5;
	}
	return to;
}

/* escapes until i is at or behind `until`, at the boundary of a character; *to has room. Returns the new i, 0 = bad */
static size_t put_slice(struct json_text text, size_t i, size_t until, uint8_t **at)
{
	uint8_t *to = *at;

	while (i < until) {
		size_t left = text.len - i;
		uint64_t word, marks;

		if (left >= 8)
			memcpy(&word, text.s + i, 8);
		else
			word = load_short(text.s + i, left);
		memcpy(to, &word, 8);
		marks = special(word);
		if (!marks) {
			size_t n = left < 8 ? left : 8;

			i += n;
			to += n;
			continue;
		}
		i += (size_t)__builtin_ctzll(marks) / 8;
		to += __builtin_ctzll(marks) / 8;
		if (text.s[i] < 0x80) {
			to = escape(to, text.s[i++]);
			continue;
		}
		do {
			size_t n = sequence(text.s + i, text.len - i);

			if (!n)
				return 0;
			for (size_t k = 0; k < n; k++)
				*to++ = text.s[i++];
		} while (i < until && text.s[i] >= 0x80);
	}
	*at = to;
	return i;
}

enum json_written json_string(struct json_text text, struct buf *out)
{
	uint8_t *to;

	buf_putc(out, '"');
	for (size_t i = 0; i < text.len;) {
		size_t until = text.len - i > SLICE ? i + SLICE : text.len;

		to = buf_grow(out, (until - i) * 6 + 32);
		i = put_slice(text, i, until, &to);
		if (!i)
			return JSON_NOT_UTF8;
		out->len = (size_t)(to - out->data);
	}
	buf_putc(out, '"');
	return JSON_EXACT;
}

/* the last 1 or 2 bytes of a base64 */
static uint8_t *pad64(uint8_t *to, const uint8_t *s, size_t n)
{
	uint32_t v = (uint32_t)s[0] << 16 | (n > 1 ? (uint32_t)s[1] << 8 : 0);

	*to++ = (uint8_t)digits64[v >> 18];
	*to++ = (uint8_t)digits64[v >> 12 & 63];
	*to++ = n > 1 ? (uint8_t)digits64[v >> 6 & 63] : '=';
	*to++ = '=';
	return to;
}

static inline uint8_t *put64(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)digits64[v >> 18];
	to[1] = (uint8_t)digits64[v >> 12 & 63];
	to[2] = (uint8_t)digits64[v >> 6 & 63];
	to[3] = (uint8_t)digits64[v & 63];
	return to + 4;
}

void json_base64(const void *data, size_t len, struct buf *out)
{
	const uint8_t *s = data;
	uint8_t *to = buf_grow(out, (len + 2) / 3 * 4 + 2);

	*to++ = '"';
	for (; len >= 3; s += 3, len -= 3)
		to = put64(to, (uint32_t)s[0] << 16 | (uint32_t)s[1] << 8 | s[2]);
	if (len)
		to = pad64(to, s, len);
	*to++ = '"';
	out->len = (size_t)(to - out->data);
}

/* the value of a lower-case hex digit with bit 4 set, 0 = it is none */
static const uint8_t hex_value[256] = {
	['0'] = 0x10,
	['1'] = 0x11,
	['2'] = 0x12,
	['3'] = 0x13,
	['4'] = 0x14,
	['5'] = 0x15,
	['6'] = 0x16,
	['7'] = 0x17,
	['8'] = 0x18,
	['9'] = 0x19,
	['a'] = 0x1a,
	['b'] = 0x1b,
	['c'] = 0x1c,
	['d'] = 0x1d,
	['e'] = 0x1e,
	['f'] = 0x1f,
};

bool json_hex_base64(const uint8_t *hex, size_t digits, struct buf *out)
{
	uint8_t *to = buf_grow(out, (digits / 2 + 2) / 3 * 4 + 2);
	uint8_t rest[2] = { 0, 0 };
	uint32_t good = 0x10;

	if (digits % 2)
		return false;
	*to++ = '"';
	for (; digits >= 6; hex += 6, digits -= 6) {
		uint32_t a = hex_value[hex[0]], b = hex_value[hex[1]], c = hex_value[hex[2]];
		uint32_t d = hex_value[hex[3]], e = hex_value[hex[4]], f = hex_value[hex[5]];

		good &= a & b & c & d & e & f;
		to = put64(to,
			((a << 20) ^ (b << 16) ^ (c << 12) ^ (d << 8) ^ (e << 4) ^ f ^ 0x111110) & 0xFFFFFF);
	}
	if (digits >= 2) {
		uint32_t a = hex_value[hex[0]], b = hex_value[hex[1]];

		good &= a & b;
		rest[0] = (uint8_t)(a << 4 | (b & 15));
	}
	if (digits >= 4) {
		uint32_t a = hex_value[hex[2]], b = hex_value[hex[3]];

		good &= a & b;
		rest[1] = (uint8_t)(a << 4 | (b & 15));
	}
	if (digits)
		to = pad64(to, rest, digits / 2);
	*to++ = '"';
	out->len = (size_t)(to - out->data);
	return good;
}

void json_u64(uint64_t v, struct buf *out)
{
	static const char pairs[] = "0001020304050607080910111213141516171819"
				    "2021222324252627282930313233343536373839"
				    "4041424344454647484950515253545556575859"
				    "6061626364656667686970717273747576777879"
				    "8081828384858687888990919293949596979899";
	uint8_t digits[20];
	size_t at = sizeof(digits);

	while (v >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + v % 100 * 2, 2);
		v /= 100;
	}
	if (v >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + v * 2, 2);
	} else {
		digits[--at] = (uint8_t)('0' + v);
	}
	buf_put(out, digits + at, sizeof(digits) - at);
}

void json_i64(int64_t v, struct buf *out)
{
	if (v < 0)
		buf_putc(out, '-');
	json_u64(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, out);
}
