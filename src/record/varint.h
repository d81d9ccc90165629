/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The numbers of the binary form; see binary_format.h. */

#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES 10u

static inline size_t varint_len(uint64_t v)
{
	return v < 0x80 ? 1 : (size_t)(70 - __builtin_clzll(v)) / 7;
}

/* at: room for VARINT_BYTES. Return: behind it */
static inline uint8_t *put_varint(uint8_t *at, uint64_t v)
{
	while (v >= 0x80) {
		*at++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*at++ = (uint8_t)v;
	return at;
}
