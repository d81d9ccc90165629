/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What a log holds already: its last record that counts. Appliers decide message by message from the beginning of the
 * log which reign rules (feed.c); a reader that starts has to come to the same result from the end of the log, and
 * cannot read all of it.
 *
 * It begins with a reign K that is known to have won, and the offset of its FENCE: both are in the state topic before
 * K writes its first record. So another reign R that took over after K and is not in the state topic has written a FENCE, at
 * most a CONTINUE that repeats what K left, and nothing else.
 *
 * A window over the end of the log, read as if K ruled at its beginning, gives the right result unless a FENCE of some R
 * stands before the window. Then every record of K in the window was written by a producer that did not know of R: it was
 * stopped and woke up. Such a producer holds a bounded number of messages and bytes (KAFKA_QUEUE_…). So a window is
 * wide enough once it holds more of K than that, or begins at K's FENCE. This does not depend on how many others woke up.
 *
 * Where it is known that nobody has written a FENCE behind K's but us (route.c), there is no such R: the last record of K is the
 * tail, however small the window.
 *
 * Within the window the same rules hold as for appliers: a record counts when it is of the reign that rules and follows from
 * the record that counted before it; one at or below that was written twice.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/kafka_properties.h>
#include <sluice/pack.h>

#include "tail.h"

#define SCAN_MESSAGES 16384 /* the first window */
#define SCAN_SOLE     64    /* the same where any record will do */
#define SCRATCH_BYTES ((size_t)256 * 1024)
/* the client's bound counts values only; what keys and headers of as many messages add is less than as much again */
#define QUEUE_BYTES (2 * (uint64_t)KAFKA_MESSAGE_BYTES_MAX)

void tail_init(struct tail *tail, struct reign known)
{
	*tail = (struct tail){ .known = known, .current = known };
}

void tail_fini(struct tail *tail)
{
	resume_box_fini(&tail->resume);
}

bool tail_inside(const struct tail *tail)
{
	return tail->found && tail->last.minor != POSITION_END && !tail->aborted;
}

static int tail_contradiction(
	const struct message *msg, const char *code, const char *what, struct error *err)
{
	error_set(err, ERROR_FATAL, code, "offset %lld of the log: %s", (long long)msg->offset, what);
	error_remedy(err,
		"copy anew into an empty target with a new transport.kafka.prefix, or restore the topic");
	return error_exit(err, EXIT_RESYNC);
}

static void note_options(struct tail *tail, uint64_t begun, const char *options)
{
	tail->begun = begun;
	tail->aborted = false;
	snprintf(tail->options, sizeof(tail->options), "%s", options);
}

/* a CONTINUE says where its reader went on: it has to be where the log stands */
static int tail_continue(
	struct tail *tail, const struct stamp *stamp, const struct message *msg, struct error *err)
{
	if (tail->started && position_compare(tail->last, stamp->prev) != 0)
		return tail_contradiction(msg, "KAFKA-LOG-CONTINUE",
			"the reader that took over went on from another record than the last one that counts",
			err);
	tail->started = true;
	tail->found = position_compare(stamp->prev, POSITION_NONE) != 0;
	tail->last = stamp->prev;
	if (*stamp->options)
		note_options(tail, stamp->prev.major, stamp->options);
	return 0;
}

/* Return: 1 = it counts, 0 = it was written twice, negative */
static int tail_chain(
	const struct tail *tail, const struct stamp *stamp, const struct message *msg, struct error *err)
{
	if (!tail->started || position_compare(stamp->prev, tail->last) == 0)
		return 1;
	if (position_compare(stamp->pos, tail->last) <= 0)
		return 0;
	return tail_contradiction(msg, "KAFKA-LOG-GAP",
		"it does not follow from the record before it: records are missing", err);
}

/* Return: as tail_chain() */
static int tail_record(
	struct tail *tail, const struct stamp *stamp, const struct message *msg, struct error *err)
{
	int r = tail_chain(tail, stamp, msg, err);

	if (r <= 0)
		return r;
	tail->started = true;
	tail->found = tail->found || position_compare(stamp->pos, POSITION_NONE) != 0;
	tail->last = stamp->pos;
	if (stamp->op == RECORD_BEGIN)
		note_options(tail, stamp->pos.major, stamp->options);
	if (stamp->op == RECORD_ABORT)
		tail->aborted = true;
	return 1;
}

/* of the reign that rules */
static int tail_accept(
	struct tail *tail, const struct stamp *stamp, const struct message *msg, struct error *err)
{
	int r = 0;

	if (stamp->op == STAMP_CONTINUE)
		r = tail_continue(tail, stamp, msg, err);
	else if (stamp->has_pos && stamp->op != RECORD_SCHEMA)
		r = tail_record(tail, stamp, msg, err);
	if (r < 0)
		return r;
	if (stamp->resume.len)
		resume_box_set(&tail->resume, stamp->resume);
	if (*stamp->identity)
		snprintf(tail->identity, sizeof(tail->identity), "%s", stamp->identity);
	return 0;
}

static int tail_pack(
	struct tail *tail, const struct message *msg, const struct stamp *stamp, struct error *err)
{
	struct unpack unpack;
	struct message one;
	struct stamp its;
	int r;

	if (unpack_begin(&unpack, msg, stamp, err) < 0)
		return -1;
	while ((r = unpack_next(&unpack, &one, &its, err)) > 0) {
		if (tail_accept(tail, &its, &one, err) < 0)
			return -1;
	}
	return r;
}

int tail_take(struct tail *tail, const struct message *msg, struct arena *arena, struct error *err)
{
	struct stamp stamp;
	int r = stamp_read(msg, arena, &stamp, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (stamp.op == RECORD_FENCE) {
		if (stamp.reign.number > tail->current.number)
			tail->current = stamp.reign;
		return 0;
	}
	if (tail->known.number && reign_equal(stamp.reign, tail->known)) {
		tail->known_records++;
		tail->known_bytes += msg->value_len;
	}
	if (stamp.reign.number > tail->current.number)
		tail->torn = true;
	if (!reign_equal(stamp.reign, tail->current))
		return 0;
	if (stamp.op == STAMP_PACK)
		return tail_pack(tail, msg, &stamp, err);
	return tail_accept(tail, &stamp, msg, err);
}

bool tail_whole(const struct tail *tail)
{
	bool wide;

	if (tail->sole)
		return tail->started && !tail->torn;
	wide = tail->known_records > KAFKA_QUEUE_MESSAGES || tail->known_bytes > QUEUE_BYTES;

	return wide && !tail->torn && tail->found && tail->resume.len &&
	       (!tail_inside(tail) || tail->begun == tail->last.major);
}

struct scan {
	struct tail *tail;
	struct arena scratch;
};

static int scan_take(void *arg, const struct message *msg, struct error *err)
{
	struct scan *scan = arg;

	if (scan->scratch.bytes > SCRATCH_BYTES)
		arena_reset(&scan->scratch);
	return tail_take(scan->tail, msg, &scan->scratch, err);
}

static int scan_from(rd_kafka_t *rk, const struct context *ctx, const struct tail_request *request,
	int64_t from, struct tail *ret, struct error *err)
{
	struct scan scan = { .tail = ret, .scratch = ARENA_INIT(NULL) };
	struct kafka_range range = {
		.topic = request->topic,
		.partition = request->partition,
		.from = from,
		.to = request->end,
	};
	int r;

	tail_fini(ret);
	tail_init(ret, request->known.reign);
	ret->sole = request->sole;
	r = kafka_scan(rk, ctx, &range, scan_take, &scan, err);
	arena_reset(&scan.scratch);
	return r;
}

static int tail_lost(const struct tail_request *request, struct error *err, const char *what)
{
	error_set(err, ERROR_FATAL, "KAFKA-LOG-LOST", "topic %s partition %d: %s", request->topic,
		(int)request->partition, what);
	error_remedy(err,
		"copy anew into an empty target with a new transport.kafka.prefix, or restore the topic");
	return error_exit(err, EXIT_RESYNC);
}

/* what has to be true of the log before anything is read from it */
static int tail_check(const struct tail_request *request, struct error *err)
{
	const struct reign_known *known = &request->known;

	if (known->reign.number && request->end <= known->fence)
		return tail_lost(request, err, "it is shorter than it was: the topic was cut or made anew");
	if (known->reign.number && request->low == request->end)
		return tail_lost(
			request, err, "nothing is left of it: retention or an operator deleted its records");
	if (!known->reign.number && request->low > 0)
		return tail_lost(request, err,
			"records were deleted from it, and the state topic knows nothing of them");
	return 0;
}

/* everything that could be read was read */
static int tail_judge(const struct tail_request *request, const struct tail *tail, struct error *err)
{
	const struct reign_known *known = &request->known;

	if (tail->torn)
		return tail_lost(request, err,
			"it holds records of a reign that never took it over: the topic was made anew, or its "
			"beginning was deleted");
	if (!known->reign.number && tail->found)
		return tail_lost(
			request, err, "it holds records, but the state topic does not know who wrote them");
	if (known->reign.number && !tail->started)
		return tail_lost(request, err, "the record that says where to go on was deleted");
	if (known->reign.number && !request->rows && request->low > known->fence && tail->found &&
		!tail->resume.len)
		return tail_lost(request, err, "the record that says from where to go on was deleted");
	return 0;
}

int tail_find(
	const struct context *ctx, const struct tail_request *request, struct tail *ret, struct error *err)
{
	const struct reign_known *known = &request->known;
	int64_t first = known->reign.number && known->fence > request->low ? known->fence : request->low;
	int64_t back = request->sole ? SCAN_SOLE : SCAN_MESSAGES, from;
	rd_kafka_t *rk = request->rk;
	int r = tail_check(request, err);

	if (r == 0 && !rk)
		r = kafka_reader_client(ctx, "tail", &rk, err);
	while (r == 0) {
		if (SLUICE_FAULT_POINT("transport.kafka.tail")) {
			r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.tail");
			break;
		}
		from = request->end - back > first ? request->end - back : first;
		r = scan_from(rk, ctx, request, from, ret, err);
		if (r < 0 || tail_whole(ret) || from == first)
			break;
		back *= 4;
	}
	if (rk && rk != request->rk)
		rd_kafka_destroy(rk);
	return r == 0 ? tail_judge(request, ret, err) : r;
}
