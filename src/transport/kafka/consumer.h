/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The applier's half on Kafka, as its own files see it: consumer.c polls and hands out, consumer_message.c makes batches of
 * messages, consumer_group.c follows the group's rebalances. All of it belongs to the applier's thread; callbacks of the
 * client run inside its poll.
 */

#include <librdkafka/rdkafka.h>

#include <sluice/transport.h>

#include "beats.h"
#include "fill.h"
#include "foreign.h"
#include "kafka.h"
#include "schemas.h"

/* a batch that was handed out and is not acked yet */
struct handed {
	uint64_t seq;
	struct feed *feed;
	uint64_t rule; /* of the feed then */
	int64_t offset;
};

struct consumer {
	struct transport_reader base;
	const struct context *ctx;
	rd_kafka_t *rk;
	_Atomic(rd_kafka_queue_t *) queue; /* for wake() */
	atomic_bool woken;
	struct schemas *schemas;
	struct foreign *foreign; /* NULL: the topics are of our own reader */
	struct fill fill;
	struct beats beats; /* layout tables */
	struct mono last_beats;
	uint32_t seen_partitions; /* of all topics of rows, when they were looked at last */
	struct arena scratch;	  /* of stamps; emptied now and then */
	struct feed *feeds;
	struct {
		rd_kafka_topic_t *topic;
		int32_t id;
		struct feed *feed;
	} found;			  /* where the last message belonged to */
	struct batch *ready, **ready_end; /* complete, oldest first */
	bool open;			  /* a feed may have a batch in the making */
	uint64_t seq;
	/* rebalances */
	bool assigning, leaving, closing;
	/* what callbacks found out */
	struct error failure;	/* the client cannot go on */
	struct error late;	/* found by prepare(), for recv() to say */
	struct mono down_since; /* no broker answers; .us 0 = one does */
	/* ring of batches handed out, oldest first */
	struct handed *handed;
	uint32_t handed_from, n_handed, cap_handed;
	uint64_t polled, polled_heard; /* messages; until the last heartbeat */
	size_t most_waiting;
	struct mono last_hasten;
	struct mono last_chores, last_commit, last_look;
	struct mono rest_since; /* nothing can be taken; .us 0 = it can */
	bool paused;		/* the partitions, for that */
	struct log_limit strangers;
};

/** group_connect() - makes the client; in layout stream the topic has to exist. Blocks: up to KAFKA_REQUEST_MS. */
int group_connect(struct consumer *c, struct error *err);
/** group_subscribe() - joins. */
int group_subscribe(struct consumer *c, struct error *err);
/** group_failed() - the client cannot go on: c->failure says why. */
void group_failed(struct consumer *c, rd_kafka_resp_err_t code);
/** group_news() - what the applier has to be told, and what it has answered is done. Return: 0, TRANSPORT_ASSIGNED,
 * TRANSPORT_REVOKED, negative. */
int group_news(struct consumer *c, const struct partition **ret, struct error *err);
int group_seek(struct consumer *c, const struct partition *partition, const struct progress *progress,
	struct error *err);
int group_drop(struct consumer *c, const struct partition *partition, struct error *err);
/** group_feed() - NULL = not known. */
struct feed *group_feed(const struct consumer *c, const char *topic, int32_t id);
/** group_handed() - notes a batch that goes to the applier; group_acked() - all up to seq is durable at the target. */
void group_handed(struct consumer *c, const struct batch *batch);
void group_acked(struct consumer *c, uint64_t seq);
/** group_heard() - the newest heartbeat is due in every partition of ours that has not had it, once its end of now is reached.
 * rk: the client that asks for that end. Blocks: a round trip, behind what the client has asked its brokers before. */
void group_heard(struct consumer *c, rd_kafka_t *rk);
/** group_seek_topics() - layout tables: looks for new topics while there are fewer than the reader says. */
void group_seek_topics(struct consumer *c);
/** group_chores() - once a second at most: tells the group how far we are, and the status how far behind. */
void group_chores(struct consumer *c);
/** group_pause() - no messages come from our partitions, or they come again; those that were fetched already come again, too.
 * Return: 0, negative. */
int group_pause(struct consumer *c, bool pause, struct error *err);
/** group_leave() - leaves it; nothing is told to the applier any more. */
void group_leave(struct consumer *c);
/** consumer_message() - takes a message into its feed's batch. Blocks: never, but for the description of a table that was not
 * seen before. Return: 0, negative. */
int consumer_message(struct consumer *c, const rd_kafka_message_t *in, struct error *err);
/** ready_beat() - appends the newest heartbeat, if the feed has come to where it is due. */
void ready_beat(struct consumer *c, struct feed *feed);
/** ready_close() - what has come so far is complete; false = there is nothing. */
bool ready_close(struct consumer *c, enum fill_end how);
/** ready_take() - the oldest complete batch, which is noted as handed out; NULL = none. */
struct batch *ready_take(struct consumer *c);
/** ready_forget() - frees what was complete of a feed but not handed out. */
void ready_forget(struct consumer *c, const struct feed *feed);
