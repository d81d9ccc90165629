/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What `sluice check` says about the target's server and our role there. It looks and changes nothing; each
 * finding that can be cured by a statement carries that statement, complete.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void check_add_error(struct check *check, const struct error *err)
{
	finding_add(
		check->list, FINDING_FAIL, err->code, *err->remedy ? err->remedy : NULL, "%s", err->message);
	check->list->items[check->list->n - 1].exit_code = error_exit_code(err);
}

void check_fail(
	struct check *check, int exit_code, const char *code, const char *remedy, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	finding_add(check->list, FINDING_FAIL, code, remedy, "%s", text);
	check->list->items[check->list->n - 1].exit_code = exit_code;
}

/* NULL = it failed, and a finding says so */
static PGresult *check_query(struct check *check, const char *sql)
{
	struct error err = ERROR_INIT;
	PGresult *res = NULL;

	if (pg_exec(check->conn, sql, &res, &err) < 0)
		check_add_error(check, &err);
	return res;
}

static bool check_connect(struct check *check)
{
	const struct config_target *target = &check->ctx->cfg->target;
	struct pg_peer peer = { .uri = target->uri, .user = target->user, .password = target->password };
	char application[APPLICATION_MAX];
	struct error err = ERROR_INIT;

	session_application(check->ctx->cfg->name, "check", application);
	if (pg_connect(&peer, PG_TARGET, application, &check->conn, &err) < 0 ||
		pg_exec(check->conn, "SET default_transaction_read_only = on", NULL, &err) < 0) {
		check_add_error(check, &err);
		return false;
	}
	return true;
}

static void check_title(struct check *check)
{
	_cleanup_(PQclearp) PGresult *res = check_query(check,
		"SELECT current_setting('server_version'), current_database(), current_user,"
		" pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(current_database())),"
		" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
		" ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
		" AND n.nspname NOT IN ('sluice', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%')");
	const char *host = PQhost(check->conn), *port = PQport(check->conn);
	bool usual = !port || !strcmp(port, "5432"), empty;

	if (!res)
		return;
	if (!host || !*host || *host == '/')
		host = "local";
	empty = !strcmp(PQgetvalue(res, 0, 4), "0");
	snprintf(check->role, sizeof(check->role), "%s", PQgetvalue(res, 0, 2));
	snprintf(check->database, sizeof(check->database), "%s", PQgetvalue(res, 0, 1));
	snprintf(check->list->title, sizeof(check->list->title), "%s%s%s/%s PostgreSQL %.*s, %s%s%s", host,
		usual ? "" : ":", usual ? "" : port, PQgetvalue(res, 0, 1),
		(int)strcspn(PQgetvalue(res, 0, 0), " "), PQgetvalue(res, 0, 0),
		empty ? "empty" : PQgetvalue(res, 0, 4),
		empty				      ? ""
		: !strcmp(PQgetvalue(res, 0, 4), "1") ? " table, "
						      : " tables, ",
		empty ? "" : PQgetvalue(res, 0, 3));
}

static void check_server(struct check *check)
{
	_cleanup_(PQclearp) PGresult *res = check_query(check,
		"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid(), current_setting('wal_level'),"
		" (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'),"
		" coalesce(pg_catalog.inet_server_addr() <<= '127.0.0.0/8'"
		" OR pg_catalog.inet_server_addr() = '::1', true)");

	if (!res)
		return;
	if (PQserverVersion(check->conn) < 140000)
		check_fail(check, EXIT_CONFIG, "PG-VERSION", NULL, "PostgreSQL 14 or newer is needed");
	if (strtol(PQgetvalue(res, 0, 1), NULL, 10) != PQbackendPID(check->conn))
		check_fail(check, EXIT_CONFIG, "PG-POOLER",
			"-- in target.uri: host and port of the PostgreSQL server itself",
			"a connection pooler stands in front of the target");
	if (*PQgetvalue(res, 0, 0) == 't')
		check_fail(check, EXIT_UNAVAILABLE, "PG-READ-ONLY", NULL,
			"the target is a standby: connect to the primary");
	else if (!strcmp(PQgetvalue(res, 0, 3), "on"))
		check_fail(check, EXIT_UNAVAILABLE, "PG-READ-ONLY",
			"ALTER SYSTEM RESET default_transaction_read_only;\nSELECT pg_reload_conf();",
			"the target is read-only (default_transaction_read_only)");
	if (!PQsslInUse(check->conn) && *PQgetvalue(res, 0, 4) != 't')
		finding_add(check->list, FINDING_WARN, "PG-TLS",
			"-- in target.uri: sslmode=verify-full&sslrootcert=FILE",
			"the connection is not encrypted: everything that is copied travels readable");
	if (strcmp(PQgetvalue(res, 0, 2), "logical") != 0)
		finding_add(check->list, FINDING_WARN, "PG-REVERSE",
			"ALTER SYSTEM SET wal_level = logical;\n-- then restart the target",
			"wal_level=%s: no way back after the switch", PQgetvalue(res, 0, 2));
	else
		finding_add(check->list, FINDING_OK, "", NULL, "wal_level=logical: a way back is possible");
}

/* the replica role: tried, in a transaction that is taken back */
static void check_replica_role(struct check *check)
{
	struct error ignored = ERROR_INIT;
	_cleanup_(buf_freep) struct buf grant = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(check->conn, "BEGIN", NULL, &ignored) < 0)
		return;
	res = PQexec(check->conn, "SET LOCAL session_replication_role = replica");
	check->replica_role = PQresultStatus(res) == PGRES_COMMAND_OK;
	pg_exec(check->conn, "ROLLBACK", NULL, &ignored);
	if (check->replica_role) {
		finding_add(check->list, FINDING_OK, "", NULL,
			"triggers and foreign keys rest while applying (replica role)");
		return;
	}
	if (PQserverVersion(check->conn) >= 150000)
		buf_puts(&grant, "GRANT SET ON PARAMETER session_replication_role TO ");
	else
		buf_puts(&grant, "-- PostgreSQL 14 has no grant for it:\nALTER ROLE ");
	pg_put_ident(&grant, check->role);
	buf_puts(&grant, PQserverVersion(check->conn) >= 150000 ? ";" : " SUPERUSER;");
	finding_add(check->list, FINDING_WARN, "PG-REPLICA-ROLE", buf_str(&grant),
		"role %s may not set session_replication_role: triggers of the target act on every row",
		check->role);
}

static void check_control(struct check *check)
{
	_cleanup_(PQclearp) PGresult *res = check_query(check,
		"SELECT n.oid IS NOT NULL, pg_catalog.has_database_privilege(current_database(), 'CREATE'),"
		" coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
		" AND pg_catalog.has_schema_privilege(n.oid, 'CREATE'), true),"
		" coalesce((SELECT bool_and(pg_catalog.has_table_privilege(c.oid, p)) FROM pg_catalog.pg_class c,"
		" unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS p"
		" WHERE c.relnamespace = n.oid AND c.relkind = 'r'), true)"
		" FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'sluice'");
	_cleanup_(buf_freep) struct buf grant = BUF_INIT;
	bool there, create, usage, rows;

	if (!res)
		return;
	there = *PQgetvalue(res, 0, 0) == 't';
	create = *PQgetvalue(res, 0, 1) == 't';
	usage = *PQgetvalue(res, 0, 2) == 't';
	rows = *PQgetvalue(res, 0, 3) == 't';
	if (!there && !create) {
		buf_puts(&grant, "GRANT CREATE ON DATABASE ");
		pg_put_ident(&grant, check->database);
	} else if (there && !usage) {
		buf_puts(&grant, "GRANT USAGE, CREATE ON SCHEMA sluice");
	} else if (there && !rows) {
		buf_puts(&grant, "GRANT ALL ON ALL SEQUENCES IN SCHEMA sluice TO ");
		pg_put_ident(&grant, check->role);
		buf_puts(&grant, ";\nGRANT ALL ON ALL TABLES IN SCHEMA sluice");
	}
	if (grant.len) {
		buf_puts(&grant, " TO ");
		pg_put_ident(&grant, check->role);
		buf_putc(&grant, ';');
		check_fail(check, EXIT_PERMISSION, "PG-GRANT-CREATE", buf_str(&grant),
			"role %s may not make or use the schema \"sluice\" that holds progress", check->role);
	}
}

/* has this stream been here before? Then rows in its tables are its own */
static void check_ours(struct check *check)
{
	const char *values[] = { check->ctx->cfg->name };
	struct error ignored = ERROR_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec_params(check->conn,
		    "SELECT EXISTS (SELECT 1 FROM sluice.progress WHERE stream = $1 AND"
		    " (resume IS NOT NULL OR \"offset\" IS NOT NULL))"
		    " OR EXISTS (SELECT 1 FROM sluice.migration WHERE stream = $1 AND key LIKE 'table/%')",
		    1, values, &res, &ignored) == 0)
		check->ours = *PQgetvalue(res, 0, 0) == 't';
}

void sink_postgres_check(const struct context *ctx, struct finding_list *ret)
{
	struct check check = { .ctx = ctx, .list = ret };
	struct error err = ERROR_INIT;

	check.sink.cfg = ctx->cfg;
	check.sink.stream = ctx->cfg->name;
	pg_describe_uri(ctx->cfg->target.uri, ret->title, sizeof(ret->title));
	if (check_connect(&check)) {
		if (pg_exec(check.conn, "SET statement_timeout = '10s'", NULL, &err) < 0)
			check_add_error(&check, &err);
		check_title(&check);
		check_server(&check);
		check_replica_role(&check);
		check_control(&check);
		check_ours(&check);
		check_tables(&check);
	}
	if (check.conn)
		PQfinish(check.conn);
}
