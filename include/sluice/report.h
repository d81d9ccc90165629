/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the process tells about itself: the JSON of /status and `sluice status --json`, the reasons of
 * /cutover/ready, the text of /metrics, and the rates that these and the progress bar share. Never a row value or a
 * secret.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/context.h>
#include <sluice/readiness.h>

/* per second over the last 1 to 10 s; NAN = unknown */
struct status_rates {
	double records, transactions, snapshot_bytes;
	double lag_seconds, lag_bytes; /* growth; negative = falling */
};

/* a look at the source takes at most 5 s, and there is one a second: what is older than this, nobody looks after */
#define STATUS_STALE_MS 10000

/** status_sample() - remembers the counters, at most once a second; where nobody has measured the lag for a while, takes
 * back what was said of phase and halves then. Thread: any without the status lock. Blocks: for it. */
void status_sample(const struct context *ctx);

/* the next three read a status whose lock is held, or a copy of one */
struct status_rates status_rates(const struct status *st);
/** status_lag_seconds() - the lag that is true now: while the source cannot be reached, or nobody looks, at least the time
 * since its end was last known. Return: seconds; < 0 = unknown. */
double status_lag_seconds(const struct status *st, struct mono now);
/** status_snapshot_eta() - seconds until the copy ends; < 0 = unknown or none running. */
double status_snapshot_eta(const struct status *st);

struct report_options {
	const char *from;	       /* "service", "databases": then what only the service knows is null */
	const struct readiness *ready; /* NULL = unknown */
	uint32_t max_tables;
};

/** report_status() - appends the JSON of /status. Thread: any without the status lock. Blocks: for it. */
void report_status(const struct context *ctx, const struct report_options *opt, struct buf *ret);
/** report_readiness() - appends the JSON of /cutover/ready. Pure. */
void report_readiness(const struct readiness *ready, struct buf *ret);
/** report_metrics() - appends the Prometheus text, or OpenMetrics. Thread: any without the status lock. Blocks: for it. */
void report_metrics(
	const struct context *ctx, const struct readiness *ready, bool openmetrics, struct buf *ret);
