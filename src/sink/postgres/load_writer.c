/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Writes chunks: a session per worker, a transaction per chunk that holds the progress row, the rows, and the chunk's
 * mark. The source's bytes go into COPY FROM as they came; only where row security forbids COPY they are taken apart. The
 * session is non-blocking, so that a service told to stop does not hang in a target that has stopped reading.
 *
 * The server's texts about a value that does not fit quote the value; ours name the column instead.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "load.h"

struct snapshot_writer {
	struct load *load;
	PGconn *conn;
	const struct snapshot_chunk *chunk;
	uint64_t rows; /* by INSERT */
	struct buf sql;
	bool open; /* a transaction */
};

int load_writer_new(struct snapshot_sink *base, struct snapshot_writer **ret, struct error *err)
{
	struct snapshot_writer *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->load = (struct load *)base;
	if (load_session(w->load, &w->conn, err) < 0) {
		load_writer_free(w);
		return -1;
	}
	PQsetnonblocking(w->conn, 1);
	*ret = w;
	return 0;
}

void load_writer_free(struct snapshot_writer *w)
{
	if (!w)
		return;
	PQfinish(w->conn);
	buf_fini(&w->sql);
	free(w);
}

const char *load_error_column(const struct relation *rel, const char *context)
{
	const char *at = context ? strstr(context, ", column ") : NULL;

	for (; at; at = strstr(at + 1, ", column ")) {
		const char *name = at + strlen(", column ");

		for (uint32_t i = 0; i < rel->n_columns; i++) {
			size_t n = strlen(rel->columns[i].name);

			if (!strncmp(name, rel->columns[i].name, n) &&
				(name[n] == ':' || name[n] == '\0' || name[n] == '\n'))
				return rel->columns[i].name;
		}
		/* what follows the first may be a row's value */
		break;
	}
	return NULL;
}

static int write_failed(struct snapshot_writer *w, const PGresult *res, struct error *err)
{
	const struct relation *rel = w->chunk->table->rel;
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *column;
	char code[sizeof(err->code)];

	sink_error(w->conn, res, "copy", err);
	if (!state || (strncmp(state, "22", 2) != 0 && strncmp(state, "23", 2) != 0 &&
			      strncmp(state, "21", 2) != 0))
		return error_where(err, "%s.%s", rel->schema, rel->name);
	memcpy(code, err->code, sizeof(code));
	column = PQresultErrorField(res, PG_DIAG_COLUMN_NAME);
	if (!column)
		column = load_error_column(rel, PQresultErrorField(res, PG_DIAG_CONTEXT));
	if (!strncmp(state, "23", 2)) {
		const char *constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);

		error_set(err, ERROR_DATA, code, "%s.%s%s%s: a row breaks %s %s of the target (%s)",
			rel->schema, rel->name, column ? ", column " : "", column ? column : "",
			constraint ? "constraint" : "a constraint", constraint ? constraint : "", state);
		return error_remedy(err,
			"drop what only the target demands, or let the load run with "
			"GRANT SET ON PARAMETER session_replication_role TO %s;",
			PQuser(w->conn));
	}
	return error_set(err, ERROR_DATA, code, "%s.%s%s%s: a value does not fit the target's type (%s)",
		rel->schema, rel->name, column ? ", column " : "", column ? column : "", state);
}

int load_chunk_begin(struct snapshot_writer *w, const struct snapshot_chunk *chunk, struct error *err)
{
	const struct load_target *target = chunk->table->target;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	w->chunk = chunk;
	w->rows = 0;
	if (load_begin(w->load, w->conn, err) < 0)
		return -1;
	w->open = true;
	if (target->rows)
		return 0;
	buf_printf(&sql, "COPY %s%s FROM STDIN%s", target->name, target->columns,
		chunk->table->format == SNAPSHOT_BINARY_COPY ? " (FORMAT binary)" : "");
	if (!PQsendQuery(w->conn, buf_str(&sql)))
		return write_failed(w, NULL, err);
	if (pg_result(w->conn, w->load->base.cancel, &res, err) < 0)
		return -1;
	return PQresultStatus(res) == PGRES_COPY_IN ? 0 : write_failed(w, res, err);
}

/* the end of a statement; its tag counts the rows */
static int ended(struct snapshot_writer *w, uint64_t *rows, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	PGresult *next = NULL;

	if (pg_result(w->conn, w->load->base.cancel, &res, err) < 0)
		return -1;
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		return write_failed(w, res, err);
	*rows += strtoull(PQcmdTuples(res), NULL, 10);
	if (pg_result(w->conn, w->load->base.cancel, &next, err) < 0)
		return -1;
	PQclear(next);
	return 0;
}

static int write_rows(struct snapshot_writer *w, const struct batch *batch, struct error *err)
{
	const struct relation *rel = w->chunk->table->rel;
	const struct load_target *target = w->chunk->table->target;
	size_t at = 0;

	while (at < batch->raw_len) {
		buf_shrink(&w->sql, (size_t)1 << 20);
		buf_printf(&w->sql, "INSERT INTO %s%s OVERRIDING SYSTEM VALUE VALUES", target->name,
			target->columns);
		if (load_rows_put(&w->sql, batch->raw, batch->raw_len, &at, rel->n_columns) < 0)
			return error_set(err, ERROR_BUG, "SNAPSHOT-TEXT", "%s.%s: COPY text of another shape",
				rel->schema, rel->name);
		if (!PQsendQuery(w->conn, buf_str(&w->sql)))
			return write_failed(w, NULL, err);
		if (ended(w, &w->rows, err) < 0)
			return -1;
	}
	return 0;
}

int load_chunk_write(struct snapshot_writer *w, const struct batch *batch, struct error *err)
{
	const struct load_target *target = w->chunk->table->target;

	if (!batch->raw_len)
		return 0;
	if (target->rows)
		return write_rows(w, batch, err);
	for (size_t at = 0; at < batch->raw_len;) {
		size_t n = batch->raw_len - at;

		if (n > (size_t)1 << 29)
			n = (size_t)1 << 29;
		if (PQputCopyData(w->conn, (const char *)batch->raw + at, (int)n) < 0)
			return write_failed(w, NULL, err);
		at += n;
		if (pg_flush(w->conn, w->load->base.cancel, err) < 0)
			return -1;
	}
	return 0;
}

static int copy_end(struct snapshot_writer *w, uint64_t *ret_rows, struct error *err)
{
	if (PQputCopyEnd(w->conn, NULL) < 0)
		return write_failed(w, NULL, err);
	*ret_rows = 0;
	return ended(w, ret_rows, err);
}

int load_chunk_commit(struct snapshot_writer *w, uint64_t *ret_rows, struct error *err)
{
	const struct load_target *target = w->chunk->table->target;
	const struct relation *rel = w->chunk->table->rel;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	uint64_t rows = w->rows;

	if (!target->rows && copy_end(w, &rows, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.chunk_commit"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.chunk_commit");
	buf_printf(&name, "%s.%s", rel->schema, rel->name);
	buf_puts(&sql,
		"INSERT INTO sluice.snapshot_chunks (stream, table_name, chunk, attempt, rows, at) VALUES (");
	pg_put_literal(&sql, w->load->sink->stream);
	buf_puts(&sql, ", ");
	pg_put_literal(&sql, buf_str(&name));
	buf_printf(&sql,
		", %u, %llu, %llu, pg_catalog.now()) ON CONFLICT (stream, table_name, chunk) DO UPDATE SET attempt = "
		"EXCLUDED.attempt, rows = EXCLUDED.rows, at = EXCLUDED.at; COMMIT",
		w->chunk->no, (unsigned long long)w->load->sink->epoch, (unsigned long long)rows);
	if (load_exec(w->load, w->conn, buf_str(&sql), NULL, err) < 0)
		return error_where(err, "commit a chunk of %s", buf_str(&name));
	w->open = false;
	if (SLUICE_FAULT_POINT("snapshot.chunk_committed"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.chunk_committed");
	*ret_rows = rows;
	return 0;
}

void load_chunk_abort(struct snapshot_writer *w)
{
	struct error ignored = ERROR_INIT;
	PGresult *res;

	if (!w->open)
		return;
	w->open = false;
	if (PQputCopyEnd(w->conn, "chunk given up") >= 0) {
		while (pg_result(w->conn, w->load->base.cancel, &res, &ignored) == 0 && res)
			PQclear(res);
	}
	if (PQstatus(w->conn) == CONNECTION_OK)
		load_exec(w->load, w->conn, "ROLLBACK", NULL, &ignored);
}
