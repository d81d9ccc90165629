/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of the JSON reader: yajl's events of one message on their way into one record. json_read.c follows the
 * structure, json_read_value.c makes the canonical text of a value from its JSON form (json_types.h), json_read_exact.c
 * puts what sluice.exact says over it.
 */

#include <yajl/yajl_parse.h>

#include <sluice/batch.h>
#include <sluice/buf.h>
#include <sluice/message.h>

#include "json.h"
#include "json_types.h"

#define READ_DEPTH 16u /* no message of ours is deeper, but for schemas, which are skipped */

struct read_text {
	const char *s; /* not NUL-terminated; NULL = was not there */
	size_t len;
};

/* one scalar of the JSON text */
struct read_scalar {
	enum { SCALAR_NULL, SCALAR_FALSE, SCALAR_TRUE, SCALAR_NUMBER, SCALAR_STRING } type;
	struct read_text text; /* NUMBER: as it stands; STRING: unescaped */
};

/* members of the structs that values may be */
struct read_struct {
	struct read_text scale, value, x, y, a, b, c, radius;
};

/**
 * read_scalar_value() - the canonical text of a scalar's value, appended to out.
 * Pure. Return: false = not a form that this type has.
 */
bool read_scalar_value(const struct json_type *type, const struct read_scalar *in, struct buf *out);
/** read_struct_value() - the same of a struct's. */
bool read_struct_value(const struct json_type *type, const struct read_struct *in, struct buf *out);
/** read_element() - appends an element of an array with its quoting; text NULL = null. */
void read_element(const char *text, size_t len, struct buf *out);
/** read_base64() - the bytes, appended; false = not base64. */
bool read_base64(struct read_text text, struct buf *out);
/** read_i64(), read_u64() - a number as it stands; false = not one, or too large. */
bool read_i64(struct read_text text, int64_t *ret);
bool read_u64(struct read_text text, uint64_t *ret);

/* the data of a value that could not be read, until sluice.exact replaces it */
extern const uint8_t read_doubtful[1];

/** read_exact() - puts what the header says over the record's values; fills a TRUNCATE. Return: 0, negative (DATA). */
int read_exact(const struct message *msg, struct batch *batch, struct record *rec, struct error *err);
/**
 * read_parse() - runs yajl over a text, or as much of it as counts: a callback that returns 0 and leaves err alone has what it wants.
 * Return: 0, negative (DATA "JSON-FORMAT" with msg's offset and what).
 */
int read_parse(const struct message *msg, const char *what, const void *text, size_t len,
	const yajl_callbacks *callbacks, void *ctx, struct error *err);
/**
 * read_end() - does the text end as the writer ends a row's, `,"op":"…"`, members without braces, and the braces of what is open? One
 * that does and that has come to its source is not cut off: whatever is behind has to end with it. Pure. Return: how many braces, 0 = no.
 */
unsigned read_end(const struct message *msg);
