/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader writes a heartbeat when all before it is acked, whatever partitions it went to (checkpoint.c). So an
 * applier that has read one, and then comes to the end that its partitions have at that moment, has applied everything
 * before it. The topic is not one of the group's: each applier needs all of it.
 *
 * It is read from its last messages on, as the newest reign that the state topic knows holds it; a reign that came later has its
 * FENCE behind. What a reader that was stopped still writes is of a lower reign, and says nothing.
 */

#include <stdlib.h>

#include "beats.h"
#include "fill.h"

#define BACK_MESSAGES 32
#define POLL_MESSAGES 64

static int beats_reign(struct beats *beats, int64_t *ret_fence, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	struct state *state = NULL;
	const char *text, *space;
	int r;

	*ret_fence = 0;
	if (state_kafka_new(beats->ctx, &state, err) < 0)
		return -1;
	r = state_get(state, "reign", &value, err);
	state_kafka_free(state);
	if (r != 0)
		return r < 0 ? r : 0;
	text = buf_str(&value);
	space = strchr(text, ' ');
	if (!space || !reign_parse(&beats->reign, text, (size_t)(space - text)))
		return error_set(
			err, ERROR_DATA, "KAFKA-STATE", "the reign in the state topic is not readable");
	*ret_fence = strtoll(space + 1, NULL, 10);
	return 0;
}

static int beats_begin(struct beats *beats, struct error *err)
{
	int64_t fence = 0, low = 0, high = 0;
	int r = beats_reign(beats, &fence, err);

	if (r == 0)
		r = kafka_bounds(beats->rk, beats->ctx, beats->topic, 0, &low, &high, err);
	if (r != 0)
		return r;
	low = fence > low ? fence : low;
	low = high - BACK_MESSAGES > low ? high - BACK_MESSAGES : low;
	beats->handle = rd_kafka_topic_new(beats->rk, beats->topic, NULL);
	if (!beats->handle || rd_kafka_consume_start(beats->handle, 0, low) != 0)
		return kafka_error(err, rd_kafka_last_error(), "reading topic %s", beats->topic);
	return 0;
}

int beats_open(struct beats *beats, const struct context *ctx, struct error *err)
{
	int r;

	*beats = (struct beats){ .ctx = ctx, .arena = ARENA_INIT(NULL) };
	snprintf(beats->topic, sizeof(beats->topic), "%s.heartbeat", ctx->cfg->transport.kafka.prefix);
	if (kafka_reader_client(ctx, "applier-heartbeat", &beats->rk, err) < 0)
		return -1;
	beats->codec = kafka_codec(ctx, "");
	r = beats_begin(beats, err);
	if (r != 0)
		beats_fini(beats);
	return r;
}

static int beats_decode(
	struct beats *beats, struct message *msg, const struct stamp *stamp, struct error *err)
{
	const struct message_header *body = message_header(msg, "sluice.body");
	struct batch *batch = batch_new(NULL);
	struct record *rec = batch_add(batch);
	int r;

	if (body) {
		msg->value = body->value;
		msg->value_len = body->len;
	}
	rec->op = stamp->op;
	r = beats->codec->ops->decode(beats->codec, msg, batch, rec, err);
	if (r == 0) {
		arena_reset(&beats->arena);
		beats->newest = *rec->heartbeat;
		beats->newest.partitions = fill_partitions(stamp);
		beats->newest.resume = stamp->resume;
		if (stamp->resume.len)
			beats->newest.resume.data =
				arena_dup(&beats->arena, stamp->resume.data, stamp->resume.len);
		beats->no++;
	}
	batch_free(batch);
	return r;
}

static int beats_take(struct beats *beats, const rd_kafka_message_t *in, struct error *err)
{
	struct arena scratch = ARENA_INIT(NULL);
	struct message msg;
	struct stamp stamp;
	int r;

	message_received(in, &msg);
	r = stamp_read(&msg, &scratch, &stamp, err);
	if (r == 0 && stamp.op == RECORD_FENCE && stamp.reign.number > beats->reign.number)
		beats->reign = stamp.reign;
	else if (r == 0 && stamp.op == RECORD_HEARTBEAT && reign_equal(stamp.reign, beats->reign))
		r = beats_decode(beats, &msg, &stamp, err);
	arena_reset(&scratch);
	return r < 0 ? error_where(err, "topic %s", beats->topic) : 0;
}

int beats_poll(struct beats *beats, struct error *err)
{
	rd_kafka_message_t *in[POLL_MESSAGES];
	ssize_t n = rd_kafka_consume_batch(beats->handle, 0, 0, in, POLL_MESSAGES);
	int r = 0;

	for (ssize_t i = 0; i < n; i++) {
		/* whatever is wrong with the broker is heard by the partitions' own client */
		if (r == 0 && !in[i]->err)
			r = beats_take(beats, in[i], err);
		rd_kafka_message_destroy(in[i]);
	}
	return r;
}

void beats_fini(struct beats *beats)
{
	if (beats->handle) {
		rd_kafka_consume_stop(beats->handle, 0);
		rd_kafka_topic_destroy(beats->handle);
	}
	if (beats->rk)
		rd_kafka_destroy(beats->rk);
	codec_free(beats->codec);
	arena_reset(&beats->arena);
	*beats = (struct beats){ 0 };
}
