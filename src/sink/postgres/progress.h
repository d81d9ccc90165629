/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the stream stands, a row of sluice.progress per partition; without a log one row, of topic '' and partition 0. Any
 * number of rows may be held at once (claim.c); one of them at a time has a transaction open (progress.c).
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/error.h>
#include <sluice/sink.h>

struct sink_postgres;

#define CHUNK_NAME_MAX 136

/* a chunk of the copy that a partition is in the middle of */
struct chunk_at {
	bool open;
	bool stored; /* in the target, because a commit fell between its marks */
	uint32_t no, attempt;
	uint64_t rows;		    /* since its BEGIN, or the last commit */
	char table[CHUNK_NAME_MAX]; /* schema.name */
};

/* what the next compare-and-swap expects */
struct progress_version {
	char ctid[32]; /* address of the row's newest version; "" = go by key */
	bool has_position;
	uint8_t position[POSITION_BYTES];
	int64_t offset; /* < 0 = none */
};

/* a progress row as this sink last left it */
struct progress_row {
	struct progress_row *next;
	const struct partition *partition; /* NULL = no log */
	const char *topic;
	int32_t id;
	uint64_t epoch; /* ours; constant from claim to release */
	struct progress_version committed;
	struct progress_version current; /* as the open transaction sees it */
	struct resume_box resume;	 /* as claim() found it; handed out in struct progress */
	char identity[96];
	struct progress_version swap;	/* what the statement under way makes of it */
	uint32_t by_ctid, by_key_every; /* see progress_by_key() */
	unsigned long block;		/* of the row, when it was last looked up by key */
	struct chunk_at chunk;
};

/* where a row moves to; what is not known stays as it is stored */
struct progress_next {
	struct position position; /* major 0: stays */
	struct resume resume;
	struct wall commit_time;
	int64_t offset; /* < 0: stays */
	struct reign reign;
};

#define PROGRESS_NEXT_INIT                                                                                   \
	{                                                                                                    \
		.offset = -1                                                                                 \
	}

/** progress_claim() - see sink_ops.claim. */
int progress_claim(struct sink_postgres *sink, const struct partition *partition, const char *identity,
	struct progress *ret, struct error *err);
/** progress_find() - the row that is held for the partition; NULL = it was not claimed. */
struct progress_row *progress_find(const struct sink_postgres *sink, const struct partition *partition);
/** progress_release() - lets the row go; the caller has rolled back what was open. */
void progress_release(struct sink_postgres *sink, struct progress_row *row);
/** progress_params() - the row's key as text parameters: stream, topic, partition (in number). */
void progress_params(const struct sink_postgres *sink, const struct progress_row *row, char number[16],
	const char *values[3]);

/** progress_prepare() - prepares its statements; once per session, and again after DEALLOCATE ALL. */
int progress_prepare(struct sink_postgres *sink, struct error *err);
/**
 * progress_put() - queues the compare-and-swap that every stream transaction begins with (and a long one
 * ends with): the row moves to `next` iff epoch, position and offset are as we left them, else the statement fails
 * (tag TAG_PROGRESS, division by zero) and with it the transaction. progress_settle() says how the
 * transaction ended.
 */
int progress_put(struct sink_postgres *sink, struct progress_row *row, const struct progress_next *next,
	struct error *err);
void progress_settle(struct progress_row *row, bool committed);
/** progress_fenced() - the error of a failed compare-and-swap. Returns -1. */
int progress_fenced(struct error *err);
/** progress_nothing() - the error of one who holds no row at all at the moment. Returns -1. */
int progress_nothing(struct error *err);
/** progress_store() - moves the resume point, and with a log position and offset, without any rows: in a transaction of
 * its own, durably. Never back. */
int progress_store(struct sink_postgres *sink, struct progress_row *row, const struct sink_point *point,
	struct error *err);
