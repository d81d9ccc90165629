/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * COPY's text format, as the server writes it, to records. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include <sluice/batch.h>
#include <sluice/error.h>

/* bytes behind a line that may be read (never used): memory has to be there */
#define COPY_TEXT_SLACK 8

/**
 * copy_text_row() - appends one row as a READ record.
 * @line: the row with its newline, in the batch's arena or as long-lived; escapes are undone in place, values point into
 *        it. COPY_TEXT_SLACK readable bytes have to follow.
 * Thread: the batch's owner. Blocks: never.
 * Return: 0; negative: DATA "COPY-TEXT" names table and column, never a value; the batch is as before.
 */
int copy_text_row(struct batch *batch, struct relation *rel, uint8_t *line, size_t len, struct error *err);
