/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Columns that come at the source while the stream runs: what the target remembers of the source's columns, whether a
 * column can be made without guessing, and the statements. All of it pure but for what is in ddl_run.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/error.h>
#include <sluice/sink.h>

#include "group.h"
#include "target.h"

struct apply;

struct ddl_column {
	int16_t number; /* at the source */
	int16_t at;	/* pg_attribute.attnum at the target */
	char *name;
};

/* the source's table as the target knew it last: key "relation/<schema>.<name>" of sluice.migration */
struct ddl_known {
	uint32_t id;	 /* the source's oid of the table */
	uint32_t file;	 /* struct relation's; 0 = unknown */
	int16_t highest; /* number of a column ever seen */
	struct ddl_column *columns;
	uint32_t n_columns;
};

/** ddl_known_parse() - NULL when the text is none. ddl_known_free() - NULL is allowed; returns NULL. */
struct ddl_known *ddl_known_parse(const void *text, size_t len);
struct ddl_known *ddl_known_free(struct ddl_known *known);
/** ddl_known_put() - what is to be remembered once the target's table takes the relation. @old: NULL = nothing was. */
void ddl_known_put(struct buf *out, const struct ddl_known *old, const struct target *target);

/** ddl_mistaken() - a column of the target that holds another column's values than the relation means: false = none; else
 * fills err (SCHEMA "PG-COLUMN-ANEW", "PG-COLUMN-RENAMED"). */
bool ddl_mistaken(const struct ddl_known *known, const struct target *target, struct error *err);

/**
 * ddl_refuses() - why a column of target->rel that the table lacks cannot be made as it is at the source.
 * @known: of the same table, or NULL. @empty: the target's table has no rows.
 * @ret_renamed: the name that the column had, or NULL.
 * Return: NULL = it can be made; else the reason.
 */
const char *ddl_refuses(const struct ddl_known *known, const struct target *target, uint32_t column,
	bool empty, const char **ret_renamed);

/** ddl_default_is_plain() - an expression that is a constant, or one of a few functions that every server has: safe to be
 * written into a statement, and the same at the target. */
bool ddl_default_is_plain(const char *expression);

/* a column that is made: type as the target's server writes it */
struct ddl_add {
	const char *table, *type; /* quoted */
	const struct column *column;
	bool empty; /* the target's table has no rows */
};
/** ddl_put_add() - the ALTER TABLE. ddl_put_default() - the one that gives it the source's default of now (or none): false
 * = nothing to do. */
void ddl_put_add(struct buf *sql, const struct ddl_add *add);
bool ddl_put_default(struct buf *sql, const struct ddl_add *add);

/* ddl_run.c; the session is in ordinary mode */
/** ddl_note() - looks whether the relation means the columns that the target has, and remembers it; else the target is
 * broken. Return: 0, negative. */
int ddl_note(struct apply *apply, struct target *target, struct error *err);
/** ddl_find() - the first row whose target lacks columns that may be made; false = none. @cut: rows that are not applied. */
bool ddl_find(
	struct apply *apply, const struct apply_group *group, const struct group_cut *cut, uint32_t *ret);
/** ddl_run() - makes them, in the open transaction, and loads the target anew. Blocks: a second for the table's lock.
 * Return: 0; negative: SCHEMA with the exact ALTER TABLE, TRANSIENT (lock), CONFIG 77 (not the table's owner). */
int ddl_run(struct apply *apply, struct target *target, struct error *err);
