/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A table that is copied through a log: whose rows it holds, and emptying it for a new attempt. The attempt is a row of
 * sluice.migration, "table/<schema>.<name>/attempt": the number, then a line per partition in which the table is complete.
 * It is locked while rows of the attempt are written, so nobody empties the table beneath them.
 *
 * As for a copy without a log (load.c), a table is ours from its first attempt on; before that it must be empty.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "apply.h"

void chunk_key(char buf[CHUNK_KEY_MAX], const char *table, const char *what)
{
	snprintf(buf, CHUNK_KEY_MAX, "table/%s/%s", table, what);
}

int chunk_get(
	struct sink_postgres *sink, const char *key, enum chunk_lock lock, PGresult **ret, struct error *err)
{
	static const char *const sql[] = {
		[CHUNK_READ] = "SELECT pg_catalog.convert_from(value, 'UTF8') FROM sluice.migration"
			       " WHERE stream = $1 AND key = $2",
		[CHUNK_SHARE] = "SELECT pg_catalog.convert_from(value, 'UTF8') FROM sluice.migration"
				" WHERE stream = $1 AND key = $2 FOR SHARE",
		[CHUNK_WRITE] = "SELECT pg_catalog.convert_from(value, 'UTF8') FROM sluice.migration"
				" WHERE stream = $1 AND key = $2 FOR UPDATE",
	};
	const char *values[] = { sink->stream, key };

	return pg_exec_params(sink->conn, sql[lock], 2, values, ret, err);
}

int chunk_set(struct sink_postgres *sink, const char *key, const char *value, struct error *err)
{
	const char *values[] = { sink->stream, key, value };

	return pg_exec_params(sink->conn,
		"INSERT INTO sluice.migration (stream, key, value, updated_at) VALUES"
		" ($1, $2, pg_catalog.convert_to($3, 'UTF8'), pg_catalog.now())"
		" ON CONFLICT (stream, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at",
		3, values, NULL, err);
}

/* the attempt's row, made when there is none, locked */
static int attempt_hold(
	struct sink_postgres *sink, const char *key, enum chunk_lock lock, uint32_t *ret, struct error *err)
{
	const char *values[] = { sink->stream, key };

	for (;;) {
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (chunk_get(sink, key, lock, &res, err) < 0)
			return -1;
		if (PQntuples(res)) {
			*ret = (uint32_t)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
			return 0;
		}
		if (pg_exec_params(sink->conn,
			    "INSERT INTO sluice.migration (stream, key, value) VALUES ($1, $2, '0')"
			    " ON CONFLICT DO NOTHING",
			    2, values, NULL, err) < 0)
			return -1;
	}
}

/* relkind, row security applies, another table refers to it, holds rows */
static int table_facts(
	struct sink_postgres *sink, const struct relation *rel, PGresult **ret, struct error *err)
{
	const char *values[] = { rel->schema, rel->name };

	if (pg_exec_params(sink->conn,
		    "SELECT c.relkind, pg_catalog.row_security_active(c.oid), EXISTS (SELECT FROM"
		    " pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid <> c.oid)"
		    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f')",
		    2, values, ret, err) < 0)
		return -1;
	if (PQntuples(*ret))
		return 0;
	error_set(
		err, ERROR_SCHEMA, "TABLE-MISSING", "the target has no table %s.%s", rel->schema, rel->name);
	return error_remedy(err, "make it on the target, or exclude it");
}

/* may its rows go? 1 = yes, 0 = there are none */
static int table_may_be_emptied(struct sink_postgres *sink, const struct chunk_table *table, const char *from,
	bool ours, struct error *err)
{
	_cleanup_(PQclearp) PGresult *start = NULL;
	_cleanup_(PQclearp) PGresult *rows = NULL;
	char key[CHUNK_KEY_MAX];

	if (pg_execf(sink->conn, &rows, err, "SELECT EXISTS (SELECT FROM %s)", from) < 0)
		return -1;
	if (*PQgetvalue(rows, 0, 0) == 'f')
		return 0;
	chunk_key(key, table->name, "start");
	if (chunk_get(sink, key, CHUNK_READ, &start, err) < 0)
		return -1;
	if (ours || PQntuples(start))
		return 1;
	error_set(err, ERROR_CONFIG, "TARGET-NOT-EMPTY", "%s on the target holds rows that are not ours",
		table->name);
	error_remedy(err, "TRUNCATE %s; on the target, or exclude the table", from);
	return error_exit(err, EXIT_CONFIG);
}

/* TRUNCATE where nothing refers to the table and we may */
static int table_delete(struct sink_postgres *sink, const char *from, bool truncate, struct error *err)
{
	if (truncate) {
		if (pg_exec(sink->conn, "SAVEPOINT sluice_truncate", NULL, err) < 0)
			return -1;
		if (pg_execf(sink->conn, NULL, err, "TRUNCATE %s", from) == 0)
			return pg_exec(sink->conn, "RELEASE SAVEPOINT sluice_truncate", NULL, err);
		if (PQstatus(sink->conn) == CONNECTION_BAD || err->class == ERROR_TRANSIENT)
			return error_where(err, "empty %s", from);
		if (pg_exec(sink->conn,
			    "ROLLBACK TO SAVEPOINT sluice_truncate; RELEASE SAVEPOINT sluice_truncate", NULL,
			    err) < 0)
			return -1;
	}
	if (pg_execf(sink->conn, NULL, err, "DELETE FROM %s", from) < 0)
		return error_where(err, "empty %s", from);
	return 0;
}

/* what earlier attempts have left: chunks, the done mark, and letters about rows that come again */
static int table_forget(struct sink_postgres *sink, const struct chunk_table *table, struct error *err)
{
	char key[CHUNK_KEY_MAX], reason[64];
	const char *values[] = { sink->stream, table->name, key, reason };

	chunk_key(key, table->name, "done");
	snprintf(reason, sizeof(reason), "the table is copied again, attempt %u", table->wanted);
	if (pg_exec_params(sink->conn,
		    "DELETE FROM sluice.snapshot_chunks WHERE stream = $1 AND table_name = $2", 2, values,
		    NULL, err) < 0)
		return -1;
	values[1] = key;
	if (pg_exec_params(sink->conn, "DELETE FROM sluice.migration WHERE stream = $1 AND key = $2", 2,
		    values, NULL, err) < 0)
		return -1;
	values[1] = table->name;
	values[2] = reason;
	return pg_exec_params(sink->conn,
		"UPDATE sluice.dead_letters SET state = 'discarded', reason = $3, resolved_at = pg_catalog.now()"
		" WHERE stream = $1 AND table_name = $2 AND state = 'pending'",
		3, values, NULL, err);
}

/* the attempt begins: it is in its row and its start point in the table's, with the emptied table */
static int table_begin(struct apply *apply, struct chunk_table *table, bool ours, struct error *err)
{
	struct sink_postgres *sink = apply->sink;
	_cleanup_(buf_freep) struct buf from = BUF_INIT;
	_cleanup_(PQclearp) PGresult *facts = NULL;
	char key[CHUNK_KEY_MAX], value[24];
	bool truncate;
	int r;

	if (table_facts(sink, table->rel, &facts, err) < 0)
		return -1;
	buf_puts(&from, *PQgetvalue(facts, 0, 0) == 'p' ? "" : "ONLY ");
	pg_put_name(&from, table->rel->schema, table->rel->name);
	truncate = *PQgetvalue(facts, 0, 1) == 'f' && *PQgetvalue(facts, 0, 2) == 'f';
	r = table_may_be_emptied(sink, table, buf_str(&from), ours, err);
	if (r > 0)
		r = table_delete(sink, buf_str(&from), truncate, err);
	if (r < 0 || table_forget(sink, table, err) < 0)
		return -1;
	chunk_key(key, table->name, "attempt");
	snprintf(value, sizeof(value), "%u\n", table->wanted);
	if (chunk_set(sink, key, value, err) < 0)
		return -1;
	chunk_key(key, table->name, "start");
	if (chunk_set(sink, key, pg_lsn_format(table->start, value, sizeof(value)), err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.chunk.emptied"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.chunk.emptied");
	table->attempt = table->wanted;
	table->emptied = true;
	letters_doubt(apply);
	return 0;
}

int chunk_table_hold(struct apply *apply, struct chunk_table *table, struct error *err)
{
	char key[CHUNK_KEY_MAX];

	chunk_key(key, table->name, "attempt");
	if (attempt_hold(
		    apply->sink, key, table->exclusive ? CHUNK_WRITE : CHUNK_SHARE, &table->attempt, err) < 0)
		return -1;
	if (table->attempt >= table->wanted || !table->rel)
		return 0;
	/* no mark has said so; another applier may have begun it in between */
	if (!table->exclusive && attempt_hold(apply->sink, key, CHUNK_WRITE, &table->attempt, err) < 0)
		return -1;
	return table->attempt >= table->wanted ? 0 : table_begin(apply, table, table->attempt > 0, err);
}

/* adds a line to a list that stands behind the number; returns how many there are */
static uint32_t list_add(struct buf *value, const char *line)
{
	const char *at = strchr(buf_str(value), '\n');
	size_t len = strlen(line);
	uint32_t n = 0;
	bool there = false;

	for (at = at ? at + 1 : ""; *at; n++) {
		size_t own = strcspn(at, "\n");

		there = there || (own == len && !memcmp(at, line, len));
		at += own + (at[own] == '\n');
	}
	if (there)
		return n;
	buf_puts(value, line);
	buf_putc(value, '\n');
	return n + 1;
}

int chunk_table_done(
	struct apply *apply, struct chunk_table *table, const struct record_chunk *chunk, struct error *err)
{
	struct sink_postgres *sink = apply->sink;
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	char key[CHUNK_KEY_MAX], line[TOPIC_MAX + 16], start[24];
	uint32_t n;

	if (chunk->attempt < table->attempt)
		return 0;
	chunk_key(key, table->name, "attempt");
	if (chunk_get(sink, key, CHUNK_WRITE, &res, err) < 0)
		return -1;
	buf_puts(&value, PQntuples(res) ? PQgetvalue(res, 0, 0) : "");
	snprintf(line, sizeof(line), "%s/%d", apply->row->topic, (int)apply->row->id);
	n = list_add(&value, line);
	if (chunk_set(sink, key, buf_str(&value), err) < 0)
		return -1;
	if (n < chunk->no)
		return 0;
	chunk_key(key, table->name, "start");
	if (chunk->start && chunk_set(sink, key, pg_lsn_format(chunk->start, start, sizeof(start)), err) < 0)
		return -1;
	chunk_key(key, table->name, "done");
	table->done = true;
	return chunk_set(sink, key, "1", err);
}
