/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The heartbeats of layout tables; see checkpoint.h.
 *
 * Invariants:
 *   1. A heartbeat with resume point R is produced once every record before R is acked, in whichever partition. So whoever
 *      starts may leave out every transaction below R, and an applier that has read a heartbeat and then comes to the
 *      end of its partitions has all before R.
 *   2. A batch counts as durable when the heartbeat behind it is acked, so what is confirmed to the source is stored in
 *      the log: confirmed ≤ stored.
 *   3. One heartbeat is under way at a time, at most every CHECKPOINT_MS.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "writer.h"

#define CHECKPOINT_MS 100

void checkpoint_init(struct checkpoint *cp, const struct position *pos, struct resume resume)
{
	cp->under = calloc(1, sizeof(*cp->under));
	if (!cp->under)
		abort();
	cp->due.pos = *pos;
	resume_box_set(&cp->due.resume, resume);
}

void checkpoint_fini(struct checkpoint *cp)
{
	free(cp->under);
	resume_box_fini(&cp->due.resume);
	*cp = (struct checkpoint){ 0 };
}

void checkpoint_note(struct point *point, const struct batch *batch)
{
	point->set = false;
	point->resume.len = 0;
	point->news.head = 0;
	point->pos = POSITION_NONE;
	for (uint32_t i = 0; i < batch->n_records; i++) {
		const struct record *rec = &batch->records[i];

		if (rec->op == RECORD_END) {
			resume_box_set(&point->resume, rec->end->resume);
			point->pos = rec->pos;
			point->set = true;
		}
		if (rec->op != RECORD_HEARTBEAT)
			continue;
		if (rec->heartbeat->resume.len)
			resume_box_set(&point->resume, rec->heartbeat->resume);
		if (rec->heartbeat->head)
			point->news = *rec->heartbeat;
		point->set = true;
	}
	point->news.resume = (struct resume){ 0 };
}

void checkpoint_acked(struct checkpoint *cp, uint64_t seq, const struct point *point)
{
	cp->acked_seq = seq;
	if (!point->set)
		return;
	cp->due.set = true;
	cp->due.seq = seq;
	if (point->pos.major)
		cp->due.pos = point->pos;
	if (point->resume.len)
		resume_box_set(&cp->due.resume, resume_box_get(&point->resume));
	if (point->news.head)
		cp->due.news = point->news;
}

static int checkpoint_put(struct writer *w, struct error *err)
{
	struct checkpoint *cp = &w->checkpoint;
	struct record_heartbeat beat = cp->due.news;
	const struct record rec = { .op = RECORD_HEARTBEAT, .heartbeat = &beat, .pos = cp->due.pos };
	char options[48];
	const struct publish_at at = {
		.pos = cp->due.pos, .prev = w->prev, .mark = true, .options = options
	};
	struct codec_output out;
	struct message msg;
	int r;

	beat.resume = resume_box_get(&cp->due.resume);
	snprintf(options, sizeof(options), "partitions=%u", w->routes.partitions);
	if (SLUICE_FAULT_POINT("transport.kafka.checkpoint"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.checkpoint");
	if (publish_encode(w, &rec, &out, err) < 0)
		return -1;
	publish_message(w, &rec, &out, &at, &msg);
	*cp->under = (struct ticket){ 0 };
	r = writer_produce(w, (struct place){ w->root, 0 }, &msg, cp->under, err);
	if (r != 0)
		return r < 0 ? r : 0; /* no room: in the next turn */
	w->prev = cp->due.pos;
	cp->under_seq = cp->due.seq;
	cp->due.set = false;
	cp->due.news.head = 0;
	cp->last = mono_now();
	return 0;
}

int checkpoint_turn(struct writer *w, struct error *err)
{
	struct checkpoint *cp = &w->checkpoint;

	if (cp->under->pending)
		return 0;
	if (cp->under_seq > w->durable)
		w->durable = cp->under_seq;
	if (!cp->due.set) {
		/* what is acked behind the last point has none of its own to be confirmed */
		w->durable = cp->acked_seq;
		return 0;
	}
	if (mono_diff_us(mono_now(), cp->last) < CHECKPOINT_MS * 1000)
		return 0;
	return checkpoint_put(w, err);
}
