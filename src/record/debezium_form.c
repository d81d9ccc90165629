/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * How Debezium wrote a column: from the column's type and the connector's modes, or, where the message carries its
 * schema, from the schema's names.
 */

#include <string.h>

#include "debezium_parts.h"

#define DOMAINS 16 /* nested in each other */

/* the part that columns and elements have in common */
struct leaf {
	struct json_type type;
	enum debezium_type_class class;
	uint32_t oid;
	enum encoding encoding;
	int32_t scale;
};

static enum encoding time_encoding(enum debezium_time mode, bool is_short, bool timestamp)
{
	bool ms = false;

	switch (mode) {
	case DEBEZIUM_TIME_ADAPTIVE:
		ms = is_short;
		break;
	case DEBEZIUM_TIME_ADAPTIVE_TIME_MICROSECONDS:
		ms = is_short && timestamp;
		break;
	case DEBEZIUM_TIME_CONNECT:
		ms = true;
		break;
	case DEBEZIUM_TIME_MICROSECONDS:
		break;
	case DEBEZIUM_TIME_NANOSECONDS:
		return timestamp ? ENCODING_TIMESTAMP_NS : ENCODING_TIME_NS;
	case DEBEZIUM_TIME_ISOSTRING:
	case DEBEZIUM_TIME_STRUCTURED:
		return ENCODING_ISO;
	}
	if (timestamp)
		return ms ? ENCODING_TIMESTAMP_MS : ENCODING_TIMESTAMP_US;
	return ms ? ENCODING_TIME_MS : ENCODING_TIME_US;
}

static enum encoding binary_encoding(enum debezium_binary mode)
{
	switch (mode) {
	case DEBEZIUM_BINARY_BYTES:
	case DEBEZIUM_BINARY_BASE64:
		break;
	case DEBEZIUM_BINARY_BASE64_URL_SAFE:
		return ENCODING_BASE64_URL;
	case DEBEZIUM_BINARY_HEX:
		return ENCODING_HEX;
	}
	return ENCODING_BASE64;
}

static enum encoding default_encoding(const struct debezium_options *opt, enum json_kind kind)
{
	bool iso = opt->time == DEBEZIUM_TIME_ISOSTRING || opt->time == DEBEZIUM_TIME_STRUCTURED;

	switch (kind) {
	case JSON_BITS:
		return ENCODING_BITS;
	case JSON_BYTES:
		return binary_encoding(opt->binary);
	case JSON_DECIMAL:
	case JSON_MONEY:
		return opt->decimal == DEBEZIUM_DECIMAL_PRECISE ? ENCODING_DECIMAL : ENCODING_PLAIN;
	case JSON_DATE:
		return iso ? ENCODING_ISO : ENCODING_DATE;
	case JSON_TIME:
	case JSON_MICRO_TIME:
		return time_encoding(opt->time, kind == JSON_TIME, false);
	case JSON_TIMESTAMP:
	case JSON_MICRO_TIMESTAMP:
		return time_encoding(opt->time, kind == JSON_TIMESTAMP, true);
	case JSON_ZONED_TIME:
	case JSON_ZONED_TIMESTAMP:
		return ENCODING_ISO;
	case JSON_DURATION:
		return opt->interval_string ? ENCODING_DURATION_ISO : ENCODING_DURATION_US;
	case JSON_BOOLEAN:
	case JSON_BIT:
	case JSON_INT16:
	case JSON_INT32:
	case JSON_INT64:
	case JSON_FLOAT:
	case JSON_DOUBLE:
	case JSON_STRING:
	case JSON_VARIABLE:
	case JSON_POINT:
	case JSON_LINE:
	case JSON_CIRCLE:
	case JSON_GEOMETRY:
	case JSON_ARRAY:
		break;
	}
	return ENCODING_PLAIN;
}

/* follows domains; ret_element: an array's, 0 = none */
static void leaf_of(const struct debezium_options *opt, uint32_t oid, int32_t modifier, struct leaf *ret,
	uint32_t *ret_element)
{
	struct debezium_type user = { .class = DEBEZIUM_TYPE_TEXT };

	for (unsigned i = 0; i < DOMAINS && opt->type && oid >= JSON_FIRST_USER_OID; i++) {
		user = (struct debezium_type){ .class = DEBEZIUM_TYPE_TEXT };
		opt->type(opt->ctx, oid, &user);
		if (user.class != DEBEZIUM_TYPE_DOMAIN)
			break;
		oid = user.oid;
		modifier = user.modifier;
		user = (struct debezium_type){ .class = DEBEZIUM_TYPE_TEXT };
	}
	*ret = (struct leaf){ .class = user.class, .oid = oid };
	json_type_of(oid, modifier, &ret->type);
	*ret_element = user.class == DEBEZIUM_TYPE_ARRAY ? user.oid
		       : ret->type.kind == JSON_ARRAY	 ? ret->type.element_oid
							 : 0;
	if (*ret_element)
		ret->type.kind = JSON_ARRAY;
	ret->encoding =
		user.class == DEBEZIUM_TYPE_VECTOR ? ENCODING_VECTOR : default_encoding(opt, ret->type.kind);
	ret->scale = ret->type.kind != JSON_MONEY ? ret->type.scale
		     : opt->money_digits	  ? opt->money_digits
						  : 2;
	if (ret->type.kind == JSON_MONEY && ret->scale < 0)
		ret->scale = 0;
}

void form_of_column(const struct debezium_options *opt, const struct column *column, struct form *ret)
{
	struct leaf leaf, element = { 0 };
	uint32_t element_oid, none;

	leaf_of(opt, column->type_oid, column->type_modifier, &leaf, &element_oid);
	if (element_oid)
		leaf_of(opt, element_oid, column->type_modifier, &element, &none);
	*ret = (struct form){
		.type = leaf.type,
		.class = leaf.class,
		.oid = leaf.oid,
		.encoding = leaf.encoding,
		.scale = leaf.scale,
		.element_type = element.type,
		.element_class = element.class,
		.element_oid = element.oid,
		.element_encoding = element.encoding,
		.element_scale = element.scale,
	};
}

static const struct {
	const char *name;
	enum encoding encoding;
} names[] = {
	{ "io.debezium.time.Date", ENCODING_DATE },
	{ "io.debezium.time.Time", ENCODING_TIME_MS },
	{ "io.debezium.time.MicroTime", ENCODING_TIME_US },
	{ "io.debezium.time.NanoTime", ENCODING_TIME_NS },
	{ "io.debezium.time.Timestamp", ENCODING_TIMESTAMP_MS },
	{ "io.debezium.time.MicroTimestamp", ENCODING_TIMESTAMP_US },
	{ "io.debezium.time.NanoTimestamp", ENCODING_TIMESTAMP_NS },
	{ "io.debezium.time.ZonedTimestamp", ENCODING_ISO },
	{ "io.debezium.time.ZonedTime", ENCODING_ISO },
	{ "io.debezium.time.IsoDate", ENCODING_ISO },
	{ "io.debezium.time.IsoTime", ENCODING_ISO },
	{ "io.debezium.time.IsoTimestamp", ENCODING_ISO },
	{ "io.debezium.time.MicroDuration", ENCODING_DURATION_US },
	{ "io.debezium.time.Interval", ENCODING_DURATION_ISO },
	{ "io.debezium.data.Bits", ENCODING_BITS },
	{ "io.debezium.data.DoubleVector", ENCODING_VECTOR },
	{ "io.debezium.data.FloatVector", ENCODING_VECTOR },
	{ "org.apache.kafka.connect.data.Decimal", ENCODING_DECIMAL },
	{ "org.apache.kafka.connect.data.Date", ENCODING_DATE },
	{ "org.apache.kafka.connect.data.Time", ENCODING_TIME_MS },
	{ "org.apache.kafka.connect.data.Timestamp", ENCODING_TIMESTAMP_MS },
};

static void schema_encoding(const struct debezium_options *opt, const struct tree *tree,
	const struct tree_node *schema, enum json_kind kind, enum encoding *encoding, int32_t *scale)
{
	const struct tree_node *name = tree_member(tree, schema, "name");
	const struct tree_node *type = tree_member(tree, schema, "type");
	const struct tree_node *digits = tree_member(tree, tree_member(tree, schema, "parameters"), "scale");
	int64_t n;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!tree_is(name, names[i].name))
			continue;
		*encoding = names[i].encoding;
		if (names[i].encoding == ENCODING_DECIMAL && digits && digits->type == TREE_STRING &&
			read_i64(digits->text, &n) && n >= -20000 && n <= 20000)
			*scale = (int32_t)n;
		return;
	}
	if (name && name->type == TREE_STRING && kind != JSON_BYTES)
		*encoding = ENCODING_PLAIN;
	else if (tree_is(type, "bytes"))
		*encoding = ENCODING_BASE64;
	else if (tree_is(type, "string") && kind == JSON_BYTES)
		*encoding = binary_encoding(opt->binary);
	else
		*encoding = ENCODING_PLAIN;
}

void form_of_schema(const struct debezium_options *opt, const struct tree *tree,
	const struct tree_node *schema, struct form *form)
{
	const struct tree_node *items = tree_member(tree, schema, "items");

	schema_encoding(opt, tree, schema, form->type.kind, &form->encoding, &form->scale);
	if (items)
		schema_encoding(opt, tree, items, form->element_type.kind, &form->element_encoding,
			&form->element_scale);
}
