/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Looking at topics, and the rules they are judged by. Settings of a topic may have been changed by anyone at any time;
 * those that would make the log forget or reorder stop the reader before it writes.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fnv1a.h>

#include "topics.h"

#define REMEDY_PARTITIONS                                                                                    \
	"# a topic keeps its partitions: delete it while no reader runs, or choose a new transport.kafka.prefix"

static void put_part(const char *part, char *out, size_t size, size_t *at)
{
	static const char hex[] = "0123456789abcdef";

	for (; *part && *at + 8 < size; part++) {
		uint8_t c = (uint8_t)*part;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			     c == '-' || (c == '_' && part[1] != 'x');

		if (plain) {
			out[(*at)++] = (char)c;
			continue;
		}
		out[(*at)++] = '_';
		out[(*at)++] = 'x';
		out[(*at)++] = hex[c >> 4];
		out[(*at)++] = hex[c & 15];
		out[(*at)++] = '_';
	}
	out[*at] = '\0';
}

void topic_name(const char *prefix, const char *schema, const char *table, char ret[TOPIC_MAX])
{
	char text[4 * TOPIC_MAX];
	size_t at = (size_t)snprintf(text, TOPIC_MAX, "%s.", prefix);

	put_part(schema, text, sizeof(text), &at);
	text[at++] = '.';
	put_part(table, text, sizeof(text), &at);
	if (at < TOPIC_MAX)
		memcpy(ret, text, at + 1);
	else
		snprintf(ret, TOPIC_MAX, "%.230s_h%016llx", text,
			(unsigned long long)fnv1a(FNV1A_BASIS, text, at));
}

bool topic_is_tables(const char *prefix, const char *topic)
{
	size_t len = strlen(prefix);
	const char *dot;

	if (strncmp(topic, prefix, len) != 0 || topic[len] != '.')
		return false;
	topic += len + 1;
	dot = strchr(topic, '.');
	return dot && dot > topic && dot[1] && !strchr(dot + 1, '.');
}

void topic_set(const struct config *cfg, struct topic_set *ret)
{
	static const struct {
		const char *suffix;
		bool stream, tables, compact;
	} topics[] = {
		{ "changes", true, false, false },
		{ "heartbeat", false, true, false },
		{ "transaction", false, true, false },
		{ "message", false, true, false },
		{ "schemas", true, true, true },
		{ "state", true, true, true },
		{ "dead-letters", true, true, false },
	};
	bool tables = cfg->transport.kafka.layout == LAYOUT_TABLES;

	ret->n = 0;
	for (size_t i = 0; i < sizeof(topics) / sizeof(*topics); i++) {
		char *name = ret->names[ret->n];

		if (!(tables ? topics[i].tables : topics[i].stream))
			continue;
		snprintf(name, TOPIC_MAX, "%s.%s", cfg->transport.kafka.prefix, topics[i].suffix);
		ret->items[ret->n++] = (struct kafka_topic){ name, 1, topics[i].compact };
	}
}

/* gives each setting of a topic or broker to each(). Return: 0; 1 = they may not be known; negative = nobody answered */
static int settings_read(rd_kafka_t *rk, const struct context *ctx, rd_kafka_ResourceType_t type,
	const char *name, void (*each)(void *arg, const char *name, const char *value), void *arg,
	struct error *err)
{
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(type, name);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	const rd_kafka_ConfigResource_t **found = NULL;
	rd_kafka_event_t *event;
	size_t n = 0, n_entries = 0;
	int r = 1;

	rd_kafka_DescribeConfigs(rk, &resource, 1, NULL, queue);
	event = kafka_answer(ctx, queue);
	if (!event)
		r = error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "settings of %s: no answer in %d s",
			name, KAFKA_REQUEST_MS / 1000);
	if (event && !rd_kafka_event_error(event))
		found = rd_kafka_DescribeConfigs_result_resources(
			rd_kafka_event_DescribeConfigs_result(event), &n);
	if (found && n == 1 && !rd_kafka_ConfigResource_error(found[0])) {
		const rd_kafka_ConfigEntry_t **entries =
			rd_kafka_ConfigResource_configs(found[0], &n_entries);

		for (size_t i = 0; entries && i < n_entries; i++) {
			const char *value = rd_kafka_ConfigEntry_value(entries[i]);

			each(arg, rd_kafka_ConfigEntry_name(entries[i]), value ? value : "");
		}
		r = 0;
	}
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_ConfigResource_destroy(resource);
	return r;
}

static void topic_setting(void *arg, const char *name, const char *value)
{
	struct topic_facts *facts = arg;

	if (!strcmp(name, "cleanup.policy")) {
		facts->compacts = strstr(value, "compact") != NULL;
		facts->deletes = strstr(value, "delete") != NULL;
	} else if (!strcmp(name, "retention.ms")) {
		facts->retention_ms = strtoll(value, NULL, 10);
	} else if (!strcmp(name, "retention.bytes")) {
		facts->retention_bytes = strtoll(value, NULL, 10);
	} else if (!strcmp(name, "max.message.bytes")) {
		facts->max_message_bytes = strtoll(value, NULL, 10);
	} else if (!strcmp(name, "min.insync.replicas")) {
		facts->min_in_sync = strtoll(value, NULL, 10);
	} else if (!strcmp(name, "unclean.leader.election.enable")) {
		facts->unclean = !strcmp(value, "true");
	}
}

static void count_replicas(const struct rd_kafka_metadata_topic *topic, struct topic_facts *ret)
{
	ret->partitions = (uint32_t)topic->partition_cnt;
	for (int i = 0; i < topic->partition_cnt; i++) {
		uint32_t replicas = (uint32_t)topic->partitions[i].replica_cnt,
			 in_sync = (uint32_t)topic->partitions[i].isr_cnt;

		if (i == 0 || replicas < ret->replicas)
			ret->replicas = replicas;
		if (i == 0 || in_sync < ret->in_sync)
			ret->in_sync = in_sync;
	}
}

int topic_look(rd_kafka_t *rk, const struct context *ctx, const char *name, struct topic_facts *ret,
	struct error *err)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, name, NULL);
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;
	int r;

	if (!handle)
		return kafka_error(err, rd_kafka_last_error(), "opening topic %s", name);
	*ret = (struct topic_facts){ .retention_ms = -1, .retention_bytes = -1 };
	code = kafka_metadata(rk, ctx, false, handle, &meta);
	if (!code && meta->topic_cnt == 1) {
		code = meta->topics[0].err;
		count_replicas(&meta->topics[0], ret);
	}
	if (meta)
		rd_kafka_metadata_destroy(meta);
	rd_kafka_topic_destroy(handle);
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
		return 1;
	if (code)
		return kafka_error(err, code, "topic %s", name);
	r = settings_read(rk, ctx, RD_KAFKA_RESOURCE_TOPIC, name, topic_setting, ret, err);
	ret->known = r == 0;
	return r < 0 ? r : 0;
}

static void broker_setting(void *arg, const char *name, const char *value)
{
	if (!strcmp(name, "default.replication.factor"))
		*(uint32_t *)arg = (uint32_t)strtoul(value, NULL, 10);
}

int topic_new_replicas(rd_kafka_t *rk, const struct context *ctx, uint32_t *ret, struct error *err)
{
	const struct config_kafka *cfg = &ctx->cfg->transport.kafka;
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;
	char broker[16];
	int brokers;

	*ret = cfg->replication_factor > 0 ? (uint32_t)cfg->replication_factor : 0;
	if (*ret)
		return 0;
	code = kafka_metadata(rk, ctx, false, NULL, &meta);
	if (code)
		return kafka_error(err, code, "asking for the brokers");
	brokers = meta->broker_cnt;
	snprintf(broker, sizeof(broker), "%d", brokers ? (int)meta->brokers[0].id : 0);
	rd_kafka_metadata_destroy(meta);
	if (brokers == 1) {
		*ret = 1;
		return 0;
	}
	return settings_read(rk, ctx, RD_KAFKA_RESOURCE_BROKER, broker, broker_setting, ret, err) < 0 ? -1
												      : 0;
}

static void add_setting(struct finding_list *ret, enum finding_level level, const char *code,
	const struct config_kafka *cfg, const char *topic, const char *setting)
{
	_cleanup_(buf_freep) struct buf remedy = BUF_INIT;

	command_setting(cfg, topic, setting, &remedy);
	finding_add(ret, level, code, buf_str(&remedy), "topic %s", topic);
}

/* the text of the finding added last, behind "topic NAME" */
static void say(struct finding_list *list, int exit_code, const char *what)
{
	struct finding *f = &list->items[list->n - 1];
	size_t len = strlen(f->text);

	snprintf(f->text + len, sizeof(f->text) - len, " %s", what);
	f->exit_code = exit_code;
}

static void judge_forgets(const struct config_kafka *cfg, const struct kafka_topic *topic,
	const struct topic_facts *facts, struct finding_list *ret)
{
	bool by_age = facts->deletes && facts->retention_ms >= 0,
	     by_size = facts->deletes && facts->retention_bytes >= 0;
	bool shorter = cfg->retention_ms < 0 || facts->retention_ms < cfg->retention_ms;
	char setting[80];

	if (topic->compact) {
		if (!by_age && !by_size)
			return;
		add_setting(ret, FINDING_FAIL, "KAFKA-RETENTION", cfg, topic->name, "cleanup.policy=compact");
		say(ret, EXIT_CONFIG, "is emptied by age or size: sluice would forget what it needs");
		return;
	}
	if (facts->compacts) {
		/* with the retention that it would otherwise have from then on */
		snprintf(setting, sizeof(setting), "cleanup.policy=delete,retention.ms=%lld",
			(long long)(cfg->retention_ms < 0 ? -1 : cfg->retention_ms));
		add_setting(ret, FINDING_FAIL, "KAFKA-COMPACT", cfg, topic->name, setting);
		say(ret, EXIT_CONFIG, "is compacted: changes would vanish from the middle of the log");
	}
	if (by_age && shorter) {
		snprintf(setting, sizeof(setting), "retention.ms=%lld",
			(long long)(cfg->retention_ms < 0 ? -1 : cfg->retention_ms));
		add_setting(ret, FINDING_WARN, "KAFKA-RETENTION", cfg, topic->name, setting);
		say(ret, 0, "keeps records for less time than transport.kafka.retention says");
	}
	if (by_size) {
		add_setting(ret, FINDING_WARN, "KAFKA-RETENTION", cfg, topic->name, "retention.bytes=-1");
		say(ret, 0, "drops its oldest records when it grows (retention.bytes)");
	}
}

static void judge_replicas(const struct config_kafka *cfg, const struct kafka_topic *topic,
	const struct topic_facts *facts, struct finding_list *ret)
{
	char text[160];

	if (facts->replicas > 1 && facts->min_in_sync < 2) {
		add_setting(ret, FINDING_FAIL, "KAFKA-MIN-INSYNC", cfg, topic->name, "min.insync.replicas=2");
		say(ret, EXIT_CONFIG,
			"acknowledges what only one of its replicas has (min.insync.replicas=1)");
	} else if (facts->min_in_sync > facts->replicas) {
		add_setting(ret, FINDING_FAIL, "KAFKA-MIN-INSYNC", cfg, topic->name,
			facts->replicas > 1 ? "min.insync.replicas=2" : "min.insync.replicas=1");
		snprintf(text, sizeof(text), "can never be written: min.insync.replicas=%lld of %u",
			(long long)facts->min_in_sync, facts->replicas);
		say(ret, 0, text);
	} else if (facts->in_sync < facts->min_in_sync) {
		finding_add(ret, FINDING_WARN, "KAFKA-IN-SYNC", NULL,
			"topic %s cannot be written now: %u of %u replicas are in sync, %lld are needed",
			topic->name, facts->in_sync, facts->replicas, (long long)facts->min_in_sync);
	}
	if (facts->unclean) {
		add_setting(ret, FINDING_WARN, "KAFKA-UNCLEAN", cfg, topic->name,
			"unclean.leader.election.enable=false");
		say(ret, 0, "may lose acknowledged records when its leader dies (unclean election)");
	}
}

/* what goes into the topic of state is small, but for the schema's dump, which is stored in pieces */
static void judge_size(const struct config *cfg, const struct kafka_topic *topic,
	const struct topic_facts *facts, struct finding_list *ret)
{
	const struct config_kafka *kafka = &cfg->transport.kafka;
	long long ours = (long long)kafka_message_bytes(kafka);
	char setting[48], what[160];

	if (facts->max_message_bytes >= ours)
		return;
	snprintf(setting, sizeof(setting), "max.message.bytes=%lld", ours);
	snprintf(what, sizeof(what), "takes messages up to %lld bytes, sluice sends up to %lld",
		(long long)facts->max_message_bytes, ours);
	add_setting(ret, FINDING_FAIL, "KAFKA-MESSAGE-SIZE", kafka, topic->name, setting);
	say(ret, 0, what);
}

void topic_judge(const struct config *cfg, const struct kafka_topic *topic, const struct topic_facts *facts,
	struct finding_list *ret)
{
	if (facts->partitions != topic->partitions) {
		finding_add(ret, FINDING_FAIL, "KAFKA-PARTITIONS", REMEDY_PARTITIONS,
			"topic %s has %u partitions, it has to have %u: order would be lost", topic->name,
			facts->partitions, topic->partitions);
		ret->items[ret->n - 1].exit_code = EXIT_CONFIG;
	}
	if (!facts->known)
		return;
	judge_forgets(&cfg->transport.kafka, topic, facts, ret);
	judge_replicas(&cfg->transport.kafka, topic, facts, ret);
	judge_size(cfg, topic, facts, ret);
}
