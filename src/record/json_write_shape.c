/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Geometric types. The coordinates of a point, a line and a circle stand in the JSON as their text; the others are
 * well-known binary (little-endian), from which a text would have to be printed anew, so theirs is always in exact.
 * A box is a polygon of its corners, a segment and an open path are line strings, and `extensions` says what they were.
 */

#include <stdlib.h>

#include <sluice/cleanup.h>

#include "json_write.h"

#define NUMBER_BYTES 32 /* the longest double that PostgreSQL prints has 24 */

enum { OID_LSEG = 601, OID_PATH = 602, OID_BOX = 603, OID_POLYGON = 604 };
enum { WKB_POINT = 1, WKB_LINE_STRING = 2, WKB_POLYGON = 3 };

/* a float up to the next separator */
static bool take_number(struct json_at *cur, struct json_text *ret)
{
	const uint8_t *begin = cur->p;

	while (cur->p < cur->end && !memchr(",()<>{}[]", *cur->p, 9))
		cur->p++;
	*ret = (struct json_text){ begin, (size_t)(cur->p - begin) };
	return ret->len < NUMBER_BYTES && json_is_float(*ret);
}

static bool take_point(struct json_at *cur, struct json_text *x, struct json_text *y)
{
	return json_take(cur, '(') && take_number(cur, x) && json_take(cur, ',') && take_number(cur, y) &&
	       json_take(cur, ')');
}

/* the program never leaves the locale C, so strtod() takes a point */
static void put_double(struct json_text text, struct buf *out)
{
	char copy[NUMBER_BYTES];
	double v;

	memcpy(copy, text.s, text.len);
	copy[text.len] = '\0';
	v = strtod(copy, NULL);
	buf_put(out, &v, sizeof(v));
}

static void put_wkb_head(uint32_t type, struct buf *out)
{
	buf_putc(out, 1);
	buf_put(out, &type, sizeof(type));
}

static enum json_written worse(enum json_written a, enum json_written b)
{
	return a > b ? a : b;
}

static enum json_written put_point(
	struct json_text x, struct json_text y, struct buf *scratch, struct buf *out)
{
	enum json_written done;

	buf_puts(out, "{\"x\":");
	done = json_float(x, out);
	buf_puts(out, ",\"y\":");
	done = worse(done, json_float(y, out));
	buf_puts(out, ",\"wkb\":");
	buf_clear(scratch);
	put_wkb_head(WKB_POINT, scratch);
	put_double(x, scratch);
	put_double(y, scratch);
	json_base64(scratch->data, scratch->len, out);
	buf_puts(out, ",\"srid\":null}");
	return done;
}

static enum json_written put_circle(struct json_at cur, struct buf *scratch, struct buf *out)
{
	struct json_text x, y, radius;
	enum json_written done;

	if (!json_take(&cur, '<') || !take_point(&cur, &x, &y) || !json_take(&cur, ',') ||
		!take_number(&cur, &radius) || !json_take(&cur, '>') || cur.p != cur.end)
		return JSON_MALFORMED;
	buf_puts(out, "{\"center\":");
	done = put_point(x, y, scratch, out);
	buf_puts(out, ",\"radius\":");
	done = worse(done, json_float(radius, out));
	buf_putc(out, '}');
	return done;
}

static enum json_written put_line(struct json_at cur, struct buf *out)
{
	static const char *const names[] = { "{\"a\":", ",\"b\":", ",\"c\":" };
	enum json_written done = JSON_EXACT;

	for (int i = 0; i < 3; i++) {
		struct json_text v;

		if (!json_take(&cur, i ? ',' : '{') || !take_number(&cur, &v))
			return JSON_MALFORMED;
		buf_puts(out, names[i]);
		done = worse(done, json_float(v, out));
	}
	if (!json_take(&cur, '}') || cur.p != cur.end)
		return JSON_MALFORMED;
	buf_putc(out, '}');
	return done;
}

/* points and commas up to the end; returns their number, 0 = malformed */
static uint32_t take_points(struct json_at *cur, struct buf *ret)
{
	uint32_t n = 0;

	do {
		struct json_text x, y;

		if (!take_point(cur, &x, &y))
			return 0;
		put_double(x, ret);
		put_double(y, ret);
		n++;
	} while (json_take(cur, ','));
	return n;
}

/* the two corners of a box become the ring of its four; 16 bytes a point */
static void ring_of_box(struct buf *points)
{
	uint8_t high[16], low[16];

	memcpy(high, points->data, 16);
	memcpy(low, points->data + 16, 16);
	buf_clear(points);
	buf_put(points, low, 16);
	buf_put(points, low, 8);
	buf_put(points, high + 8, 8);
	buf_put(points, high, 16);
	buf_put(points, high, 8);
	buf_put(points, low + 8, 8);
}

static void put_geometry(uint32_t type, const char *extensions, struct buf *points, struct buf *out)
{
	uint32_t n = (uint32_t)(points->len / 16), rings = 1;
	_cleanup_(buf_freep) struct buf wkb = BUF_INIT;

	put_wkb_head(type, &wkb);
	if (type == WKB_POLYGON) {
		buf_put(&wkb, &rings, sizeof(rings));
		n++;
	}
	buf_put(&wkb, &n, sizeof(n));
	buf_put(&wkb, points->data, points->len);
	if (type == WKB_POLYGON)
		buf_put(&wkb, points->data, 16); /* a ring ends where it began */
	buf_puts(out, "{\"wkb\":");
	json_base64(wkb.data, wkb.len, out);
	buf_puts(out, ",\"srid\":null,\"extensions\":{\"type\":");
	buf_puts(out, extensions);
	buf_puts(out, "}}");
}

static enum json_written put_shape(struct json_at cur, uint32_t oid, struct buf *scratch, struct buf *out)
{
	bool open = cur.p < cur.end && *cur.p == '[', box = oid == OID_BOX;
	const char *extensions = oid == OID_LSEG      ? "\"lseg\""
				 : box		      ? "\"box\""
				 : oid == OID_POLYGON ? "\"polygon\""
				 : open		      ? "\"path\",\"closed\":\"false\""
						      : "\"path\",\"closed\":\"true\"";
	uint32_t n;

	if (open != (oid == OID_LSEG) && oid != OID_PATH)
		return JSON_MALFORMED;
	if (!box && !json_take(&cur, open ? '[' : '('))
		return JSON_MALFORMED;
	buf_clear(scratch);
	n = take_points(&cur, scratch);
	if (!n || (!box && !json_take(&cur, open ? ']' : ')')) || cur.p != cur.end)
		return JSON_MALFORMED;
	if ((box || oid == OID_LSEG) && n != 2)
		return JSON_MALFORMED;
	if (box)
		ring_of_box(scratch);
	put_geometry(
		oid == OID_LSEG || oid == OID_PATH ? WKB_LINE_STRING : WKB_POLYGON, extensions, scratch, out);
	return JSON_INEXACT;
}

enum json_written json_shape(
	const struct json_field *field, struct json_text text, struct buf *scratch, struct buf *out)
{
	struct json_at cur = { text.s, text.s + text.len };
	struct json_text x, y;

	if (field->type.kind == JSON_LINE)
		return put_line(cur, out);
	if (field->type.kind == JSON_CIRCLE)
		return put_circle(cur, scratch, out);
	if (field->type.kind == JSON_GEOMETRY)
		return put_shape(cur, field->type_oid, scratch, out);
	if (!take_point(&cur, &x, &y) || cur.p != cur.end)
		return JSON_MALFORMED;
	return put_point(x, y, scratch, out);
}
