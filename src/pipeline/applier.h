/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The applier's own: what it holds, and what it tells others of that (applier_tell.c).
 */

#include "builder.h"
#include "lane.h"

struct applier {
	struct attempt *at;
	struct lane *lanes;    /* in no order */
	struct lane *open;     /* the lane whose target transaction is open */
	size_t group_bytes;    /* receive no more than this before applying */
	size_t pending_bytes;  /* of all lanes, before they were applied last */
	bool ended;	       /* the transport has no more */
	uint64_t received_seq; /* newest batch received */
	uint64_t acked_seq;
	bool unflushed;		     /* commits that no flush covers yet */
	struct mono unflushed_since; /* of the oldest of them */
	bool flushing;		     /* a flush is under way; it covers: */
	uint64_t flushing_seq, flushing_major;
	struct mono last_idle, last_status, last_passed;
	/* a copy that comes through the log */
	bool prepared; /* the target's tables are there */
	bool looked;   /* whether one has come to its end before was looked at */
	struct builder builder;
};

/** applier_passed() - how far the lane is applied, or committed, that is furthest behind. Thread: the applier's, as all here. */
uint64_t applier_passed(const struct applier *ap, bool committed);
/** applier_shares() - true when others have partitions of the same stream: then none knows alone how far the target is. */
bool applier_shares(const struct applier *ap);
/** applier_count() - metrics of a group that was applied. began: when its applying did. */
void applier_count(struct applier *ap, const struct apply_result *res, struct mono began);
/** applier_publish() - how far we are, to the monitor; now and then, or now, to status. Blocks: for its lock. */
void applier_publish(struct applier *ap, bool now);
void applier_show_source(struct status *st, const struct lane *lane);
/** applier_share() - tells the other appliers how far our partitions are, by the target, and takes the least of all for how far the
 * target is; now and then, and never inside of a transaction. Blocks: for a statement. Return: 0, negative. */
int applier_share(struct applier *ap, struct error *err);
