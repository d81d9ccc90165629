/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which messages of a partition are records for the applier. The log is written by readers that may die, be stopped and
 * wake up; what counts is decided here, from the messages alone, the same way by everyone who reads the log.
 *
 * Invariants:
 *   1. A record counts when it is of the reign that holds the partition and its prev is the position of the record that
 *      counted before it. Nothing else is ever given to an applier.
 *   2. Where the applier has been before, the message at the stored offset is read once more and has to be the record that
 *      progress names. It alone may be gone: then the chain (1) starts at the stored position.
 *   3. A record that is at or below what counted last, but does not follow from it, was written twice and is left out:
 *      the one behind it still has to follow from the last that counted.
 *   4. A reign above the one that holds the partition can only come with its FENCE: without it messages are missing.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"

struct feed *feed_new(const char *topic, int32_t id)
{
	struct feed *feed = calloc(1, sizeof(*feed));
	char *name = strdup(topic);

	if (!feed || !name)
		abort();
	feed->partition = (struct partition){ .topic = name, .id = id };
	feed_reset(feed);
	return feed;
}

void feed_hold(struct feed *feed, const struct message *msg)
{
	struct feed_held *held = NULL;

	if (msg) {
		held = malloc(sizeof(*held) + msg->key_len + msg->value_len);
		if (!held)
			abort();
		held->msg = (struct message){ .key_len = msg->key_len,
			.value_len = msg->value_len,
			.offset = msg->offset,
			.at_ms = msg->at_ms };
		if (msg->key)
			held->msg.key = memcpy(held->bytes, msg->key, msg->key_len);
		if (msg->value)
			held->msg.value = memcpy(held->bytes + msg->key_len, msg->value, msg->value_len);
	}
	free(feed->held);
	feed->held = held;
}

void feed_reset(struct feed *feed)
{
	batch_free(feed->batch);
	resume_box_fini(&feed->beat.resume);
	feed_hold(feed, NULL);
	*feed = (struct feed){
		.partition = feed->partition,
		.next_feed = feed->next_feed,
		.paused = feed->paused,
		.rule = feed->rule + 1,
		.next = -1,
		.stored = -1,
		.taken = { .offset = -1 },
		.handed = -1,
		.acked = -1,
		.high = -1,
		.beat = { .due = -1 },
	};
}

struct feed *feed_free(struct feed *feed)
{
	if (!feed)
		return NULL;
	batch_free(feed->batch);
	resume_box_fini(&feed->beat.resume);
	free(feed->held);
	free((void *)(uintptr_t)feed->partition.topic);
	free(feed);
	return NULL;
}

int feed_where(const struct feed *feed, struct error *err)
{
	return error_where(err, "topic %s partition %d", feed->partition.topic, (int)feed->partition.id);
}

int feed_resync(const struct feed *feed, struct error *err, const char *code, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error_set(err, ERROR_FATAL, code, "topic %s partition %d: %s", feed->partition.topic,
		(int)feed->partition.id, text);
	error_remedy(err, "the log cannot be followed any further: copy anew into an empty target "
			  "with a new transport.kafka.prefix, or restore the topic");
	return error_exit(err, EXIT_RESYNC);
}

static int begin_behind(
	struct feed *feed, const struct progress *progress, int64_t low, int64_t high, struct error *err)
{
	feed->reign = progress->reign;
	feed->last = progress->position;
	snprintf(feed->identity, sizeof(feed->identity), "%s", progress->identity ? progress->identity : "");
	if (progress->offset >= high)
		return feed_resync(feed, err, "KAFKA-LOG-SHORT",
			"offset %lld was applied, but the partition ends at %lld: it was cut or made anew",
			(long long)progress->offset, (long long)high);
	/* marks and rows of a copy are in no chain, so nobody could say what the missing messages were */
	if (progress->offset + 1 < low)
		return feed_resync(feed, err, "KAFKA-LOG-GONE",
			"offset %lld comes next, but it begins at %lld: retention or an operator deleted records",
			(long long)progress->offset + 1, (long long)low);
	feed->taken.offset = progress->offset;
	feed->taken.reign = progress->reign;
	feed->acked = feed->handed = progress->offset + 1;
	feed->next = progress->offset;
	if (progress->offset >= low)
		feed->stored = progress->offset;
	else
		feed->next = low;
	return 0;
}

int feed_begin(
	struct feed *feed, const struct progress *progress, int64_t low, int64_t high, struct error *err)
{
	feed->stored = -1;
	feed->high = high;
	feed->last = POSITION_NONE;
	feed->reign = REIGN_NONE;
	feed->identity[0] = 0;
	/* what stood there was deleted, and whatever the reader wrote since its last record cannot be told from nothing */
	if (low == high && low > 0)
		return feed_resync(feed, err, "KAFKA-LOG-EMPTY",
			"nothing is left of it, its start offset is %lld: retention or an operator deleted its records",
			(long long)low);
	feed->next = feed->acked = low;
	feed->committed = true;
	if (progress->exists && progress->offset >= 0)
		return begin_behind(feed, progress, low, high, err);
	return 0;
}

/* invariant 2; the message is what was applied last, so it is not given on */
static int judge_stored(struct feed *feed, const struct stamp *stamp, int64_t offset, struct error *err)
{
	bool same = offset == feed->stored && reign_equal(stamp->reign, feed->reign);

	/* what was applied last stands further on in the pack */
	if (same && stamp->more && position_compare(stamp->pos, feed->last) < 0)
		return 0;
	/* where a transaction was aborted progress stays at the END before it */
	if (same && stamp->has_pos && stamp->op != RECORD_ABORT)
		same = position_compare(stamp->pos, feed->last) == 0;
	if (!same)
		return feed_resync(feed, err, "KAFKA-LOG-CHANGED",
			"the message at offset %lld is not the one that was applied from there: the log was cut or "
			"made anew",
			(long long)feed->stored);
	if (stamp->has_pos)
		feed->last = stamp->pos;
	feed->stored = -1;
	return 0;
}

static bool follows(const struct feed *feed, const struct stamp *stamp)
{
	return (stamp->has_pos || stamp->op == STAMP_CONTINUE) &&
	       position_compare(stamp->prev, feed->last) == 0;
}

static void take(struct feed *feed, int64_t offset, enum feed_verdict *ret)
{
	feed->taken.offset = offset;
	feed->taken.reign = feed->reign;
	*ret = FEED_TAKE;
}

static int judge_chain(struct feed *feed, const struct stamp *stamp, int64_t offset, enum feed_verdict *ret,
	struct error *err)
{
	if (follows(feed, stamp)) {
		feed->last = stamp->pos;
		take(feed, offset, ret);
		return 0;
	}
	if (position_compare(stamp->pos, feed->last) <= 0) {
		*ret = FEED_DUPLICATE;
		return 0;
	}
	return feed_resync(feed, err, "KAFKA-LOG-GAP",
		"the record at offset %lld does not follow from the one accepted before it: records are missing",
		(long long)offset);
}

static int judge_fence(struct feed *feed, const struct stamp *stamp, enum feed_verdict *ret)
{
	*ret = FEED_IGNORE;
	if (stamp->reign.number > feed->reign.number) {
		feed->reign = stamp->reign;
		*ret = FEED_REIGN;
	}
	return 0;
}

static int judge_identity(struct feed *feed, const struct stamp *stamp, int64_t offset, struct error *err)
{
	if (!stamp->identity || !*stamp->identity || strcmp(stamp->identity, feed->identity) == 0)
		return 0;
	if (*feed->identity)
		return feed_resync(feed, err, "KAFKA-SOURCE",
			"the record at offset %lld comes from source %s, those before from %s",
			(long long)offset, stamp->identity, feed->identity);
	snprintf(feed->identity, sizeof(feed->identity), "%s", stamp->identity);
	return 0;
}

int feed_judge(struct feed *feed, const struct stamp *stamp, int64_t offset, enum feed_verdict *ret,
	struct error *err)
{
	*ret = FEED_IGNORE;
	feed->next = offset + 1;
	if (feed->stored >= 0)
		return judge_stored(feed, stamp, offset, err);
	if (stamp->op == RECORD_FENCE)
		return judge_fence(feed, stamp, ret);
	if (!reign_equal(stamp->reign, feed->reign)) {
		if (stamp->reign.number <= feed->reign.number)
			return 0;
		return feed_resync(feed, err, "KAFKA-LOG-FENCE",
			"the record at offset %lld was written under a reign that never took the partition over: "
			"messages before it are missing",
			(long long)offset);
	}
	if (judge_identity(feed, stamp, offset, err) < 0)
		return -1;
	if (stamp->op == STAMP_CONTINUE) {
		if (follows(feed, stamp))
			return 0;
		return feed_resync(feed, err, "KAFKA-LOG-CONTINUE",
			"the reader that took over at offset %lld goes on from another record than the last accepted one",
			(long long)offset);
	}
	if (stamp->op == RECORD_SCHEMA)
		return 0;
	if (!stamp->has_pos) {
		take(feed, offset, ret);
		return 0;
	}
	return judge_chain(feed, stamp, offset, ret, err);
}
