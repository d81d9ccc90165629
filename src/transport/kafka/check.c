/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What `sluice check` finds at the brokers. Nothing is written, not one topic made. What may be done is found out by
 * asking for it in a way that cannot succeed: brokers look at permissions before anything else.
 *   create  CreateTopics that only validates
 *   write   a message that wants acks=2, which no broker grants (INVALID_REQUIRED_ACKS)
 *   read    a fetch at the end of the partition
 *   group   a description of our groups
 *
 * In layout tables each table's topic is judged, and those that are all right are told by their number; permissions of the
 * prefix are probed at the first that is there and the first that is not.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "foreign.h"
#include "topics.h"

#define PROBE_MS 5000

struct checker {
	const struct context *ctx;
	const struct config_kafka *cfg;
	struct finding_list *out;
	rd_kafka_t *rk, *producer;
	uint32_t replicas; /* of a topic made now; 0 = unknown */
	uint32_t missing, single, closed;
	bool acl; /* something is not allowed */
	char reason[200];
	rd_kafka_resp_err_t worst;
	bool reported;
	rd_kafka_resp_err_t report;
};

static void add_error(struct checker *chk, const struct error *err)
{
	finding_add(chk->out, FINDING_FAIL, err->code, NULL, "%s", err->message);
	chk->out->items[chk->out->n - 1].exit_code = error_exit_code(err);
}

/* all of them have the same cure, which is shown once */
static void add_refused(struct checker *chk, const char *what, const char *name)
{
	_cleanup_(buf_freep) struct buf acls = BUF_INIT;

	if (!chk->acl)
		command_acls(chk->ctx->cfg, &acls);
	chk->acl = true;
	finding_add(chk->out, FINDING_FAIL, "KAFKA-ACL", buf_str(&acls), "%s %s is not allowed", what, name);
	chk->out->items[chk->out->n - 1].exit_code = EXIT_PERMISSION;
}

static bool is_refusal(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

/* Thread: the caller's, inside rd_kafka_poll(). That all brokers are down says less than why one is */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct checker *chk = opaque;
	char *after;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || chk->worst == RD_KAFKA_RESP_ERR__AUTHENTICATION)
		return;
	chk->worst = (rd_kafka_resp_err_t)code;
	snprintf(chk->reason, sizeof(chk->reason), "%s", reason);
	after = strstr(chk->reason, " (after ");
	if (after)
		*after = 0;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct checker *chk = opaque;

	chk->reported = true;
	chk->report = msg->err;
}

static int client(struct checker *chk, rd_kafka_conf_t *take_conf, bool producer, struct error *err)
{
	rd_kafka_t **ret = producer ? &chk->producer : &chk->rk;
	char text[200];

	rd_kafka_conf_set_opaque(take_conf, chk);
	rd_kafka_conf_set_error_cb(take_conf, on_error);
	if (producer)
		rd_kafka_conf_set_dr_msg_cb(take_conf, on_delivery);
	*ret = rd_kafka_new(producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, take_conf, text, sizeof(text));
	if (*ret)
		return 0;
	rd_kafka_conf_destroy(take_conf);
	return error_set(err, ERROR_CONFIG, "KAFKA-CONFIG", "librdkafka: %s", text);
}

static int clients(struct checker *chk, struct error *err)
{
	rd_kafka_conf_t *reading = kafka_conf(chk->ctx, "check", err), *writing;

	if (!reading)
		return -1;
	if (kafka_conf_list(reading, &chk->cfg->consumer_properties, err) < 0 ||
		kafka_conf_set(reading, "enable.partition.eof", "true", err) < 0 ||
		kafka_conf_set(reading, "fetch.wait.max.ms", "50", err) < 0 ||
		kafka_conf_set(reading, "auto.offset.reset", "error", err) < 0) {
		rd_kafka_conf_destroy(reading);
		return -1;
	}
	writing = kafka_conf(chk->ctx, "check", err);
	if (!writing || client(chk, reading, false, err) < 0)
		return -1;
	if (kafka_conf_list(writing, &chk->cfg->producer_properties, err) < 0 ||
		kafka_conf_set(writing, "enable.idempotence", "false", err) < 0 ||
		kafka_conf_set(writing, "acks", "2", err) < 0 ||
		kafka_conf_set(writing, "retries", "0", err) < 0 ||
		kafka_conf_set(writing, "delivery.timeout.ms", "4000", err) < 0) {
		rd_kafka_conf_destroy(writing);
		return -1;
	}
	return client(chk, writing, true, err);
}

static bool is_local(const char *servers)
{
	return !strncmp(servers, "127.", 4) || !strncmp(servers, "localhost", 9) ||
	       !strncmp(servers, "[::1]", 5);
}

static void check_encryption(struct checker *chk)
{
	const char *protocol = property_of(chk->cfg, true, "security.protocol");

	if (is_local(chk->cfg->bootstrap_servers) || (protocol && strcasestr(protocol, "ssl")))
		return;
	finding_add(chk->out, FINDING_WARN, "KAFKA-TLS",
		"# in transport.kafka.properties: {security.protocol: ssl} or sasl_ssl",
		"the connection is not encrypted: every change travels readable");
}

/* false: there is nobody to ask */
static bool check_brokers(struct checker *chk)
{
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code = kafka_metadata(chk->rk, chk->ctx, false, NULL, &meta);
	bool password;

	rd_kafka_poll(chk->rk, 0);
	if (!code) {
		snprintf(chk->out->title, sizeof(chk->out->title), "%s, %d broker%s, prefix %s, %s",
			chk->cfg->bootstrap_servers, meta->broker_cnt, meta->broker_cnt == 1 ? "" : "s",
			chk->cfg->prefix,
			chk->cfg->events == EVENTS_DEBEZIUM ? "events of Debezium"
			: chk->cfg->layout == LAYOUT_TABLES ? "layout tables"
							    : "layout stream");
		rd_kafka_metadata_destroy(meta);
		return true;
	}
	password = chk->worst == RD_KAFKA_RESP_ERR__AUTHENTICATION;
	finding_add(chk->out, FINDING_FAIL, password ? "KAFKA-AUTH" : "KAFKA-UNREACHABLE",
		password
			? "# sasl.username and sasl.password, or the certificate, in transport.kafka.properties"
			: "# transport.kafka.bootstrap_servers, and security.protocol in transport.kafka.properties",
		"%s: %s", chk->cfg->bootstrap_servers, *chk->reason ? chk->reason : rd_kafka_err2str(code));
	chk->out->items[chk->out->n - 1].exit_code = password ? EXIT_PERMISSION : EXIT_UNAVAILABLE;
	return false;
}

static void probe_write(struct checker *chk, const char *topic)
{
	struct mono until = mono_add_ms(mono_now(), PROBE_MS);
	rd_kafka_topic_t *handle = rd_kafka_topic_new(chk->producer, topic, NULL);
	const struct rd_kafka_metadata *meta = NULL;

	/* a producer that does not know the leader yet asks for it once a second */
	if (handle && rd_kafka_metadata(chk->producer, 0, handle, &meta, PROBE_MS) == 0)
		rd_kafka_metadata_destroy(meta);
	chk->reported = false;
	chk->report = rd_kafka_producev(
		chk->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_END);
	chk->reported = chk->report != RD_KAFKA_RESP_ERR_NO_ERROR;
	while (!chk->reported && mono_until_ms(until, mono_now()) > 0)
		rd_kafka_poll(chk->producer, 100);
	if (handle)
		rd_kafka_topic_destroy(handle);
	if (is_refusal(chk->report))
		add_refused(chk, "writing topic", topic);
	else if (chk->report != RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS)
		finding_add(chk->out, FINDING_WARN, "KAFKA-WRITE", NULL,
			"topic %s: whether it may be written cannot be told: %s", topic,
			rd_kafka_err2str(chk->reported ? chk->report : RD_KAFKA_RESP_ERR__TIMED_OUT));
}

static void probe_read(struct checker *chk, const char *topic)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(chk->rk, topic, NULL);
	rd_kafka_message_t *msg = NULL;
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;

	if (!handle)
		return;
	if (rd_kafka_consume_start(handle, 0, RD_KAFKA_OFFSET_END) == 0) {
		msg = rd_kafka_consume(handle, 0, PROBE_MS);
		rd_kafka_consume_stop(handle, 0);
	}
	if (msg) {
		code = msg->err;
		rd_kafka_message_destroy(msg);
	}
	rd_kafka_topic_destroy(handle);
	if (is_refusal(code))
		add_refused(chk, "reading topic", topic);
	else if (code && code != RD_KAFKA_RESP_ERR__PARTITION_EOF)
		finding_add(chk->out, FINDING_WARN, "KAFKA-READ", NULL,
			"topic %s: whether it may be read cannot be told: %s", topic, rd_kafka_err2str(code));
}

/* settings that may not be seen are said once for all topics */
static void check_existing(
	struct checker *chk, const struct kafka_topic *topic, const struct topic_facts *facts)
{
	uint32_t before = chk->out->n;

	topic_judge(chk->ctx->cfg, topic, facts, chk->out);
	probe_write(chk, topic->name);
	probe_read(chk, topic->name);
	chk->single += facts->replicas == 1;
	chk->closed += !facts->known;
	if (chk->out->n == before && facts->known)
		finding_add(chk->out, FINDING_OK, "", NULL, "topic %s, %u replica%s, %lld in sync needed",
			topic->name, facts->replicas, facts->replicas == 1 ? "" : "s",
			(long long)facts->min_in_sync);
}

static void check_missing(struct checker *chk, const struct kafka_topic *topic)
{
	_cleanup_(buf_freep) struct buf remedy = BUF_INIT;
	struct error err = ERROR_INIT;

	if (!chk->cfg->create_topics) {
		command_topic(chk->cfg, topic, chk->replicas, &remedy);
		finding_add(chk->out, FINDING_FAIL, "KAFKA-TOPIC-MISSING", buf_str(&remedy),
			"topic %s does not exist, and transport.kafka.create_topics is false", topic->name);
		chk->out->items[chk->out->n - 1].exit_code = EXIT_CONFIG;
	} else if (topic_make(chk->rk, chk->ctx, topic, true, &err) == 0) {
		chk->missing++;
		chk->single += chk->replicas == 1;
	} else if (error_exit_code(&err) == EXIT_PERMISSION) {
		add_refused(chk, "creating topic", topic->name);
	} else {
		add_error(chk, &err);
	}
}

/* Return: 0; 1 = there is none; negative, a finding says why */
static int look_at_topic(struct checker *chk, const char *name, struct topic_facts *ret)
{
	struct error err = ERROR_INIT;
	int r = topic_look(chk->rk, chk->ctx, name, ret, &err);

	if (r < 0 && error_exit_code(&err) == EXIT_PERMISSION)
		add_refused(chk, "seeing topic", name);
	else if (r < 0)
		add_error(chk, &err);
	return r;
}

static void check_topic(struct checker *chk, const struct kafka_topic *topic)
{
	struct topic_facts facts;
	int r = look_at_topic(chk, topic->name, &facts);

	if (r == 0)
		check_existing(chk, topic, &facts);
	else if (r > 0)
		check_missing(chk, topic);
}

static void check_group(struct checker *chk, const char *suffix)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(chk->rk);
	const rd_kafka_ConsumerGroupDescription_t **groups;
	const rd_kafka_error_t *error = NULL;
	rd_kafka_event_t *event;
	char name[80];
	const char *names[] = { name };
	size_t n = 0;

	snprintf(name, sizeof(name), "sluice-%s%s", chk->ctx->cfg->name, suffix);
	rd_kafka_DescribeConsumerGroups(chk->rk, names, 1, NULL, queue);
	event = kafka_answer(chk->ctx, queue);
	if (event && !rd_kafka_event_error(event)) {
		groups = rd_kafka_DescribeConsumerGroups_result_groups(
			rd_kafka_event_DescribeConsumerGroups_result(event), &n);
		error = n == 1 ? rd_kafka_ConsumerGroupDescription_error(groups[0]) : NULL;
	}
	if (error && is_refusal(rd_kafka_error_code(error)))
		add_refused(chk, "using group", name);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
}

/* what is said once for all topics */
static void check_sum(struct checker *chk)
{
	if (chk->missing)
		finding_add(chk->out, FINDING_OK, "", NULL, "%u topic%s will be created", chk->missing,
			chk->missing == 1 ? "" : "s");
	if (chk->single)
		finding_add(chk->out, FINDING_WARN, "KAFKA-ONE-REPLICA",
			"# transport.kafka.replication_factor: 3, before the topics are created",
			"topics with one replica: what is confirmed at the source is on one broker only");
	if (chk->closed)
		finding_add(chk->out, FINDING_WARN, "KAFKA-SETTINGS", NULL,
			"the topics' settings may not be seen (ACL DescribeConfigs)");
}

/* what the topic's settings may cost somebody who reads it */
static void check_foreign_topic(struct checker *chk, const char *name)
{
	struct error err = ERROR_INIT;
	struct topic_facts facts;

	probe_read(chk, name);
	if (topic_look(chk->rk, chk->ctx, name, &facts, &err) != 0 || !facts.known)
		return;
	if (facts.compacts)
		finding_add(chk->out, FINDING_WARN, "KAFKA-COMPACT", NULL,
			"topic %s is compacted: where an update lacks a long value that was not changed, the change that "
			"has it may be gone",
			name);
	if (facts.deletes && (facts.retention_ms >= 0 || facts.retention_bytes >= 0))
		finding_add(chk->out, FINDING_WARN, "KAFKA-RETENTION", NULL,
			"topic %s deletes messages: who is behind by more than that needs a new snapshot of Debezium's",
			name);
}

/* Debezium's topics: they are its to make, and may not be there yet */
static void check_foreign(struct checker *chk)
{
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code = kafka_metadata(chk->rk, chk->ctx, true, NULL, &meta);
	uint32_t n = 0;

	for (int i = 0; !code && i < meta->topic_cnt; i++) {
		if (!foreign_matches(chk->cfg, meta->topics[i].topic))
			continue;
		n++;
		check_foreign_topic(chk, meta->topics[i].topic);
	}
	if (meta)
		rd_kafka_metadata_destroy(meta);
	finding_add(chk->out, n ? FINDING_OK : FINDING_WARN, n ? "" : "KAFKA-TOPIC", NULL,
		"%u topic%s of Debezium's %s", n, n == 1 ? "" : "s",
		n ? "to read" : "match transport.kafka.topics: it has written nothing yet, or not there");
}

/* topics of tables: what they have in common */
struct spread {
	struct state
		*stored; /* what the reader has written of its topics; NULL = nothing, or it cannot be read */
	uint32_t good, missing;
};

/* a topic keeps the number of partitions that it was first written with; 0 = it was not yet */
static uint32_t stored_partitions(const struct spread *spread, const char *topic)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	struct error ignored = ERROR_INIT;

	buf_printf(&key, "topic/%s", topic);
	if (!spread->stored || state_get(spread->stored, buf_str(&key), &value, &ignored) != 0)
		return 0;
	return (uint32_t)strtoul(buf_str(&value), NULL, 10);
}

static void check_spread_existing(struct checker *chk, struct spread *spread, struct kafka_topic *topic,
	const struct topic_facts *facts, bool tied)
{
	uint32_t before = chk->out->n, stored = stored_partitions(spread, topic->name);

	/* one that somebody made has the number that it was given */
	topic->partitions = stored ? stored : facts->partitions;
	topic_judge(chk->ctx->cfg, topic, facts, chk->out);
	if (tied && facts->partitions > 1) {
		finding_add(chk->out, FINDING_FAIL, "KAFKA-TIED",
			"# drop that constraint on the source; or delete the topic before the first start, and it gets one partition",
			"topic %s has %u partitions; a unique or exclusion constraint beside the key needs one",
			topic->name, facts->partitions);
		chk->out->items[chk->out->n - 1].exit_code = EXIT_CONFIG;
	}
	if (!spread->good) {
		probe_write(chk, topic->name);
		probe_read(chk, topic->name);
	}
	chk->single += facts->replicas == 1;
	chk->closed += !facts->known;
	spread->good += chk->out->n == before;
}

static void check_spread_topic(
	struct checker *chk, struct spread *spread, struct kafka_topic *topic, bool tied)
{
	struct topic_facts facts;
	int r = look_at_topic(chk, topic->name, &facts);

	if (r == 0)
		check_spread_existing(chk, spread, topic, &facts, tied);
	else if (r > 0 && chk->cfg->create_topics && spread->missing++)
		chk->missing++;
	else if (r > 0)
		check_missing(chk, topic);
}

static void check_table(struct checker *chk, struct spread *spread, const struct check_table *table)
{
	char name[TOPIC_MAX];
	struct kafka_topic topic = { .name = name, .partitions = table_partitions(chk->cfg, table) };

	if (!table->keyed) {
		finding_add(chk->out, FINDING_FAIL, "KAFKA-NO-KEY",
			"# give it a primary key, exclude it, or use transport.kafka.layout: stream",
			"%s.%s has no primary key: in layout tables rows are spread and ordered by key",
			table->schema, table->name);
		chk->out->items[chk->out->n - 1].exit_code = EXIT_CONFIG;
		return;
	}
	topic_name(chk->cfg->prefix, table->schema, table->name, name);
	check_spread_topic(chk, spread, &topic, table->tied);
}

/* who does not know the source's tables looks at what is there */
static void check_present(struct checker *chk, struct spread *spread)
{
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code = kafka_metadata(chk->rk, chk->ctx, true, NULL, &meta);

	for (int i = 0; !code && i < meta->topic_cnt; i++) {
		struct kafka_topic topic = { .name = meta->topics[i].topic };

		if (topic_is_tables(chk->cfg->prefix, topic.name))
			check_spread_topic(chk, spread, &topic, false);
	}
	if (meta)
		rd_kafka_metadata_destroy(meta);
}

static void check_tables(struct checker *chk, const struct check_tables *tables, const char *state)
{
	struct error ignored = ERROR_INIT;
	struct spread spread = { 0 };
	struct topic_facts facts;

	if (topic_look(chk->rk, chk->ctx, state, &facts, &ignored) == 0 &&
		state_kafka_new(chk->ctx, &spread.stored, &ignored) < 0)
		spread.stored = NULL;
	for (uint32_t i = 0; tables && i < tables->n; i++)
		check_table(chk, &spread, &tables->items[i]);
	if (!tables)
		check_present(chk, &spread);
	if (spread.good || !tables)
		finding_add(chk->out, FINDING_OK, "", NULL, "%u topic%s of tables%s", spread.good,
			spread.good == 1 ? "" : "s",
			tables ? "" : "; which the source has is to be seen where the reader runs");
	if (spread.stored)
		state_kafka_free(spread.stored);
}

static void check_own(struct checker *chk, const struct check_tables *tables)
{
	char state[TOPIC_MAX];
	struct topic_set set;

	topic_set(chk->ctx->cfg, &set);
	for (uint32_t i = 0; i < set.n; i++)
		check_topic(chk, &set.items[i]);
	snprintf(state, sizeof(state), "%s.state", chk->cfg->prefix);
	if (chk->cfg->layout == LAYOUT_TABLES)
		check_tables(chk, tables, state);
}

void transport_kafka_check(const struct context *ctx, const struct check_tables *tables,
	struct finding_list *ret, uint32_t *ret_replicas)
{
	struct checker chk = { .ctx = ctx, .cfg = &ctx->cfg->transport.kafka, .out = ret };
	struct error err = ERROR_INIT;

	snprintf(ret->title, sizeof(ret->title), "%s", chk.cfg->bootstrap_servers);
	*ret_replicas = 0;
	if (clients(&chk, &err) < 0) {
		add_error(&chk, &err);
	} else if (check_brokers(&chk)) {
		if (topic_new_replicas(chk.rk, ctx, &chk.replicas, &err) < 0)
			add_error(&chk, &err);
		*ret_replicas = chk.replicas;
		check_encryption(&chk);
		if (chk.cfg->events == EVENTS_DEBEZIUM)
			check_foreign(&chk);
		else
			check_own(&chk, tables);
		check_group(&chk, "");
		if (chk.cfg->events != EVENTS_DEBEZIUM)
			check_group(&chk, "-notes");
		check_sum(&chk);
	}
	if (chk.producer)
		rd_kafka_destroy(chk.producer);
	if (chk.rk)
		rd_kafka_destroy(chk.rk);
}
