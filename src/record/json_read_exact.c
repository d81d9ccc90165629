/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The header sluice.exact: what the envelope could not say. It always wins. Its form is in json.h; members that are not
 * known are of a newer version and skipped.
 *
 * Its values are texts in the form of PostgreSQL's own output, and are not looked at here: of a type that the source has and we do
 * not know only the target can say what is one, and it refuses what is none. But a value of the envelope that has not its column's
 * form is taken only where the header replaces it.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json_read.h"

const uint8_t read_doubtful[1];

enum part { PART_OTHER, PART_AFTER, PART_BEFORE, PART_ABSENT, PART_ABSENT_BEFORE, PART_TRUNCATE };

struct exact {
	const struct message *msg;
	struct batch *batch;
	struct record *rec;
	struct error *err;
	unsigned depth;
	enum part part;
	int column;
	bool absent_before; /* the list was there */
	char key[32];
	struct record_truncate *truncate;
};

static int broken(struct exact *ex, const char *what)
{
	error_set(ex->err, ERROR_DATA, "JSON-EXACT", "offset %" PRId64 ": header sluice.exact: %s",
		ex->msg->offset, what);
	return 0;
}

static int column_of(const struct exact *ex, const char *s, size_t len)
{
	const struct relation *rel = ex->rec->rel;

	for (uint32_t i = 0; rel && i < rel->n_columns; i++) {
		const char *name = rel->columns[i].name;

		if (strlen(name) == len && memcmp(name, s, len) == 0)
			return (int)i;
	}
	return -1;
}

static struct value *row_of(const struct exact *ex)
{
	return ex->part == PART_BEFORE || ex->part == PART_ABSENT_BEFORE ? ex->rec->before : ex->rec->after;
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	struct exact *ex = ctx;
	struct value *row = row_of(ex);

	if (ex->depth != 2 || ex->part == PART_OTHER || ex->part == PART_TRUNCATE)
		return 1;
	if (ex->part == PART_ABSENT || ex->part == PART_ABSENT_BEFORE)
		ex->column = column_of(ex, (const char *)s, len);
	if (ex->column < 0 || !row)
		return broken(ex, "a column that the record does not have");
	if (ex->part == PART_ABSENT || ex->part == PART_ABSENT_BEFORE)
		row[ex->column] = (struct value){ .state = VALUE_ABSENT };
	else
		row[ex->column] = (struct value){
			.data = arena_dup(&ex->batch->arena, s, len),
			.len = (uint32_t)len,
			.state = VALUE_PRESENT,
		};
	return 1;
}

/* a text is the only form of a value */
static int on_number(void *ctx, const char *s, size_t len)
{
	struct exact *ex = ctx;

	if (ex->depth == 2 && ex->part != PART_OTHER && ex->part != PART_TRUNCATE)
		return broken(ex, "a value that is no text");
	return 1;
}

static int on_null(void *ctx)
{
	return on_number(ctx, "", 0);
}

static int on_boolean(void *ctx, int truth)
{
	struct exact *ex = ctx;

	if (ex->part != PART_TRUNCATE)
		return on_number(ctx, "", 0);

	if (ex->part == PART_TRUNCATE && ex->depth == 2 && !strcmp(ex->key, "cascade"))
		ex->truncate->cascade = truth;
	if (ex->part == PART_TRUNCATE && ex->depth == 2 && !strcmp(ex->key, "restart_identity"))
		ex->truncate->restart_identity = truth;
	return 1;
}

static int on_open(void *ctx)
{
	struct exact *ex = ctx;

	if (++ex->depth > READ_DEPTH)
		return broken(ex, "nested too deeply");
	/* absences of the old row are listed: what its flags imply does not count */
	ex->absent_before = ex->absent_before || (ex->depth == 2 && ex->part == PART_ABSENT_BEFORE);
	if (ex->depth == 2 && ex->part == PART_TRUNCATE && !ex->truncate) {
		ex->truncate = arena_alloc(&ex->batch->arena, sizeof(*ex->truncate));
		*ex->truncate = (struct record_truncate){ 0 };
	}
	return 1;
}

static int on_close(void *ctx)
{
	((struct exact *)ctx)->depth--;
	return 1;
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
	static const char *const names[] = { "", "after", "before", "absent", "absent_before", "truncate" };
	struct exact *ex = ctx;

	if (ex->depth == 1) {
		ex->part = PART_OTHER;
		for (unsigned i = PART_AFTER; i <= PART_TRUNCATE; i++) {
			if (strlen(names[i]) == len && memcmp(names[i], s, len) == 0)
				ex->part = (enum part)i;
		}
	}
	if (ex->depth == 2 && (ex->part == PART_AFTER || ex->part == PART_BEFORE))
		ex->column = column_of(ex, (const char *)s, len);
	if (ex->depth == 2 && ex->part == PART_TRUNCATE)
		snprintf(ex->key, sizeof(ex->key), "%.*s", (int)(len < 31 ? len : 31), (const char *)s);
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_open,
	.yajl_map_key = on_key,
	.yajl_end_map = on_close,
	.yajl_start_array = on_open,
	.yajl_end_array = on_close,
};

/* without a list of them, the old row's absent columns follow from its flags */
static void imply_absences(struct record *rec)
{
	for (uint32_t i = 0; rec->before && (rec->flags & RECORD_BEFORE_KEY) && i < rec->rel->n_columns;
		i++) {
		if (!rec->rel->columns[i].key)
			rec->before[i] = (struct value){ .state = VALUE_ABSENT };
	}
}

static bool is_doubtful(const struct value *row, const struct relation *rel)
{
	for (uint32_t i = 0; row && i < rel->n_columns; i++) {
		if (row[i].data == read_doubtful)
			return true;
	}
	return false;
}

/* where the object that begins at s ends; NULL = nowhere. The text is valid JSON */
static const char *object_end(const char *s, const char *end)
{
	unsigned depth = 0;
	bool string = false;

	for (; s < end; s++) {
		if (string) {
			if (*s == '\\')
				s++;
			else if (*s == '"')
				string = false;
			continue;
		}
		if (*s == '"')
			string = true;
		else if (*s == '{')
			depth++;
		else if (*s == '}' && --depth == 0)
			return s + 1;
	}
	return NULL;
}

/* the relations stand first in the member, each as in the topic of schemas */
static int truncate_relations(struct exact *ex, const struct message_header *h)
{
	static const char head[] = "{\"truncate\":{\"relations\":[";
	const char *s = h->value, *end = s + h->len;
	struct record_truncate *truncate = ex->truncate;
	struct relation *rels[256];

	if (h->len < sizeof(head) || memcmp(s, head, sizeof(head) - 1) != 0) {
		broken(ex, "a truncate without its tables");
		return -1;
	}
	for (s += sizeof(head) - 1; s < end && *s != ']';) {
		const char *stop = object_end(s, end);
		struct relation *rel = NULL;

		if (*s != '{' || !stop || truncate->n_relations == sizeof(rels) / sizeof(*rels)) {
			broken(ex, "a truncate whose tables cannot be read");
			return -1;
		}
		if (relation_read_json(s, (size_t)(stop - s), &rel, ex->err) < 0)
			return -1;
		rels[truncate->n_relations++] = batch_hold(ex->batch, rel);
		relation_unref(rel);
		s = stop + (stop < end && *stop == ',');
	}
	truncate->relations =
		arena_dup(&ex->batch->arena, rels, truncate->n_relations * sizeof(struct relation *));
	ex->rec->truncate = truncate;
	return 0;
}

int read_exact(const struct message *msg, struct batch *batch, struct record *rec, struct error *err)
{
	const struct message_header *h = message_header(msg, "sluice.exact");
	struct exact ex = { .msg = msg, .batch = batch, .rec = rec, .err = err, .column = -1 };

	if (!h && rec->op != RECORD_TRUNCATE) {
		imply_absences(rec);
		return 0;
	}
	if (!h)
		return error_set(err, ERROR_DATA, "JSON-EXACT",
			"offset %" PRId64 ": a truncate without its tables", msg->offset);
	if (read_parse(msg, "header sluice.exact", h->value, h->len, &callbacks, &ex, err) < 0)
		return -1;
	if (rec->op != RECORD_TRUNCATE && !ex.absent_before)
		imply_absences(rec);
	if (rec->rel && (is_doubtful(rec->after, rec->rel) || is_doubtful(rec->before, rec->rel))) {
		broken(&ex, "a column's value has not the form of its type, and is not in here");
		return -1;
	}
	if (rec->op != RECORD_TRUNCATE)
		return 0;
	if (!ex.truncate)
		return error_set(err, ERROR_DATA, "JSON-EXACT",
			"offset %" PRId64 ": a truncate without its tables", msg->offset);
	return truncate_relations(&ex, h);
}
