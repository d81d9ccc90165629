/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Hex digits; see hex.h. Only lower case is taken back, so that a text is equal whenever what it says is. */

#include <string.h>

#include <sluice/hex.h>

/* clang-format off */
#define PAIR(h, l) h, l
#define ROW(h) PAIR(h, '0'), PAIR(h, '1'), PAIR(h, '2'), PAIR(h, '3'), PAIR(h, '4'), PAIR(h, '5'), PAIR(h, '6'), \
	PAIR(h, '7'), PAIR(h, '8'), PAIR(h, '9'), PAIR(h, 'a'), PAIR(h, 'b'), PAIR(h, 'c'), PAIR(h, 'd'), PAIR(h, 'e'), \
	PAIR(h, 'f')
/* both digits of each byte */
static const char pairs[512] = { ROW('0'), ROW('1'), ROW('2'), ROW('3'), ROW('4'), ROW('5'), ROW('6'), ROW('7'),
	ROW('8'), ROW('9'), ROW('a'), ROW('b'), ROW('c'), ROW('d'), ROW('e'), ROW('f') };
/* the value of a digit plus one; 0 = not a digit */
static const uint8_t digit[256] = { ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7,
	['7'] = 8, ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16 };
/* clang-format on */

char *hex_put(char *out, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++, out += 2)
		memcpy(out, pairs + 2 * (size_t)bytes[i], 2);
	return out;
}

char *hex_put_u64(char *out, uint64_t v)
{
	v = __builtin_bswap64(v);
	return hex_put(out, &v, 8);
}

char *hex_put_short(char *out, uint64_t v)
{
	char all[16];
	size_t skip = v ? (size_t)__builtin_clzll(v) / 4 : 15;

	hex_put_u64(all, v);
	memcpy(out, all + skip, 16 - skip);
	return out + 16 - skip;
}

bool hex_get(uint8_t *out, const char *s, size_t digits)
{
	const uint8_t *in = (const uint8_t *)s;

	if (digits % 2)
		return false;
	for (size_t i = 0; i < digits; i += 2) {
		uint8_t high = digit[in[i]], low = digit[in[i + 1]];

		if (!high || !low)
			return false;
		*out++ = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	return true;
}

bool hex_get_u64(uint64_t *ret, const char *s, size_t digits)
{
	uint64_t v;

	if (digits != 16 || !hex_get((uint8_t *)&v, s, digits))
		return false;
	*ret = __builtin_bswap64(v);
	return true;
}
