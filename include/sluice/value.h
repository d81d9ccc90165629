/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A column's value has three states that are never merged: absent (the source did not send it: unchanged TOAST,
 * not published), null, present. Present bytes keep the form in which the source sent them, untouched: `data`
 * points into the batch's arena, so decoding copies nothing per column.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum value_state {
	VALUE_ABSENT = 0,
	VALUE_NULL,
	VALUE_PRESENT,
};

enum value_format {
	VALUE_TEXT = 0, /* the type's text output, UTF-8 */
	VALUE_BINARY,	/* the type's send function (PostgreSQL) */
	VALUE_BSON,	/* a BSON element's value (MongoDB); the relation's column says the BSON type */
};

struct value {
	const uint8_t *data; /* borrowed from the batch's arena; not NUL-terminated */
	uint32_t len;
	uint8_t state;	  /* enum value_state */
	uint8_t format;	  /* enum value_format */
	uint16_t subtype; /* VALUE_BSON: the BSON type byte; else 0 */
};

/** value_equal() - the same state and, when present, the same bytes in the same form. Pure. */
static inline bool value_equal(const struct value *a, const struct value *b)
{
	if (a->state != b->state)
		return false;
	return a->state != VALUE_PRESENT ||
	       (a->format == b->format && a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len)));
}

const char *value_state_to_string(enum value_state state);
