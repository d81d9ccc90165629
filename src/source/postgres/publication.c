/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The publications that carry the selected tables.
 *
 * The rule that must hold: a table whose updates the server could not publish (no usable replica identity) is never put
 * into a publication that publishes updates, because from that moment the application's own UPDATE fails.
 * Such tables are refused, or go into a second publication for inserts alone, or get REPLICA IDENTITY FULL, as
 * source.postgresql.no_identity says. A publication is made from a list of tables, never FOR ALL TABLES: that one would
 * take in tables nobody looked at. One that exists is used as it is (its row filters and column lists too) when it
 * publishes exactly what is selected, and is never changed.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

int publication_exists(PGconn *conn, const char *name, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec_params(conn, "SELECT FROM pg_catalog.pg_publication WHERE pubname = $1", 1, &name, &res,
		    err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

void publication_insert_name(const char *publication, char *buf, size_t size)
{
	snprintf(buf, size, "%.56s_insert", publication);
}

static void difference(struct buf *ret, const char *schema, const char *name, const char *what)
{
	if (ret->len)
		buf_puts(ret, "; ");
	buf_printf(ret, "%s%s%s %s", schema, *schema ? "." : "", name, what);
}

/* what one publication leaves out of its tables' changes; the second one is for inserts alone */
static int compare_options(
	PGconn *conn, const char *name, bool inserts_only, bool roots, struct buf *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec_params(conn,
		    "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_catalog.pg_publication "
		    "WHERE pubname = $1",
		    1, &name, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	if (*PQgetvalue(res, 0, 0) != 't')
		difference(ret, "", name, "does not publish inserts");
	for (int i = 1; i < 4 && !inserts_only; i++) {
		static const char *const what[] = { "", "does not publish updates",
			"does not publish deletes", "does not publish truncates" };

		if (*PQgetvalue(res, 0, i) != 't')
			difference(ret, "", name, what[i]);
	}
	if (roots && *PQgetvalue(res, 0, 4) != 't')
		difference(ret, "", name, "has publish_via_partition_root off");
	return 0;
}

static int read_members(
	PGconn *conn, const char *first, const char *second, PGresult **ret, struct error *err)
{
	const char *values[] = { first, second };

	return pg_exec_params(conn,
		"SELECT schemaname, tablename, pubname = $1 FROM pg_catalog.pg_publication_tables WHERE pubname IN ($1, $2) "
		"ORDER BY 1, 2",
		2, values, ret, err);
}

int publication_differs(const struct context *ctx, PGconn *conn, struct source_tables *tables,
	struct buf *ret, uint64_t *ret_missing, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *name = ctx->cfg->source.postgresql.publication;
	bool roots = false;
	char second[64];

	*ret_missing = 0;
	publication_insert_name(name, second, sizeof(second));
	for (uint32_t i = 0; i < tables->n; i++)
		roots = roots || tables->items[i].partition_root;
	if (compare_options(conn, name, false, roots, ret, err) < 0 ||
		compare_options(conn, second, true, roots, ret, err) < 0 ||
		read_members(conn, name, second, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		const char *schema = PQgetvalue(res, i, 0), *table = PQgetvalue(res, i, 1);
		struct source_table *t = tables_find(tables, schema, table);

		if (!t)
			difference(ret, schema, table, "is published, not selected");
		else if (*PQgetvalue(res, i, 2) == 't')
			t->published = true;
		else
			t->inserts_published = true;
	}
	for (uint32_t i = 0; i < tables->n; i++) {
		const struct source_table *t = &tables->items[i];

		if (t->published || t->inserts_published)
			continue;
		difference(ret, t->schema, t->name, "is selected, not published");
		(*ret_missing)++;
	}
	return 0;
}

/* every ALTER that is missing, as far as they fit; check prints them all */
static int refuse_identity(PGconn *conn, const struct source_tables *tables, struct error *err)
{
	_cleanup_(buf_freep) struct buf names = BUF_INIT;
	_cleanup_(buf_freep) struct buf remedy = BUF_INIT;

	for (uint32_t i = 0; i < tables->n; i++) {
		const struct source_table *t = &tables->items[i];
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (t->identity)
			continue;
		buf_printf(&names, "%s%s.%s", names.len ? ", " : "", t->schema, t->name);
		if (table_identity_statements(conn, t, &res, err) < 0)
			return -1;
		for (int k = 0; k < PQntuples(res); k++)
			buf_printf(&remedy, "%s%s", remedy.len ? " " : "", PQgetvalue(res, k, 0));
	}
	error_set(err, ERROR_CONFIG, "PG-IDENTITY",
		"no usable replica identity, so that the application's own UPDATE and DELETE would fail: %s",
		buf_str(&names));
	if (remedy.len >= sizeof(err->remedy))
		return error_remedy(err, "sluice check --print source | psql …: prints every ALTER TABLE");
	return error_remedy(err, "%s", buf_str(&remedy));
}

void publication_sql(struct buf *sql, const char *name, const struct source_tables *tables, bool identity)
{
	bool any = false;

	buf_puts(sql, "CREATE PUBLICATION ");
	pg_put_ident(sql, name);
	for (uint32_t i = 0; i < tables->n; i++) {
		const struct source_table *t = &tables->items[i];

		if (t->identity != identity)
			continue;
		buf_puts(sql, any ? ", " : " FOR TABLE ");
		/* ONLY: children by inheritance are tables of their own here; partitions come with their root */
		if (!t->partition_root)
			buf_puts(sql, "ONLY ");
		pg_put_name(sql, t->schema, t->name);
		any = true;
	}
	buf_puts(sql, " WITH (publish_via_partition_root = true");
	buf_puts(sql, identity ? ");" : ", publish = 'insert');");
}

/* of the tables with (or without) a replica identity */
static int publication_create(
	PGconn *conn, const char *name, const struct source_tables *tables, bool identity, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	publication_sql(&sql, name, tables, identity);
	if (SLUICE_FAULT_POINT("source.pg.publication"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.publication");
	if (pg_exec(conn, buf_str(&sql), NULL, err) == 0) {
		if (SLUICE_FAULT_POINT("source.pg.publication_made"))
			return error_set(
				err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.publication_made");
		return 0;
	}
	error_where(err, "publication %s", name);
	if (err->class != ERROR_CONFIG)
		return -1;
	/* only a table's owner may publish it */
	if (sql.len + 40 < sizeof(err->remedy))
		return error_remedy(err, "the tables' owner has to run: %s", buf_str(&sql));
	return error_remedy(err,
		"the tables' owner, or a superuser, has to create it: sluice check --print source "
		"prints the statement");
}

/* one that exists is the operator's, or ours from before: it has to fit what is selected */
static int publication_compare(
	const struct context *ctx, PGconn *conn, struct source_tables *tables, struct error *err)
{
	const char *name = ctx->cfg->source.postgresql.publication;
	_cleanup_(buf_freep) struct buf differs = BUF_INIT;
	uint64_t missing;

	if (publication_differs(ctx, conn, tables, &differs, &missing, err) < 0)
		return -1;
	if (differs.len) {
		error_set(err, ERROR_CONFIG, "PG-PUBLICATION",
			"publication %s does not fit source.include: %s", name, buf_str(&differs));
		return error_remedy(
			err, "ALTER PUBLICATION %s …, or change source.include and source.exclude", name);
	}
	for (uint32_t i = 0; i < tables->n; i++) {
		if (tables->items[i].published && !tables->items[i].identity)
			return refuse_identity(conn, tables, err);
	}
	return 0;
}

static int ensure(const struct context *ctx, PGconn *conn, struct source_tables *tables, struct error *err)
{
	const struct config_source *cfg = &ctx->cfg->source;
	uint32_t without = 0;
	char second[64];
	int there = publication_exists(conn, cfg->postgresql.publication, err);

	if (there < 0)
		return -1;
	for (uint32_t i = 0; i < tables->n; i++) {
		if (!tables->items[i].identity && cfg->postgresql.no_identity == NO_IDENTITY_FULL &&
			table_set_identity(conn, &tables->items[i], err) < 0)
			return -1;
		without += !tables->items[i].identity;
	}
	if (without && cfg->postgresql.no_identity == NO_IDENTITY_REFUSE)
		return refuse_identity(conn, tables, err);
	if (!there && publication_create(conn, cfg->postgresql.publication, tables, true, err) < 0)
		return -1;
	if (without) {
		publication_insert_name(cfg->postgresql.publication, second, sizeof(second));
		there = publication_exists(conn, second, err);
		if (there < 0 || (!there && publication_create(conn, second, tables, false, err) < 0))
			return -1;
	}
	return publication_compare(ctx, conn, tables, err);
}

int publication_ensure(const struct context *ctx, PGconn *conn, struct error *err)
{
	struct source_tables tables;
	int r;

	if (tables_read(conn, &ctx->cfg->source, &tables, err) < 0)
		return -1;
	if (!tables.n) {
		error_set(err, ERROR_CONFIG, "PG-NO-TABLES", "source.include and exclude select no table");
		tables_fini(&tables);
		return error_remedy(err, "check the patterns: schema.table, with * and ?");
	}
	r = tables_distinct(&tables, err);
	if (r == 0)
		r = ensure(ctx, conn, &tables, err);
	tables_fini(&tables);
	return r;
}
