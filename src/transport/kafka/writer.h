/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The reader's half on Kafka, as its own files see it: take_over.c makes the log ours, publish.c turns records into messages,
 * writer.c sends batches and counts acks.
 */

#include <sluice/transport.h>

#include "kafka.h"
#include "snapshot.h"
#include "tail.h"

#define TICKETS	  4096u /* batches under way; a power of two */
#define PUBLISHED 256u	/* relations remembered as published; a power of two */

/* what waits for acks; the opaque of its messages */
struct ticket {
	uint64_t seq;	  /* 0 = one of our own */
	uint32_t pending; /* messages not acked, and one while the batch is being sent */
	int64_t offset;	  /* of the last message acked */
	struct mono sent; /* the first message */
};

struct writer {
	struct transport_writer base;
	struct snapshot_out out;
	const struct context *ctx;
	rd_kafka_t *rk;
	rd_kafka_topic_t *changes, *schemas;
	char changes_name[TOPIC_MAX], schemas_name[TOPIC_MAX], state_name[TOPIC_MAX], letters_name[TOPIC_MAX];
	struct codec *codec;
	char identity[96];
	struct tail tail;
	struct reign reign;
	struct position prev; /* of the last record produced */
	bool behind;	      /* the tail stands in a transaction that the source has not come to yet */
	/* the batch being sent, and how far it is */
	struct batch *batch;
	uint32_t next;
	struct ticket *ticket; /* of that batch */
	struct codec_transaction tx;
	bool in_tx;
	/* ring of tickets, oldest first */
	struct ticket tickets[TICKETS];
	uint64_t first_ticket, next_ticket;
	uint64_t durable;
	struct ticket own;		       /* FENCE, CONTINUE, the snapshot's */
	struct ticket schema;		       /* relation descriptions */
	struct relation *published[PUBLISHED]; /* a hash table of references by fingerprint */
	uint32_t n_published;
	struct error failure; /* class set: nothing is produced or durable any more */
	size_t largest;	      /* bytes of the largest message that was too large */
	struct mono last_poll, last_ack;
	struct buf output, text;
};

/* writer.c */

/** writer_failure() - what has ended this writer. Return: 0 = nothing, negative. */
int writer_failure(const struct writer *w, struct error *err);
/** writer_produce() - Return: 0; TRANSPORT_FULL; negative. */
int writer_produce(struct writer *w, rd_kafka_topic_t *topic, const struct message *msg,
	struct ticket *ticket, struct error *err);
/** writer_settle() - waits until a ticket's messages are acked. Blocks: up to 30 s without an ack, or until *cancel. */
int writer_settle(struct writer *w, struct ticket *ticket, const atomic_bool *cancel, struct error *err);
/** writer_delivered() - the producer's delivery report. Thread: whoever polls. */
void writer_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque);

/* take_over.c */

/** writer_take_over() - connects and makes the log ours; afterwards tail, reign and state are set. */
int writer_take_over(struct writer *w, struct error *err);

/* publish.c */

/** publish_put() - produces a record behind all before it, its relation first. Return: 0; TRANSPORT_FULL = again later;
 * negative. */
int publish_put(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
/**
 * publish_next() - the same for a record of the stream, which the log may have already.
 * Return: 0 = it is in the log or on its way; TRANSPORT_FULL; negative.
 */
int publish_next(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
/** publish_forget() - drops the references to relations. */
void publish_forget(struct writer *w);
/** publish_where() - puts relation and position of a message before err's text; returns -1. */
int publish_where(const struct writer *w, const struct message *msg, struct error *err);
