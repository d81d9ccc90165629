/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The applier's half of the transport on Kafka: a consumer whose group says which partitions are ours, while the
 * target says where to begin in each. Messages are judged (feed.c), decoded into batches of one partition and one reign
 * (fill.c) and handed out in the order of their completion.
 *
 * Invariants:
 *   1. Only rd_kafka_consumer_poll() takes messages, and only the applier's thread calls it; rebalances and errors
 *      are heard inside it. Heartbeats to the group are the client's own business, so a long commit at the target costs no
 *      partition.
 *   2. A batch is handed out when it is full, when its reign ends, or when nothing else is there at once: an idle
 *      stream has no delay, a busy one has large batches. One full batch takes all others with it, so a quiet partition does
 *      not wait for a busy one.
 *   3. Where there is no memory no message is polled: they wait in the client's own bounded queue, and behind it in the log. When
 *      that lasts (REST_MS), or nobody takes batches, the partitions are paused and the client is polled for events alone, so
 *      that the group goes on counting us in, however long it takes.
 *   4. The client mends its connections by itself; when no broker answers for DOWN_MS the attempt ends, so that the next
 *      one begins from the configured servers again, which may be others by then.
 *   5. While the applier waits for the target, prepare() polls and decodes for the next recv(), in the same thread: up to
 *      PREPARE_BYTES, nothing is handed out, and what goes wrong is told once the batches that were complete before are taken.
 */

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "consumer.h"

#define DOWN_MS	       10000
#define BATCH_ROOM     ((size_t)256 * 1024) /* of the pool, to go on polling */
#define HASTEN_EVERY   64		    /* messages */
#define HASTEN_MS      5
#define HASTEN_WAIT_MS 200 /* for an answer that nobody needs */
#define BEATS_MS       200
#define BUSY_MESSAGES  10 /* between two heartbeats */
#define NOTHING	       1
#define REST_MS	       3000
#define PREPARE_BYTES  ((size_t)8 * 1024 * 1024) /* ahead of the applier */
#define PREPARE_US     200

static struct consumer *of(struct transport_reader *t)
{
	return (struct consumer *)(void *)t;
}

/* heartbeats of layout tables */

/* a look at the topic of heartbeats, now and then. Return: 0, negative */
static int consumer_beats(struct consumer *c, struct error *err)
{
	struct mono now;
	bool busy;
	int r = 0;

	if (!c->fill.frames)
		return 0;
	now = mono_now();
	if (mono_diff_us(now, c->last_beats) < BEATS_MS * 1000)
		return 0;
	c->last_beats = now;
	if (!c->beats.rk)
		r = beats_open(&c->beats, c->ctx, err);
	if (r == 0)
		r = beats_poll(&c->beats, err);
	if (r != 0)
		return r < 0 ? r : 0; /* the reader has not made it yet */
	/* whoever asks is answered behind its own fetch: that of the rows' client waits for half a second where none come */
	busy = c->polled - c->polled_heard >= BUSY_MESSAGES;
	c->polled_heard = c->polled;
	group_heard(c, busy ? c->rk : c->beats.rk);
	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed)
		ready_beat(c, feed);
	return 0;
}

/* what comes in a message's place */
static int consumer_event(struct consumer *c, const rd_kafka_message_t *in, struct error *err)
{
	const char *topic = in->rkt ? rd_kafka_topic_name(in->rkt) : "";
	struct feed *feed = in->rkt ? group_feed(c, topic, in->partition) : NULL;
	bool runs = feed && feed->state == FEED_RUNNING;

	if (in->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		if (runs && in->offset > feed->high)
			feed->high = in->offset;
		return 0;
	}
	if (in->err == RD_KAFKA_RESP_ERR__FATAL) {
		group_failed(c, in->err);
		*err = c->failure;
		return -1;
	}
	if (in->err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
		return 0; /* the rebalance that follows says all */
	if (runs && (in->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
			    in->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE))
		return feed_resync(feed, err, "KAFKA-LOG-GONE",
			"offset %" PRId64
			", which comes next, is not in it: retention, an operator or a new topic",
			feed->next);
	if (in->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
		in->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		in->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) {
		if (runs)
			return feed_resync(feed, err, "KAFKA-LOG-GONE", "the topic was deleted");
		return 0; /* it is not there yet */
	}
	if (in->err == RD_KAFKA_RESP_ERR__BAD_MSG)
		return error_set(err, ERROR_DATA, "KAFKA-CORRUPT",
			"topic %s partition %d: a message behind offset %" PRId64 " arrives damaged", topic,
			(int)in->partition, feed ? feed->next : -1);
	return kafka_error(err, in->err, "consuming %s", *topic ? topic : "from the group");
}

/*
 * The client's fetcher sleeps for a second once its queue is full, however fast the queue is emptied meanwhile; any request
 * to the partition's broker wakes it. One is sent when a quarter is left of what was there, and more is known to be in
 * the log.
 */
static void consumer_hasten(struct consumer *c)
{
	const struct feed *feed = c->found.feed;
	size_t waiting = rd_kafka_queue_length(c->queue);
	struct mono now = mono_now();
	int64_t low = 0, high = 0;

	if (waiting > c->most_waiting)
		c->most_waiting = waiting;
	if (waiting * 4 > c->most_waiting || !feed || mono_diff_us(now, c->last_hasten) < HASTEN_MS * 1000)
		return;
	if (rd_kafka_get_watermark_offsets(c->rk, feed->partition.topic, feed->partition.id, &low, &high) ||
		high <= feed->next + (int64_t)waiting)
		return;
	c->last_hasten = now;
	c->most_waiting = waiting;
	kafka_offset(
		c->rk, feed->partition.topic, feed->partition.id, RD_KAFKA_OFFSET_END, HASTEN_WAIT_MS, &high);
}

/* one message or event. Return: 0, NOTHING = none within the time, negative */
static int consumer_poll(struct consumer *c, int timeout_ms, struct error *err)
{
	rd_kafka_message_t *in = rd_kafka_consumer_poll(c->rk, timeout_ms);
	int r;

	if (c->failure.class) {
		*err = c->failure;
		r = -1;
	} else if (!in) {
		r = NOTHING;
	} else if (in->err) {
		r = consumer_event(c, in, err);
	} else {
		c->down_since.us = 0;
		r = consumer_message(c, in, err);
		if (++c->polled % HASTEN_EVERY == 0)
			consumer_hasten(c);
	}
	if (in)
		rd_kafka_message_destroy(in);
	return r;
}

/* nothing comes: is there nothing, or nobody? */
static int consumer_quiet(struct consumer *c, struct error *err)
{
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;

	group_chores(c);
	consumer_hasten(c);
	group_seek_topics(c);
	if (!c->down_since.us || mono_diff_us(mono_now(), c->down_since) < DOWN_MS * 1000)
		return 0;
	code = rd_kafka_metadata(c->rk, 0, NULL, &meta, 1000);
	if (code)
		return kafka_error(err, code, "no broker answers");
	rd_kafka_metadata_destroy(meta);
	c->down_since.us = 0;
	return 0;
}

static int consumer_open(struct transport_reader *t, struct error *err)
{
	struct consumer *c = of(t);

	if (SLUICE_FAULT_POINT("transport.kafka.open"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.open");
	if (group_connect(c, err) < 0)
		return -1;
	if (c->ctx->cfg->transport.kafka.events == EVENTS_DEBEZIUM) {
		if (!t->catalog)
			return error_set(err, ERROR_CONFIG, "DEBEZIUM-TARGET",
				"events of Debezium need a target that has tables: they say too little of themselves");
		c->foreign = foreign_new(c->ctx, t->catalog, c->rk);
	} else if (schemas_load(c->schemas, err) < 0) {
		return -1;
	}
	atomic_store(&c->queue, rd_kafka_queue_get_consumer(c->rk));
	return group_subscribe(c, err);
}

/* nothing can be taken: for a moment nobody is asked, for longer only events come. Return: TRANSPORT_IDLE, negative */
static int consumer_rest(struct consumer *c, int timeout_ms, struct error *err)
{
	int r;

	group_chores(c);
	if (!c->rest_since.us)
		c->rest_since = mono_now();
	if (mono_diff_us(mono_now(), c->rest_since) < REST_MS * 1000) {
		poll(NULL, 0, timeout_ms < 10 ? timeout_ms : 10);
		return TRANSPORT_IDLE;
	}
	if (group_pause(c, true, err) < 0)
		return -1;
	r = consumer_poll(c, timeout_ms, err);
	return r < 0 ? r : TRANSPORT_IDLE;
}

/* memory is short: what is complete goes first, then the caller has to give some back */
static int consumer_short(struct consumer *c, int timeout_ms, struct batch **ret, struct error *err)
{
	ready_close(c, FILL_END_SPLIT);
	*ret = ready_take(c);
	return *ret ? 0 : consumer_rest(c, timeout_ms, err);
}

static int consumer_recv(struct transport_reader *t, int timeout_ms, struct batch **ret,
	const struct partition **ret_partition, struct error *err)
{
	struct consumer *c = of(t);
	struct mono until = mono_add_ms(mono_now(), timeout_ms);

	*ret = NULL;
	*ret_partition = NULL;
	for (;;) {
		int r = group_news(c, ret_partition, err);

		if (r != 0)
			return r;
		if (t->hold)
			return consumer_rest(c, timeout_ms, err);
		*ret = ready_take(c);
		if (*ret)
			return 0;
		if (c->late.class) {
			*err = c->late;
			return -1;
		}
		if (consumer_beats(c, err) < 0)
			return -1;
		if (c->fill.pool && !block_pool_available(c->fill.pool, BATCH_ROOM))
			return consumer_short(c, timeout_ms, ret, err);
		c->rest_since.us = 0;
		if (c->paused && group_pause(c, false, err) < 0)
			return -1;
		r = consumer_poll(c, c->open ? 0 : mono_until_ms(until, mono_now()), err);
		if (r < 0)
			return r;
		if (r == 0 || ready_close(c, FILL_END_WHOLE))
			continue;
		if (consumer_quiet(c, err) < 0)
			return -1;
		if (c->leaving || c->assigning)
			continue;
		if (atomic_exchange(&c->woken, false) || mono_diff_us(until, mono_now()) <= 0)
			return TRANSPORT_IDLE;
	}
}

/* Rebalances may come here, too: what they take from the feeds is not what the applier works on, and it is told by recv(). */
static bool consumer_prepare(struct transport_reader *t)
{
	struct consumer *c = of(t);
	struct mono began = mono_now();
	int r;

	/* another program's rows need the target's catalog, which is asked over the session that is busy */
	while (!c->foreign && !c->late.class && !c->leaving && !c->assigning && !t->hold &&
		t->waiting_bytes < PREPARE_BYTES &&
		(!c->fill.pool || block_pool_available(c->fill.pool, PREPARE_BYTES))) {
		r = consumer_poll(c, 0, &c->late);
		if (r != NOTHING && SLUICE_FAULT_POINT("transport.kafka.prepare"))
			error_set(&c->late, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.prepare");
		if (r != 0)
			return false;
		if (mono_diff_us(mono_now(), began) >= PREPARE_US)
			return true;
	}
	return false;
}

static int consumer_seek(struct transport_reader *t, const struct partition *partition,
	const struct progress *progress, struct error *err)
{
	return group_seek(of(t), partition, progress, err);
}

static int consumer_drop(struct transport_reader *t, const struct partition *partition, struct error *err)
{
	return group_drop(of(t), partition, err);
}

static int consumer_ack(struct transport_reader *t, uint64_t seq, struct error *err)
{
	group_acked(of(t), seq);
	if (seq >= of(t)->seq)
		of(t)->last_chores.us = 0; /* nothing is in work: how far we are is said at once */
	group_chores(of(t));
	return 0;
}

static void consumer_wake(struct transport_reader *t)
{
	struct consumer *c = of(t);
	rd_kafka_queue_t *queue = atomic_load(&c->queue);

	atomic_store(&c->woken, true);
	if (queue)
		rd_kafka_queue_yield(queue);
}

static void consumer_free(struct transport_reader *t)
{
	struct consumer *c = of(t);
	struct feed *feed;
	struct batch *batch;

	if (c->rk) {
		group_leave(c);
		if (c->queue)
			rd_kafka_queue_destroy(c->queue);
		rd_kafka_destroy(c->rk);
	}
	beats_fini(&c->beats);
	while ((batch = c->ready)) {
		c->ready = batch->next;
		batch_free(batch);
	}
	while ((feed = c->feeds)) {
		c->feeds = feed->next_feed;
		feed_free(feed);
	}
	arena_reset(&c->scratch);
	schemas_free(c->schemas);
	foreign_free(c->foreign);
	codec_free(c->fill.codec);
	free(c->handed);
	free(c);
}

static const struct transport_reader_ops consumer_ops = {
	.open = consumer_open,
	.recv = consumer_recv,
	.prepare = consumer_prepare,
	.seek = consumer_seek,
	.drop = consumer_drop,
	.ack = consumer_ack,
	.wake = consumer_wake,
	.free = consumer_free,
};

struct transport_reader *transport_kafka_reader_new(const struct context *ctx, struct block_pool *pool)
{
	struct consumer *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->base.ops = &consumer_ops;
	c->ctx = ctx;
	c->ready_end = &c->ready;
	c->scratch = ARENA_INIT(NULL);
	c->schemas = schemas_new(ctx);
	c->fill.codec = kafka_codec(ctx, "");
	c->fill.pool = pool;
	/* another program's rows are framed by foreign.c, and there are no heartbeats among them */
	c->fill.frames = ctx->cfg->transport.kafka.layout == LAYOUT_TABLES &&
			 ctx->cfg->transport.kafka.events == EVENTS_SLUICE;
	c->base.spread = c->fill.frames;
	return &c->base;
}
