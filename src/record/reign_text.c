/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A reign's text; see partition.h. There is exactly one text of each reign: a decimal number without leading zeros, a
 * dash, 16 lower-case hex digits; so texts can be compared instead of reigns.
 */

#include <string.h>

#include <sluice/hex.h>
#include <sluice/partition.h>

char *reign_format(struct reign reign, char buf[REIGN_TEXT])
{
	char digits[20];
	size_t n = 0;
	char *at = buf;

	for (uint64_t v = reign.number; v; v /= 10)
		digits[n++] = (char)('0' + v % 10);
	if (n) {
		while (n)
			*at++ = digits[--n];
		*at++ = '-';
		at = hex_put_u64(at, reign.id);
	}
	*at = '\0';
	return buf;
}

bool reign_parse(struct reign *ret, const char *s, size_t len)
{
	struct reign reign = REIGN_NONE;
	size_t i = 0;

	if (!len || *s == '0')
		return false;
	for (; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
		if (__builtin_mul_overflow(reign.number, 10, &reign.number) ||
			__builtin_add_overflow(reign.number, (uint64_t)(s[i] - '0'), &reign.number))
			return false;
	}
	if (!i || i == len || s[i] != '-' || !hex_get_u64(&reign.id, s + i + 1, len - i - 1))
		return false;
	*ret = reign;
	return true;
}
