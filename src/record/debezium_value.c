/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One value as Debezium wrote it to PostgreSQL's text. What it may be follows from the form; what it is, from the JSON:
 * structs say by their members what they are, a decimal is a number or base64.
 */

#include <string.h>

#include <sluice/cleanup.h>

#include "debezium_parts.h"

static bool is_time(enum json_kind kind)
{
	return kind == JSON_DATE || kind == JSON_TIME || kind == JSON_MICRO_TIME || kind == JSON_TIMESTAMP ||
	       kind == JSON_MICRO_TIMESTAMP || kind == JSON_ZONED_TIMESTAMP || kind == JSON_ZONED_TIME;
}

static bool is_decimal(enum json_kind kind)
{
	return kind == JSON_DECIMAL || kind == JSON_VARIABLE || kind == JSON_MONEY;
}

bool debezium_bytes(enum encoding encoding, struct read_text text, struct buf *out)
{
	if (encoding == ENCODING_HEX) {
		unsigned high = 0;

		for (size_t i = 0; i < text.len; i++) {
			char c = text.s[i];
			int digit = c >= '0' && c <= '9'   ? c - '0'
				    : c >= 'a' && c <= 'f' ? c - 'a' + 10
				    : c >= 'A' && c <= 'F' ? c - 'A' + 10
							   : -1;

			if (digit < 0)
				return false;
			if (i % 2)
				buf_putc(out, (char)(high << 4 | (unsigned)digit));
			high = (unsigned)digit;
		}
		return text.len % 2 == 0;
	}
	if (encoding == ENCODING_BASE64_URL) {
		_cleanup_(buf_freep) struct buf plain = BUF_INIT;

		for (size_t i = 0; i < text.len; i++) {
			char c = text.s[i];

			buf_putc(&plain, c == '-' ? '+' : c == '_' ? '/' : c);
		}
		while (plain.len % 4)
			buf_putc(&plain, '=');
		return read_base64((struct read_text){ buf_str(&plain), plain.len }, out);
	}
	return read_base64(text, out);
}

static bool put_bytea(enum encoding encoding, struct read_text text, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_(buf_freep) struct buf bytes = BUF_INIT;

	if (!debezium_bytes(encoding, text, &bytes))
		return false;
	buf_puts(out, "\\x");
	for (size_t i = 0; i < bytes.len; i++) {
		buf_putc(out, digits[bytes.data[i] >> 4]);
		buf_putc(out, digits[bytes.data[i] & 15]);
	}
	return true;
}

static bool put_special_decimal(const struct tree_node *node, struct buf *out)
{
	static const char *const names[][2] = { { "NAN", "NaN" }, { "NaN", "NaN" },
		{ "POSITIVE_INFINITY", "Infinity" }, { "Infinity", "Infinity" },
		{ "NEGATIVE_INFINITY", "-Infinity" }, { "-Infinity", "-Infinity" } };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (tree_is(node, names[i][0])) {
			buf_puts(out, names[i][1]);
			return true;
		}
	}
	return false;
}

/* digits behind the point, as they stand */
static int32_t scale_of(struct read_text text)
{
	const char *point = text.len ? memchr(text.s, '.', text.len) : NULL;

	return point && text.len < 40000 ? (int32_t)(text.s + text.len - point - 1) : 0;
}

static bool put_decimal(const struct form *form, const struct tree_node *node, struct buf *out)
{
	bool text = node->type == TREE_STRING;
	struct json_type type = { .kind = JSON_DECIMAL, .scale = form->scale };
	const struct read_scalar in = { .type = SCALAR_STRING, .text = node->text };
	_cleanup_(buf_freep) struct buf plain = BUF_INIT;

	if (form->type.kind != JSON_MONEY && put_special_decimal(node, out))
		return true;
	if (text && form->encoding == ENCODING_DECIMAL) {
		if (form->type.kind != JSON_MONEY)
			return read_scalar_value(&type, &in, out);
		return read_scalar_value(&type, &in, &plain) &&
		       number_money((struct read_text){ buf_str(&plain), plain.len }, out);
	}
	if (form->type.kind == JSON_MONEY)
		return number_money(node->text, out);
	return number_decimal(node->text,
		form->type.kind == JSON_DECIMAL ? form->type.scale
		: text				? scale_of(node->text)
						: 0,
		out);
}

static bool put_hstore_text(struct value_context *ctx, const struct tree_node *node, struct buf *out)
{
	struct error err;

	return tree_parse(ctx->inner, ctx->msg, node->text, ctx->arena, &err) == 0 &&
	       shape_hstore(ctx->inner, ctx->inner->nodes, out);
}

static bool put_float(const struct form *form, const struct tree_node *node, struct buf *out)
{
	if (node->type == TREE_NUMBER)
		return number_float(node->text, form->type.kind == JSON_FLOAT ? 32 : 64, out);
	return put_special_decimal(node, out);
}

static bool put_scalar(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out)
{
	const struct read_scalar in = { .type = (int)node->type, .text = node->text };
	enum json_kind kind = form->type.kind;
	bool number = node->type == TREE_NUMBER, string = node->type == TREE_STRING;

	if (kind == JSON_BOOLEAN || kind == JSON_BIT)
		return read_scalar_value(&form->type, &in, out);
	if (!number && !string) {
		/* of a type that is not known here, as a domain over boolean */
		if (kind == JSON_STRING)
			buf_putc(out, node->type == TREE_TRUE ? 't' : 'f');
		return kind == JSON_STRING;
	}
	if (is_decimal(kind))
		return put_decimal(form, node, out);
	if (kind == JSON_FLOAT || kind == JSON_DOUBLE)
		return put_float(form, node, out);
	if (is_time(kind))
		return number ? time_number(&form->type, form->encoding, node->text, out)
			      : time_iso(&form->type, node->text, out);
	if (kind == JSON_DURATION)
		return number ? time_duration(node->text, out) : time_interval(node->text, out);
	if (kind == JSON_BYTES)
		return string && put_bytea(form->encoding, node->text, out);
	if (kind == JSON_BITS || kind == JSON_INT16 || kind == JSON_INT32 || kind == JSON_INT64)
		return read_scalar_value(&form->type, &in, out);
	if (kind != JSON_STRING)
		return false;
	if (form->class == DEBEZIUM_TYPE_HSTORE)
		return string && put_hstore_text(ctx, node, out);
	/* types that Debezium does not know come as the bytes of their text */
	if (string && (form->encoding == ENCODING_BASE64 || form->encoding == ENCODING_BASE64_URL ||
			      form->encoding == ENCODING_HEX))
		return debezium_bytes(form->encoding, node->text, out);
	buf_put(out, node->text.s, node->text.len);
	return true;
}

static void element_form(const struct form *form, struct form *ret)
{
	*ret = (struct form){ .type = form->element_type,
		.class = form->element_class,
		.oid = form->element_oid,
		.encoding = form->element_encoding,
		.scale = form->element_scale };
	if (form->type.kind != JSON_ARRAY)
		ret->type = (struct json_type){ .kind = JSON_STRING };
}

static bool put_array(
	struct value_context *ctx, const struct form *element, const struct tree_node *node, struct buf *out)
{
	_cleanup_(buf_freep) struct buf part = BUF_INIT;
	bool first = true;

	buf_putc(out, '{');
	TREE_EACH(ctx->tree, node, child)
	{
		if (!first)
			buf_putc(out, ',');
		first = false;
		buf_clear(&part);
		if (child->type == TREE_NULL)
			read_element(NULL, 0, out);
		else if (child->type == TREE_ARRAY && element->class != DEBEZIUM_TYPE_VECTOR) {
			if (!put_array(ctx, element, child, out)) /* one more dimension */
				return false;
		} else if (!debezium_value(ctx, element, child, &part)) {
			return false;
		} else {
			read_element(buf_str(&part), part.len, out);
		}
	}
	buf_putc(out, '}');
	return true;
}

static bool put_struct(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out)
{
	const struct tree_node *value = tree_member(ctx->tree, node, "value");
	int64_t scale;

	if (is_time(form->type.kind) || form->type.kind == JSON_DURATION)
		return time_struct(&form->type, ctx->tree, node, out);
	if (is_decimal(form->type.kind)) {
		struct form decimal = *form;

		if (!tree_i64(ctx->tree, node, "scale", &scale) || scale < -20000 || scale > 20000 ||
			!value || value->type != TREE_STRING)
			return false;
		decimal.encoding = ENCODING_DECIMAL;
		decimal.scale = (int32_t)scale;
		return put_decimal(&decimal, value, out);
	}
	return shape_text(ctx, form, node, out);
}

bool debezium_value(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out)
{
	struct form element;

	if (node->type == TREE_MAP)
		return put_struct(ctx, form, node, out);
	if (node->type != TREE_ARRAY)
		return form->type.kind != JSON_ARRAY && put_scalar(ctx, form, node, out);
	if (form->encoding == ENCODING_VECTOR || form->class == DEBEZIUM_TYPE_VECTOR)
		return shape_text(ctx, form, node, out);
	/* an array of a type of the user's, whose oid says nothing */
	if (form->type.kind != JSON_ARRAY && form->type.kind != JSON_STRING)
		return false;
	element_form(form, &element);
	return put_array(ctx, &element, node, out);
}

/* ---- what stands for a value that was not sent ---- */

static bool is_marker(const struct value_context *ctx, enum encoding encoding, const struct tree_node *node)
{
	const char *marker = ctx->opt->unavailable;
	_cleanup_(buf_freep) struct buf bytes = BUF_INIT;
	size_t len = strlen(marker);

	if (node->type != TREE_STRING)
		return false;
	if (tree_is(node, marker) ||
		(!strcmp(marker, JSON_UNAVAILABLE) && tree_is(node, JSON_UNAVAILABLE_UUID)))
		return true;
	return encoding == ENCODING_BASE64 && node->text.len == (len + 2) / 3 * 4 &&
	       read_base64(node->text, &bytes) && bytes.len == len && !memcmp(bytes.data, marker, len);
}

static bool is_marker_array(
	const struct value_context *ctx, enum encoding encoding, const struct tree_node *node)
{
	const signed char *marker = (const signed char *)ctx->opt->unavailable;
	size_t len = strlen(ctx->opt->unavailable), i = 0;
	int64_t n;

	if (node->end == (uint32_t)(node - ctx->tree->nodes) + 2 && is_marker(ctx, encoding, node + 1))
		return true;
	TREE_EACH(ctx->tree, node, child)
	{
		if (i == len || child->type != TREE_NUMBER || !read_i64(child->text, &n) || n != marker[i])
			return false;
		i++;
	}
	return i == len;
}

bool debezium_unavailable(
	const struct value_context *ctx, const struct form *form, const struct tree_node *node)
{
	const char *marker = ctx->opt->unavailable;
	const struct tree_node *only;

	if (node->type == TREE_STRING && is_marker(ctx, form->encoding, node))
		return true;
	if (node->type == TREE_STRING && form->class == DEBEZIUM_TYPE_HSTORE) {
		size_t len = strlen(marker);

		/* {"P":"P"} */
		return node->text.len == 2 * len + 7 && !memcmp(node->text.s + 2, marker, len) &&
		       !memcmp(node->text.s + len + 5, marker, len);
	}
	if (node->type == TREE_ARRAY)
		return is_marker_array(ctx, form->element_encoding, node);
	if (node->type != TREE_MAP || node->end != (uint32_t)(node - ctx->tree->nodes) + 2)
		return false;
	only = node + 1;
	return tree_is(only, marker) && only->key.len == strlen(marker) &&
	       !memcmp(only->key.s, marker, only->key.len);
}
