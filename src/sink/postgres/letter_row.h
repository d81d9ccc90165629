/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A row of sluice.dead_letters as the rest of the program knows it.
 */

#include <libpq-fe.h>
#include <stdbool.h>

#include <sluice/dead_letter.h>

/* what letter_of() reads, in its order; the record may follow */
#define LETTER_FIELDS                                                                                          \
	"id, pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"                  \
	" coalesce(pg_catalog.encode(position, 'hex'), ''), table_name, op, error_class, error_code, message," \
	" state, coalesce(reason, ''), attempts"

/** letter_of() - a view of row `row`; its strings live as long as res. @record: whether the record was selected, too. */
struct dead_letter letter_of(const PGresult *res, int row, bool record);
