/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader's half on Kafka against the client's own mock cluster: taking the log over, what is written and what is
 * left out, acks, and errors that a broker gives.
 */

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "transport/kafka/kafka.h"
#include <sluice/transport.h>

#define LIMIT_MS 20000
#define IDENTITY "7000/shop"

/* the mock cluster knows no settings of topics and lets every question about them wait; its topics are made below */
int kafka_topics_ensure(rd_kafka_t *rk, const struct context *ctx, const struct kafka_topic *topics,
	uint32_t n, struct error *err)
{
	return 0;
}

struct kafka {
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *mock;
	struct config cfg;
	struct log log;
	struct metrics metrics;
	struct status status;
	atomic_bool stop;
	struct context ctx;
	struct relation *rel;
	int fd;
	struct transport_writer *writer;
	struct transport_tail tail;
	uint64_t seq;
	struct batch *batch; /* being filled */
};

static int kafka_setup(void **state)
{
	static const char *const topics[] = { "shop.changes", "shop.schemas", "shop.state",
		"shop.dead-letters" };
	static const struct column columns[] = { { "id", 20, -1, true }, { "name", 25, -1, false } };
	struct kafka *k = calloc(1, sizeof(*k));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[200];

	assert_non_null(k);
	rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text));
	k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	assert_non_null(k->rk);
	k->mock = rd_kafka_handle_mock_cluster(k->rk);
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		rd_kafka_mock_topic_create(k->mock, topics[i], 1, 1);
	k->cfg.name = k->cfg.transport.kafka.prefix = (char *)(uintptr_t) "shop";
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
	k->rel = relation_new(&(struct relation_spec){ .id = 1,
		.schema = "public",
		.name = "item",
		.identity = IDENTITY_DEFAULT,
		.n_columns = 2,
		.columns = columns });
	k->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	*state = k;
	return 0;
}

static void writer_end(struct kafka *k)
{
	if (k->writer)
		k->writer->ops->free(k->writer);
	k->writer = NULL;
	k->batch = batch_free(k->batch);
}

static int kafka_teardown(void **state)
{
	struct kafka *k = *state;

	writer_end(k);
	relation_unref(k->rel);
	rd_kafka_destroy(k->rk);
	status_fini(&k->status);
	free(k->cfg.transport.kafka.bootstrap_servers);
	close(k->fd);
	free(k);
	return 0;
}

/* a reader starts */
static void writer_begin(struct kafka *k)
{
	struct error err = ERROR_INIT;

	writer_end(k);
	k->seq = 0;
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	if (k->writer->ops->open(k->writer, IDENTITY, &k->tail, &err) < 0)
		fail_msg("%s: %s", err.code, err.message);
}

static struct record *add(struct kafka *k, uint8_t op, uint64_t major, uint64_t minor)
{
	struct record *rec;

	if (!k->batch)
		k->batch = batch_new(NULL);
	rec = batch_add(k->batch);
	rec->op = op;
	rec->pos = (struct position){ major, minor };
	return rec;
}

static void add_begin(struct kafka *k, uint64_t major, const char *options)
{
	struct record *rec = add(k, RECORD_BEGIN, major, 0);
	struct record_begin *begin = arena_alloc(&k->batch->arena, sizeof(*begin));

	*begin = (struct record_begin){ .commit_time = { 1 }, .xid = major, .options = options };
	rec->begin = begin;
}

static void add_row_of(struct kafka *k, uint64_t major, uint64_t minor, const char *name)
{
	struct record *rec = add(k, RECORD_INSERT, major, minor);

	rec->rel = batch_hold(k->batch, k->rel);
	rec->after = arena_alloc(&k->batch->arena, 2 * sizeof(*rec->after));
	rec->after[0] = (struct value){ .data = (const uint8_t *)"7", .len = 1, .state = VALUE_PRESENT };
	rec->after[1] = (struct value){
		.data = (const uint8_t *)name, .len = (uint32_t)strlen(name), .state = VALUE_PRESENT
	};
}

static void add_row(struct kafka *k, uint64_t major, uint64_t minor)
{
	add_row_of(k, major, minor, "x");
}

static struct resume resume_at(struct kafka *k, uint64_t major)
{
	uint8_t *data = arena_alloc(&k->batch->arena, 1);

	*data = (uint8_t)major;
	return (struct resume){ data, 1 };
}

static void add_end(struct kafka *k, uint64_t major)
{
	struct record *rec = add(k, RECORD_END, major, POSITION_END);
	struct record_end *end = arena_alloc(&k->batch->arena, sizeof(*end));

	*end = (struct record_end){ .commit_time = { 1 }, .xid = major, .resume = resume_at(k, major) };
	rec->end = end;
}

static void add_heartbeat(struct kafka *k, uint64_t major)
{
	struct record *rec = add(k, RECORD_HEARTBEAT, major, POSITION_END);
	struct record_heartbeat *beat = arena_alloc(&k->batch->arena, sizeof(*beat));

	*beat = (struct record_heartbeat){ .resume = resume_at(k, major), .at = { 1 } };
	rec->heartbeat = beat;
}

static void send_all(struct kafka *k)
{
	struct error err = ERROR_INIT;

	k->batch->seq = ++k->seq;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), 0);
	k->batch = NULL;
}

static void wait_fd(struct kafka *k)
{
	struct pollfd fd = { .fd = k->fd, .events = POLLIN };
	eventfd_t n;

	if (poll(&fd, 1, 200) > 0)
		eventfd_read(k->fd, &n);
}

/* until all that was sent is durable */
static void settle(struct kafka *k)
{
	struct mono until = mono_add_ms(mono_now(), LIMIT_MS);
	struct error err = ERROR_INIT;

	while (k->writer->ops->durable(k->writer) < k->seq) {
		wait_fd(k);
		if (k->writer->ops->poll(k->writer, &err) < 0)
			fail_msg("%s: %s", err.code, err.message);
		assert_true(mono_until_ms(until, mono_now()) > 0);
	}
}

/* until poll() fails */
static void settle_error(struct kafka *k, struct error *ret)
{
	struct mono until = mono_add_ms(mono_now(), LIMIT_MS);

	while (k->writer->ops->poll(k->writer, ret) == 0) {
		assert_true(k->writer->ops->durable(k->writer) < k->seq);
		assert_true(mono_until_ms(until, mono_now()) > 0);
		wait_fd(k);
	}
	assert_true(k->writer->ops->durable(k->writer) < k->seq);
}

/* what a topic holds: one letter for each message, the reign's number before each FENCE */
struct content {
	char ops[400];
	size_t n;
	struct position last;
	struct arena arena;
};

static int content_take(void *arg, const struct message *msg, struct error *err)
{
	struct content *content = arg;
	struct stamp stamp;

	assert_int_equal(stamp_read(msg, &content->arena, &stamp, err), 0);
	if (stamp.op == RECORD_FENCE)
		content->ops[content->n++] = (char)('0' + stamp.reign.number);
	content->ops[content->n++] = (char)stamp.op;
	/* what counts follows from what counted before it; here nobody writes late */
	if (stamp.has_pos && stamp.op != RECORD_FENCE) {
		assert_int_equal(position_compare(stamp.prev, content->last), 0);
		content->last = stamp.pos;
	}
	return 0;
}

static void expect_content(struct kafka *k, const char *topic, const char *want)
{
	struct content content = { .arena = ARENA_INIT(NULL) };
	struct kafka_range range = { .topic = topic };
	struct error err = ERROR_INIT;
	rd_kafka_t *rk = NULL;

	assert_int_equal(kafka_reader_client(&k->ctx, "test", &rk, &err), 0);
	assert_int_equal(kafka_bounds(rk, topic, 0, &range.from, &range.to, &err), 0);
	if (kafka_scan(rk, &k->ctx, &range, content_take, &content, &err) < 0)
		fail_msg("%s: %s", err.code, err.message);
	rd_kafka_destroy(rk);
	arena_reset(&content.arena);
	assert_string_equal(content.ops, want);
}

static void test_a_batch_is_durable_once_it_is_acked(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	assert_false(k->tail.exists);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	assert_int_equal(k->writer->ops->durable(k->writer), 0);
	settle(k);
	add_heartbeat(k, 11);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBICK");
	expect_content(k, "shop.schemas", "S");
	assert_true(atomic_load(&k->metrics.kafka_produce_us.count) > 0);
}

/* a few records wait for the ack of those before them, the thread of the client sleeps, and send() itself sees the ack */
static void test_few_records_wait_for_the_ack(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	wait_fd(k);
	assert_int_equal(k->writer->ops->poll(k->writer, &err), 0);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 300);
	add_heartbeat(k, 11);
	send_all(k);
	add_heartbeat(k, 12);
	send_all(k); /* taken, and held */
	add_heartbeat(k, 13);
	k->batch->seq = ++k->seq;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), TRANSPORT_FULL);
	for (int i = 0; i < 50 && poll(&(struct pollfd){ .fd = k->fd, .events = POLLIN }, 1, 200) == 0; i++)
		;
	k->seq--;
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXKKK");
}

static void test_the_next_reader_goes_on_behind_the_tail(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	settle(k);
	writer_begin(k);
	assert_true(k->tail.exists);
	assert_int_equal(k->tail.position.major, 10);
	assert_true(k->tail.position.minor == POSITION_END);
	assert_int_equal(k->tail.resume.data[0], 10);
	assert_string_equal(k->tail.identity, IDENTITY);
	/* the source sends the last transaction again */
	add_begin(k, 10, "two");
	add_row(k, 10, 1);
	add_end(k, 10);
	add_heartbeat(k, 10);
	add_begin(k, 20, "two");
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBIC2FXKBC");
}

/* a reader died in the middle of a transaction */
static void half_a_transaction(struct kafka *k)
{
	writer_begin(k);
	add_begin(k, 10, "one");
	add_end(k, 10);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	send_all(k);
	settle(k);
	writer_begin(k);
	assert_int_equal(k->tail.position.major, 20);
	assert_int_equal(k->tail.position.minor, 1);
	assert_int_equal(k->tail.resume.data[0], 10);
}

static void test_a_transaction_goes_on_where_it_was(void **state)
{
	struct kafka *k = *state;

	half_a_transaction(k);
	/* a heartbeat that the source sends before it must not come to stand inside it */
	add_heartbeat(k, 10);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_row(k, 20, 2);
	add_end(k, 20);
	add_heartbeat(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBCBI2FXICK");
}

static void test_other_options_abort_the_transaction(void **state)
{
	struct kafka *k = *state;

	half_a_transaction(k);
	add_begin(k, 20, "two");
	add_row(k, 20, 1);
	send_all(k);
	settle(k);
	/* what comes again of it is known to the reader after that, too */
	writer_begin(k);
	assert_int_equal(k->tail.position.minor, 1);
	add_begin(k, 20, "two");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBCBI2FXABI3FXC");
}

static void test_a_transaction_that_does_not_come_again_is_aborted(void **state)
{
	struct kafka *k = *state;

	half_a_transaction(k);
	add_begin(k, 30, "one");
	add_end(k, 30);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBCBI2FXABC");
}

static void test_another_source_is_refused(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_end(k, 10);
	send_all(k);
	settle(k);
	writer_end(k);
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	assert_int_equal(k->writer->ops->open(k->writer, "7001/other", &k->tail, &err), -1);
	assert_string_equal(err.code, "RESYNC-IDENTITY");
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
}

/* K07: a broker takes less than the client */
static void test_K07_a_message_that_a_broker_refuses(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	settle(k);
	rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle_error(k, &err);
	assert_int_equal(err.class, ERROR_DATA);
	assert_non_null(strstr(err.message, "position 0/14:"));
	/* and nothing behind it */
	add_begin(k, 30, "one");
	k->batch->seq = 3;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), -1);
	writer_end(k);
	expect_content(k, "shop.changes", "1FXBIC");
	/* the next one writes it */
	writer_begin(k);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBIC2FXBIC");
}

/* K08: more than the client itself sends */
static void test_K08_a_message_that_is_too_large(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	char *name = malloc(2 * 1024 * 1024);

	assert_non_null(name);
	memset(name, 'y', 2 * 1024 * 1024 - 1);
	name[2 * 1024 * 1024 - 1] = 0;
	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	send_all(k);
	settle(k);
	add_row_of(k, 10, 2, name);
	add_end(k, 10);
	k->batch->seq = 2;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), -1);
	assert_int_equal(err.class, ERROR_DATA);
	assert_non_null(strstr(err.message, "public.item, position 0/A:2"));
	assert_null(strstr(err.message, "yyy"));
	assert_int_equal(k->writer->ops->poll(k->writer, &err), -1);
	free(name);
}

/* K06: retried by the client, which writes nothing twice */
static void test_K06_not_enough_replicas_is_waited_for(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
		RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
	add_begin(k, 10, "one");
	add_end(k, 10);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBC");
}

/* K26: retention deleted everything; K27: the topic was made anew */
static void test_K27_a_log_that_was_made_anew(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	struct state *store = NULL;

	writer_begin(k);
	writer_end(k);
	/* a reign that took over further behind than the log now reaches */
	assert_int_equal(state_kafka_new(&k->ctx, &store, &err), 0);
	state_kafka_reign(store, (struct reign){ 5, 1 });
	assert_int_equal(state_set(store, "reign", "5-0000000000000001 1000", 23, &err), 0);
	state_kafka_free(store);
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	assert_int_equal(k->writer->ops->open(k->writer, IDENTITY, &k->tail, &err), -1);
	assert_string_equal(err.code, "KAFKA-LOG-LOST");
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
}

#define kafka_test(f) cmocka_unit_test_setup_teardown(f, kafka_setup, kafka_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		kafka_test(test_a_batch_is_durable_once_it_is_acked),
		kafka_test(test_few_records_wait_for_the_ack),
		kafka_test(test_the_next_reader_goes_on_behind_the_tail),
		kafka_test(test_a_transaction_goes_on_where_it_was),
		kafka_test(test_other_options_abort_the_transaction),
		kafka_test(test_a_transaction_that_does_not_come_again_is_aborted),
		kafka_test(test_another_source_is_refused),
		kafka_test(test_K06_not_enough_replicas_is_waited_for),
		kafka_test(test_K07_a_message_that_a_broker_refuses),
		kafka_test(test_K08_a_message_that_is_too_large),
		kafka_test(test_K27_a_log_that_was_made_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
