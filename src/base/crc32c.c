/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * CRC32C. The instruction of SSE4.2 takes eight bytes in three cycles; a program built for any x86-64 asks once it runs
 * whether it is there. Elsewhere eight tables take eight bytes at a time; they are made when first needed.
 */

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <sluice/crc32c.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reversed */

static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (unsigned bit = 0; bit < 8; bit++)
			v = v & 1 ? v >> 1 ^ POLYNOMIAL : v >> 1;
		tables[0][i] = v;
	}
	for (unsigned t = 1; t < 8; t++) {
		for (unsigned i = 0; i < 256; i++)
			tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xff];
	}
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a big-endian processor needs its own load"
#endif

static uint64_t load_le(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_once(&tables_once, make_tables);
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v = load_le(p) ^ crc;

		crc = 0;
		for (unsigned t = 0; t < 8; t++)
			crc ^= tables[7 - t][v >> 8 * t & 0xff];
	}
	for (; len; len--, p++)
		crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#ifdef __x86_64__

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(
	uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t v = ~crc;
	uint32_t rest;

	for (; len >= 8; len -= 8, p += 8)
		v = __builtin_ia32_crc32di(v, load_le(p));
	rest = (uint32_t)v;
	if (len & 4) {
		uint32_t four;

		memcpy(&four, p, 4);
		rest = __builtin_ia32_crc32si(rest, four);
		p += 4;
	}
	if (len & 2) {
		uint16_t two;

		memcpy(&two, p, 2);
		rest = __builtin_ia32_crc32hi(rest, two);
		p += 2;
	}
	if (len & 1)
		rest = __builtin_ia32_crc32qi(rest, *p);
	return ~rest;
}

#else

static bool has_instruction(void)
{
	return false;
}

static uint32_t crc32c_instruction(uint32_t crc, const void *data, size_t len)
{
	return crc32c_table(crc, data, len);
}

#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	return has_instruction() ? crc32c_instruction(crc, data, len) : crc32c_table(crc, data, len);
}
