/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads chunks: one session per worker, one short transaction per chunk. Opening a chunk is one round trip:
 *
 *   BEGIN; SET TRANSACTION SNAPSHOT; LOCK TABLE … ACCESS SHARE; compare the file the snapshot knows with the file now
 *
 * The comparison is what makes it exact: TRUNCATE, VACUUM FULL, CLUSTER and rewriting ALTER TABLE put rows into a new file
 * under an xid that the snapshot does not see, so the table would arrive empty. Once the lock is held this cannot happen
 * any more. COPY's bytes go on as they came, rows joined into pieces of some 128 KiB; or, where records are asked for, each
 * row is one, in batches as large as they may be.
 *
 * A statement that the watch has ended (or an administrator), and a table lock that could not be had in two seconds, are
 * SNAPSHOT_YIELD: nothing is wrong, the chunk is done again later, with a new session if this one is gone.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "copy_text.h"
#include "snapshot.h"

#define PIECE_BYTES  ((size_t)128 * 1024)
#define ENOUGH_BYTES ((size_t)48 * 1024)
#define TURN_MS	     400

static void reader_pid(struct snapshot_reader *reader, int pid)
{
	pthread_mutex_lock(&reader->snap->lock);
	reader->pid = pid;
	pthread_mutex_unlock(&reader->snap->lock);
}

static void reader_close(struct snapshot_reader *reader)
{
	reader_pid(reader, 0);
	PQfinish(reader->conn);
	reader->conn = NULL;
}

static int reader_connect(struct snapshot_reader *reader, struct error *err)
{
	struct pg_peer peer = snapshot_peer(reader->snap);

	if (reader->conn)
		return 0;
	if (pg_connect(&peer, PG_SOURCE, reader->snap->application, &reader->conn, err) < 0)
		return -1;
	reader_pid(reader, PQbackendPID(reader->conn));
	return 0;
}

int reader_new(struct snapshot_source *base, struct snapshot_reader **ret, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;
	struct snapshot_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		abort();
	reader->snap = snap;
	if (reader_connect(reader, err) < 0) {
		free(reader);
		return -1;
	}
	pthread_mutex_lock(&snap->lock);
	reader->next = snap->readers;
	snap->readers = reader;
	pthread_mutex_unlock(&snap->lock);
	*ret = reader;
	return 0;
}

void reader_free(struct snapshot_reader *reader)
{
	struct snapshot_reader **at;

	if (!reader)
		return;
	pthread_mutex_lock(&reader->snap->lock);
	for (at = &reader->snap->readers; *at && *at != reader; at = &(*at)->next)
		;
	if (*at)
		*at = reader->next;
	pthread_mutex_unlock(&reader->snap->lock);
	PQfinish(reader->conn);
	buf_fini(&reader->piece);
	free(reader);
}

/* what a failed statement means; the session is left clean or closed */
static int reader_failed(struct snapshot_reader *reader, const PGresult *res, struct error *err)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const struct relation *rel = reader->chunk->table->rel;
	bool lost = PQstatus(reader->conn) == CONNECTION_BAD || !state;
	int r = -1;

	if (!state)
		state = "";
	if (!strcmp(state, "57014") || !strcmp(state, "55P03") ||
		((lost || !strcmp(state, "57P01")) && reader->yield))
		r = SNAPSHOT_YIELD;
	else if (!strcmp(state, "42P01") || !strcmp(state, "42703") || !strcmp(state, "3F000"))
		r = SNAPSHOT_TABLE_CHANGED;
	else
		pg_error(reader->conn, res, "copy", err);
	if (r < 0)
		error_where(err, "%s.%s", rel->schema, rel->name);
	if (r < 0 && !strcmp(state, "42501"))
		error_remedy(err,
			"GRANT SELECT ON TABLE \"%s\".\"%s\" TO the source's role (row security: ALTER ROLE … BYPASSRLS)",
			rel->schema, rel->name);
	if (r < 0 && reader->importing &&
		(!strcmp(state, "42704") || !strcmp(state, "22023") || !strcmp(state, "55000")))
		/* chunks that are being read keep theirs; a new attempt takes a new one for the unfinished tables */
		error_set(err, ERROR_TRANSIENT, "PG-SNAPSHOT-GONE",
			"%s.%s: the session that keeps the snapshot on the source has ended", rel->schema,
			rel->name);
	if (lost || !strcmp(state, "57P01") || PQtransactionStatus(reader->conn) == PQTRANS_ACTIVE)
		reader_close(reader);
	else
		PQclear(PQexec(reader->conn, "ROLLBACK"));
	if (!reader->conn || PQstatus(reader->conn) == CONNECTION_BAD)
		reader_close(reader);
	return r;
}

/* runs statements to their end; the last result, or the failed one, is in *ret */
static int reader_exec(struct snapshot_reader *reader, const char *sql, PGresult **ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *last = NULL;
	PGresult *res;

	if (!PQsendQuery(reader->conn, sql))
		return reader_failed(reader, NULL, err);
	for (;;) {
		ExecStatusType status;

		if (pg_result(reader->conn, reader->snap->base.cancel, &res, err) < 0) {
			if (!strcmp(err->code, "STOPPED"))
				return -1;
			return reader_failed(reader, NULL, err);
		}
		if (!res)
			break;
		status = PQresultStatus(last ? last : res);
		if (last && (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)) {
			PQclear(res);
			continue;
		}
		PQclear(last);
		last = res;
		if (PQresultStatus(res) == PGRES_COPY_OUT)
			break;
	}
	switch ((int)PQresultStatus(last)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_COPY_OUT:
		if (ret) {
			*ret = last;
			last = NULL; /* now the caller's */
		}
		return 0;
	default:
		return reader_failed(reader, last, err);
	}
}

static const struct plan_leaf *leaf_of(const struct snapshot_chunk *chunk)
{
	const struct plan_table *table = chunk->table->driver;

	for (uint32_t i = 0; i < table->n_leaves; i++) {
		if (table->leaves[i].oid == chunk->partition)
			return &table->leaves[i];
	}
	return NULL;
}

int reader_open(struct snapshot_reader *reader, const struct snapshot_chunk *chunk, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	const struct plan_leaf *leaf = leaf_of(chunk);
	int r;

	reader->chunk = chunk;
	atomic_store(&reader->yield, false);
	if (!leaf)
		return error_set(err, ERROR_BUG, "SNAPSHOT-PLAN", "a chunk of no table");
	if (SLUICE_FAULT_POINT("snapshot.chunk_open"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.chunk_open");
	if (reader_connect(reader, err) < 0)
		return -1;
	buf_puts(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ");
	pg_put_literal(&sql, reader->snap->id);
	buf_puts(&sql, "; SET LOCAL lock_timeout = '2s'; LOCK TABLE ONLY ");
	pg_put_name(&sql, leaf->schema, leaf->name);
	buf_printf(&sql,
		" IN ACCESS SHARE MODE; SELECT c.relfilenode IS NOT DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid) "
		"FROM pg_catalog.pg_class c WHERE c.oid = %u",
		(unsigned)leaf->oid);
	reader->importing = true;
	r = reader_exec(reader, buf_str(&sql), &res, err);
	reader->importing = false;
	if (r != 0)
		return r;
	if (PQntuples(res) != 1 || *PQgetvalue(res, 0, 0) != 't') {
		r = reader_exec(reader, "ROLLBACK", NULL, err);
		return r < 0 ? r : SNAPSHOT_TABLE_CHANGED;
	}
	buf_clear(&sql);
	plan_copy_sql(&sql, chunk, leaf);
	return reader_exec(reader, buf_str(&sql), NULL, err);
}

/* the COPY's own end; then the lock is let go */
static int reader_end(struct snapshot_reader *reader, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	PGresult *next = NULL;
	int r;

	if (pg_result(reader->conn, reader->snap->base.cancel, &res, err) < 0)
		return strcmp(err->code, "STOPPED") ? reader_failed(reader, NULL, err) : -1;
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		return reader_failed(reader, res, err);
	if (pg_result(reader->conn, reader->snap->base.cancel, &next, err) < 0)
		return -1;
	PQclear(next);
	r = reader_exec(reader, "COMMIT", NULL, err);
	/* all rows are here: being ended now does not matter */
	if (r == SNAPSHOT_YIELD || r == 0)
		return SNAPSHOT_CHUNK_END;
	return r;
}

static int row_too_large(struct snapshot_reader *reader, int len, struct error *err)
{
	const struct relation *rel = reader->chunk->table->rel;

	error_set(err, ERROR_DATA, "RECORD-SIZE", "%s.%s: a row of %d MiB is larger than limits.record",
		rel->schema, rel->name, len >> 20);
	return error_remedy(err, "raise limits.record");
}

/* one row into the piece, or a record of it; takes its memory */
static int take_row(
	struct snapshot_reader *reader, struct batch *batch, char *take_row, int n, struct error *err)
{
	uint64_t limit = reader->snap->ctx->cfg->limits.record_bytes;
	size_t len = (size_t)n;
	int r = 0;

	if (limit && len > limit) {
		r = row_too_large(reader, n, err);
	} else if (reader->chunk->table->format == SNAPSHOT_RECORDS) {
		uint8_t *line = arena_alloc(&batch->arena, len + COPY_TEXT_SLACK);

		memcpy(line, take_row, len);
		memset(line + len, 0, COPY_TEXT_SLACK);
		batch->raw_len += len;
		r = copy_text_row(batch, reader->chunk->table->rel, line, len, err);
	} else {
		buf_put(&reader->piece, take_row, len);
		batch->raw_len += len;
	}
	PQfreemem(take_row);
	return r;
}

static bool read_enough(const struct snapshot_reader *reader, const struct batch *batch)
{
	return reader->chunk->table->format == SNAPSHOT_RECORDS ? batch_is_full(batch)
								: batch->raw_len >= PIECE_BYTES;
}

int reader_read(struct snapshot_reader *reader, struct batch *batch, struct error *err)
{
	int r = 0;

	buf_shrink(&reader->piece, 4 * PIECE_BYTES);
	batch->raw = NULL;
	batch->raw_len = 0;
	if (SLUICE_FAULT_POINT("snapshot.chunk_mid"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.chunk_mid");
	while (!read_enough(reader, batch)) {
		char *row = NULL;
		int n = PQgetCopyData(reader->conn, &row, 1);

		if (n > 0) {
			r = take_row(reader, batch, row, n, err);
			if (r < 0)
				return r;
			continue;
		}
		if (n < 0) {
			r = n == -1 ? reader_end(reader, err) : reader_failed(reader, NULL, err);
			break;
		}
		if (batch->raw_len >= ENOUGH_BYTES)
			break;
		n = pg_wait(reader->conn, false, TURN_MS, err);
		if (n < 0 || (n > 0 && !PQconsumeInput(reader->conn)))
			return reader_failed(reader, NULL, err);
		if (n == 0)
			break;
	}
	if (r != 0 && r != SNAPSHOT_CHUNK_END)
		return r;
	if (reader->chunk->table->format != SNAPSHOT_RECORDS)
		batch->raw = reader->piece.data;
	return r;
}
