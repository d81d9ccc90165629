/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reading half of the JSON codec: yajl's events go straight into the record, there is no tree. Where the event
 * belongs follows from the depth and the keys above it: the envelope's members, perhaps inside "payload"; a row's
 * columns; inside a column a struct or an array. Schemas, source and transaction are skipped: what they say of a record of
 * ours, its stamp says too. They are most of a message, so behind a row they are not even parsed, where the message ends as ours
 * do and so is whole. Bytes come from outside: every length, depth and form is checked, and what is wrong is a DATA error with
 * the offset and the column.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json_read.h"

#define KEY_BYTES 64

enum member {
	MEMBER_OTHER,
	MEMBER_BEFORE,
	MEMBER_AFTER,
	MEMBER_MESSAGE,
	MEMBER_NUMBER,
	MEMBER_MARK,
	MEMBER_CONTENT,
	MEMBER_SOURCE
};

/* the numbers of marks, by name */
struct numbers {
	int64_t commit_us, at_us, clear_us;
	uint64_t xid, event_count, head, no, attempt, rows, start;
};

struct reading {
	const struct message *msg;
	struct batch *batch;
	struct record *rec;
	struct error *err;
	unsigned depth;	    /* open maps and arrays */
	unsigned base;	    /* depth of the envelope's members */
	unsigned end;	    /* of a row: read_end() */
	unsigned skip;	    /* > 0: everything until this depth is closed means nothing */
	enum member member; /* of the envelope, that is open or comes next */
	char key[KEY_BYTES]; /* of the envelope or of a struct, the last one; "" = too long to be one of ours */
	struct value *row;   /* being filled; NULL = none */
	bool doubtful;	     /* the value under way has not its type's form: sluice.exact has to replace it */
	uint32_t n_seen;     /* columns of it */
	int column;	     /* that comes next */
	struct json_type type, element;
	unsigned column_depth; /* where its struct or array is open; 0 = none */
	bool array, first;
	struct read_struct fields;
	struct buf text, part; /* the value; an array's element */
	struct numbers numbers;
	uint8_t mark;
	struct record_message *message;
	bool loose; /* it is in no transaction */
	const uint8_t *content;
	uint32_t content_len;
	bool before, after; /* have been met */
};

static int broken(struct reading *rd, const char *what)
{
	const struct relation *rel = rd->rec->rel;

	if (rd->row && rel && rd->column >= 0)
		error_set(rd->err, ERROR_DATA, "JSON-VALUE", "offset %" PRId64 ": table %s.%s column %s: %s",
			rd->msg->offset, rel->schema, rel->name, rel->columns[rd->column].name, what);
	else
		error_set(rd->err, ERROR_DATA, "JSON-VALUE", "offset %" PRId64 ": %s", rd->msg->offset, what);
	return 0;
}

static void value_set(struct reading *rd, const struct buf *text)
{
	rd->row[rd->column] = (struct value){
		.data = rd->doubtful ? read_doubtful : arena_dup(&rd->batch->arena, text->data, text->len),
		.len = rd->doubtful ? 0 : (uint32_t)text->len,
		.state = VALUE_PRESENT,
		.format = VALUE_TEXT,
	};
	rd->doubtful = false;
}

/* what the envelope cannot say, or stands for a value that was not sent, may be of any form: the header says what it is */
static bool doubt(struct reading *rd)
{
	rd->doubtful = message_header(rd->msg, "sluice.exact");
	return rd->doubtful;
}

static int column_scalar(struct reading *rd, const struct read_scalar *in)
{
	if (in->type == SCALAR_NULL) {
		rd->row[rd->column].state = VALUE_NULL;
		return 1;
	}
	buf_clear(&rd->text);
	if (!read_scalar_value(&rd->type, in, &rd->text) && !doubt(rd))
		return broken(rd, "a value that its type does not have");
	value_set(rd, &rd->text);
	return 1;
}

/* text: of what stands in rd->part; NULL = null */
static void element_put(struct reading *rd, const char *text)
{
	if (!rd->first)
		buf_putc(&rd->text, ',');
	rd->first = false;
	read_element(text, text ? rd->part.len : 0, &rd->text);
}

static int element_scalar(struct reading *rd, const struct read_scalar *in)
{
	buf_clear(&rd->part);
	if (in->type == SCALAR_NULL)
		element_put(rd, NULL);
	else if (read_scalar_value(&rd->element, in, &rd->part) || doubt(rd))
		element_put(rd, buf_str(&rd->part));
	else
		return broken(rd, "an array's element that its type does not have");
	return 1;
}

static struct read_text keep(struct reading *rd, struct read_text text)
{
	return (struct read_text){ arena_dup(&rd->batch->arena, text.s, text.len), text.len };
}

static int field_scalar(struct reading *rd, const struct read_scalar *in)
{
	static const struct {
		const char *name;
		size_t at;
	} fields[] = {
		{ "scale", offsetof(struct read_struct, scale) },
		{ "value", offsetof(struct read_struct, value) },
		{ "x", offsetof(struct read_struct, x) },
		{ "y", offsetof(struct read_struct, y) },
		{ "a", offsetof(struct read_struct, a) },
		{ "b", offsetof(struct read_struct, b) },
		{ "c", offsetof(struct read_struct, c) },
		{ "radius", offsetof(struct read_struct, radius) },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (strcmp(fields[i].name, rd->key) == 0 &&
			(in->type == SCALAR_NUMBER || in->type == SCALAR_STRING)) {
			struct read_text text = keep(rd, in->text);

			memcpy((uint8_t *)&rd->fields + fields[i].at, &text, sizeof(text));
		}
	}
	return 1;
}

static int number_scalar(struct reading *rd, const struct read_scalar *in)
{
	struct numbers *n = &rd->numbers;
	const struct {
		const char *name;
		int64_t *i64;
		uint64_t *u64;
	} known[] = { { "commit_us", &n->commit_us, NULL }, { "at_us", &n->at_us, NULL },
		{ "clear_us", &n->clear_us, NULL }, { "xid", NULL, &n->xid },
		{ "event_count", NULL, &n->event_count }, { "head", NULL, &n->head }, { "no", NULL, &n->no },
		{ "attempt", NULL, &n->attempt }, { "rows", NULL, &n->rows }, { "start", NULL, &n->start } };

	if (in->type != SCALAR_NUMBER)
		return 1;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strcmp(known[i].name, rd->key) != 0)
			continue;
		if (known[i].i64 ? !read_i64(in->text, known[i].i64) : !read_u64(in->text, known[i].u64))
			return broken(rd, "a number that is none");
	}
	return 1;
}

static int content_scalar(struct reading *rd, const struct read_scalar *in)
{
	if (in->type == SCALAR_NULL)
		return 1;
	buf_clear(&rd->text);
	if (in->type != SCALAR_STRING || !read_base64(in->text, &rd->text))
		return broken(rd, "content that is not base64");
	rd->content = arena_dup(&rd->batch->arena, rd->text.data, rd->text.len);
	rd->content_len = (uint32_t)rd->text.len;
	return 1;
}

static int message_scalar(struct reading *rd, const struct read_scalar *in)
{
	char *prefix;

	if (!strcmp(rd->key, "content"))
		return content_scalar(rd, in);
	if (strcmp(rd->key, "prefix") != 0 || in->type != SCALAR_STRING)
		return 1;
	prefix = arena_alloc(&rd->batch->arena, in->text.len + 1);
	memcpy(prefix, in->text.s, in->text.len);
	prefix[in->text.len] = 0;
	rd->message->prefix = prefix;
	return 1;
}

static int on_scalar(struct reading *rd, const struct read_scalar *in)
{
	if (rd->skip)
		return 1;
	if (rd->column_depth)
		return rd->array && rd->depth == rd->column_depth ? element_scalar(rd, in)
								  : field_scalar(rd, in);
	if (rd->row && rd->depth == rd->base + 1)
		return column_scalar(rd, in);
	if (rd->member == MEMBER_SOURCE && rd->depth == rd->base + 1)
		rd->loose = rd->loose || (in->type == SCALAR_NULL && !strcmp(rd->key, "txId"));
	else if (rd->message && rd->depth == rd->base + 1)
		return message_scalar(rd, in);
	if (rd->depth != rd->base)
		return 1;
	if (rd->member == MEMBER_NUMBER)
		return number_scalar(rd, in);
	if (rd->member == MEMBER_CONTENT)
		return content_scalar(rd, in);
	if (rd->member == MEMBER_MARK && in->type == SCALAR_STRING && in->text.len == 1)
		rd->mark = (uint8_t)*in->text.s;
	return 1;
}

static int on_null(void *ctx)
{
	return on_scalar(ctx, &(struct read_scalar){ .type = SCALAR_NULL });
}

static int on_boolean(void *ctx, int truth)
{
	return on_scalar(ctx, &(struct read_scalar){ .type = truth ? SCALAR_TRUE : SCALAR_FALSE });
}

static int on_number(void *ctx, const char *s, size_t len)
{
	return on_scalar(ctx, &(struct read_scalar){ SCALAR_NUMBER, { s, len } });
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	return on_scalar(ctx, &(struct read_scalar){ SCALAR_STRING, { (const char *)s, len } });
}

static bool is_row(const struct record *rec)
{
	return rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
	       rec->op == RECORD_READ;
}

static int row_begin(struct reading *rd)
{
	const struct relation *rel = rd->rec->rel;
	struct value **slot = rd->member == MEMBER_BEFORE ? &rd->rec->before : &rd->rec->after;
	size_t bytes = rel->n_columns * sizeof(struct value);

	if (*slot)
		return broken(rd, "a row that is there twice");
	*slot = rd->row = arena_alloc(&rd->batch->arena, bytes);
	memset(rd->row, 0, bytes);
	rd->n_seen = 0;
	rd->column = -1;
	return 1;
}

static int on_open(struct reading *rd, bool map)
{
	if (++rd->depth > READ_DEPTH && !rd->skip)
		return broken(rd, "nested too deeply");
	if (rd->skip || rd->depth <= rd->base)
		return 1;
	if (rd->column_depth) {
		/* an array's element, a circle's centre; everything else in there is for others */
		if (!map && rd->array && !doubt(rd))
			return broken(rd, "an array with more dimensions than its type has");
		if (map && rd->array && rd->depth == rd->column_depth + 1)
			rd->fields = (struct read_struct){ 0 };
		else if (!map || strcmp(rd->key, "center") != 0)
			rd->skip = rd->depth;
		return 1;
	}
	if (rd->row && rd->depth == rd->base + 2) {
		rd->column_depth = rd->depth;
		rd->array = !map;
		rd->first = true;
		rd->fields = (struct read_struct){ 0 };
		buf_clear(&rd->text);
		if (rd->array && rd->type.kind == JSON_ARRAY)
			json_type_of(rd->type.element_oid, rd->rec->rel->columns[rd->column].type_modifier,
				&rd->element);
		else
			rd->element = (struct json_type){ .kind = JSON_STRING };
		buf_putc(&rd->text, '{');
		return 1;
	}
	if (rd->depth == rd->base + 1 && map && is_row(rd->rec) &&
		(rd->member == MEMBER_BEFORE || rd->member == MEMBER_AFTER))
		return row_begin(rd);
	if (rd->depth == rd->base + 1 && map && rd->rec->op == RECORD_MESSAGE &&
		rd->member == MEMBER_MESSAGE) {
		rd->message = arena_alloc(&rd->batch->arena, sizeof(*rd->message));
		*rd->message = (struct record_message){ .prefix = "", .content = (const uint8_t *)"" };
		return 1;
	}
	if (rd->depth == rd->base + 1 && rd->rec->op == RECORD_MESSAGE && rd->member == MEMBER_SOURCE)
		return 1;
	rd->skip = rd->depth;
	return 1;
}

static int element_close(struct reading *rd)
{
	buf_clear(&rd->part);
	if (!read_struct_value(&rd->element, &rd->fields, &rd->part) && !doubt(rd))
		return broken(rd, "an array's element that its type does not have");
	element_put(rd, buf_str(&rd->part));
	return 1;
}

static int column_close(struct reading *rd)
{
	bool ok = true;

	if (rd->array) {
		buf_putc(&rd->text, '}');
		ok = rd->type.kind == JSON_ARRAY;
	} else {
		buf_clear(&rd->text);
		ok = read_struct_value(&rd->type, &rd->fields, &rd->text);
	}
	rd->column_depth = 0;
	if (!ok && !doubt(rd))
		return broken(rd, "a value that its type does not have");
	value_set(rd, &rd->text);
	return 1;
}

static int on_close(struct reading *rd)
{
	unsigned depth = rd->depth--;

	if (rd->skip) {
		if (rd->skip == depth)
			rd->skip = 0;
		return 1;
	}
	if (rd->column_depth == depth)
		return column_close(rd);
	if (rd->column_depth)
		return rd->array && depth == rd->column_depth + 1 ? element_close(rd) : 1;
	if (rd->row && depth == rd->base + 1) {
		rd->column = -1;
		if (rd->n_seen != rd->rec->rel->n_columns)
			return broken(rd, "a row without all of its columns");
		rd->row = NULL;
	}
	return 1;
}

static int on_map(void *ctx)
{
	return on_open(ctx, true);
}

static int on_array(void *ctx)
{
	return on_open(ctx, false);
}

static int on_end(void *ctx)
{
	return on_close(ctx);
}

/* columns come in their order, so the next one is looked at first */
static int column_key(struct reading *rd, const char *s, size_t len)
{
	const struct relation *rel = rd->rec->rel;
	int n = (int)rel->n_columns;

	for (int i = 0; i < n; i++) {
		int at = (rd->column + 1 + i) % n;
		const char *name = rel->columns[at].name;

		/* strlen() first: the key may hold a NUL, and a name ends at its own */
		if (strlen(name) != len || memcmp(name, s, len) != 0)
			continue;
		rd->column = at;
		if (rd->row[at].state != VALUE_ABSENT)
			return broken(rd, "a column that is there twice");
		rd->n_seen++;
		json_type_of(rel->columns[at].type_oid, rel->columns[at].type_modifier, &rd->type);
		return 1;
	}
	rd->column = -1;
	return broken(rd, "a column that the relation does not have");
}

#define NAME(text) text, sizeof(text) - 1

/* Return: 0 = nothing that counts follows, see read_parse() */
static int envelope_key(struct reading *rd, size_t len)
{
	static const struct {
		const char *name;
		size_t len;
		enum member member;
	} members[] = {
		{ NAME("before"), MEMBER_BEFORE },
		{ NAME("after"), MEMBER_AFTER },
		{ NAME("source"), MEMBER_SOURCE },
		{ NAME("message"), MEMBER_MESSAGE },
		{ NAME("mark"), MEMBER_MARK },
		{ NAME("content"), MEMBER_CONTENT },
		{ NAME("transaction"), MEMBER_OTHER },
		{ NAME("op"), MEMBER_OTHER },
	};

	rd->member = MEMBER_NUMBER;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		if (members[i].len == len && !memcmp(members[i].name, rd->key, len)) {
			rd->member = members[i].member;
			break;
		}
	}
	rd->before = rd->before || rd->member == MEMBER_BEFORE;
	rd->after = rd->after || rd->member == MEMBER_AFTER;
	/* {"schema":…,"payload":…}: what is in payload is the envelope */
	if (rd->base == 1 && !strcmp(rd->key, "payload"))
		rd->base = 2;
	return !(rd->member == MEMBER_SOURCE && rd->before && rd->after && rd->end == rd->base);
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
	struct reading *rd = ctx;

	if (rd->skip)
		return 1;
	if (rd->row && rd->depth == rd->base + 1 && !rd->column_depth)
		return column_key(rd, (const char *)s, len);
	rd->key[0] = 0;
	if (len < sizeof(rd->key)) {
		memcpy(rd->key, s, len);
		rd->key[len] = 0;
	}
	return rd->depth != rd->base || envelope_key(rd, len);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_array,
	.yajl_end_array = on_end,
};

/* what a mark's numbers mean */
static void finish_mark(struct reading *rd)
{
	const struct numbers *n = &rd->numbers;
	struct arena *arena = &rd->batch->arena;
	struct record *rec = rd->rec;

	if (rec->op == RECORD_BEGIN) {
		struct record_begin *begin = arena_alloc(arena, sizeof(*begin));

		*begin = (struct record_begin){ .commit_time = { n->commit_us }, .xid = n->xid };
		rec->begin = begin;
	} else if (rec->op == RECORD_END) {
		struct record_end *end = arena_alloc(arena, sizeof(*end));

		*end = (struct record_end){
			.commit_time = { n->commit_us }, .xid = n->xid, .n_records = n->event_count
		};
		rec->end = end;
	} else if (rec->op == RECORD_HEARTBEAT) {
		struct record_heartbeat *beat = arena_alloc(arena, sizeof(*beat));

		*beat = (struct record_heartbeat){
			.at = { n->at_us }, .head = n->head, .clear = { n->clear_us }
		};
		rec->heartbeat = beat;
	}
}

static int finish_chunk(struct reading *rd)
{
	const struct numbers *n = &rd->numbers;
	struct record_chunk *chunk = arena_alloc(&rd->batch->arena, sizeof(*chunk));

	if (!rd->mark || !strchr("TBEDF", rd->mark) || n->no > UINT32_MAX || n->attempt > UINT32_MAX) {
		broken(rd, "a mark of a copy that is none");
		return -1;
	}
	*chunk = (struct record_chunk){
		.mark = (enum chunk_mark)rd->mark,
		.no = (uint32_t)n->no,
		.attempt = (uint32_t)n->attempt,
		.rows = n->rows,
		.start = n->start,
		.content = rd->content,
		.content_len = rd->content_len,
	};
	rd->rec->chunk = chunk;
	return 0;
}

static int finish(struct reading *rd)
{
	struct record *rec = rd->rec;

	if (rec->op == RECORD_CHUNK)
		return finish_chunk(rd);
	if (rec->op == RECORD_MESSAGE) {
		if (!rd->message) {
			broken(rd, "a logical message without its content");
			return -1;
		}
		rd->message->content = rd->content ? rd->content : (const uint8_t *)"";
		rd->message->content_len = rd->content_len;
		rd->message->transactional = !rd->loose;
		rec->message = rd->message;
		return 0;
	}
	if (!is_row(rec)) {
		finish_mark(rd);
		return 0;
	}
	/* who applies a row relies on it */
	if (rec->op == RECORD_DELETE ? !rec->before : !rec->after) {
		broken(rd, "a row without its values");
		return -1;
	}
	return 0;
}

int json_read(struct codec *codec, const struct message *msg, struct batch *batch, struct record *rec,
	struct error *err)
{
	struct reading rd = { .msg = msg, .batch = batch, .rec = rec, .err = err, .base = 1, .column = -1 };
	int r = 0;

	if (is_row(rec) && !rec->rel)
		return error_set(err, ERROR_DATA, "JSON-VALUE",
			"offset %" PRId64 ": a row without a relation", msg->offset);
	if (msg->value) {
		rd.end = is_row(rec) ? read_end(msg) : 0;
		r = read_parse(msg, "the value", msg->value, msg->value_len, &callbacks, &rd, err);
	}
	if (r == 0)
		r = finish(&rd);
	if (r == 0)
		r = read_exact(msg, batch, rec, err);
	buf_fini(&rd.text);
	buf_fini(&rd.part);
	return r;
}

void json_read_free(void *reader)
{
}
