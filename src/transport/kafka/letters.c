/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Dead letters as messages, for the tools that watch such topics. The target's table is what counts: a letter is there before it
 * is here, and what cannot be written here waits there.
 *
 *   key      {"id":17}, the letter's number in the target: a letter's messages come in order
 *   value    the letter as JSON, with its whole record; the same as `dead-letters show --json --show-values`
 *   headers  sluice.id (UUIDv5 of target, letter, state and attempts: the same in a repeated message), sluice.letter, .state,
 *            .attempts, .table, .position, .error.class, .error.code, .error.message
 *
 * A letter comes when it is stored, and again whenever a retry failed or it was resolved. A record that is larger than what
 * brokers take is left out of its message: the letter must be heard of, and its record can be read from the target.
 *
 * Every failure closes the producer: what it still held is in the table, and is written again by a new one.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/dead_letter.h>
#include <sluice/fault.h>
#include <sluice/transport.h>

#include "topics.h"

#define ACK_MS	     10000
#define TURN_MS	     100
#define BYTES_AROUND 4096 /* key, headers, and what stands around the record */

struct letters_topic {
	const struct context *ctx;
	const char *identity;
	const atomic_bool *cancel;
	char name[TOPIC_MAX];
	rd_kafka_t *rk;
	size_t max_record;
	struct buf value, text;
	/* of the put() under way */
	const struct dead_letter *letters;
	bool *done;
	uint32_t waiting;
	rd_kafka_resp_err_t failure; /* the first one */
};

/* the record of this letter did not fit: none of its size is tried again */
static void letters_shrink(struct letters_topic *t, const struct dead_letter *letter)
{
	size_t len = letter->record ? strlen(letter->record) : 0;

	if (len && len <= t->max_record)
		t->max_record = len - 1;
}

/* Thread: the caller's, inside rd_kafka_poll() */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct letters_topic *t = opaque;
	size_t i = (size_t)(uintptr_t)msg->_private;

	if (!t->waiting)
		return; /* the put() that sent it has given up */
	t->waiting--;
	t->done[i] = !msg->err;
	if (!msg->err || t->failure)
		return;
	t->failure = msg->err;
	if (msg->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		letters_shrink(t, &t->letters[i]);
}

static int letters_open(struct letters_topic *t, struct error *err)
{
	const struct kafka_topic topic = { t->name, 1, false };

	if (t->rk)
		return 0;
	if (SLUICE_FAULT_POINT("transport.kafka.letters"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.letters");
	if (kafka_producer(t->ctx, "letters", t, on_delivery, &t->rk, err) < 0)
		return -1;
	return kafka_topics_ensure(t->rk, t->ctx, &topic, 1, err);
}

static void letters_close(struct letters_topic *t)
{
	t->waiting = 0;
	if (!t->rk)
		return;
	rd_kafka_purge(t->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_poll(t->rk, 0);
	rd_kafka_destroy(t->rk);
	t->rk = NULL;
}

/* message borrows from text, which has room for all before the first pointer into it is taken */
static void put_header(struct buf *text, struct message *msg, const char *name, const char *value)
{
	size_t len = strlen(value);

	msg->headers[msg->n_headers++] =
		(struct message_header){ .name = name, .value = (char *)text->data + text->len, .len = len };
	buf_put(text, value, len);
}

static void put_number(struct buf *text, struct message *msg, const char *name, int64_t number)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%lld", (long long)number);
	put_header(text, msg, name, digits);
}

/* one letter in one state after so many attempts: a position of its own within this target */
static void letter_id(const struct letters_topic *t, const struct dead_letter *letter, char out[37])
{
	struct position at = { (uint64_t)letter->id, (uint64_t)letter->attempts };
	char identity[160];

	snprintf(identity, sizeof(identity), "%s/dead-letters/%s", t->identity, letter->state);
	stamp_id(identity, at, out);
}

static void letter_message(struct letters_topic *t, const struct dead_letter *letter, struct message *ret)
{
	char key[40], id[37];

	*ret = (struct message){ 0 };
	buf_clear(&t->value);
	buf_clear(&t->text);
	buf_grow(&t->text, strlen(letter->message) + strlen(letter->table) + 1024);
	dead_letter_json(letter, &t->value);
	letter_id(t, letter, id);
	put_header(&t->text, ret, "sluice.id", id);
	put_number(&t->text, ret, "sluice.letter", letter->id);
	put_header(&t->text, ret, "sluice.state", letter->state);
	put_number(&t->text, ret, "sluice.attempts", letter->attempts);
	put_header(&t->text, ret, "sluice.table", letter->table);
	put_header(&t->text, ret, "sluice.position", letter->position);
	put_header(&t->text, ret, "sluice.error.class", letter->error_class);
	put_header(&t->text, ret, "sluice.error.code", letter->error_code);
	put_header(&t->text, ret, "sluice.error.message", letter->message);
	snprintf(key, sizeof(key), "{\"id\":%lld}", (long long)letter->id);
	ret->key = (char *)t->text.data + t->text.len;
	ret->key_len = strlen(key);
	buf_put(&t->text, key, ret->key_len);
	ret->value = t->value.data;
	ret->value_len = t->value.len;
}

static rd_kafka_resp_err_t letter_send(struct letters_topic *t, uint32_t i, const struct dead_letter *letter)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t code;
	struct message msg;

	letter_message(t, letter, &msg);
	headers = kafka_headers(&msg);
	code = rd_kafka_producev(t->rk, RD_KAFKA_V_TOPIC(t->name), RD_KAFKA_V_PARTITION(0),
		RD_KAFKA_V_KEY(msg.key, msg.key_len),
		RD_KAFKA_V_VALUE((void *)(uintptr_t)msg.value, msg.value_len), RD_KAFKA_V_HEADERS(headers),
		RD_KAFKA_V_OPAQUE((void *)(uintptr_t)i), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_END);
	if (code)
		rd_kafka_headers_destroy(headers);
	else
		t->waiting++;
	return code;
}

/* Return: how many were sent; what comes behind a full queue waits for the next call */
static uint32_t letters_send(struct letters_topic *t, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct dead_letter letter = t->letters[i];
		rd_kafka_resp_err_t code = letter_send(t, i, &letter);

		if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && letter.record) {
			letters_shrink(t, &letter);
			letter.record = NULL;
			code = letter_send(t, i, &letter);
		}
		if (code && !(i && code == RD_KAFKA_RESP_ERR__QUEUE_FULL))
			t->failure = code;
		if (code)
			return i;
	}
	return n;
}

static int letters_settle(struct letters_topic *t, struct error *err)
{
	struct mono until = mono_add_ms(mono_now(), ACK_MS);

	while (t->waiting && !t->failure && !atomic_load(t->cancel) && mono_until_ms(until, mono_now()) > 0)
		rd_kafka_poll(t->rk, TURN_MS);
	if (t->failure)
		return kafka_error(err, t->failure, "writing topic %s", t->name);
	if (t->waiting)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-TIMEOUT", "topic %s: no answer in %d s",
			t->name, ACK_MS / 1000);
	return 0;
}

int transport_kafka_letters_put(
	struct letters_topic *t, const struct dead_letter *letters, uint32_t n, bool *done, struct error *err)
{
	int r;

	t->letters = letters;
	t->done = done;
	t->waiting = 0;
	t->failure = RD_KAFKA_RESP_ERR_NO_ERROR;
	r = letters_open(t, err);
	if (r == 0) {
		letters_send(t, n);
		r = letters_settle(t, err);
	}
	if (r == 0 && SLUICE_FAULT_POINT("transport.kafka.letters.acked"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.letters.acked");
	if (r < 0)
		letters_close(t);
	return r;
}

size_t transport_kafka_letters_max(const struct letters_topic *t)
{
	return t->max_record;
}

struct letters_topic *transport_kafka_letters_new(
	const struct context *ctx, const char *identity, const atomic_bool *cancel)
{
	struct letters_topic *t = calloc(1, sizeof(*t));
	size_t bytes = (size_t)kafka_message_bytes(&ctx->cfg->transport.kafka);

	if (!t)
		abort();
	t->ctx = ctx;
	t->identity = identity;
	t->cancel = cancel;
	t->max_record = bytes > 2 * BYTES_AROUND ? bytes - BYTES_AROUND : bytes / 2;
	snprintf(t->name, sizeof(t->name), "%s.dead-letters", ctx->cfg->transport.kafka.prefix);
	return t;
}

struct letters_topic *transport_kafka_letters_free(struct letters_topic *t)
{
	if (t) {
		letters_close(t);
		buf_fini(&t->value);
		buf_fini(&t->text);
	}
	free(t);
	return NULL;
}
