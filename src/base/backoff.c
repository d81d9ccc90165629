/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Full jitter: every wait is uniform between nothing and the exponential bound, so that many clients that failed
 * together do not come back together.
 */

#include <sluice/backoff.h>

static uint64_t next_random(struct backoff *b)
{
	b->rng ^= b->rng << 13;
	b->rng ^= b->rng >> 7;
	b->rng ^= b->rng << 17;
	return b->rng;
}

void backoff_init(struct backoff *b, const struct backoff_config *cfg, uint64_t seed)
{
	*b = (struct backoff){ .cfg = *cfg, .rng = seed ? seed : 0x9E3779B97F4A7C15u };
}

int64_t backoff_next_ms(struct backoff *b)
{
	double bound = (double)b->cfg.base_ms;

	b->failures++;
	b->open = b->cfg.breaker_failures && b->failures >= b->cfg.breaker_failures;
	if (b->open)
		return b->cfg.breaker_pause_ms;
	for (uint32_t i = 1; i < b->failures && bound < (double)b->cfg.max_ms; i++)
		bound *= b->cfg.factor;
	if (bound > (double)b->cfg.max_ms)
		bound = (double)b->cfg.max_ms;
	return (int64_t)(next_random(b) % ((uint64_t)bound + 1));
}

void backoff_success(struct backoff *b)
{
	b->failures = 0;
	b->open = false;
}
