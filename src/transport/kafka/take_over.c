/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Making a log ours. Its root is the topic of changes, or that of heartbeats in layout tables, where each table's topic is
 * taken over when it is first written (route.c):
 *   1. the state topic tells the newest reign K that has written records;
 *   2. FENCE(n, random id) with n above K's number, acked: from its offset on, no other reign's records count;
 *   3. the state topic once more: whoever wrote records before our FENCE is in it by now;
 *   4. the end of the log is read back (tail.c). Another FENCE with our number or a higher one: again with a higher number;
 *   5. CONTINUE(tail, resume point), acked: appliers compare it with what they accepted;
 *   6. our reign and the offset of its FENCE go to the state topic, acked. Only then is the first record written.
 *
 * A crash behind any step leaves marks that the next reader passes over: what is not in the state topic has written no record.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <sluice/fault.h>

#include "topics.h"
#include "writer.h"

#define ATTEMPTS 20

static int fault(const char *name, struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point %s", name);
}

int writer_mark(struct writer *w, struct place place, uint8_t op, const struct tail *tail,
	struct position prev, struct ticket *ticket, struct error *err)
{
	struct stamp stamp = {
		.op = op,
		.reign = w->reign,
		.has_pos = true,
		.pos = prev,
		.prev = prev,
		.identity = w->identity,
		.options = "",
	};
	struct message msg = { 0 };
	int r;

	if (op == STAMP_CONTINUE) {
		stamp.resume = resume_box_get(&tail->resume);
		if (tail_inside(tail) && tail->begun == tail->last.major)
			stamp.options = tail->options;
	}
	buf_clear(&w->text);
	stamp_write(&stamp, &w->text, &msg);
	while ((r = writer_produce(w, place, &msg, ticket, err)) == TRANSPORT_FULL) {
		if (writer_settle(w, ticket, w->ctx->stop, err) < 0)
			return -1;
	}
	return r;
}

/* the root's, acked; *ret_offset is its own */
static int put_mark(struct writer *w, uint8_t op, int64_t *ret_offset, struct error *err)
{
	int r;

	w->own = (struct ticket){ 0 };
	r = writer_mark(w, (struct place){ w->root, 0 }, op, &w->tail, w->prev, &w->own, err);
	if (r == 0)
		r = writer_settle(w, &w->own, w->ctx->stop, err);
	*ret_offset = w->own.offset;
	return r;
}

/* the newest reign that the state topic knows of, as the topic stands now */
static int read_known(struct writer *w, struct reign_known *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	const char *text, *space;
	int r;

	*ret = (struct reign_known){ .fence = -1 };
	r = w->base.state ? state_kafka_again(w->base.state, err)
			  : state_kafka_new(w->ctx, &w->base.state, err);
	if (r < 0)
		return -1;
	r = state_get(w->base.state, "reign", &value, err);
	if (r != 0)
		return r < 0 ? r : 0;
	text = buf_str(&value);
	space = strchr(text, ' ');
	if (!space || !reign_parse(&ret->reign, text, (size_t)(space - text)))
		return error_set(
			err, ERROR_DATA, "KAFKA-STATE", "topic %s: the reign is not readable", w->state_name);
	ret->fence = strtoll(space + 1, NULL, 10);
	return 0;
}

static void raise_above(struct writer *w, uint64_t number)
{
	if (w->reign.number <= number)
		w->reign.number = number + 1;
	if (getrandom(&w->reign.id, sizeof(w->reign.id), 0) != sizeof(w->reign.id))
		abort(); /* the kernel has had enough entropy since long before we run */
}

/* steps 2 to 4. Return: 0 = the log is ours; 1 = another reign was there first; negative */
static int fence(struct writer *w, int64_t *ret_offset, struct error *err)
{
	struct tail_request request = { .topic = w->root_name };
	int64_t high = 0;
	int r;

	if (put_mark(w, RECORD_FENCE, &request.end, err) < 0)
		return -1;
	*ret_offset = request.end;
	if (SLUICE_FAULT_POINT("transport.kafka.fenced"))
		return fault("transport.kafka.fenced", err);
	if (read_known(w, &request.known, err) < 0)
		return -1;
	if (request.known.reign.number >= w->reign.number) {
		raise_above(w, request.known.reign.number);
		return 1;
	}
	r = kafka_bounds(w->rk, w->ctx, w->root_name, 0, &request.low, &high, err);
	if (r == 1)
		return kafka_error(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic %s", w->root_name);
	if (r < 0 || tail_find(w->ctx, &request, &w->tail, err) < 0)
		return -1;
	if (w->tail.current.number < w->reign.number)
		return 0;
	raise_above(w, w->tail.current.number);
	return 1;
}

static int check_identity(const struct writer *w, struct error *err)
{
	const char *stored = w->tail.identity;

	if (!*stored || strcmp(stored, w->identity) == 0)
		return 0;
	error_set(err, ERROR_FATAL, "RESYNC-IDENTITY",
		"topic %s holds records of source %s, this source is %s", w->root_name, stored, w->identity);
	error_remedy(err,
		"copy anew with a new transport.kafka.prefix, or point source.uri at the stream's source");
	return error_exit(err, EXIT_RESYNC);
}

/* steps 5 and 6 */
static int go_on(struct writer *w, int64_t fence_offset, struct error *err)
{
	char text[REIGN_TEXT + 24], reign[REIGN_TEXT];
	int64_t offset;

	w->prev = w->tail.last;
	w->behind = tail_inside(&w->tail);
	if (put_mark(w, STAMP_CONTINUE, &offset, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("transport.kafka.continued"))
		return fault("transport.kafka.continued", err);
	snprintf(text, sizeof(text), "%s %lld", reign_format(w->reign, reign), (long long)fence_offset);
	state_kafka_reign(w->base.state, w->reign);
	if (state_set(w->base.state, "reign", text, strlen(text), err) < 0)
		return -1;
	return SLUICE_FAULT_POINT("transport.kafka.taken") ? fault("transport.kafka.taken", err) : 0;
}

static int connect_all(struct writer *w, struct error *err)
{
	struct topic_set topics;
	topic_set(w->ctx->cfg, &topics);
	if (kafka_producer(w->ctx, "reader", w, writer_delivered, &w->rk, err) < 0 ||
		kafka_topics_ensure(w->rk, w->ctx, topics.items, topics.n, err) < 0)
		return -1;
	w->root = rd_kafka_topic_new(w->rk, w->root_name, NULL);
	w->schemas = rd_kafka_topic_new(w->rk, w->schemas_name, NULL);
	if (!w->root || !w->schemas)
		return kafka_error(err, rd_kafka_last_error(), "opening topic %s", w->root_name);
	w->events = rd_kafka_queue_get_main(w->rk);
	return 0;
}

int writer_take_over(struct writer *w, struct error *err)
{
	struct reign_known known;
	int64_t offset = 0;
	int r = 1;

	if (connect_all(w, err) < 0 || read_known(w, &known, err) < 0)
		return -1;
	raise_above(w, known.reign.number);
	for (int i = 0; r == 1 && i < ATTEMPTS; i++)
		r = fence(w, &offset, err);
	if (r == 1)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-REIGN",
			"topic %s: others take it over again and again", w->root_name);
	if (r < 0 || check_identity(w, err) < 0)
		return -1;
	return go_on(w, offset, err);
}
