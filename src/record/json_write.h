/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of the JSON writer. Value writers append one JSON value, or leave whatever they had begun when they refuse
 * (their caller cuts the buffer); they read bytes from outside, so they check each one and never trust a length.
 */

#include <sluice/buf.h>
#include <sluice/relation.h>

#include "json_types.h"

enum json_written {
	JSON_EXACT,	/* the text is the canonical one of what was written */
	JSON_INEXACT,	/* it is not: the text belongs into sluice.exact */
	JSON_MALFORMED, /* not a value of the type */
	JSON_NOT_UTF8,
};

/* a column as the writer sees it */
struct json_field {
	struct json_type type, element; /* element: ARRAY only */
	uint32_t type_oid;
};

/* room for what is made on the way, kept between values */
struct json_scratch {
	struct buf element; /* an array element without its quoting */
	struct buf bytes;   /* what goes into base64 */
};

struct json_text {
	const uint8_t *s;
	size_t len;
};

/* what is left of a text that is read from its beginning */
struct json_at {
	const uint8_t *p, *end;
};

/** json_take() - passes over a character; false = another one, or none, comes next. */
static inline bool json_take(struct json_at *at, char c)
{
	if (at->p == at->end || *at->p != (uint8_t)c)
		return false;
	at->p++;
	return true;
}

/* json_text.c */

/** json_string() - appends a string literal with its quotes. Return: JSON_EXACT or JSON_NOT_UTF8. */
enum json_written json_string(struct json_text text, struct buf *out);
/** json_base64() - appends base64 with padding and quotes. */
void json_base64(const void *data, size_t len, struct buf *out);
/** json_hex_base64() - the same from hex digits; false = not an even number of lower-case ones. */
bool json_hex_base64(const uint8_t *hex, size_t digits, struct buf *out);
void json_u64(uint64_t v, struct buf *out);
void json_i64(int64_t v, struct buf *out);

/* json_write_number.c */

/** json_is_float() - is it a number as PostgreSQL prints floats, NaN and infinities included? */
bool json_is_float(struct json_text text);
/** json_float() - one such number, "NaN" in quotes; -0 becomes -0.0 (JSON_INEXACT), since readers take -0 for 0. */
enum json_written json_float(struct json_text text, struct buf *out);
/** json_integer() - an integer between lowest and highest, copied. */
enum json_written json_integer(struct json_text text, int64_t lowest, int64_t highest, struct buf *out);
enum json_written json_decimal(
	const struct json_type *type, struct json_text text, struct buf *scratch, struct buf *out);
enum json_written json_variable(struct json_text text, struct buf *scratch, struct buf *out);
enum json_written json_money(struct json_text text, struct buf *scratch, struct buf *out);

/* json_write_time.c */
enum json_written json_time(const struct json_type *type, struct json_text text, struct buf *out);
/* json_write_interval.c */
enum json_written json_duration(struct json_text text, struct buf *out);

/* json_write_shape.c */
enum json_written json_shape(
	const struct json_field *field, struct json_text text, struct buf *scratch, struct buf *out);

/* json_write_value.c */
void json_field_init(struct json_field *ret, uint32_t type_oid, int32_t type_modifier);
enum json_written json_value(
	const struct json_field *field, struct json_text text, struct json_scratch *scratch, struct buf *out);
/** json_unavailable_put() - what stands in for a value that was not sent. */
void json_unavailable_put(const struct json_type *type, struct buf *out);

/* json_write_binary.c */
/** json_binary_key() - a value of a key that came in binary form; never refused. */
void json_binary_key(const struct json_field *field, struct json_text text, struct buf *out);

/* json_connect.c: Kafka Connect's schemas, without the message's wrapper */
void json_connect_key(const struct relation *rel, const char *prefix, struct buf *out);
void json_connect_message_key(struct buf *out);
void json_connect_message(struct buf *out);
void json_connect_transaction(struct buf *out);
/** json_name() - appends prefix.schema.table and a suffix, quoted; prefix NULL = none. */
void json_name(const struct relation *rel, const char *prefix, const char *suffix, struct buf *out);

/* json_schema.c */
/** json_relation_key() - the key of a relation in the schema topic. */
void json_relation_key(const struct relation *rel, struct buf *out);

static inline bool json_text_is(struct json_text text, const char *s)
{
	size_t len = strlen(s);

	return text.len == len && !memcmp(text.s, s, len);
}
