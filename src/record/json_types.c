/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The type table; see json_types.h. Oids below 16384 are the same in every PostgreSQL database, so they stand here as
 * numbers; what is not in the table is a string, which is always right, if less telling.
 */

#include <stddef.h>
#include <string.h>

#include "json_types.h"

struct row {
	uint32_t oid;
	enum json_kind kind;
	enum json_unavailable unavailable;
	const char *connect, *semantic;
	uint8_t version;
	uint32_t element_oid;
};

#define DATA	      "io.debezium.data."
#define TIME	      "io.debezium.time."
#define GEO	      "io.debezium.data.geometry."
#define PLAIN_STRING  JSON_STRING, JSON_UNAVAILABLE_STRING, "string", NULL, 0, 0
#define NAMED_STRING  JSON_STRING, JSON_UNAVAILABLE_STRING, "string"
#define ARRAY_OF(oid) JSON_ARRAY, JSON_UNAVAILABLE_NULL, "array", NULL, 0, oid
/* an array whose absent value Debezium can express */
#define ARRAY_FOR(oid, what) JSON_ARRAY, JSON_UNAVAILABLE_##what, "array", NULL, 0, oid

enum { OID_BIT = 1560, OID_VARBIT = 1562, OID_NUMERIC = 1700 };

/* ascending by oid */
static const struct row rows[] = {
	{ 16, JSON_BOOLEAN, JSON_UNAVAILABLE_NULL, "boolean", NULL, 0, 0 },
	{ 17, JSON_BYTES, JSON_UNAVAILABLE_BYTES, "bytes", NULL, 0, 0 },
	{ 20, JSON_INT64, JSON_UNAVAILABLE_NULL, "int64", NULL, 0, 0 },
	{ 21, JSON_INT16, JSON_UNAVAILABLE_NULL, "int16", NULL, 0, 0 },
	{ 23, JSON_INT32, JSON_UNAVAILABLE_NULL, "int32", NULL, 0, 0 },
	{ 26, JSON_INT64, JSON_UNAVAILABLE_NULL, "int64", NULL, 0, 0 }, /* oid */
	{ 114, NAMED_STRING, DATA "Json", 1, 0 },
	{ 142, NAMED_STRING, DATA "Xml", 1, 0 },
	{ 199, ARRAY_FOR(114, STRINGS) },
	{ 600, JSON_POINT, JSON_UNAVAILABLE_NULL, "struct", GEO "Point", 1, 0 },
	{ 601, JSON_GEOMETRY, JSON_UNAVAILABLE_NULL, "struct", GEO "Geometry", 2, 0 }, /* lseg */
	{ 602, JSON_GEOMETRY, JSON_UNAVAILABLE_NULL, "struct", GEO "Geometry", 2, 0 }, /* path */
	{ 603, JSON_GEOMETRY, JSON_UNAVAILABLE_NULL, "struct", GEO "Geometry", 2, 0 }, /* box */
	{ 604, JSON_GEOMETRY, JSON_UNAVAILABLE_NULL, "struct", GEO "Geometry", 2, 0 }, /* polygon */
	{ 628, JSON_LINE, JSON_UNAVAILABLE_NULL, "struct", GEO "Line", 1, 0 },
	{ 651, ARRAY_OF(650) }, /* cidr */
	{ 700, JSON_FLOAT, JSON_UNAVAILABLE_NULL, "float", NULL, 0, 0 },
	{ 701, JSON_DOUBLE, JSON_UNAVAILABLE_NULL, "double", NULL, 0, 0 },
	{ 718, JSON_CIRCLE, JSON_UNAVAILABLE_NULL, "struct", GEO "Circle", 1, 0 },
	{ 775, ARRAY_OF(774) }, /* macaddr8 */
	{ 790, JSON_MONEY, JSON_UNAVAILABLE_NULL, "bytes", "org.apache.kafka.connect.data.Decimal", 1, 0 },
	{ 1000, ARRAY_OF(16) },
	{ 1001, ARRAY_FOR(17, BINARY) },
	{ 1005, ARRAY_OF(21) },
	{ 1007, ARRAY_FOR(23, NUMBERS) },
	{ 1009, ARRAY_FOR(25, STRINGS) },
	{ 1014, ARRAY_FOR(1042, STRINGS) },
	{ 1015, ARRAY_FOR(1043, STRINGS) },
	{ 1016, ARRAY_FOR(20, NUMBERS) },
	{ 1021, ARRAY_OF(700) },
	{ 1022, ARRAY_OF(701) },
	{ 1028, ARRAY_OF(26) },
	{ 1040, ARRAY_OF(829) }, /* macaddr */
	{ 1041, ARRAY_OF(869) }, /* inet */
	{ 1082, JSON_DATE, JSON_UNAVAILABLE_NULL, "int32", TIME "Date", 1, 0 },
	{ 1083, JSON_MICRO_TIME, JSON_UNAVAILABLE_NULL, "int64", TIME "MicroTime", 1, 0 },
	{ 1114, JSON_MICRO_TIMESTAMP, JSON_UNAVAILABLE_NULL, "int64", TIME "MicroTimestamp", 1, 0 },
	{ 1115, ARRAY_OF(1114) },
	{ 1182, ARRAY_FOR(1082, NUMBERS) },
	{ 1183, ARRAY_OF(1083) },
	{ 1184, JSON_ZONED_TIMESTAMP, JSON_UNAVAILABLE_STRING, "string", TIME "ZonedTimestamp", 1, 0 },
	{ 1185, ARRAY_OF(1184) },
	{ 1186, JSON_DURATION, JSON_UNAVAILABLE_NULL, "int64", TIME "MicroDuration", 1, 0 },
	{ 1231, ARRAY_OF(1700) },
	{ 1266, JSON_ZONED_TIME, JSON_UNAVAILABLE_STRING, "string", TIME "ZonedTime", 1, 0 },
	{ 1270, ARRAY_OF(1266) },
	{ OID_BIT, JSON_BITS, JSON_UNAVAILABLE_NULL, "bytes", DATA "Bits", 1, 0 },
	{ OID_VARBIT, JSON_BITS, JSON_UNAVAILABLE_NULL, "bytes", DATA "Bits", 1, 0 },
	{ OID_NUMERIC, JSON_VARIABLE, JSON_UNAVAILABLE_NULL, "struct", DATA "VariableScaleDecimal", 1, 0 },
	{ 2950, NAMED_STRING, DATA "Uuid", 1, 0 },
	{ 2951, ARRAY_FOR(2950, UUIDS) },
	{ 3614, NAMED_STRING, DATA "Tsvector", 1, 0 },
	{ 3802, NAMED_STRING, DATA "Json", 1, 0 },
	{ 3807, ARRAY_FOR(3802, STRINGS) },
	{ 3905, ARRAY_OF(3904) }, /* int4range, numrange, tsrange, tstzrange, daterange, int8range */
	{ 3907, ARRAY_OF(3906) },
	{ 3909, ARRAY_OF(3908) },
	{ 3911, ARRAY_OF(3910) },
	{ 3913, ARRAY_OF(3912) },
	{ 3927, ARRAY_OF(3926) },
};

static const struct row other = { 0, PLAIN_STRING };

static const struct row *find(uint32_t oid)
{
	size_t from = 0, to = sizeof(rows) / sizeof(*rows);

	while (from < to) {
		size_t mid = (from + to) / 2;

		if (rows[mid].oid == oid)
			return &rows[mid];
		if (rows[mid].oid < oid)
			from = mid + 1;
		else
			to = mid;
	}
	return &other;
}

static void set_bits(int32_t modifier, bool varying, struct json_type *ret)
{
	if (modifier == 1) {
		ret->kind = JSON_BIT;
		ret->connect = "boolean";
		ret->semantic = NULL;
		ret->version = 0;
		return;
	}
	ret->length = modifier > 0 ? modifier : INT32_MAX;
	ret->varying = varying || modifier <= 0;
}

static void set_numeric(int32_t modifier, struct json_type *ret)
{
	if (modifier < 4)
		return;
	ret->kind = JSON_DECIMAL;
	ret->connect = "bytes";
	ret->semantic = "org.apache.kafka.connect.data.Decimal";
	ret->precision = (modifier - 4) >> 16;
	ret->scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024;
}

/* up to three digits of a second fit milliseconds */
static void set_short(enum json_kind kind, const char *connect, const char *semantic, struct json_type *ret)
{
	if (ret->precision > 3)
		return;
	ret->kind = kind;
	ret->connect = connect;
	ret->semantic = semantic;
}

void json_type_of(uint32_t type_oid, int32_t type_modifier, struct json_type *ret)
{
	const struct row *row = find(type_oid);

	*ret = (struct json_type){
		.kind = row->kind,
		.unavailable = row->unavailable,
		.connect = row->connect,
		.semantic = row->semantic,
		.version = row->version,
		.precision = type_modifier >= 0 && type_modifier <= 6 ? type_modifier : 6,
		.element_oid = row->element_oid,
	};
	if (row->kind == JSON_BITS)
		set_bits(type_modifier, type_oid == OID_VARBIT, ret);
	else if (row->kind == JSON_VARIABLE)
		set_numeric(type_modifier, ret);
	else if (row->kind == JSON_MONEY)
		ret->scale = 2;
	else if (row->kind == JSON_MICRO_TIME)
		set_short(JSON_TIME, "int32", TIME "Time", ret);
	else if (row->kind == JSON_MICRO_TIMESTAMP)
		set_short(JSON_TIMESTAMP, "int64", TIME "Timestamp", ret);
}
