/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The topics, made by the Admin API where they are missing: what they need to keep their promises (retention,
 * compaction, in-sync replicas) is given at creation, never changed later behind an operator's back: one that exists is
 * looked at, and refused where the log could lose something in it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topics.h"

#define VISIBLE_MS 10000

static int topic_config(rd_kafka_NewTopic_t *topic, const char *name, const char *value, struct error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_NewTopic_set_config(topic, name, value);

	return code ? kafka_error(err, code, "topic setting %s", name) : 0;
}

static rd_kafka_NewTopic_t *topic_new(
	rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topic, struct error *err)
{
	const struct config_kafka *cfg = &ctx->cfg->transport.kafka;
	char text[200], retention[24];
	rd_kafka_NewTopic_t *new;
	uint32_t replicas;

	/* a topic keeps what a guess has given it */
	if (topic_new_replicas(rk, ctx, &replicas, err) < 0)
		return NULL;
	new = rd_kafka_NewTopic_new(
		topic->name, (int)topic->partitions, cfg->replication_factor, text, sizeof(text));
	if (!new) {
		error_set(err, ERROR_CONFIG, "KAFKA-TOPIC", "topic %s: %s", topic->name, text);
		return NULL;
	}
	snprintf(retention, sizeof(retention), "%lld",
		(long long)(cfg->retention_ms < 0 || topic->compact ? -1 : cfg->retention_ms));
	if (topic_config(new, "cleanup.policy", topic->compact ? "compact" : "delete", err) < 0 ||
		topic_config(new, "retention.ms", retention, err) < 0 ||
		topic_config(new, "retention.bytes", "-1", err) < 0 ||
		topic_config(new, "message.timestamp.type", "CreateTime", err) < 0 ||
		topic_config(new, "min.insync.replicas", replicas == 1 ? "1" : "2", err) < 0) {
		rd_kafka_NewTopic_destroy(new);
		return NULL;
	}
	return new;
}

static int topic_result(rd_kafka_event_t *event, const struct kafka_topic *topic, struct error *err)
{
	const rd_kafka_CreateTopics_result_t *result;
	const rd_kafka_topic_result_t **topics;
	rd_kafka_resp_err_t code;
	size_t n = 0;

	if (!event)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "topic %s could not be made in %d s",
			topic->name, KAFKA_REQUEST_MS / 1000);
	code = rd_kafka_event_error(event);
	if (!code) {
		result = rd_kafka_event_CreateTopics_result(event);
		topics = rd_kafka_CreateTopics_result_topics(result, &n);
		code = n == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
	}
	if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return 0;
	return code ? kafka_error(err, code, "making topic %s", topic->name) : 0;
}

int topic_make(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topic, bool only_try,
	struct error *err)
{
	rd_kafka_NewTopic_t *new = topic_new(rk, ctx, topic, err);
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event;
	char text[200];
	int r;

	if (!new)
		return -1;
	queue = rd_kafka_queue_new(rk);
	options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	if (only_try)
		rd_kafka_AdminOptions_set_validate_only(options, 1, text, sizeof(text));
	rd_kafka_CreateTopics(rk, &new, 1, options, queue);
	rd_kafka_AdminOptions_destroy(options);
	event = kafka_answer(ctx, queue);
	r = topic_result(event, topic, err);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_NewTopic_destroy(new);
	return r;
}

/* a topic that was made is not at once known to every broker */
static int topic_wait(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topic,
	struct topic_facts *ret, struct error *err)
{
	struct mono until = mono_add_ms(mono_now(), VISIBLE_MS);
	int r;

	do {
		r = topic_look(rk, ctx, topic->name, ret, err);
		if (r == 1)
			rd_kafka_poll(rk, 50);
	} while (r == 1 && mono_until_ms(until, mono_now()) > 0);
	if (r == 1)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-TOPIC", "topic %s was made but does not appear",
			topic->name);
	return r;
}

/* the first thing that the reader may not go on with */
static int topic_refuse(const struct config *cfg, const struct kafka_topic *topic,
	const struct topic_facts *facts, struct error *err)
{
	struct finding_list found = { 0 };
	int r = 0;

	topic_judge(cfg, topic, facts, &found);
	for (uint32_t i = 0; r == 0 && i < found.n; i++) {
		const struct finding *f = &found.items[i];

		if (f->level != FINDING_FAIL || !f->exit_code)
			continue;
		r = error_set(err, ERROR_CONFIG, f->code, "%s", f->text);
		error_exit(err, f->exit_code);
		error_remedy(err, "sluice check --print kafka prints the command that cures it");
	}
	finding_list_fini(&found);
	return r;
}

static int topic_ensure(
	rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topic, struct error *err)
{
	struct topic_facts facts;
	int r = topic_look(rk, ctx, topic->name, &facts, err);

	if (r == 1 && !ctx->cfg->transport.kafka.create_topics) {
		error_set(err, ERROR_CONFIG, "KAFKA-TOPIC-MISSING",
			"topic %s does not exist, and transport.kafka.create_topics is false", topic->name);
		return error_remedy(err, "sluice check --print kafka prints the commands that make it");
	}
	if (r == 1) {
		r = topic_make(rk, ctx, topic, false, err);
		if (r == 0)
			r = topic_wait(rk, ctx, topic, &facts, err);
	}
	/* also what was just made: somebody else may have been first */
	return r == 0 ? topic_refuse(ctx->cfg, topic, &facts, err) : r;
}

int kafka_topics_ensure(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topics,
	uint32_t n, struct error *err)
{
	for (uint32_t i = 0; i < n; i++) {
		if (topic_ensure(rk, ctx, &topics[i], err) < 0)
			return -1;
	}
	return 0;
}
