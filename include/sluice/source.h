/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A source reads one stream: it turns the server's events into records, in order, and is told what may be confirmed.
 * It never sleeps, retries or exits. All calls but watch_*() come from the reader's thread. Driver structs start
 * with `struct source base`.
 *
 * Order of calls: connect → (prepare | snapshot …) → start → read/confirm … → free. After an error the object is
 * freed and a new one made; that is also the rewind: a new object starts at the stored resume point.
 */

#include <assert.h>
#include <sluice/batch.h>
#include <sluice/context.h>
#include <sluice/lookup.h>
#include <sluice/snapshot.h>
#include <sluice/state.h>

struct source;

#define SOURCE_IDLE    1 /* read: nothing came in time, or the wake fd was written; head: not connected */
#define SOURCE_STANDBY 2 /* connect: another instance holds the lease */
#define SOURCE_FRESH   3 /* prepare: nothing exists yet, a snapshot has to be taken first */

/* what the stream was at, from the target's progress */
struct source_start {
	struct resume resume;	  /* none on a first start */
	struct position position; /* last applied; records at or below it are skipped by the applier */
	const char *identity;	  /* of the source that progress belongs to; "" on a first start */
};

/* what a running service watches, every second, on a connection of its own */
struct source_health {
	uint64_t head;		 /* the source's end now, comparable to position.major (LSN); 0 = unknown */
	struct wall server_time; /* the source's clock at that moment, 0 = unknown */
	int64_t retained_bytes, safe_bytes; /* < 0 unknown / unlimited */
	char wal_status[16];
	int64_t prepared_transactions;
	uint64_t new_tables; /* selected by the config, not published */
};

/* what a kind of source's positions mean and how they read; constant, needs no source */
struct source_format {
	/* for people ("0/5A3F120"); buf at least 40 bytes; both return buf */
	const char *(*resume)(struct resume resume, char *buf, size_t size);
	const char *(*position)(struct position pos, char *buf, size_t size);
	/* major of a resume point, for distances against source_health.head; 0 = none */
	uint64_t (*major)(struct resume resume);
	/* reads a position that a person wrote; false = not one; NULL = the driver has no such form */
	bool (*parse)(const char *s, uint64_t *ret_major);
};

struct source_ops {
	/**
	 * connect() - connects, takes the lease, checks identity and settings. Blocks: up to the connect time-out.
	 * Return: 0, SOURCE_STANDBY, negative (PERMISSION, CONFIG, TRANSIENT …).
	 */
	int (*connect)(struct source *src, struct error *err);
	/**
	 * prepare() - compares what exists (slot, publication, intent, stored progress) and decides. Changes the source
	 * only on a first start with snapshot.mode initial. Return: 0 = go on with start(), SOURCE_FRESH = take a
	 * snapshot through src->snapshot, negative (RESYNC 80, CONFIG …).
	 */
	int (*prepare)(
		struct source *src, struct state *state, const struct source_start *start, struct error *err);
	/** start() - begins to stream from the stored resume point (none: the slot's); wake_fd (an eventfd, borrowed)
	 * makes read() return early. */
	int (*start)(struct source *src, const struct source_start *start, int wake_fd, struct error *err);
	/**
	 * read() - decodes what has arrived into batch until it is full or the server has no more right now. With
	 * batch NULL (no memory) nothing is read, but timers are served and status updates sent. A record is never
	 * split. Blocks: up to timeout_ms while nothing is there. Return: 0, SOURCE_IDLE, negative.
	 */
	int (*read)(struct source *src, struct batch *batch, int timeout_ms, struct error *err);
	/** confirm() - everything before resume is durable downstream; told to the server at once or with the next
	 * timer; a lower one than before is ignored. Blocks: never. */
	int (*confirm)(struct source *src, struct resume resume, struct error *err);
	/** watch() - fills health on a connection of its own (opened when needed), raises and clears alarms in ctx.
	 * Thread: the monitor's. Blocks: up to 5 s. Return: 0, negative (TRANSIENT mostly). */
	int (*watch)(struct source *src, struct source_health *ret, struct error *err);
	/** head() - the source's end and its clock, as watch() tells them, and nothing else. NULL: nobody needs them more often than
	 * watch() is called. Thread: the monitor's. Blocks: up to 5 s. Return: 0; SOURCE_IDLE: connecting is watch()'s business;
	 * negative (TRANSIENT). */
	int (*head)(struct source *src, uint64_t *ret_head, struct wall *ret_time, struct error *err);
	/** barrier() - writes a marker at the source, committed durably there; *ret_major: the stream has passed it once
	 * a transaction with position.major >= it is applied. Works without connect(), too, and sets identity then. Thread: the
	 * monitor's. Blocks: up to 5 s. */
	int (*barrier)(struct source *src, uint64_t *ret_major, struct error *err);
	/** free() - closes everything; accepts half-built objects. */
	void (*free)(struct source *src);
};

struct source {
	const struct source_ops *ops;
	const struct context *ctx;
	struct snapshot_source *snapshot; /* NULL: the driver has none (generator) */
	struct lookup *lookup;		  /* NULL: there is nothing to ask */
	char identity[96];		  /* set by connect(): "system/database" */
	/* highest start point of the snapshot's tables, set by start(); until the stream has passed it the target is not yet a
	 * consistent prefix; 0 = none */
	uint64_t start_point_max;
	const struct source_format *format; /* of this driver */
};

struct source *source_postgres_new(const struct context *ctx);
struct source *source_generator_new(const struct context *ctx);
extern const struct source_format source_postgres_format, source_generator_format;

static inline struct source *source_free(struct source *src)
{
	if (src)
		src->ops->free(src);
	return NULL;
}
