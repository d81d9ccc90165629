/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of this folder share: clients of librdkafka with our settings, and errors.
 */

#include <librdkafka/rdkafka.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>
#include <sluice/context.h>
#include <sluice/message.h>
#include <sluice/state.h>

#define KAFKA_REQUEST_MS 10000 /* longest wait for one answer of a broker */

/*
 * How many messages a producer may hold that no broker has acked. It bounds what a reader that was stopped can still add
 * to a log when it wakes up, and with it how far back the next reader has to look (tail.c).
 */
#define KAFKA_QUEUE_MESSAGES 20000
#define KAFKA_QUEUE_KBYTES   32768 /* or one message, where message.max.bytes allows larger ones */

/** kafka_error() - fills err: "<what>: <librdkafka's word for code>", class by code, code "KAFKA-<name>". Returns -1. */
int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/** property_of() - the value that producers (or consumers) get for a property of librdkafka; NULL = none is configured. */
const char *property_of(const struct config_kafka *cfg, bool producer, const char *name);
/** kafka_message_bytes() - how large a message of our producers may be. */
int64_t kafka_message_bytes(const struct config_kafka *cfg);

/**
 * kafka_conf() - a new configuration with what all clients share: brokers, client.id "sluice-<name>-<role>", no topics
 * made by accident, then transport.kafka.properties.
 * Return: the caller's; NULL with err filled (CONFIG) when librdkafka refuses a setting.
 */
rd_kafka_conf_t *kafka_conf(const struct context *ctx, const char *role, struct error *err);
/** kafka_conf_set() - one setting. Return: 0, negative (CONFIG). */
int kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err);
/** kafka_conf_list() - each of a list of the config's. */
int kafka_conf_list(rd_kafka_conf_t *conf, const struct property_list *list, struct error *err);

/** kafka_producer() - an idempotent producer that waits for all in-sync replicas; takes nothing from opaque but gives it to
 * callbacks. Return: 0 with the caller's client, negative. */
int kafka_producer(const struct context *ctx, const char *role, void *opaque,
	void (*on_delivery)(rd_kafka_t *, const rd_kafka_message_t *, void *), rd_kafka_t **ret,
	struct error *err);
/** kafka_reader_client() - a consumer without a group, for reading partitions by hand (rd_kafka_consume_start). */
int kafka_reader_client(const struct context *ctx, const char *role, rd_kafka_t **ret, struct error *err);

/* where a message goes */
struct place {
	rd_kafka_topic_t *topic;
	int32_t partition;
};

/** message_received() - a view of a consumed message; borrowed from it. */
void message_received(const rd_kafka_message_t *in, struct message *ret);
/** kafka_headers() - the message's headers as librdkafka wants them; consumed by producing. */
rd_kafka_headers_t *kafka_headers(const struct message *msg);

/** kafka_codec() - the codec that the config names. database: the source's, for who writes; "" for who reads. */
struct codec *kafka_codec(const struct context *ctx, const char *database);

/**
 * kafka_metadata() - rd_kafka_metadata() that a request to stop ends. all: of all topics; topic: of this one; neither: of the brokers.
 * Blocks: up to KAFKA_REQUEST_MS, after a stop once for half of that at most. Return: the client's own word; 0 with *ret the caller's.
 */
rd_kafka_resp_err_t kafka_metadata(rd_kafka_t *rk, const struct context *ctx, bool all,
	rd_kafka_topic_t *topic, const struct rd_kafka_metadata **ret);
/** kafka_answer() - what comes to an administrative question's queue. Blocks: as kafka_metadata(). Return: the caller's; NULL. */
rd_kafka_event_t *kafka_answer(const struct context *ctx, rd_kafka_queue_t *queue);
/**
 * kafka_offset() - RD_KAFKA_OFFSET_BEGINNING or RD_KAFKA_OFFSET_END of a partition, as a number. Not
 * rd_kafka_query_watermark_offsets(): before librdkafka 2.3 it waits for a leader that has died until that one is back, whatever
 * time it is given.
 * Blocks: up to timeout_ms. Return: the client's own word.
 */
rd_kafka_resp_err_t kafka_offset(
	rd_kafka_t *rk, const char *topic, int32_t partition, int64_t which, int timeout_ms, int64_t *ret);
/** kafka_bounds() - first offset and the one behind the last of a partition. Blocks: up to 2 × KAFKA_REQUEST_MS, or until a stop.
 * Return: 0; 1 = there is no such topic or partition; negative. */
int kafka_bounds(rd_kafka_t *rk, const struct context *ctx, const char *topic, int32_t partition,
	int64_t *ret_low, int64_t *ret_high, struct error *err);

/**
 * kafka_scan() - reads [from, to) of a partition, in order.
 * each: called for every message; negative ends the scan with its err.
 * Blocks: as long as it takes; 30 s without a message, or a stop, end it (TRANSIENT). Return: 0, negative.
 */
struct kafka_range {
	const char *topic;
	int32_t partition;
	int64_t from, to;
};
int kafka_scan(rd_kafka_t *rk, const struct context *ctx, const struct kafka_range *range,
	int (*each)(void *arg, const struct message *msg, struct error *err), void *arg, struct error *err);

/** kafka_partitions() - how many partitions a topic has. Blocks: up to KAFKA_REQUEST_MS, or until a stop. Return: 0; 1 = there is
 * no such topic; negative. */
int kafka_partitions(
	rd_kafka_t *rk, const struct context *ctx, const char *topic, uint32_t *ret, struct error *err);

/* a topic that has to be there */
struct kafka_topic {
	const char *name;
	uint32_t partitions;
	bool compact;
};
/**
 * kafka_topics_ensure() - makes the topics that are missing, where transport.kafka.create_topics allows it.
 * Blocks: up to KAFKA_REQUEST_MS for each step. Return: 0, negative (CONFIG "KAFKA-TOPIC-MISSING", TRANSIENT …).
 */
int kafka_topics_ensure(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topics,
	uint32_t n, struct error *err);

/**
 * state_kafka_new() - struct state over <prefix>.state, read to its end.
 * Usable from any thread; set() returns once all in-sync replicas have it. Return: 0, negative.
 */
int state_kafka_new(const struct context *ctx, struct state **ret, struct error *err);
/** state_kafka_again() - reads the topic anew, with the producer that is connected already. Return: 0, negative. */
int state_kafka_again(struct state *state, struct error *err);
/** state_kafka_reign() - what set() and remove() stamp from now on; without one they are refused. */
void state_kafka_reign(struct state *state, struct reign reign);
/** state_kafka_each() - gives each value whose key begins with prefix, NUL-terminated. each: negative ends it. */
int state_kafka_each(struct state *state, const char *prefix,
	int (*each)(void *arg, const char *value, struct error *err), void *arg, struct error *err);
/** state_kafka_free() - NULL is allowed; returns NULL. */
struct state *state_kafka_free(struct state *state);
