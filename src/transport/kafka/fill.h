/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * From messages that count to batches. Pure but for memory.
 */

#include "feed.h"

/* how a batch ends */
enum fill_end {
	FILL_END_WHOLE, /* not inside of a transaction that has to be applied whole, unless the batch is full */
	FILL_END_CARRY, /* now; such a transaction goes on in the next batch */
	FILL_END_SPLIT, /* now; such a transaction, too */
};

/* a message that counts */
struct taken {
	const struct message *msg;
	const struct stamp *stamp;
	struct relation *rel; /* borrowed; NULL where the stamp names none */
};

struct fill {
	struct codec *codec;
	struct block_pool *pool;
	bool frames; /* rows come without transactions: each batch's rows get a BEGIN and an END, or those of a
		      * transaction where that has to be applied whole */
};

/** fill_take() - appends a record to the feed's batch, which is made when there is none. Return: 0; negative: DATA. */
int fill_take(const struct fill *fill, struct feed *feed, const struct taken *taken, struct error *err);

/** fill_partitions() - the number that a stamp's options name; 0 = none. Pure. */
uint32_t fill_partitions(const struct stamp *stamp);

/** fill_heartbeat() - appends a heartbeat of our own: all that the source had committed by then is before it. */
void fill_heartbeat(const struct fill *fill, struct feed *feed, const struct record_heartbeat *beat);

/** fill_close() - the feed's batch, complete and the caller's; NULL = there is nothing in it, or it has to wait. */
struct batch *fill_close(struct feed *feed, enum fill_end how);

/** fill_open() - makes the feed's batch when there is none. */
void fill_open(const struct fill *fill, struct feed *feed);
/** fill_row() - a row comes next: opens a frame when none is open, and notes where it ends. */
void fill_row(struct feed *feed, struct position pos, int64_t offset, int64_t at_ms);
