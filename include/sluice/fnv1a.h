/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* FNV-1a with 64 bits: for names and tables of ours, never against somebody's intent. Thread: any. Blocks: never. */

#include <stddef.h>
#include <stdint.h>

#define FNV1A_BASIS UINT64_C(0xCBF29CE484222325)

/** fnv1a() - the hash of what `hash` is of (FNV1A_BASIS: of nothing yet) followed by data. */
static inline uint64_t fnv1a(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001B3);
	return hash;
}
