/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader's half of the transport on Kafka: batches become messages of one partition, in order, and their acks become
 * durable batches.
 *
 * Invariants:
 *   1. Nothing is produced before the log was taken over (take_over.c).
 *   2. A batch is durable when all its messages, and those of every batch before it, are acked by all in-sync replicas. After
 *      the first message that was not, nothing more is produced or called durable: the client stops by itself
 *      (enable.gapless.guarantee), the attempt ends, and the next one takes over anew.
 *   3. A full outbox, or a full queue of the producer, stops the sending in the middle of a batch; acks make room and poll()
 *      goes on.
 *   4. A reader that has not run for STALL_MS was stopped: somebody else may rule by now, so it ends at once. What it
 *      may still add is what the producer's queue held (tail.c depends on that).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "writer.h"

#define ACK_MS 30000
#define SILENCE_MS                                                                                           \
	60000 /* messages wait that long without any ack: a client made anew looks for brokers again */
#define STALL_MS     10000
#define TURN_MS	     20
#define FEW_MESSAGES 256u
#define FEW_BYTES    ((size_t)256 * 1024)
#define OUTPUT_BYTES ((size_t)1024 * 1024)
#define SPREAD	     4 /* partitions that have large requests at the same time, in layout tables */

static struct writer *of(struct transport_writer *t)
{
	return (struct writer *)(void *)t;
}

int writer_failure(const struct writer *w, struct error *err)
{
	if (!w->failure.class)
		return 0;
	*err = w->failure;
	return -1;
}

static bool is_too_large(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
	       code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

static void remedy_size(const struct writer *w, struct error *err)
{
	error_remedy(err,
		"raise message.max.bytes in transport.kafka.producer_properties and max.message.bytes of topic %s",
		w->tables ? "the table" : w->root_name);
}

/* one message did not arrive: of those that share a batch with one that is too large, the largest is named */
static void writer_undelivered(struct writer *w, const rd_kafka_message_t *in)
{
	bool size = is_too_large(in->err);
	struct message msg;

	if (w->failure.class && !(size && w->largest && in->len > w->largest))
		return;
	message_received(in, &msg);
	kafka_error(&w->failure, in->err, "topic %s did not take a message of %zu bytes",
		rd_kafka_topic_name(in->rkt), in->len);
	publish_where(w, &msg, &w->failure);
	if (!size)
		return;
	w->largest = in->len + 1;
	remedy_size(w, &w->failure);
}

void writer_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct writer *w = opaque;
	struct ticket *ticket = msg->_private;
	int64_t us;

	if (msg->err) {
		writer_undelivered(w, msg);
		return;
	}
	ticket->pending--;
	w->unacked--;
	w->unacked_bytes -= msg->len + msg->key_len;
	ticket->offset = msg->offset;
	w->last_ack = mono_now();
	us = rd_kafka_message_latency(msg); /* reports may wait to be heard */
	if (us > ticket->slowest_us)
		ticket->slowest_us = us;
	if (ticket->pending)
		return;
	histogram_add_us(&w->ctx->metrics->kafka_produce_us, (uint64_t)ticket->slowest_us);
	ticket->slowest_us = 0;
}

/* gives a message to the client, with its headers. Return: 0; TRANSPORT_FULL; negative */
static int writer_give(struct writer *w, const struct parcel *p, struct error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_producev(w->rk, RD_KAFKA_V_RKT(p->topic),
		RD_KAFKA_V_PARTITION(p->partition), RD_KAFKA_V_KEY((void *)(uintptr_t)p->key, p->key_len),
		RD_KAFKA_V_VALUE((void *)(uintptr_t)p->value, p->value_len), RD_KAFKA_V_HEADERS(p->headers),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(p->opaque), RD_KAFKA_V_END);

	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		return TRANSPORT_FULL;
	if (!code) {
		w->unacked++;
		w->unacked_bytes += p->value_len + p->key_len;
		return 0;
	}
	kafka_error(
		err, code, "topic %s, a message of %zu bytes", rd_kafka_topic_name(p->topic), p->value_len);
	if (is_too_large(code))
		remedy_size(w, err);
	return -1;
}

/* see outbox.c */
static bool writer_is_busy(const struct writer *w)
{
	return w->unacked >= FEW_MESSAGES || w->unacked_bytes >= FEW_BYTES;
}

/* what has waited goes, when there is room. Return: 0, negative */
static int writer_flush(struct writer *w, struct error *err)
{
	int r = 0;

	if (writer_is_busy(w))
		return 0;
	while (r == 0 && !outbox_is_empty(&w->outbox)) {
		struct parcel first = outbox_first(&w->outbox);

		r = writer_give(w, &first, err);
		if (r == 0)
			outbox_drop(&w->outbox);
	}
	return r < 0 ? r : 0;
}

int writer_produce(struct writer *w, struct place place, const struct message *msg, struct ticket *ticket,
	struct error *err)
{
	bool waits = writer_is_busy(w) || !outbox_is_empty(&w->outbox);
	struct parcel parcel;
	int r = 0;

	if (writer_failure(w, err) < 0)
		return -1;
	if (waits && !outbox_takes(&w->outbox, msg->key_len + msg->value_len))
		return TRANSPORT_FULL;
	parcel = (struct parcel){
		.topic = place.topic,
		.partition = place.partition,
		.key = msg->key,
		.key_len = msg->key_len,
		.value = msg->value,
		.value_len = msg->value_len,
		.headers = kafka_headers(msg),
		.opaque = ticket,
	};
	if (waits)
		outbox_put(&w->outbox, &parcel);
	else
		r = writer_give(w, &parcel, err);
	if (r != 0) {
		rd_kafka_headers_destroy(parcel.headers);
		return r;
	}
	ticket->pending++;
	if (!ticket->sent.us)
		ticket->sent = mono_now();
	return 0;
}

/* everything that has come, and whether the client can go on */
static int writer_serve(struct writer *w, int timeout_ms, struct error *err)
{
	char text[200];
	rd_kafka_resp_err_t code;

	rd_kafka_poll(w->rk, timeout_ms);
	code = w->failure.class ? RD_KAFKA_RESP_ERR_NO_ERROR
				: rd_kafka_fatal_error(w->rk, text, sizeof(text));
	if (code)
		error_set(&w->failure, ERROR_TRANSIENT, "KAFKA-FATAL",
			"the producer of topic %s cannot go on: %s", w->root_name, text);
	if (writer_failure(w, err) < 0)
		return -1;
	return writer_flush(w, err);
}

int writer_settle(struct writer *w, struct ticket *ticket, const atomic_bool *cancel, struct error *err)
{
	struct mono began = mono_now();

	while (ticket->pending) {
		struct mono last = w->last_ack.us > began.us ? w->last_ack : began;

		if (writer_serve(w, TURN_MS, err) < 0)
			return -1;
		if (cancel && atomic_load(cancel))
			return error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped");
		if (mono_diff_us(mono_now(), last) > ACK_MS * INT64_C(1000))
			return error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "topic %s: no ack in %d s",
				w->root_name, ACK_MS / 1000);
	}
	return 0;
}

/* the tail in a transaction that was aborted: all of it comes again */
static struct position tail_position(const struct tail *tail)
{
	if (tail->aborted && tail->last.minor != POSITION_END && tail->last.major)
		return (struct position){ tail->last.major - 1, POSITION_END };
	return tail->last;
}

static int writer_open(
	struct transport_writer *t, const char *identity, struct transport_tail *ret, struct error *err)
{
	struct writer *w = of(t);
	const char *slash;

	if (SLUICE_FAULT_POINT("transport.kafka.writer"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.writer");
	snprintf(w->identity, sizeof(w->identity), "%s", identity);
	slash = strchr(identity, '/'); /* "system/database" */
	w->codec = kafka_codec(w->ctx, slash ? slash + 1 : "");
	if (writer_take_over(w, err) < 0)
		return -1;
	w->packed.place = (struct place){ w->root, 0 };
	if (w->tables && routes_begin(w, err) < 0)
		return -1;
	if (w->tables)
		checkpoint_init(&w->checkpoint, &w->tail.last, resume_box_get(&w->tail.resume));
	w->base.snapshot = snapshot_kafka_new(w->ctx, &w->out, w->base.state);
	status_lock(w->ctx->status);
	reign_format(w->reign, w->ctx->status->halves.reign);
	status_unlock(w->ctx->status);
	*ret = (struct transport_tail){
		.exists = w->tail.found,
		.position = tail_position(&w->tail),
		.resume = resume_box_get(&w->tail.resume),
		.identity = w->tail.identity,
	};
	return 0;
}

/* the rest of the batch under way. Return: 0 = it is all produced, TRANSPORT_FULL, negative */
static int writer_go_on(struct writer *w, struct error *err)
{
	while (w->batch && w->next < w->batch->n_records) {
		int r = publish_next(w, &w->batch->records[w->next], w->ticket, err);

		if (r != 0)
			return r;
		w->next++;
	}
	if (w->batch) {
		int r = packs_send_all(w, err);

		if (r != 0)
			return r;
		w->batch = batch_free(w->batch);
		w->ticket->pending--;
	}
	if (w->output.cap > OUTPUT_BYTES)
		buf_shrink(&w->output, OUTPUT_BYTES);
	return 0;
}

/* nothing follows what could not be produced */
static int writer_fail(struct writer *w, const struct error *err)
{
	if (!w->failure.class)
		w->failure = *err;
	return -1;
}

static int writer_send(struct transport_writer *t, struct batch *batch, struct error *err)
{
	struct writer *w = of(t);

	if (writer_failure(w, err) < 0)
		return -1;
	/* acks may have come with what the caller has read: whoever is told FULL waits for the next ones */
	if (w->batch && (writer_serve(w, 0, err) < 0 || writer_go_on(w, err) < 0))
		return writer_fail(w, err);
	if (w->batch || w->next_ticket - w->first_ticket == TICKETS)
		return TRANSPORT_FULL;
	w->batch = batch;
	w->next = 0;
	w->ticket = &w->tickets[w->next_ticket++ % TICKETS];
	*w->ticket = (struct ticket){ .seq = batch->seq, .pending = 1, .news = w->ticket->news };
	if (w->tables)
		checkpoint_note(&w->ticket->news, batch);
	if (writer_go_on(w, err) >= 0)
		return 0;
	w->batch = NULL; /* still the caller's */
	return writer_fail(w, err);
}

/* a reader that was stopped; see invariant 4 */
static int writer_stalled(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "KAFKA-STALLED",
		"the reader has not run for more than %d s: whether the log is still ours has to be seen",
		STALL_MS / 1000);
}

static int writer_watch(struct writer *w, struct error *err)
{
	struct mono now = mono_now(), since = w->last_ack;
	bool stalled = w->last_poll.us && mono_diff_us(now, w->last_poll) > STALL_MS * INT64_C(1000);
	const struct ticket *oldest = &w->tickets[w->first_ticket % TICKETS];

	w->last_poll = now;
	if (stalled)
		return writer_stalled(err);
	if (w->first_ticket == w->next_ticket || !oldest->sent.us)
		return 0;
	if (oldest->sent.us > since.us)
		since = oldest->sent;
	if (mono_diff_us(now, since) > SILENCE_MS * INT64_C(1000))
		return error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "topic %s: no ack in %d s",
			w->root_name, SILENCE_MS / 1000);
	return 0;
}

static void writer_count(struct writer *w)
{
	while (w->first_ticket < w->next_ticket && !w->tickets[w->first_ticket % TICKETS].pending) {
		const struct ticket *ticket = &w->tickets[w->first_ticket++ % TICKETS];

		if (w->tables)
			checkpoint_acked(&w->checkpoint, ticket->seq, &ticket->news);
		else
			w->durable = ticket->seq;
	}
}

/* whether somebody waits for acks; else it is early enough to hear of them with the next records, or the next turn */
static bool writer_needs_acks(const struct writer *w)
{
	return w->tables || w->batch || !outbox_is_empty(&w->outbox) ||
	       w->next_ticket - w->first_ticket == TICKETS;
}

/* the reader is woken by acks, or is not. Return: 0, negative */
static int writer_hear(struct writer *w, struct error *err)
{
	static const uint64_t one = 1;
	bool hears = writer_needs_acks(w);

	if (hears == w->hears)
		return 0;
	w->hears = hears;
	rd_kafka_queue_io_event_enable(w->events, hears ? w->base.reader_fd : -1, &one, sizeof(one));
	/* only what comes to an empty queue wakes */
	return hears && (writer_serve(w, 0, err) < 0 || writer_go_on(w, err) < 0) ? -1 : 0;
}

static int writer_poll(struct transport_writer *t, struct error *err)
{
	struct writer *w = of(t);

	if (writer_watch(w, err) < 0 || writer_serve(w, 0, err) < 0 || writer_go_on(w, err) < 0 ||
		writer_hear(w, err) < 0)
		return writer_fail(w, err);
	writer_count(w);
	return w->tables && checkpoint_turn(w, err) < 0 ? writer_fail(w, err) : 0;
}

static uint64_t writer_durable(struct transport_writer *t)
{
	return of(t)->durable;
}

static void writer_end(struct transport_writer *t)
{
}

/* the snapshot's way */

static struct writer *of_out(struct snapshot_out *out)
{
	return (struct writer *)(void *)((uint8_t *)out - offsetof(struct writer, out));
}

/* room in the producer's queue, or the ack of a relation */
static int out_wait(struct writer *w, const atomic_bool *cancel, struct mono *last, struct error *err)
{
	struct mono now = mono_now();

	if (cancel && atomic_load(cancel))
		return error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped");
	if (mono_diff_us(now, *last) > STALL_MS * INT64_C(1000))
		return writer_stalled(err);
	*last = now;
	return writer_serve(w, TURN_MS, err);
}

static int out_put(
	struct snapshot_out *out, const struct batch *batch, const atomic_bool *cancel, struct error *err)
{
	struct writer *w = of_out(out);
	struct mono last = mono_now();

	for (uint32_t i = 0; i < batch->n_records;) {
		int r = publish_put(w, &batch->records[i], &w->own, err);

		if (r == 0)
			i++;
		if (r == TRANSPORT_FULL)
			r = out_wait(w, cancel, &last, err);
		if (r < 0)
			return writer_fail(w, err);
	}
	w->own.sent.us = 0; /* the next batch is timed anew */
	return writer_serve(w, 0, err);
}

static int out_settle(struct snapshot_out *out, const atomic_bool *cancel, struct error *err)
{
	struct writer *w = of_out(out);

	return writer_settle(w, &w->own, cancel, err);
}

static int out_partitions(struct snapshot_out *out, struct relation *rel, struct error *err)
{
	return of_out(out)->tables ? tables_partitions(of_out(out), rel, err) : 1;
}

static const struct snapshot_out_ops out_ops = {
	.put = out_put,
	.settle = out_settle,
	.partitions = out_partitions,
};

static void writer_free(struct transport_writer *t)
{
	struct writer *w = of(t);

	snapshot_kafka_free(w->base.snapshot);
	state_kafka_free(w->base.state);
	if (w->root)
		rd_kafka_topic_destroy(w->root);
	if (w->schemas)
		rd_kafka_topic_destroy(w->schemas);
	if (w->rk) {
		/* what is still queued will be written by the next reign, in its order */
		rd_kafka_purge(w->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
		rd_kafka_poll(w->rk, 0);
	}
	if (w->events)
		rd_kafka_queue_destroy(w->events);
	outbox_fini(&w->outbox);
	pack_fini(&w->packed.pack);
	packs_fini(&w->packs);
	routes_fini(&w->routes);
	if (w->rk)
		rd_kafka_destroy(w->rk);
	checkpoint_fini(&w->checkpoint);
	for (uint32_t i = 0; i < TICKETS; i++)
		resume_box_fini(&w->tickets[i].news.resume);
	publish_forget(w);
	batch_free(w->batch);
	codec_free(w->codec);
	tail_fini(&w->tail);
	buf_fini(&w->output);
	buf_fini(&w->text);
	free(w);
}

static const struct transport_writer_ops writer_ops = {
	.open = writer_open,
	.send = writer_send,
	.poll = writer_poll,
	.durable = writer_durable,
	.end = writer_end,
	.free = writer_free,
};

struct transport_writer *transport_kafka_writer_new(const struct context *ctx, int reader_fd)
{
	struct writer *w = calloc(1, sizeof(*w));
	const char *prefix = ctx->cfg->transport.kafka.prefix;
	int64_t bytes = kafka_message_bytes(&ctx->cfg->transport.kafka);

	if (!w)
		abort();
	w->base.ops = &writer_ops;
	w->base.reader_fd = reader_fd;
	w->out.ops = &out_ops;
	w->ctx = ctx;
	w->tables = ctx->cfg->transport.kafka.layout == LAYOUT_TABLES;
	outbox_init(&w->outbox, bytes, w->tables ? SPREAD : 1);
	packs_init(&w->packs, ctx->cfg->transport.kafka.format == KAFKA_BINARY, bytes);
	snprintf(w->root_name, sizeof(w->root_name), w->tables ? "%s.heartbeat" : "%s.changes", prefix);
	snprintf(w->schemas_name, sizeof(w->schemas_name), "%s.schemas", prefix);
	snprintf(w->state_name, sizeof(w->state_name), "%s.state", prefix);
	return &w->base;
}
