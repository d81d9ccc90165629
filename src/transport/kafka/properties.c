/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Properties passed through to librdkafka: everything it knows, but for what sluice's guarantees rest on.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <librdkafka/rdkafka.h>

#include <sluice/kafka_properties.h>

static const struct {
	const char *name, *why;
} refused[] = {
	{ "acks", "what is confirmed at the source has to be on all in-sync replicas" },
	{ "request.required.acks", "what is confirmed at the source has to be on all in-sync replicas" },
	{ "enable.idempotence", "without it a retry writes records twice or out of order" },
	{ "enable.gapless.guarantee", "sluice ends the producer itself at the first gap" },
	{ "transactional.id", "sluice's log needs no transactions of Kafka" },
	{ "max.in.flight", "the order of records rests on it" },
	{ "max.in.flight.requests.per.connection", "the order of records rests on it" },
	{ "retries", "a message that is given up is a gap" },
	{ "message.send.max.retries", "a message that is given up is a gap" },
	{ "delivery.timeout.ms", "a message that is given up is a gap" },
	{ "message.timeout.ms", "a message that is given up is a gap" },
	{ "delivery.report.only.error", "what is confirmed at the source rests on every report" },
	{ "queuing.strategy", "the order of records rests on it" },
	{ "partitioner", "sluice decides which partition a key belongs to" },
	{ "queue.buffering.max.messages", "how far back a reader looks at its start rests on it" },
	{ "queue.buffering.max.kbytes", "the bound of memory rests on it" },
	{ "auto.offset.reset", "an offset that is gone must be an error" },
	{ "enable.auto.commit", "progress is kept in the target" },
	{ "auto.commit.enable", "progress is kept in the target" },
	{ "offset.store.method", "progress is kept in the target" },
	{ "enable.auto.offset.store", "progress is kept in the target" },
	{ "isolation.level", "sluice's log needs no transactions of Kafka" },
	{ "group.id", "it is sluice-<name>" },
	{ "client.id", "it is sluice-<name>-<role>" },
	{ "bootstrap.servers", "it is transport.kafka.bootstrap_servers" },
	{ "metadata.broker.list", "it is transport.kafka.bootstrap_servers" },
	{ "allow.auto.create.topics", "topics are made on purpose, with the settings they need" },
	{ "check.crcs", "a damaged message must not be applied" },
	{ "enable.partition.eof", "sluice needs to see the end of a partition" },
	{ "partition.assignment.strategy", "sluice hands partitions over by its own rules" },
	{ "test.mock.num.brokers", "it replaces the brokers by a simulation" },
};

static const char *const secrets[] = { "sasl.password", "ssl.key.password", "ssl.key.pem",
	"ssl.keystore.password", "ssl_key" };

bool kafka_property_is_secret(const char *name)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		if (!strcasecmp(secrets[i], name))
			return true;
	}
	/* tokens and whatever they are made from */
	return strncasecmp(name, "sasl.oauthbearer.", 17) == 0;
}

bool kafka_property_check(const char *name, const char *value, char *why, size_t size)
{
	rd_kafka_conf_t *conf;
	rd_kafka_conf_res_t r;
	char text[200];

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (!strcmp(refused[i].name, name)) {
			snprintf(why, size, "may not be set: %s", refused[i].why);
			return false;
		}
	}
	if (!strcmp(name, "message.max.bytes") && strtoll(value, NULL, 10) > KAFKA_MESSAGE_BYTES_MAX) {
		snprintf(why, size, "may be at most %d: the bound of memory rests on it",
			KAFKA_MESSAGE_BYTES_MAX);
		return false;
	}
	conf = rd_kafka_conf_new();
	r = rd_kafka_conf_set(conf, name, value, text, sizeof(text));
	rd_kafka_conf_destroy(conf);
	if (r == RD_KAFKA_CONF_OK)
		return true;
	/* librdkafka's own text repeats the value */
	snprintf(why, size, "%s",
		r == RD_KAFKA_CONF_UNKNOWN ? "is not a property that librdkafka knows"
					   : "has a value that librdkafka does not accept");
	return false;
}
