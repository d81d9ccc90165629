/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * MurmurHash2; see murmur2.h. Words are little-endian whatever the machine, so every client computes the same.
 */

#include <sluice/murmur2.h>

#define SEED	 0x9747b28cu
#define MULTIPLY 0x5bd1e995u
#define ROTATE	 24

static uint32_t word_at(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t murmur2(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t hash = SEED ^ (uint32_t)len;

	for (; len >= 4; len -= 4, p += 4) {
		uint32_t word = word_at(p) * MULTIPLY;

		word = (word ^ word >> ROTATE) * MULTIPLY;
		hash = hash * MULTIPLY ^ word;
	}
	for (size_t i = len; i > 0; i--)
		hash ^= (uint32_t)p[i - 1] << (8 * (i - 1));
	if (len)
		hash *= MULTIPLY;
	hash = (hash ^ hash >> 13) * MULTIPLY;
	return hash ^ hash >> 15;
}

uint32_t murmur2_partition(const void *key, size_t len, uint32_t n)
{
	return (murmur2(key, len) & 0x7fffffffu) % n;
}
