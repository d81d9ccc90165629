/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A growing byte buffer for building SQL text, COPY data, array parameters and JSON. Always NUL-terminated
 * after buf_str(). Heap memory; out of memory aborts; data-sized content is bounded by its builder before.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
	uint8_t *data;
	size_t len, cap;
};

#define BUF_INIT ((struct buf){ 0 })

void buf_fini(struct buf *buf);
/** buf_grow() - makes room for `more` bytes behind len; returns the place where they go. */
uint8_t *buf_grow(struct buf *buf, size_t more);
/** buf_shrink() - empties the buffer, and frees its memory when it holds more than keep_bytes. */
void buf_shrink(struct buf *buf, size_t keep_bytes);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** buf_str() - the content as a C string (adds the NUL outside len); valid until the next change. */
const char *buf_str(struct buf *buf);
/** buf_json_string() - appends a JSON string literal with its quotes; invalid UTF-8 becomes U+FFFD
 * (for names and messages only, never for row values). */
void buf_json_string(struct buf *buf, const char *s, size_t len);

static inline void buf_clear(struct buf *buf)
{
	buf->len = 0;
}

static inline void buf_put(struct buf *buf, const void *data, size_t len)
{
	if (buf->cap - buf->len < len)
		buf_grow(buf, len);
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

static inline void buf_puts(struct buf *buf, const char *s)
{
	buf_put(buf, s, strlen(s));
}

static inline void buf_putc(struct buf *buf, char c)
{
	if (buf->cap == buf->len)
		buf_grow(buf, 1);
	buf->data[buf->len++] = (uint8_t)c;
}

static inline void buf_put_u32be(struct buf *buf, uint32_t v)
{
	v = __builtin_bswap32(v);
	buf_put(buf, &v, 4);
}

static inline void buf_put_u64be(struct buf *buf, uint64_t v)
{
	v = __builtin_bswap64(v);
	buf_put(buf, &v, 8);
}

static inline void buf_freep(struct buf *buf)
{
	buf_fini(buf);
}
