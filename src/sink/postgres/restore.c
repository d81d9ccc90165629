/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * pg_dump's archive into the target. pg_restore only turns it into text; the statements are run by sessions of our own,
 * because then each step can be one transaction with its mark, which makes a restore that was killed resumable:
 *
 *   pre-data   one transaction for all of it, and "snapshot/pre": tables are there whole or not at all
 *   post-data  one transaction for each entry, and "snapshot/post/<hash of its text>"
 *
 * Order of post-data: keys and indexes side by side, then indexes of partitions attached, then foreign keys side by
 * side, then the rest (triggers, rules, policies, comments) in the archive's order. Section "keys" runs the first
 * two for primary keys and replica identities alone: what the stream needs to find its rows. The rest then has to wait until all
 * tables have come to one moment, since before that two tables read at different times may contradict each other.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/fnv1a.h>
#include <sluice/postgres_tool.h>

#include "load.h"

#define TEXT_LIMIT_BYTES ((size_t)512 << 20)
#define OLDEST_MAJOR	 14

enum stage { STAGE_INDEX, STAGE_ATTACH, STAGE_FOREIGN, STAGE_REST };

static int to_text(
	struct load *load, const struct buf *dump, const char *section, struct buf *ret, struct error *err)
{
	char which[32];
	struct pg_tool tool;
	const char *argv[] = { tool.path, which, "--no-owner", "--no-privileges", "--no-tablespaces",
		"--file=-", NULL };
	struct pg_tool_run run = {
		.argv = argv,
		.input = dump,
		.output_limit_bytes = TEXT_LIMIT_BYTES,
		.stop = load->base.cancel,
	};

	snprintf(which, sizeof(which), "--section=%s", section);
	if (pg_tool_find("pg_restore", OLDEST_MAJOR, &tool, err) < 0)
		return -1;
	return pg_tool_run(&run, ret, err);
}

static int pre_failed(struct load *load, struct error *err)
{
	if (!strcmp(err->code, "STOPPED"))
		return -1;
	if (!strcmp(err->code, "PG-42501")) {
		err->class = ERROR_CONFIG;
		error_exit(err, EXIT_PERMISSION);
		error_remedy(err,
			"GRANT CREATE ON DATABASE \"%s\" TO %s; GRANT CREATE ON SCHEMA public TO %s; or set snapshot.schema: existing",
			PQdb(load->conn), PQuser(load->conn), PQuser(load->conn));
	} else if (err->class != ERROR_TRANSIENT) {
		err->class = ERROR_CONFIG;
		error_remedy(err, "make the tables on the target yourself and set snapshot.schema: existing");
	}
	return error_where(err, "make the tables");
}

static int restore_pre(struct load *load, const struct buf *dump, struct error *err)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	struct script script;
	int r = state_get(load->sink->base.state, STATE_SNAPSHOT_PRE, &text, err);

	if (r != STATE_MISSING)
		return r;
	if (load_session(load, &load->conn, err) < 0 || to_text(load, dump, "pre-data", &text, err) < 0)
		return -1;
	/* stored first: without it keys and indexes would never come */
	if (state_set(load->sink->base.state, STATE_SNAPSHOT_DUMP, dump->data, dump->len, err) < 0)
		return -1;
	script_parse(&script, buf_str(&text), text.len);
	for (uint32_t i = 0; i < script.n; i++)
		script_put_pre(&sql, &script.items[i]);
	script_fini(&script);
	load_mark(load, &sql, STATE_SNAPSHOT_PRE);
	buf_puts(&sql, "; COMMIT");
	if (SLUICE_FAULT_POINT("snapshot.schema_pre"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.schema_pre");
	if (load_begin(load, load->conn, err) < 0)
		return -1;
	if (load_exec(load, load->conn, buf_str(&sql), NULL, err) == 0)
		return 0;
	pre_failed(load, err);
	if (strcmp(err->code, "STOPPED") != 0 && PQstatus(load->conn) == CONNECTION_OK)
		PQclear(PQexec(load->conn, "ROLLBACK"));
	return -1;
}

static enum stage stage_of(const struct script_item *item)
{
	if (script_is(item, "CONSTRAINT") || script_is(item, "INDEX"))
		return STAGE_INDEX;
	if (script_is(item, "INDEX ATTACH"))
		return STAGE_ATTACH;
	if (script_is(item, "FK CONSTRAINT"))
		return STAGE_FOREIGN;
	return STAGE_REST;
}

static bool is_identity(const struct script_item *item)
{
	return script_has(item, " PRIMARY KEY ") || script_has(item, " REPLICA IDENTITY ");
}

/* "ALTER INDEX p.root_pkey ATTACH PARTITION p.leaf_pkey": is leaf_pkey one of the primary keys? Names its constraint like
 * "ADD CONSTRAINT leaf_pkey PRIMARY KEY". */
static bool attaches_identity(const struct script *script, const struct script_item *item)
{
	static const char attach[] = " ATTACH PARTITION ";
	const char *end = item->sql + item->sql_len,
		   *at = memmem(item->sql, item->sql_len, attach, strlen(attach));
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	const char *semicolon, *dot;

	if (!at)
		return false;
	at += strlen(attach);
	semicolon = memchr(at, ';', (size_t)(end - at));
	if (!semicolon)
		return false;
	/* the name behind the schema; a dot within quotes only makes the search find nothing */
	dot = memrchr(at, '.', (size_t)(semicolon - at));
	at = dot ? dot + 1 : at;
	buf_printf(&name, " ADD CONSTRAINT %.*s PRIMARY KEY ", (int)(semicolon - at), at);
	for (uint32_t i = 0; i < script->n; i++) {
		if (script_is(&script->items[i], "CONSTRAINT") &&
			script_has(&script->items[i], buf_str(&name)))
			return true;
	}
	return false;
}

static void make_task(struct task *task, const struct script_item *item, enum stage stage)
{
	*task = (struct task){ .sql = item->sql, .len = item->sql_len, .optional = stage == STAGE_FOREIGN };
	if (stage == STAGE_INDEX || stage == STAGE_FOREIGN)
		task->lock_len = script_table(item, &task->lock);
	else
		task->in_order = true;
	task->shared = stage == STAGE_INDEX && script_is(item, "INDEX") && !script_has(item, "ALTER TABLE");
	snprintf(task->mark, sizeof(task->mark), "snapshot/post/%016llx",
		(unsigned long long)fnv1a(FNV1A_BASIS, item->sql, item->sql_len));
	snprintf(task->what, sizeof(task->what), "%.*s %.*s", (int)item->type_len, item->type,
		(int)item->name_len, item->name);
}

static int by_mark(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* keys of what an earlier run has done, sorted */
static int query_done(struct load *load, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	buf_puts(&sql, "SELECT key FROM sluice.migration WHERE stream = ");
	pg_put_literal(&sql, load->sink->stream);
	buf_puts(&sql, " AND pg_catalog.starts_with(key, 'snapshot/post/') ORDER BY key COLLATE \"C\"");
	return load_exec(load, load->conn, buf_str(&sql), ret, err);
}

static bool is_done(const PGresult *done, const char *mark)
{
	int low = 0, high = PQntuples(done);

	while (low < high) {
		int mid = (low + high) / 2;
		const char *key = PQgetvalue(done, mid, 0);
		int c = by_mark(&mark, &key);

		if (c == 0)
			return true;
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return false;
}

static int run_stage(
	struct load *load, const struct script *script, enum stage stage, bool keys_only, struct error *err)
{
	_cleanup_(freep) struct task *tasks = calloc(script->n ? script->n : 1, sizeof(*tasks));
	_cleanup_(PQclearp) PGresult *done = NULL;
	uint32_t n = 0;

	if (!tasks)
		abort();
	if (query_done(load, &done, err) < 0)
		return -1;
	for (uint32_t i = 0; i < script->n; i++) {
		const struct script_item *item = &script->items[i];

		if (stage_of(item) != stage)
			continue;
		if (keys_only &&
			!(stage == STAGE_ATTACH ? attaches_identity(script, item) : is_identity(item)))
			continue;
		make_task(&tasks[n], item, stage);
		if (!is_done(done, tasks[n].mark))
			n++;
	}
	return tasks_run(load, tasks, n, err);
}

static int restore_post(struct load *load, bool keys_only, struct error *err)
{
	struct state *state = load->sink->base.state;
	_cleanup_(buf_freep) struct buf dump = BUF_INIT;
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct script script;
	int r = state_get(state, STATE_SNAPSHOT_POST, &dump, err);

	if (r != STATE_MISSING)
		return r;
	r = state_get(state, STATE_SNAPSHOT_DUMP, &dump, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (load_session(load, &load->conn, err) < 0 || to_text(load, &dump, "post-data", &text, err) < 0)
		return -1;
	script_parse(&script, buf_str(&text), text.len);
	for (enum stage stage = STAGE_INDEX; r == 0 && stage <= (keys_only ? STAGE_ATTACH : STAGE_REST);
		stage++)
		r = run_stage(load, &script, stage, keys_only, err);
	script_fini(&script);
	if (r < 0 || keys_only)
		return r;
	if (state_set(state, STATE_SNAPSHOT_POST, "1", 1, err) < 0 ||
		state_remove(state, "snapshot/post/", err) < 0)
		return -1;
	return state_remove(state, STATE_SNAPSHOT_DUMP, err);
}

#define LOCK_HOLDER   "snapshot/holder"
#define LOCK_PATIENCE "10s"

/* "epoch partition topic" of a row that the holder of the lock rules, for those who wait */
static int lock_sign(struct load *load, struct error *err)
{
	struct state_postgres *state = &load->sink->state;
	_cleanup_(buf_freep) struct buf sign = BUF_INIT;

	pthread_mutex_lock(&state->lock);
	if (state->rows)
		buf_printf(&sign, "%llu %d %s", (unsigned long long)state->rows->epoch, (int)state->rows->id,
			state->rows->topic);
	pthread_mutex_unlock(&state->lock);
	if (!sign.len)
		return progress_nothing(err);
	return state_set(load->sink->base.state, LOCK_HOLDER, sign.data, sign.len, err);
}

/* one whose row another rules by now was stopped, or cut off: it would keep the lock for ever */
static int lock_end_superseded(struct load *load, const char *hash, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	buf_puts(&sql,
		"SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l"
		" JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usename = current_user"
		" WHERE l.locktype = 'advisory' AND l.granted AND l.database = a.datid"
		" AND a.datname = current_database() AND (l.classid::bigint << 32 | l.objid::bigint) = ");
	buf_puts(&sql, hash);
	buf_puts(&sql,
		" AND NOT EXISTS (SELECT FROM sluice.migration m JOIN sluice.progress p ON p.stream = m.stream"
		" AND pg_catalog.convert_from(m.value, 'UTF8') = pg_catalog.concat_ws(' ', p.epoch, p.partition, p.topic)"
		" WHERE m.key = '" LOCK_HOLDER "' AND m.stream = ");
	pg_put_literal(&sql, load->sink->stream);
	buf_puts(&sql, ")");
	if (load_exec(load, load->conn, buf_str(&sql), &res, err) < 0)
		return -1;
	log_debug(load->sink->base.ctx->log, "schema-lock",
		"waiting for another applier's work on the schema", "ended=%d", PQntuples(res));
	return 0;
}

/* several appliers of one log may come here at once: one works, the others then find it done */
static int restore_lock(struct load *load, bool take, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(buf_freep) struct buf hash = BUF_INIT;

	if (load_session(load, &load->conn, err) < 0)
		return -1;
	load_lock_key(load, &hash, "schema");
	buf_printf(&sql, "SELECT pg_catalog.pg_advisory_%s(%s)", take ? "lock" : "unlock", buf_str(&hash));
	if (!take) {
		atomic_store(&load->locked, false);
		return load_exec(load, load->conn, buf_str(&sql), NULL, err);
	}
	if (load_exec(load, load->conn, "SET lock_timeout = '" LOCK_PATIENCE "'", NULL, err) < 0)
		return -1;
	while (load_exec(load, load->conn, buf_str(&sql), NULL, err) < 0) {
		if (strcmp(err->code, "PG-55P03") != 0 || lock_end_superseded(load, buf_str(&hash), err) < 0)
			return -1;
	}
	if (load_exec(load, load->conn, "SET lock_timeout = 0", NULL, err) < 0)
		return -1;
	atomic_store(&load->locked, true);
	return lock_sign(load, err);
}

int restore_claimed(struct snapshot_sink *base, struct error *err)
{
	struct load *load = (struct load *)base;

	return load && atomic_load(&load->locked) ? lock_sign(load, err) : 0;
}

/* after an error the session ends, and with it the lock: another applier may be luckier */
int restore_schema(struct snapshot_sink *base, const char *section, const struct buf *dump, struct error *err)
{
	struct load *load = (struct load *)base;
	int r = restore_lock(load, true, err);

	if (r == 0 && !strcmp(section, "pre-data"))
		r = restore_pre(load, dump, err);
	else if (r == 0)
		r = restore_post(load, !strcmp(section, "keys"), err);
	if (r == 0)
		return restore_lock(load, false, err);
	atomic_store(&load->locked, false);
	PQfinish(load->conn);
	load->conn = NULL;
	return r;
}
