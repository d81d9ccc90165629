/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The initial copy, target side: who makes the tables, whose rows a table holds, and what comes after the last chunk.
 *
 * A table is ours from the moment "table/<schema>.<name>/start" is stored, which happens before its first row; only then
 * may it be emptied when it is found unfinished. A table with rows and without that key is somebody's: refused.
 * Everything here holds the progress row (with a log: every one that we have) FOR KEY SHARE with our epoch, so a process
 * that was superseded empties nothing.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/postgres_tool.h>

#include "ddl.h"
#include "load.h"

int load_session(struct load *load, PGconn **conn, struct error *err)
{
	if (*conn)
		return 0;
	if (session_open(load->sink, "load", conn, NULL, err) < 0)
		return -1;
	/* what suits the applier's statements would make whole-table work endless */
	return pg_exec(*conn,
		"RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_seqscan; RESET enable_memoize; "
		"RESET enable_material; SET client_min_messages = warning; SET xmloption = content; "
		"SET standard_conforming_strings = on; SET check_function_bodies = off",
		NULL, err);
}

int load_exec(struct load *load, PGconn *conn, const char *sql, PGresult **ret, struct error *err)
{
	return pg_exec_stop(conn, sql, load->base.cancel, ret, err);
}

/* the progress rows that are ours, as a condition; returns how many */
static uint32_t put_rows(struct load *load, struct buf *sql)
{
	struct state_postgres *state = &load->sink->state;
	uint32_t n = 0;

	pthread_mutex_lock(&state->lock);
	for (const struct progress_row *row = state->rows; row; row = row->next, n++) {
		buf_puts(sql, n ? " OR (topic = " : "(topic = ");
		pg_put_literal(sql, row->topic);
		buf_printf(sql, " AND partition = %d AND epoch = %llu)", (int)row->id,
			(unsigned long long)row->epoch);
	}
	pthread_mutex_unlock(&state->lock);
	return n;
}

int load_begin(struct load *load, PGconn *conn, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	uint32_t n;

	buf_puts(&sql, "BEGIN; SELECT 1 FROM sluice.progress WHERE stream = ");
	pg_put_literal(&sql, load->sink->stream);
	buf_puts(&sql, " AND (false OR ");
	n = put_rows(load, &sql);
	buf_puts(&sql, n ? ") FOR KEY SHARE" : "false)");
	if (load_exec(load, conn, buf_str(&sql), &res, err) < 0)
		return -1;
	if (n && (uint32_t)PQntuples(res) == n)
		return 0;
	PQclear(PQexec(conn, "ROLLBACK"));
	return n ? progress_fenced(err) : progress_nothing(err);
}

void load_lock_key(const struct load *load, struct buf *sql, const char *what)
{
	_cleanup_(buf_freep) struct buf name = BUF_INIT;

	buf_printf(&name, "sluice_%s/%s", load->sink->stream, what);
	buf_puts(sql, "pg_catalog.hashtextextended(");
	pg_put_literal(sql, buf_str(&name));
	buf_puts(sql, ", 0)");
}

void load_mark(const struct load *load, struct buf *sql, const char *key)
{
	buf_puts(sql, "; INSERT INTO sluice.migration (stream, key, value, updated_at) VALUES (");
	pg_put_literal(sql, load->sink->stream);
	buf_puts(sql, ", ");
	pg_put_literal(sql, key);
	buf_puts(sql,
		", '1', pg_catalog.now()) ON CONFLICT (stream, key) DO UPDATE SET updated_at = pg_catalog.now()");
}

static int state_has(struct load *load, const char *key, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	int r = state_get(load->sink->base.state, key, &value, err);

	return r < 0 ? r : r == 0;
}

/* which of the selected tables the target has: two lists and two counts */
struct presence {
	struct buf there, missing;
	uint32_t n_there, n_missing;
};

static void presence_fini(struct presence *p)
{
	buf_fini(&p->there);
	buf_fini(&p->missing);
}

static int presence_query(
	struct load *load, const struct snapshot_source *src, struct presence *p, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	buf_puts(&sql,
		"SELECT v.s, v.n, EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
		"c.relnamespace WHERE n.nspname = v.s AND c.relname = v.n) FROM (VALUES ");
	for (uint32_t i = 0; i < src->n_tables; i++) {
		buf_puts(&sql, i ? ", (" : "(");
		pg_put_literal(&sql, src->tables[i].rel->schema);
		buf_puts(&sql, "::pg_catalog.name, ");
		pg_put_literal(&sql, src->tables[i].rel->name);
		buf_puts(&sql, "::pg_catalog.name)");
	}
	buf_puts(&sql, ") v (s, n) ORDER BY 1, 2");
	if (load_session(load, &load->conn, err) < 0 ||
		load_exec(load, load->conn, buf_str(&sql), &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		bool there = *PQgetvalue(res, i, 2) == 't';
		struct buf *list = there ? &p->there : &p->missing;

		if ((there ? p->n_there++ : p->n_missing++) > 0)
			buf_puts(list, ", ");
		buf_printf(list, "%s.%s", PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
	}
	return 0;
}

static int presence_decide(enum snapshot_schema mode, struct presence *p, struct error *err)
{
	if (mode == SCHEMA_CREATE && p->n_there) {
		error_set(err, ERROR_CONFIG, "SCHEMA-EXISTS",
			"snapshot.schema is create, but the target has %u table%s: %.160s", p->n_there,
			p->n_there > 1 ? "s" : "", buf_str(&p->there));
		return error_remedy(err, "drop them, or set snapshot.schema: existing");
	}
	if (mode == SCHEMA_EXISTING && p->n_missing) {
		error_set(err, ERROR_SCHEMA, "TABLE-MISSING", "the target lacks %u table%s: %.200s",
			p->n_missing, p->n_missing > 1 ? "s" : "", buf_str(&p->missing));
		return error_remedy(
			err, "make them, exclude them, or set snapshot.schema: create on an empty target");
	}
	if (p->n_there && p->n_missing) {
		error_set(err, ERROR_CONFIG, "SCHEMA-MIXED",
			"the target has %u tables (%.80s) and lacks %u (%.80s)", p->n_there,
			buf_str(&p->there), p->n_missing, buf_str(&p->missing));
		return error_remedy(err, "make those that lack, or drop those that are there");
	}
	return p->n_missing ? SNAPSHOT_SCHEMA_WANTED : 0;
}

/* may we make tables in these schemas, and the schemas that lack? Found out before a slot keeps WAL. */
static int check_create(struct load *load, const struct snapshot_source *src, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *role = PQuser(load->conn), *list;
	bool database;

	buf_puts(&sql,
		"SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(v.s), ', ') FILTER (WHERE NOT "
		"pg_catalog.has_schema_privilege(n.oid, 'CREATE')), COALESCE(pg_catalog.bool_or(n.oid IS NULL AND NOT "
		"pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')), false) FROM (VALUES ");
	for (uint32_t i = 0; i < src->n_tables; i++) {
		buf_puts(&sql, i ? ", (" : "(");
		pg_put_literal(&sql, src->tables[i].rel->schema);
		buf_puts(&sql, ")");
	}
	buf_puts(&sql, ") v (s) LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = v.s");
	if (load_exec(load, load->conn, buf_str(&sql), &res, err) < 0)
		return -1;
	list = PQgetvalue(res, 0, 0);
	database = *PQgetvalue(res, 0, 1) == 't';
	if (!*list && !database)
		return 0;
	error_set(err, ERROR_CONFIG, "PG-CREATE", "role %s may not make %s%s%s%s on the target", role,
		database ? "schemas" : "", database && *list ? ", or " : "", *list ? "tables in schema " : "",
		list);
	if (*list && database)
		error_remedy(err, "GRANT CREATE ON DATABASE \"%s\" TO %s; GRANT CREATE ON SCHEMA %s TO %s;",
			PQdb(load->conn), role, list, role);
	else if (*list)
		error_remedy(err, "GRANT CREATE ON SCHEMA %s TO %s;", list, role);
	else
		error_remedy(err, "GRANT CREATE ON DATABASE \"%s\" TO %s;", PQdb(load->conn), role);
	return error_exit(err, EXIT_PERMISSION);
}

static int is_empty(struct load *load, const struct load_target *target, bool *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	buf_printf(&sql, "SELECT EXISTS (SELECT FROM %s%s)", target->root ? "" : "ONLY ", target->name);
	if (load_exec(load, load->conn, buf_str(&sql), &res, err) < 0)
		return -1;
	*ret = *PQgetvalue(res, 0, 0) == 'f';
	return 0;
}

static void table_key(const struct relation *rel, const char *what, struct buf *key)
{
	buf_clear(key);
	buf_printf(key, "table/%s.%s/%s", rel->schema, rel->name, what);
}

/* a table with rows that we did not begin is somebody's */
static int refuse_foreign(struct load *load, const struct relation *rel, const struct load_target *target,
	bool *ret_empty, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	int ours;

	if (is_empty(load, target, ret_empty, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.table_check"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.table_check");
	/* looked at afterwards: another applier of a log may begin the table just now, and says so before its first row */
	table_key(rel, "start", &key);
	ours = state_has(load, buf_str(&key), err);
	if (ours < 0)
		return -1;
	if (ours || *ret_empty)
		return 0;
	error_set(err, ERROR_CONFIG, "TARGET-NOT-EMPTY", "%s.%s on the target holds rows that are not ours",
		rel->schema, rel->name);
	error_remedy(err, "TRUNCATE %s; on the target, or exclude the table", target->name);
	return error_exit(err, EXIT_CONFIG);
}

/* before anything is begun: all tables fit, none is somebody's */
static int check_tables(struct load *load, const struct snapshot_source *src, struct error *err)
{
	for (uint32_t i = 0; i < src->n_tables; i++) {
		struct snapshot_table *table = &src->tables[i];
		bool empty;

		if (table->done)
			continue;
		if (load_session(load, &load->conn, err) < 0 || load_table_check(load, table, err) < 0)
			return -1;
		if (refuse_foreign(load, table->rel, table->target, &empty, err) < 0)
			return -1;
	}
	return 0;
}

static int load_plan(struct snapshot_sink *base, const struct snapshot_source *src, struct error *err)
{
	struct load *load = (struct load *)base;
	struct presence p = { 0 };
	struct pg_tool tool;
	int r;

	if (!src->n_tables)
		return 0;
	r = state_has(load, STATE_SNAPSHOT_PRE, err);
	if (r < 0)
		return r;
	if (r == 0) {
		r = presence_query(load, src, &p, err);
		if (r == 0)
			r = presence_decide(load->sink->cfg->snapshot.schema, &p, err);
		presence_fini(&p);
		/* found out now, not when a slot keeps WAL already */
		if (r == SNAPSHOT_SCHEMA_WANTED &&
			(check_create(load, src, err) < 0 || pg_tool_find("pg_restore", 1, &tool, err) < 0))
			return -1;
		if (r != 0)
			return r;
	}
	return check_tables(load, src, err);
}

/* empties a table of ours; TRUNCATE where nothing refers to it and we may */
static int make_empty(
	struct load *load, const struct relation *rel, const struct load_target *target, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	const char *only = target->root ? "" : "ONLY ";
	int r;

	for (int attempt = target->referenced || target->rows ? 1 : 0;; attempt++) {
		if (load_begin(load, load->conn, err) < 0)
			return -1;
		buf_clear(&sql);
		buf_printf(&sql, "%s %s%s; DELETE FROM sluice.snapshot_chunks WHERE stream = ",
			attempt ? "DELETE FROM" : "TRUNCATE", only, target->name);
		pg_put_literal(&sql, load->sink->stream);
		buf_puts(&sql, " AND table_name = ");
		_cleanup_(buf_freep) struct buf name = BUF_INIT;

		buf_printf(&name, "%s.%s", rel->schema, rel->name);
		pg_put_literal(&sql, buf_str(&name));
		buf_puts(&sql, "; COMMIT");
		r = load_exec(load, load->conn, buf_str(&sql), NULL, err);
		if (r == 0 || !strcmp(err->code, "STOPPED") || PQstatus(load->conn) == CONNECTION_BAD)
			return r;
		PQclear(PQexec(load->conn, "ROLLBACK"));
		if (attempt)
			return error_where(err, "empty %s", target->name);
	}
}

static int store_start(struct load *load, const struct snapshot_table *table, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	char lsn[24];

	table_key(table->rel, "start", &key);
	pg_lsn_format(table->start, lsn, sizeof(lsn));
	return state_set(load->sink->base.state, buf_str(&key), lsn, strlen(lsn), err);
}

/* which of the source's columns the rows are of, for columns that come later (ddl.h) */
static int store_columns(struct load *load, const struct snapshot_table *table, struct error *err)
{
	const struct target_options opt = { 0 };
	struct target *target = NULL;
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	int r;

	if (!table->rel->n_columns || !table->rel->columns[0].facts)
		return 0;
	if (target_load(load->conn, table->rel, &opt, &target, err) < 0)
		return -1;
	table_key(table->rel, "columns", &key);
	ddl_known_put(&text, NULL, target);
	r = target->n_columns
		    ? state_set(load->sink->base.state, buf_str(&key), buf_str(&text), text.len, err)
		    : 0;
	target_free(target);
	return r;
}

static int load_table_begin(struct snapshot_sink *base, struct snapshot_table *table, struct error *err)
{
	struct load *load = (struct load *)base;
	bool empty;

	if (load_session(load, &load->conn, err) < 0)
		return -1;
	if (!table->target && load_table_check(load, table, err) < 0)
		return -1;
	if (refuse_foreign(load, table->rel, table->target, &empty, err) < 0)
		return -1;
	if (!empty && make_empty(load, table->rel, table->target, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.table_begin"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.table_begin");
	return store_columns(load, table, err) < 0 ? -1 : store_start(load, table, err);
}

static int load_table_done(struct snapshot_sink *base, struct snapshot_table *table, struct error *err)
{
	struct load *load = (struct load *)base;
	_cleanup_(buf_freep) struct buf key = BUF_INIT;

	if (SLUICE_FAULT_POINT("snapshot.table_done"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.table_done");
	table_key(table->rel, "done", &key);
	/* written with synchronous_commit=on: the chunks' commits before it become durable with it */
	return state_set(load->sink->base.state, buf_str(&key), "1", 1, err);
}

int load_sequence_put(struct buf *sql, uint8_t *line, size_t len, struct error *err)
{
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	uint8_t *field[4], *at = line, *end = line + len;

	for (int i = 0; i < 4; i++) {
		uint8_t *tab = at <= end ? memchr(at, i < 3 ? '\t' : '\n', (size_t)(end - at) + 1) : NULL;

		if (!tab)
			return error_set(err, ERROR_BUG, "SEQUENCES", "a sequence's line has no four fields");
		field[i] = at;
		field[i][load_unescape(at, (size_t)(tab - at))] = '\0';
		at = tab + 1;
	}
	pg_put_name(&name, (char *)field[0], (char *)field[1]);
	buf_puts(sql, "SELECT pg_catalog.setval(c.oid::regclass, ");
	pg_put_literal(sql, (char *)field[2]);
	buf_puts(sql, "::pg_catalog.int8, ");
	pg_put_literal(sql, (char *)field[3]);
	buf_puts(sql,
		"::pg_catalog.bool) FROM pg_catalog.pg_class c WHERE c.relkind = 'S' AND c.oid = pg_catalog.to_regclass(");
	pg_put_literal(sql, buf_str(&name));
	buf_puts(sql, ")");
	return 0;
}

int load_sequence_error(PGconn *conn, const char *schema, struct error *err)
{
	if (!strcmp(err->code, "PG-42501"))
		error_remedy(err, "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA \"%s\" TO %s;",
			schema, PQuser(conn));
	return error_where(err, "set the sequences of schema %s", schema);
}

static int set_sequences(struct load *load, const struct buf *sequences, struct error *err)
{
	_cleanup_(buf_freep) struct buf copy = BUF_INIT;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	uint8_t *at, *end, *eol;

	buf_put(&copy, sequences->data, sequences->len);
	at = copy.data;
	end = at + copy.len;
	if (!copy.len)
		return 0;
	if (load_begin(load, load->conn, err) < 0)
		return -1;
	for (; at < end && (eol = memchr(at, '\n', (size_t)(end - at))); at = eol + 1) {
		buf_clear(&sql);
		if (load_sequence_put(&sql, at, (size_t)(eol - at), err) < 0)
			return -1;
		if (load_exec(load, load->conn, buf_str(&sql), NULL, err) < 0)
			return load_sequence_error(load->conn, (const char *)at, err);
	}
	return load_exec(load, load->conn, "COMMIT", NULL, err);
}

static int analyze(struct load *load, const struct snapshot_source *src, struct error *err)
{
	struct task *tasks = calloc(src->n_tables ? src->n_tables : 1, sizeof(*tasks));
	struct buf *sql = calloc(src->n_tables ? src->n_tables : 1, sizeof(*sql));
	int r;

	if (!tasks || !sql)
		abort();
	for (uint32_t i = 0; i < src->n_tables; i++) {
		const struct relation *rel = src->tables[i].rel;

		buf_puts(&sql[i], "ANALYZE ");
		pg_put_name(&sql[i], rel->schema, rel->name);
		tasks[i].sql = buf_str(&sql[i]);
		tasks[i].len = sql[i].len;
		snprintf(tasks[i].what, sizeof(tasks[i].what), "analyze %.40s.%.40s", rel->schema, rel->name);
	}
	r = tasks_run(load, tasks, src->n_tables, err);
	for (uint32_t i = 0; i < src->n_tables; i++)
		buf_fini(&sql[i]);
	free(sql);
	free(tasks);
	return r;
}

/* the dump makes them empty; filled in the order in which they were made, which is that of their dependencies */
static int fill_views(struct load *load, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	int r = state_has(load, STATE_SNAPSHOT_PRE, err);

	if (r <= 0)
		return r;
	if (load_exec(load, load->conn,
		    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
		    "c.relnamespace WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY c.oid",
		    &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		_cleanup_(buf_freep) struct buf sql = BUF_INIT;

		buf_puts(&sql, "REFRESH MATERIALIZED VIEW ");
		pg_put_name(&sql, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
		if (load_exec(load, load->conn, buf_str(&sql), NULL, err) == 0)
			continue;
		if (err->class == ERROR_TRANSIENT)
			return -1;
		/* its query may need what a migration's role may not see; the rows are right without it */
		status_alarm_raise(load->sink->base.ctx->status, "SNAPSHOT-VIEW", buf_str(&sql),
			"materialized view %s.%s could not be filled: %s", PQgetvalue(res, i, 0),
			PQgetvalue(res, i, 1), err->message);
	}
	return 0;
}

static int load_finish(struct snapshot_sink *base, const struct snapshot_source *src,
	const struct buf *sequences, struct error *err)
{
	struct load *load = (struct load *)base;

	if (load_session(load, &load->conn, err) < 0 || set_sequences(load, sequences, err) < 0)
		return -1;
	if (analyze(load, src, err) < 0 || fill_views(load, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.finish"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.finish");
	return state_set(load->sink->base.state, STATE_SNAPSHOT_DONE, "1", 1, err);
}

static const struct snapshot_sink_ops ops = {
	.plan = load_plan,
	.schema = restore_schema,
	.table_begin = load_table_begin,
	.writer_new = load_writer_new,
	.chunk_begin = load_chunk_begin,
	.chunk_write = load_chunk_write,
	.chunk_commit = load_chunk_commit,
	.chunk_abort = load_chunk_abort,
	.writer_free = load_writer_free,
	.table_done = load_table_done,
	.table_free = load_table_free,
	.finish = load_finish,
};

struct snapshot_sink *load_new(struct sink_postgres *sink)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		abort();
	load->base.ops = &ops;
	load->sink = sink;
	return &load->base;
}

struct snapshot_sink *load_free(struct snapshot_sink *snap)
{
	struct load *load = (struct load *)snap;

	if (!load)
		return NULL;
	PQfinish(load->conn);
	free(load);
	return NULL;
}
