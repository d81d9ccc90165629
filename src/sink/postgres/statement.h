/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The text of the statements that write rows. Pure: names in, SQL out. Every parameter is an array, one
 * element per row, also for one row; so one prepared statement serves every number of rows.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>

enum statement_kind {
	STATEMENT_INSERT,
	STATEMENT_INSERT_OVERWRITE, /* one row; a row with that key is overwritten; result: rows, rows met */
	STATEMENT_INSERT_KEEP,	    /* one row; a row with that key stays; result: rows, rows met */
	STATEMENT_UPDATE,
	STATEMENT_UPDATE_KEY, /* the key's columns are written too */
	STATEMENT_DELETE,
	STATEMENT_REPLACE, /* one row; delete and insert where an identity column changes; result: rows */
	STATEMENT_UPDATE_WHOLE, /* one row, found by comparing all of it */
	STATEMENT_DELETE_WHOLE,
};

/* one array parameter: $1 is params[0] */
struct statement_param {
	const char *column; /* of the target, unquoted */
	const char *type;   /* type name for a cast, quoted where needed, without modifier */
	const char *equal;  /* key and guard: "OPERATOR(pg_catalog.=)" */
	bool text;	    /* the parameter is text[]; its elements are cast */
	bool key;	    /* part of the condition that finds the row (WHOLE: of the row to find) */
	bool guard; /* REPLACE: an identity column beside the key: as it was, the row is updated without it */
	bool set;   /* is written */
};

struct statement_spec {
	enum statement_kind kind;
	const char *table; /* quoted, with schema */
	const char *rows;  /* the same for UPDATE, DELETE, SELECT: see target.h */
	const struct statement_param *params;
	uint32_t n_params;
	/* INSERT_OVERWRITE, INSERT_KEEP: the unique key's columns */
	const char *const *conflict_columns;
	uint32_t n_conflict_columns;
	/* REPLACE: columns that are taken over from the old row, besides the set and guard ones */
	const char *const *kept_columns;
	uint32_t n_kept_columns;
};

/** statement_put_unnest() - appends the parameters, $1 to $n, as a table `n` of columns p1 to pn. Pure. */
void statement_put_unnest(struct buf *sql, uint32_t n_params);
/** statement_put() - appends the statement. Thread: any. Blocks: never. */
void statement_put(struct buf *sql, const struct statement_spec *spec);
