/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Notes as text, for people too: Kafka's own tools show them.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "note.h"

#define MARK "sluice1"
/* of a number from outside, so that differences of two never overflow */
#define NUMBER_MAX (INT64_C(1) << 61)

bool note_write(const struct note *note, char *text, size_t size)
{
	int n = snprintf(text, size,
		MARK " at=%" PRId64 " head=%" PRIu64 " passed=%" PRIu64 " durable=%" PRIu64 " lag=%" PRId64
		     " prepared=%" PRId64 " tables=%" PRId64 " phase=%s",
		note->at.us, note->head, note->passed, note->durable, note->lag_us, note->prepared,
		note->new_tables, phase_to_string(note->phase));

	return n > 0 && (size_t)n < size;
}

static bool read_i64(const char *value, size_t len, int64_t *ret)
{
	char digits[24], *end;
	int64_t n;

	if (!len || len >= sizeof(digits))
		return false;
	memcpy(digits, value, len);
	digits[len] = 0;
	n = strtoll(digits, &end, 10);
	if (*end || n < -NUMBER_MAX || n > NUMBER_MAX)
		return false;
	*ret = n;
	return true;
}

/* LSNs use all 64 bits */
static bool read_u64(const char *value, size_t len, uint64_t *ret)
{
	char digits[24], *end;

	if (!len || len >= sizeof(digits) || *value < '0' || *value > '9')
		return false;
	memcpy(digits, value, len);
	digits[len] = 0;
	*ret = strtoull(digits, &end, 10);
	return !*end;
}

static bool read_phase(const char *value, size_t len, enum phase *ret)
{
	char name[24];

	snprintf(name, sizeof(name), "%.*s", (int)(len < 23 ? len : 23), value);
	/* a phase that a newer version has is none of ours */
	if (phase_from_string(name, ret) < 0)
		*ret = PHASE_PREPARE;
	return true;
}

static bool is_key(const char *at, size_t len, const char *key)
{
	return strlen(key) == len && memcmp(at, key, len) == 0;
}

static bool read_member(const char *key, size_t key_len, const char *value, size_t len, struct note *ret)
{
	if (is_key(key, key_len, "at"))
		return read_i64(value, len, &ret->at.us);
	if (is_key(key, key_len, "head"))
		return read_u64(value, len, &ret->head);
	if (is_key(key, key_len, "passed"))
		return read_u64(value, len, &ret->passed);
	if (is_key(key, key_len, "durable"))
		return read_u64(value, len, &ret->durable);
	if (is_key(key, key_len, "lag"))
		return read_i64(value, len, &ret->lag_us);
	if (is_key(key, key_len, "prepared"))
		return read_i64(value, len, &ret->prepared);
	if (is_key(key, key_len, "tables"))
		return read_i64(value, len, &ret->new_tables);
	if (is_key(key, key_len, "phase"))
		return read_phase(value, len, &ret->phase);
	return true;
}

bool note_read(const char *text, struct note *ret)
{
	*ret = (struct note){ .lag_us = -1, .prepared = -1, .new_tables = -1, .phase = PHASE_PREPARE };
	if (strncmp(text, MARK " ", sizeof(MARK)) != 0)
		return false;
	for (const char *at = text + sizeof(MARK); *at;) {
		size_t len = strcspn(at, " ");
		const char *equals = memchr(at, '=', len);

		if (equals && !read_member(at, (size_t)(equals - at), equals + 1,
				      (size_t)(at + len - equals - 1), ret))
			return false;
		at += len + (at[len] == ' ');
	}
	return ret->at.us > 0;
}
