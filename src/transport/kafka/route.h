/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The topics that a reader writes in layout tables, and where each partition stands. All of it belongs to whoever has the
 * writer.
 */

#include "packs.h"

#define ROUTED 256u /* relations whose topic is remembered; a power of two */

struct writer;

/* one topic that is ours */
struct route {
	struct route *next;
	char topic[TOPIC_MAX];
	rd_kafka_topic_t *handle;
	bool own;   /* not of rows */
	bool loose; /* rows of a transaction may be in each other's way until its end, which a mark tells */
	bool open;  /* such a transaction has rows in it, and no mark yet */
	uint32_t n; /* partitions */
	struct packed *packed; /* of each */
	struct position
		prev[]; /* of the last record in each that counts: what is at or below it is in the log */
};

/* a relation as the source describes it, and as its rows travel */
struct routed {
	struct relation *rel;	/* a reference; NULL = the place is free */
	struct relation *keyed; /* the same with the key that rows are spread by; a reference */
	struct route *route;
};

struct routes {
	struct route *first;
	struct route *transactions, *messages; /* NULL = not opened yet */
	struct routed routed[ROUTED];	       /* a hash table by fingerprint */
	uint32_t n_routed;
	uint32_t
		partitions; /* of all topics of rows that the log has, also those not written since we rule */
	rd_kafka_t *look;   /* to read what a topic holds; NULL = not needed yet */
	uint32_t n_open;    /* routes that are open */
	uint32_t spread;    /* partitions that have the record under way already */
	/* a tombstone that still has to follow a delete; place.topic NULL = none */
	struct {
		struct place place;
		struct buf key;
	} tombstone;
};

/**
 * route_of() - the topic of a relation's rows; made, and taken over, when it is not ours yet.
 * Blocks: then up to some round trips to the broker, 30 s without an ack.
 * Return: 0; negative: CONFIG (no key, tied rows, another number of partitions), RESYNC 80 (the topic lost what it held),
 * TRANSIENT.
 */
int route_of(struct writer *w, struct relation *rel, struct routed **ret, struct error *err);
/** route_named() - one of our own topics, with one partition: "<prefix>.<suffix>". Blocks and returns as route_of(). */
int route_named(struct writer *w, const char *suffix, struct route **ret, struct error *err);
/** routes_begin() - counts what the state topic knows. Return: 0, negative. */
int routes_begin(struct writer *w, struct error *err);
/** routes_fini() - closes all. */
void routes_fini(struct routes *routes);
