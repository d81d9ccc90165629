/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Lag from samples of the source's end. When the samples are many (a long backlog), every second one is dropped:
 * the bound gets coarser with the lag itself, never wrong to the low side.
 */

#include <string.h>

#include "lag.h"

void lag_note(struct lag *lag, uint64_t head, struct wall at)
{
	if (lag->n && lag->samples[lag->n - 1].head == head) {
		lag->samples[lag->n - 1].at = at;
		return;
	}
	if (lag->n == LAG_SAMPLES) {
		/* keeps the first of each pair: the older time, so the bound stays an upper one */
		for (uint32_t i = 0; i < LAG_SAMPLES / 2; i++)
			lag->samples[i] = lag->samples[i * 2];
		lag->n = LAG_SAMPLES / 2;
	}
	lag->samples[lag->n++] = (struct lag_sample){ head, at };
}

double lag_update(struct lag *lag, const struct lag_input *in)
{
	uint32_t passed = 0;
	struct wall since = lag->clear;

	while (passed < lag->n && lag->samples[passed].head <= in->passed)
		passed++;
	if (passed) {
		lag->clear = since = lag->samples[passed - 1].at;
		memmove(lag->samples, lag->samples + passed, (lag->n - passed) * sizeof(lag->samples[0]));
		lag->n -= passed;
	}
	if (in->passed >= in->head) {
		lag->clear = in->server_time;
		return 0;
	}
	lag_note(lag, in->head, in->server_time);
	/* commits are applied in their order: all up to the last applied one's time is in, too */
	if (in->pending.us)
		since = in->pending;
	else if (in->applied.us > since.us)
		since = in->applied;
	if (!since.us)
		return -1;
	return in->server_time.us > since.us ? (double)(in->server_time.us - since.us) / 1e6 : 0;
}
