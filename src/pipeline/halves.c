/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which half is behind, and the look of somebody who is neither half: what they have left with the brokers is old by as much as the
 * half that left it is silent, and so everything that was not passed then counts as that much older.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/halves.h>
#include <sluice/source.h>

#include "exchange.h"

void halves_init(struct halves *halves)
{
	*halves = (struct halves){ 0 };
	halves->reader = halves->applier = (struct half){ .seconds = -1, .bytes = -1, .records = -1 };
}

const char *half_behind_to_string(enum half_behind behind)
{
	switch (behind) {
	case BEHIND_UNKNOWN:
		return "";
	case BEHIND_NONE:
		return "none";
	case BEHIND_READER:
		return "reader";
	case BEHIND_APPLIER:
		return "applier";
	}
	return "";
}

enum half_behind halves_judge(const struct halves *halves, double limit_s)
{
	const struct half *reader = &halves->reader, *applier = &halves->applier;

	if (reader->silent != applier->silent)
		return reader->silent ? BEHIND_READER : BEHIND_APPLIER;
	if (reader->seconds < 0 || applier->seconds < 0)
		return BEHIND_UNKNOWN;
	if (reader->seconds + applier->seconds <= limit_s)
		return BEHIND_NONE;
	return reader->seconds > applier->seconds ? BEHIND_READER : BEHIND_APPLIER;
}

int halves_look(const struct context *ctx, uint64_t head, struct wall now, struct error *err)
{
	struct exchange ex;
	int r;

	exchange_init(&ex, ctx, EXCHANGE_LOOKER);
	r = exchange_ask(&ex, err);
	if (r == 0)
		exchange_show_silent(&ex, head, now.us ? now : wall_now());
	exchange_fini(&ex);
	return r;
}
