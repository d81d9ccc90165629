/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rows as COPY data. Pure. Text form for values in text, binary form when every value is in binary.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/value.h>

/** copy_put_text() - appends one line of n values taken from row[columns[i]]. Return: false when a value is not
 * in text form (nothing was appended). Thread: any. Blocks: never. */
bool copy_put_text(struct buf *out, const struct value *row, const uint32_t *columns, uint32_t n);

/** copy_put_binary_header(), copy_put_binary(), copy_put_binary_trailer() - the same in binary. */
void copy_put_binary_header(struct buf *out);
bool copy_put_binary(struct buf *out, const struct value *row, const uint32_t *columns, uint32_t n);
void copy_put_binary_trailer(struct buf *out);
