/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A writer of our own on the client's mock cluster, records for it, and what the topics hold after it.
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
#include <sluice/pack.h>
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

static inline int kafka_setup(void **state)
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

static inline void writer_end(struct kafka *k)
{
	if (k->writer)
		k->writer->ops->free(k->writer);
	k->writer = NULL;
	k->batch = batch_free(k->batch);
}

static inline int kafka_teardown(void **state)
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
static inline void writer_begin(struct kafka *k)
{
	struct error err = ERROR_INIT;

	writer_end(k);
	k->seq = 0;
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	if (k->writer->ops->open(k->writer, IDENTITY, &k->tail, &err) < 0)
		fail_msg("%s: %s", err.code, err.message);
}

static inline struct record *add(struct kafka *k, uint8_t op, uint64_t major, uint64_t minor)
{
	struct record *rec;

	if (!k->batch)
		k->batch = batch_new(NULL);
	rec = batch_add(k->batch);
	rec->op = op;
	rec->pos = (struct position){ major, minor };
	return rec;
}

static inline void add_begin(struct kafka *k, uint64_t major, const char *options)
{
	struct record *rec = add(k, RECORD_BEGIN, major, 0);
	struct record_begin *begin = arena_alloc(&k->batch->arena, sizeof(*begin));

	*begin = (struct record_begin){ .commit_time = { 1 }, .xid = major, .options = options };
	rec->begin = begin;
}

static inline void add_row_of(struct kafka *k, uint64_t major, uint64_t minor, const char *name)
{
	struct record *rec = add(k, RECORD_INSERT, major, minor);

	rec->rel = batch_hold(k->batch, k->rel);
	rec->after = arena_alloc(&k->batch->arena, 2 * sizeof(*rec->after));
	rec->after[0] = (struct value){ .data = (const uint8_t *)"7", .len = 1, .state = VALUE_PRESENT };
	rec->after[1] = (struct value){
		.data = (const uint8_t *)name, .len = (uint32_t)strlen(name), .state = VALUE_PRESENT
	};
}

static inline void add_row(struct kafka *k, uint64_t major, uint64_t minor)
{
	add_row_of(k, major, minor, "x");
}

static inline struct resume resume_at(struct kafka *k, uint64_t major)
{
	uint8_t *data = arena_alloc(&k->batch->arena, 1);

	*data = (uint8_t)major;
	return (struct resume){ data, 1 };
}

static inline void add_end(struct kafka *k, uint64_t major)
{
	struct record *rec = add(k, RECORD_END, major, POSITION_END);
	struct record_end *end = arena_alloc(&k->batch->arena, sizeof(*end));

	*end = (struct record_end){ .commit_time = { 1 }, .xid = major, .resume = resume_at(k, major) };
	rec->end = end;
}

static inline void add_heartbeat(struct kafka *k, uint64_t major)
{
	struct record *rec = add(k, RECORD_HEARTBEAT, major, POSITION_END);
	struct record_heartbeat *beat = arena_alloc(&k->batch->arena, sizeof(*beat));

	*beat = (struct record_heartbeat){ .resume = resume_at(k, major), .at = { 1 } };
	rec->heartbeat = beat;
}

static inline void send_all(struct kafka *k)
{
	struct error err = ERROR_INIT;

	k->batch->seq = ++k->seq;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), 0);
	k->batch = NULL;
}

static inline void wait_fd(struct kafka *k)
{
	struct pollfd fd = { .fd = k->fd, .events = POLLIN };
	eventfd_t n;

	if (poll(&fd, 1, 200) > 0)
		eventfd_read(k->fd, &n);
}

/* until all that was sent is durable */
static inline void settle(struct kafka *k)
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
static inline void settle_error(struct kafka *k, struct error *ret)
{
	struct mono until = mono_add_ms(mono_now(), LIMIT_MS);

	while (k->writer->ops->poll(k->writer, ret) == 0) {
		assert_true(k->writer->ops->durable(k->writer) < k->seq);
		assert_true(mono_until_ms(until, mono_now()) > 0);
		wait_fd(k);
	}
	assert_true(k->writer->ops->durable(k->writer) < k->seq);
}

/* what a topic holds: one letter for each message, the reign's number before each FENCE, and a pack's records in brackets */
struct content {
	char ops[8192];
	size_t n;
	struct position last;
	struct arena arena;
};

static inline void content_add(struct content *content, const struct stamp *stamp)
{
	if (stamp->op == RECORD_FENCE)
		content->ops[content->n++] = (char)('0' + stamp->reign.number);
	content->ops[content->n++] = (char)stamp->op;
	/* what counts follows from what counted before it; here nobody writes late */
	if (stamp->has_pos && stamp->op != RECORD_FENCE) {
		assert_int_equal(position_compare(stamp->prev, content->last), 0);
		content->last = stamp->pos;
	}
}

static inline int content_take(void *arg, const struct message *msg, struct error *err)
{
	struct content *content = arg;
	struct unpack unpack;
	struct stamp stamp;
	struct message one;

	assert_int_equal(stamp_read(msg, &content->arena, &stamp, err), 0);
	if (stamp.op != STAMP_PACK) {
		content_add(content, &stamp);
		return 0;
	}
	content->ops[content->n++] = '(';
	assert_int_equal(unpack_begin(&unpack, msg, &stamp, err), 0);
	while (unpack_next(&unpack, &one, &stamp, err) > 0)
		content_add(content, &stamp);
	content->ops[content->n++] = ')';
	return err->class ? -1 : 0;
}

static inline void read_content(struct kafka *k, const char *topic, char *ret, size_t size)
{
	struct content content = { .arena = ARENA_INIT(NULL) };
	struct kafka_range range = { .topic = topic };
	struct error err = ERROR_INIT;
	rd_kafka_t *rk = NULL;

	assert_int_equal(kafka_reader_client(&k->ctx, "test", &rk, &err), 0);
	if (kafka_bounds(rk, &k->ctx, topic, 0, &range.from, &range.to, &err) != 0)
		fail_msg("%s: %s", err.code, err.message);
	if (kafka_scan(rk, &k->ctx, &range, content_take, &content, &err) < 0)
		fail_msg("%s: %s", err.code, err.message);
	rd_kafka_destroy(rk);
	arena_reset(&content.arena);
	assert_true(content.n < size);
	memcpy(ret, content.ops, content.n + 1);
}

static inline void expect_content(struct kafka *k, const char *topic, const char *want)
{
	char found[sizeof(((struct content *)NULL)->ops)];

	read_content(k, topic, found, sizeof(found));
	assert_string_equal(found, want);
}

#define kafka_test(f) cmocka_unit_test_setup_teardown(f, kafka_setup, kafka_teardown)
