/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A sticky reader of network-order bytes. After the first failure, which it keeps with its place, it stands
 * at the end: every further read returns 0 and changes nothing. So a parser reads all fields of a message in
 * a row, tests cur->error once, and only then uses them.
 */

#include <pgoutput.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *base, *at, *end;
	enum pgoutput_error error;
	size_t error_offset;
};

/* cold: keeps the failure paths out of the way of the rows */
__attribute__((cold, noinline)) static void cursor_fail(
	struct cursor *cur, enum pgoutput_error error, const uint8_t *at)
{
	if (cur->error == PGOUTPUT_OK) {
		cur->error = error;
		cur->error_offset = (size_t)(at - cur->base);
	}
	cur->at = cur->end;
}

static inline size_t cursor_left(const struct cursor *cur)
{
	return (size_t)(cur->end - cur->at);
}

static inline const uint8_t *cursor_bytes(struct cursor *cur, size_t n)
{
	const uint8_t *at = cur->at;
	if (cursor_left(cur) < n) {
		cursor_fail(cur, PGOUTPUT_ERROR_TRUNCATED, at);
		return NULL;
	}
	cur->at += n;
	return at;
}

static inline uint8_t cursor_u8(struct cursor *cur)
{
	const uint8_t *p = cursor_bytes(cur, 1);
	return p ? *p : 0;
}

static inline uint16_t cursor_u16(struct cursor *cur)
{
	const uint8_t *p = cursor_bytes(cur, 2);
	return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t cursor_u32(struct cursor *cur)
{
	const uint8_t *p = cursor_bytes(cur, 4);
	return p ? pgoutput_u32(p) : 0;
}

static inline uint64_t cursor_u64(struct cursor *cur)
{
	const uint8_t *p = cursor_bytes(cur, 8);
	return p ? (uint64_t)pgoutput_u32(p) << 32 | pgoutput_u32(p + 4) : 0;
}

static inline int64_t cursor_i64(struct cursor *cur)
{
	return (int64_t)cursor_u64(cur);
}

/* a transaction id or LSN that the server never sends as 0 */
static inline uint32_t cursor_xid(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	uint32_t xid = cursor_u32(cur);
	if (xid == 0)
		cursor_fail(cur, PGOUTPUT_ERROR_ZERO, at);
	return xid;
}

static inline uint64_t cursor_lsn(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	uint64_t lsn = cursor_u64(cur);
	if (lsn == 0)
		cursor_fail(cur, PGOUTPUT_ERROR_ZERO, at);
	return lsn;
}

/* a flags byte of which only the bits in mask have a meaning: others would be something unknown to us */
static inline uint8_t cursor_flags(struct cursor *cur, uint8_t mask)
{
	const uint8_t *at = cur->at;
	uint8_t flags = cursor_u8(cur);
	if (flags & ~mask)
		cursor_fail(cur, PGOUTPUT_ERROR_FLAGS, at);
	return flags;
}

static inline struct pgoutput_string cursor_string(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	size_t left = cursor_left(cur);
	const uint8_t *nul = left == 0 ? NULL : memchr(at, 0, left);
	if (!nul) {
		cursor_fail(cur, PGOUTPUT_ERROR_UNTERMINATED, at);
		return (struct pgoutput_string){ .data = "" };
	}
	cur->at = nul + 1;
	return (struct pgoutput_string){ .data = (const char *)at, .len = (uint32_t)(nul - at) };
}
