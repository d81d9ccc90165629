/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The initial copy on its way into the log: struct snapshot_sink over what it needs of the writer.
 */

#include <sluice/context.h>
#include <sluice/snapshot.h>
#include <sluice/state.h>

struct snapshot_out;

/* The writer's part. Calls come from several threads, but never two at a time. */
struct snapshot_out_ops {
	/** put() - produces the batch's records behind all that was put before; CHUNK marks with a relation go to every
	 * partition of its rows. The batch stays the caller's. Blocks: while the producer's queue is full; *cancel ends it
	 * (TRANSIENT "STOPPED"; cancel may be NULL). Return: 0, negative. */
	int (*put)(struct snapshot_out *out, const struct batch *batch, const atomic_bool *cancel,
		struct error *err);
	/** settle() - waits until all that was put is acked. Return: 0, negative. */
	int (*settle)(struct snapshot_out *out, const atomic_bool *cancel, struct error *err);
	/** partitions() - of the relation's rows; at least 1. Blocks: while their topic is made. Return: the number, negative. */
	int (*partitions)(struct snapshot_out *out, struct relation *rel, struct error *err);
};

struct snapshot_out {
	const struct snapshot_out_ops *ops;
};

/** snapshot_kafka_new() - out and state are borrowed. Thread: any. */
struct snapshot_sink *snapshot_kafka_new(
	const struct context *ctx, struct snapshot_out *out, struct state *state);
/** snapshot_kafka_free() - NULL is allowed; returns NULL. */
struct snapshot_sink *snapshot_kafka_free(struct snapshot_sink *snap);
