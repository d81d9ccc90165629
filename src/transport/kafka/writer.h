/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The reader's half on Kafka, as its own files see it: take_over.c makes the log ours, route.c the topics of layout tables,
 * publish.c and tables.c turn records into messages, checkpoint.c says how far the log is whole, writer.c sends batches
 * and counts acks.
 */

#include <sluice/transport.h>

#include "checkpoint.h"
#include "kafka.h"
#include "outbox.h"
#include "packs.h"
#include "route.h"
#include "snapshot.h"
#include "tail.h"

#define TICKETS	  4096u /* batches under way; a power of two */
#define PUBLISHED 256u	/* relations remembered as published; a power of two */

/* what waits for acks; the opaque of its messages */
struct ticket {
	uint64_t seq;	    /* 0 = one of our own */
	uint32_t pending;   /* messages not acked, and one while the batch is being sent */
	int64_t offset;	    /* of the last message acked */
	struct mono sent;   /* the first message */
	int64_t slowest_us; /* that an ack took */
	struct point news;  /* layout tables: what the log holds with this batch; empty = nothing new */
};

struct writer {
	struct transport_writer base;
	struct snapshot_out out;
	const struct context *ctx;
	bool tables; /* the layout */
	rd_kafka_t *rk;
	rd_kafka_queue_t *events; /* what the client has to tell: acks above all */
	bool hears;		  /* reader_fd is written when there are some */
	/* root: the topic that says whose the log is, and how far it goes: of changes, or of heartbeats in layout tables */
	rd_kafka_topic_t *root, *schemas;
	char root_name[TOPIC_MAX], schemas_name[TOPIC_MAX], state_name[TOPIC_MAX];
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
	struct routes routes;	      /* layout tables */
	struct checkpoint checkpoint; /* layout tables */
	struct packs packs;
	struct packed packed;		       /* layout stream: the root's */
	struct outbox outbox;		       /* what the client gets when it has few messages under way */
	uint32_t unacked;		       /* messages that the client has and no broker has acked */
	size_t unacked_bytes;		       /* of their keys and values */
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
int writer_produce(struct writer *w, struct place place, const struct message *msg, struct ticket *ticket,
	struct error *err);
/** writer_settle() - waits until a ticket's messages are acked. Blocks: up to 30 s without an ack, or until *cancel. */
int writer_settle(struct writer *w, struct ticket *ticket, const atomic_bool *cancel, struct error *err);
/** writer_delivered() - the producer's delivery report. Thread: whoever polls. */
void writer_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque);

/* take_over.c */

/** writer_take_over() - connects and makes the log ours; afterwards tail, reign and state are set. */
int writer_take_over(struct writer *w, struct error *err);
/** writer_mark() - produces a FENCE or a CONTINUE behind prev. tail: of the CONTINUE. Return: 0, negative. */
int writer_mark(struct writer *w, struct place place, uint8_t op, const struct tail *tail,
	struct position prev, struct ticket *ticket, struct error *err);

/* publish.c */

/** publish_put() - produces a record behind all before it, its relation first. Return: 0; TRANSPORT_FULL = again later;
 * negative. */
int publish_put(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
/**
 * publish_next() - the same for a record of the stream, which the log may have already.
 * Return: 0 = it is in the log or on its way; TRANSPORT_FULL; negative.
 */
int publish_next(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
/** publish_relation() - Return: 0 = its description is acked; TRANSPORT_FULL = on its way; negative. */
int publish_relation(struct writer *w, struct relation *rel, struct error *err);
/** publish_encode() - key, value and sluice.exact, in w->output. */
int publish_encode(struct writer *w, const struct record *rec, struct codec_output *ret, struct error *err);
/**
 * publish_message() - the message of what was encoded, with its stamp.
 * at: the record's place in its partition, behind prev. mark: its value goes to the header sluice.body, so that it is null for
 * whoever else reads the topic.
 */
struct publish_at {
	struct position pos, prev;
	const char *options; /* of the stamp; NULL = none */
	bool mark;
};
/** publish_stamp() - the record's stamp. */
struct stamp publish_stamp(const struct writer *w, const struct record *rec, const struct publish_at *at);
void publish_message(struct writer *w, const struct record *rec, const struct codec_output *out,
	const struct publish_at *at, struct message *ret);
/** publish_begin() - notes the transaction that the next records belong to. */
void publish_begin(struct writer *w, const struct record *rec);

/** publish_xid() - of that transaction; 0 = there is none. */
static inline uint64_t publish_xid(const struct writer *w)
{
	return w->in_tx ? w->tx.xid : 0;
}
/** publish_in_transaction() - whether a record has a place of its own. Pure. */
bool publish_in_transaction(const struct record *rec);
/** publish_fails() - puts relation and position before err's text; returns -1. */
int publish_fails(const struct record *rec, struct error *err);

/* tables.c: the same in layout tables */

int tables_put(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
int tables_next(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err);
/** tables_partitions() - of a relation's rows; its topic is made and taken over when it is not ours yet. Return: the number,
 * negative. */
int tables_partitions(struct writer *w, struct relation *rel, struct error *err);

/** publish_forget() - drops the references to relations. */
void publish_forget(struct writer *w);
/** publish_where() - puts relation and position of a message before err's text; returns -1. */
int publish_where(const struct writer *w, const struct message *msg, struct error *err);
