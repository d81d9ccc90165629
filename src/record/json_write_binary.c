/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Keys of rows whose values came in PostgreSQL's binary form. What keys are usually made of is written as its text
 * would be; the rest is the base64 of its bytes: equal keys stay equal, which is all that the order needs.
 */

#include "json_write.h"

#define DAYS_TO_2000 10957
#define US_TO_2000   INT64_C(946684800000000)
#define UUID_BYTES   16

enum {
	OID_CHAR = 18,
	OID_NAME = 19,
	OID_TEXT = 25,
	OID_JSON = 114,
	OID_XML = 142,
	OID_BPCHAR = 1042,
	OID_VARCHAR = 1043,
	OID_OID = 26,
	OID_UUID = 2950
};

/* 2, 4 or 8 bytes, big-endian */
static bool take_integer(struct json_text text, size_t bytes, int64_t *ret)
{
	uint64_t v = 0;

	if (text.len != bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | text.s[i];
	/* the sign of fewer bytes */
	*ret = (int64_t)(v << (64 - bytes * 8)) >> (64 - bytes * 8);
	return true;
}

static bool put_integer(struct json_text text, size_t bytes, struct buf *out)
{
	int64_t v;

	if (!take_integer(text, bytes, &v))
		return false;
	json_i64(v, out);
	return true;
}

static bool put_date(struct json_text text, struct buf *out)
{
	int64_t days;

	if (!take_integer(text, 4, &days))
		return false;
	if (days != INT32_MAX && days != INT32_MIN)
		json_i64(days + DAYS_TO_2000, out);
	else
		buf_puts(out, "null");
	return true;
}

static bool put_timestamp(struct json_text text, int64_t unit, struct buf *out)
{
	int64_t us;

	if (!take_integer(text, 8, &us))
		return false;
	if (us == INT64_MAX || us == INT64_MIN)
		json_i64(us < 0 ? JSON_MINUS_INFINITY : JSON_INFINITY, out);
	else if (__builtin_add_overflow(us, US_TO_2000, &us))
		buf_puts(out, "null");
	else
		json_i64(us / unit - (us % unit < 0), out);
	return true;
}

static bool put_uuid(struct json_text text, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";

	if (text.len != UUID_BYTES)
		return false;
	buf_putc(out, '"');
	for (size_t i = 0; i < UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf_putc(out, '-');
		buf_putc(out, digits[text.s[i] >> 4]);
		buf_putc(out, digits[text.s[i] & 15]);
	}
	buf_putc(out, '"');
	return true;
}

static bool put_string(uint32_t type_oid, struct json_text text, struct buf *out)
{
	switch (type_oid) {
	case OID_CHAR:
	case OID_NAME:
	case OID_TEXT:
	case OID_JSON:
	case OID_XML:
	case OID_BPCHAR:
	case OID_VARCHAR:
		return json_string(text, out) == JSON_EXACT;
	case OID_UUID:
		return put_uuid(text, out);
	default:
		return false;
	}
}

static bool put_known(const struct json_field *field, struct json_text text, struct buf *out)
{
	int64_t v;

	if (field->type_oid == OID_OID) {
		if (!take_integer(text, 4, &v))
			return false;
		json_u64((uint32_t)v, out);
		return true;
	}
	if (field->type.kind == JSON_BOOLEAN && text.len == 1) {
		buf_puts(out, text.s[0] ? "true" : "false");
		return true;
	}
	if (field->type.kind == JSON_INT16)
		return put_integer(text, 2, out);
	if (field->type.kind == JSON_INT32)
		return put_integer(text, 4, out);
	if (field->type.kind == JSON_INT64)
		return put_integer(text, 8, out);
	if (field->type.kind == JSON_DATE)
		return put_date(text, out);
	if (field->type.kind == JSON_MICRO_TIMESTAMP)
		return put_timestamp(text, 1, out);
	if (field->type.kind == JSON_TIMESTAMP)
		return put_timestamp(text, 1000, out);
	return field->type.kind == JSON_STRING && put_string(field->type_oid, text, out);
}

void json_binary_key(const struct json_field *field, struct json_text text, struct buf *out)
{
	size_t begin = out->len;

	if (put_known(field, text, out))
		return;
	out->len = begin;
	json_base64(text.s, text.len, out);
}
