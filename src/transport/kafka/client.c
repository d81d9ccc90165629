/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients of librdkafka, all configured in one place, so that no part can forget what the guarantees rest on: an
 * idempotent producer with acks=all, consumers that never reset an offset by themselves, no topic made by accident. The
 * operator's properties come first and ours after them: config refuses those that would contradict, and here they would
 * lose.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "kafka.h"

#define MESSAGE_BYTES	 (1024 * 1024) /* of a producer, unless configured */
#define SCAN_PATIENCE_MS 30000
#define SCAN_SLICE_MS	 500

static const char *list_get(const struct property_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (!strcmp(list->names[i], name))
			return list->values[i];
	}
	return NULL;
}

const char *property_of(const struct config_kafka *cfg, bool producer, const char *name)
{
	const char *value = list_get(producer ? &cfg->producer_properties : &cfg->consumer_properties, name);

	return value ? value : list_get(&cfg->properties, name);
}

int64_t kafka_message_bytes(const struct config_kafka *cfg)
{
	const char *text = property_of(cfg, true, "message.max.bytes");

	return text ? strtoll(text, NULL, 10) : MESSAGE_BYTES;
}

static enum error_class class_of(rd_kafka_resp_err_t code)
{
	switch ((int)code) {
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
	case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
	case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
	case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
	case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		return ERROR_CONFIG;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		return ERROR_DATA;
	default: /* an outside number: whatever is not known may pass */
		return ERROR_TRANSIENT;
	}
}

static bool is_refusal(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
	       code == RD_KAFKA_RESP_ERR__AUTHENTICATION;
}

int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what, ...)
{
	char text[200], name[24];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	snprintf(name, sizeof(name), "KAFKA-%.17s", rd_kafka_err2name(code));
	for (char *p = name; *p; p++)
		*p = *p == '_' ? '-' : *p;
	error_set(err, class_of(code), name, "%s: %s", text, rd_kafka_err2str(code));
	if (is_refusal(code)) {
		error_exit(err, EXIT_PERMISSION);
		error_remedy(err, "sluice check --print kafka prints the ACLs that are needed");
	}
	return -1;
}

int kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
	char text[200];

	if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		return 0;
	/* librdkafka's text may repeat the value, which may be a secret */
	return error_set(err, ERROR_CONFIG, "KAFKA-CONFIG", "librdkafka refuses %s", name);
}

int kafka_conf_list(rd_kafka_conf_t *conf, const struct property_list *list, struct error *err)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (kafka_conf_set(conf, list->names[i], list->values[i], err) < 0)
			return -1;
	}
	return 0;
}

/* Thread: librdkafka's. Its log goes nowhere: what matters comes as an error of a call or an event */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
}

rd_kafka_conf_t *kafka_conf(const struct context *ctx, const char *role, struct error *err)
{
	const struct config_kafka *cfg = &ctx->cfg->transport.kafka;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char id[80];

	snprintf(id, sizeof(id), "sluice-%s-%s", ctx->cfg->name, role);
	rd_kafka_conf_set_log_cb(conf, on_log);
	/* with several requests in flight the next one would wait for an ack of TCP, 40 ms on Linux */
	if (kafka_conf_set(conf, "socket.nagle.disable", "true", err) == 0 &&
		kafka_conf_list(conf, &cfg->properties, err) == 0 &&
		kafka_conf_set(conf, "bootstrap.servers", cfg->bootstrap_servers, err) == 0 &&
		kafka_conf_set(conf, "client.id", id, err) == 0 &&
		kafka_conf_set(conf, "allow.auto.create.topics", "false", err) == 0)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

/* makes the client; the configuration is consumed either way */
static int client_new(rd_kafka_type_t type, rd_kafka_conf_t *take_conf, rd_kafka_t **ret, struct error *err)
{
	char text[200];

	*ret = rd_kafka_new(type, take_conf, text, sizeof(text));
	if (*ret)
		return 0;
	rd_kafka_conf_destroy(take_conf);
	return error_set(err, ERROR_CONFIG, "KAFKA-CONFIG", "librdkafka: %s", text);
}

/* unless the operator has said otherwise */
static int producer_defaults(rd_kafka_conf_t *conf, const struct config_kafka *cfg, struct error *err)
{
	static const char *const defaults[][2] = {
		{ "compression.type", "lz4" },
		/* below a millisecond the client's thread polls without a pause, at the cost of the tail latencies; above it the
		 * wait is felt. Under load batches grow by themselves */
		{ "linger.ms", "1" },
		{ "batch.num.messages", "10000" },
	};
	char max[24];

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
		if (kafka_conf_set(conf, defaults[i][0], defaults[i][1], err) < 0)
			return -1;
	}
	snprintf(max, sizeof(max), "%d", MESSAGE_BYTES);
	return kafka_conf_set(conf, "message.max.bytes", max, err) < 0 ||
			       kafka_conf_list(conf, &cfg->properties, err) < 0
		       ? -1
		       : kafka_conf_list(conf, &cfg->producer_properties, err);
}

int kafka_producer(const struct context *ctx, const char *role, void *opaque,
	void (*on_delivery)(rd_kafka_t *, const rd_kafka_message_t *, void *), rd_kafka_t **ret,
	struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf(ctx, role, err);
	long long message_kbytes = kafka_message_bytes(&ctx->cfg->transport.kafka) / 1024 + 1;
	long long queue_kbytes = KAFKA_QUEUE_KBYTES;
	char messages[24], kbytes[24];

	if (!conf)
		return -1;
	snprintf(messages, sizeof(messages), "%d", KAFKA_QUEUE_MESSAGES);
	/* a message that has no room in an empty queue would wait for ever */
	if (message_kbytes > KAFKA_QUEUE_KBYTES)
		queue_kbytes = message_kbytes;
	snprintf(kbytes, sizeof(kbytes), "%lld", queue_kbytes);
	if (producer_defaults(conf, &ctx->cfg->transport.kafka, err) < 0 ||
		kafka_conf_set(conf, "enable.idempotence", "true", err) < 0 ||
		kafka_conf_set(conf, "acks", "all", err) < 0 ||
		/* behind a message that a broker refused, not one may be written */
		kafka_conf_set(conf, "enable.gapless.guarantee", "true", err) < 0 ||
		/* a message that was given up would be a gap: only the supervisor gives up */
		kafka_conf_set(conf, "delivery.timeout.ms", "0", err) < 0 ||
		kafka_conf_set(conf, "queue.buffering.max.messages", messages, err) < 0 ||
		kafka_conf_set(conf, "queue.buffering.max.kbytes", kbytes, err) < 0) {
		rd_kafka_conf_destroy(conf);
		return -1;
	}
	rd_kafka_conf_set_opaque(conf, opaque);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	return client_new(RD_KAFKA_PRODUCER, conf, ret, err);
}

int kafka_reader_client(const struct context *ctx, const char *role, rd_kafka_t **ret, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf(ctx, role, err);

	if (!conf)
		return -1;
	if (kafka_conf_list(conf, &ctx->cfg->transport.kafka.consumer_properties, err) < 0 ||
		kafka_conf_set(conf, "enable.partition.eof", "true", err) < 0 ||
		kafka_conf_set(conf, "auto.offset.reset", "error", err) < 0 ||
		kafka_conf_set(conf, "check.crcs", "true", err) < 0 ||
		kafka_conf_set(conf, "fetch.wait.max.ms", "50", err) < 0) {
		rd_kafka_conf_destroy(conf);
		return -1;
	}
	return client_new(RD_KAFKA_CONSUMER, conf, ret, err);
}

/* the # in front of a text of ours; see publish.c */
static void header_unwrap(struct message_header *h)
{
	if (h->len && *(const char *)h->value == '#' && !strncmp(h->name, "sluice.", 7)) {
		h->value = (const char *)h->value + 1;
		h->len--;
	}
}

void message_received(const rd_kafka_message_t *in, struct message *ret)
{
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_timestamp_type_t type;

	*ret = (struct message){
		.key = in->key,
		.key_len = in->key_len,
		.value = in->payload,
		.value_len = in->len,
		.offset = in->offset,
		.at_ms = rd_kafka_message_timestamp(in, &type),
	};
	if (rd_kafka_message_headers(in, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	for (size_t i = 0; ret->n_headers < MESSAGE_HEADERS; i++) {
		struct message_header *h = &ret->headers[ret->n_headers];

		if (rd_kafka_header_get_all(headers, i, &h->name, &h->value, &h->len) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		header_unwrap(h);
		ret->n_headers++;
	}
}

rd_kafka_headers_t *kafka_headers(const struct message *msg)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(msg->n_headers);

	for (uint32_t i = 0; i < msg->n_headers; i++) {
		const struct message_header *h = &msg->headers[i];

		rd_kafka_header_add(headers, h->name, -1, h->value, (ssize_t)h->len);
	}
	return headers;
}

struct codec *kafka_codec(const struct context *ctx, const char *database)
{
	const struct config_kafka *cfg = &ctx->cfg->transport.kafka;

	if (cfg->format == KAFKA_BINARY)
		return codec_binary_new();
	return codec_json_new(&(struct codec_json_options){
		.version = SLUICE_VERSION,
		.prefix = cfg->prefix,
		.database = database,
		.schemas = (enum json_schemas)cfg->json_schemas,
	});
}

static int scan_partition(rd_kafka_topic_t *topic, const struct context *ctx, const struct kafka_range *range,
	int (*each)(void *arg, const struct message *msg, struct error *err), void *arg, struct error *err)
{
	struct mono last = mono_now();
	int64_t next = range->from;
	int r = 0;

	while (r == 0 && next < range->to) {
		rd_kafka_message_t *in = rd_kafka_consume(topic, range->partition, SCAN_SLICE_MS);
		struct message msg;

		if (in && !in->err) {
			next = in->offset + 1;
			last = mono_now();
			message_received(in, &msg);
			if (in->offset < range->to)
				r = each(arg, &msg, err);
		} else if (in && in->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
			next = in->offset; /* what lies between were control records */
		} else if (in) {
			r = kafka_error(err, in->err, "reading topic %s", range->topic);
		} else if (mono_diff_us(mono_now(), last) > SCAN_PATIENCE_MS * INT64_C(1000) ||
			   context_stopping(ctx)) {
			r = error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT",
				"topic %s partition %d: nothing comes from offset %lld on", range->topic,
				(int)range->partition, (long long)next);
		}
		if (in)
			rd_kafka_message_destroy(in);
	}
	return r;
}

int kafka_scan(rd_kafka_t *rk, const struct context *ctx, const struct kafka_range *range,
	int (*each)(void *arg, const struct message *msg, struct error *err), void *arg, struct error *err)
{
	rd_kafka_topic_t *topic;
	int r;

	if (range->from >= range->to)
		return 0;
	topic = rd_kafka_topic_new(rk, range->topic, NULL);
	if (!topic || rd_kafka_consume_start(topic, range->partition, range->from) != 0)
		r = kafka_error(err, rd_kafka_last_error(), "reading topic %s", range->topic);
	else {
		r = scan_partition(topic, ctx, range, each, arg, err);
		rd_kafka_consume_stop(topic, range->partition);
	}
	if (topic)
		rd_kafka_topic_destroy(topic);
	return r;
}
