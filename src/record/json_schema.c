/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A relation as one JSON object, for the topic of schemas:
 *
 *   {"id":16384,"schema":"public","name":"t","identity":"d","fingerprint":"00a1b2c3d4e5f607",
 *    "columns":[{"name":"id","type":23,"modifier":-1,"key":true},…]}
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
};

/* what has been read so far; depth counts open braces and brackets: 1 the object, 2 the columns, 3 a column */
struct reader {
	enum member member;
	uint32_t depth;
	bool in_columns;
	uint32_t id;
	char identity;
	uint64_t fingerprint;
	char *schema, *name;
	struct column *columns; /* MAX_COLUMNS */
	char **names;		/* of the columns, which only borrow them */
	uint32_t n_columns;
};

CLEANUP_DEFINE(struct relation, relation_unref)

static void reader_fini(struct reader *reader)
{
	for (uint32_t i = 0; i < reader->n_columns; i++)
		free(reader->names[i]);
	free(reader->names);
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

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	struct reader *reader = ctx;
	struct column *column = current(reader);
	char text[17], *end;

	if (column) {
		if (reader->member != MEMBER_NAME)
			return 1;
		if (column->name)
			return 0;
		column->name = reader->names[reader->n_columns - 1] = copy(s, len);
		return column->name != NULL;
	}
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

	if (column && reader->member == MEMBER_KEY)
		column->key = v != 0;
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
	reader->names = calloc(MAX_COLUMNS, sizeof(char *));
	if (!handle || !reader->columns || !reader->names)
		abort();
	if (yajl_parse(handle, data, len) != yajl_status_ok || yajl_complete_parse(handle) != yajl_status_ok)
		return false;
	for (uint32_t i = 0; i < reader->n_columns; i++) {
		if (!reader->columns[i].name)
			return false;
	}
	return reader->schema && reader->name && reader->identity;
}

void relation_write_json(const struct relation *rel, struct buf *out)
{
	buf_puts(out, "{\"id\":");
	json_u64(rel->id, out);
	buf_puts(out, ",\"schema\":");
	buf_json_string(out, rel->schema, strlen(rel->schema));
	buf_puts(out, ",\"name\":");
	buf_json_string(out, rel->name, strlen(rel->name));
	buf_printf(out, ",\"identity\":\"%c\",\"fingerprint\":\"%016" PRIx64 "\",\"columns\":[",
		(char)rel->identity, rel->fingerprint);
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];

		buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
		buf_json_string(out, column->name, strlen(column->name));
		buf_puts(out, ",\"type\":");
		json_u64(column->type_oid, out);
		buf_puts(out, ",\"modifier\":");
		json_i64(column->type_modifier, out);
		buf_puts(out, column->key ? ",\"key\":true}" : ",\"key\":false}");
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
