/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Values to array parameters, column by column. Pure. Values keep the form in which they came: text goes
 * through the type's own input function (array literal) or, for types whose binary form is plain, is
 * written in binary after a strict check. Nothing passes through floating point.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/value.h>

enum params_encoding {
	PARAMS_LITERAL, /* text array literal: any type */
	PARAMS_BYTES,	/* binary: the text's bytes: text, varchar, bpchar, json, enum labels */
	PARAMS_INT2,
	PARAMS_INT4,
	PARAMS_INT8,
	PARAMS_BOOL,
	PARAMS_UUID,
	PARAMS_BYTEA, /* from hex */
	PARAMS_JSONB, /* version byte and text */
};

/* one column of many rows: rows[i][column] */
struct params_column {
	const struct value *const *rows;
	uint32_t n_rows, column;
};

/** params_encoding_of() - the best encoding for a built-in base type; PARAMS_LITERAL when there is none. */
enum params_encoding params_encoding_of(uint32_t base_type_oid);

/**
 * params_put_binary() - appends the array in PostgreSQL's binary form (one dimension, lower bound 1). @raw:
 * VALUE_BINARY values are taken over as they are (source and target type are the same built-in one).
 * Return: false when a value does not fit the encoding: nothing useful was appended, use
 * params_put_literal().
 */
bool params_put_binary(struct buf *out, enum params_encoding encoding, uint32_t element_oid, bool raw,
	const struct params_column *col);

/** params_put_literal() - appends the array literal and a NUL that is not counted. Return: false when a value is
 * not in text form. */
bool params_put_literal(struct buf *out, char delimiter, const struct params_column *col);
