/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Growing byte buffers; see buf.h. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <sluice/buf.h>

void buf_fini(struct buf *buf)
{
	free(buf->data);
	*buf = BUF_INIT;
}

uint8_t *buf_grow(struct buf *buf, size_t more)
{
	if (buf->cap - buf->len < more) {
		size_t cap = buf->cap ? buf->cap * 2 : 256;

		while (cap - buf->len < more)
			cap *= 2;
		buf->data = realloc(buf->data, cap);
		if (!buf->data)
			abort();
		buf->cap = cap;
	}
	return buf->data + buf->len;
}

void buf_shrink(struct buf *buf, size_t keep_bytes)
{
	buf->len = 0;
	if (buf->cap > keep_bytes)
		buf_fini(buf);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	buf_grow(buf, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)n;
}

const char *buf_str(struct buf *buf)
{
	*buf_grow(buf, 1) = '\0';
	return (const char *)buf->data;
}

/* length of the valid UTF-8 sequence at s, 0 = invalid */
static size_t utf8_length(const uint8_t *s, size_t left)
{
	static const uint32_t lowest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xF0 && s[0] < 0xF8 ? 4
		   : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
		   : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
						 : 0;
	uint32_t c;

	if (n <= 1 || n > left)
		return n == 1 ? 1 : 0;
	c = s[0] & (0x7Fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3Fu);
	}
	return c < lowest[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? 0 : n;
}

void buf_json_string(struct buf *buf, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;

	buf_putc(buf, '"');
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(p + i, len - i);

		if (!n) {
			buf_puts(buf, "\\ufffd");
			i++;
			continue;
		}
		if (p[i] == '"' || p[i] == '\\') {
			buf_putc(buf, '\\');
			buf_putc(buf, (char)p[i]);
		} else if (p[i] < 0x20) {
			buf_printf(buf, "\\u%04x", p[i]);
		} else {
			buf_put(buf, p + i, n);
		}
		i += n;
	}
	buf_putc(buf, '"');
}
