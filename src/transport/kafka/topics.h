/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a topic is like and what it should be like. The reader's start and `sluice check` judge by the same rules.
 */

#include <sluice/check.h>

#include "kafka.h"

#define KAFKA_TOPICS 6

/* the topics that a stream has whatever its tables; names point into the array itself */
struct topic_set {
	char names[KAFKA_TOPICS][TOPIC_MAX];
	struct kafka_topic items[KAFKA_TOPICS];
	uint32_t n;
};

struct topic_facts {
	uint32_t partitions, replicas, in_sync; /* the fewest of any partition */
	bool known;				/* what follows could be read */
	bool compacts, deletes, unclean;
	int64_t retention_ms, retention_bytes; /* < 0 = unlimited */
	int64_t max_message_bytes, min_in_sync;
};

/**
 * topic_name() - "<prefix>.<schema>.<table>", the topic of a table's rows. Pure.
 * Bytes outside A-Z a-z 0-9 _ and - become _x<hex>_, a literal "_x" too, so no two tables have one topic; a name that is too
 * long ends with a hash of the whole.
 */
void topic_name(const char *prefix, const char *schema, const char *table, char ret[TOPIC_MAX]);

/** topic_is_tables() - whether a topic holds rows in layout tables: two names stand behind the prefix, one behind that of ours. Pure. */
bool topic_is_tables(const char *prefix, const char *topic);

/** table_partitions() - how many a table's topic gets when it is made: rows that depend on each other stay together. Pure. */
static inline uint32_t table_partitions(const struct config_kafka *cfg, const struct check_table *table)
{
	return table->tied ? 1 : cfg->partitions;
}

/** topic_set() - fills in all topics that a stream needs. Pure. */
void topic_set(const struct config *cfg, struct topic_set *ret);

/** topic_look() - asks the brokers. Blocks: up to 2 × KAFKA_REQUEST_MS, or until a stop. Settings that may not be read are no error.
 * Return: 0; 1 = there is no such topic; negative. */
int topic_look(rd_kafka_t *rk, const struct context *ctx, const char *name, struct topic_facts *ret,
	struct error *err);

/**
 * topic_judge() - adds what is wrong with a topic. Pure.
 * A FAIL with an exit code is one that the reader refuses to start with: going on would lose something.
 */
void topic_judge(const struct config *cfg, const struct kafka_topic *topic, const struct topic_facts *facts,
	struct finding_list *ret);

/** topic_new_replicas() - how many replicas a topic made now will have; 0 = the brokers do not tell. Blocks: up to 2 ×
 * KAFKA_REQUEST_MS, or until a stop. Return: 0, negative (TRANSIENT). */
int topic_new_replicas(rd_kafka_t *rk, const struct context *ctx, uint32_t *ret, struct error *err);

/** topic_make() - makes a topic; it may not be known to every broker at once. @only_try: only looks whether it would be.
 * Return: 0, also when it is there already; negative. */
int topic_make(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topic, bool only_try,
	struct error *err);

/* the administrator's commands, as a shell reads them (commands.c) */

/** command_topic() - kafka-topics.sh that makes the topic, one line. replicas: of a new topic; 0 = unknown. */
void command_topic(
	const struct config_kafka *cfg, const struct kafka_topic *topic, uint32_t replicas, struct buf *out);
/** command_setting() - kafka-configs.sh that changes one setting of a topic, one line. */
void command_setting(const struct config_kafka *cfg, const char *topic, const char *setting, struct buf *out);
/** command_acls() - kafka-acls.sh for everything that reader and applier do, several lines. */
void command_acls(const struct config *cfg, struct buf *out);
