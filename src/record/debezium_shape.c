/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Values that are structs or maps: geometric types (points as numbers, the others as well-known binary), vectors, hstore.
 * Coordinates are floats at the source, so here they are too.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>

#include "debezium_parts.h"

#define POINT_BYTES 16u
#define WKB_SRID    UINT32_C(0x20000000)

enum { OID_LSEG = 601, OID_PATH = 602, OID_BOX = 603, OID_POLYGON = 604 };
enum { WKB_POINT = 1, WKB_LINE_STRING = 2, WKB_POLYGON = 3 };

/* sticky: after an underflow all reads give 0 and failed is set */
struct wkb {
	const uint8_t *p, *end;
	bool swap, failed;
};

static bool take(struct wkb *wkb, void *to, size_t n)
{
	if ((size_t)(wkb->end - wkb->p) < n)
		wkb->failed = true;
	if (wkb->failed)
		memset(to, 0, n);
	else
		memcpy(to, wkb->p, n);
	if (!wkb->failed)
		wkb->p += n;
	return !wkb->failed;
}

static uint32_t take_u32(struct wkb *wkb)
{
	uint32_t v;

	take(wkb, &v, sizeof(v));
	return wkb->swap ? __builtin_bswap32(v) : v;
}

static double take_double(struct wkb *wkb)
{
	uint64_t v;
	double d;

	take(wkb, &v, sizeof(v));
	if (wkb->swap)
		v = __builtin_bswap64(v);
	memcpy(&d, &v, sizeof(d));
	return d;
}

static void put_point(double x, double y, struct buf *out)
{
	buf_putc(out, '(');
	number_double(x, 64, out);
	buf_putc(out, ',');
	number_double(y, 64, out);
	buf_putc(out, ')');
}

/* the head up to the points; returns their number, 0 = not one of ours */
static uint32_t take_head(struct wkb *wkb, uint32_t *ret_type)
{
	uint8_t little = 0;
	uint32_t type, n;

	take(wkb, &little, 1);
	wkb->swap = !little;
	type = take_u32(wkb);
	if (type & WKB_SRID)
		take_u32(wkb);
	*ret_type = type & 0xFF;
	if (*ret_type == WKB_POINT)
		return wkb->failed ? 0 : 1;
	if (*ret_type == WKB_POLYGON && take_u32(wkb) != 1)
		return 0;
	n = take_u32(wkb);
	return wkb->failed || n > (size_t)(wkb->end - wkb->p) / POINT_BYTES ? 0 : n;
}

/* the corners furthest from each other, as PostgreSQL prints a box */
static void put_box(struct wkb *wkb, uint32_t n, struct buf *out)
{
	double x0 = 0, y0 = 0, x1 = 0, y1 = 0;

	for (uint32_t i = 0; i < n; i++) {
		double x = take_double(wkb), y = take_double(wkb);

		x0 = i && x0 < x ? x0 : x;
		y0 = i && y0 < y ? y0 : y;
		x1 = i && x1 > x ? x1 : x;
		y1 = i && y1 > y ? y1 : y;
	}
	put_point(x1, y1, out);
	buf_putc(out, ',');
	put_point(x0, y0, out);
}

static bool put_wkb(const struct buf *bytes, uint32_t oid, bool open, struct buf *out)
{
	struct wkb wkb = { .p = bytes->data, .end = bytes->data + bytes->len };
	bool bracket = oid == OID_LSEG || (oid == OID_PATH && open);
	uint32_t type, n = take_head(&wkb, &type);

	if (!n)
		return false;
	if (oid == OID_BOX) {
		put_box(&wkb, n, out);
		return true;
	}
	/* a ring ends where it began; PostgreSQL does not say it twice */
	if (type == WKB_POLYGON && n > 1)
		n--;
	buf_putc(out, bracket ? '[' : '(');
	for (uint32_t i = 0; i < n; i++) {
		double x = take_double(&wkb), y = take_double(&wkb);

		if (i)
			buf_putc(out, ',');
		put_point(x, y, out);
	}
	buf_putc(out, bracket ? ']' : ')');
	return true;
}

static bool put_geometry(
	const struct form *form, const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	const struct tree_node *text = tree_member(tree, node, "wkb");
	const struct tree_node *extensions = tree_member(tree, node, "extensions");
	const struct tree_node *closed = tree_member(tree, extensions, "closed");
	_cleanup_(buf_freep) struct buf bytes = BUF_INIT;

	if (!text || text->type != TREE_STRING || !read_base64(text->text, &bytes))
		return false;
	if (form->type.kind == JSON_GEOMETRY)
		return put_wkb(&bytes, form->oid, tree_is(closed, "false"), out);
	/* PostGIS prints its EWKB */
	for (size_t i = 0; i < bytes.len; i++) {
		buf_putc(out, digits[bytes.data[i] >> 4]);
		buf_putc(out, digits[bytes.data[i] & 15]);
	}
	return true;
}

static bool put_float(const struct tree_node *node, unsigned bits, struct buf *out)
{
	if (node && node->type == TREE_STRING &&
		(tree_is(node, "NaN") || tree_is(node, "Infinity") || tree_is(node, "-Infinity"))) {
		buf_put(out, node->text.s, node->text.len);
		return true;
	}
	return node && node->type == TREE_NUMBER && number_float(node->text, bits, out);
}

static bool put_floats(
	const struct tree *tree, const struct tree_node *node, const char *members, struct buf *out)
{
	for (const char *m = members; *m; m++) {
		const char name[] = { *m, '\0' };

		if (m > members)
			buf_putc(out, ',');
		if (!put_float(tree_member(tree, node, name), 64, out))
			return false;
	}
	return true;
}

static bool put_circle(const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	buf_puts(out, "<(");
	if (!put_floats(tree, tree_member(tree, node, "center"), "xy", out))
		return false;
	buf_puts(out, "),");
	if (!put_float(tree_member(tree, node, "radius"), 64, out))
		return false;
	buf_putc(out, '>');
	return true;
}

/* {"dimensions":n,"vector":[[k,v],…]}; keys of a JSON object come as strings */
static bool put_sparse(const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	const struct tree_node *vector = tree_member(tree, node, "vector");
	bool first = true;
	int64_t n, k;

	if (!tree_i64(tree, node, "dimensions", &n) || !vector || vector->type < TREE_MAP)
		return false;
	buf_putc(out, '{');
	TREE_EACH(tree, vector, pair)
	{
		const struct tree_node *value = pair;
		struct read_text key = pair->key;

		if (vector->type == TREE_ARRAY) {
			if (pair->type != TREE_ARRAY || pair->end != (uint32_t)(pair - tree->nodes) + 3)
				return false;
			key = pair[1].text;
			value = pair + 2;
		}
		if (!read_i64(key, &k))
			return false;
		buf_printf(out, "%s%lld:", first ? "" : ",", (long long)k);
		if (!put_float(value, 32, out))
			return false;
		first = false;
	}
	buf_printf(out, "}/%lld", (long long)n);
	return true;
}

static bool put_vector(const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	bool first = true;

	buf_putc(out, '[');
	TREE_EACH(tree, node, element)
	{
		if (!first)
			buf_putc(out, ',');
		first = false;
		if (!put_float(element, 32, out))
			return false;
	}
	buf_putc(out, ']');
	return true;
}

static void put_quoted(struct read_text text, struct buf *out)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		if (text.s[i] == '"' || text.s[i] == '\\')
			buf_putc(out, '\\');
		buf_putc(out, text.s[i]);
	}
	buf_putc(out, '"');
}

/* PostgreSQL's order: shorter keys first */
static int compare_pairs(const void *a, const void *b)
{
	const struct tree_node *x = *(const struct tree_node *const *)a,
			       *y = *(const struct tree_node *const *)b;

	if (x->key.len != y->key.len)
		return x->key.len < y->key.len ? -1 : 1;
	return memcmp(x->key.s, y->key.s, x->key.len);
}

bool shape_hstore(const struct tree *tree, const struct tree_node *node, struct buf *out)
{
	const struct tree_node **pairs;
	size_t n = 0;

	if (node->type != TREE_MAP)
		return false;
	pairs = calloc(tree->n, sizeof(*pairs));
	if (!pairs)
		abort();
	TREE_EACH(tree, node, pair)
	{
		if (pair->type != TREE_STRING && pair->type != TREE_NULL) {
			free(pairs);
			return false;
		}
		pairs[n++] = pair;
	}
	qsort(pairs, n, sizeof(*pairs), compare_pairs);
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_puts(out, ", ");
		put_quoted(pairs[i]->key, out);
		buf_puts(out, "=>");
		if (pairs[i]->type == TREE_NULL)
			buf_puts(out, "NULL");
		else
			put_quoted(pairs[i]->text, out);
	}
	free(pairs);
	return true;
}

bool shape_text(
	struct value_context *ctx, const struct form *form, const struct tree_node *node, struct buf *out)
{
	const struct tree *tree = ctx->tree;
	bool ok;

	if (node->type == TREE_ARRAY)
		return put_vector(tree, node, out);
	if (form->type.kind == JSON_CIRCLE)
		return put_circle(tree, node, out);
	if (form->type.kind == JSON_POINT || form->type.kind == JSON_LINE) {
		bool line = form->type.kind == JSON_LINE;

		buf_putc(out, line ? '{' : '(');
		ok = put_floats(tree, node, line ? "abc" : "xy", out);
		buf_putc(out, line ? '}' : ')');
		return ok;
	}
	if (form->type.kind != JSON_GEOMETRY && form->type.kind != JSON_STRING)
		return false;
	if (form->class != DEBEZIUM_TYPE_HSTORE && tree_member(tree, node, "wkb"))
		return put_geometry(form, tree, node, out);
	if (form->class != DEBEZIUM_TYPE_HSTORE && tree_member(tree, node, "dimensions"))
		return put_sparse(tree, node, out);
	/* no other map has a text */
	return form->type.kind == JSON_STRING && shape_hstore(tree, node, out);
}
