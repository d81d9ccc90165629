/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the applier holds of one partition: its batches, and how far they are applied. Without a log there is one lane
 * for all. Pure bookkeeping, but for freeing batches.
 */

#include <sluice/sink.h>
#include <sluice/source.h>

#include "pending.h"

struct lane {
	const struct partition *partition; /* NULL: there is no log */
	struct pending pending;
	char identity[96]; /* of the source, as progress has it; "" = not yet */
	struct position applied_at_start;
	bool skipping;	 /* still below progress */
	bool in_skipped; /* inside a transaction that is skipped */
	bool open;	 /* a target transaction is open: its END has not come yet */
	uint64_t passed; /* major of the newest point whose past is applied */
	uint64_t committed_major;
	struct resume_box resume; /* newest stored */
	struct wall last_commit;  /* of the last transaction applied, the source's clock */
	struct wall clear;	  /* what the last passed heartbeat said */
	struct mono last_store;	  /* progress moved */
	int64_t offset;		  /* of the newest message whose passing is stored; < 0 = none */
	struct lane *next;
};

/** lane_new() - a lane that goes on where progress says. */
struct lane *lane_new(const struct partition *partition, const struct progress *progress,
	const struct source_format *format);
/** lane_free() - NULL is allowed; returns NULL. */
struct lane *lane_free(struct lane *lane);
/** lane_passed() - everything up to major is applied; never goes back. */
void lane_passed(struct lane *lane, uint64_t major);
/** lane_committed() - notes what a commit of group brought, and frees what it covers. */
void lane_committed(struct lane *lane, const struct apply_group *group, const struct apply_result *res,
	const struct source_format *format);
/** lane_heard() - takes note of heartbeats that move nothing in the target, and frees them. */
void lane_heard(struct lane *lane, const struct apply_group *group, struct resume resume);
/** lane_point() - what store_resume() stores for a group of heartbeats alone. */
struct sink_point lane_point(const struct lane *lane, const struct apply_group *group);
