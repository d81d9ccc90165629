/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers are parsed by hand, because strtoull() takes signs, blanks and octal, and strtod() takes "inf", hex
 * and the locale's comma: what a file means must not depend on any of these.
 */

#include <stdio.h>
#include <string.h>

#include "units.h"

struct unit {
	const char *name;
	double factor;
};

static const struct unit durations[] = { { "d", 86400e3 }, { "h", 3600e3 }, { "m", 60e3 }, { "s", 1000 },
	{ "ms", 1 } };
static const struct unit sizes[] = { { "TiB", 1099511627776.0 }, { "GiB", 1073741824.0 },
	{ "MiB", 1048576.0 }, { "KiB", 1024.0 }, { "B", 1 } };

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* beyond this a double no longer counts in ones */
#define EXACT_MAX 9007199254740992.0

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool units_parse_uint(const char *s, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (!is_digit(*s) || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
			__builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return false;
	}
	*ret = n;
	return true;
}

/* digits with at most one point between them; returns what follows, NULL = no number */
static const char *take_number(const char *s, double *ret)
{
	double n = 0, part = 1;

	if (!is_digit(*s))
		return NULL;
	for (; is_digit(*s); s++)
		n = n * 10 + (*s - '0');
	if (*s == '.' && is_digit(s[1])) {
		for (s++; is_digit(*s); s++) {
			part /= 10;
			n += part * (*s - '0');
		}
	}
	*ret = n;
	return s;
}

bool units_parse_double(const char *s, double *ret)
{
	const char *end = take_number(s, ret);

	return end && !*end;
}

/* a unit must not be followed by a letter: "10m" and not the m of "10ms" */
static const char *take_unit(const char *s, const struct unit *units, size_t n, double *ret_factor)
{
	size_t len = 0;

	while ((s[len] >= 'a' && s[len] <= 'z') || (s[len] >= 'A' && s[len] <= 'Z'))
		len++;
	for (size_t i = 0; i < n; i++) {
		if (strlen(units[i].name) == len && strncmp(units[i].name, s, len) == 0) {
			*ret_factor = units[i].factor;
			return s + len;
		}
	}
	return NULL;
}

static bool parse_units(const char *s, const struct unit *units, size_t n, double *ret)
{
	double total = 0, number, factor;

	if (strcmp(s, "0") == 0) {
		*ret = 0;
		return true;
	}
	do {
		s = take_number(s, &number);
		s = s ? take_unit(s, units, n, &factor) : NULL;
		if (!s)
			return false;
		total += number * factor;
	} while (*s);
	if (total >= EXACT_MAX)
		return false;
	*ret = total;
	return true;
}

bool config_parse_duration(const char *s, int64_t *ret_ms)
{
	double ms;

	if (!parse_units(s, durations, N(durations), &ms))
		return false;
	*ret_ms = (int64_t)(ms + 0.5);
	return true;
}

bool config_parse_size(const char *s, uint64_t *ret_bytes)
{
	double bytes;

	if (!parse_units(s, sizes, N(sizes), &bytes))
		return false;
	*ret_bytes = (uint64_t)(bytes + 0.5);
	return true;
}

static char *format_units(double value, const struct unit *units, size_t n, char *buf, size_t size)
{
	size_t i = 0;

	while (i + 1 < n && (value < units[i].factor ||
				    (double)(uint64_t)(value / units[i].factor) != value / units[i].factor))
		i++;
	snprintf(buf, size, "%.0f%s", value / units[i].factor, units[i].name);
	return buf;
}

char *units_format_duration(double ms, char *buf, size_t size)
{
	return format_units(ms, durations, N(durations), buf, size);
}

char *units_format_size(double bytes, char *buf, size_t size)
{
	return format_units(bytes, sizes, N(sizes), buf, size);
}
