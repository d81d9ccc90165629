/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The commands of Kafka's own tools that give sluice what it needs, for whoever may do that. A shell reads them as they
 * are, any number of times.
 */

#include <stdio.h>
#include <string.h>

#include "topics.h"

/* in single quotes, whatever it holds */
static void put_quoted(struct buf *out, const char *text)
{
	buf_putc(out, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			buf_puts(out, "'\\''");
		else
			buf_putc(out, *text);
	}
	buf_putc(out, '\'');
}

static void put_tool(struct buf *out, const char *tool, const struct config_kafka *cfg)
{
	buf_printf(out, "%s.sh --bootstrap-server ", tool);
	put_quoted(out, cfg->bootstrap_servers);
}

static void put_setting(struct buf *out, const char *name, long long value)
{
	buf_printf(out, " --config %s=%lld", name, value);
}

void command_topic(
	const struct config_kafka *cfg, const struct kafka_topic *topic, uint32_t replicas, struct buf *out)
{
	put_tool(out, "kafka-topics", cfg);
	buf_puts(out, " --create --if-not-exists --topic ");
	buf_puts(out, topic->name);
	buf_printf(out, " --partitions %u", topic->partitions);
	if (cfg->replication_factor > 0)
		buf_printf(out, " --replication-factor %d", cfg->replication_factor);
	buf_printf(out, " --config cleanup.policy=%s", topic->compact ? "compact" : "delete");
	put_setting(out, "retention.ms", topic->compact || cfg->retention_ms < 0 ? -1 : cfg->retention_ms);
	put_setting(out, "retention.bytes", -1);
	buf_puts(out, " --config message.timestamp.type=CreateTime");
	put_setting(out, "min.insync.replicas", replicas == 1 ? 1 : 2);
	buf_putc(out, '\n');
}

void command_setting(const struct config_kafka *cfg, const char *topic, const char *setting, struct buf *out)
{
	put_tool(out, "kafka-configs", cfg);
	buf_puts(out, " --alter --entity-type topics --entity-name ");
	buf_puts(out, topic);
	buf_printf(out, " --add-config %s\n", setting);
}

/* who we are to the brokers: known with user names, a guess with certificates */
static void put_acl(struct buf *out, const struct config_kafka *cfg)
{
	const char *user = property_of(cfg, true, "sasl.username");
	char principal[256];

	snprintf(principal, sizeof(principal), "User:%s", user ? user : "sluice");
	put_tool(out, "kafka-acls", cfg);
	buf_puts(out, " --add --allow-principal ");
	put_quoted(out, principal);
}

/* Debezium's topics are read, no more; a pattern is as long as its first * or ? */
static void put_foreign_acls(const struct config *cfg, struct buf *out)
{
	const struct config_kafka *kafka = &cfg->transport.kafka;

	for (uint32_t i = 0; i < kafka->topics.n || !i; i++) {
		const char *topic = kafka->topics.n ? kafka->topics.items[i] : kafka->prefix;
		size_t len = strcspn(topic, "*?");

		put_acl(out, kafka);
		buf_puts(out, " --operation Read --operation Describe --operation DescribeConfigs --topic ");
		buf_put(out, topic, len);
		buf_puts(out, kafka->topics.n ? "" : ".");
		buf_puts(out, kafka->topics.n && !topic[len] ? "\n" : " --resource-pattern-type prefixed\n");
	}
	put_acl(out, kafka);
	buf_printf(out, " --operation Read --operation Describe --group sluice-%s\n", cfg->name);
}

void command_acls(const struct config *cfg, struct buf *out)
{
	const struct config_kafka *kafka = &cfg->transport.kafka;

	if (kafka->events == EVENTS_DEBEZIUM) {
		put_foreign_acls(cfg, out);
		return;
	}
	put_acl(out, kafka);
	buf_puts(out, " --operation Read --operation Write --operation Describe --operation DescribeConfigs");
	if (kafka->create_topics)
		buf_puts(out, " --operation Create");
	buf_printf(out, " --topic %s. --resource-pattern-type prefixed\n", kafka->prefix);
	put_acl(out, kafka);
	buf_printf(out, " --operation Read --operation Describe --group sluice-%s --group sluice-%s-notes\n",
		cfg->name, cfg->name);
	put_acl(out, kafka);
	buf_puts(out, " --operation IdempotentWrite --cluster\n");
}

/* commands, with the administrator's settings put behind the tool's name */
static void put_script(const char *commands, struct buf *out)
{
	while (*commands) {
		size_t tool = strcspn(commands, " "), len = strcspn(commands, "\n");

		buf_put(out, commands, tool);
		buf_puts(out, " ${ADMIN_CONFIG:+--command-config \"$ADMIN_CONFIG\"}");
		buf_put(out, commands + tool, len - tool);
		buf_putc(out, '\n');
		commands += len;
		commands += *commands == '\n';
	}
}

/* what was found at topics that exist; the commands before it have the rest */
static void put_found(const struct finding_list *found, struct buf *out)
{
	for (uint32_t i = 0; i < found->n; i++) {
		const struct finding *f = &found->items[i];
		bool command = f->remedy && !strncmp(f->remedy, "kafka-configs.sh", 16);

		if (f->level == FINDING_OK)
			continue;
		buf_printf(
			out, "# %s %s: %s\n", f->level == FINDING_FAIL ? "FAIL" : "warn", f->code, f->text);
		if (!command)
			continue;
		buf_puts(out, f->level == FINDING_FAIL ? "" : "# ");
		put_script(f->remedy, out);
	}
}

/* one that cannot have a topic is told by the check */
static void put_tables(
	const struct config *cfg, const struct check_tables *tables, uint32_t replicas, struct buf *out)
{
	const struct config_kafka *kafka = &cfg->transport.kafka;
	char name[TOPIC_MAX];

	for (uint32_t i = 0; i < tables->n; i++) {
		const struct check_table *table = &tables->items[i];
		struct kafka_topic topic = { .name = name, .partitions = table_partitions(kafka, table) };

		if (!table->keyed)
			continue;
		topic_name(kafka->prefix, table->schema, table->name, name);
		command_topic(kafka, &topic, replicas, out);
	}
}

void transport_kafka_commands(const struct config *cfg, const struct check_tables *tables,
	const struct finding_list *found, uint32_t replicas, struct buf *ret)
{
	_cleanup_(buf_freep) struct buf commands = BUF_INIT;
	bool spread =
		cfg->transport.kafka.layout == LAYOUT_TABLES && cfg->transport.kafka.events == EVENTS_SLUICE;
	struct topic_set set;

	topic_set(cfg, &set);
	for (uint32_t i = 0; i < set.n && cfg->transport.kafka.events == EVENTS_SLUICE; i++)
		command_topic(&cfg->transport.kafka, &set.items[i], replicas, &commands);
	if (spread && tables)
		put_tables(cfg, tables, replicas, &commands);
	command_acls(cfg, &commands);
	buf_printf(ret,
		"# Topics and ACLs of sluice %s, for an administrator of the brokers with Kafka's bin folder in PATH.\n"
		"# ADMIN_CONFIG=FILE in the environment: the settings of the administrator's client.\n",
		cfg->name);
	if (spread && !tables)
		buf_puts(ret,
			"# The topics of tables are not among these: that takes a look at the source, where the reader runs.\n");
	if (!replicas)
		buf_puts(ret, "# Where topics have one replica only, min.insync.replicas has to be 1.\n");
	if (!property_of(&cfg->transport.kafka, true, "sasl.username"))
		buf_puts(ret, "# User:sluice stands for the name that the brokers know sluice by.\n");
	put_script(buf_str(&commands), ret);
	if (found)
		put_found(found, ret);
}
