/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The two clocks; see clock.h. */

#include <limits.h>
#include <stdio.h>
#include <time.h>

#include <sluice/clock.h>

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct mono mono_now(void)
{
	return (struct mono){ clock_us(CLOCK_MONOTONIC) };
}

struct wall wall_now(void)
{
	return (struct wall){ clock_us(CLOCK_REALTIME) };
}

int mono_until_ms(struct mono t, struct mono now)
{
	int64_t us = t.us - now.us;
	int64_t ms = us > 0 ? (us + 999) / 1000 : 0;

	return ms > INT_MAX ? INT_MAX : (int)ms;
}

char *wall_format(struct wall t, char *buf, uint32_t size)
{
	int64_t us = t.us % 1000000;
	time_t seconds = (time_t)(t.us / 1000000);
	struct tm tm;

	if (us < 0) {
		us += 1000000;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	snprintf(buf, size, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)us);
	return buf;
}
