/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a PostgreSQL column looks in the Debezium envelope that we write: times adaptive, decimals precise, bytes
 * base64. The table needs nothing but the type's oid and modifier; types of users (oid >= 16384) and all that
 * Debezium leaves out are strings with PostgreSQL's own text.
 *
 * Every kind has one *canonical* text: the one that a reader makes from the JSON form alone. A text that is not the
 * canonical one of its JSON form stands in the header sluice.exact (see json.h), so a reader first looks there, then
 * inverts the kind:
 *
 *   kind              JSON form                                        canonical text
 *   BOOLEAN           true, false                                      t, f
 *   BIT               true, false                                      1, 0
 *   BITS              base64, little-endian, cut at the highest bit    bit(n) (length > 0, !varying): n digits;
 *                                                                      else the digits from the highest bit on
 *   INT16 INT32 INT64 number                                           the number as it stands
 *   FLOAT DOUBLE      number; "NaN" "Infinity" "-Infinity"             the number or the string as it stands
 *   STRING            string                                           the same
 *   BYTES             base64                                           \x and lower-case hex
 *   DECIMAL           base64 of the unscaled big-endian integer        `scale` digits behind the point; a scale below
 *                                                                      0 appends zeros (none to a 0)
 *   VARIABLE          {"scale":n,"value":base64}                       n digits behind the point; n is not below 0
 *   MONEY             as DECIMAL of scale 2                            -$1,234.56
 *   DATE              days since 1970                                  2001-02-03, 0044-03-15 BC
 *   TIME              ms of the day                                    04:05:06.789, zeros at the end trimmed
 *   MICRO_TIME        µs of the day                                    04:05:06.789012
 *   TIMESTAMP         ms since 1970, no zone                           2001-02-03 04:05:06.789, … BC
 *   MICRO_TIMESTAMP   µs since 1970, no zone                           2001-02-03 04:05:06.789012, … BC
 *     (both)          JSON_INFINITY, JSON_MINUS_INFINITY               infinity, -infinity
 *   ZONED_TIMESTAMP   "2001-02-03T04:05:06.789000Z", "-0043-…" (year   2001-02-03 04:05:06.789+00, … BC; infinity,
 *                     0 is 1 BC), "+12001-…", "infinity", "-infinity"  -infinity
 *   ZONED_TIME        "04:05:06.789Z"                                  04:05:06.789+00
 *   DURATION          µs, a month has 30.4375 days                     none: always exact
 *   POINT             {"x":n,"y":n,"wkb":base64,"srid":null}           (x,y), numbers as they stand
 *   LINE              {"a":n,"b":n,"c":n}                              {a,b,c}
 *   CIRCLE            {"center":{as POINT},"radius":n}                 <(x,y),r>
 *   GEOMETRY          {"wkb":base64,"srid":null,"extensions":{…}}      none: always exact
 *   ARRAY             [element or null, …], one dimension from 1       {…} with array_out()'s quoting: an element is
 *                                                                      quoted when empty, NULL in any case, or with
 *                                                                      one of " \ { } , or white space
 *
 * A value that has no JSON form at all (NaN in DECIMAL, infinity in DATE, two dimensions) is null there.
 */

#include <stdbool.h>
#include <stdint.h>

#define JSON_UNAVAILABLE      "__debezium_unavailable_value"
#define JSON_UNAVAILABLE_UUID "b68a35a7-17ad-35b3-af2a-ae46edb4545a"
/* what Debezium writes for infinite timestamps, in ms and in µs */
#define JSON_INFINITY	    INT64_C(9223372036825200000)
#define JSON_MINUS_INFINITY INT64_C(-9223372036832400000)
#define JSON_FIRST_USER_OID 16384u

enum json_kind {
	JSON_BOOLEAN,
	JSON_BIT,
	JSON_BITS,
	JSON_INT16,
	JSON_INT32,
	JSON_INT64,
	JSON_FLOAT,
	JSON_DOUBLE,
	JSON_STRING,
	JSON_BYTES,
	JSON_DECIMAL,
	JSON_VARIABLE,
	JSON_MONEY,
	JSON_DATE,
	JSON_TIME,
	JSON_MICRO_TIME,
	JSON_TIMESTAMP,
	JSON_MICRO_TIMESTAMP,
	JSON_ZONED_TIMESTAMP,
	JSON_ZONED_TIME,
	JSON_DURATION,
	JSON_POINT,
	JSON_LINE,
	JSON_CIRCLE,
	JSON_GEOMETRY,
	JSON_ARRAY,
};

/* what stands in for an absent value, for foreign consumers only (ours read sluice.exact) */
enum json_unavailable {
	JSON_UNAVAILABLE_NULL,
	JSON_UNAVAILABLE_STRING,  /* "P" */
	JSON_UNAVAILABLE_BYTES,	  /* base64 of P */
	JSON_UNAVAILABLE_STRINGS, /* ["P"] */
	JSON_UNAVAILABLE_BINARY,  /* [base64 of P] */
	JSON_UNAVAILABLE_NUMBERS, /* one number per byte of P */
	JSON_UNAVAILABLE_UUIDS,	  /* [JSON_UNAVAILABLE_UUID] */
};

struct json_type {
	enum json_kind kind;
	enum json_unavailable unavailable;
	const char *connect;  /* Connect type: "int32", "string", "struct", … */
	const char *semantic; /* schema name, NULL = none */
	uint8_t version;      /* of the schema, 0 = none */
	bool varying;	      /* BITS: bit varying */
	int32_t length;	      /* BITS: n, INT32_MAX = unbounded */
	int32_t precision; /* DECIMAL: digits; TIME… ZONED_…: digits of a second, 6 when the column does not say */
	int32_t scale; /* DECIMAL, MONEY; below 0 is possible */
	uint32_t
		element_oid; /* ARRAY: its json_type_of() with the same modifier is the element's; never an ARRAY */
};

/**
 * json_type_of() - how a column of this type is written. Never fails: an unknown oid is a STRING.
 * @type_modifier: pg_attribute.atttypmod, -1 = none. Thread: any. Blocks: never.
 */
void json_type_of(uint32_t type_oid, int32_t type_modifier, struct json_type *ret);
