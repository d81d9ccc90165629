/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * COPY FROM STDIN data.
 *
 *   text     values separated by a tab, a line per row; NULL is \N; backslash, tab, newline and carriage return are
 *            escaped, so no value can be taken for the end mark \. or for another row
 *   binary   "PGCOPY\n\377\r\n\0" · int32 flags · int32 extension · per row int16 fields, per field int32 bytes (-1 =
 *            NULL) and the bytes · int16 -1
 */

#include "copy.h"

static const char escapes[256] = { ['\\'] = '\\', ['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r' };

static uint8_t *put_escaped(uint8_t *to, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		uint8_t c = data[i];

		if (__builtin_expect(escapes[c], 0)) {
			*to++ = '\\';
			c = (uint8_t)escapes[c];
		}
		*to++ = c;
	}
	return to;
}

bool copy_put_text(struct buf *out, const struct value *row, const uint32_t *columns, uint32_t n)
{
	size_t need = 1;
	uint8_t *to;

	for (uint32_t i = 0; i < n; i++) {
		const struct value *v = &row[columns[i]];

		if (v->state == VALUE_PRESENT && v->format != VALUE_TEXT)
			return false;
		need += v->state == VALUE_PRESENT ? 2 * (size_t)v->len + 1 : 3;
	}
	if (out->cap - out->len < need)
		buf_grow(out, need);
	to = out->data + out->len;
	for (uint32_t i = 0; i < n; i++) {
		const struct value *v = &row[columns[i]];

		if (i)
			*to++ = '\t';
		if (v->state == VALUE_PRESENT) {
			to = put_escaped(to, v->data, v->len);
		} else {
			*to++ = '\\';
			*to++ = 'N';
		}
	}
	*to++ = '\n';
	out->len = (size_t)(to - out->data);
	return true;
}

static void put_u16be(struct buf *out, uint16_t v)
{
	buf_putc(out, (char)(v >> 8));
	buf_putc(out, (char)(v & 255));
}

void copy_put_binary_header(struct buf *out)
{
	buf_put(out, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
}

bool copy_put_binary(struct buf *out, const struct value *row, const uint32_t *columns, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (row[columns[i]].state == VALUE_PRESENT && row[columns[i]].format != VALUE_BINARY)
			return false;
	put_u16be(out, (uint16_t)n);
	for (uint32_t i = 0; i < n; i++) {
		const struct value *v = &row[columns[i]];

		if (v->state == VALUE_PRESENT) {
			buf_put_u32be(out, v->len);
			buf_put(out, v->data, v->len);
		} else {
			buf_put_u32be(out, UINT32_MAX);
		}
	}
	return true;
}

void copy_put_binary_trailer(struct buf *out)
{
	put_u16be(out, UINT16_MAX);
}
