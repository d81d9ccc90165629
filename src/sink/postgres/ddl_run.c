/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes the columns that a relation has and its table lacks: in the target transaction of the first row that needs them, right
 * before it, behind all rows that stand before it in the stream. So a transaction that is taken back, by whatever, takes
 * the columns with it, and a restart finds either all of it or nothing.
 *
 * The table's lock is asked for with a time limit, since everybody queues behind one who waits for it; without it the
 * transaction is given up and tried again. It is held to the end of that transaction.
 *
 * Where a log's partitions are shared, several appliers come to a new column at the same time: who has the table's lock looks again, and
 * finds it there or makes it. Two that have both written rows of the table before cannot both have the lock: one of them is given up.
 *
 * What is remembered of the source's columns is written with them, or when a relation is met first, then in a statement
 * that holds the progress row, so that only the applier that has the stream writes it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/net.h>

#include "apply.h"
#include "ddl.h"

#define LOCK_WAIT "1s"

CLEANUP_DEFINE(struct ddl_known, ddl_known_free)

/* may another applier of the stream write the table? */
static bool is_shared(const struct apply *apply)
{
	const struct config *cfg = apply->sink->cfg;

	return cfg->transport.type == TRANSPORT_KAFKA && cfg->transport.kafka.layout == LAYOUT_TABLES;
}

static void known_key(const struct target *target, char key[CHUNK_KEY_MAX])
{
	char name[CHUNK_NAME_MAX];

	chunk_key(key, chunk_name(target->rel, name), "columns");
}

/* what is remembered, as text too */
static int known_load(struct apply *apply, const struct target *target, struct buf *text,
	struct ddl_known **ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char key[CHUNK_KEY_MAX];

	known_key(target, key);
	*ret = NULL;
	if (chunk_get(apply->sink, key, CHUNK_READ, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	buf_puts(text, PQgetvalue(res, 0, 0));
	*ret = ddl_known_parse(PQgetvalue(res, 0, 0), strlen(PQgetvalue(res, 0, 0)));
	return 0;
}

static int known_store(struct apply *apply, const struct target *target, const char *text, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char key[CHUNK_KEY_MAX], number[16], epoch[24];
	const char *values[6];

	known_key(target, key);
	if (apply->open)
		return chunk_set(apply->sink, key, text, err);
	progress_params(apply->sink, apply->row, number, values);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)apply->row->epoch);
	values[3] = epoch;
	values[4] = key;
	values[5] = text;
	if (pg_exec_params(apply->sink->conn,
		    "WITH held AS MATERIALIZED (SELECT 1 FROM sluice.progress WHERE stream = $1 AND topic = $2"
		    " AND partition = $3 AND epoch = $4 FOR KEY SHARE)"
		    " INSERT INTO sluice.migration (stream, key, value, updated_at) SELECT $1, $5,"
		    " pg_catalog.convert_to($6, 'UTF8'), pg_catalog.now() FROM held"
		    " ON CONFLICT (stream, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at",
		    6, values, &res, err) < 0)
		return -1;
	return strcmp(PQcmdTuples(res), "1") ? progress_fenced(err) : 0;
}

static bool has_facts(const struct relation *rel)
{
	return rel->n_columns && rel->columns[0].facts;
}

int ddl_note(struct apply *apply, struct target *target, struct error *err)
{
	_cleanup_(ddl_known_freep) struct ddl_known *known = NULL;
	_cleanup_(buf_freep) struct buf before = BUF_INIT;
	_cleanup_(buf_freep) struct buf after = BUF_INIT;
	struct error mistaken = ERROR_INIT;

	if (apply->sink->cfg->apply.ddl != DDL_ADDITIVE || !has_facts(target->rel) || !target->n_columns)
		return 0;
	if (known_load(apply, target, &before, &known, err) < 0)
		return -1;
	if (ddl_mistaken(known, target, &mistaken)) {
		target->broken = true;
		target->lacks = false;
		target->error = mistaken;
	}
	if (target->broken)
		return 0;
	/* a first look that came late does not say what was there */
	if (!known && target->rel->behind && !target->rel->highest)
		return 0;
	ddl_known_put(&after, known, target);
	if (!strcmp(buf_str(&before), buf_str(&after)))
		return 0;
	return known_store(apply, target, buf_str(&after), err);
}

bool ddl_find(
	struct apply *apply, const struct apply_group *group, const struct group_cut *cut, uint32_t *ret)
{
	struct net_at at = net_at_begin(group);
	const struct record *rec;
	uint32_t i = 0;

	for (; (rec = net_at_record(group, &at)); at.record++, i++) {
		const struct target *target;

		if ((cut->dropped && cut->dropped[i]) ||
			(rec->op != RECORD_INSERT && rec->op != RECORD_UPDATE && rec->op != RECORD_DELETE))
			continue;
		target = target_tables_peek(apply, rec->rel);
		if (target && target->lacks) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* the column's type as the target writes it; "" = the target has none of the name */
static int type_name(PGconn *conn, const struct column *column, struct buf *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const struct column_facts *facts = column->facts;
	char oid[16], modifier[16];
	const char *builtin[] = { oid, modifier };
	const char *named[] = { facts ? facts->type_schema : NULL, facts ? facts->type_name : NULL,
		modifier };
	int r;

	snprintf(oid, sizeof(oid), "%u", column->type_oid);
	snprintf(modifier, sizeof(modifier), "%d", column->type_modifier);
	buf_clear(ret);
	if (pg_type_is_builtin(column->type_oid))
		r = pg_exec_params(
			conn, "SELECT pg_catalog.format_type($1::oid, $2::int)", 2, builtin, &res, err);
	else
		r = pg_exec_params(conn,
			"SELECT pg_catalog.format_type(t.oid, $3::int) FROM pg_catalog.pg_type t JOIN"
			" pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typname = $2",
			3, named, &res, err);
	if (r == 0 && PQntuples(res) && !PQgetisnull(res, 0, 0))
		buf_puts(ret, PQgetvalue(res, 0, 0));
	return r;
}

/* the table that is altered: a partition's root, for a column comes to all of it */
struct root {
	struct buf name;
	bool empty;
};

static void root_fini(struct root *root)
{
	buf_fini(&root->name);
}

static int root_read(struct apply *apply, const struct target *target, struct root *ret, struct error *err)
{
	PGconn *conn = apply->sink->conn;
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(PQclearp) PGresult *rows = NULL;

	if (pg_execf(conn, &res, err,
		    "SELECT n.nspname, c.relname, pg_catalog.pg_has_role(c.relowner, 'USAGE'),"
		    " pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c"
		    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE c.oid = coalesce(pg_catalog.pg_partition_root(%u), %u)",
		    target->oid, target->oid) < 0)
		return -1;
	if (!PQntuples(res))
		return error_set(err, ERROR_TRANSIENT, "PG-TABLE-MISSING", "table %s.%s was dropped just now",
			target->schema, target->name);
	pg_put_name(&ret->name, PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1));
	if (*PQgetvalue(res, 0, 2) != 't') {
		error_set(err, ERROR_CONFIG, "PG-TABLE-OWNER",
			"a column came to %s.%s at the source, and role %s may not make it: it does not own the table",
			target->schema, target->name, PQuser(conn));
		error_remedy(err, "GRANT \"%s\" TO \"%s\"; -- or apply.ddl: stop", PQgetvalue(res, 0, 3),
			PQuser(conn));
		return error_exit(err, EXIT_PERMISSION);
	}
	if (pg_execf(conn, &rows, err, "SELECT NOT EXISTS (SELECT FROM %s)", buf_str(&ret->name)) < 0)
		return -1;
	ret->empty = *PQgetvalue(rows, 0, 0) == 't';
	return 0;
}

static int refuse(const struct target *target, const struct ddl_add *add, const char *renamed,
	const char *why, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	error_set(err, ERROR_SCHEMA, "PG-COLUMN-MISSING",
		"column %s of source table %s.%s does not exist in the target's table, and sluice does not make it: %s",
		add->column->name, target->schema, target->name, why);
	if (renamed)
		return error_remedy(err, "ALTER TABLE %s RENAME COLUMN \"%s\" TO \"%s\";", target->sql_name,
			renamed, add->column->name);
	ddl_put_add(&sql, add);
	return error_remedy(err, "%s; -- and the values of the rows that exist", buf_str(&sql));
}

static int refuse_type(const struct target *target, const struct column *column, struct error *err)
{
	const struct column_facts *facts = column->facts;
	bool named = facts && facts->type_name;

	error_set(err, ERROR_SCHEMA, "PG-TYPE-MISSING",
		"column %s of source table %s.%s does not exist in the target's table, nor does its type %s%s%s",
		column->name, target->schema, target->name, named ? facts->type_schema : "", named ? "." : "",
		named ? facts->type_name : "");
	return error_remedy(err,
		"make the type as it is at the source (pg_dump --schema-only shows it), then the column is made");
}

/* a statement that may fail without harm to the transaction; true = it succeeded */
static int try_statement(PGconn *conn, const char *sql, bool *ret, struct error *err)
{
	struct error why = ERROR_INIT;

	if (pg_exec(conn, "SAVEPOINT sluice_ddl", NULL, err) < 0)
		return -1;
	*ret = pg_exec(conn, sql, NULL, &why) == 0;
	return pg_exec(conn,
		*ret ? "RELEASE SAVEPOINT sluice_ddl"
		     : "ROLLBACK TO SAVEPOINT sluice_ddl; RELEASE SAVEPOINT sluice_ddl",
		NULL, err);
}

static int audit(struct apply *apply, const char *action, const char *detail, struct error *err)
{
	const char *values[] = { apply->sink->stream, action, detail };

	return pg_exec_params(apply->sink->conn,
		"INSERT INTO sluice.audit (stream, action, detail) VALUES ($1, $2, $3)", 3, values, NULL,
		err);
}

/* what is left to a person: a statement, said aloud and written down */
static int leave(struct apply *apply, const struct target *target, const struct column *column,
	const char *sql, struct error *err)
{
	const struct context *ctx = apply->sink->base.ctx;

	log_warn(ctx->log, "column-differs", "a column was made that differs from the source's",
		"table=%s column=%s remedy=%s", target->sql_name, column->name, sql);
	if (ctx->status)
		status_alarm_raise(ctx->status, "PG-COLUMN-DIFFERS", sql,
			"column %s of %s.%s was made with another default or NOT NULL than the source's",
			column->name, target->schema, target->name);
	return audit(apply, "column differs", sql, err);
}

/* does the default say the missing value, which the column was made with? */
static bool is_missing(const struct column_facts *facts)
{
	_cleanup_(buf_freep) struct buf literal = BUF_INIT;

	if (!facts->missing || !facts->preset)
		return facts->missing == facts->preset;
	pg_put_literal(&literal, facts->missing);
	return !strcmp(facts->preset, facts->missing) ||
	       (!strncmp(facts->preset, buf_str(&literal), literal.len) &&
		       (!facts->preset[literal.len] || !strncmp(facts->preset + literal.len, "::", 2)));
}

/* the default that the source has now; one that is not plain, or that the target cannot have, is left to a person */
static int run_default(
	struct apply *apply, const struct target *target, const struct ddl_add *add, struct error *err)
{
	const struct column_facts *facts = add->column->facts;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	bool set = false;

	if (!ddl_put_default(&sql, add) || is_missing(facts))
		return 0;
	/* another partition may still hold rows from before the column: they are given what the column was made with */
	if (is_shared(apply))
		return leave(apply, target, add->column, buf_str(&sql), err);
	if ((!facts->preset || ddl_default_is_plain(facts->preset)) &&
		try_statement(apply->sink->conn, buf_str(&sql), &set, err) < 0)
		return -1;
	if (set)
		return 0;
	if (leave(apply, target, add->column, buf_str(&sql), err) < 0)
		return -1;
	/* rather none than one that is not the source's */
	buf_clear(&sql);
	buf_printf(&sql, "ALTER TABLE %s ALTER COLUMN ", add->table);
	pg_put_ident(&sql, add->column->name);
	buf_puts(&sql, " DROP DEFAULT");
	return pg_exec(apply->sink->conn, buf_str(&sql), NULL, err);
}

static int run_add(
	struct apply *apply, const struct target *target, const struct ddl_add *add, struct error *err)
{
	const struct column_facts *facts = add->column->facts;
	struct sink_postgres *sink = apply->sink;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	ddl_put_add(&sql, add);
	if (pg_exec(sink->conn, buf_str(&sql), NULL, err) < 0) {
		/* the server's text would quote the value */
		if (!strncmp(err->code, "PG-22", 5))
			error_set(err, ERROR_SCHEMA, err->code,
				"the target's type does not take the value that the rows that exist have");
		return error_where(
			err, "column %s of %s.%s", add->column->name, target->schema, target->name);
	}
	if (audit(apply, "add column", buf_str(&sql), err) < 0)
		return -1;
	/* the rule is that a driver does not log; but this changes somebody's table */
	log_info(sink->base.ctx->log, "column-added", "a column that came at the source was made",
		"table=%s column=%s", target->sql_name, add->column->name);
	if (facts->number && facts->not_null && !facts->missing && !add->empty) {
		buf_clear(&sql);
		buf_printf(&sql, "ALTER TABLE %s ALTER COLUMN ", add->table);
		pg_put_ident(&sql, add->column->name);
		buf_puts(&sql, " SET NOT NULL; -- once it is in sync");
		if (leave(apply, target, add->column, buf_str(&sql), err) < 0)
			return -1;
	}
	return run_default(apply, target, add, err);
}

/* decides all of them, then makes them */
static int run_columns(struct apply *apply, const struct target *target, struct error *err)
{
	_cleanup_(ddl_known_freep) struct ddl_known *known = NULL;
	_cleanup_(root_fini) struct root root = { 0 };
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	_cleanup_(buf_freep) struct buf type = BUF_INIT;
	const struct relation *rel = target->rel;

	if (known_load(apply, target, &text, &known, err) < 0 || root_read(apply, target, &root, err) < 0)
		return -1;
	for (int make = 0; make < 2; make++) {
		for (uint32_t i = 0; i < rel->n_columns; i++) {
			const char *renamed = NULL, *why;
			struct ddl_add add = {
				.table = buf_str(&root.name), .column = &rel->columns[i], .empty = root.empty
			};

			if (target_has_column(target, rel->columns[i].name))
				continue;
			if (type_name(apply->sink->conn, add.column, &type, err) < 0)
				return -1;
			add.type = type.len ? buf_str(&type) : "<type>";
			why = make ? NULL : ddl_refuses(known, target, i, root.empty, &renamed);
			if (why)
				return refuse(target, &add, renamed, why, err);
			if (!type.len)
				return refuse_type(target, add.column, err);
			if (make && run_add(apply, target, &add, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* what is lacking once nobody else can make it */
static int run_alone(struct apply *apply, struct target *target, struct error *err)
{
	if (pg_execf(apply->sink->conn, NULL, err, "LOCK TABLE %s IN ACCESS EXCLUSIVE MODE",
		    target->sql_name) < 0)
		return -1;
	return target_tables_reload(apply, target, err);
}

static int run_locked(struct apply *apply, struct target *target, struct error *err)
{
	PGconn *conn = apply->sink->conn;

	/* rows written before may have checks waiting for the commit: no table is altered before they are made */
	if (!apply->sink->replica_role && pg_exec(conn, "SET CONSTRAINTS ALL IMMEDIATE", NULL, err) < 0)
		return -1;
	if (pg_exec(conn, "SET LOCAL lock_timeout = '" LOCK_WAIT "'", NULL, err) < 0 ||
		(is_shared(apply) && run_alone(apply, target, err) < 0) ||
		(target->lacks && run_columns(apply, target, err) < 0))
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.column_added"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.column_added");
	if (!apply->sink->replica_role && pg_exec(conn, "SET CONSTRAINTS ALL DEFERRED", NULL, err) < 0)
		return -1;
	return pg_exec(conn, "SET LOCAL lock_timeout = 0", NULL, err);
}

int ddl_run(struct apply *apply, struct target *target, struct error *err)
{
	if (queue_leave(&apply->sink->queue, err) < 0 || target_tables_reload(apply, target, err) < 0)
		return -1;
	if (target->lacks) {
		apply->tables.altered = true;
		if (run_locked(apply, target, err) < 0 || target_tables_reload(apply, target, err) < 0)
			return -1;
	}
	if (target->lacks)
		return error_set(err, ERROR_BUG, "PG-COLUMN-MISSING", "%s.%s lacks a column that was made",
			target->schema, target->name);
	apply->tables.lacking = false;
	for (const struct target *other = apply->tables.targets; other; other = other->next)
		apply->tables.lacking |= other->lacks;
	return ddl_note(apply, target, err);
}
