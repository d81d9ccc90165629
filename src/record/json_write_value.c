/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One column's text to one JSON value: who writes which kind, and the kinds that are short enough to stand here. An
 * array is written element by element, each as its type says; one with more dimensions, or with bounds of its own, has
 * no form in the envelope.
 */

#include "json_write.h"

static enum json_written put_boolean(struct json_text text, const char *values, struct buf *out)
{
	if (text.len != 1 || (*text.s != (uint8_t)values[0] && *text.s != (uint8_t)values[1]))
		return JSON_MALFORMED;
	buf_puts(out, *text.s == (uint8_t)values[1] ? "true" : "false");
	return JSON_EXACT;
}

/* one bit; bit varying(1) may have none */
static enum json_written put_bit(struct json_text text, struct buf *out)
{
	if (text.len)
		return put_boolean(text, "01", out);
	buf_puts(out, "false");
	return JSON_INEXACT;
}

/* the digits are a number, its bytes go out lowest first, without those above the highest bit */
static enum json_written put_bits(
	const struct json_type *type, struct json_text text, struct buf *scratch, struct buf *out)
{
	size_t first = 0, n;

	while (first < text.len && text.s[first] == '0')
		first++;
	n = text.len - first;
	buf_clear(scratch);
	for (size_t at = 0; at < n; at += 8) {
		uint32_t byte = 0;

		for (size_t i = 0; i < 8 && at + i < n; i++) {
			uint32_t bit = (uint32_t)text.s[text.len - 1 - at - i] - '0';

			if (bit > 1)
				return JSON_MALFORMED;
			byte |= bit << i;
		}
		buf_putc(scratch, (char)byte);
	}
	json_base64(scratch->data, scratch->len, out);
	if (type->varying)
		return first ? JSON_INEXACT : JSON_EXACT;
	return text.len == (size_t)type->length ? JSON_EXACT : JSON_INEXACT;
}

static enum json_written put_bytes(struct json_text text, struct buf *out)
{
	if (text.len < 2 || text.s[0] != '\\' || text.s[1] != 'x')
		return JSON_MALFORMED;
	return json_hex_base64(text.s + 2, text.len - 2, out) ? JSON_EXACT : JSON_MALFORMED;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_null_word(struct json_text text)
{
	return text.len == 4 && (text.s[0] | 32) == 'n' && (text.s[1] | 32) == 'u' &&
	       (text.s[2] | 32) == 'l' && (text.s[3] | 32) == 'l';
}

/* takes the quoted element at *at, its begin quote included, into ret; *needed: would PostgreSQL have quoted it? */
static bool take_quoted(struct json_text text, size_t *at, struct buf *ret, bool *needed)
{
	size_t i = *at + 1, from = i;
	bool idle = false; /* an escape that PostgreSQL would not have written */

	buf_clear(ret);
	*needed = false;
	for (; i < text.len && text.s[i] != '"'; i++) {
		uint8_t c = text.s[i];

		if (c == '\\') {
			buf_put(ret, text.s + from, i - from);
			from = ++i;
			if (i == text.len)
				return false;
			if (text.s[i] == '"' || text.s[i] == '\\')
				*needed = true;
			else
				idle = true;
		} else if (c == '{' || c == '}' || c == ',' || is_blank(c)) {
			*needed = true;
		}
	}
	if (i == text.len)
		return false;
	buf_put(ret, text.s + from, i - from);
	*needed |= !ret->len || is_null_word((struct json_text){ ret->data, ret->len });
	*needed &= !idle;
	*at = i + 1;
	return true;
}

/* takes the element at *at up to its comma or brace */
static bool take_bare(struct json_text text, size_t *at, struct json_text *ret, bool *odd)
{
	size_t i = *at;

	for (; i < text.len && text.s[i] != ',' && text.s[i] != '}'; i++) {
		uint8_t c = text.s[i];

		if (c == '"' || c == '\\' || c == '{')
			return false;
		*odd |= is_blank(c);
	}
	*ret = (struct json_text){ text.s + *at, i - *at };
	*at = i;
	return ret->len > 0;
}

/* one element, with its state */
static enum json_written put_element(const struct json_field *element, struct json_text text, size_t *at,
	struct json_scratch *scratch, struct buf *out)
{
	struct json_text one;
	bool odd = false;
	enum json_written done;

	if (text.s[*at] == '"') {
		bool needed;

		if (!take_quoted(text, at, &scratch->element, &needed))
			return JSON_MALFORMED;
		/* buf_str(): an empty element has a place too */
		one = (struct json_text){ (const uint8_t *)buf_str(&scratch->element), scratch->element.len };
		odd = !needed;
	} else if (!take_bare(text, at, &one, &odd)) {
		return JSON_MALFORMED;
	} else if (is_null_word(one)) {
		buf_puts(out, "null");
		return json_text_is(one, "NULL") ? JSON_EXACT : JSON_INEXACT;
	}
	done = json_value(element, one, scratch, out);
	return done == JSON_EXACT && odd ? JSON_INEXACT : done;
}

static enum json_written put_array(
	const struct json_field *field, struct json_text text, struct json_scratch *scratch, struct buf *out)
{
	struct json_field element = { .type = field->element, .type_oid = field->type.element_oid };
	enum json_written done = JSON_EXACT;
	size_t at = 1;

	if (text.len >= 2 && (text.s[0] == '[' || (text.s[0] == '{' && text.s[1] == '{'))) {
		buf_puts(out, "null");
		return JSON_INEXACT;
	}
	if (text.len < 2 || text.s[0] != '{' || text.s[text.len - 1] != '}')
		return JSON_MALFORMED;
	buf_putc(out, '[');
	while (text.len > 2 && at < text.len) {
		enum json_written one = put_element(&element, text, &at, scratch, out);

		if (one > done)
			done = one;
		if (one > JSON_INEXACT || at >= text.len)
			return one > JSON_INEXACT ? one : JSON_MALFORMED;
		if (text.s[at++] == '}') {
			buf_putc(out, ']');
			return at == text.len ? done : JSON_MALFORMED;
		}
		if (text.s[at - 1] != ',')
			return JSON_MALFORMED;
		buf_putc(out, ',');
	}
	if (text.len > 2)
		return JSON_MALFORMED;
	buf_putc(out, ']');
	return done;
}

void json_field_init(struct json_field *ret, uint32_t type_oid, int32_t type_modifier)
{
	*ret = (struct json_field){ .type_oid = type_oid };
	json_type_of(type_oid, type_modifier, &ret->type);
	if (ret->type.kind == JSON_ARRAY)
		json_type_of(ret->type.element_oid, type_modifier, &ret->element);
}

enum json_written json_value(
	const struct json_field *field, struct json_text text, struct json_scratch *scratch, struct buf *out)
{
	switch (field->type.kind) {
	case JSON_STRING:
		return json_string(text, out);
	case JSON_INT16:
		return json_integer(text, INT16_MIN, INT16_MAX, out);
	case JSON_INT32:
		return json_integer(text, INT32_MIN, INT32_MAX, out);
	case JSON_INT64:
		return json_integer(text, INT64_MIN, INT64_MAX, out);
	case JSON_FLOAT:
	case JSON_DOUBLE:
		return json_float(text, out);
	case JSON_BOOLEAN:
		return put_boolean(text, "ft", out);
	case JSON_BIT:
		return put_bit(text, out);
	case JSON_BITS:
		return put_bits(&field->type, text, &scratch->bytes, out);
	case JSON_BYTES:
		return put_bytes(text, out);
	case JSON_DECIMAL:
		return json_decimal(&field->type, text, &scratch->bytes, out);
	case JSON_VARIABLE:
		return json_variable(text, &scratch->bytes, out);
	case JSON_MONEY:
		return json_money(text, &scratch->bytes, out);
	case JSON_DATE:
	case JSON_TIME:
	case JSON_MICRO_TIME:
	case JSON_TIMESTAMP:
	case JSON_MICRO_TIMESTAMP:
	case JSON_ZONED_TIMESTAMP:
	case JSON_ZONED_TIME:
		return json_time(&field->type, text, out);
	case JSON_DURATION:
		return json_duration(text, out);
	case JSON_POINT:
	case JSON_LINE:
	case JSON_CIRCLE:
	case JSON_GEOMETRY:
		return json_shape(field, text, &scratch->bytes, out);
	case JSON_ARRAY:
		return put_array(field, text, scratch, out);
	}
	return JSON_MALFORMED;
}

void json_unavailable_put(const struct json_type *type, struct buf *out)
{
	static const char unavailable[] = JSON_UNAVAILABLE;

	switch (type->unavailable) {
	case JSON_UNAVAILABLE_NULL:
		buf_puts(out, "null");
		return;
	case JSON_UNAVAILABLE_STRING:
		buf_puts(out, "\"" JSON_UNAVAILABLE "\"");
		return;
	case JSON_UNAVAILABLE_BYTES:
		json_base64(unavailable, sizeof(unavailable) - 1, out);
		return;
	case JSON_UNAVAILABLE_STRINGS:
		buf_puts(out, "[\"" JSON_UNAVAILABLE "\"]");
		return;
	case JSON_UNAVAILABLE_BINARY:
		buf_putc(out, '[');
		json_base64(unavailable, sizeof(unavailable) - 1, out);
		buf_putc(out, ']');
		return;
	case JSON_UNAVAILABLE_NUMBERS:
		for (size_t i = 0; i < sizeof(unavailable) - 1; i++) {
			buf_putc(out, i ? ',' : '[');
			json_u64((uint8_t)unavailable[i], out);
		}
		buf_putc(out, ']');
		return;
	case JSON_UNAVAILABLE_UUIDS:
		buf_puts(out, "[\"" JSON_UNAVAILABLE_UUID "\"]");
		return;
	}
}
