/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What `sluice check` finds at the source. It looks and changes nothing; every remedy is complete SQL, so that the
 * findings can be piped into psql by somebody with the rights. What is a matter of judgement is printed as a comment.
 */

#include <stdio.h>
#include <stdlib.h>

#include "postgres.h"

struct checker {
	const struct context *ctx;
	const struct config_source *cfg;
	struct finding_list *out;
	PGconn *conn;
	char role[72];
	struct source_tables tables;
	struct slot_info slot;
	bool may_replicate;
};

static void failed(struct checker *chk, const struct error *err)
{
	_cleanup_(buf_freep) struct buf remedy = BUF_INIT;
	size_t len = strlen(err->remedy);

	/* what is no SQL becomes a comment: remedies can be piped into psql */
	buf_printf(&remedy, "%s%s", len && err->remedy[len - 1] != ';' ? "-- " : "", err->remedy);
	finding_add(chk->out, FINDING_FAIL, err->code, len ? buf_str(&remedy) : NULL, "%s", err->message);
	chk->out->items[chk->out->n - 1].exit_code = error_exit_code(err);
}

static void fail_exit(struct checker *chk, int exit_code)
{
	chk->out->items[chk->out->n - 1].exit_code = exit_code;
}

/* NULL = the query failed, or gave no row, and a finding says so */
static PGresult *query(struct checker *chk, const char *sql)
{
	struct error err = ERROR_INIT;
	PGresult *res = NULL;

	if (pg_exec(chk->conn, sql, &res, &err) < 0) {
		failed(chk, &err);
		return NULL;
	}
	if (PQntuples(res))
		return res;
	PQclear(res);
	finding_add(chk->out, FINDING_FAIL, "PG-CHECK", NULL,
		"the server's catalog does not tell about role and settings");
	return NULL;
}

/* the rows of a result, one statement each, as lines */
static void lines(const PGresult *res, struct buf *ret)
{
	for (int i = 0; i < PQntuples(res); i++)
		buf_printf(ret, "%s%s", ret->len ? "\n" : "", PQgetvalue(res, i, PQnfields(res) - 1));
}

static void check_title(struct checker *chk)
{
	_cleanup_(PQclearp) PGresult *res = query(chk,
		"SELECT pg_catalog.current_setting('server_version'), "
		"pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database())), current_user, "
		"pg_catalog.current_database()");
	const char *host = PQhost(chk->conn), *port = PQport(chk->conn);
	bool usual = !port || !strcmp(port, "5432");

	if (!res)
		return;
	if (!host || !*host || *host == '/')
		host = "local";
	snprintf(chk->role, sizeof(chk->role), "%s", PQgetvalue(res, 0, 2));
	snprintf(chk->out->title, sizeof(chk->out->title), "%s%s%s/%s PostgreSQL %.*s, %u table%s, %s", host,
		usual ? "" : ":", usual ? "" : port, PQgetvalue(res, 0, 3),
		(int)strcspn(PQgetvalue(res, 0, 0), " "), PQgetvalue(res, 0, 0), chk->tables.n,
		chk->tables.n == 1 ? "" : "s", PQgetvalue(res, 0, 1));
}

static void check_wal_level(struct checker *chk, const PGresult *res, int free_slots)
{
	if (!strcmp(PQgetvalue(res, 0, 1), "logical")) {
		finding_add(chk->out, FINDING_OK, "", NULL, "wal_level=logical, %d of %s slots free",
			free_slots, PQgetvalue(res, 0, 4));
		return;
	}
	finding_add(chk->out, FINDING_FAIL, "PG-WAL-LEVEL",
		"ALTER SYSTEM SET wal_level = logical;\n-- then restart the source", "wal_level=%s",
		PQgetvalue(res, 0, 1));
	fail_exit(chk, EXIT_CONFIG);
}

/* one for the stream, and a second one for going on after a crash in the copy */
static void check_room(struct checker *chk, const char *code, const char *what, const char *setting, int room)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	if (room >= 2)
		return;
	buf_printf(&sql, "ALTER SYSTEM SET %s = 20;\n-- then restart the source", setting);
	finding_add(chk->out, room < 1 ? FINDING_FAIL : FINDING_WARN, code, buf_str(&sql),
		"%d free %s: one for the stream, a second one to go on after a crash in the copy",
		room < 0 ? 0 : room, what);
	if (room < 1)
		fail_exit(chk, EXIT_CONFIG);
}

/* a walsender of any kind counts as a standby whose name is listed */
static void check_standbys(struct checker *chk, const char *names)
{
	if (!strchr(names, '*'))
		return;
	finding_add(chk->out, FINDING_FAIL, "PG-SYNC-NAMES",
		"-- ALTER SYSTEM SET synchronous_standby_names = '...' with the standbys' own names; SELECT pg_reload_conf();",
		"synchronous_standby_names has a *: the server takes sluice for a standby, and commits wait for the target");
	fail_exit(chk, EXIT_CONFIG);
}

static void check_server(struct checker *chk)
{
	_cleanup_(PQclearp) PGresult *res = query(chk,
		"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('wal_level'), "
		"pg_catalog.current_setting('max_replication_slots')::int - (SELECT pg_catalog.count(*) FROM "
		"pg_catalog.pg_replication_slots), pg_catalog.current_setting('max_wal_senders')::int - (SELECT "
		"pg_catalog.count(*) FROM pg_catalog.pg_stat_replication), "
		"pg_catalog.current_setting('max_replication_slots'), "
		"COALESCE(pg_catalog.inet_server_addr() <<= '127.0.0.0/8' OR pg_catalog.inet_server_addr() = '::1', true), "
		"pg_catalog.current_setting('synchronous_standby_names')");
	int slots, senders, ours = chk->slot.exists ? 1 : 0;

	if (!res)
		return;
	if (PQserverVersion(chk->conn) < 140000) {
		finding_add(chk->out, FINDING_FAIL, "PG-VERSION", NULL, "PostgreSQL 14 or newer is needed");
		fail_exit(chk, EXIT_CONFIG);
	}
	if (*PQgetvalue(res, 0, 0) == 't') {
		finding_add(chk->out, FINDING_FAIL, "PG-STANDBY", NULL,
			"the source is a standby: connect to the primary");
		fail_exit(chk, EXIT_CONFIG);
	}
	if (!PQsslInUse(chk->conn) && *PQgetvalue(res, 0, 5) != 't')
		finding_add(chk->out, FINDING_WARN, "PG-TLS",
			"-- in source.uri: sslmode=verify-full&sslrootcert=FILE",
			"the connection is not encrypted: everything that is copied travels readable");
	slots = (int)strtol(PQgetvalue(res, 0, 2), NULL, 10);
	senders = (int)strtol(PQgetvalue(res, 0, 3), NULL, 10);
	check_standbys(chk, PQgetvalue(res, 0, 6));
	check_wal_level(chk, res, slots);
	check_room(chk, "PG-SLOTS", "replication slots", "max_replication_slots", slots + ours);
	check_room(chk, "PG-SENDERS", "walsenders", "max_wal_senders", senders + (chk->slot.active ? 1 : 0));
}

/* a walsender session passes pg_hba.conf and the connection limit on its own */
static void check_replication(struct checker *chk)
{
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	struct error err = ERROR_INIT;

	if (source_pg_connect(chk->ctx, PG_SOURCE_REPLICATION, "check", &conn, &err) < 0 ||
		pg_exec(conn, "IDENTIFY_SYSTEM", NULL, &err) < 0)
		failed(chk, &err);
}

static void check_role(struct checker *chk)
{
	_cleanup_(PQclearp) PGresult *res = query(chk,
		"SELECT r.rolreplication OR r.rolsuper, pg_catalog.has_database_privilege(pg_catalog.current_database(), "
		"'CREATE'), pg_catalog.current_database() FROM pg_catalog.pg_roles r WHERE r.rolname = current_user");
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	struct error err = ERROR_INIT;

	if (!res)
		return;
	if (*PQgetvalue(res, 0, 0) != 't') {
		buf_puts(&sql, "ALTER ROLE ");
		pg_put_ident(&sql, chk->role);
		buf_puts(&sql, " REPLICATION;");
		finding_add(chk->out, FINDING_FAIL, "PG-ROLE", buf_str(&sql), "role %s may not replicate",
			chk->role);
		fail_exit(chk, EXIT_PERMISSION);
	} else {
		check_replication(chk);
	}
	if (*PQgetvalue(res, 0, 1) != 't' &&
		publication_exists(chk->conn, chk->cfg->postgresql.publication, &err) == 0) {
		buf_clear(&sql);
		buf_puts(&sql, "GRANT CREATE ON DATABASE ");
		pg_put_ident(&sql, PQgetvalue(res, 0, 2));
		buf_puts(&sql, " TO ");
		pg_put_ident(&sql, chk->role);
		buf_puts(&sql, ";");
		finding_add(chk->out, FINDING_FAIL, "PG-GRANT-CREATE", buf_str(&sql),
			"role %s may not create the publication", chk->role);
		fail_exit(chk, EXIT_PERMISSION);
	}
}

/* what an owner has to run where our role does not own the tables */
static void publication_missing(struct checker *chk)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	uint32_t foreign = 0, without = 0;
	char second[64];

	for (uint32_t i = 0; i < chk->tables.n; i++) {
		foreign += !chk->tables.items[i].is_owner;
		without += !chk->tables.items[i].identity;
		/* the findings before this one give every table its identity */
		if (chk->cfg->postgresql.no_identity != NO_IDENTITY_INSERT_ONLY)
			chk->tables.items[i].identity = true;
	}
	if (!foreign)
		return;
	publication_sql(&sql, chk->cfg->postgresql.publication, &chk->tables, true);
	if (without && chk->cfg->postgresql.no_identity == NO_IDENTITY_INSERT_ONLY) {
		publication_insert_name(chk->cfg->postgresql.publication, second, sizeof(second));
		buf_puts(&sql, "\n");
		publication_sql(&sql, second, &chk->tables, false);
	}
	finding_add(chk->out, FINDING_FAIL, "PG-OWNER", buf_str(&sql),
		"role %s does not own %u of the tables: their owner, or a superuser, has to make the publication",
		chk->role, foreign);
	fail_exit(chk, EXIT_PERMISSION);
}

/* what brings a publication that is there in line; "" = only tables that are too many */
static void publication_add(struct checker *chk, struct buf *sql)
{
	for (uint32_t i = 0; i < chk->tables.n; i++) {
		const struct source_table *t = &chk->tables.items[i];

		if (t->published)
			continue;
		if (!sql->len) {
			buf_puts(sql, "ALTER PUBLICATION ");
			pg_put_ident(sql, chk->cfg->postgresql.publication);
			buf_puts(sql, " ADD TABLE ");
		} else {
			buf_puts(sql, ", ");
		}
		pg_put_name(sql, t->schema, t->name);
	}
	if (sql->len)
		buf_puts(sql, ";");
}

static void check_publication(struct checker *chk)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT, sql = BUF_INIT;
	struct error err = ERROR_INIT;
	int there = publication_exists(chk->conn, chk->cfg->postgresql.publication, &err);
	uint64_t missing;

	if (there < 0 || (there > 0 && publication_differs(chk->ctx, chk->conn, &chk->tables, &text, &missing,
					       &err) < 0)) {
		failed(chk, &err);
	} else if (there == 0 && chk->ctx->cfg->snapshot.mode == SNAPSHOT_NONE) {
		finding_add(chk->out, FINDING_FAIL, "PG-PUBLICATION", NULL,
			"snapshot.mode is none, but publication %s does not exist",
			chk->cfg->postgresql.publication);
		fail_exit(chk, EXIT_CONFIG);
	} else if (there == 0) {
		publication_missing(chk);
	} else if (text.len) {
		publication_add(chk, &sql);
		finding_add(chk->out, FINDING_FAIL, "PG-PUBLICATION", sql.len ? buf_str(&sql) : NULL,
			"publication %s does not fit source.include: %s", chk->cfg->postgresql.publication,
			buf_str(&text));
		fail_exit(chk, EXIT_CONFIG);
	} else {
		finding_add(chk->out, FINDING_OK, "", NULL, "publication %s fits",
			chk->cfg->postgresql.publication);
	}
}

static void check_identity(struct checker *chk, const struct source_table *t)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	struct error err = ERROR_INIT;

	switch (chk->cfg->postgresql.no_identity) {
	case NO_IDENTITY_REFUSE:
		if (table_identity_statements(chk->conn, t, &res, &err) < 0) {
			failed(chk, &err);
			return;
		}
		lines(res, &sql);
		finding_add(chk->out, FINDING_FAIL, "PG-IDENTITY", buf_str(&sql),
			"%s.%s has no replica identity", t->schema, t->name);
		fail_exit(chk, EXIT_CONFIG);
		return;
	case NO_IDENTITY_INSERT_ONLY:
		finding_add(chk->out, FINDING_WARN, "PG-IDENTITY", NULL,
			"%s.%s has no replica identity: only its inserts travel", t->schema, t->name);
		return;
	case NO_IDENTITY_FULL:
		finding_add(chk->out, FINDING_WARN, "PG-IDENTITY", NULL,
			"%s.%s has no replica identity: it will be set to FULL", t->schema, t->name);
		return;
	}
}

static void check_readable(struct checker *chk, const struct source_table *t)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	struct error err = ERROR_INIT;

	if (table_grant_statements(chk->conn, t, &res, &err) < 0) {
		failed(chk, &err);
		return;
	}
	lines(res, &sql);
	finding_add(chk->out, FINDING_FAIL, "PG-GRANT-SELECT", buf_str(&sql), "role %s may not read %s.%s",
		chk->role, t->schema, t->name);
	fail_exit(chk, EXIT_PERMISSION);
}

static void check_tables(struct checker *chk)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	if (!chk->tables.n) {
		finding_add(chk->out, FINDING_FAIL, "PG-NO-TABLES", NULL,
			"source.include and source.exclude select no table");
		fail_exit(chk, EXIT_CONFIG);
	}
	buf_puts(&sql, "ALTER ROLE ");
	pg_put_ident(&sql, chk->role);
	buf_puts(&sql, " BYPASSRLS;");
	for (uint32_t i = 0; i < chk->tables.n; i++) {
		const struct source_table *t = &chk->tables.items[i];

		if (!t->identity)
			check_identity(chk, t);
		if (t->unreadable)
			check_readable(chk, t);
		if (t->row_security) {
			finding_add(chk->out, FINDING_FAIL, "PG-RLS", buf_str(&sql),
				"row security hides rows of %s.%s from role %s", t->schema, t->name,
				chk->role);
			fail_exit(chk, EXIT_PERMISSION);
		}
	}
}

/* the WAL does not know them, so nothing of them can travel */
static void check_unlogged(struct checker *chk)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct error err = ERROR_INIT;

	if (pg_exec(chk->conn,
		    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
		    "c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND n.nspname !~ '^pg_' ORDER BY 1, 2",
		    &res, &err) < 0) {
		failed(chk, &err);
		return;
	}
	for (int i = 0; i < PQntuples(res); i++) {
		const char *schema = PQgetvalue(res, i, 0), *name = PQgetvalue(res, i, 1);

		if (config_table_selected(chk->cfg, schema, name))
			finding_add(chk->out, FINDING_WARN, "PG-UNLOGGED", NULL,
				"%s.%s is unlogged: it is not copied and not followed", schema, name);
	}
}

static void check_slot(struct checker *chk)
{
	const char *name = chk->cfg->postgresql.slot;
	const struct slot_info *slot = &chk->slot;
	struct error err = ERROR_INIT;

	if (!slot->exists && chk->ctx->cfg->snapshot.mode == SNAPSHOT_NONE) {
		finding_add(chk->out, FINDING_FAIL, "PG-SLOT-MISSING", NULL,
			"snapshot.mode is none, but slot %s does not exist", name);
		fail_exit(chk, EXIT_CONFIG);
	}
	if (!slot->exists)
		return;
	if (slot->lost) {
		slot_lost_error(name, slot->wal_status, &err);
		failed(chk, &err);
	} else if (!slot->logical || strcmp(slot->plugin, "pgoutput") ||
		   strcmp(slot->database, PQdb(chk->conn))) {
		finding_add(chk->out, FINDING_FAIL, "PG-SLOT-FOREIGN", NULL,
			"slot %s is not one of pgoutput in this database: set source.postgresql.slot to another name",
			name);
		fail_exit(chk, EXIT_CONFIG);
	} else if (slot->active) {
		finding_add(chk->out, FINDING_WARN, "PG-SLOT-BUSY", NULL,
			"slot %s is active for PID %d: it runs already?", name, slot->active_pid);
	} else {
		finding_add(chk->out, FINDING_OK, "", NULL, "slot %s exists and keeps %lld MiB of WAL", name,
			(long long)(slot->retained_bytes >> 20));
	}
}

static void check_wal_keep(struct checker *chk, const PGresult *res)
{
	static const char remedy[] =
		"-- a limit saves the source's disk, and loses the slot (a new copy) when it is reached:\n"
		"-- ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; SELECT pg_reload_conf();";
	double mb_hour = strtod(PQgetvalue(res, 0, 2), NULL), limit_mb = strtod(PQgetvalue(res, 0, 1), NULL);

	if (limit_mb < 0)
		finding_add(chk->out, FINDING_WARN, "PG-WAL-KEEP", remedy,
			"max_slot_wal_keep_size=-1: a slot that is not read keeps WAL (here about %.0f MB/h) until "
			"the disk is full",
			mb_hour);
	else if (mb_hour >= 1)
		finding_add(chk->out, FINDING_OK, "", NULL,
			"max_slot_wal_keep_size=%s: the slot is lost when it falls behind by about %.1f h",
			PQgetvalue(res, 0, 0), limit_mb / mb_hour);
	else
		finding_add(chk->out, FINDING_OK, "", NULL,
			"max_slot_wal_keep_size=%s: the slot is lost when it falls further behind",
			PQgetvalue(res, 0, 0));
}

static void check_risks(struct checker *chk)
{
	_cleanup_(PQclearp) PGresult *res = query(chk,
		"SELECT pg_catalog.current_setting('max_slot_wal_keep_size'), (SELECT setting FROM pg_catalog.pg_settings WHERE "
		"name = 'max_slot_wal_keep_size'), (SELECT wal_bytes / 1048576 * 3600 / GREATEST(extract(epoch FROM "
		"pg_catalog.now() - stats_reset), 1) FROM pg_catalog.pg_stat_wal), (SELECT pg_catalog.count(*) FROM "
		"pg_catalog.pg_prepared_xacts), COALESCE(pg_catalog.current_setting('idle_replication_slot_timeout', true), '0')");

	if (!res)
		return;
	check_wal_keep(chk, res);
	if (strcmp(PQgetvalue(res, 0, 4), "0"))
		finding_add(chk->out, FINDING_WARN, "PG-SLOT-IDLE",
			"-- ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();",
			"idle_replication_slot_timeout=%s: the slot is lost when sluice is stopped for that long",
			PQgetvalue(res, 0, 4));
	if (strcmp(PQgetvalue(res, 0, 3), "0"))
		finding_add(chk->out, FINDING_WARN, "PG-PREPARED",
			"-- SELECT gid, prepared, owner, database FROM pg_prepared_xacts;",
			"%s prepared transactions are open: the slot cannot be made before they end",
			PQgetvalue(res, 0, 3));
}

void source_postgres_check(const struct context *ctx, struct finding_list *ret)
{
	struct checker chk = { .ctx = ctx, .cfg = &ctx->cfg->source, .out = ret };
	struct error err = ERROR_INIT;

	pg_describe_uri(chk.cfg->uri, ret->title, sizeof(ret->title));
	if (source_pg_connect(ctx, PG_SOURCE, "check", &chk.conn, &err) < 0) {
		failed(&chk, &err);
		return;
	}
	if (pg_exec(chk.conn, "SET statement_timeout = '10s'", NULL, &err) < 0 ||
		tables_read(chk.conn, chk.cfg, &chk.tables, &err) < 0 ||
		tables_distinct(&chk.tables, &err) < 0)
		failed(&chk, &err);
	check_title(&chk);
	/* a standby cannot say where its slots are; what it is comes out below */
	if (slot_read(chk.conn, chk.cfg->postgresql.slot, &chk.slot, &err) < 0)
		chk.slot = (struct slot_info){ 0 };
	check_server(&chk);
	check_role(&chk);
	check_tables(&chk);
	check_unlogged(&chk);
	check_publication(&chk);
	check_slot(&chk);
	check_risks(&chk);
	tables_fini(&chk.tables);
	PQfinish(chk.conn);
}
