/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Topics that Debezium's PostgreSQL connector wrote (transport.kafka.events: debezium), as an applier reads them: which they
 * are, where to begin in a partition, and what a message becomes.
 */

#include <sluice/catalog.h>

#include "fill.h"
#include "kafka.h"

struct foreign;

/** foreign_new() - ctx and catalog are borrowed; rk is asked how many partitions a topic has that is to be emptied. */
struct foreign *foreign_new(const struct context *ctx, struct catalog *catalog, rd_kafka_t *rk);
/** foreign_free() - NULL is allowed; returns NULL. */
struct foreign *foreign_free(struct foreign *foreign);

/**
 * foreign_begin() - decides where to read from, as feed_begin() does: behind what the target says, never where the group
 * stands. whole: where nothing was applied yet, a log whose first messages were deleted is refused.
 * Return: 0 with feed->next set; negative: RESYNC 80.
 */
int foreign_begin(struct feed *feed, const struct progress *progress, int64_t low, int64_t high, bool whole,
	struct error *err);

/**
 * foreign_take() - one message into the feed's batch; what is no change only moves progress.
 * Thread: the applier's. Blocks: for the catalog, where a table is new or has changed. Return: 0; negative: DATA, SCHEMA.
 */
int foreign_take(struct foreign *foreign, const struct fill *fill, struct feed *feed,
	const struct message *msg, struct error *err);

/** foreign_topics() - how many entries transport.kafka.topics has; without any there is one, <prefix>.*.* */
uint32_t foreign_topics(const struct config_kafka *cfg);
/** foreign_topic() - entry i as librdkafka subscribes to it: a name, or a regular expression that begins with ^. Pure. */
void foreign_topic(const struct config_kafka *cfg, uint32_t i, char *out, size_t size);
#define FOREIGN_TOPIC_BYTES (5 * TOPIC_MAX)
/** foreign_matches() - is it one of them? Pure. */
bool foreign_matches(const struct config_kafka *cfg, const char *topic);
