/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of the reader of Debezium's messages. Unlike ours, they have to be looked at as a whole: what a value means
 * may stand in a schema before or behind it. So the text becomes a flat tree first, whose strings point into the message.
 */

#include <sluice/arena.h>
#include <sluice/debezium.h>

#include "json_read.h"

#define TREE_DEPTH 48u
#define TREE_NODES (1u << 22)

enum tree_type {
	TREE_NULL = SCALAR_NULL,
	TREE_FALSE = SCALAR_FALSE,
	TREE_TRUE = SCALAR_TRUE,
	TREE_NUMBER = SCALAR_NUMBER,
	TREE_STRING = SCALAR_STRING,
	TREE_MAP,
	TREE_ARRAY,
};

struct tree_node {
	enum tree_type type;
	uint32_t end;	       /* index behind the last node below this one */
	struct read_text key;  /* of a map's member */
	struct read_text text; /* NUMBER, STRING */
};

/* nodes in the order of the text: the first child of i is i + 1, the next sibling of i is nodes[i].end */
struct tree {
	struct tree_node *nodes;
	uint32_t n, cap;
};

/** tree_parse() - reads a text; strings with escapes are copied into arena. Return: 0, negative (DATA). */
int tree_parse(struct tree *tree, const struct message *msg, struct read_text text, struct arena *arena,
	struct error *err);
void tree_fini(struct tree *tree);
/** tree_member() - the member's node; NULL when at is NULL, no map, or has none of that name. */
const struct tree_node *tree_member(const struct tree *tree, const struct tree_node *at, const char *name);
/** tree_i64() - a member that is an integer; false = there is none. */
bool tree_i64(const struct tree *tree, const struct tree_node *at, const char *name, int64_t *ret);
bool tree_is(const struct tree_node *at, const char *text);

/* the nodes directly below one */
#define TREE_EACH(tree, at, child)                                                                           \
	for (const struct tree_node *child = (at) + 1; child < (tree)->nodes + (at)->end;                    \
		child = (tree)->nodes + child->end)

enum encoding {
	ENCODING_PLAIN, /* as the type says */
	ENCODING_DECIMAL,
	ENCODING_BITS,
	ENCODING_BASE64,
	ENCODING_BASE64_URL,
	ENCODING_HEX,
	ENCODING_DATE,
	ENCODING_TIME_MS,
	ENCODING_TIME_US,
	ENCODING_TIME_NS,
	ENCODING_TIMESTAMP_MS,
	ENCODING_TIMESTAMP_US,
	ENCODING_TIMESTAMP_NS,
	ENCODING_ISO,
	ENCODING_DURATION_US,
	ENCODING_DURATION_ISO,
	ENCODING_VECTOR,
};

/* how a column's value is to be read */
struct form {
	struct json_type type;
	enum debezium_type_class class;
	uint32_t oid; /* behind domains */
	enum encoding encoding;
	int32_t scale;
	/* of an array's elements, which are no arrays: */
	struct json_type element_type;
	enum debezium_type_class element_class;
	uint32_t element_oid;
	enum encoding element_encoding;
	int32_t element_scale;
};

/* debezium_form.c */

/** form_of_column() - from types and modes. */
void form_of_column(const struct debezium_options *opt, const struct column *column, struct form *ret);
/** form_of_schema() - what a field's schema says over it. */
void form_of_schema(const struct debezium_options *opt, const struct tree *tree,
	const struct tree_node *schema, struct form *form);

/* debezium_value.c */

struct value_context {
	const struct debezium_options *opt;
	const struct tree *tree;
	const struct message *msg;
	struct arena *arena;
	struct tree *inner; /* for texts within texts */
};

/** debezium_value() - the value's text appended to out; false = not a form that the type has. */
bool debezium_value(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out);
/** debezium_unavailable() - does it stand for a value that was not sent? */
bool debezium_unavailable(
	const struct value_context *ctx, const struct form *form, const struct tree_node *node);
/** debezium_bytes() - a string's bytes by its encoding, appended. */
bool debezium_bytes(enum encoding encoding, struct read_text text, struct buf *out);

/* debezium_number.c */

/** number_float() - the shortest text as PostgreSQL prints it; bits 32 or 64. */
bool number_float(struct read_text text, unsigned bits, struct buf *out);
void number_double(double v, unsigned bits, struct buf *out);
/** number_decimal() - without an exponent, at least min_scale digits behind the point; false = no decimal. */
bool number_decimal(struct read_text text, int32_t min_scale, struct buf *out);
/** number_money() - $1,234.56 from a decimal. */
bool number_money(struct read_text text, struct buf *out);

/* debezium_time.c */

/** time_iso() - a date, time or timestamp in ISO 8601, for a column of this type. */
bool time_iso(const struct json_type *type, struct read_text text, struct buf *out);
/** time_number() - a count of the encoding's unit. */
bool time_number(
	const struct json_type *type, enum encoding encoding, struct read_text text, struct buf *out);
/** time_struct() - a struct of time.precision.mode=structured. */
bool time_struct(
	const struct json_type *type, const struct tree *tree, const struct tree_node *node, struct buf *out);
/** time_interval() - P1Y2M3DT4H5M6.78S. */
bool time_interval(struct read_text text, struct buf *out);
/** time_duration() - microseconds. */
bool time_duration(struct read_text text, struct buf *out);

/* debezium_shape.c */

/** shape_text() - a struct of a geometric type, a vector or an hstore. */
bool shape_text(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out);
/** shape_hstore() - a map of strings. */
bool shape_hstore(const struct tree *tree, const struct tree_node *node, struct buf *out);
