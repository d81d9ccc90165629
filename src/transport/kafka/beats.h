/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Layout tables: the topic of heartbeats, as every applier reads it beside its partitions. Thread: the applier's.
 */

#include <sluice/record.h>

#include "kafka.h"

struct beats {
	const struct context *ctx;
	char topic[TOPIC_MAX];
	rd_kafka_t *rk; /* NULL = not open */
	rd_kafka_topic_t *handle;
	struct codec *codec;
	struct reign reign; /* that holds the log; what others write does not count */
	struct arena arena; /* of the newest */
	struct record_heartbeat newest;
	uint64_t no; /* its number; 0 = none has come */
};

/** beats_open() - Blocks: up to some seconds. Return: 0; 1 = there is no such topic yet; negative. */
int beats_open(struct beats *beats, const struct context *ctx, struct error *err);
/** beats_poll() - reads what has come; a newer one has a higher number. Blocks: never. Return: 0, negative. */
int beats_poll(struct beats *beats, struct error *err);
void beats_fini(struct beats *beats);
