/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Iterators over what pgoutput_decode() has checked to the last byte. They therefore check nothing but the
 * count, and must never be given a tuple or relation that does not come from a successful decode. Inline,
 * since a caller runs one of them per column of every row.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <pgoutput/message.h>

struct pgoutput_cursor {
	const uint8_t *at;
	uint32_t left; /* items not yet read */
};

static inline uint32_t pgoutput_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline struct pgoutput_cursor pgoutput_tuple_begin(const struct pgoutput_tuple *tuple)
{
	return (struct pgoutput_cursor){ .at = tuple->data, .left = tuple->n_columns };
}

/**
 * pgoutput_tuple_next() - the next column, in the order of the relation's attributes.
 * Return: false after the last one, *ret_column unchanged.
 */
static inline bool pgoutput_tuple_next(struct pgoutput_cursor *cur, struct pgoutput_column *ret_column)
{
	if (cur->left == 0)
		return false;
	cur->left--;
	uint8_t kind = *cur->at++;
	ret_column->kind = kind;
	if (kind == PGOUTPUT_COLUMN_NULL || kind == PGOUTPUT_COLUMN_UNCHANGED) {
		ret_column->data = NULL;
		ret_column->len = 0;
		return true;
	}
	ret_column->len = pgoutput_u32(cur->at);
	ret_column->data = cur->at + 4;
	cur->at = ret_column->data + ret_column->len;
	return true;
}

static inline struct pgoutput_cursor pgoutput_relation_begin(const struct pgoutput_relation *relation)
{
	return (struct pgoutput_cursor){ .at = relation->data, .left = relation->n_columns };
}

/**
 * pgoutput_relation_next() - the next attribute.
 * Return: false after the last one, *ret_attribute unchanged.
 */
static inline bool pgoutput_relation_next(
	struct pgoutput_cursor *cur, struct pgoutput_attribute *ret_attribute)
{
	if (cur->left == 0)
		return false;
	cur->left--;
	ret_attribute->key = *cur->at++ & 1;
	ret_attribute->name.data = (const char *)cur->at;
	ret_attribute->name.len = (uint32_t)strlen(ret_attribute->name.data);
	cur->at += ret_attribute->name.len + 1;
	ret_attribute->type_oid = pgoutput_u32(cur->at);
	ret_attribute->type_modifier = (int32_t)pgoutput_u32(cur->at + 4);
	cur->at += 8;
	return true;
}

/** pgoutput_truncate_relation() - the id of relation i, which must be below n_relations. */
static inline uint32_t pgoutput_truncate_relation(const struct pgoutput_truncate *truncate, uint32_t i)
{
	return pgoutput_u32(truncate->data + (size_t)i * 4);
}
