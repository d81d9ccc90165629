/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The envelope of a row, written straight behind the buffer's end: no tree, no formatting, one pass over the values.
 * What is the same from row to row was prepared (json_envelope.h). What the envelope cannot say byte for byte is
 * collected on the way and becomes the header sluice.exact.
 *
 * Invariants: 1. what comes out is valid JSON, or the call fails and the buffer has its old length. 2. Envelope and
 * exact together hold every state and every byte of the row. 3. No value reaches an error.
 */

#include <stdlib.h>

#include "json_envelope.h"

/* one side of a row on its way out */
struct side {
	const struct value *values;
	struct buf *exact, *absent; /* members, with their commas */
	bool key_only; /* columns outside the key are null for everyone, and absent for us without saying */
	bool binary;   /* binary values have a form here: in keys */
};

static int refuse(const struct relation *rel, uint32_t column, enum json_written why, struct error *err)
{
	const struct column *at = &rel->columns[column];

	if (why == JSON_NOT_UTF8)
		return error_set(err, ERROR_DATA, "JSON-UTF8",
			"%s.%s, column %s: the text is not valid UTF-8", rel->schema, rel->name, at->name);
	return error_set(err, ERROR_DATA, "JSON-VALUE",
		"%s.%s, column %s: the text is not a value of its type (oid %u, modifier %d)", rel->schema,
		rel->name, at->name, at->type_oid, at->type_modifier);
}

static const uint8_t *name_of(const struct json_table *table, uint32_t column)
{
	return table->texts.data + table->columns[column].name_at;
}

/* adds "name":"text" to the values that a reader takes instead of the envelope's */
static enum json_written put_exact(
	const struct json_table *table, uint32_t column, struct json_text text, struct buf *exact)
{
	if (exact->len)
		buf_putc(exact, ',');
	buf_put(exact, name_of(table, column), table->columns[column].name_len);
	return json_string(text, exact);
}

/* adds "name" to the absent ones */
static void put_absent(const struct json_table *table, uint32_t column, struct buf *absent)
{
	if (absent->len)
		buf_putc(absent, ',');
	buf_put(absent, name_of(table, column), table->columns[column].name_len - 1);
}

/* one value that is there */
static int put_present(struct json_writer *writer, const struct json_table *table, uint32_t i,
	const struct side *side, struct buf *out, struct error *err)
{
	const struct value *value = &side->values[i];
	struct json_text text = { value->data, value->len };
	enum json_written done;

	if (value->format == VALUE_BINARY && side->binary) {
		json_binary_key(&table->columns[i].field, text, out);
		return 0;
	}
	if (value->format != VALUE_TEXT)
		return error_set(err, ERROR_DATA, "JSON-BINARY",
			"%s.%s, column %s: JSON is written from text, and the value is binary",
			table->rel->schema, table->rel->name, table->rel->columns[i].name);
	done = json_value(&table->columns[i].field, text, &writer->scratch, out);
	if (done == JSON_INEXACT && side->exact)
		done = put_exact(table, i, text, side->exact);
	return done > JSON_INEXACT ? refuse(table->rel, i, done, err) : 0;
}

/* one column behind its name */
static int put_column(struct json_writer *writer, const struct json_table *table, uint32_t i,
	const struct side *side, struct buf *out, struct error *err)
{
	const struct json_column *column = &table->columns[i];

	switch ((enum value_state)side->values[i].state) {
	case VALUE_PRESENT:
		return put_present(writer, table, i, side, out, err);
	case VALUE_NULL:
		buf_put(out, "null", 4);
		return 0;
	case VALUE_ABSENT:
		break;
	}
	if (side->absent)
		put_absent(table, i, side->absent);
	if (side->key_only && !table->rel->columns[i].key)
		buf_put(out, "null", 4);
	else
		buf_put(out, table->texts.data + column->unavailable_at, column->unavailable_len);
	return 0;
}

/* is the pattern of absent columns what the record's flags say by themselves? */
static bool absence_is_plain(const struct relation *rel, const struct side *side)
{
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		bool expected = side->key_only && !rel->columns[i].key;

		if ((side->values[i].state == VALUE_ABSENT) != expected)
			return false;
	}
	return true;
}

static int put_row(struct json_writer *writer, const struct json_table *table, const struct side *side,
	struct buf *out, struct error *err)
{
	if (!side->values) {
		buf_put(out, "null", 4);
		return 0;
	}
	buf_putc(out, '{');
	for (uint32_t i = 0; i < table->rel->n_columns; i++) {
		if (i)
			buf_putc(out, ',');
		buf_put(out, name_of(table, i), table->columns[i].name_len);
		if (put_column(writer, table, i, side, out, err) < 0)
			return -1;
	}
	buf_putc(out, '}');
	return 0;
}

/* the key as it is after the change; a key column that was not sent is as it was before */
static int put_key(struct json_writer *writer, const struct json_table *table, const struct record *rec,
	struct codec_output *ret, struct error *err)
{
	const struct relation *rel = table->rel;
	struct buf *out = ret->out;
	char comma = '{';

	if (!rel->n_keys || (!rec->after && !rec->before))
		return 0;
	ret->key = (struct codec_slice){ .at = out->len };
	buf_put(out, table->texts.data + table->key_head.at, table->key_head.len);
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		struct side side = { .values = rec->after ? rec->after : rec->before, .binary = true };

		if (!rel->columns[i].key)
			continue;
		if (rec->before && side.values[i].state == VALUE_ABSENT)
			side.values = rec->before;
		buf_putc(out, comma);
		comma = ',';
		buf_put(out, name_of(table, i), table->columns[i].name_len);
		if (put_column(writer, table, i, &side, out, err) < 0)
			return -1;
	}
	buf_puts(out, table->key_head.len ? "}}" : "}");
	ret->key.len = out->len - ret->key.at;
	return 0;
}

/* the header sluice.exact from the members that were collected */
static void put_collected(const struct json_writer *writer, struct codec_output *ret)
{
	const struct {
		const char *head, *end;
		const struct buf *members;
	} parts[] = {
		{ "\"after\":{", "}", &writer->exact_after },
		{ "\"before\":{", "}", &writer->exact_before },
		{ "\"absent\":[", "]", &writer->absent_after },
		{ "\"absent_before\":[", "]", &writer->absent_before },
	};
	struct buf *out = ret->out;
	size_t at = out->len;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!parts[i].members->len)
			continue;
		buf_putc(out, out->len == at ? '{' : ',');
		buf_puts(out, parts[i].head);
		buf_put(out, parts[i].members->data, parts[i].members->len);
		buf_puts(out, parts[i].end);
	}
	if (out->len == at)
		return;
	buf_putc(out, '}');
	ret->exact = (struct codec_slice){ .at = at, .len = out->len - at };
}

/* rows of one table often come one after the other */
static inline struct json_table *table_of(struct json_writer *writer, struct relation *rel)
{
	return writer->last && writer->last->rel == rel ? writer->last : json_table(writer, rel);
}

static const char *op_of(const struct record *rec)
{
	return rec->op == RECORD_INSERT	  ? ",\"op\":\"c\""
	       : rec->op == RECORD_UPDATE ? ",\"op\":\"u\""
	       : rec->op == RECORD_DELETE ? ",\"op\":\"d\""
					  : ",\"op\":\"r\"";
}

static int put_envelope(struct json_writer *writer, const struct record *rec,
	const struct codec_transaction *tx, struct codec_output *ret, struct error *err)
{
	struct json_table *table =
		writer->last && writer->last->rel == rec->rel ? writer->last : json_table(writer, rec->rel);
	struct side after = { rec->after, &writer->exact_after, &writer->absent_after, false };
	struct side before = { rec->before, &writer->exact_before, NULL, rec->flags & RECORD_BEFORE_KEY };
	struct buf *out = ret->out;
	bool listed = rec->before && !absence_is_plain(rec->rel, &before);

	if (listed)
		before.absent = &writer->absent_before;
	buf_clear(&writer->exact_after);
	buf_clear(&writer->exact_before);
	buf_clear(&writer->absent_after);
	buf_clear(&writer->absent_before);
	if (put_key(writer, table, rec, ret, err) < 0)
		return -1;
	ret->value = (struct codec_slice){ .at = out->len };
	buf_put(out, table->texts.data + table->value_head.at, table->value_head.len);
	buf_puts(out, "{\"before\":");
	if (put_row(writer, table, &before, out, err) < 0)
		return -1;
	buf_puts(out, ",\"after\":");
	if (put_row(writer, table, &after, out, err) < 0)
		return -1;
	buf_putc(out, ',');
	json_put_context(writer, table, rec, tx, out);
	buf_puts(out, op_of(rec));
	json_put_end(writer, tx, out);
	buf_puts(out, table->value_head.len ? "}}" : "}");
	ret->value.len = out->len - ret->value.at;
	put_collected(writer, ret);
	return 0;
}

int json_write_key(
	struct json_writer *writer, const struct record *rec, struct codec_output *ret, struct error *err)
{
	size_t begin = ret->out->len;
	int r;

	ret->key = (struct codec_slice){ .at = begin, .null = true };
	r = put_key(writer, table_of(writer, rec->rel), rec, ret, err);
	if (r < 0)
		ret->out->len = begin;
	return r;
}

int json_write(struct codec *codec, const struct record *rec, const struct codec_transaction *tx,
	struct codec_output *ret, struct error *err)
{
	struct json_writer *writer = ((struct json_codec *)(void *)codec)->writer;
	bool row = rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
		   rec->op == RECORD_READ;
	const struct codec_transaction none = { 0 };
	size_t begin = ret->out->len;
	int r;

	ret->key = ret->value = ret->exact = (struct codec_slice){ .at = begin, .null = true };
	if (!tx)
		tx = &none;
	r = row ? put_envelope(writer, rec, tx, ret, err) : json_put_mark(writer, rec, tx, ret, err);
	if (r < 0)
		ret->out->len = begin;
	return r;
}

static void put_heads(struct json_writer *writer)
{
	const struct {
		struct buf *head;
		void (*schema)(struct buf *);
	} heads[] = {
		{ &writer->message_key_head, json_connect_message_key },
		{ &writer->message_head, json_connect_message },
		{ &writer->transaction_head, json_connect_transaction },
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		buf_puts(heads[i].head, "{\"schema\":");
		heads[i].schema(heads[i].head);
		buf_puts(heads[i].head, ",\"payload\":");
	}
}

struct json_writer *json_writer_new(const struct codec_json_options *opt)
{
	struct json_writer *writer = calloc(1, sizeof(*writer));

	if (!writer)
		abort();
	writer->prefix = strdup(opt->prefix);
	writer->tx.tables = calloc(JSON_TABLES, sizeof(struct json_table *));
	if (!writer->prefix || !writer->tx.tables)
		abort();
	writer->schemas = opt->schemas;
	writer->tx.number = 1;
	buf_puts(&writer->source_begin, "\"source\":{\"version\":");
	buf_json_string(&writer->source_begin, opt->version, strlen(opt->version));
	buf_puts(&writer->source_begin, ",\"connector\":\"postgresql\",\"name\":");
	buf_json_string(&writer->source_begin, opt->prefix, strlen(opt->prefix));
	buf_puts(&writer->source_begin, ",\"ts_ms\":");
	buf_puts(&writer->source_middle, ",\"db\":");
	buf_json_string(&writer->source_middle, opt->database, strlen(opt->database));
	buf_puts(&writer->source_middle, ",\"sequence\":");
	if (opt->schemas == JSON_SCHEMAS_INLINE)
		put_heads(writer);
	return writer;
}

struct json_writer *json_writer_free(struct json_writer *writer)
{
	if (!writer)
		return NULL;
	json_tables_fini(writer);
	free(writer->tx.tables);
	free(writer->prefix);
	buf_fini(&writer->scratch.element);
	buf_fini(&writer->scratch.bytes);
	buf_fini(&writer->exact_after);
	buf_fini(&writer->exact_before);
	buf_fini(&writer->absent_after);
	buf_fini(&writer->absent_before);
	buf_fini(&writer->source_begin);
	buf_fini(&writer->source_middle);
	buf_fini(&writer->message_key_head);
	buf_fini(&writer->message_head);
	buf_fini(&writer->transaction_head);
	buf_fini(&writer->before_table);
	buf_fini(&writer->behind_table);
	buf_fini(&writer->end);
	free(writer);
	return NULL;
}
