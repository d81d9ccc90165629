/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records from messages. Where rows come without transactions (layout tables, another program's topics) the rows of a
 * batch are framed by a BEGIN and an END of our own, so that whoever is behind sees transactions only: the END
 * has the position of the last row exactly, the offset of its message, no resume point, and the time of its producing as
 * the nearest that is known of its commit. Where rows tell that their transaction has to be applied whole (OPEN) the
 * frame is that transaction and ends with its own END; a batch waits for it, and one that is too large for two batches is split
 * all the same. Marks and heartbeats stand outside of frames, and so do a snapshot's rows, which
 * have marks of their own.
 */

#include <stdlib.h>

#include "fill.h"

/* see tables.c */
#define PARTITIONS "partitions="
#define OPEN	   "open"

static bool is_framed(enum record_op op)
{
	switch (op) {
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_TRUNCATE:
	case RECORD_MESSAGE:
		return true;
	case RECORD_BEGIN:
	case RECORD_READ:
	case RECORD_SCHEMA:
	case RECORD_END:
	case RECORD_ABORT:
	case RECORD_HEARTBEAT:
	case RECORD_FENCE:
	case RECORD_CHUNK:
		break;
	}
	return false;
}

static void frame_begin(struct feed *feed, struct position pos, int64_t offset, int64_t at_ms)
{
	struct record_begin *begin = arena_alloc(&feed->batch->arena, sizeof(*begin));
	struct record *rec = batch_add(feed->batch);

	*begin = (struct record_begin){ .commit_time = { at_ms * 1000 } };
	rec->op = RECORD_BEGIN;
	rec->pos = pos;
	rec->offset = offset;
	rec->begin = begin;
}

static void frame_end(struct feed *feed)
{
	struct record_end *end;
	struct record *rec;

	if (!feed->frame.n_records)
		return;
	end = arena_alloc(&feed->batch->arena, sizeof(*end));
	*end = (struct record_end){
		.commit_time = { feed->frame.at_ms * 1000 },
		.n_records = feed->frame.n_records,
	};
	rec = batch_add(feed->batch);
	rec->op = RECORD_END;
	rec->pos = feed->frame.pos;
	rec->offset = feed->frame.offset;
	rec->end = end;
	feed->frame.n_records = 0;
	feed->frame.open = feed->frame.carried = false;
}

/* the END that rows of an open frame have announced */
static void frame_whole(const struct fill *fill, struct feed *feed, const struct taken *taken)
{
	if (!feed->frame.n_records)
		return; /* split, or stored up to here */
	fill_open(fill, feed);
	feed->frame.pos = taken->stamp->pos;
	feed->frame.offset = taken->msg->offset;
	frame_end(feed);
}

void fill_row(struct feed *feed, struct position pos, int64_t offset, int64_t at_ms)
{
	if (!feed->frame.n_records)
		frame_begin(feed, pos, offset, at_ms);
	feed->frame.n_records++;
	feed->frame.pos = pos;
	feed->frame.offset = offset;
	feed->frame.at_ms = at_ms;
}

void fill_open(const struct fill *fill, struct feed *feed)
{
	if (feed->batch)
		return;
	feed->batch = batch_new(fill->pool);
	feed->batch->partition = &feed->partition;
	feed->batch->identity = feed->identity;
	feed->batch->filled = mono_now();
}

uint32_t fill_partitions(const struct stamp *stamp)
{
	if (strncmp(stamp->options, PARTITIONS, strlen(PARTITIONS)))
		return 0;
	return (uint32_t)strtoul(stamp->options + strlen(PARTITIONS), NULL, 10);
}

/* what travels in the stamp and not in the value */
static void stamped(struct record *rec, const struct stamp *stamp, struct arena *arena)
{
	struct resume resume = stamp->resume;

	if (resume.len)
		resume.data = arena_dup(arena, resume.data, resume.len);
	if (rec->op == RECORD_END && resume.len) {
		struct record_end *end = arena_dup(arena, rec->end, sizeof(*end));

		end->resume = resume;
		rec->end = end;
	} else if (rec->op == RECORD_HEARTBEAT && resume.len) {
		struct record_heartbeat *heartbeat = arena_dup(arena, rec->heartbeat, sizeof(*heartbeat));

		heartbeat->resume = resume;
		rec->heartbeat = heartbeat;
	} else if (rec->op == RECORD_BEGIN && stamp->options && *stamp->options) {
		struct record_begin *begin = arena_dup(arena, rec->begin, sizeof(*begin));

		begin->options = arena_dup(arena, stamp->options, strlen(stamp->options) + 1);
		rec->begin = begin;
	} else if (rec->op == RECORD_TRUNCATE) {
		struct record_truncate *truncate = arena_dup(arena, rec->truncate, sizeof(*truncate));

		truncate->partitions = fill_partitions(stamp);
		truncate->key_schemas = strstr(stamp->options, " schemas") != NULL;
		rec->truncate = truncate;
	}
}

int fill_take(const struct fill *fill, struct feed *feed, const struct taken *taken, struct error *err)
{
	const struct stamp *stamp = taken->stamp;
	struct batch *batch;
	struct record *rec;

	if (fill->frames && stamp->op == RECORD_END) {
		frame_whole(fill, feed, taken);
		return 0;
	}
	fill_open(fill, feed);
	batch = feed->batch;
	if (fill->frames && is_framed((enum record_op)stamp->op)) {
		fill_row(feed, stamp->pos, taken->msg->offset, taken->msg->at_ms);
		feed->frame.open = feed->frame.open || !strcmp(stamp->options, OPEN);
	} else {
		frame_end(feed);
	}
	rec = batch_add(batch);
	rec->op = stamp->op;
	rec->flags = stamp->flags;
	rec->pos = stamp->has_pos ? stamp->pos : POSITION_NONE;
	rec->offset = taken->msg->offset;
	if (taken->rel)
		rec->rel = batch_hold(batch, taken->rel);
	if (fill->codec->ops->decode(fill->codec, taken->msg, batch, rec, err) < 0)
		return feed_where(feed, err);
	stamped(rec, stamp, &batch->arena);
	return 0;
}

void fill_heartbeat(const struct fill *fill, struct feed *feed, const struct record_heartbeat *beat)
{
	struct record_heartbeat *copy;
	struct record *rec;

	fill_open(fill, feed);
	frame_end(feed);
	copy = arena_dup(&feed->batch->arena, beat, sizeof(*beat));
	if (beat->resume.len)
		copy->resume.data = arena_dup(&feed->batch->arena, beat->resume.data, beat->resume.len);
	rec = batch_add(feed->batch);
	rec->op = RECORD_HEARTBEAT;
	rec->heartbeat = copy;
	/* the partition stands where it stood: what is stored there has to be one of its own messages */
	rec->pos = feed->last;
	rec->offset = feed->taken.offset;
}

struct batch *fill_close(struct feed *feed, enum fill_end how)
{
	struct batch *batch = feed->batch;
	bool full = batch && batch_is_full(batch);

	if (!batch || !batch->n_records)
		return NULL;
	if (feed->frame.open && how == FILL_END_WHOLE && !full)
		return NULL;
	if (feed->frame.open && how != FILL_END_SPLIT && !(full && feed->frame.carried))
		feed->frame.carried = true;
	else
		frame_end(feed);
	/* progress names the last message that counted; a new reign's FENCE may have come since, but nothing that counts */
	batch->reign = feed->taken.reign;
	feed->batch = NULL; /* the caller's now */
	return batch;
}
