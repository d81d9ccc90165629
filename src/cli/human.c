/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers for people: two or three digits, a unit, nothing that moves its place from one redraw to the next more than it
 * must.
 */

#include <stdio.h>

#include "human.h"

static char *scaled(double value, double step, const char *const *units, char *buf, size_t size)
{
	unsigned i = 0;

	while (units[i + 1] && value >= step * 0.9995) {
		value /= step;
		i++;
	}
	if (i == 0 || value >= 9.95)
		snprintf(buf, size, "%.0f%s", value, units[i]);
	else
		snprintf(buf, size, "%.1f%s", value, units[i]);
	return buf;
}

char *human_size(double bytes, char *buf, size_t size)
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB", NULL };

	return scaled(bytes, 1024, units, buf, size);
}

char *human_disk(double bytes, char *buf, size_t size)
{
	static const char *const units[] = { " B", " kB", " MB", " GB", " TB", " PB", NULL };

	return scaled(bytes, 1000, units, buf, size);
}

char *human_count(double n, char *buf, size_t size)
{
	static const char *const units[] = { "", "k", "M", "G", "T", NULL };

	return scaled(n, 1000, units, buf, size);
}

char *human_duration(double seconds, char *buf, size_t size)
{
	uint64_t s = seconds > 0 ? (uint64_t)(seconds + 0.5) : 0;
	unsigned long long days = s / 86400, hours = s / 3600 % 24, minutes = s / 60 % 60;

	if (seconds < 9.95)
		snprintf(buf, size, "%.1f s", seconds > 0 ? seconds : 0);
	else if (days)
		snprintf(buf, size, "%llud%02lluh", days, hours);
	else if (hours)
		snprintf(buf, size, "%lluh%02llum", hours, minutes);
	else if (minutes)
		snprintf(buf, size, "%llum%02llus", minutes, (unsigned long long)(s % 60));
	else
		snprintf(buf, size, "%llu s", (unsigned long long)s);
	return buf;
}
