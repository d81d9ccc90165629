/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * SQL for rows that come as arrays. The shapes:
 *
 *   INSERT INTO t (a, b) OVERRIDING SYSTEM VALUE SELECT n.p1, n.p2 FROM unnest($1, $2) AS n(p1, p2)
 *   UPDATE t SET b = n.p2 FROM unnest($1, $2) AS n(p1, p2) WHERE t.a OPERATOR(…) n.p1
 *   DELETE FROM t USING unnest($1) AS n(p1) WHERE t.a OPERATOR(…) n.p1
 *
 * Why unnest without schema: only the bare name takes several arrays; pg_catalog is always searched first.
 * Why no type modifiers: an explicit cast to varchar(3) cuts in silence, the assignment to the column
 * raises 22001. Why operators carry their schema: with an empty search_path citext would be compared by
 * text's operator. Whole rows are compared as images (*=), byte by byte: NULL equals NULL, and json, point
 * and NaN have a way to be equal.
 */

#include <sluice/postgres.h>

#include "statement.h"

static void put_param_value(struct buf *sql, const struct statement_spec *spec, uint32_t i)
{
	buf_printf(sql, "n.p%u", i + 1);
	if (spec->params[i].text)
		buf_printf(sql, "::%s", spec->params[i].type);
}

/* the only element of the i-th array */
static void put_scalar(struct buf *sql, const struct statement_spec *spec, uint32_t i)
{
	buf_printf(sql, "($%u)[1]", i + 1);
	if (spec->params[i].text)
		buf_printf(sql, "::%s", spec->params[i].type);
}

void statement_put_unnest(struct buf *sql, uint32_t n_params)
{
	buf_puts(sql, "unnest(");
	for (uint32_t i = 0; i < n_params; i++)
		buf_printf(sql, "%s$%u", i ? ", " : "", i + 1);
	buf_puts(sql, ") AS n(");
	for (uint32_t i = 0; i < n_params; i++)
		buf_printf(sql, "%sp%u", i ? ", " : "", i + 1);
	buf_putc(sql, ')');
}

static void put_condition(struct buf *sql, const struct statement_spec *spec)
{
	bool first = true;

	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].key)
			continue;
		buf_puts(sql, first ? "t." : " AND t.");
		pg_put_ident(sql, spec->params[i].column);
		buf_printf(sql, " %s ", spec->params[i].equal);
		put_param_value(sql, spec, i);
		first = false;
	}
}

/* all guarded columns keep their value */
static bool put_guard(struct buf *sql, const struct statement_spec *spec)
{
	bool any = false;

	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].guard)
			continue;
		buf_puts(sql, any ? " AND t." : "t.");
		pg_put_ident(sql, spec->params[i].column);
		buf_printf(sql, " %s ", spec->params[i].equal);
		put_param_value(sql, spec, i);
		any = true;
	}
	return any;
}

static bool has_guard(const struct statement_spec *spec)
{
	for (uint32_t i = 0; i < spec->n_params; i++)
		if (spec->params[i].guard)
			return true;
	return false;
}

/* names of what an INSERT writes, in the order of the parameters */
static void put_insert_columns(struct buf *sql, const struct statement_spec *spec)
{
	bool first = true;

	buf_puts(sql, " (");
	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].set && !spec->params[i].guard)
			continue;
		if (!first)
			buf_puts(sql, ", ");
		pg_put_ident(sql, spec->params[i].column);
		first = false;
	}
	for (uint32_t i = 0; i < spec->n_kept_columns; i++) {
		if (!first)
			buf_puts(sql, ", ");
		pg_put_ident(sql, spec->kept_columns[i]);
		first = false;
	}
	buf_puts(sql, ") OVERRIDING SYSTEM VALUE SELECT ");
}

static void put_insert_values(struct buf *sql, const struct statement_spec *spec)
{
	bool first = true;

	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].set && !spec->params[i].guard)
			continue;
		if (!first)
			buf_puts(sql, ", ");
		put_param_value(sql, spec, i);
		first = false;
	}
	for (uint32_t i = 0; i < spec->n_kept_columns; i++) {
		buf_puts(sql, first ? "d." : ", d.");
		pg_put_ident(sql, spec->kept_columns[i]);
		first = false;
	}
}

static void put_assignments(struct buf *sql, const struct statement_spec *spec, bool whole)
{
	bool first = true;

	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].set)
			continue;
		if (!first)
			buf_puts(sql, ", ");
		pg_put_ident(sql, spec->params[i].column);
		buf_puts(sql, " = ");
		if (whole)
			put_scalar(sql, spec, i);
		else
			put_param_value(sql, spec, i);
		first = false;
	}
}

static void put_insert(struct buf *sql, const struct statement_spec *spec)
{
	buf_printf(sql, "INSERT INTO %s", spec->table);
	put_insert_columns(sql, spec);
	put_insert_values(sql, spec);
	buf_puts(sql, " FROM ");
	statement_put_unnest(sql, spec->n_params);
}

/* `met` is read under the statement's snapshot, before the insert: it tells an overwritten row from a new one */
static void put_insert_conflict(struct buf *sql, const struct statement_spec *spec)
{
	bool first = true;

	buf_puts(sql, "WITH n AS MATERIALIZED (SELECT * FROM ");
	statement_put_unnest(sql, spec->n_params);
	buf_printf(sql, "), met AS (SELECT 1 FROM %s AS t, n WHERE ", spec->rows);
	put_condition(sql, spec);
	buf_printf(sql, "), i AS (INSERT INTO %s", spec->table);
	put_insert_columns(sql, spec);
	put_insert_values(sql, spec);
	buf_puts(sql, " FROM n ON CONFLICT (");
	for (uint32_t i = 0; i < spec->n_conflict_columns; i++) {
		buf_puts(sql, i ? ", " : "");
		pg_put_ident(sql, spec->conflict_columns[i]);
	}
	buf_puts(sql, ") DO ");
	for (uint32_t i = 0; spec->kind == STATEMENT_INSERT_OVERWRITE && i < spec->n_params; i++) {
		if (!spec->params[i].set || spec->params[i].key || spec->params[i].guard)
			continue;
		buf_puts(sql, first ? "UPDATE SET " : ", ");
		pg_put_ident(sql, spec->params[i].column);
		buf_puts(sql, " = EXCLUDED.");
		pg_put_ident(sql, spec->params[i].column);
		first = false;
	}
	if (first)
		buf_puts(sql, "NOTHING");
	buf_puts(sql,
		" RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM i), (SELECT pg_catalog.count(*) FROM met)");
}

static void put_update(struct buf *sql, const struct statement_spec *spec)
{
	buf_printf(sql, "UPDATE %s AS t SET ", spec->rows);
	put_assignments(sql, spec, false);
	buf_puts(sql, " FROM ");
	statement_put_unnest(sql, spec->n_params);
	buf_puts(sql, " WHERE ");
	put_condition(sql, spec);
}

static void put_delete(struct buf *sql, const struct statement_spec *spec)
{
	buf_printf(sql, "DELETE FROM %s AS t USING ", spec->rows);
	statement_put_unnest(sql, spec->n_params);
	buf_puts(sql, " WHERE ");
	put_condition(sql, spec);
}

/* identity ALWAYS takes no UPDATE: where its value changes, the row is written anew with what was not sent taken over */
static void put_replace(struct buf *sql, const struct statement_spec *spec)
{
	bool guard = has_guard(spec);

	buf_puts(sql, "WITH n AS MATERIALIZED (SELECT * FROM ");
	statement_put_unnest(sql, spec->n_params);
	buf_puts(sql, "), ");
	if (guard) {
		buf_printf(sql, "u AS (UPDATE %s AS t SET ", spec->rows);
		put_assignments(sql, spec, false);
		buf_puts(sql, " FROM n WHERE ");
		put_condition(sql, spec);
		buf_puts(sql, " AND ");
		put_guard(sql, spec);
		buf_puts(sql, " RETURNING 1), ");
	}
	buf_printf(sql, "d AS (DELETE FROM %s AS t USING n WHERE ", spec->rows);
	put_condition(sql, spec);
	if (guard) {
		buf_puts(sql, " AND NOT (");
		put_guard(sql, spec);
		buf_putc(sql, ')');
	}
	buf_printf(sql, " RETURNING t.*), i AS (INSERT INTO %s", spec->table);
	put_insert_columns(sql, spec);
	put_insert_values(sql, spec);
	buf_puts(sql, " FROM d, n RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM i)");
	if (guard)
		buf_puts(sql, " + (SELECT pg_catalog.count(*) FROM u)");
}

/* exactly one of the rows that equal the old one; tableoid, because a ctid is a partition's own; the casts to record,
 * because two bare row constructors would be compared column by column */
static void put_whole_condition(struct buf *sql, const struct statement_spec *spec)
{
	bool first = true;

	buf_printf(sql, " WHERE (t.tableoid, t.ctid) = (SELECT s.tableoid, s.ctid FROM %s AS s WHERE ROW(",
		spec->rows);
	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].key)
			continue;
		buf_puts(sql, first ? "s." : ", s.");
		pg_put_ident(sql, spec->params[i].column);
		first = false;
	}
	buf_puts(sql, ")::record OPERATOR(pg_catalog.*=) ROW(");
	first = true;
	for (uint32_t i = 0; i < spec->n_params; i++) {
		if (!spec->params[i].key)
			continue;
		buf_puts(sql, first ? "" : ", ");
		put_scalar(sql, spec, i);
		first = false;
	}
	buf_puts(sql, ")::record LIMIT 1)");
}

void statement_put(struct buf *sql, const struct statement_spec *spec)
{
	switch (spec->kind) {
	case STATEMENT_INSERT:
		put_insert(sql, spec);
		break;
	case STATEMENT_INSERT_OVERWRITE:
	case STATEMENT_INSERT_KEEP:
		put_insert_conflict(sql, spec);
		break;
	case STATEMENT_UPDATE:
	case STATEMENT_UPDATE_KEY:
		put_update(sql, spec);
		break;
	case STATEMENT_DELETE:
		put_delete(sql, spec);
		break;
	case STATEMENT_REPLACE:
		put_replace(sql, spec);
		break;
	case STATEMENT_UPDATE_WHOLE:
		buf_printf(sql, "UPDATE %s AS t SET ", spec->rows);
		put_assignments(sql, spec, true);
		put_whole_condition(sql, spec);
		break;
	case STATEMENT_DELETE_WHOLE:
		buf_printf(sql, "DELETE FROM %s AS t", spec->rows);
		put_whole_condition(sql, spec);
		break;
	}
}
