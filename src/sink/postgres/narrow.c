/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Conversions that PostgreSQL makes without an error although the value is another one afterwards. Most
 * assignments raise an error when something does not fit (22001, 22003); these do not: rounding to a
 * column's scale or precision, numbers into binary floating point, times cut to dates, names cut to 63
 * bytes.
 */

#include "target.h"

enum {
	OID_CHAR = 18,
	OID_NAME = 19,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_FLOAT4 = 700,
	OID_FLOAT8 = 701,
	OID_MONEY = 790,
	OID_DATE = 1082,
	OID_TIME = 1083,
	OID_TIMESTAMP = 1114,
	OID_TIMESTAMPTZ = 1184,
	OID_INTERVAL = 1186,
	OID_NUMERIC_ARRAY = 1231,
	OID_TIMETZ = 1266,
	OID_NUMERIC = 1700,
};

static bool is_integer(uint32_t oid)
{
	return oid == OID_INT2 || oid == OID_INT4 || oid == OID_INT8;
}

/* scale of a numeric's modifier; it may be negative since 15 */
static int numeric_scale(int32_t modifier)
{
	return (((modifier - 4) & 0x7ff) ^ 1024) - 1024;
}

static const char *narrows_numeric(uint32_t source_oid, int32_t source_modifier, int32_t modifier)
{
	if (modifier < 4)
		return NULL;
	if (is_integer(source_oid))
		return numeric_scale(modifier) < 0 ? "integers would be rounded" : NULL;
	if ((source_oid == OID_NUMERIC || source_oid == OID_NUMERIC_ARRAY) && source_modifier >= 4 &&
		numeric_scale(source_modifier) <= numeric_scale(modifier))
		return NULL;
	return "digits behind the point would be rounded away";
}

/* seconds' digits: -1 = all six */
static const char *narrows_precision(
	uint32_t source_oid, int32_t source_modifier, uint32_t base_oid, int32_t modifier)
{
	int32_t have = source_modifier, room = modifier;

	if (base_oid == OID_INTERVAL) {
		/* low half: precision, 0xffff = full; high half: fields */
		if (modifier < 0 || modifier == source_modifier)
			return NULL;
		return source_oid == OID_INTERVAL ? "fields of the interval would be cut" : NULL;
	}
	if (room < 0 || room >= 6 || source_oid == OID_DATE)
		return NULL;
	return have >= 0 && have <= room ? NULL : "fractions of a second would be rounded";
}

const char *target_narrows(uint32_t source_oid, int32_t source_modifier, uint32_t base_oid, int32_t modifier)
{
	switch (base_oid) {
	case OID_NUMERIC:
	case OID_NUMERIC_ARRAY:
		return narrows_numeric(source_oid, source_modifier, modifier);
	case OID_FLOAT4:
		return source_oid == OID_FLOAT4 || source_oid == OID_INT2 ? NULL : "a real holds 24 bits";
	case OID_FLOAT8:
		return source_oid == OID_FLOAT4 || source_oid == OID_FLOAT8 || source_oid == OID_INT2 ||
				       source_oid == OID_INT4
			       ? NULL
			       : "a double precision holds 53 bits";
	case OID_DATE:
		return source_oid == OID_DATE ? NULL : "the time of day would be cut off";
	case OID_TIME:
		if (source_oid != OID_TIME)
			return "a time zone or date would be cut off";
		return narrows_precision(source_oid, source_modifier, base_oid, modifier);
	case OID_TIMETZ:
		if (source_oid != OID_TIMETZ)
			return "a date would be cut off";
		return narrows_precision(source_oid, source_modifier, base_oid, modifier);
	case OID_TIMESTAMP:
		if (source_oid == OID_TIMESTAMPTZ)
			return "the time zone would be cut off";
		return narrows_precision(source_oid, source_modifier, base_oid, modifier);
	case OID_TIMESTAMPTZ:
	case OID_INTERVAL:
		return narrows_precision(source_oid, source_modifier, base_oid, modifier);
	case OID_NAME:
		return source_oid == OID_NAME ? NULL : "a name holds 63 bytes";
	case OID_CHAR:
		return source_oid == OID_CHAR ? NULL : "a \"char\" holds one byte";
	case OID_MONEY:
		return source_oid == OID_MONEY || is_integer(source_oid) ? NULL : "money has two digits";
	default: /* every other type: it takes the value or raises an error */
		return NULL;
	}
}
