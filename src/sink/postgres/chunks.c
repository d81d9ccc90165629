/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The copy that comes through a log. Its rows are inserts like all others, in groups like all others; here is what its marks
 * mean, in the transaction of the rows between them:
 *
 *   TABLE     an attempt begins: the table is emptied, if no other partition's mark has done that (chunk_table.c)
 *   END       the chunk's rows are counted in sluice.snapshot_chunks; a chunk of a table of N partitions comes in N parts
 *   DONE      the table is complete, once all its partitions say so
 *   FINISHED  the sequences' values, when the mark has them; keys, indexes and the rest are somebody else's, later
 *
 * Invariants:
 *   1. Rows, counts, marks and the log's offset are one transaction, so nothing is loaded or counted twice.
 *   2. A row can be committed between the marks of its chunk. What the partition is in the middle of is then stored,
 *      "chunk/<topic>/<partition>", because whoever reads on from there does not see the BEGIN.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/net.h>

#include "apply.h"
#include "load.h"

static void place_key(const struct progress_row *row, char buf[CHUNK_KEY_MAX])
{
	snprintf(buf, CHUNK_KEY_MAX, "chunk/%s/%d", row->topic, (int)row->id);
}

/* "attempt no schema.name" */
int chunks_load(struct sink_postgres *sink, struct progress_row *row, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct chunk_at at = { .open = true, .stored = true };
	char key[CHUNK_KEY_MAX], *end;

	row->chunk = (struct chunk_at){ 0 };
	if (!row->partition)
		return 0;
	place_key(row, key);
	if (chunk_get(sink, key, CHUNK_READ, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	at.attempt = (uint32_t)strtoul(PQgetvalue(res, 0, 0), &end, 10);
	at.no = (uint32_t)strtoul(end, &end, 10);
	if (*end != ' ')
		return error_set(err, ERROR_BUG, "CHUNK", "%s cannot be read", key);
	snprintf(at.table, sizeof(at.table), "%s", end + 1);
	row->chunk = at;
	return 0;
}

static int place_store(struct apply *apply, struct chunk_at *at, struct error *err)
{
	const char *values[] = { apply->sink->stream, NULL };
	char key[CHUNK_KEY_MAX], value[CHUNK_NAME_MAX + 32];

	place_key(apply->row, key);
	if (at->open) {
		snprintf(value, sizeof(value), "%u %u %s", at->attempt, at->no, at->table);
		at->stored = true;
		return chunk_set(apply->sink, key, value, err);
	}
	if (!at->stored)
		return 0;
	at->stored = false;
	values[1] = key;
	return pg_exec_params(apply->sink->conn,
		"DELETE FROM sluice.migration WHERE stream = $1 AND key = $2", 2, values, NULL, err);
}

int chunks_begin(
	struct apply *apply, const struct apply_group *group, struct group_cut *cut, struct error *err)
{
	const struct chunk_at *at = &apply->row->chunk;
	int r = apply_wait(apply, err);

	if (r != 0)
		return r;
	if (queue_leave(&apply->sink->queue, err) < 0)
		return -1;
	apply->chunk_tables = chunks_list(&apply->arena, group, at);
	for (struct chunk_table *table = apply->chunk_tables; table; table = table->next)
		if (chunk_table_hold(apply, table, err) < 0)
			return -1;
	chunks_drop(cut, group, at, apply->chunk_tables);
	/* a table that was emptied has no blocked keys any more */
	if (!apply->letters_read && letters_load(apply, err) < 0)
		return -1;
	return queue_enter(&apply->sink->queue, err);
}

/* rows of one chunk, or of a part of it */
static int chunk_count(struct apply *apply, const struct chunk_at *at, struct error *err)
{
	char no[16], attempt[16], rows[24];
	const char *values[] = { apply->sink->stream, at->table, no, attempt, rows };

	snprintf(no, sizeof(no), "%u", at->no);
	snprintf(attempt, sizeof(attempt), "%u", at->attempt);
	snprintf(rows, sizeof(rows), "%llu", (unsigned long long)at->rows);
	return pg_exec_params(apply->sink->conn,
		"INSERT INTO sluice.snapshot_chunks AS c (stream, table_name, chunk, attempt, rows, at)"
		" VALUES ($1, $2, $3, $4, $5, pg_catalog.now()) ON CONFLICT (stream, table_name, chunk) DO UPDATE"
		" SET rows = EXCLUDED.rows + CASE WHEN c.attempt = EXCLUDED.attempt THEN c.rows ELSE 0 END,"
		" attempt = EXCLUDED.attempt, at = EXCLUDED.at",
		5, values, NULL, err);
}

static int chunk_sequences(struct apply *apply, const struct record_chunk *chunk, struct error *err)
{
	_cleanup_(buf_freep) struct buf copy = BUF_INIT;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	uint8_t *at, *eol, *end;

	buf_put(&copy, chunk->content, chunk->content_len);
	at = copy.data;
	end = at + copy.len;
	for (; copy.len && at < end && (eol = memchr(at, '\n', (size_t)(end - at))); at = eol + 1) {
		const char *schema = (const char *)at; /* ends with NUL once its line was read */

		buf_clear(&sql);
		if (load_sequence_put(&sql, at, (size_t)(eol - at), err) < 0)
			return -1;
		if (pg_exec(apply->sink->conn, buf_str(&sql), NULL, err) < 0)
			return load_sequence_error(apply->sink->conn, schema, err);
	}
	return 0;
}

/* a mark other than BEGIN */
static int chunk_end(struct apply *apply, const struct record *rec, struct chunk_table *table,
	const struct chunk_at *at, struct error *err)
{
	switch (rec->chunk->mark) {
	case CHUNK_MARK_END:
		return at->open && at->attempt == table->attempt ? chunk_count(apply, at, err) : 0;
	case CHUNK_MARK_DONE:
		return chunk_table_done(apply, table, rec->chunk, err);
	case CHUNK_MARK_FINISHED:
		return chunk_sequences(apply, rec->chunk, err);
	case CHUNK_MARK_TABLE:
	case CHUNK_MARK_BEGIN:
		break;
	}
	return 0;
}

static struct chunk_table *chunk_of(struct apply *apply, const char *name)
{
	struct chunk_table *table = apply->chunk_tables;

	while (table && strcmp(table->name, name) != 0)
		table = table->next;
	return table;
}

static int chunks_walk(
	struct apply *apply, const struct apply_group *group, const struct group_cut *cut, struct error *err)
{
	struct chunk_at *at = &apply->chunk;
	struct chunk_table *table = chunk_of(apply, at->table);
	struct net_at where = net_at_begin(group);
	const struct record *rec;
	char name[CHUNK_NAME_MAX];
	uint32_t i = 0;

	for (; (rec = net_at_record(group, &where)); where.record++, i++) {
		if (rec->op == RECORD_READ && at->open && table && !cut->dropped[i]) {
			at->rows++;
			table->rows++;
		}
		if (rec->op != RECORD_CHUNK)
			continue;
		table = rec->rel ? chunk_of(apply, chunk_name(rec->rel, name)) : NULL;
		if (!table && rec->chunk->mark != CHUNK_MARK_FINISHED)
			return error_set(err, ERROR_BUG, "CHUNK", "a chunk's mark names no table");
		if (rec->chunk->mark != CHUNK_MARK_BEGIN && chunk_end(apply, rec, table, at, err) < 0)
			return -1;
		*at = (struct chunk_at){ .open = rec->chunk->mark == CHUNK_MARK_BEGIN,
			.stored = at->stored,
			.no = rec->chunk->no,
			.attempt = rec->chunk->attempt };
		if (table)
			memcpy(at->table, table->name, sizeof(at->table));
	}
	return 0;
}

/* how many tables there are, for the status */
static int chunks_tables(struct apply *apply, struct error *err)
{
	const char *values[] = { apply->sink->stream };
	_cleanup_(PQclearp) PGresult *res = NULL;
	bool changed = false;

	for (const struct chunk_table *table = apply->chunk_tables; table; table = table->next)
		changed = changed || table->emptied || table->done;
	if (!changed)
		return 0;
	if (pg_exec_params(apply->sink->conn,
		    "SELECT count(*) FILTER (WHERE key LIKE 'table/%/start'),"
		    " count(*) FILTER (WHERE key LIKE 'table/%/done') FROM sluice.migration WHERE stream = $1",
		    1, values, &res, err) < 0)
		return -1;
	status_lock(apply->sink->base.ctx->status);
	apply->sink->base.ctx->status->snapshot_tables_total = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	apply->sink->base.ctx->status->snapshot_tables_done = strtoull(PQgetvalue(res, 0, 1), NULL, 10);
	status_unlock(apply->sink->base.ctx->status);
	return 0;
}

int chunks_end(
	struct apply *apply, const struct apply_group *group, const struct group_cut *cut, struct error *err)
{
	struct chunk_at *at = &apply->chunk;
	const struct chunk_table *table;
	int r = apply_wait(apply, err);

	if (r != 0)
		return r;
	*at = apply->row->chunk;
	if (queue_leave(&apply->sink->queue, err) < 0 || chunks_walk(apply, group, cut, err) < 0 ||
		chunks_tables(apply, err) < 0)
		return -1;
	table = at->open ? chunk_of(apply, at->table) : NULL;
	if (group->ends && at->rows && table && table->attempt == at->attempt) {
		if (chunk_count(apply, at, err) < 0)
			return -1;
		at->rows = 0;
	}
	if (group->ends && place_store(apply, at, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.chunk.marks"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.chunk.marks");
	return queue_enter(&apply->sink->queue, err);
}

void chunks_settle(struct apply *apply)
{
	const struct context *ctx = apply->sink->base.ctx;
	struct status *st = ctx->status;

	apply->row->chunk = apply->chunk;
	status_lock(st);
	for (const struct chunk_table *table = apply->chunk_tables; table; table = table->next) {
		struct status_table *entry;

		if (!table->rel)
			continue;
		entry = status_table_get(st, table->rel->schema, table->rel->name);
		if (table->emptied) {
			st->snapshot_rows_done -=
				entry->rows < st->snapshot_rows_done ? entry->rows : st->snapshot_rows_done;
			entry->rows = 0;
		}
		entry->rows += table->rows;
		st->snapshot_rows_done += table->rows;
		if (table->done || table->rows || table->emptied)
			snprintf(
				entry->state, sizeof(entry->state), "%s", table->done ? "copied" : "copying");
		metric_add(&ctx->metrics->snapshot_rows, table->rows);
	}
	status_unlock(st);
	apply->chunk_tables = NULL;
}
