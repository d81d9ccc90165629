/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Relations prepared for writing, in a cache with one slot per hash: a table that loses its slot is made again when it
 * comes back. A relation is known by its fingerprint; the pointer that was seen last is a shortcut, safe because the
 * cache holds a reference to it.
 */

#include <stdlib.h>

#include "json_envelope.h"

static struct json_table *table_free(struct json_table *table)
{
	if (!table)
		return NULL;
	relation_unref(table->rel);
	buf_fini(&table->texts);
	free(table);
	return NULL;
}

static size_t table_bytes(const struct json_table *table)
{
	return sizeof(*table) + table->rel->n_columns * sizeof(struct json_column) + table->texts.cap;
}

static void put_head(struct json_table *table, struct codec_slice *ret,
	void (*schema)(const struct relation *, const char *, struct buf *), const struct json_writer *writer)
{
	ret->at = table->texts.len;
	if (writer->schemas == JSON_SCHEMAS_INLINE) {
		buf_puts(&table->texts, "{\"schema\":");
		schema(table->rel, writer->prefix, &table->texts);
		buf_puts(&table->texts, ",\"payload\":");
	}
	ret->len = table->texts.len - ret->at;
}

static struct json_table *table_new(const struct json_writer *writer, struct relation *rel)
{
	struct json_table *table = calloc(1, sizeof(*table) + rel->n_columns * sizeof(struct json_column));

	if (!table)
		abort();
	table->rel = relation_ref(rel);
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];
		struct json_column *ret = &table->columns[i];

		json_field_init(&ret->field, column->type_oid, column->type_modifier);
		ret->name_at = (uint32_t)table->texts.len;
		buf_json_string(&table->texts, column->name, strlen(column->name));
		buf_putc(&table->texts, ':');
		ret->name_len = (uint32_t)table->texts.len - ret->name_at;
		ret->unavailable_at = (uint32_t)table->texts.len;
		json_unavailable_put(&ret->field.type, &table->texts);
		ret->unavailable_len = (uint32_t)table->texts.len - ret->unavailable_at;
	}
	table->source.at = table->texts.len;
	buf_json_string(&table->texts, rel->schema, strlen(rel->schema));
	buf_puts(&table->texts, ",\"table\":");
	buf_json_string(&table->texts, rel->name, strlen(rel->name));
	table->source.len = table->texts.len - table->source.at;
	put_head(table, &table->key_head, json_connect_key, writer);
	put_head(table, &table->value_head, relation_write_connect, writer);
	return table;
}

static void evict(struct json_writer *writer, struct json_table **slot)
{
	struct json_table *table = *slot;

	if (!table)
		return;
	if (table->transaction == writer->tx.number) {
		/* its count goes with it */
		writer->tx.counting = false;
		writer->tx.n_tables = 0;
	}
	if (writer->last == table)
		writer->last = NULL;
	writer->cache_bytes -= table_bytes(table);
	*slot = table_free(table);
}

void json_tables_fini(struct json_writer *writer)
{
	for (uint32_t i = 0; i < JSON_TABLES; i++)
		evict(writer, &writer->cache[i]);
}

struct json_table *json_table(struct json_writer *writer, struct relation *rel)
{
	struct json_table **slot = &writer->cache[rel->fingerprint & (JSON_TABLES - 1)];

	if (!*slot || (*slot)->rel->fingerprint != rel->fingerprint) {
		evict(writer, slot);
		if (writer->cache_bytes > JSON_TABLE_BYTES)
			json_tables_fini(writer);
		*slot = table_new(writer, rel);
		writer->cache_bytes += table_bytes(*slot);
	} else if ((*slot)->rel != rel) {
		relation_ref(rel);
		relation_unref((*slot)->rel);
		(*slot)->rel = rel;
	}
	writer->last = *slot;
	return *slot;
}
