/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The applier's half on Kafka against the client's own mock cluster: assignment, the start from progress, what is
 * delivered, revocation, errors that a broker gives.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <sluice/codec.h>
#include <sluice/pack.h>
#include <sluice/sink.h>
#include <sluice/transport.h>

#include "transport/kafka/kafka.h"

#define TURN_MS	 100
#define LIMIT_MS 20000

static const struct reign first = { 1, 0xa1 }, second = { 2, 0xb2 };

/* a cluster, a producer, and what a consumer needs to know */
struct kafka {
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *mock;
	struct config cfg;
	struct log log;
	struct metrics metrics;
	struct status status;
	atomic_bool stop;
	struct context ctx;
	struct codec *codec;
	struct position last;
};

static int kafka_setup(void **state)
{
	struct kafka *k = calloc(1, sizeof(*k));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[200];

	assert_non_null(k);
	rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text));
	rd_kafka_conf_set(conf, "linger.ms", "0", text, sizeof(text));
	k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	assert_non_null(k->rk);
	k->mock = rd_kafka_handle_mock_cluster(k->rk);
	assert_non_null(k->mock);
	rd_kafka_mock_topic_create(k->mock, "shop.changes", 1, 1);
	rd_kafka_mock_topic_create(k->mock, "shop.schemas", 1, 1);
	k->cfg.name = strdup("shop");
	k->cfg.transport.kafka.prefix = strdup("shop");
	k->cfg.transport.kafka.bootstrap_servers = strdup(rd_kafka_mock_cluster_bootstraps(k->mock));
	k->cfg.transport.kafka.format = KAFKA_JSON;
	k->log.level = LOG_ERROR;
	k->log.fd = 2;
	status_init(&k->status);
	k->ctx = (struct context){
		.cfg = &k->cfg,
		.log = &k->log,
		.metrics = &k->metrics,
		.status = &k->status,
		.stop = &k->stop,
	};
	k->codec = codec_json_new(&(struct codec_json_options){
		.version = "0", .prefix = "shop", .database = "shop", .schemas = JSON_SCHEMAS_TOPIC });
	*state = k;
	return 0;
}

static int kafka_teardown(void **state)
{
	struct kafka *k = *state;

	codec_free(k->codec);
	rd_kafka_destroy(k->rk);
	status_fini(&k->status);
	free(k->cfg.name);
	free(k->cfg.transport.kafka.prefix);
	free(k->cfg.transport.kafka.bootstrap_servers);
	free(k);
	return 0;
}

/* writes a message with its stamp */
static void put(struct kafka *k, const char *topic, const struct stamp *stamp, const void *value, size_t len)
{
	struct buf text = BUF_INIT;
	struct message msg = { 0 };
	rd_kafka_headers_t *headers = rd_kafka_headers_new(MESSAGE_HEADERS);

	if (stamp) {
		stamp_write(stamp, &text, &msg);
		for (uint32_t i = 0; i < msg.n_headers; i++)
			rd_kafka_header_add(headers, msg.headers[i].name, -1, msg.headers[i].value,
				(ssize_t)msg.headers[i].len);
	}
	assert_int_equal(rd_kafka_producev(k->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
				 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
				 RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len), RD_KAFKA_V_HEADERS(headers),
				 RD_KAFKA_V_END),
		0);
	assert_int_equal(rd_kafka_flush(k->rk, 10000), 0);
	buf_fini(&text);
}

static struct stamp stamp_of(struct kafka *k, uint8_t op, struct reign reign, struct position pos)
{
	struct stamp stamp = {
		.op = op,
		.reign = reign,
		.pos = pos,
		.prev = k->last,
		.has_pos = true,
		.identity = "7000/shop",
		.options = "",
	};

	return stamp;
}

static void put_record(struct kafka *k, struct reign reign, const struct record *rec)
{
	struct stamp stamp = stamp_of(k, rec->op, reign, rec->pos);
	struct buf out = BUF_INIT;
	struct codec_output output = { .out = &out };
	struct codec_transaction tx = { .xid = 7, .commit_time = { 1000000 } };
	struct error err = ERROR_INIT;

	if (rec->rel)
		stamp.fingerprint = rec->rel->fingerprint;
	if (rec->op == RECORD_END)
		stamp.resume = rec->end->resume;
	if (rec->op == RECORD_HEARTBEAT)
		stamp.resume = rec->heartbeat->resume;
	if (k->codec->ops->encode(k->codec, rec, &tx, &output, &err) < 0)
		fail_msg("%s", err.message);
	put(k, "shop.changes", &stamp, output.value.null ? NULL : out.data + output.value.at,
		output.value.len);
	k->last = rec->pos;
	buf_fini(&out);
}

static void put_fence(struct kafka *k, struct reign reign)
{
	struct stamp stamp = stamp_of(k, RECORD_FENCE, reign, k->last);

	put(k, "shop.changes", &stamp, "{}", 2);
	stamp.op = STAMP_CONTINUE;
	put(k, "shop.changes", &stamp, "{}", 2);
}

/* the same as one message, all of them behind k->last */
static void put_pack(struct kafka *k, struct reign reign, const struct record *records, size_t n)
{
	struct codec *codec = codec_binary_new();
	struct error err = ERROR_INIT;
	struct message msg = { 0 };
	struct pack pack = { 0 };
	struct buf out = BUF_INIT;
	struct stamp stamp;

	for (size_t i = 0; i < n; i++) {
		struct codec_output output = { .out = &out, .keyless = true };

		buf_clear(&out);
		stamp = stamp_of(k, records[i].op, reign, records[i].pos);
		if (records[i].op == RECORD_END)
			stamp.resume = records[i].end->resume;
		assert_int_equal(codec->ops->encode(codec, &records[i], NULL, &output, &err), 0);
		pack_put(&pack, &stamp, out.data + output.value.at, output.value.len);
		k->last = records[i].pos;
	}
	pack_write(&pack, &stamp, &msg);
	put(k, "shop.changes", &stamp, msg.value, msg.value_len);
	codec_free(codec);
	pack_fini(&pack);
	buf_fini(&out);
}

/* BEGIN, a message of the application, END: three messages */
static void put_transaction(struct kafka *k, struct reign reign, uint64_t major)
{
	const uint8_t resume[8] = { 0, 0, 0, 0, 0, 0, 0, (uint8_t)major };
	const struct record_begin begin = { .commit_time = { 1000000 }, .xid = 7 };
	const struct record_message message = {
		.prefix = "p", .content = (const uint8_t *)"hello", .content_len = 5, .transactional = true
	};
	const struct record_end end = {
		.commit_time = { 1000000 }, .xid = 7, .resume = { resume, sizeof(resume) }, .n_records = 1
	};

	const struct record all[] = {
		{ .op = RECORD_BEGIN, .pos = { major, 0 }, .begin = &begin },
		{ .op = RECORD_MESSAGE, .pos = { major, 1 }, .message = &message },
		{ .op = RECORD_END, .pos = { major, POSITION_END }, .end = &end },
	};

	if (k->cfg.transport.kafka.format == KAFKA_BINARY) {
		put_pack(k, reign, all, 3);
		return;
	}
	for (size_t i = 0; i < 3; i++)
		put_record(k, reign, &all[i]);
}

/* the next batch or news; fails after LIMIT_MS */
static int next(struct transport_reader *t, struct batch **ret, const struct partition **ret_partition,
	struct error *err)
{
	struct mono until = mono_add_ms(mono_now(), LIMIT_MS);

	while (mono_diff_us(until, mono_now()) > 0) {
		int r = t->ops->recv(t, TURN_MS, ret, ret_partition, err);

		if (r != TRANSPORT_IDLE)
			return r;
	}
	fail_msg("nothing was received");
	return -1;
}

static struct transport_reader *opened(struct kafka *k)
{
	struct transport_reader *t = transport_kafka_reader_new(&k->ctx, NULL);
	struct error err = ERROR_INIT;

	if (t->ops->open(t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

/* opened, and its partition assigned */
static const struct partition *assigned(struct transport_reader *t)
{
	const struct partition *partition = NULL;
	struct batch *batch = NULL;
	struct error err = ERROR_INIT;
	int r = next(t, &batch, &partition, &err);

	if (r < 0)
		fail_msg("%s", err.message);
	assert_int_equal(r, TRANSPORT_ASSIGNED);
	assert_string_equal(partition->topic, "shop.changes");
	assert_int_equal(partition->id, 0);
	return partition;
}

static void sought(
	struct transport_reader *t, const struct partition *partition, const struct progress *progress)
{
	struct error err = ERROR_INIT;

	if (t->ops->seek(t, partition, progress, &err) < 0)
		fail_msg("%s", err.message);
}

/* the ops of what comes until there are n records, as a word; checks what every batch has to have */
static void received(struct transport_reader *t, uint32_t n, struct reign reign, char *word)
{
	static uint64_t seq;
	uint32_t got = 0;

	while (got < n) {
		const struct partition *partition = NULL;
		struct batch *batch = NULL;
		struct error err = ERROR_INIT;
		int r = next(t, &batch, &partition, &err);

		if (r != 0)
			fail_msg("%d %s", r, err.message);
		assert_int_equal(batch->partition->id, 0);
		assert_true(reign_equal(batch->reign, reign));
		assert_true(got || batch->seq != seq);
		seq = batch->seq;
		for (uint32_t i = 0; i < batch->n_records; i++) {
			const struct record *rec = &batch->records[i];

			word[got++] = (char)rec->op;
			assert_true(rec->offset > 0);
			if (rec->op == RECORD_END) {
				assert_int_equal(rec->end->resume.len, 8);
				assert_int_equal(rec->end->resume.data[7], rec->pos.major);
				assert_int_equal(rec->end->commit_time.us, 1000000);
			}
			assert_true(got <= n);
		}
		word[got] = 0;
		assert_int_equal(t->ops->ack(t, batch->seq, &err), 0);
		batch_free(batch);
	}
}

/* what a message of nobody, or of a table that nobody described, does */
static void refused(struct transport_reader *t, enum error_class class, const char *code, const char *text)
{
	const struct partition *partition = NULL;
	struct batch *batch = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(next(t, &batch, &partition, &err), -1);
	assert_int_equal(err.class, class);
	assert_string_equal(err.code, code);
	assert_non_null(strstr(err.message, text));
	assert_null(strstr(err.message, "secret"));
}

static void put_of_unknown_relation(struct kafka *k)
{
	struct stamp stamp = stamp_of(k, RECORD_INSERT, second, (struct position){ 40, 1 });

	stamp.fingerprint = 0xfeedfacecafe0001;
	put(k, "shop.changes", &stamp, "secret", 6);
	k->last = stamp.pos;
}

static void check_wake(struct transport_reader *t)
{
	const struct partition *partition = NULL;
	struct batch *batch = NULL;
	struct error err = ERROR_INIT;
	struct mono began = mono_now();

	t->ops->wake(t);
	assert_int_equal(t->ops->recv(t, LIMIT_MS, &batch, &partition, &err), TRANSPORT_IDLE);
	assert_true(mono_diff_us(mono_now(), began) < LIMIT_MS * 1000);
}

/* one test for all that needs a group: joining the mock's takes three seconds each time */
static void test_stream(void **state)
{
	struct kafka *k = *state;
	const struct progress progress = {
		.exists = true,
		.position = { 10, POSITION_END },
		.offset = 4,
		.reign = first,
		.identity = "7000/shop",
	};
	struct transport_reader *t;
	struct stamp late;
	char word[32];

	put_fence(k, first);
	put_transaction(k, first, 10);
	put_transaction(k, first, 20);
	put_fence(k, second);
	late = stamp_of(k, RECORD_MESSAGE, first, (struct position){ 30, 1 });
	put(k, "shop.changes", &late, "{}", 2);
	put_transaction(k, second, 30);
	t = opened(k);
	sought(t, assigned(t), &progress);
	received(t, 3, first, word);
	assert_string_equal(word, "BMC");
	received(t, 3, second, word);
	assert_string_equal(word, "BMC");
	check_wake(t);
	put_of_unknown_relation(k);
	refused(t, ERROR_SCHEMA, "KAFKA-SCHEMA", "feedfacecafe0001");
	put(k, "shop.changes", NULL, "secret", 6);
	refused(t, ERROR_DATA, "KAFKA-STRANGER", "offset 15");
	t->ops->free(t);
}

/* several transactions in one message, one of them applied */
static void test_packs(void **state)
{
	static const uint8_t resume[8] = { 0, 0, 0, 0, 0, 0, 0, 20 }, later[8] = { 0, 0, 0, 0, 0, 0, 0, 30 };
	const struct record_begin begin = { .commit_time = { 1000000 }, .xid = 7 };
	const struct record_end end = { { 1000000 }, 7, { resume, 8 }, 1 };
	const struct record_end last = { { 1000000 }, 7, { later, 8 }, 1 };
	const struct record all[] = {
		{ .op = RECORD_BEGIN, .pos = { 20, 0 }, .begin = &begin },
		{ .op = RECORD_END, .pos = { 20, POSITION_END }, .end = &end },
		{ .op = RECORD_BEGIN, .pos = { 30, 0 }, .begin = &begin },
		{ .op = RECORD_END, .pos = { 30, POSITION_END }, .end = &last },
	};
	struct kafka *k = *state;
	const struct progress progress = {
		.exists = true,
		.position = { 20, POSITION_END },
		.offset = 3,
		.reign = first,
		.identity = "7000/shop",
	};
	struct transport_reader *t;
	struct stamp damaged;
	char word[32];

	k->cfg.transport.kafka.format = KAFKA_BINARY;
	put_fence(k, first);
	put_transaction(k, first, 10);
	put_pack(k, first, all, 4);
	put_transaction(k, first, 40);
	t = opened(k);
	sought(t, assigned(t), &progress);
	received(t, 5, first, word);
	assert_string_equal(word, "BCBMC");
	damaged = stamp_of(k, STAMP_PACK, first, (struct position){ 50, POSITION_END });
	put(k, "shop.changes", &damaged, "\xd6\1secret", 8);
	refused(t, ERROR_DATA, "BINARY-CHECKSUM", "topic shop.changes partition 0");
	t->ops->free(t);
}

static void test_topic_is_missing(void **state)
{
	struct kafka *k = *state;
	struct transport_reader *t;
	struct error err = ERROR_INIT;

	free(k->cfg.transport.kafka.prefix);
	k->cfg.transport.kafka.prefix = strdup("elsewhere");
	rd_kafka_mock_topic_set_error(k->mock, "elsewhere.changes", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	t = transport_kafka_reader_new(&k->ctx, NULL);
	assert_int_equal(t->ops->open(t, &err), -1);
	assert_int_equal(err.class, ERROR_TRANSIENT);
	assert_string_equal(err.code, "KAFKA-TOPIC");
	t->ops->free(t);
}

/* a broker that starts does not know its partitions at once: that is no sign that a topic was deleted */
static void test_a_broker_that_does_not_know_yet(void **state)
{
	const rd_kafka_resp_err_t unknown = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	int64_t low = -1, high = -1;

	assert_int_equal(kafka_bounds(k->rk, &k->ctx, "shop.changes", 0, &low, &high, &err), 0);
	rd_kafka_mock_push_request_errors(
		k->mock, 2 /* ListOffsets */, 4, unknown, unknown, unknown, unknown);
	assert_int_equal(kafka_bounds(k->rk, &k->ctx, "shop.changes", 0, &low, &high, &err), -1);
	assert_int_equal(err.class, ERROR_TRANSIENT);
	rd_kafka_mock_clear_request_errors(k->mock, 2);
	assert_int_equal(kafka_bounds(k->rk, &k->ctx, "shop.changes", 0, &low, &high, &err), 0);
	assert_int_equal(kafka_bounds(k->rk, &k->ctx, "shop.changes", 7, &low, &high, &err), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, kafka_setup, kafka_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stream),
		TEST(test_packs),
		TEST(test_topic_is_missing),
		TEST(test_a_broker_that_does_not_know_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
