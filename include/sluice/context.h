/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What every part of one process shares: settings, log, counters, status, and the request to stop. Read-only but
 * for the members that say so.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include <sluice/config.h>
#include <sluice/log.h>
#include <sluice/metrics.h>
#include <sluice/status.h>

struct context {
	const struct config *cfg;
	const struct log *log;
	struct metrics *metrics; /* atomics */
	struct status *status;	 /* its own lock */
	atomic_bool *stop;	 /* set once by the main thread: drain and end */
};

static inline bool context_stopping(const struct context *ctx)
{
	return atomic_load_explicit(ctx->stop, memory_order_relaxed);
}
