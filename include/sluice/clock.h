/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two clocks, two types, never mixed: the monotonic one for timers and rates, the wall clock for people and
 * for times that come from a server. A wall clock that jumps moves no timer.
 */

#include <stdint.h>

struct mono {
	int64_t us;
};

struct wall {
	int64_t us; /* microseconds since 1970-01-01 UTC; 0 = unknown */
};

/** mono_now() - CLOCK_MONOTONIC. Thread: any. Blocks: never. */
struct mono mono_now(void);
/** wall_now() - CLOCK_REALTIME. Thread: any. Blocks: never. */
struct wall wall_now(void);

static inline struct mono mono_add_ms(struct mono t, int64_t ms)
{
	return (struct mono){ t.us + ms * 1000 };
}

static inline int64_t mono_diff_us(struct mono later, struct mono earlier)
{
	return later.us - earlier.us;
}

/** mono_until_ms() - ms from now to t, rounded up, 0 when it has passed; fits a poll() timeout. */
int mono_until_ms(struct mono t, struct mono now);

/** wall_format() - RFC 3339 in UTC with microseconds into buf (at least 32 bytes); returns buf. */
char *wall_format(struct wall t, char *buf, uint32_t size);
