/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The cache of relations behind the schemas topic. The topic is read by a client of its own, made for one pass and given
 * back: a pass is rare (the start, a change of a table), and the group's consumer has one queue for everything.
 *
 * Invariants:
 *   1. A relation is never replaced: the fingerprint says all that matters of it.
 *   2. A message that does not hold a relation is skipped here and missed where it is needed, so a stranger's message in
 *      the topic stops nothing.
 *   3. Each pass begins where the last one ended, or at the start when the topic was made anew.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/codec.h>
#include <sluice/fault.h>

#include "kafka.h"
#include "schemas.h"

#define CAP_FIRST 64u /* a power of two */

struct schemas {
	const struct context *ctx;
	char topic[TOPIC_MAX];
	struct relation **slots; /* by fingerprint, linear probing */
	uint32_t n, cap;
	int64_t *next; /* offset by partition */
	uint32_t n_next;
	struct error broken; /* of the last message that was no relation */
};

struct schemas *schemas_new(const struct context *ctx)
{
	struct schemas *schemas = calloc(1, sizeof(*schemas));

	if (!schemas)
		abort();
	schemas->ctx = ctx;
	schemas->cap = CAP_FIRST;
	schemas->slots = calloc(schemas->cap, sizeof(*schemas->slots));
	if (!schemas->slots)
		abort();
	snprintf(schemas->topic, sizeof(schemas->topic), "%s.schemas", ctx->cfg->transport.kafka.prefix);
	return schemas;
}

struct schemas *schemas_free(struct schemas *schemas)
{
	if (!schemas)
		return NULL;
	for (uint32_t i = 0; i < schemas->cap; i++)
		relation_unref(schemas->slots[i]);
	free(schemas->slots);
	free(schemas->next);
	free(schemas);
	return NULL;
}

/* the slot of the fingerprint, or the free one where it belongs */
static struct relation **slot_of(struct relation **slots, uint32_t cap, uint64_t fingerprint)
{
	uint32_t i = (uint32_t)(fingerprint ^ fingerprint >> 32) & (cap - 1);

	while (slots[i] && slots[i]->fingerprint != fingerprint)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

static void schemas_grow(struct schemas *schemas)
{
	uint32_t cap = schemas->cap * 2;
	struct relation **slots = calloc(cap, sizeof(*slots));

	if (!slots)
		abort();
	for (uint32_t i = 0; i < schemas->cap; i++) {
		struct relation *rel = schemas->slots[i];

		if (rel)
			*slot_of(slots, cap, rel->fingerprint) = rel;
	}
	free(schemas->slots);
	schemas->slots = slots;
	schemas->cap = cap;
}

void schemas_add(struct schemas *schemas, struct relation *take_rel)
{
	struct relation **slot = slot_of(schemas->slots, schemas->cap, take_rel->fingerprint);

	if (*slot) {
		relation_unref(take_rel);
		return;
	}
	*slot = take_rel; /* consumed by the table */
	schemas->n++;
	if (schemas->n * 2 > schemas->cap)
		schemas_grow(schemas);
}

/* next offsets of n partitions; a topic with another number of them is read anew */
static void schemas_partitions(struct schemas *schemas, uint32_t n)
{
	if (n == schemas->n_next)
		return;
	free(schemas->next);
	schemas->next = calloc(n, sizeof(*schemas->next));
	if (!schemas->next)
		abort();
	schemas->n_next = n;
}

static int schemas_message(void *arg, const struct message *msg, struct error *err)
{
	struct schemas *schemas = arg;
	struct relation *rel = NULL;

	if (msg->value && relation_read_json(msg->value, msg->value_len, &rel, &schemas->broken) == 0)
		schemas_add(schemas, rel);
	return 0;
}

static int schemas_partition(struct schemas *schemas, rd_kafka_t *rk, int32_t id, struct error *err)
{
	struct kafka_range range = { .topic = schemas->topic, .partition = id };
	int64_t low = 0;
	int r = kafka_bounds(rk, schemas->ctx, schemas->topic, id, &low, &range.to, err);

	if (r != 0)
		return r < 0 ? r : 0;
	range.from = schemas->next[id];
	if (range.from < low || range.from > range.to)
		range.from = low;
	if (kafka_scan(rk, schemas->ctx, &range, schemas_message, schemas, err) < 0)
		return -1;
	schemas->next[id] = range.to;
	return 0;
}

int schemas_load(struct schemas *schemas, struct error *err)
{
	rd_kafka_t *rk = NULL;
	uint32_t n = 0;
	int r;

	if (SLUICE_FAULT_POINT("transport.kafka.schemas"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.schemas");
	if (kafka_reader_client(schemas->ctx, "schemas", &rk, err) < 0)
		return -1;
	r = kafka_partitions(rk, schemas->ctx, schemas->topic, &n, err);
	if (r == 0)
		schemas_partitions(schemas, n);
	for (uint32_t i = 0; r == 0 && i < schemas->n_next; i++)
		r = schemas_partition(schemas, rk, (int32_t)i, err);
	rd_kafka_destroy(rk);
	return r < 0 ? r : 0;
}

static struct relation *schemas_known(const struct schemas *schemas, uint64_t fingerprint)
{
	return *slot_of(schemas->slots, schemas->cap, fingerprint);
}

int schemas_find(struct schemas *schemas, uint64_t fingerprint, struct relation **ret, struct error *err)
{
	*ret = schemas_known(schemas, fingerprint);
	if (*ret)
		return 0;
	schemas->broken = ERROR_INIT;
	if (schemas_load(schemas, err) < 0)
		return -1;
	*ret = schemas_known(schemas, fingerprint);
	if (*ret)
		return 0;
	error_set(err, ERROR_SCHEMA, "KAFKA-SCHEMA", "topic %s does not hold relation %016" PRIx64 "%s%s",
		schemas->topic, fingerprint, schemas->broken.class ? "; what it does hold: " : "",
		schemas->broken.message);
	return error_remedy(err, "topic %s has to keep its messages: cleanup.policy=compact", schemas->topic);
}
