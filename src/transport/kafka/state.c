/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The migration's store in a compacted topic: read to its end when it is opened, kept in memory, written through.
 *
 * Invariants:
 *   1. A value is in memory only once every in-sync replica has it.
 *   2. Of several values of one key that of the highest reign counts, whatever their order: a reader that was stopped and
 *      wakes up writes under its old reign. Within a reign the last one counts.
 *   3. Keys are {"stream":…,"key":…}; streams may share the topic.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/transport.h>

#include "kafka.h"

#define ACK_MS	30000
#define STOP_MS 5000 /* from a request to stop on */

struct entry {
	char *key; /* of the message: the whole JSON text */
	uint8_t *value;
	size_t len;
	bool removed;
	struct reign reign;
};

struct state_kafka {
	struct state base;
	const struct context *ctx;
	char topic[TOPIC_MAX];
	pthread_mutex_t lock; /* guards everything below */
	rd_kafka_t *producer;
	struct reign reign;
	struct entry *entries;
	uint32_t n, cap;
	/* what the delivery report said; valid once reported */
	bool reported;
	rd_kafka_resp_err_t report;
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct state_kafka *st = opaque;

	st->reported = true;
	st->report = msg->err;
}

static void message_key(const struct state_kafka *st, const char *key, struct buf *out)
{
	buf_clear(out);
	buf_puts(out, "{\"stream\":");
	buf_json_string(out, st->ctx->cfg->name, strlen(st->ctx->cfg->name));
	buf_puts(out, ",\"key\":");
	buf_json_string(out, key, strlen(key));
	buf_putc(out, '}');
}

/* what the keys begin with that begin with prefix */
static void message_prefix(const struct state_kafka *st, const char *prefix, struct buf *out)
{
	message_key(st, prefix, out);
	out->len -= 2; /* the closing quote and brace */
}

static struct entry *entry_find(struct state_kafka *st, const char *key, size_t len)
{
	for (uint32_t i = 0; i < st->n; i++) {
		if (strlen(st->entries[i].key) == len && memcmp(st->entries[i].key, key, len) == 0)
			return &st->entries[i];
	}
	return NULL;
}

static struct entry *entry_get(struct state_kafka *st, const char *key, size_t len)
{
	struct entry *entry = entry_find(st, key, len);

	if (entry)
		return entry;
	if (st->n == st->cap) {
		st->cap = st->cap ? st->cap * 2 : 64;
		st->entries = realloc(st->entries, st->cap * sizeof(*st->entries));
		if (!st->entries)
			abort();
	}
	entry = &st->entries[st->n++];
	*entry = (struct entry){ .key = strndup(key, len) };
	if (!entry->key)
		abort();
	return entry;
}

/* value NULL: removed */
static void entry_put(struct entry *entry, struct reign reign, const void *value, size_t len)
{
	if (reign.number < entry->reign.number)
		return;
	free(entry->value);
	*entry = (struct entry){ .key = entry->key, .reign = reign, .removed = !value };
	if (!value)
		return;
	entry->value = malloc(len + 1);
	if (!entry->value)
		abort();
	memcpy(entry->value, value, len);
	entry->len = len;
}

static int state_take(void *arg, const struct message *msg, struct error *err)
{
	struct state_kafka *st = arg;
	const struct message_header *h = message_header(msg, "sluice.reign");
	struct reign reign;

	/* another program's message: not ours to understand */
	if (!msg->key || !h || !reign_parse(&reign, h->value, h->len))
		return 0;
	entry_put(entry_get(st, msg->key, msg->key_len), reign, msg->value, msg->value_len);
	return 0;
}

static int state_read(struct state_kafka *st, struct error *err)
{
	struct kafka_range range = { .topic = st->topic };
	rd_kafka_t *rk = NULL;
	/* asked by the producer: one that knows no leader yet would let its first message wait for a second */
	int r = kafka_bounds(st->producer, st->ctx, st->topic, 0, &range.from, &range.to, err);

	if (r != 0 || range.from >= range.to)
		return r < 0 ? r : 0; /* no topic: nothing was ever stored */
	if (kafka_reader_client(st->ctx, "state", &rk, err) < 0)
		return -1;
	r = kafka_scan(rk, st->ctx, &range, state_take, st, err);
	rd_kafka_destroy(rk);
	return r;
}

/* value NULL: a tombstone. The lock is held */
static int state_write(struct state_kafka *st, const char *key, size_t key_len, const void *value, size_t len,
	struct error *err)
{
	char reign[REIGN_TEXT];
	struct mono until = mono_add_ms(mono_now(), ACK_MS);
	rd_kafka_resp_err_t code;
	bool stopping = false;

	if (!st->reign.number)
		return error_set(err, ERROR_TRANSIENT, "FENCED", "the log has not been taken over");
	if (!st->producer && kafka_producer(st->ctx, "state", st, on_delivery, &st->producer, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("transport.kafka.state"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.state");
	reign_format(st->reign, reign);
	st->reported = false;
	code = rd_kafka_producev(st->producer, RD_KAFKA_V_TOPIC(st->topic), RD_KAFKA_V_PARTITION(0),
		RD_KAFKA_V_KEY(key, key_len), RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len),
		RD_KAFKA_V_HEADER("sluice.reign", reign, -1), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_END);
	if (code)
		return kafka_error(err, code, "writing topic %s", st->topic);
	while (!st->reported && mono_until_ms(until, mono_now()) > 0) {
		if (!stopping && context_stopping(st->ctx)) {
			stopping = true;
			until = mono_add_ms(mono_now(), STOP_MS);
		}
		rd_kafka_poll(st->producer, 100);
	}
	if (!st->reported)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "topic %s: no answer in %d s",
			st->topic, (stopping ? STOP_MS : ACK_MS) / 1000);
	if (st->report)
		return kafka_error(err, st->report, "writing topic %s", st->topic);
	entry_put(entry_get(st, key, key_len), st->reign, value, len);
	return 0;
}

static int state_kafka_get(struct state *base, const char *key, struct buf *ret, struct error *err)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	const struct entry *entry;
	bool found;

	buf_clear(ret);
	message_key(st, key, &name);
	pthread_mutex_lock(&st->lock);
	entry = entry_find(st, (const char *)name.data, name.len);
	found = entry && !entry->removed;
	if (found)
		buf_put(ret, entry->value, entry->len);
	pthread_mutex_unlock(&st->lock);
	return found ? 0 : STATE_MISSING;
}

static int state_kafka_set(
	struct state *base, const char *key, const void *value, size_t len, struct error *err)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	int r;

	message_key(st, key, &name);
	pthread_mutex_lock(&st->lock);
	r = state_write(st, (const char *)name.data, name.len, value, len, err);
	pthread_mutex_unlock(&st->lock);
	return r;
}

static int state_kafka_remove(struct state *base, const char *prefix, struct error *err)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	int r = 0;

	message_prefix(st, prefix, &name);
	pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; r == 0 && i < st->n; i++) {
		const struct entry *entry = &st->entries[i];

		if (!entry->removed && strncmp(entry->key, (const char *)name.data, name.len) == 0)
			r = state_write(st, entry->key, strlen(entry->key), NULL, 0, err);
	}
	pthread_mutex_unlock(&st->lock);
	return r;
}

int state_kafka_each(struct state *base, const char *prefix,
	int (*each)(void *arg, const char *value, struct error *err), void *arg, struct error *err)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	int r = 0;

	message_prefix(st, prefix, &name);
	pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; r == 0 && i < st->n; i++) {
		const struct entry *entry = &st->entries[i];

		if (entry->removed || strncmp(entry->key, (const char *)name.data, name.len) != 0)
			continue;
		buf_clear(&value);
		buf_put(&value, entry->value, entry->len);
		r = each(arg, buf_str(&value), err);
	}
	pthread_mutex_unlock(&st->lock);
	return r;
}

static const struct state_ops state_kafka_ops = {
	.get = state_kafka_get,
	.set = state_kafka_set,
	.remove = state_kafka_remove,
};

int state_kafka_new(const struct context *ctx, struct state **ret, struct error *err)
{
	struct state_kafka *st = calloc(1, sizeof(*st));

	if (!st)
		abort();
	st->base.ops = &state_kafka_ops;
	st->ctx = ctx;
	snprintf(st->topic, sizeof(st->topic), "%s.state", ctx->cfg->transport.kafka.prefix);
	pthread_mutex_init(&st->lock, NULL);
	if (kafka_producer(ctx, "state", st, on_delivery, &st->producer, err) < 0 ||
		state_read(st, err) < 0) {
		state_kafka_free(&st->base);
		return -1;
	}
	*ret = &st->base;
	return 0;
}

static void entries_forget(struct state_kafka *st)
{
	for (uint32_t i = 0; i < st->n; i++) {
		free(st->entries[i].key);
		free(st->entries[i].value);
	}
	st->n = 0;
}

int state_kafka_again(struct state *base, struct error *err)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;
	int r;

	pthread_mutex_lock(&st->lock);
	entries_forget(st);
	r = state_read(st, err);
	pthread_mutex_unlock(&st->lock);
	return r;
}

void state_kafka_reign(struct state *base, struct reign reign)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;

	pthread_mutex_lock(&st->lock);
	st->reign = reign;
	pthread_mutex_unlock(&st->lock);
}

struct state *state_kafka_free(struct state *base)
{
	struct state_kafka *st = (struct state_kafka *)(void *)base;

	if (!st)
		return NULL;
	if (st->producer)
		rd_kafka_destroy(st->producer);
	entries_forget(st);
	free(st->entries);
	pthread_mutex_destroy(&st->lock);
	free(st);
	return NULL;
}

int transport_kafka_state_open(const struct context *ctx, struct state **ret, struct error *err)
{
	return state_kafka_new(ctx, ret, err);
}

struct state *transport_kafka_state_close(struct state *state)
{
	return state_kafka_free(state);
}
