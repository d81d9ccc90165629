/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counters and gauges as atomics, one line each; the same list makes the field, the Prometheus text and the status
 * page. Any thread may add; hot paths add once per batch, not per row.
 */

#include <stdatomic.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

/* X(kind, field, exported name with labels or NULL, help); gauges of seconds are in microseconds inside */
#define METRICS_OPS(X, field, name, help)                                                                    \
	X(COUNTER, field##_insert, name "{op=\"insert\"}", help)                                             \
	X(COUNTER, field##_update, name "{op=\"update\"}", help)                                             \
	X(COUNTER, field##_delete, name "{op=\"delete\"}", help)                                             \
	X(COUNTER, field##_truncate, name "{op=\"truncate\"}", help)

#define METRICS(X)                                                                                           \
	METRICS_OPS(X, read, "read_records_total", "Change records read from the source")                    \
	METRICS_OPS(X, applied, "applied_records_total", "Change records applied to the target")             \
	X(COUNTER, read_transactions, "read_transactions_total", "Source transactions read")                 \
	X(COUNTER, applied_transactions, "applied_transactions_total", "Source transactions applied")        \
	X(COUNTER, applied_bytes, "applied_bytes_total", "Bytes of row values applied")                      \
	X(COUNTER, snapshot_rows, "snapshot_rows_total", "Rows copied by the snapshot")                      \
	X(COUNTER, snapshot_bytes, "snapshot_bytes_total", "Bytes copied by the snapshot")                   \
	X(COUNTER, dead_letters, "dead_letters_total", "Records written to the dead letters")                \
	X(COUNTER, duplicates_skipped, "duplicates_skipped_total",                                           \
		"Records at or below progress, not applied again")                                           \
	X(COUNTER, missing_rows, "missing_rows_total", "UPDATE or DELETE that found no row")                 \
	X(COUNTER, conflicts, "conflicts_total", "INSERT that met a row written by someone else")            \
	X(COUNTER, log_dropped, "log_lines_dropped_total", "Log lines dropped because stderr was full")      \
	X(COUNTER, verified_rows, "verified_rows_total", "Rows compared by verify")                          \
	X(GAUGE, verify_differences, "verify_differences_unresolved",                                        \
		"Rows that differ after the last verify")                                                    \
	X(GAUGE, verify_success_s, "verify_last_success_timestamp_seconds",                                  \
		"End of the last verify without differences")                                                \
	X(GAUGE, queue_bytes, "queue_bytes", "Bytes held between reader and applier")                        \
	X(GAUGE, queue_records, "queue_records", "Records held between reader and applier")                  \
	X(GAUGE, dead_letters_pending, "dead_letters_pending", "Dead letters neither retried nor discarded") \
	X(GAUGE, breaker_open, "breaker_open", "1 while the circuit breaker pauses the pipeline")

enum metric_stage { STAGE_SOURCE, STAGE_TRANSPORT, STAGE_SINK, STAGE_SNAPSHOT, STAGE_COUNT };

#define HISTOGRAM_BUCKETS 16
struct histogram {
	atomic_uint_fast64_t buckets[HISTOGRAM_BUCKETS + 1]; /* the last one is +Inf */
	atomic_uint_fast64_t count, sum;
};

struct metrics {
#define METRIC_FIELD(kind, field, name, help) atomic_uint_fast64_t field;
	METRICS(METRIC_FIELD)
#undef METRIC_FIELD
	atomic_uint_fast64_t retries[STAGE_COUNT][8], errors[STAGE_COUNT][8]; /* by enum error_class */
	struct histogram commit_to_apply_us, apply_batch_us, apply_batch_records, kafka_produce_us;
};

static inline void metric_add(atomic_uint_fast64_t *m, uint64_t n)
{
	atomic_fetch_add_explicit(m, n, memory_order_relaxed);
}

static inline void metric_set(atomic_uint_fast64_t *m, uint64_t n)
{
	atomic_store_explicit(m, n, memory_order_relaxed);
}

static inline uint64_t metric_get(const atomic_uint_fast64_t *m)
{
	return atomic_load_explicit(m, memory_order_relaxed);
}

/** histogram_add() - counts a value: microseconds (buckets 100 µs × 3^n, exported as seconds) or a plain number
 * (buckets 1 × 4^n). Thread: any. Blocks: never. */
void histogram_add_us(struct histogram *h, uint64_t us);
void histogram_add_n(struct histogram *h, uint64_t n);
