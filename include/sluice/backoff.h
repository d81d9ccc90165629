/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Exponential backoff with full jitter and a breaker: the n-th wait is uniform in [0, min(max, base × factor^n)];
 * after `breaker_failures` failures in a row the breaker opens and the wait is `breaker_pause_ms`.
 * Pure: time and randomness come in as arguments.
 */

#include <stdbool.h>
#include <stdint.h>

struct backoff_config {
	int64_t base_ms, max_ms;
	double factor;
	uint32_t breaker_failures; /* 0 = no breaker */
	int64_t breaker_pause_ms;
};

struct backoff {
	struct backoff_config cfg;
	uint32_t failures; /* in a row */
	bool open;	   /* breaker */
	uint64_t rng;	   /* xorshift state, never 0 */
};

void backoff_init(struct backoff *b, const struct backoff_config *cfg, uint64_t seed);
/** backoff_next_ms() - counts a failure and returns how long to wait before the next attempt. */
int64_t backoff_next_ms(struct backoff *b);
/** backoff_success() - closes the breaker and starts again at base. */
void backoff_success(struct backoff *b);
