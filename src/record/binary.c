/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The binary codec's writer; see binary_format.h. What a record takes at most is known before it is written, so the buffer
 * grows once per message and a column costs a few stores: most values are shorter than what a call of memcpy() costs,
 * and are copied here.
 *
 * A field's length stands before its content. Rows are measured first, which touches no byte of the values; the fields
 * of all other records, which are rare, are built aside.
 */

#include <stdlib.h>

#include <sluice/crc32c.h>

#include "binary.h"
#include "json.h"
#include "json_write.h"
#include "varint.h"

struct binary_codec {
	struct codec base;
	struct json_writer *keys;
	struct buf scratch; /* contents of fields that are not measured first */
};

/* memcpy() of short values without a call; from may be anything when len is 0 */
static inline uint8_t *put_bytes(uint8_t *at, const uint8_t *from, size_t len)
{
	if (len > 64) {
		memcpy(at, from, len);
	} else if (len > 32) {
		memcpy(at, from, 32);
		memcpy(at + len - 32, from + len - 32, 32);
	} else if (len >= 16) {
		memcpy(at, from, 16);
		memcpy(at + len - 16, from + len - 16, 16);
	} else if (len >= 8) {
		memcpy(at, from, 8);
		memcpy(at + len - 8, from + len - 8, 8);
	} else if (len >= 4) {
		memcpy(at, from, 4);
		memcpy(at + len - 4, from + len - 4, 4);
	} else if (len) {
		at[0] = from[0];
		at[len / 2] = from[len / 2];
		at[len - 1] = from[len - 1];
	}
	return at + len;
}

static inline enum binary_kind kind_of(const struct value *value)
{
	switch ((enum value_state)value->state) {
	case VALUE_ABSENT:
		return BINARY_ABSENT;
	case VALUE_NULL:
		return BINARY_NULL;
	case VALUE_PRESENT:
		break;
	}
	return (enum binary_kind)(BINARY_TEXT + value->format);
}

static inline size_t value_room(const struct value *value)
{
	if (value->state != VALUE_PRESENT)
		return 1;
	return varint_len((uint64_t)value->len << 3) + (value->format == VALUE_BSON) + value->len;
}

static size_t row_room(const struct value *values, uint32_t n)
{
	size_t bytes = varint_len(n);

	for (uint32_t i = 0; i < n; i++)
		bytes += value_room(&values[i]);
	return bytes;
}

static uint8_t *put_row(
	uint8_t *at, enum binary_tag tag, const struct value *values, uint32_t n, size_t bytes)
{
	*at++ = (uint8_t)tag;
	at = put_varint(at, bytes);
	at = put_varint(at, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct value *value = &values[i];
		enum binary_kind kind = kind_of(value);

		if (kind <= BINARY_NULL) {
			*at++ = (uint8_t)kind;
			continue;
		}
		at = put_varint(at, (uint64_t)value->len << 3 | kind);
		if (kind == BINARY_BSON)
			*at++ = (uint8_t)value->subtype;
		at = put_bytes(at, value->data, value->len);
	}
	return at;
}

static inline uint8_t *put_head(uint8_t *at, uint8_t op)
{
	*at++ = BINARY_MAGIC;
	*at++ = BINARY_VERSION;
	*at++ = op;
	return at;
}

/* the checksum of all from `from` on, at `at` */
static inline uint8_t *put_crc(const uint8_t *from, uint8_t *at)
{
	uint32_t crc = crc32c(0, from, (size_t)(at - from));

	memcpy(at, &crc, BINARY_CRC_BYTES);
	return at + BINARY_CRC_BYTES;
}

static void take_value(struct codec_output *ret, const uint8_t *end)
{
	struct buf *out = ret->out;
	size_t len = (size_t)(end - (out->data + out->len));

	ret->value = (struct codec_slice){ .at = out->len, .len = len };
	out->len += len;
}

static int write_row(
	struct binary_codec *binary, const struct record *rec, struct codec_output *ret, struct error *err)
{
	uint32_t n = rec->rel->n_columns;
	size_t after_bytes = rec->after ? row_room(rec->after, n) : 0;
	size_t before_bytes = rec->before ? row_room(rec->before, n) : 0;
	uint8_t *start, *at;

	if (!ret->keyless && json_write_key(binary->keys, rec, ret, err) < 0)
		return -1;
	start = buf_grow(ret->out,
		BINARY_HEAD_BYTES + BINARY_CRC_BYTES + 2 * (1 + VARINT_BYTES) + after_bytes + before_bytes);
	at = put_head(start, rec->op);
	if (rec->before)
		at = put_row(at, BINARY_BEFORE, rec->before, n, before_bytes);
	if (rec->after)
		at = put_row(at, BINARY_AFTER, rec->after, n, after_bytes);
	take_value(ret, put_crc(start, at));
	return 0;
}

/* the rare records: their only field is built in scratch */

static void add_byte(struct buf *out, unsigned v)
{
	buf_putc(out, (char)v);
}

static void add_varint(struct buf *out, uint64_t v)
{
	out->len = (size_t)(put_varint(buf_grow(out, VARINT_BYTES), v) - out->data);
}

static void add_time(struct buf *out, struct wall t)
{
	buf_put(out, &t.us, sizeof(t.us));
}

static void add_bytes(struct buf *out, const void *data, size_t len)
{
	add_varint(out, len);
	buf_put(out, data, len);
}

static void add_truncate(struct buf *out, const struct record_truncate *truncate)
{
	struct buf text = BUF_INIT;

	add_byte(out, (truncate->cascade ? 1u : 0) | (truncate->restart_identity ? 2u : 0));
	add_varint(out, truncate->n_relations);
	for (uint32_t i = 0; i < truncate->n_relations; i++) {
		buf_clear(&text);
		relation_write_json(truncate->relations[i], &text);
		add_bytes(out, text.data, text.len);
	}
	buf_fini(&text);
}

static void add_message(struct buf *out, const struct record_message *message)
{
	add_byte(out, message->transactional);
	add_bytes(out, message->prefix, strlen(message->prefix));
	buf_put(out, message->content, message->content_len);
}

static void add_chunk(struct buf *out, const struct record_chunk *chunk)
{
	add_byte(out, (unsigned)chunk->mark);
	add_varint(out, chunk->no);
	add_varint(out, chunk->attempt);
	add_varint(out, chunk->rows);
	add_varint(out, chunk->start);
	add_byte(out, chunk->content != NULL);
	if (chunk->content)
		add_bytes(out, chunk->content, chunk->content_len);
}

/* the content of a record's field into out. Return: its tag; 0 = such a record has none */
static unsigned add_field(const struct record *rec, struct buf *out)
{
	switch ((enum record_op)rec->op) {
	case RECORD_BEGIN:
		add_time(out, rec->begin->commit_time);
		add_varint(out, rec->begin->xid);
		return BINARY_TRANSACTION;
	case RECORD_END:
		add_time(out, rec->end->commit_time);
		add_varint(out, rec->end->xid);
		add_varint(out, rec->end->n_records);
		return BINARY_TRANSACTION;
	case RECORD_TRUNCATE:
		add_truncate(out, rec->truncate);
		return BINARY_TRUNCATE;
	case RECORD_MESSAGE:
		add_message(out, rec->message);
		return BINARY_MESSAGE;
	case RECORD_HEARTBEAT:
		add_time(out, rec->heartbeat->at);
		add_varint(out, rec->heartbeat->head);
		add_time(out, rec->heartbeat->clear);
		return BINARY_HEARTBEAT;
	case RECORD_CHUNK:
		add_chunk(out, rec->chunk);
		return BINARY_CHUNK;
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_READ:
	case RECORD_SCHEMA:
	case RECORD_ABORT:
	case RECORD_FENCE:
		break;
	}
	return 0;
}

static void write_mark(struct binary_codec *binary, const struct record *rec, struct codec_output *ret)
{
	struct buf *content = &binary->scratch;
	uint8_t *start, *at;
	unsigned tag;

	buf_clear(content);
	tag = add_field(rec, content);
	if (!tag)
		return;
	start = buf_grow(ret->out, BINARY_HEAD_BYTES + BINARY_CRC_BYTES + 1 + VARINT_BYTES + content->len);
	at = put_head(start, rec->op);
	*at++ = (uint8_t)tag;
	at = put_varint(at, content->len);
	memcpy(at, content->data, content->len);
	take_value(ret, put_crc(start, at + content->len));
}

static void write_schema(const struct record *rec, struct codec_output *ret)
{
	struct buf *out = ret->out;

	json_relation_key(rec->rel, out);
	ret->key = (struct codec_slice){ .at = ret->key.at, .len = out->len - ret->key.at };
	ret->value = (struct codec_slice){ .at = out->len };
	relation_write_json(rec->rel, out);
	ret->value.len = out->len - ret->value.at;
}

static int binary_write(struct codec *codec, const struct record *rec, const struct codec_transaction *tx,
	struct codec_output *ret, struct error *err)
{
	struct binary_codec *binary = (struct binary_codec *)(void *)codec;
	const struct codec_slice none = { .at = ret->out->len, .null = true };

	ret->key = none;
	ret->value = none;
	ret->exact = none;
	if (rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
		rec->op == RECORD_READ)
		return write_row(binary, rec, ret, err);
	if (rec->op == RECORD_SCHEMA)
		write_schema(rec, ret);
	else
		write_mark(binary, rec, ret);
	return 0;
}

static void binary_free(struct codec *codec)
{
	struct binary_codec *binary = (struct binary_codec *)(void *)codec;

	json_writer_free(binary->keys);
	buf_fini(&binary->scratch);
	free(binary);
}

static const struct codec_ops binary_ops = {
	.encode = binary_write,
	.decode = binary_read,
	.free = binary_free,
};

struct codec *codec_binary_new(void)
{
	struct binary_codec *binary = calloc(1, sizeof(*binary));

	if (!binary)
		abort();
	binary->base.ops = &binary_ops;
	binary->keys = json_writer_new(&(struct codec_json_options){
		.version = "",
		.prefix = "",
		.database = "",
		.schemas = JSON_SCHEMAS_NONE,
	});
	return &binary->base;
}
