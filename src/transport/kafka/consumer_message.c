/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * From a message to complete batches: whose it is, whether it counts (feed.c), what it holds (fill.c), and when a batch goes to
 * the applier.
 */

#include <inttypes.h>
#include <string.h>

#include <sluice/pack.h>

#include "consumer.h"

#define SCRATCH_BYTES ((size_t)256 * 1024)

/* complete batches */

static void ready_push(struct consumer *c, struct batch *batch)
{
	batch->next = NULL;
	*c->ready_end = batch;
	c->ready_end = &batch->next;
	c->base.waiting_bytes += batch->arena.bytes;
}

struct batch *ready_take(struct consumer *c)
{
	struct batch *batch = c->ready;

	if (!batch)
		return NULL;
	c->ready = batch->next;
	if (!c->ready)
		c->ready_end = &c->ready;
	c->base.waiting_bytes -= batch->arena.bytes;
	batch->next = NULL;
	batch->seq = ++c->seq;
	group_handed(c, batch);
	return batch;
}

void ready_forget(struct consumer *c, const struct feed *feed)
{
	struct batch **at = &c->ready;

	while (*at) {
		struct batch *batch = *at;

		if (batch->partition != &feed->partition) {
			at = &batch->next;
			continue;
		}
		*at = batch->next;
		c->base.waiting_bytes -= batch->arena.bytes;
		batch_free(batch);
	}
	c->ready_end = at;
}

static void ready_close_one(struct consumer *c, struct feed *feed, enum fill_end how)
{
	struct batch *batch = fill_close(feed, how);

	if (batch)
		ready_push(c, batch);
}

bool ready_close(struct consumer *c, enum fill_end how)
{
	for (struct feed *feed = c->feeds; feed && (c->open || how == FILL_END_SPLIT); feed = feed->next_feed)
		ready_close_one(c, feed, how);
	c->open = false;
	return c->ready;
}

void ready_beat(struct consumer *c, struct feed *feed)
{
	if (feed->beat.due < 0 || feed->next < feed->beat.due || feed->state != FEED_RUNNING ||
		feed->frame.open)
		return;
	feed->beat.due = -1;
	feed->beat.what.resume = resume_box_get(&feed->beat.resume);
	fill_heartbeat(&c->fill, feed, &feed->beat.what);
	c->open = true;
}

/* messages */

static struct feed *consumer_feed(struct consumer *c, const rd_kafka_message_t *in)
{
	if (!c->found.feed || c->found.topic != in->rkt || c->found.id != in->partition) {
		c->found.feed = group_feed(c, rd_kafka_topic_name(in->rkt), in->partition);
		c->found.topic = in->rkt;
		c->found.id = in->partition;
	}
	return c->found.feed;
}

/* no headers of ours: in the stream's own topic nobody else has business, elsewhere others may write what they like */
static int consumer_stranger(
	struct consumer *c, struct feed *feed, int64_t offset, bool tombstone, struct error *err)
{
	/* the message behind a delete, for compaction */
	if (c->fill.frames && tombstone && feed->stored < 0) {
		feed->next = offset + 1;
		return 0;
	}
	if (feed->stored >= 0 && offset >= feed->stored)
		return feed_resync(feed, err, "KAFKA-LOG-CHANGED",
			"the message at offset %" PRId64 " is not of sluice, but was applied from there",
			offset);
	feed->next = offset + 1;
	if (c->ctx->cfg->transport.kafka.layout == LAYOUT_STREAM) {
		error_set(err, ERROR_DATA, "KAFKA-STRANGER",
			"topic %s partition %d: the message at offset %" PRId64 " was not written by sluice",
			feed->partition.topic, (int)feed->partition.id, offset);
		return error_remedy(err, "find who writes to the topic; its records must be sluice's alone");
	}
	if (log_limit_allow(&c->strangers, 10000))
		status_alarm_raise(c->ctx->status, "KAFKA-STRANGER",
			"find who writes to the topic; such messages are left out",
			"topic %s partition %d: the message at offset %" PRId64 " was not written by sluice",
			feed->partition.topic, (int)feed->partition.id, offset);
	return 0;
}

static int consumer_take(struct consumer *c, struct feed *feed, const struct message *msg,
	const struct stamp *stamp, struct error *err)
{
	struct taken taken = { .msg = msg, .stamp = stamp };

	if (stamp->fingerprint && schemas_find(c->schemas, stamp->fingerprint, &taken.rel, err) < 0)
		return error_where(err, "topic %s partition %d offset %" PRId64, feed->partition.topic,
			(int)feed->partition.id, msg->offset);
	if (fill_take(&c->fill, feed, &taken, err) < 0)
		return -1;
	if (!stamp->more) /* a heartbeat is due behind a message, not inside of it */
		ready_beat(c, feed);
	if (!feed->batch) /* the end of a transaction whose rows are applied already */
		return 0;
	c->open = true;
	if (batch_is_full(feed->batch))
		ready_close(c, FILL_END_WHOLE);
	return 0;
}

/* in layout tables the content of a mark stands in a header, so that its value is null for whoever else reads */
static void consumer_body(struct message *msg)
{
	const struct message_header *body = msg->value ? NULL : message_header(msg, "sluice.body");

	if (body) {
		msg->value = body->value;
		msg->value_len = body->len;
	}
}

static int consumer_foreign(
	struct consumer *c, struct feed *feed, const struct message *msg, struct error *err)
{
	if (foreign_take(c->foreign, &c->fill, feed, msg, err) < 0)
		return -1;
	c->open = true;
	if (batch_is_full(feed->batch))
		ready_close(c, FILL_END_WHOLE);
	return 0;
}

static int consumer_record(struct consumer *c, struct feed *feed, struct message *msg,
	const struct stamp *stamp, struct error *err)
{
	enum feed_verdict verdict = FEED_IGNORE;

	if (feed_judge(feed, stamp, msg->offset, &verdict, err) < 0)
		return -1;
	switch (verdict) {
	case FEED_TAKE:
		consumer_body(msg);
		return consumer_take(c, feed, msg, stamp, err);
	case FEED_REIGN:
		ready_close_one(c, feed, FILL_END_CARRY);
		break;
	case FEED_DUPLICATE:
		metric_add(&c->ctx->metrics->duplicates_skipped, 1);
		break;
	case FEED_IGNORE:
		break;
	}
	return 0;
}

static int consumer_pack(struct consumer *c, struct feed *feed, const struct message *msg,
	const struct stamp *stamp, struct error *err)
{
	struct unpack unpack;
	struct message one;
	struct stamp its;
	int r = unpack_begin(&unpack, msg, stamp, err);

	while (r >= 0 && (r = unpack_next(&unpack, &one, &its, err)) > 0) {
		if (consumer_record(c, feed, &one, &its, err) < 0)
			return -1;
	}
	return r < 0 ? feed_where(feed, err) : 0;
}

int consumer_message(struct consumer *c, const rd_kafka_message_t *in, struct error *err)
{
	struct feed *feed = consumer_feed(c, in);
	struct message msg;
	struct stamp stamp;
	int r;

	if (!feed || feed->state != FEED_RUNNING || in->offset < feed->next)
		return 0;
	message_received(in, &msg);
	if (c->foreign)
		return consumer_foreign(c, feed, &msg, err);
	if (c->scratch.bytes > SCRATCH_BYTES)
		arena_reset(&c->scratch);
	r = stamp_read(&msg, &c->scratch, &stamp, err);
	if (r < 0)
		return feed_where(feed, err);
	if (r > 0)
		return consumer_stranger(c, feed, msg.offset, msg.key && !msg.value, err);
	if (stamp.op == STAMP_PACK)
		return consumer_pack(c, feed, &msg, &stamp, err);
	return consumer_record(c, feed, &msg, &stamp, err);
}
