/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The tables that the config selects, as the source's catalog describes them: one query, whatever their number.
 *
 * Replica identity is judged as the server itself judges it: "default" needs a primary key that is valid and not deferrable,
 * "index" its index likewise and without a predicate, "nothing" has none, "full" always works. Updates happen in the
 * leaves of a partitioned table, and what is sent is described by its root, so every member has to pass. Tables
 * that an extension made come with the extension; unlogged and temporary ones are not in the WAL.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

#define NAME_BYTES                                                                                           \
	64 /* of the server, with the NUL; a build may have more, which are then compared in part */

static const char tables_sql[] =
	"WITH RECURSIVE tree (root, oid) AS ("
	"SELECT c.oid, c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
	"WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' "
	"AND n.nspname NOT IN ('information_schema', 'sluice') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE "
	"e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid AND e.deptype = 'e') "
	"UNION ALL SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p' "
	"JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid), "
	"member AS (SELECT t.root, l.oid, CASE l.relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS ("
	"SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = l.oid AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL "
	"AND CASE l.relreplident WHEN 'i' THEN x.indisreplident ELSE x.indisprimary END) END AS identity, "
	"pg_catalog.has_schema_privilege(l.relnamespace, 'USAGE') AND pg_catalog.has_table_privilege(l.oid, 'SELECT') "
	"AS readable, pg_catalog.pg_has_role(l.relowner, 'USAGE') AS owned, pg_catalog.row_security_active(l.oid) AS "
	"filtered, EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT "
	"a.attisdropped AND (a.atttypid >= 16384 OR EXISTS (SELECT FROM pg_catalog.pg_type y WHERE y.oid = a.atttypid AND "
	"y.typarray = 0))) AS custom "
	"FROM tree t JOIN pg_catalog.pg_class l ON l.oid = t.oid AND l.relkind IN ('r', 'p')) "
	"SELECT c.oid, n.nspname, c.relname, c.relkind, "
	"pg_catalog.string_agg(m.oid::pg_catalog.text, ',') FILTER (WHERE NOT m.identity), "
	"pg_catalog.string_agg(m.oid::pg_catalog.text, ',') FILTER (WHERE NOT m.readable), "
	"pg_catalog.bool_and(m.owned), pg_catalog.bool_or(m.filtered), pg_catalog.bool_or(m.custom) "
	"FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.root JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
	"GROUP BY c.oid, n.nspname, c.relname, c.relkind ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

static char *copy_field(const PGresult *res, int row, int column)
{
	char *copy;

	if (PQgetisnull(res, row, column))
		return NULL;
	copy = strdup(PQgetvalue(res, row, column));
	if (!copy)
		abort();
	return copy;
}

/* a stream knows a table by "schema.name"; true when two of the selected ones cannot be told apart by it */
static bool same_joined(const struct source_table *a, const struct source_table *b)
{
	size_t a_len = strlen(a->schema), b_len = strlen(b->schema);
	char one[2 * NAME_BYTES + 2], two[2 * NAME_BYTES + 2];

	if (a_len + strlen(a->name) != b_len + strlen(b->name))
		return false;
	snprintf(one, sizeof(one), "%s.%s", a->schema, a->name);
	snprintf(two, sizeof(two), "%s.%s", b->schema, b->name);
	return !strcmp(one, two);
}

int tables_distinct(const struct source_tables *tables, struct error *err)
{
	for (uint32_t i = 0; i < tables->n; i++) {
		const struct source_table *t = &tables->items[i];

		if (!strchr(t->schema, '.') && !strchr(t->name, '.'))
			continue;
		for (uint32_t k = 0; k < tables->n; k++) {
			if (k == i || !same_joined(t, &tables->items[k]))
				continue;
			error_set(err, ERROR_CONFIG, "PG-TABLE-NAME",
				"tables \"%s\".\"%s\" and \"%s\".\"%s\" have the same name once joined by a dot",
				t->schema, t->name, tables->items[k].schema, tables->items[k].name);
			return error_remedy(err,
				"exclude one of them and move it with a stream of its own, or rename it");
		}
	}
	return 0;
}

int tables_read(PGconn *conn, const struct config_source *cfg, struct source_tables *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	*ret = (struct source_tables){ 0 };
	if (pg_exec(conn, tables_sql, &res, err) < 0)
		return error_where(err, "read the list of tables");
	ret->items = calloc((size_t)PQntuples(res) + 1, sizeof(*ret->items));
	if (!ret->items)
		abort();
	for (int i = 0; i < PQntuples(res); i++) {
		struct source_table *t = &ret->items[ret->n];

		if (!config_table_selected(cfg, PQgetvalue(res, i, 1), PQgetvalue(res, i, 2)))
			continue;
		*t = (struct source_table){
			.oid = (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10),
			.schema = copy_field(res, i, 1),
			.name = copy_field(res, i, 2),
			.partition_root = *PQgetvalue(res, i, 3) == 'p',
			.no_identity = copy_field(res, i, 4),
			.unreadable = copy_field(res, i, 5),
			.is_owner = *PQgetvalue(res, i, 6) == 't',
			.row_security = *PQgetvalue(res, i, 7) == 't',
			.builtin_types = *PQgetvalue(res, i, 8) != 't',
		};
		t->identity = !t->no_identity;
		ret->n++;
	}
	return 0;
}

void tables_fini(struct source_tables *tables)
{
	for (uint32_t i = 0; i < tables->n; i++) {
		free(tables->items[i].schema);
		free(tables->items[i].name);
		free(tables->items[i].no_identity);
		free(tables->items[i].unreadable);
	}
	free(tables->items);
	*tables = (struct source_tables){ 0 };
}

struct source_table *tables_find(const struct source_tables *tables, const char *schema, const char *name)
{
	uint32_t low = 0, high = tables->n;

	while (low < high) {
		uint32_t mid = (low + high) / 2;
		struct source_table *t = &tables->items[mid];
		int order = strcmp(schema, t->schema);

		if (order == 0)
			order = strcmp(name, t->name);
		if (order == 0)
			return t;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

int table_identity_statements(
	PGconn *conn, const struct source_table *table, PGresult **ret, struct error *err)
{
	return pg_execf(conn, ret, err,
		"SELECT pg_catalog.format('ALTER TABLE %%I.%%I REPLICA IDENTITY FULL;', n.nspname, c.relname) FROM "
		"pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY "
		"('{%s}'::pg_catalog.oid[]) ORDER BY 1",
		table->no_identity);
}

int table_grant_statements(PGconn *conn, const struct source_table *table, PGresult **ret, struct error *err)
{
	return pg_execf(conn, ret, err,
		"WITH m AS (SELECT n.nspname, c.relname, pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usable FROM "
		"pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY "
		"('{%s}'::pg_catalog.oid[])) SELECT DISTINCT 1 AS o, pg_catalog.format('GRANT USAGE ON SCHEMA %%I TO %%I;', "
		"nspname, CURRENT_USER) AS s FROM m WHERE NOT usable UNION ALL SELECT 2, pg_catalog.format('GRANT SELECT ON "
		"%%I.%%I TO %%I;', nspname, relname, CURRENT_USER) FROM m ORDER BY 1, 2",
		table->unreadable);
}

int table_set_identity(PGconn *conn, struct source_table *table, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	int r;

	if (SLUICE_FAULT_POINT("source.pg.identity"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.identity");
	if (table_identity_statements(conn, table, &res, err) < 0 ||
		/* everybody queues behind one who waits for this lock: better to try again than to wait long */
		pg_exec(conn, "SET lock_timeout = '1s'", NULL, err) < 0)
		return -1;
	r = 0;
	for (int i = 0; r == 0 && i < PQntuples(res); i++)
		r = pg_exec(conn, PQgetvalue(res, i, 0), NULL, err);
	if (PQstatus(conn) == CONNECTION_OK) {
		struct error ignored;

		pg_exec(conn, "SET lock_timeout = '5s'", NULL, &ignored);
	}
	if (r < 0)
		return error_where(err, "%s.%s", table->schema, table->name);
	table->identity = true;
	return 0;
}
