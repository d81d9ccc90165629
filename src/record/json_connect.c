/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Kafka Connect's schemas of what we write, as its JSON converter wants them in front of a payload: type, then fields
 * or items, optional, name, version, parameters, field, in this order.
 *
 * Whether a column may be null is not known here, so all but the key's are optional; a table whose identity is FULL has
 * no key that is known either: all of its columns say that they are the key, and may be null.
 */

#include <sluice/cleanup.h>
#include <sluice/codec.h>

#include "json_write.h"

/* the members behind type (and fields, items …), up to the closing brace */
struct tail {
	bool optional;
	const char *name; /* literal, NULL = none */
	uint8_t version;
	const char *field; /* NULL = none */
};

static void put_tail(const struct tail *tail, struct buf *out)
{
	buf_puts(out, tail->optional ? ",\"optional\":true" : ",\"optional\":false");
	if (tail->name) {
		buf_puts(out, ",\"name\":\"");
		buf_puts(out, tail->name);
		buf_putc(out, '"');
	}
	if (tail->version) {
		buf_puts(out, ",\"version\":");
		json_u64(tail->version, out);
	}
}

static void put_end(const char *field, struct buf *out)
{
	if (field) {
		buf_puts(out, ",\"field\":");
		buf_json_string(out, field, strlen(field));
	}
	buf_putc(out, '}');
}

static void put_type(const char *type, struct buf *out)
{
	buf_puts(out, "{\"type\":\"");
	buf_puts(out, type);
	buf_putc(out, '"');
}

/* {"type":…,"optional":…,"field":…} */
static void put_plain(const char *type, bool optional, const char *field, struct buf *out)
{
	put_type(type, out);
	put_tail(&(struct tail){ .optional = optional }, out);
	put_end(field, out);
}

static void put_point_fields(struct buf *out)
{
	put_plain("double", false, "x", out);
	buf_putc(out, ',');
	put_plain("double", false, "y", out);
	buf_putc(out, ',');
	put_plain("bytes", true, "wkb", out);
	buf_putc(out, ',');
	put_plain("int32", true, "srid", out);
}

static void put_geometry_fields(struct buf *out)
{
	put_plain("bytes", false, "wkb", out);
	buf_putc(out, ',');
	put_plain("int32", true, "srid", out);
	buf_puts(out, ",{\"type\":\"map\",\"keys\":");
	put_plain("string", false, NULL, out);
	buf_puts(out, ",\"values\":");
	put_plain("string", true, NULL, out);
	buf_puts(out, ",\"optional\":true");
	put_end("extensions", out);
}

static void put_struct_fields(enum json_kind kind, struct buf *out)
{
	buf_puts(out, ",\"fields\":[");
	if (kind == JSON_VARIABLE) {
		put_plain("int32", false, "scale", out);
		buf_putc(out, ',');
		put_plain("bytes", false, "value", out);
	} else if (kind == JSON_POINT) {
		put_point_fields(out);
	} else if (kind == JSON_GEOMETRY) {
		put_geometry_fields(out);
	} else if (kind == JSON_CIRCLE) {
		buf_puts(out, "{\"type\":\"struct\",\"fields\":[");
		put_point_fields(out);
		buf_putc(out, ']');
		put_tail(&(struct tail){ .name = "io.debezium.data.geometry.Point", .version = 1 }, out);
		put_end("center", out);
		buf_putc(out, ',');
		put_plain("double", false, "radius", out);
	} else {
		put_plain("double", false, "a", out);
		buf_putc(out, ',');
		put_plain("double", false, "b", out);
		buf_putc(out, ',');
		put_plain("double", false, "c", out);
	}
	buf_putc(out, ']');
}

static void put_parameters(const struct json_type *type, struct buf *out)
{
	if (type->kind == JSON_BITS)
		buf_printf(out, ",\"parameters\":{\"length\":\"%d\"}", type->length);
	else if (type->kind == JSON_MONEY)
		buf_printf(out, ",\"parameters\":{\"scale\":\"%d\"}", type->scale);
	else if (type->kind == JSON_DECIMAL)
		buf_printf(out, ",\"parameters\":{\"scale\":\"%d\",\"connect.decimal.precision\":\"%d\"}",
			type->scale, type->precision);
}

/* a column, or an array's element (field == NULL) */
static void put_column(const struct json_type *type, const struct json_type *element, bool optional,
	const char *field, struct buf *out)
{
	put_type(type->connect, out);
	if (element && type->kind == JSON_ARRAY) {
		buf_puts(out, ",\"items\":");
		put_column(element, NULL, true, NULL, out);
	} else if (!strcmp(type->connect, "struct")) {
		put_struct_fields(type->kind, out);
	}
	put_tail(&(struct tail){ optional, type->semantic, type->version, NULL }, out);
	put_parameters(type, out);
	put_end(field, out);
}

static void put_columns(const struct relation *rel, bool keys_only, struct buf *out)
{
	bool first = true;

	buf_puts(out, ",\"fields\":[");
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];
		struct json_field field;

		if (keys_only && !column->key)
			continue;
		if (!first)
			buf_putc(out, ',');
		first = false;
		json_field_init(&field, column->type_oid, column->type_modifier);
		put_column(&field.type, &field.element, !column->key || rel->identity == IDENTITY_FULL,
			column->name, out);
	}
	buf_putc(out, ']');
}

/* the column struct of before and after */
static void put_row(const struct relation *rel, const char *prefix, const char *field, struct buf *out)
{
	put_type("struct", out);
	put_columns(rel, false, out);
	buf_puts(out, ",\"optional\":true,\"name\":");
	json_name(rel, prefix, ".Value", out);
	put_end(field, out);
}

static const char source_schema[] =
	"{\"type\":\"struct\",\"fields\":["
	"{\"type\":\"string\",\"optional\":false,\"field\":\"version\"},"
	"{\"type\":\"string\",\"optional\":false,\"field\":\"connector\"},"
	"{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"},"
	"{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,\"parameters\":{"
	"\"allowed\":\"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental\"},"
	"\"default\":\"false\",\"field\":\"snapshot\"},"
	"{\"type\":\"string\",\"optional\":false,\"field\":\"db\"},"
	"{\"type\":\"string\",\"optional\":true,\"field\":\"sequence\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"},"
	"{\"type\":\"string\",\"optional\":false,\"field\":\"schema\"},"
	"{\"type\":\"string\",\"optional\":false,\"field\":\"table\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"txId\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"lsn\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"xmin\"},"
	"{\"type\":\"string\",\"optional\":true,\"field\":\"origin\"},"
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"origin_lsn\"}],"
	"\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\",\"version\":1,\"field\":\"source\"}";

static const char block_schema[] =
	"{\"type\":\"struct\",\"fields\":["
	"{\"type\":\"string\",\"optional\":false,\"field\":\"id\"},"
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"total_order\"},"
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"data_collection_order\"}],"
	"\"optional\":true,\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"}";

void json_name(const struct relation *rel, const char *prefix, const char *suffix, struct buf *out)
{
	_cleanup_(buf_freep) struct buf name = BUF_INIT;

	if (prefix) {
		buf_puts(&name, prefix);
		buf_putc(&name, '.');
	}
	buf_puts(&name, rel->schema);
	buf_putc(&name, '.');
	buf_puts(&name, rel->name);
	buf_puts(&name, suffix);
	buf_json_string(out, (const char *)name.data, name.len);
}

void json_connect_key(const struct relation *rel, const char *prefix, struct buf *out)
{
	put_type("struct", out);
	put_columns(rel, true, out);
	buf_puts(out, ",\"optional\":false,\"name\":");
	json_name(rel, prefix, ".Key", out);
	put_end(NULL, out);
}

void relation_write_connect(const struct relation *rel, const char *prefix, struct buf *out)
{
	put_type("struct", out);
	buf_puts(out, ",\"fields\":[");
	put_row(rel, prefix, "before", out);
	buf_putc(out, ',');
	put_row(rel, prefix, "after", out);
	buf_putc(out, ',');
	buf_puts(out, source_schema);
	buf_putc(out, ',');
	buf_puts(out, block_schema);
	buf_putc(out, ',');
	put_plain("string", false, "op", out);
	buf_putc(out, ',');
	put_plain("int64", true, "ts_ms", out);
	buf_putc(out, ',');
	put_plain("int64", true, "ts_us", out);
	buf_putc(out, ',');
	put_plain("int64", true, "ts_ns", out);
	buf_puts(out, "],\"optional\":false,\"name\":");
	json_name(rel, prefix, ".Envelope", out);
	buf_puts(out, ",\"version\":2}");
}

void json_connect_message_key(struct buf *out)
{
	buf_puts(out,
		"{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":true,\"field\":\"prefix\"}],"
		"\"optional\":false,\"name\":\"io.debezium.connector.postgresql.MessageKey\",\"version\":1}");
}

void json_connect_message(struct buf *out)
{
	put_type("struct", out);
	buf_puts(out, ",\"fields\":[");
	put_plain("string", false, "op", out);
	buf_putc(out, ',');
	put_plain("int64", true, "ts_ms", out);
	buf_putc(out, ',');
	buf_puts(out, source_schema);
	buf_putc(out, ',');
	buf_puts(out, block_schema);
	buf_puts(out,
		",{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":true,\"field\":\"prefix\"},"
		"{\"type\":\"bytes\",\"optional\":true,\"field\":\"content\"}],\"optional\":false,"
		"\"name\":\"io.debezium.connector.postgresql.Message\",\"version\":1,\"field\":\"message\"}],"
		"\"optional\":false,\"name\":\"io.debezium.connector.postgresql.MessageValue\",\"version\":1}");
}

void json_connect_transaction(struct buf *out)
{
	buf_puts(out,
		"{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":false,\"field\":\"status\"},"
		"{\"type\":\"string\",\"optional\":false,\"field\":\"id\"},"
		"{\"type\":\"int64\",\"optional\":true,\"field\":\"event_count\"},"
		"{\"type\":\"array\",\"items\":{\"type\":\"struct\",\"fields\":["
		"{\"type\":\"string\",\"optional\":false,\"field\":\"data_collection\"},"
		"{\"type\":\"int64\",\"optional\":false,\"field\":\"event_count\"}],\"optional\":false,"
		"\"name\":\"event.collection\",\"version\":1},\"optional\":true,\"field\":\"data_collections\"},"
		"{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"}],\"optional\":false,"
		"\"name\":\"io.debezium.connector.common.TransactionMetadataValue\",\"version\":1}");
}
