/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reading the binary form: bounds are proven here, once. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Sticky: after its first failure, which it keeps with its place, it stands at its end, and reads of it give 0.
 */
struct cursor {
	const uint8_t *base, *at, *end;
	const char *failed; /* what is wrong; NULL = nothing */
	const uint8_t *failed_at;
};

__attribute__((cold, noinline, unused)) static void cursor_fail(
	struct cursor *cur, const uint8_t *at, const char *what)
{
	if (!cur->failed) {
		cur->failed = what;
		cur->failed_at = at;
	}
	cur->at = cur->end;
}

static inline size_t cursor_left(const struct cursor *cur)
{
	return (size_t)(cur->end - cur->at);
}

static inline const uint8_t *cursor_bytes(struct cursor *cur, uint64_t len)
{
	const uint8_t *at = cur->at;

	if (len > cursor_left(cur)) {
		cursor_fail(cur, at, "a part is longer than what is left");
		return cur->end;
	}
	cur->at += len;
	return at;
}

static inline uint8_t cursor_u8(struct cursor *cur)
{
	if (cur->at == cur->end) {
		cursor_fail(cur, cur->at, "it ends too early");
		return 0;
	}
	return *cur->at++;
}

static inline uint64_t cursor_varint_slow(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = cursor_u8(cur);

		if (shift == 63 && byte > 1)
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return cur->failed ? 0 : v;
	}
	cursor_fail(cur, at, "a number has more than 64 bits");
	return 0;
}

static inline uint64_t cursor_varint(struct cursor *cur)
{
	if (cur->at != cur->end && *cur->at < 0x80)
		return *cur->at++;
	return cursor_varint_slow(cur);
}

static inline uint32_t cursor_varint32(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	uint64_t v = cursor_varint(cur);

	if (v > UINT32_MAX)
		cursor_fail(cur, at, "a number has more than 32 bits");
	return (uint32_t)v;
}
