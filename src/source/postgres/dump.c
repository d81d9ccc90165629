/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The schema, by pg_dump under the same snapshot as the rows, so that both its sections and the data are of one moment.
 * Everything of the database goes along (types, functions, views, extensions) but what the migration leaves out: tables
 * that are not copied, the sequences they own, and the views that need them. No owners, privileges, publications or
 * tablespaces: those are green's own.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>
#include <sluice/postgres_tool.h>

#include "snapshot.h"

#define DUMP_LIMIT_BYTES ((size_t)256 << 20)
#define ATTEMPTS	 5

struct arguments {
	char **items;
	size_t n;
};

static void arguments_fini(struct arguments *args)
{
	for (size_t i = 0; i < args->n; i++)
		free(args->items[i]);
	free(args->items);
}

static void argument(struct arguments *args, const char *text, const char *value)
{
	args->items = realloc(args->items, (args->n + 2) * sizeof(char *));
	if (!args->items || asprintf(&args->items[args->n], "%s%s", text, value) < 0)
		abort();
	args->items[++args->n] = NULL;
}

/* schema and name of every relation to leave out: in quotes a pattern of pg_dump is a plain name */
static int query_left_out(struct pg_snapshot *snap, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	PGconn *conn = snap->keeper ? snap->keeper : snap->sql;

	buf_puts(&sql,
		"WITH RECURSIVE chosen (oid) AS (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid IN (0");
	for (uint32_t i = 0; i < snap->base.n_tables; i++)
		buf_printf(&sql, ",%u", (unsigned)snap->base.tables[i].rel->id);
	buf_puts(&sql,
		") UNION SELECT i.inhrelid FROM chosen c JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid JOIN "
		"pg_catalog.pg_class k ON k.oid = i.inhrelid AND k.relispartition), "
		/* a partition that is published by itself hangs on its root */
		"above (oid) AS (SELECT oid FROM chosen UNION SELECT i.inhparent FROM above a JOIN pg_catalog.pg_inherits i ON "
		"i.inhrelid = a.oid), "
		"left_out (oid) AS (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		"WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'sluice') AND "
		"c.oid NOT IN (SELECT oid FROM above) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = "
		"'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') "
		"UNION SELECT x.oid FROM left_out o JOIN LATERAL (SELECT r.ev_class AS oid FROM pg_catalog.pg_depend d JOIN "
		"pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = "
		"'pg_catalog.pg_class'::regclass AND d.refobjid = o.oid UNION ALL SELECT d.objid FROM pg_catalog.pg_depend d JOIN "
		"pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' WHERE d.classid = 'pg_catalog.pg_class'::regclass AND "
		"d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = o.oid AND d.deptype IN ('a', 'i')) x ON true) "
		"SELECT DISTINCT n.nspname, c.relname, c.relkind IN ('v', 'm') FROM left_out x JOIN pg_catalog.pg_class c ON c.oid = x.oid JOIN "
		"pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2");
	return pg_exec_stop(conn, buf_str(&sql), snap->base.cancel, ret, err);
}

/* tables are left out because the config says so; views only follow, which has to be told */
static void tell_views(struct pg_snapshot *snap, const PGresult *res)
{
	_cleanup_(buf_freep) struct buf names = BUF_INIT;

	for (int i = 0; i < PQntuples(res); i++) {
		if (*PQgetvalue(res, i, 2) == 't')
			buf_printf(&names, "%s%s.%s", names.len ? ", " : "", PQgetvalue(res, i, 0),
				PQgetvalue(res, i, 1));
	}
	if (names.len)
		status_alarm_raise(snap->ctx->status, "SNAPSHOT-LEFT-OUT",
			"make them by hand, or include the tables",
			"views that need tables which are not copied were not made: %s", buf_str(&names));
}

static int arguments_make(
	struct pg_snapshot *snap, const char *path, struct arguments *args, struct error *err)
{
	static const char *const fixed[] = { "--format=custom", "--schema-only", "--no-owner",
		"--no-privileges", "--no-publications", "--no-subscriptions", "--no-tablespaces",
		"--no-security-labels", "--no-password", "--lock-wait-timeout=10s", "--encoding=UTF8",
		"--exclude-schema=sluice" };
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;

	if (query_left_out(snap, &res, err) < 0)
		return error_where(err, "dump the schema");
	tell_views(snap, res);
	argument(args, path, "");
	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
		argument(args, fixed[i], "");
	if (snap->keeper)
		argument(args, "--snapshot=", snap->id);
	for (int i = 0; i < PQntuples(res); i++) {
		buf_clear(&name);
		pg_put_name(&name, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
		argument(args, "--exclude-table=", buf_str(&name));
	}
	return 0;
}

static int tick(void *arg, struct error *err)
{
	return watch_blocked(arg, err);
}

int dump_schema(struct snapshot_source *base, struct buf *ret, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;
	struct arguments args = { 0 };
	struct pg_tool tool;
	char application[64];
	int r;

	if (pg_tool_find("pg_dump", PQserverVersion(snap->sql) / 10000, &tool, err) < 0)
		return -1;
	r = arguments_make(snap, tool.path, &args, err);
	snprintf(application, sizeof(application), "sluice_%s/dump", snap->ctx->cfg->name);
	if (r == 0 && SLUICE_FAULT_POINT("snapshot.dump"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.dump");
	for (int i = 0; r == 0 && i < ATTEMPTS; i++) {
		struct pg_tool_run run = {
			.argv = (const char *const *)args.items,
			.like = snap->sql,
			.application = application,
			.output_limit_bytes = DUMP_LIMIT_BYTES,
			.stop = base->cancel,
			.tick = tick,
			.arg = base,
		};

		buf_clear(ret);
		if (pg_tool_run(&run, ret, err) == 0)
			break;
		/* in somebody's way it was ended by the watch, and may try again; the rest is final */
		if (i + 1 == ATTEMPTS || !snap->n_ended)
			r = -1;
	}
	arguments_fini(&args);
	return r;
}
