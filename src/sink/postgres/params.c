/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Array parameters. Binary form:
 *
 *   int32 dimensions (1) · int32 has-null · int32 element type · int32 length · int32 lower bound (1)
 *   per element: int32 bytes (-1 = NULL) · the bytes of the type's send function
 *
 * An empty array has zero dimensions, but we never write one. Absent values must not come here: a statement
 * is made for one set of present columns.
 */

#include <string.h>

#include "params.h"

#define ARRAY_HEADER_BYTES 20

enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_NAME = 19,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_JSON = 114,
	OID_BPCHAR = 1042,
	OID_VARCHAR = 1043,
	OID_UUID = 2950,
	OID_JSONB = 3802,
};

enum params_encoding params_encoding_of(uint32_t base_type_oid)
{
	switch (base_type_oid) {
	case OID_TEXT:
	case OID_VARCHAR:
	case OID_BPCHAR:
	case OID_JSON:
	case OID_NAME:
		return PARAMS_BYTES;
	case OID_INT2:
		return PARAMS_INT2;
	case OID_INT4:
		return PARAMS_INT4;
	case OID_INT8:
		return PARAMS_INT8;
	case OID_BOOL:
		return PARAMS_BOOL;
	case OID_UUID:
		return PARAMS_UUID;
	case OID_BYTEA:
		return PARAMS_BYTEA;
	case OID_JSONB:
		return PARAMS_JSONB;
	default: /* not an enum of ours: any other type */
		return PARAMS_LITERAL;
	}
}

/* strict: an optional minus and digits, within [-max - 1, max] */
static bool parse_int(const struct value *v, uint64_t max, int64_t *ret)
{
	bool minus = v->len && v->data[0] == '-';
	uint32_t i = minus;
	uint64_t n = 0;

	if (i == v->len || v->len - i > 19)
		return false;
	for (; i < v->len; i++) {
		unsigned digit = v->data[i] - (unsigned)'0';

		if (digit > 9)
			return false;
		n = n * 10 + digit;
	}
	if (n > max + minus)
		return false;
	*ret = (int64_t)(minus ? 0 - n : n);
	return true;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool put_hex(struct buf *out, const uint8_t *hex, uint32_t digits)
{
	uint8_t *to;

	if (digits & 1)
		return false;
	buf_put_u32be(out, digits / 2);
	to = buf_grow(out, digits / 2);
	for (uint32_t i = 0; i < digits; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*to++ = (uint8_t)(high << 4 | low);
	}
	out->len += digits / 2;
	return true;
}

/* 8-4-4-4-12 */
static bool put_uuid(struct buf *out, const struct value *v)
{
	uint8_t hex[32];
	uint32_t n = 0;

	if (v->len != 36)
		return false;
	for (uint32_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash != (v->data[i] == '-'))
			return false;
		if (!dash)
			hex[n++] = v->data[i];
	}
	return put_hex(out, hex, 32);
}

static bool put_int(struct buf *out, const struct value *v, uint32_t bytes)
{
	uint8_t element[12];
	int64_t n;
	uint64_t be;

	if (!parse_int(v, (UINT64_C(1) << (8 * bytes - 1)) - 1, &n))
		return false;
	be = __builtin_bswap64((uint64_t)n << (64 - 8 * bytes));
	memset(element, 0, 3);
	element[3] = (uint8_t)bytes;
	memcpy(element + 4, &be, 8);
	buf_put(out, element, 4 + bytes);
	return true;
}

static bool put_element(struct buf *out, enum params_encoding encoding, const struct value *v)
{
	switch (encoding) {
	case PARAMS_LITERAL:
		return false;
	case PARAMS_BYTES:
		buf_put_u32be(out, v->len);
		buf_put(out, v->data, v->len);
		return true;
	case PARAMS_INT2:
		return put_int(out, v, 2);
	case PARAMS_INT4:
		return put_int(out, v, 4);
	case PARAMS_INT8:
		return put_int(out, v, 8);
	case PARAMS_BOOL:
		if (v->len != 1 || (v->data[0] != 't' && v->data[0] != 'f'))
			return false;
		buf_put_u32be(out, 1);
		buf_putc(out, v->data[0] == 't');
		return true;
	case PARAMS_UUID:
		return put_uuid(out, v);
	case PARAMS_BYTEA:
		return v->len >= 2 && v->data[0] == '\\' && v->data[1] == 'x' &&
		       put_hex(out, v->data + 2, v->len - 2);
	case PARAMS_JSONB:
		buf_put_u32be(out, v->len + 1);
		buf_putc(out, 1);
		buf_put(out, v->data, v->len);
		return true;
	}
	return false;
}

bool params_put_binary(struct buf *out, enum params_encoding encoding, uint32_t element_oid, bool raw,
	const struct params_column *col)
{
	size_t start = out->len;
	uint32_t has_null = 0;

	buf_put_u32be(out, 1);
	buf_put_u32be(out, 0);
	buf_put_u32be(out, element_oid);
	buf_put_u32be(out, col->n_rows);
	buf_put_u32be(out, 1);
	for (uint32_t i = 0; i < col->n_rows; i++) {
		const struct value *v = &col->rows[i][col->column];

		if (v->state != VALUE_PRESENT) {
			buf_put_u32be(out, UINT32_MAX);
			has_null = __builtin_bswap32(1);
		} else if (v->format == VALUE_BINARY && raw) {
			buf_put_u32be(out, v->len);
			buf_put(out, v->data, v->len);
		} else if (v->format != VALUE_TEXT || !put_element(out, encoding, v)) {
			out->len = start;
			return false;
		}
	}
	memcpy(out->data + start + 4, &has_null, 4);
	return true;
}

/* `"` and `\` take a backslash; everything else stands for itself inside the quotes */
static void put_quoted(struct buf *out, const struct value *v)
{
	uint8_t *to;

	if (out->cap - out->len < 2 * (size_t)v->len + 2)
		buf_grow(out, 2 * (size_t)v->len + 2);
	to = out->data + out->len;
	*to++ = '"';
	for (uint32_t i = 0; i < v->len; i++) {
		uint8_t c = v->data[i];

		if (__builtin_expect(c == '"' || c == '\\', 0))
			*to++ = '\\';
		*to++ = c;
	}
	*to++ = '"';
	out->len = (size_t)(to - out->data);
}

bool params_put_literal(struct buf *out, char delimiter, const struct params_column *col)
{
	size_t start = out->len;

	for (uint32_t i = 0; i < col->n_rows; i++) {
		const struct value *v = &col->rows[i][col->column];

		buf_putc(out, i ? delimiter : '{');
		if (v->state != VALUE_PRESENT) {
			buf_put(out, "NULL", 4);
		} else if (v->format == VALUE_TEXT) {
			put_quoted(out, v);
		} else {
			out->len = start;
			return false;
		}
	}
	buf_putc(out, '}');
	buf_str(out);
	return true;
}
