/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Watches partition 0 of a topic for run.sh, whoever writes it: when is everything there, and how old is what arrives? And
 * makes a broker that was just started like one that runs since yesterday.
 *
 *   log-watch marker BROKER TOPIC COUNT SECONDS     waits for the message whose key holds "id":-1. Until COUNT messages are
 *                                                   there only the partition's end is asked for, so that watching
 *                                                   costs next to nothing beside what is measured.
 *   log-watch latency BROKER TOPIC SECONDS FIELD    follows the topic from its end; FIELD is a number in the row, microseconds
 *                                                   of this machine's clock when the row was written.
 *   log-watch warm BROKER TOPIC COUNT SECONDS       writes COUNT messages in many requests and reads them as a member of a group.
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define ASK_MS	   1000
#define TURN_MS	   20
#define POLL_MS	   100
#define LATENCIES  (1u << 21)
#define FIELD_MAX  64
#define DIGITS_MAX 20
#define WARM_BYTES 500
#define FLUSH_MS   10000

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static rd_kafka_t *connect_as(rd_kafka_type_t type, const char *broker)
{
	static const char *const settings[][2] = { { "group.id", "log-watch" },
		{ "auto.offset.reset", "earliest" }, { "enable.auto.commit", "false" },
		{ "compression.type", "lz4" }, { "enable.idempotence", "true" },
		{ "batch.num.messages", "50" }, { "log_level", "0" } };
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[200];
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", broker, text, sizeof(text));
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof(text));
	rk = rd_kafka_new(type, conf, text, sizeof(text));
	if (!rk) {
		fprintf(stderr, "log-watch: %s\n", text);
		exit(1);
	}
	if (type == RD_KAFKA_CONSUMER)
		rd_kafka_poll_set_consumer(rk);
	return rk;
}

static void follow(rd_kafka_t *rk, const char *topic, int64_t offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
	rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

static int wait_for_marker(rd_kafka_t *rk, const char *topic, int64_t count, double until_us)
{
	static const char text[] = "\"id\":-1}";
	int64_t low = 0, high = 0;
	bool found = false;

	while (high < count && now_us() < until_us) {
		if (rd_kafka_query_watermark_offsets(rk, topic, 0, &low, &high, ASK_MS))
			high = 0; /* not there yet */
		if (high < count)
			rd_kafka_poll(rk, TURN_MS);
	}
	follow(rk, topic, count - 1);
	while (!found && now_us() < until_us) {
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, POLL_MS);

		if (!msg)
			continue;
		found = !msg->err && msg->key && memmem(msg->key, msg->key_len, text, sizeof(text) - 1);
		rd_kafka_message_destroy(msg);
	}
	if (found)
		printf("%.6f\n", now_us() / 1e6);
	return found ? 0 : 1;
}

/* the number behind the name, which is as the row's writer put it: in our form and in Debezium's alike */
static double number_of(const rd_kafka_message_t *msg, const char *name)
{
	const char *at = memmem(msg->payload, msg->len, name, strlen(name));
	char digits[DIGITS_MAX + 1] = "";
	size_t n = 0;

	if (!at)
		return 0;
	at += strlen(name);
	while (n < DIGITS_MAX && at + n < (const char *)msg->payload + msg->len && at[n] >= '0' &&
		at[n] <= '9') {
		digits[n] = at[n];
		n++;
	}
	return strtod(digits, NULL);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int latencies(rd_kafka_t *rk, const char *topic, double until_us, const char *field)
{
	double *ms = calloc(LATENCIES, sizeof(*ms));
	char name[FIELD_MAX];
	size_t n = 0;

	if (!ms)
		abort();
	snprintf(name, sizeof(name), "\"%s\":", field);
	follow(rk, topic, RD_KAFKA_OFFSET_END);
	while (now_us() < until_us) {
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, POLL_MS);
		double now = now_us(), written;

		if (!msg)
			continue;
		written = msg->err || !msg->payload ? 0 : number_of(msg, name);
		if (written > 0 && n < LATENCIES)
			ms[n++] = (now - written) / 1e3;
		rd_kafka_message_destroy(msg);
	}
	qsort(ms, n, sizeof(*ms), compare);
	if (n)
		printf("%zu %.2f %.2f %.2f %.2f\n", n, ms[n / 2], ms[n * 95 / 100], ms[n * 99 / 100],
			ms[n - 1]);
	free(ms);
	return n ? 0 : 1;
}

static int produce(const char *broker, const char *topic, int64_t count)
{
	rd_kafka_t *rk = connect_as(RD_KAFKA_PRODUCER, broker);
	char value[WARM_BYTES];
	int r = 0;

	for (int64_t i = 0; i < count && !r; i++) {
		/* compresses about as well as rows do */
		for (size_t k = 0; k < sizeof(value); k++)
			value[k] = (char)('a' + (k < sizeof(value) / 4 ? (size_t)rand() : k) % 26);
		do {
			r = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
				RD_KAFKA_V_VALUE(value, sizeof(value)),
				RD_KAFKA_V_HEADER("number", &i, sizeof(i)), RD_KAFKA_V_END);
			rd_kafka_poll(rk, r ? TURN_MS : 0);
		} while (r == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	}
	r = r || rd_kafka_flush(rk, FLUSH_MS);
	rd_kafka_destroy(rk);
	return r;
}

static int warm(rd_kafka_t *rk, const char *broker, const char *topic, int64_t count, double until_us)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	int r = produce(broker, topic, count);

	rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
	rd_kafka_subscribe(rk, list);
	while (count && now_us() < until_us) {
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, POLL_MS);

		if (!msg)
			continue;
		count -= !msg->err;
		rd_kafka_message_destroy(msg);
	}
	rd_kafka_commit(rk, NULL, 0);
	rd_kafka_consumer_close(rk);
	rd_kafka_topic_partition_list_destroy(list);
	return r || count;
}

int main(int argc, char **argv)
{
	rd_kafka_t *rk;
	int r = 64;

	if (argc != 6)
		return r;
	rk = connect_as(RD_KAFKA_CONSUMER, argv[2]);
	if (strcmp(argv[1], "marker") == 0)
		r = wait_for_marker(
			rk, argv[3], strtoll(argv[4], NULL, 10), now_us() + strtod(argv[5], NULL) * 1e6);
	else if (strcmp(argv[1], "latency") == 0)
		r = latencies(rk, argv[3], now_us() + strtod(argv[4], NULL) * 1e6, argv[5]);
	else if (strcmp(argv[1], "warm") == 0)
		r = warm(rk, argv[2], argv[3], strtoll(argv[4], NULL, 10),
			now_us() + strtod(argv[5], NULL) * 1e6);
	fflush(stdout);
	_exit(r); /* leaving the client takes longer than the process needs */
}
