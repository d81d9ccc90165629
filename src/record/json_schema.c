/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A relation as one JSON object, for the topic of schemas:
 *
 *   {"id":16384,"schema":"public","name":"t","identity":"d","fingerprint":"00a1b2c3d4e5f607",
 *    "columns":[{"name":"id","type":23,"modifier":-1,"key":true},…]}
 *
 * and, where the source's catalog was asked, "file", "behind" and "highest" of the relation, and the facts of each
 * column, those that are not null, 0 or false: "number", "gap", "not_null", "computed", "retyped", "missing", "default", "type_schema",
 * "type_name", "collation_schema", "collation".
 *
 * Members may come in any order and unknown ones are skipped, so that a later version can say more; what counts is that
 * the fingerprint of what was read is the one that was written.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <yajl/yajl_parse.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>

#include "json_write.h"

#define MAX_COLUMNS 1664u /* PostgreSQL ends at 1600 */

enum member {
	MEMBER_OTHER,
	MEMBER_ID,
	MEMBER_SCHEMA,
	MEMBER_NAME,
	MEMBER_IDENTITY,
	MEMBER_FINGERPRINT,
	MEMBER_COLUMNS,
	MEMBER_TYPE,
	MEMBER_MODIFIER,
	MEMBER_KEY,
	MEMBER_FILE,
	MEMBER_BEHIND,
	MEMBER_HIGHEST,
	MEMBER_NUMBER,
	MEMBER_GAP,
	MEMBER_NOT_NULL,
	MEMBER_COMPUTED,
	MEMBER_RETYPED,
	MEMBER_MISSING,
	MEMBER_DEFAULT,
	MEMBER_TYPE_SCHEMA,
	MEMBER_TYPE_NAME,
	MEMBER_COLLATION_SCHEMA,
	MEMBER_COLLATION,
};

/* what has been read so far; depth counts open braces and brackets: 1 the object, 2 the columns, 3 a column */
struct reader {
	enum member member;
	uint32_t depth;
	bool in_columns;
	uint32_t id, file;
	bool behind;
	int16_t highest;
	char identity;
	uint64_t fingerprint;
	char *schema, *name;
	struct column *columns;	    /* MAX_COLUMNS */
	struct column_facts *facts; /* MAX_COLUMNS, once the first is met; columns borrow those they have */
	uint32_t n_columns;
	struct arena arena; /* the columns' texts */
};

CLEANUP_DEFINE(struct relation, relation_unref)

static void reader_fini(struct reader *reader)
{
	arena_reset(&reader->arena);
	free(reader->facts);
	free(reader->columns);
	free(reader->schema);
	free(reader->name);
}

static void yajl_freep(yajl_handle *handle)
{
	if (*handle)
		yajl_free(*handle);
}

/* a name without U+0000, which no name has */
static char *copy(const unsigned char *s, size_t len)
{
	char *p;

	if (memchr(s, 0, len))
		return NULL;
	p = malloc(len + 1);
	if (!p)
		abort();
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

static struct column *current(struct reader *reader)
{
	return reader->in_columns && reader->depth == 3 ? &reader->columns[reader->n_columns - 1] : NULL;
}

/* the facts of the column that is being read; from now on it has some */
static struct column_facts *current_facts(struct reader *reader)
{
	uint32_t i = reader->n_columns - 1;

	if (!reader->facts)
		reader->facts = calloc(MAX_COLUMNS, sizeof(*reader->facts));
	if (!reader->facts)
		abort();
	reader->columns[i].facts = &reader->facts[i];
	return &reader->facts[i];
}

/* the text that the member is, NULL = it is none */
static const char **column_text(struct reader *reader, struct column *column)
{
	switch (reader->member) {
	case MEMBER_NAME:
		return &column->name;
	case MEMBER_MISSING:
		return &current_facts(reader)->missing;
	case MEMBER_DEFAULT:
		return &current_facts(reader)->preset;
	case MEMBER_TYPE_SCHEMA:
		return &current_facts(reader)->type_schema;
	case MEMBER_TYPE_NAME:
		return &current_facts(reader)->type_name;
	case MEMBER_COLLATION_SCHEMA:
		return &current_facts(reader)->collation_schema;
	case MEMBER_COLLATION:
		return &current_facts(reader)->collation;
	case MEMBER_OTHER:
	case MEMBER_ID:
	case MEMBER_SCHEMA:
	case MEMBER_IDENTITY:
	case MEMBER_FINGERPRINT:
	case MEMBER_COLUMNS:
	case MEMBER_TYPE:
	case MEMBER_MODIFIER:
	case MEMBER_KEY:
	case MEMBER_FILE:
	case MEMBER_BEHIND:
	case MEMBER_HIGHEST:
	case MEMBER_NUMBER:
	case MEMBER_GAP:
	case MEMBER_NOT_NULL:
	case MEMBER_COMPUTED:
	case MEMBER_RETYPED:
		break;
	}
	return NULL;
}

static int on_column_string(struct reader *reader, struct column *column, const unsigned char *s, size_t len)
{
	const char **text = column_text(reader, column);
	char *p;

	if (!text)
		return 1;
	if (*text || memchr(s, 0, len))
		return 0; /* a second one, or U+0000, which no name and no text of PostgreSQL has */
	p = arena_alloc(&reader->arena, len + 1);
	memcpy(p, s, len);
	p[len] = '\0';
	*text = p;
	return 1;
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	struct reader *reader = ctx;
	struct column *column = current(reader);
	char text[17], *end;

	if (column)
		return on_column_string(reader, column, s, len);
	if (reader->depth != 1)
		return 1;
	if (reader->member == MEMBER_SCHEMA)
		return !reader->schema && (reader->schema = copy(s, len)) != NULL;
	if (reader->member == MEMBER_NAME)
		return !reader->name && (reader->name = copy(s, len)) != NULL;
	if (reader->member == MEMBER_IDENTITY) {
		reader->identity = len == 1 ? (char)s[0] : '\0';
		return len == 1 && memchr("dnfi", s[0], 4) != NULL;
	}
	if (reader->member == MEMBER_FINGERPRINT) {
		if (len != 16)
			return 0;
		memcpy(text, s, 16);
		text[16] = '\0';
		reader->fingerprint = strtoull(text, &end, 16);
		return strspn(text, "0123456789abcdef") == 16;
	}
	return 1;
}

static int on_number(void *ctx, const char *s, size_t len)
{
	struct reader *reader = ctx;
	struct column *column = current(reader);
	char text[24], *end;
	long long v;

	if (len >= sizeof(text))
		return 0;
	memcpy(text, s, len);
	text[len] = '\0';
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno)
		return reader->member == MEMBER_OTHER;
	if (!column && reader->depth == 1 && reader->member == MEMBER_ID) {
		reader->id = (uint32_t)v;
		return v >= 0 && v <= UINT32_MAX;
	}
	if (!column && reader->depth == 1 && reader->member == MEMBER_FILE) {
		reader->file = (uint32_t)v;
		return v >= 0 && v <= UINT32_MAX;
	}
	if (!column && reader->depth == 1 && reader->member == MEMBER_HIGHEST) {
		reader->highest = (int16_t)v;
		return v >= 0 && v <= INT16_MAX;
	}
	if (column && reader->member == MEMBER_NUMBER) {
		current_facts(reader)->number = (int16_t)v;
		return v >= 0 && v <= INT16_MAX;
	}
	if (column && reader->member == MEMBER_GAP) {
		current_facts(reader)->gap = (int16_t)v;
		return v >= 0 && v <= INT16_MAX;
	}
	if (column && reader->member == MEMBER_TYPE) {
		column->type_oid = (uint32_t)v;
		return v >= 0 && v <= UINT32_MAX;
	}
	if (column && reader->member == MEMBER_MODIFIER) {
		column->type_modifier = (int32_t)v;
		return v >= INT32_MIN && v <= INT32_MAX;
	}
	return 1;
}

static int on_boolean(void *ctx, int v)
{
	struct reader *reader = ctx;
	struct column *column = current(reader);

	if (!column && reader->depth == 1 && reader->member == MEMBER_BEHIND)
		reader->behind = v != 0;
	if (column && reader->member == MEMBER_KEY)
		column->key = v != 0;
	if (column && reader->member == MEMBER_NOT_NULL)
		current_facts(reader)->not_null = v != 0;
	if (column && reader->member == MEMBER_COMPUTED)
		current_facts(reader)->computed = v != 0;
	if (column && reader->member == MEMBER_RETYPED)
		current_facts(reader)->retyped = v != 0;
	return 1;
}

static int on_member(void *ctx, const unsigned char *s, size_t len)
{
	static const struct {
		const char *name;
		enum member member;
		uint32_t depth;
	} members[] = {
		{ "id", MEMBER_ID, 1 },
		{ "schema", MEMBER_SCHEMA, 1 },
		{ "name", MEMBER_NAME, 1 },
		{ "identity", MEMBER_IDENTITY, 1 },
		{ "fingerprint", MEMBER_FINGERPRINT, 1 },
		{ "columns", MEMBER_COLUMNS, 1 },
		{ "name", MEMBER_NAME, 3 },
		{ "type", MEMBER_TYPE, 3 },
		{ "modifier", MEMBER_MODIFIER, 3 },
		{ "key", MEMBER_KEY, 3 },
		{ "file", MEMBER_FILE, 1 },
		{ "behind", MEMBER_BEHIND, 1 },
		{ "highest", MEMBER_HIGHEST, 1 },
		{ "number", MEMBER_NUMBER, 3 },
		{ "gap", MEMBER_GAP, 3 },
		{ "not_null", MEMBER_NOT_NULL, 3 },
		{ "computed", MEMBER_COMPUTED, 3 },
		{ "retyped", MEMBER_RETYPED, 3 },
		{ "missing", MEMBER_MISSING, 3 },
		{ "default", MEMBER_DEFAULT, 3 },
		{ "type_schema", MEMBER_TYPE_SCHEMA, 3 },
		{ "type_name", MEMBER_TYPE_NAME, 3 },
		{ "collation_schema", MEMBER_COLLATION_SCHEMA, 3 },
		{ "collation", MEMBER_COLLATION, 3 },
	};
	struct reader *reader = ctx;
	struct json_text text = { s, len };

	reader->member = MEMBER_OTHER;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		if (members[i].depth == reader->depth && json_text_is(text, members[i].name))
			reader->member = members[i].member;
	}
	return 1;
}

static int on_open_map(void *ctx)
{
	struct reader *reader = ctx;

	reader->depth++;
	if (reader->depth == 3 && reader->in_columns) {
		if (reader->n_columns == MAX_COLUMNS)
			return 0;
		reader->columns[reader->n_columns++] = (struct column){ .type_modifier = -1 };
	}
	reader->member = MEMBER_OTHER;
	return reader->depth < 32;
}

static int on_open_array(void *ctx)
{
	struct reader *reader = ctx;

	if (!reader->depth)
		return 0; /* it has to be an object */
	reader->depth++;
	if (reader->depth == 2)
		reader->in_columns = reader->member == MEMBER_COLUMNS;
	reader->member = MEMBER_OTHER;
	return reader->depth < 32;
}

static int on_close(void *ctx)
{
	struct reader *reader = ctx;

	reader->depth--;
	if (reader->depth < 2)
		reader->in_columns = false;
	reader->member = MEMBER_OTHER;
	return 1;
}

static bool parse(struct reader *reader, const void *data, size_t len)
{
	static const yajl_callbacks callbacks = {
		.yajl_boolean = on_boolean,
		.yajl_number = on_number,
		.yajl_string = on_string,
		.yajl_start_map = on_open_map,
		.yajl_map_key = on_member,
		.yajl_end_map = on_close,
		.yajl_start_array = on_open_array,
		.yajl_end_array = on_close,
	};
	_cleanup_(yajl_freep) yajl_handle handle = yajl_alloc(&callbacks, NULL, reader);

	reader->columns = calloc(MAX_COLUMNS, sizeof(*reader->columns));
	if (!handle || !reader->columns)
		abort();
	if (yajl_parse(handle, data, len) != yajl_status_ok || yajl_complete_parse(handle) != yajl_status_ok)
		return false;
	for (uint32_t i = 0; i < reader->n_columns; i++) {
		if (!reader->columns[i].name)
			return false;
	}
	return reader->schema && reader->name && reader->identity;
}

static void put_text(struct buf *out, const char *member, const char *text)
{
	if (!text)
		return;
	buf_printf(out, ",\"%s\":", member);
	buf_json_string(out, text, strlen(text));
}

static void put_facts(struct buf *out, const struct column_facts *facts)
{
	buf_printf(out, ",\"number\":%d", facts->number);
	if (facts->gap)
		buf_printf(out, ",\"gap\":%d", facts->gap);
	buf_puts(out, facts->not_null ? ",\"not_null\":true" : "");
	buf_puts(out, facts->computed ? ",\"computed\":true" : "");
	buf_puts(out, facts->retyped ? ",\"retyped\":true" : "");
	put_text(out, "missing", facts->missing);
	put_text(out, "default", facts->preset);
	put_text(out, "type_schema", facts->type_schema);
	put_text(out, "type_name", facts->type_name);
	put_text(out, "collation_schema", facts->collation_schema);
	put_text(out, "collation", facts->collation);
}

void relation_write_json(const struct relation *rel, struct buf *out)
{
	buf_puts(out, "{\"id\":");
	json_u64(rel->id, out);
	buf_puts(out, ",\"schema\":");
	buf_json_string(out, rel->schema, strlen(rel->schema));
	buf_puts(out, ",\"name\":");
	buf_json_string(out, rel->name, strlen(rel->name));
	buf_printf(out, ",\"identity\":\"%c\",\"fingerprint\":\"%016" PRIx64 "\"", (char)rel->identity,
		rel->fingerprint);
	if (rel->file)
		buf_printf(out, ",\"file\":%" PRIu32, rel->file);
	if (rel->highest)
		buf_printf(out, ",\"highest\":%d", rel->highest);
	buf_puts(out, rel->behind ? ",\"behind\":true,\"columns\":[" : ",\"columns\":[");
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];

		buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
		buf_json_string(out, column->name, strlen(column->name));
		buf_puts(out, ",\"type\":");
		json_u64(column->type_oid, out);
		buf_puts(out, ",\"modifier\":");
		json_i64(column->type_modifier, out);
		buf_puts(out, column->key ? ",\"key\":true" : ",\"key\":false");
		if (column->facts)
			put_facts(out, column->facts);
		buf_putc(out, '}');
	}
	buf_puts(out, "]}");
}

void json_relation_key(const struct relation *rel, struct buf *out)
{
	_cleanup_(buf_freep) struct buf name = BUF_INIT;

	buf_puts(&name, rel->schema);
	buf_putc(&name, '.');
	buf_puts(&name, rel->name);
	buf_puts(out, "{\"relation\":");
	buf_json_string(out, (const char *)name.data, name.len);
	buf_printf(out, ",\"fingerprint\":\"%016" PRIx64 "\"}", rel->fingerprint);
}

int relation_read_json(const void *data, size_t len, struct relation **ret, struct error *err)
{
	_cleanup_(relation_unrefp) struct relation *rel = NULL;
	_cleanup_(reader_fini) struct reader reader = { 0 };

	if (!parse(&reader, data, len))
		return error_set(err, ERROR_DATA, "SCHEMA-FORMAT",
			"%zu bytes are not the description of a relation", len);
	rel = relation_new(&(struct relation_spec){
		.id = reader.id,
		.schema = reader.schema,
		.name = reader.name,
		.identity = (enum relation_identity)reader.identity,
		.file = reader.file,
		.behind = reader.behind,
		.highest = reader.highest,
		.n_columns = reader.n_columns,
		.columns = reader.columns,
	});
	if (rel->fingerprint != reader.fingerprint)
		return error_set(err, ERROR_DATA, "SCHEMA-FORMAT",
			"the description of %s.%s has the fingerprint %016" PRIx64
			", its content %016" PRIx64,
			rel->schema, rel->name, reader.fingerprint, rel->fingerprint);
	*ret = rel;
	rel = NULL; /* consumed by the caller */
	return 0;
}
