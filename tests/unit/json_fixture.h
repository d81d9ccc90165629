/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of the JSON writer share: a codec with a relation, and a look at what it wrote. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>

#define NUMERIC(p, s) (((p) << 16 | ((s)&0x7FF)) + 4)
#define P	      "__debezium_unavailable_value"

enum {
	BOOL = 16,
	BYTEA = 17,
	INT8 = 20,
	INT2 = 21,
	INT4 = 23,
	TEXT = 25,
	OID = 26,
	JSON = 114,
	XML = 142,
	POINT = 600,
	LSEG = 601,
	PATH = 602,
	BOX = 603,
	POLYGON = 604,
	LINE = 628,
	FLOAT4 = 700,
	FLOAT8 = 701,
	CIRCLE = 718,
	MONEY = 790,
	INET = 869,
	BPCHAR = 1042,
	VARCHAR = 1043,
	DATE = 1082,
	TIME = 1083,
	TIMESTAMP = 1114,
	TIMESTAMPTZ = 1184,
	INTERVAL = 1186,
	TIMETZ = 1266,
	BIT = 1560,
	VARBIT = 1562,
	DECIMAL = 1700,
	UUID = 2950,
	TSVECTOR = 3614,
	TSQUERY = 3615,
	JSONB = 3802,
	INT4RANGE = 3904,
	INT4MULTIRANGE = 4451,
	USER = 16500,
	BOOLS = 1000,
	BYTEAS = 1001,
	NAMES = 1003,
	INT2S = 1005,
	INT4S = 1007,
	TEXTS = 1009,
	INT8S = 1016,
	POINTS = 1017,
	FLOAT8S = 1022,
	TIMESTAMPS = 1115,
	DATES = 1182,
	INTERVALS = 1187,
	DECIMALS = 1231,
	UUIDS = 2951,
	JSONBS = 3807,
};

struct fixture {
	struct codec *codec;
	struct relation *rel;
	struct buf out;
	struct codec_output result;
	struct error err;
};

static inline void start(struct fixture *f, enum json_schemas schemas, const struct relation_spec *spec)
{
	*f = (struct fixture){ 0 };
	f->codec = codec_json_new(&(struct codec_json_options){
		.version = "0.1.0", .prefix = "p", .database = "postgres", .schemas = schemas });
	if (spec)
		f->rel = relation_new(spec);
	f->result.out = &f->out;
}

static inline void stop(struct fixture *f)
{
	codec_free(f->codec);
	relation_unref(f->rel);
	buf_fini(&f->out);
}

static inline int encode(struct fixture *f, const struct record *rec, const struct codec_transaction *tx)
{
	return f->codec->ops->encode(f->codec, rec, tx, &f->result, &f->err);
}

static inline void assert_slice(const struct fixture *f, struct codec_slice slice, const char *expected)
{
	char *text;

	if (slice.null) {
		assert_null(expected);
		return;
	}
	assert_non_null(expected);
	text = strndup((const char *)f->out.data + slice.at, slice.len);
	assert_string_equal(text, expected);
	free(text);
}

static inline struct value text(const char *s)
{
	return (struct value){
		.data = (const uint8_t *)s, .len = (uint32_t)strlen(s), .state = VALUE_PRESENT
	};
}

static const struct value null __attribute__((unused)) = { .state = VALUE_NULL };
static const struct value absent __attribute__((unused)) = { .state = VALUE_ABSENT };
