/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records to JSON and back, for dead letters. Text that is valid UTF-8 stands as a string; it cannot hold
 * U+0000, which PostgreSQL has no room for, so jsonb takes every string. Everything else stands as
 * hexadecimal digits.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "letter_json.h"

static bool utf8_valid(const uint8_t *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		uint32_t c = s[i++], more = c < 0x80   ? 0
					    : c < 0xc2 ? 9
					    : c < 0xe0 ? 1
					    : c < 0xf0 ? 2
					    : c < 0xf5 ? 3
						       : 9;
		uint32_t code = more == 1 ? c & 31 : more == 2 ? c & 15 : c & 7;

		if (!c || more == 9 || len - i < more)
			return false;
		for (uint32_t k = 0; k < more; k++, i++) {
			if ((s[i] & 0xc0) != 0x80)
				return false;
			code = code << 6 | (s[i] & 63);
		}
		if ((more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
			(more == 3 && (code < 0x10000 || code > 0x10ffff)))
			return false;
	}
	return true;
}

static void put_value(struct buf *out, const struct value *v)
{
	if (v->state == VALUE_NULL) {
		buf_puts(out, "null");
	} else if (v->format == VALUE_TEXT && utf8_valid(v->data, v->len)) {
		buf_json_string(out, (const char *)v->data, v->len);
	} else {
		buf_puts(out, v->format == VALUE_TEXT ? "{\"bytes\":\"" : "{\"hex\":\"");
		for (uint32_t i = 0; i < v->len; i++) {
			buf_putc(out, "0123456789abcdef"[v->data[i] >> 4]);
			buf_putc(out, "0123456789abcdef"[v->data[i] & 15]);
		}
		buf_puts(out, "\"}");
	}
}

static void put_row(struct buf *out, const struct relation *rel, const struct value *row)
{
	bool first = true;

	if (!row) {
		buf_puts(out, "null");
		return;
	}
	buf_putc(out, '{');
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (row[i].state == VALUE_ABSENT)
			continue;
		buf_puts(out, first ? "" : ",");
		buf_json_string(out, rel->columns[i].name, strlen(rel->columns[i].name));
		buf_putc(out, ':');
		put_value(out, &row[i]);
		first = false;
	}
	buf_putc(out, '}');
}

void letter_json_put(struct buf *out, const struct record *rec)
{
	const struct relation *rel = rec->rel;

	buf_printf(out,
		"{\"op\":\"%s\",\"flags\":%u,\"identity\":\"%c\",\"schema\":", record_op_to_string(rec->op),
		rec->flags, rel->identity);
	buf_json_string(out, rel->schema, strlen(rel->schema));
	buf_puts(out, ",\"table\":");
	buf_json_string(out, rel->name, strlen(rel->name));
	buf_puts(out, ",\"columns\":[");
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];

		buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
		buf_json_string(out, column->name, strlen(column->name));
		buf_printf(out, ",\"type\":%u,\"modifier\":%" PRId32 ",\"key\":%s}", column->type_oid,
			column->type_modifier, column->key ? "true" : "false");
	}
	buf_puts(out, "],\"before\":");
	put_row(out, rel, rec->before);
	buf_puts(out, ",\"after\":");
	put_row(out, rel, rec->after);
	buf_putc(out, '}');
}

/* ---- back ---- */

static yajl_val tree_get(yajl_val tree, const char *key, yajl_type type)
{
	const char *path[] = { key, NULL };

	return yajl_tree_get(tree, path, type);
}

static const char *tree_string(yajl_val tree, const char *key)
{
	return YAJL_GET_STRING(tree_get(tree, key, yajl_t_string));
}

static long long tree_number(yajl_val tree, const char *key)
{
	yajl_val number = tree_get(tree, key, yajl_t_number);

	return number ? strtoll(YAJL_GET_NUMBER(number), NULL, 10) : 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct arena *arena, const char *hex, struct value *ret)
{
	uint32_t len = (uint32_t)strlen(hex) / 2;
	uint8_t *bytes = arena_alloc(arena, len + 1u);

	for (uint32_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	ret->data = bytes;
	ret->len = len;
	return true;
}

static bool read_value(struct arena *arena, yajl_val from, struct value *ret)
{
	const char *text = YAJL_GET_STRING(from), *hex;

	ret->state = VALUE_PRESENT;
	if (YAJL_IS_NULL(from)) {
		ret->state = VALUE_NULL;
		return true;
	}
	if (text) {
		ret->len = (uint32_t)strlen(text);
		ret->data = arena_dup(arena, text, ret->len);
		return true;
	}
	hex = tree_string(from, "hex");
	ret->format = hex ? VALUE_BINARY : VALUE_TEXT;
	hex = hex ? hex : tree_string(from, "bytes");
	return hex && read_hex(arena, hex, ret);
}

static bool read_row(struct arena *arena, const struct relation *rel, yajl_val from, struct value **ret)
{
	*ret = NULL;
	if (!YAJL_IS_OBJECT(from))
		return true;
	*ret = arena_alloc(arena, rel->n_columns * sizeof(**ret));
	memset(*ret, 0, rel->n_columns * sizeof(**ret));
	for (size_t i = 0; i < from->u.object.len; i++) {
		int column = relation_column(rel, from->u.object.keys[i]);

		if (column < 0 || !read_value(arena, from->u.object.values[i], &(*ret)[column]))
			return false;
	}
	return true;
}

static struct relation *read_relation(yajl_val tree)
{
	yajl_val columns = tree_get(tree, "columns", yajl_t_array);
	const char *identity = tree_string(tree, "identity");
	struct relation_spec spec = { .schema = tree_string(tree, "schema"),
		.name = tree_string(tree, "table") };
	struct column *items;
	struct relation *rel = NULL;

	if (!columns || !identity || !spec.schema || !spec.name)
		return NULL;
	items = calloc(columns->u.array.len + 1, sizeof(*items));
	if (!items)
		abort();
	for (size_t i = 0; i < columns->u.array.len; i++) {
		yajl_val column = columns->u.array.values[i];

		items[i].name = tree_string(column, "name");
		items[i].type_oid = (uint32_t)tree_number(column, "type");
		items[i].type_modifier = (int32_t)tree_number(column, "modifier");
		items[i].key = tree_get(column, "key", yajl_t_true) != NULL;
		if (!items[i].name)
			goto out;
	}
	spec.identity = (enum relation_identity) * identity;
	spec.columns = items;
	spec.n_columns = (uint32_t)columns->u.array.len;
	rel = relation_new(&spec);
out:
	free(items);
	return rel;
}

static bool read_op(const char *op, uint8_t *ret)
{
	static const uint8_t ops[] = { RECORD_INSERT, RECORD_UPDATE, RECORD_DELETE, RECORD_READ };

	for (size_t i = 0; op && i < sizeof(ops); i++) {
		if (!strcmp(op, record_op_to_string(ops[i]))) {
			*ret = ops[i];
			return true;
		}
	}
	return false;
}

int letter_json_read(const char *json, struct batch *batch, struct error *err)
{
	char why[160];
	yajl_val tree = yajl_tree_parse(json, why, sizeof(why));
	struct relation *rel = tree ? read_relation(tree) : NULL;
	struct record *rec = rel ? batch_add(batch) : NULL;
	bool ok = false;

	if (rec) {
		rec->rel = batch_hold(batch, rel);
		rec->flags = (uint8_t)tree_number(tree, "flags");
		ok = read_op(tree_string(tree, "op"), &rec->op) &&
		     read_row(&batch->arena, rec->rel, tree_get(tree, "before", yajl_t_any), &rec->before) &&
		     read_row(&batch->arena, rec->rel, tree_get(tree, "after", yajl_t_any), &rec->after);
	}
	relation_unref(rel);
	yajl_tree_free(tree);
	return ok ? 0 : error_set(err, ERROR_DATA, "DEAD-LETTER", "the stored record cannot be read");
}
