/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What a Relation message does not say of its columns, asked from the catalog: enough to make a column at a target that
 * lacks it, and to know when that would be a guess.
 *
 * The catalog is read later than the message was written, see visible.c: what it says is true now, of the last of maybe several changes.
 * What can be told nevertheless:
 *   1. A column's number is never used again. A column of the message whose name the catalog does not have was dropped
 *      since (number 0); one that has another type there was changed since, or is another column.
 *   2. attmissingval holds the value of rows that were written before the column came, until the table is rewritten; a
 *      default that is set or dropped later does not touch it.
 *   3. Rows get values without any of it being in the stream only when the table is written anew, and then its file has
 *      another number. While the catalog has no other columns than the message it is the file of that moment, and a later
 *      look can tell whether the table was rewritten in between; else it is told that the message is behind. A table
 *      whose file has the table's own oid was never rewritten at all.
 *   4. Numbers between the columns' own ("gap") belong to columns that are gone: between the message and this look one may
 *      have had the name that another one has now. Who knows which numbers were there before can tell.
 *
 * Only catalogs are read, and nothing that would lock the table: an ALTER TABLE that is under way delays nothing here.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "postgres.h"

#define MAX_COLUMNS 1664

/* one row per attribute, dropped ones too. A partitioned table keeps no missing values: its leaves do, and all say the same.
 * An expression is written out without its table (0): no default refers to one, and naming it would lock it. */
#define COLUMNS_SQL                                                                                                           \
	"WITH RECURSIVE tree (oid) AS (SELECT %u::pg_catalog.oid UNION ALL SELECT i.inhrelid FROM tree t JOIN "               \
	"pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p' JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid), "  \
	"leaf AS MATERIALIZED (SELECT l.oid, l.relfilenode FROM tree t JOIN pg_catalog.pg_class l ON l.oid = t.oid AND "      \
	"l.relkind = 'r') "                                                                                                   \
	"SELECT CASE WHEN c.relkind = 'r' THEN c.relfilenode WHEN (SELECT pg_catalog.bool_and(l.relfilenode = l.oid) FROM "   \
	"leaf l) THEN c.oid ELSE 0 END, EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prrelid = c.oid AND "     \
	"pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL), a.attnum, a.attisdropped, a.attname, a.atttypid, a.atttypmod, "   \
	"a.attnotnull, a.attgenerated <> '', a.attidentity <> '', CASE WHEN t.oid >= 16384 THEN n.nspname END, "              \
	"CASE WHEN t.oid >= 16384 THEN t.typname END, m.value, CASE WHEN a.attgenerated = '' THEN "                           \
	"pg_catalog.pg_get_expr(d.adbin, 0) END, CASE WHEN a.attcollation <> t.typcollation THEN cn.nspname END, "            \
	"CASE WHEN a.attcollation <> t.typcollation THEN co.collname END "                                                    \
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "                   \
	"LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "                                                               \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace "                                                      \
	"LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "                                      \
	"LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation "                                                    \
	"LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace "                                                  \
	"LEFT JOIN LATERAL (SELECT CASE WHEN pg_catalog.min(v) = pg_catalog.max(v) THEN pg_catalog.min(v) END AS value FROM " \
	"(SELECT CASE WHEN t.typdelim = ',' THEN (la.attmissingval::pg_catalog.text::pg_catalog.text[])[1] ELSE "             \
	"pg_catalog.btrim(la.attmissingval::pg_catalog.text, '{}') END AS v FROM leaf l JOIN pg_catalog.pg_attribute la ON "  \
	"la.attrelid = l.oid AND la.attname = a.attname AND la.atthasmissing AND NOT a.attisdropped) x) m ON true "           \
	"WHERE c.oid = %u ORDER BY a.attnum"

enum field {
	FIELD_FILE,
	FIELD_LISTED,
	FIELD_NUMBER,
	FIELD_DROPPED,
	FIELD_NAME,
	FIELD_TYPE,
	FIELD_MODIFIER,
	FIELD_NOT_NULL,
	FIELD_GENERATED,
	FIELD_IDENTITY,
	FIELD_TYPE_SCHEMA,
	FIELD_TYPE_NAME,
	FIELD_MISSING,
	FIELD_DEFAULT,
	FIELD_COLLATION_SCHEMA,
	FIELD_COLLATION,
};

static bool field_is(const PGresult *res, int row, enum field field)
{
	return *PQgetvalue(res, row, (int)field) == 't';
}

static const char *field_text(const PGresult *res, int row, enum field field)
{
	return PQgetisnull(res, row, (int)field) ? NULL : PQgetvalue(res, row, (int)field);
}

static int16_t field_number(const PGresult *res, int row)
{
	return (int16_t)strtol(PQgetvalue(res, row, FIELD_NUMBER), NULL, 10);
}

/* row of a column that is there, -1 = none; names come in the same order but for what was dropped: *from is a guess */
static int find_row(const PGresult *res, const char *name, int *from)
{
	int n = PQntuples(res);

	for (int i = 0; i < n; i++) {
		int row = (*from + i) % n;

		if (!field_is(res, row, FIELD_DROPPED) && !strcmp(PQgetvalue(res, row, FIELD_NAME), name)) {
			*from = row + 1;
			return row;
		}
	}
	return -1;
}

static void take_facts(const PGresult *res, int row, const struct column *column, struct column_facts *facts)
{
	facts->number = field_number(res, row);
	facts->not_null = field_is(res, row, FIELD_NOT_NULL);
	facts->computed = field_is(res, row, FIELD_GENERATED) || field_is(res, row, FIELD_IDENTITY);
	facts->retyped =
		column->type_oid != (uint32_t)strtoul(PQgetvalue(res, row, FIELD_TYPE), NULL, 10) ||
		column->type_modifier != (int32_t)strtol(PQgetvalue(res, row, FIELD_MODIFIER), NULL, 10);
	facts->missing = field_text(res, row, FIELD_MISSING);
	facts->preset = field_text(res, row, FIELD_DEFAULT);
	facts->type_schema = field_text(res, row, FIELD_TYPE_SCHEMA);
	facts->type_name = field_text(res, row, FIELD_TYPE_NAME);
	facts->collation_schema = field_text(res, row, FIELD_COLLATION_SCHEMA);
	facts->collation = field_text(res, row, FIELD_COLLATION);
}

/* numbers that none of the columns has; a generated column is never sent, so it is none of them */
static bool is_gap(const PGresult *res, int row, const bool *taken)
{
	return !taken[row] && (field_is(res, row, FIELD_DROPPED) || !field_is(res, row, FIELD_GENERATED));
}

static void take_gaps(
	const PGresult *res, const bool *taken, struct column_facts *facts, uint32_t n, bool *ret_same)
{
	int16_t highest = 0;

	for (uint32_t i = 0; i < n; i++) {
		*ret_same = *ret_same && facts[i].number;
		highest = facts[i].number > highest ? facts[i].number : highest;
		for (int row = 0; row < PQntuples(res) && field_number(res, row) < facts[i].number; row++)
			if (is_gap(res, row, taken))
				facts[i].gap = field_number(res, row);
	}
	for (int row = 0; row < PQntuples(res); row++)
		if (field_number(res, row) > highest && is_gap(res, row, taken))
			*ret_same = false;
}

int columns_describe(PGconn *conn, const struct relation_spec *spec, struct relation **ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	static const struct column_facts none;
	struct relation_spec described = *spec;
	struct column_facts facts[MAX_COLUMNS];
	struct column columns[MAX_COLUMNS];
	bool taken[MAX_COLUMNS] = { false }, same = true;
	int from = 0;

	if (SLUICE_FAULT_POINT("source.pg.columns"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.columns");
	if (pg_execf(conn, &res, err, COLUMNS_SQL, spec->id, spec->id) < 0)
		return error_where(err, "columns of %s.%s", spec->schema, spec->name);
	if (spec->n_columns > MAX_COLUMNS || PQntuples(res) > MAX_COLUMNS) {
		*ret = relation_new(spec);
		return 0;
	}
	for (uint32_t i = 0; i < spec->n_columns; i++) {
		int row = find_row(res, spec->columns[i].name, &from);

		facts[i] = none;
		columns[i] = spec->columns[i];
		columns[i].facts = &facts[i];
		if (row < 0)
			continue;
		taken[row] = true;
		take_facts(res, row, &spec->columns[i], &facts[i]);
	}
	take_gaps(res, taken, facts, spec->n_columns, &same);
	described.columns = columns;
	described.behind = !same;
	/* with a list of columns one that comes into it later may have been there all the time */
	if (PQntuples(res) && field_is(res, 0, FIELD_LISTED))
		described.highest = field_number(res, PQntuples(res) - 1);
	if (PQntuples(res))
		described.file = (uint32_t)strtoul(PQgetvalue(res, 0, FIELD_FILE), NULL, 10);
	*ret = relation_new(&described);
	return 0;
}
