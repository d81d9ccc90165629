/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Layout tables: how far the log is whole. Rows go to many partitions, so none of them says up to where all are written; a
 * heartbeat in a topic of its own does, written when all before it is acked.
 */

#include <sluice/batch.h>

struct writer;
struct ticket;

/* up to where the log holds the source's changes, and the reader's news of then */
struct point {
	uint64_t seq;	     /* of the batch */
	struct position pos; /* END of the last transaction */
	struct resume_box resume;
	struct record_heartbeat news; /* head 0 = none */
	bool set;
};

struct checkpoint {
	struct point due;     /* acked, not written yet */
	struct ticket *under; /* of the heartbeat under way */
	uint64_t under_seq;
	uint64_t acked_seq; /* batches up to it are acked */
	struct mono last;
};

/** checkpoint_note() - what a batch brings, into a ticket's point; its storage is kept from batch to batch. */
void checkpoint_note(struct point *point, const struct batch *batch);
/** checkpoint_acked() - a batch and all before it are acked. */
void checkpoint_acked(struct checkpoint *cp, uint64_t seq, const struct point *point);
/** checkpoint_turn() - writes what is due, now and then. Return: 0, negative. */
int checkpoint_turn(struct writer *w, struct error *err);
void checkpoint_init(struct checkpoint *cp, const struct position *pos, struct resume resume);
void checkpoint_fini(struct checkpoint *cp);
