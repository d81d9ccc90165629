/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One lane's bookkeeping; see lane.h. What has been applied is counted by the source's own order where a resume point
 * says so, else by the position of the last transaction: a partition's frame of rows has no resume point.
 */

#include <stdio.h>
#include <stdlib.h>

#include "lane.h"

struct lane *lane_new(const struct partition *partition, const struct progress *progress,
	const struct source_format *format)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		abort();
	lane->partition = partition;
	snprintf(lane->identity, sizeof(lane->identity), "%s", progress->identity ? progress->identity : "");
	lane->applied_at_start = progress->position;
	/* behind a log the transport delivers from the stored offset on */
	lane->skipping = !partition && progress->position.major != 0;
	lane->last_store = mono_now();
	lane->last_commit = progress->commit_time;
	lane->passed = progress->position.major;
	lane->offset = progress->exists ? progress->offset : -1;
	if (progress->resume.len) {
		resume_box_set(&lane->resume, progress->resume);
		lane_passed(lane, format->major(progress->resume));
	}
	lane->committed_major = lane->passed;
	return lane;
}

struct lane *lane_free(struct lane *lane)
{
	if (lane) {
		pending_clear(&lane->pending);
		resume_box_fini(&lane->resume);
		free(lane);
	}
	return NULL;
}

void lane_passed(struct lane *lane, uint64_t major)
{
	if (major > lane->passed)
		lane->passed = major;
}

/* what the heartbeats among a group said last */
static void note_heartbeats(struct lane *lane, const struct apply_group *group)
{
	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];

		for (uint32_t k = span->from; k < span->to; k++) {
			const struct record *rec = &span->batch->records[k];

			if (rec->op == RECORD_HEARTBEAT && rec->heartbeat->clear.us > lane->clear.us)
				lane->clear = rec->heartbeat->clear;
		}
	}
}

void lane_committed(struct lane *lane, const struct apply_group *group, const struct apply_result *res,
	const struct source_format *format)
{
	if (res->resume.len) {
		resume_box_set(&lane->resume, res->resume);
		lane_passed(lane, format->major(res->resume));
	}
	if (res->transactions) {
		lane->last_commit = res->commit_time;
		lane_passed(lane, res->position.major);
	}
	lane->committed_major = lane->passed;
	lane->last_store = mono_now();
	if (lane->partition) {
		const struct span *last = &group->spans[group->n_spans - 1];

		lane->offset = last->batch->records[last->to - 1].offset;
		note_heartbeats(lane, group);
	}
	pending_consume(&lane->pending, group);
}

void lane_heard(struct lane *lane, const struct apply_group *group, struct resume resume)
{
	if (resume.len)
		resume_box_set(&lane->resume, resume);
	lane->committed_major = lane->passed;
	note_heartbeats(lane, group);
	pending_consume(&lane->pending, group);
}

struct sink_point lane_point(const struct lane *lane, const struct apply_group *group)
{
	const struct span *last = &group->spans[group->n_spans - 1];
	const struct record *rec = &last->batch->records[last->to - 1];
	struct sink_point point = {
		.partition = lane->partition,
		.resume = rec->heartbeat->resume,
		.position = rec->pos,
		.offset = rec->offset,
		.reign = last->batch->reign,
	};

	/* the newest may bring news alone */
	for (uint32_t i = group->n_spans; !point.resume.len && i > 0; i--) {
		const struct span *span = &group->spans[i - 1];

		for (uint32_t k = span->to; !point.resume.len && k > span->from; k--)
			point.resume = span->batch->records[k - 1].heartbeat->resume;
	}
	return point;
}
