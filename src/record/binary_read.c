/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The binary codec's reader; see binary_format.h. The checksum is proven before anything else is believed, but for the
 * two bytes that say whether it is there. What follows is read as carefully as if it had not been: whoever can write to
 * the topic can write a checksum too.
 *
 * The message is copied into the batch's arena once, and values point into that copy. The record is filled when all of
 * the message has been read, so a failure leaves it as it was.
 */

#include <inttypes.h>

#include <sluice/cleanup.h>
#include <sluice/crc32c.h>

#include "binary.h"
#include "cursor.h"

#define TRUNCATE_MAX_RELATIONS 65536u

/* what the fields of a message say */
struct fields {
	const struct relation *rel;
	struct batch *batch;
	struct record rec; /* op is known before; filled as fields are read */
	uint32_t column;   /* the one that is being read, from 1 on; 0 = none */
	unsigned seen;	   /* bit per tag */
	bool unknown;	   /* a tag that must not be skipped */
};

CLEANUP_DEFINE(struct relation, relation_unref)

static struct wall cursor_time(struct cursor *cur)
{
	struct wall t = { 0 };

	if (cursor_left(cur) < sizeof(t.us))
		cursor_fail(cur, cur->at, "it ends too early");
	else
		memcpy(&t.us, cursor_bytes(cur, sizeof(t.us)), sizeof(t.us));
	return t;
}

static inline void read_value(struct cursor *cur, struct value *ret)
{
	const uint8_t *at = cur->at;
	uint64_t head = cursor_varint(cur), len = head >> 3;
	unsigned kind = head & 7;

	*ret = (struct value){ 0 };
	if (kind == BINARY_TEXT || kind == BINARY_BINARY || kind == BINARY_BSON) {
		ret->state = VALUE_PRESENT;
		ret->format = (uint8_t)(kind - BINARY_TEXT);
		if (kind == BINARY_BSON)
			ret->subtype = cursor_u8(cur);
		ret->len = (uint32_t)len;
		if (len > UINT32_MAX)
			cursor_fail(cur, at, "a value has more than 4 GiB");
		ret->data = cursor_bytes(cur, len);
	} else if (kind <= BINARY_NULL && !len) {
		ret->state = kind == BINARY_NULL ? VALUE_NULL : VALUE_ABSENT;
	} else {
		cursor_fail(cur, at, "a value is of no known kind");
	}
}

/* Return: the values, one for each column; NULL = the cursor has failed */
static struct value *read_row(struct cursor *cur, struct fields *fields)
{
	const uint8_t *at = cur->at;
	struct value *values;
	uint64_t n = cursor_varint(cur);

	if (!fields->rel || n != fields->rel->n_columns) {
		cursor_fail(cur, at, "its columns are not as many as the relation's");
		return NULL;
	}
	values = arena_alloc(&fields->batch->arena, n * sizeof(*values));
	for (uint32_t i = 0; i < n; i++) {
		read_value(cur, &values[i]);
		if (cur->failed) {
			fields->column = i + 1;
			return NULL;
		}
	}
	if (cur->at != cur->end)
		cursor_fail(cur, cur->at, "bytes follow the last column");
	return values;
}

static void read_transaction(struct cursor *cur, struct fields *fields)
{
	struct wall commit_time = cursor_time(cur);
	uint64_t xid = cursor_varint(cur);

	if (fields->rec.op == RECORD_BEGIN) {
		struct record_begin *begin = arena_alloc(&fields->batch->arena, sizeof(*begin));

		*begin = (struct record_begin){ .commit_time = commit_time, .xid = xid };
		fields->rec.begin = begin;
	} else {
		struct record_end *end = arena_alloc(&fields->batch->arena, sizeof(*end));

		*end = (struct record_end){ .commit_time = commit_time, .xid = xid };
		end->n_records = cursor_varint(cur);
		fields->rec.end = end;
	}
}

static void read_truncate(struct cursor *cur, struct fields *fields)
{
	struct record_truncate *truncate = arena_alloc(&fields->batch->arena, sizeof(*truncate));
	uint8_t options = cursor_u8(cur);
	const uint8_t *at = cur->at;
	uint32_t n = cursor_varint32(cur);

	/* each needs bytes of its own, so the array is never larger than the message allows */
	if (n > TRUNCATE_MAX_RELATIONS || n > cursor_left(cur)) {
		cursor_fail(cur, at, "there are more relations than bytes for them");
		return;
	}
	*truncate = (struct record_truncate){ .cascade = options & 1, .restart_identity = options & 2 };
	truncate->relations = arena_alloc(&fields->batch->arena, n * sizeof(struct relation *));
	for (uint32_t i = 0; i < n; i++) {
		_cleanup_(relation_unrefp) struct relation *rel = NULL;
		struct error err = ERROR_INIT;
		uint64_t len = cursor_varint(cur);
		const uint8_t *text = cursor_bytes(cur, len);

		if (cur->failed)
			return;
		if (relation_read_json(text, len, &rel, &err) < 0) {
			cursor_fail(cur, text, "a relation's description is not one");
			return;
		}
		truncate->relations[truncate->n_relations++] = batch_hold(fields->batch, rel);
	}
	fields->rec.truncate = truncate;
}

static void read_message(struct cursor *cur, struct fields *fields)
{
	struct arena *arena = &fields->batch->arena;
	struct record_message *message = arena_alloc(arena, sizeof(*message));
	uint8_t options = cursor_u8(cur);
	const uint8_t *at = cur->at;
	uint64_t len = cursor_varint(cur);
	const uint8_t *text = cursor_bytes(cur, len);
	char *prefix;

	if (!cur->failed && memchr(text, 0, len))
		cursor_fail(cur, at, "a prefix has a zero byte");
	if (cur->failed)
		return;
	prefix = arena_alloc(arena, len + 1);
	memcpy(prefix, text, len);
	prefix[len] = '\0';
	*message = (struct record_message){
		.prefix = prefix,
		.content = cur->at,
		.content_len = (uint32_t)cursor_left(cur),
		.transactional = options & 1,
	};
	cur->at = cur->end;
	fields->rec.message = message;
}

static void read_heartbeat(struct cursor *cur, struct fields *fields)
{
	struct record_heartbeat *heartbeat = arena_alloc(&fields->batch->arena, sizeof(*heartbeat));

	*heartbeat = (struct record_heartbeat){ 0 };
	heartbeat->at = cursor_time(cur);
	heartbeat->head = cursor_varint(cur);
	heartbeat->clear = cursor_time(cur);
	fields->rec.heartbeat = heartbeat;
}

static void read_chunk(struct cursor *cur, struct fields *fields)
{
	struct record_chunk *chunk = arena_alloc(&fields->batch->arena, sizeof(*chunk));
	const uint8_t *at = cur->at;
	uint8_t mark = cursor_u8(cur);

	if (!mark || !memchr("TBEDF", mark, 5))
		cursor_fail(cur, at, "a mark is of no known kind");
	*chunk = (struct record_chunk){ .mark = (enum chunk_mark)mark };
	chunk->no = cursor_varint32(cur);
	chunk->attempt = cursor_varint32(cur);
	chunk->rows = cursor_varint(cur);
	chunk->start = cursor_varint(cur);
	if (cursor_u8(cur)) {
		chunk->content_len = cursor_varint32(cur);
		chunk->content = cursor_bytes(cur, chunk->content_len);
	}
	fields->rec.chunk = chunk;
}

/* the tags that a record of an op may have, as bits */
static unsigned tags_of(uint8_t op)
{
	switch ((enum record_op)op) {
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_READ:
		return 1u << BINARY_AFTER | 1u << BINARY_BEFORE;
	case RECORD_BEGIN:
	case RECORD_END:
		return 1u << BINARY_TRANSACTION;
	case RECORD_TRUNCATE:
		return 1u << BINARY_TRUNCATE;
	case RECORD_MESSAGE:
		return 1u << BINARY_MESSAGE;
	case RECORD_HEARTBEAT:
		return 1u << BINARY_HEARTBEAT;
	case RECORD_CHUNK:
		return 1u << BINARY_CHUNK;
	case RECORD_SCHEMA:
	case RECORD_ABORT:
	case RECORD_FENCE:
		break;
	}
	return 0;
}

static void read_field(struct cursor *cur, enum binary_tag tag, struct fields *fields)
{
	switch (tag) {
	case BINARY_AFTER:
		fields->rec.after = read_row(cur, fields);
		break;
	case BINARY_BEFORE:
		fields->rec.before = read_row(cur, fields);
		break;
	case BINARY_TRANSACTION:
		read_transaction(cur, fields);
		break;
	case BINARY_TRUNCATE:
		read_truncate(cur, fields);
		break;
	case BINARY_MESSAGE:
		read_message(cur, fields);
		break;
	case BINARY_HEARTBEAT:
		read_heartbeat(cur, fields);
		break;
	case BINARY_CHUNK:
		read_chunk(cur, fields);
		break;
	}
}

static void read_fields(struct cursor *cur, struct fields *fields)
{
	unsigned allowed = tags_of(fields->rec.op);

	while (cur->at != cur->end) {
		const uint8_t *at = cur->at;
		uint8_t tag = cursor_u8(cur);
		uint64_t len = cursor_varint(cur);
		struct cursor content = { .base = cur->base };

		content.at = cursor_bytes(cur, len);
		content.end = cur->at;

		if (cur->failed || tag >= BINARY_OPTIONAL)
			continue; /* it stands at its end, or behind what may be skipped */
		fields->unknown = tag > BINARY_CHUNK || !tag;
		if (fields->unknown || !(allowed >> tag & 1) || fields->seen >> tag & 1) {
			cursor_fail(cur, at, "a field does not belong there");
			return;
		}
		fields->seen |= 1u << tag;
		read_field(&content, (enum binary_tag)tag, fields);
		if (content.failed)
			cursor_fail(cur, content.failed_at, content.failed);
	}
	if (!fields->seen)
		cursor_fail(cur, cur->end, "it says nothing");
}

static int format_error(
	const struct message *msg, const struct fields *fields, const struct cursor *cur, struct error *err)
{
	const struct relation *rel = fields->rel;
	const char *column = rel && fields->column ? rel->columns[fields->column - 1].name : NULL;

	return error_set(err, ERROR_DATA, fields->unknown ? "BINARY-VERSION" : "BINARY-FORMAT",
		"offset %" PRId64 "%s%s%s%s%s%s: the message cannot be read at its byte %zu: %s", msg->offset,
		rel ? ", relation " : "", rel ? rel->schema : "", rel ? "." : "", rel ? rel->name : "",
		column ? ", column " : "", column ? column : "", (size_t)(cur->failed_at - cur->base),
		fields->unknown ? "a newer version of sluice wrote it" : cur->failed);
}

int binary_check_frame(const struct message *msg, uint8_t magic, uint8_t version, struct error *err)
{
	const uint8_t *value = msg->value;
	size_t len = value ? msg->value_len : 0;
	uint32_t crc;

	if (len < BINARY_HEAD_BYTES + BINARY_CRC_BYTES)
		return error_set(err, ERROR_DATA, "BINARY-FORMAT",
			"offset %" PRId64 ": the message has %zu bytes, the shortest have %u", msg->offset,
			len, BINARY_HEAD_BYTES + BINARY_CRC_BYTES);
	if (value[0] != magic)
		return error_set(err, ERROR_DATA, "BINARY-FORMAT",
			"offset %" PRId64 ": the message is not in sluice's binary form", msg->offset);
	if (value[1] != version) {
		error_set(err, ERROR_DATA, "BINARY-VERSION",
			"offset %" PRId64
			": the message is in version %u of the binary form, this program reads %d",
			msg->offset, value[1], version);
		return error_remedy(err, "upgrade the applier first, then the reader");
	}
	memcpy(&crc, value + len - BINARY_CRC_BYTES, BINARY_CRC_BYTES);
	if (crc != crc32c(0, value, len - BINARY_CRC_BYTES))
		return error_set(err, ERROR_DATA, "BINARY-CHECKSUM",
			"offset %" PRId64
			": the message of %zu bytes is damaged, its checksum is not that of its content",
			msg->offset, len);
	return 0;
}

/* all that has to hold before a field is looked at */
static int check_head(const struct message *msg, uint8_t op, struct error *err)
{
	const uint8_t *value = msg->value;

	if (binary_check_frame(msg, BINARY_MAGIC, BINARY_VERSION, err) < 0)
		return -1;
	if (value[2] != op)
		return error_set(err, ERROR_DATA, "BINARY-FORMAT",
			"offset %" PRId64 ": the message is of op 0x%02x, its header sluice.op says 0x%02x",
			msg->offset, value[2], op);
	return 0;
}

static int read_schema(const struct message *msg, struct batch *batch, struct record *rec, struct error *err)
{
	_cleanup_(relation_unrefp) struct relation *rel = NULL;

	if (relation_read_json(msg->value, msg->value ? msg->value_len : 0, &rel, err) < 0)
		return error_where(err, "offset %" PRId64, msg->offset);
	rec->rel = batch_hold(batch, rel);
	return 0;
}

int binary_read(struct codec *codec, const struct message *msg, struct batch *batch, struct record *rec,
	struct error *err)
{
	struct fields fields = { .rel = rec->rel, .batch = batch, .rec = *rec };
	struct cursor cur;

	if (rec->op == RECORD_SCHEMA)
		return read_schema(msg, batch, rec, err);
	if (rec->op == RECORD_ABORT || rec->op == RECORD_FENCE)
		return 0; /* their headers say all */
	if (check_head(msg, rec->op, err) < 0)
		return -1;
	cur.base = arena_dup(&batch->arena, msg->value, msg->value_len);
	cur.at = cur.base + BINARY_HEAD_BYTES;
	cur.end = cur.base + msg->value_len - BINARY_CRC_BYTES;
	cur.failed = NULL;
	cur.failed_at = NULL;
	read_fields(&cur, &fields);
	if (cur.failed)
		return format_error(msg, &fields, &cur, err);
	*rec = fields.rec;
	return 0;
}
