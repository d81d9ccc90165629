/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A sink writes records to the target, exactly once: progress is stored in the same transaction as the data, first.
 * All calls come from the applier's thread. Driver structs start with `struct sink base`. After an error
 * the object is freed and a new one made.
 */

#include <sluice/batch.h>
#include <sluice/context.h>
#include <sluice/snapshot.h>
#include <sluice/state.h>

struct sink;

/* what claim() found; owned by the sink, valid until the next claim() */
struct progress {
	bool exists;		  /* a stream has been stored before */
	uint64_t epoch;		  /* ours now */
	struct position position; /* last applied */
	struct resume resume;
	const char *identity; /* of the source; "" when not stored yet */
	struct wall commit_time;
};

/* a run of records of one batch, [from, to) */
struct span {
	struct batch *batch;
	uint32_t from, to;
};

/*
 * A group: records in source order, over one or more batches. It either begins with BEGIN, or continues the
 * transaction that the group before left open (ends == false there). HEARTBEAT records stand between
 * transactions. With ends == true the last record is END or HEARTBEAT and the sink commits.
 */
struct apply_group {
	const struct span *spans;
	uint32_t n_spans;
	bool ends;
	bool durable; /* commit with synchronous_commit=on: all commits before are durable with it */
};

struct apply_result {
	struct position position; /* of the last END in the group */
	struct resume resume;	  /* stored with it; points into the group's batch */
	struct wall commit_time;
	uint64_t transactions, records, bytes;
	uint64_t inserts, updates, deletes, truncates, missing_rows, conflicts, dead_letters;
};

struct sink_ops {
	/** connect() - connects, creates or checks the layout in the target. Return: 0, negative. */
	int (*connect)(struct sink *sink, struct error *err);
	/**
	 * claim() - raises the epoch, ending every other applier of this stream, and reads progress; waits for a commit in
	 * doubt. identity is stored when there is none yet; another one stored: RESYNC (80).
	 */
	int (*claim)(struct sink *sink, const char *identity, struct progress *ret, struct error *err);
	/** apply() - writes a group. When it returns 0 and group->ends, it is committed. An error leaves the target as
	 * before the first group of the transaction. Blocks: as long as the target takes. */
	int (*apply)(struct sink *sink, const struct apply_group *group, struct apply_result *ret,
		struct error *err);
	/** store_resume() - stores a resume point alone (idle heartbeat), durably, never a lower one. */
	int (*store_resume)(struct sink *sink, struct resume resume, struct error *err);
	/** flush() - makes every commit so far durable by a commit with synchronous_commit=on of a row of its own. */
	int (*flush)(struct sink *sink, struct error *err);
	/** idle() - called at least every 10 s while no group comes: keeps an open transaction alive. */
	int (*idle)(struct sink *sink, struct error *err);
	void (*free)(struct sink *sink);
};

struct sink {
	const struct sink_ops *ops;
	const struct context *ctx;
	struct state *state; /* the migration's store, usable after claim(); NULL: none (discard) */
	struct snapshot_sink *snapshot; /* NULL: the driver cannot be loaded */
	char identity[96];		/* of the target, set by connect() */
};

struct sink *sink_postgres_new(const struct context *ctx);
struct sink *sink_discard_new(const struct context *ctx);

static inline struct sink *sink_free(struct sink *sink)
{
	if (sink)
		sink->ops->free(sink);
	return NULL;
}
