/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The selected tables for who checks another side by them: which of them have rows that can be told apart by a key, and which have
 * rows that depend on rows of other keys. The same rules as lookup.c, for all tables with one query.
 */

#include <stdlib.h>

#include <sluice/check.h>

#include "postgres.h"

static char *copied(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

static int list_shapes(
	PGconn *conn, const struct source_tables *tables, struct check_tables *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf oids = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[1];

	for (uint32_t i = 0; i < tables->n; i++)
		buf_printf(&oids, "%c%u", i ? ',' : '{', tables->items[i].oid);
	buf_puts(&oids, tables->n ? "}" : "{}");
	values[0] = buf_str(&oids);
	if (pg_exec_params(conn,
		    "SELECT EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indisvalid AND"
		    " x.indimmediate AND CASE c.relreplident WHEN 'i' THEN x.indisreplident WHEN 'n' THEN false"
		    " ELSE x.indisprimary END), EXISTS (SELECT FROM pg_catalog.pg_index x WHERE (x.indrelid = c.oid OR"
		    " x.indrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) AND x.indislive AND"
		    " (x.indisunique OR x.indisexclusion) AND NOT CASE c.relreplident WHEN 'i' THEN x.indisreplident"
		    " ELSE x.indisprimary END), n.nspname, c.relname FROM pg_catalog.pg_class c"
		    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE c.oid = ANY ($1::pg_catalog.oid[]) ORDER BY 3, 4",
		    1, values, &res, err) < 0)
		return error_where(err, "look at the keys of tables");
	ret->items = calloc((size_t)PQntuples(res) + 1, sizeof(*ret->items));
	if (!ret->items)
		abort();
	for (int i = 0; i < PQntuples(res); i++)
		ret->items[ret->n++] = (struct check_table){
			.schema = copied(PQgetvalue(res, i, 2)),
			.name = copied(PQgetvalue(res, i, 3)),
			.keyed = *PQgetvalue(res, i, 0) == 't',
			.tied = *PQgetvalue(res, i, 1) == 't',
		};
	return 0;
}

int source_postgres_list(const struct context *ctx, struct check_tables *ret, struct error *err)
{
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	struct source_tables tables = { 0 };
	int r;

	*ret = (struct check_tables){ 0 };
	r = source_pg_connect(ctx, PG_SOURCE, "check", &conn, err);
	if (r == 0)
		r = pg_exec(conn, "SET statement_timeout = '10s'", NULL, err);
	if (r == 0)
		r = tables_read(conn, &ctx->cfg->source, &tables, err);
	if (r == 0)
		r = list_shapes(conn, &tables, ret, err);
	tables_fini(&tables);
	return r;
}
