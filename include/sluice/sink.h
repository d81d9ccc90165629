/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A sink writes records to the target, exactly once: progress is stored in the same transaction as the data, first.
 * All calls come from the applier's thread. Driver structs start with `struct sink base`. After an error
 * the object is freed and a new one made.
 */

#include <sluice/batch.h>
#include <sluice/catalog.h>
#include <sluice/context.h>
#include <sluice/meanwhile.h>
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
	int64_t offset;	    /* of the last message applied; < 0 = none, or there is no log */
	struct reign reign; /* that it was written under */
};

/* where a partition stands; what store_resume() stores beside the resume point */
struct sink_point {
	const struct partition *partition; /* NULL = no log */
	struct resume resume;
	struct position position; /* of the record at offset; major 0, or no log: stays */
	int64_t offset;
	struct reign reign;
};

/* how far one partition of several is applied: all that the source had committed before major, and up to clear */
struct sink_passed {
	const struct partition *partition; /* NULL in what passed() returns: of all that are known */
	uint64_t major;
	struct wall clear;
	uint32_t partitions; /* what passed() returns: how many are known */
};

/* a run of records of one batch, [from, to) */
struct span {
	struct batch *batch;
	uint32_t from, to;
};

/*
 * A group: records in source order, over one or more batches of one partition. It either begins with BEGIN, or continues the
 * transaction that the group before left open (ends == false there). HEARTBEAT records stand between
 * transactions, and so do a snapshot's CHUNK marks with the READ records between a BEGIN and an END mark. With ends ==
 * true the last record is END, ABORT (the open transaction is rolled back but for its progress), HEARTBEAT, READ or a
 * CHUNK mark other than BEGIN, and the sink commits. Progress moves to the last record's offset, where there is a log.
 */
struct apply_group {
	const struct span *spans;
	uint32_t n_spans;
	bool ends;
};

struct apply_result {
	struct position position; /* of the last END in the group */
	struct resume resume;	  /* stored with it; points into the group's batch */
	struct wall commit_time;
	uint64_t transactions, records, bytes;
	uint64_t reads; /* rows of a copy; the sink counts them in status and metrics */
	uint64_t inserts, updates, deletes, truncates, missing_rows, conflicts, dead_letters;
};

#define SINK_FLUSHING 1

struct dead_letter;

/* who tells others of the dead letters */
struct announcement {
	size_t max_record; /* longest record that publish() takes, in bytes; those of longer ones are left out (NULL) */
	/* done[i]: letter i is durable where it was published, and not before */
	void (*publish)(void *arg, const struct dead_letter *letters, uint32_t n, bool *done);
	void *arg;
};
#define SINK_MORE 1

struct sink_ops {
	/** connect() - connects, creates or checks the layout in the target. Return: 0, negative. */
	int (*connect)(struct sink *sink, struct error *err);
	/**
	 * claim() - raises the epoch of (stream, partition), ending every other applier of it, and reads progress; waits for
	 * a commit in doubt. partition NULL: there is no log. identity ("" = not known yet) is stored when there is none;
	 * another one stored: RESYNC (80). A partition that is held can be claimed again once the identity is known.
	 */
	int (*claim)(struct sink *sink, const struct partition *partition, const char *identity,
		struct progress *ret, struct error *err);
	/** release() - forgets a partition; what is open of it is rolled back. Return: 0, negative. */
	int (*release)(struct sink *sink, const struct partition *partition, struct error *err);
	/** apply() - writes a group. When it returns 0 and group->ends, it is committed. An error leaves the target as
	 * before the first group of the transaction. While a transaction is open (the last group did not end) only its
	 * partition's groups may follow, and no partition can be claimed. Blocks: as long as the target takes. */
	int (*apply)(struct sink *sink, const struct apply_group *group, struct apply_result *ret,
		struct error *err);
	/** store_resume() - stores a resume point alone (idle heartbeat), durably, never a lower one. */
	int (*store_resume)(struct sink *sink, const struct sink_point *point, struct error *err);
	/** passed() - tells the appliers of all partitions how far ours are, and returns the least of all. Outside of
	 * transactions; never goes back. NULL: the driver cannot. Return: 0, negative. */
	int (*passed)(struct sink *sink, const struct sink_passed *own, uint32_t n, struct sink_passed *ret,
		struct error *err);
	/**
	 * flush() - makes every commit that returned before it was called durable, by a commit with synchronous_commit=on of a
	 * row of its own in a session of its own, so that applying goes on meanwhile.
	 * @wait: true: until it is done. False: begins one when none is under way, else looks whether it is done.
	 * Return: 0 = the flush is done, a new one begins with the next call; SINK_FLUSHING = under way; negative.
	 */
	int (*flush)(struct sink *sink, bool wait, struct error *err);
	/** idle() - called at least every 10 s while no group comes: keeps an open transaction alive. */
	int (*idle)(struct sink *sink, struct error *err);
	/**
	 * announce() - gives publish() the dead letters that are new or have changed since they were announced, oldest
	 * first, a few at a time, and marks those that are done; one process of a stream at a time, the others find nothing to
	 * do. A session of its own, so it may be called beside applying. NULL: the target keeps none.
	 * Thread: any, one at a time. Blocks: as publish() does. Return: 0, SINK_MORE = there may be more, negative.
	 */
	int (*announce)(struct sink *sink, const struct announcement *to, struct error *err);
	void (*free)(struct sink *sink);
};

struct sink {
	const struct sink_ops *ops;
	const struct context *ctx;
	struct state *state; /* the migration's store, usable after claim(); NULL: none (discard) */
	struct snapshot_sink *snapshot; /* NULL: the driver cannot be loaded */
	struct catalog *catalog;	/* of its tables, from connect() on; NULL: it has none (discard) */
	char identity[96];		/* of the target, set by connect() */
	struct meanwhile meanwhile;	/* called while apply() waits for the target */
};

struct sink *sink_postgres_new(const struct context *ctx);
struct sink *sink_discard_new(const struct context *ctx);

static inline struct sink *sink_free(struct sink *sink)
{
	if (sink)
		sink->ops->free(sink);
	return NULL;
}
