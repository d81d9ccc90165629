/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * SHA-1. Every record of a log has a UUIDv5, and the one of libuuid costs a quarter of a microsecond for a single block,
 * as much as writing the record. Two ways to the same digest: the processor's own instructions where it has them, which
 * is asked for when the program runs, and plain C.
 */

#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#include <sluice/sha1.h>

#define BLOCK_BYTES 64u

static const uint32_t initial[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };

static uint32_t rotate(uint32_t v, unsigned bits)
{
	return v << bits | v >> (32 - bits);
}

static uint32_t load_be(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static void blocks_plain(uint32_t state[5], const uint8_t *data, size_t n_blocks)
{
	for (; n_blocks; n_blocks--, data += BLOCK_BYTES) {
		uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], w[16];

		for (unsigned i = 0; i < 80; i++) {
			uint32_t f, v;

			if (i < 16)
				v = load_be(data + 4 * (size_t)i);
			else
				v = rotate(
					w[(i + 13) % 16] ^ w[(i + 8) % 16] ^ w[(i + 2) % 16] ^ w[i % 16], 1);
			w[i % 16] = v;
			if (i < 20)
				f = ((b & c) | (~b & d)) + 0x5a827999;
			else if (i < 40)
				f = (b ^ c ^ d) + 0x6ed9eba1;
			else if (i < 60)
				f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
			else
				f = (b ^ c ^ d) + 0xca62c1d6;
			v += rotate(a, 5) + f + e;
			e = d;
			d = c;
			c = rotate(b, 30);
			b = a;
			a = v;
		}
		state[0] += a;
		state[1] += b;
		state[2] += c;
		state[3] += d;
		state[4] += e;
	}
}

#ifdef __x86_64__

static bool has_instructions(void)
{
	static _Atomic int known; /* 0 = not asked yet, 1 = no, 2 = yes */

	if (!known) {
		unsigned a = 0, b = 0, c = 0, d = 0;
		bool sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;

		known = sha && __builtin_cpu_supports("sse4.1") ? 2 : 1;
	}
	return known == 2;
}

/*
 * Four rounds at a time; round i mixes message words w[4i..4i+3], held in m[i % 4], and prepares those of four groups
 * later. The number of the round function has to be a constant, hence the macro.
 */
#define FOUR(i, function)                                                                                    \
	do {                                                                                                 \
		__m128i next = (i) ? _mm_sha1nexte_epu32(e, m[(i) % 4]) : _mm_add_epi32(e, m[0]);            \
                                                                                                             \
		e = abcd;                                                                                    \
		abcd = _mm_sha1rnds4_epu32(abcd, next, function);                                            \
		if ((i) >= 3 && (i) < 19)                                                                    \
			m[((i) + 1) % 4] = _mm_sha1msg2_epu32(m[((i) + 1) % 4], m[(i) % 4]);                 \
		if ((i) >= 1 && (i) < 17)                                                                    \
			m[((i) + 3) % 4] = _mm_sha1msg1_epu32(m[((i) + 3) % 4], m[(i) % 4]);                 \
		if ((i) >= 2 && (i) < 18)                                                                    \
			m[((i) + 2) % 4] = _mm_xor_si128(m[((i) + 2) % 4], m[(i) % 4]);                      \
	} while (0)

__attribute__((target("sha,sse4.1"))) static void blocks_instructions(
	uint32_t state[5], const uint8_t *data, size_t n_blocks)
{
	const __m128i big_endian = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	__m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0x1b);
	__m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);

	for (; n_blocks; n_blocks--, data += BLOCK_BYTES) {
		const __m128i old_abcd = abcd, old_e = e;
		__m128i m[4];

		for (unsigned i = 0; i < 4; i++)
			m[i] = _mm_shuffle_epi8(
				_mm_loadu_si128((const __m128i *)(const void *)(data + 16 * (size_t)i)),
				big_endian);
		FOUR(0, 0);
		FOUR(1, 0);
		FOUR(2, 0);
		FOUR(3, 0);
		FOUR(4, 0);
		FOUR(5, 1);
		FOUR(6, 1);
		FOUR(7, 1);
		FOUR(8, 1);
		FOUR(9, 1);
		FOUR(10, 2);
		FOUR(11, 2);
		FOUR(12, 2);
		FOUR(13, 2);
		FOUR(14, 2);
		FOUR(15, 3);
		FOUR(16, 3);
		FOUR(17, 3);
		FOUR(18, 3);
		FOUR(19, 3);
		e = _mm_sha1nexte_epu32(e, old_e);
		abcd = _mm_add_epi32(abcd, old_abcd);
	}
	_mm_storeu_si128((__m128i *)(void *)state, _mm_shuffle_epi32(abcd, 0x1b));
	state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

#else

static bool has_instructions(void)
{
	return false;
}

static void blocks_instructions(uint32_t state[5], const uint8_t *data, size_t n_blocks)
{
	blocks_plain(state, data, n_blocks);
}

#endif

static void digest(void (*blocks)(uint32_t state[5], const uint8_t *data, size_t n_blocks), const void *data,
	size_t len, uint8_t out[SHA1_BYTES])
{
	size_t whole = len / BLOCK_BYTES, rest = len % BLOCK_BYTES;
	uint8_t tail[2 * BLOCK_BYTES] = { 0 };
	size_t tail_blocks = rest < BLOCK_BYTES - 8 ? 1 : 2;
	uint64_t bits = __builtin_bswap64((uint64_t)len * 8);
	uint32_t state[5];

	memcpy(state, initial, sizeof(state));
	if (rest)
		memcpy(tail, (const uint8_t *)data + whole * BLOCK_BYTES, rest);
	tail[rest] = 0x80;
	memcpy(tail + tail_blocks * BLOCK_BYTES - 8, &bits, 8);
	blocks(state, data, whole);
	blocks(state, tail, tail_blocks);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t v = __builtin_bswap32(state[i]);

		memcpy(out + 4 * (size_t)i, &v, 4);
	}
}

void sha1(const void *data, size_t len, uint8_t out[SHA1_BYTES])
{
	digest(has_instructions() ? blocks_instructions : blocks_plain, data, len, out);
}

void sha1_plain(const void *data, size_t len, uint8_t out[SHA1_BYTES])
{
	digest(blocks_plain, data, len, out);
}
