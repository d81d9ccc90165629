/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Progress: where the stream stands, in the target, written with the data. One row per stream, or per partition of its log.
 *
 * Invariants:
 *   1. Each stream transaction begins with a compare-and-swap of its row: our epoch, and the position and offset that
 *      we know. When it matches no row the statement divides by zero, so that everything queued behind it
 *      fails too. (Without a log the position alone moves; a copy's records move the offset alone.)
 *   2. The row is addressed by the ctid of the version we wrote last; by its key after a reconnect. By key
 *      alone, each lookup walks all dead versions while somebody's old snapshot keeps them.
 *   3. Neither resume point nor offset ever decreases.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "sink.h"

#define BY_KEY_MIN 16u /* transactions */
#define BY_KEY_MAX 65536u

#define RESUME_FORWARD                                                                                       \
	"CASE WHEN octet_length($2) = octet_length(resume) AND $2 < resume THEN resume ELSE coalesce($2, resume) END"
#define PROGRESS_ROW "stream = $7 AND topic = $8 AND partition = $9"
#define PROGRESS_UPDATE(where)                                                                               \
	"WITH u AS (UPDATE sluice.progress SET position = coalesce($1, position), resume = " RESUME_FORWARD  \
	", commit_time = coalesce($3, commit_time), \"offset\" = coalesce($10, \"offset\"),"                 \
	" reign = coalesce($11, reign), updated_at = pg_catalog.now() WHERE " where " AND epoch = $5"        \
	" AND position IS NOT DISTINCT FROM $6 AND \"offset\" IS NOT DISTINCT FROM $12 RETURNING ctid)"      \
	" SELECT (SELECT pg_catalog.count(*) FROM u), (SELECT ctid FROM u),"                                 \
	" 1 / (SELECT pg_catalog.count(*) FROM u)"
#define PROGRESS_PARAMS 12

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25, OID_TID = 27, OID_TIMESTAMPTZ = 1184 };

void progress_params(const struct sink_postgres *sink, const struct progress_row *row, char number[16],
	const char *values[3])
{
	snprintf(number, 16, "%d", (int)row->id);
	values[0] = sink->stream;
	values[1] = row->topic;
	values[2] = number;
}

/* the compare-and-swap, by address and by key */
int progress_prepare(struct sink_postgres *sink, struct error *err)
{
	const Oid types[PROGRESS_PARAMS] = { OID_BYTEA, OID_BYTEA, OID_TIMESTAMPTZ, OID_TID, OID_INT8,
		OID_BYTEA, OID_TEXT, OID_TEXT, OID_INT4, OID_INT8, OID_TEXT, OID_INT8 };
	_cleanup_(PQclearp) PGresult *by_ctid = NULL;
	_cleanup_(PQclearp) PGresult *by_key = NULL;

	by_ctid = PQprepare(sink->conn, "progress_ctid", PROGRESS_UPDATE("ctid = $4 AND " PROGRESS_ROW),
		PROGRESS_PARAMS, types);
	if (PQresultStatus(by_ctid) != PGRES_COMMAND_OK)
		return sink_error(sink->conn, by_ctid, "prepare progress", err);
	by_key = PQprepare(sink->conn, "progress_key", PROGRESS_UPDATE("$4 IS NULL AND " PROGRESS_ROW),
		PROGRESS_PARAMS, types);
	if (PQresultStatus(by_key) != PGRES_COMMAND_OK)
		return sink_error(sink->conn, by_key, "prepare progress", err);
	return 0;
}

/* keeps the row's new address; what the next compare-and-swap expects */
static void progress_written(void *arg, const PGresult *res)
{
	struct progress_row *row = arg;

	row->current = row->swap;
	snprintf(row->current.ctid, sizeof(row->current.ctid), "%s", PQgetvalue(res, 0, 1));
}

/*
 * Now and then the row is looked up by its key although the address is known: only an index lookup clears
 * away dead versions, so that the row stays on its page between two vacuums. Where the row has moved on
 * nevertheless, somebody's snapshot keeps the dead versions, each lookup by key walks all of them, and it
 * is done ever more rarely.
 */
static bool progress_by_key(struct progress_row *row)
{
	unsigned long block;

	if (!*row->current.ctid)
		return true;
	if (++row->by_ctid < row->by_key_every)
		return false;
	block = strtoul(row->current.ctid + 1, NULL, 10);
	if (block != row->block)
		row->by_key_every = row->by_key_every < BY_KEY_MAX ? row->by_key_every * 2 : BY_KEY_MAX;
	else
		row->by_key_every = row->by_key_every / 2 < BY_KEY_MIN ? BY_KEY_MIN : row->by_key_every / 2;
	row->block = block;
	row->by_ctid = 0;
	return true;
}

/* what the row holds when the statement has succeeded */
static void progress_plan(struct progress_row *row, const struct progress_next *next)
{
	row->swap = row->current;
	if (next->position.major) {
		position_encode(next->position, row->swap.position);
		row->swap.has_position = true;
	}
	if (next->offset >= 0)
		row->swap.offset = next->offset;
}

int progress_put(struct sink_postgres *sink, struct progress_row *row, const struct progress_next *next,
	struct error *err)
{
	struct progress_version *now = &row->current;
	const struct queue_item item = {
		.expect = 1,
		.counted = true,
		.what = "progress",
		.tag = TAG_PROGRESS,
		.result = progress_written,
		.arg = row,
	};
	int64_t commit_us = (int64_t)__builtin_bswap64((uint64_t)pg_time_from_wall(next->commit_time));
	char epoch[24], number[16], offset[24], expected[24], reign[REIGN_TEXT];
	const char *values[PROGRESS_PARAMS];
	int lengths[PROGRESS_PARAMS] = { POSITION_BYTES, (int)next->resume.len, 8, 0, 0, POSITION_BYTES };
	const int formats[PROGRESS_PARAMS] = { 1, 1, 1, 0, 0, 1 };
	bool by_key = progress_by_key(row);

	progress_plan(row, next);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)row->epoch);
	snprintf(offset, sizeof(offset), "%lld", (long long)next->offset);
	snprintf(expected, sizeof(expected), "%lld", (long long)now->offset);
	values[0] = next->position.major ? (const char *)row->swap.position : NULL;
	values[1] = next->resume.len ? (const char *)next->resume.data : NULL;
	values[2] = next->commit_time.us ? (const char *)&commit_us : NULL;
	values[3] = by_key ? NULL : now->ctid;
	values[4] = epoch;
	values[5] = now->has_position ? (const char *)now->position : NULL;
	progress_params(sink, row, number, values + 6);
	values[9] = next->offset >= 0 ? offset : NULL;
	values[10] = next->reign.number ? reign_format(next->reign, reign) : NULL;
	values[11] = now->offset >= 0 ? expected : NULL;
	return queue_exec(&sink->queue, by_key ? "progress_key" : "progress_ctid",
		&(struct queue_params){ PROGRESS_PARAMS, values, lengths, formats }, &item, err);
}

void progress_settle(struct progress_row *row, bool committed)
{
	if (committed)
		row->committed = row->current;
	else
		row->current = row->committed;
}

int progress_fenced(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FENCED", "another process has taken over this stream");
}

int progress_nothing(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FENCED", "no part of the stream is ours");
}

/* behind a log the position goes with the offset: together they name a record */
static void progress_stored(struct progress_row *row, const struct sink_point *point, const char *ctid)
{
	snprintf(row->current.ctid, sizeof(row->current.ctid), "%s", ctid);
	if (row->partition && point->offset > row->current.offset) {
		row->current.offset = point->offset;
		if (point->position.major) {
			position_encode(point->position, row->current.position);
			row->current.has_position = true;
		}
	}
	progress_settle(row, true);
}

int progress_store(struct sink_postgres *sink, struct progress_row *row, const struct sink_point *point,
	struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char epoch[24], number[16], offset[24], reign[REIGN_TEXT];
	uint8_t position[POSITION_BYTES];
	const char *values[8] = { epoch, NULL };
	const int lengths[8] = { 0, (int)point->resume.len, 0, 0, 0, 0, 0, POSITION_BYTES };
	const int formats[8] = { 0, 1, 0, 0, 0, 0, 0, 1 };
	const Oid types[8] = { OID_INT8, OID_BYTEA, OID_TEXT, OID_TEXT, OID_INT4, OID_INT8, OID_TEXT,
		OID_BYTEA };
	bool log = row->partition && point->offset > row->current.offset;
	struct error ignored = ERROR_INIT;

	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)row->epoch);
	snprintf(offset, sizeof(offset), "%lld", (long long)point->offset);
	position_encode(point->position, position);
	values[1] = point->resume.len ? (const char *)point->resume.data : NULL;
	progress_params(sink, row, number, values + 2);
	values[5] = log ? offset : NULL;
	values[6] = log && point->reign.number ? reign_format(point->reign, reign) : NULL;
	values[7] = log && point->position.major ? (const char *)position : NULL;
	if (SLUICE_FAULT_POINT("sink.pg.store_resume"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.store_resume");
	if (pg_exec(sink->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err) < 0)
		return -1;
	res = PQexecParams(sink->conn,
		"UPDATE sluice.progress SET resume = " RESUME_FORWARD
		", \"offset\" = coalesce($6, \"offset\"), reign = coalesce($7, reign),"
		" position = coalesce($8, position), updated_at = pg_catalog.now()"
		" WHERE stream = $3 AND topic = $4 AND partition = $5 AND epoch = $1 RETURNING ctid",
		8, types, values, lengths, formats, 0);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		return sink_error(sink->conn, res, "store the resume point", err);
	if (PQntuples(res) != 1) {
		pg_exec(sink->conn, "ROLLBACK", NULL, &ignored);
		return progress_fenced(err);
	}
	if (pg_exec(sink->conn, "COMMIT", NULL, err) < 0)
		return -1;
	progress_stored(row, point, PQgetvalue(res, 0, 0));
	return 0;
}
