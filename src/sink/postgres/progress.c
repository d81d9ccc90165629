/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Progress: where the stream stands, in the target, written with the data. One row per stream.
 *
 * Invariants:
 *   1. Each stream transaction begins with a compare-and-swap of the row: our epoch, and the position that
 *      we know. When it matches no row the statement divides by zero, so that everything queued behind it
 *      fails too.
 *   2. The row is addressed by the ctid of the version we wrote last; by its key after a reconnect. By key
 *      alone, each lookup walks all dead versions while somebody's old snapshot keeps them.
 *   3. claim() waits, by FOR UPDATE, for a commit in doubt of whoever ruled before; only then it reads. A
 *      holder that does not let go within CLAIM_PATIENCE_MS and is one of ours is ended.
 *   4. The resume point never decreases.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "sink.h"

#define CLAIM_PATIENCE_MS 10000
#define CLAIM_LIMIT_MS	  60000
#define BY_KEY_MIN	  16u /* transactions */
#define BY_KEY_MAX	  65536u

#define RESUME_FORWARD                                                                                       \
	"CASE WHEN octet_length($2) = octet_length(resume) AND $2 < resume THEN resume ELSE coalesce($2, resume) END"
#define PROGRESS_UPDATE(where)                                                                               \
	"WITH u AS (UPDATE sluice.progress SET position = $1, resume = " RESUME_FORWARD                      \
	", commit_time = coalesce($3, commit_time), updated_at = pg_catalog.now() WHERE " where              \
	" AND epoch = $5 AND position IS NOT DISTINCT FROM $6 RETURNING ctid)"                               \
	" SELECT (SELECT pg_catalog.count(*) FROM u), (SELECT ctid FROM u),"                                 \
	" 1 / (SELECT pg_catalog.count(*) FROM u)"

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25, OID_TID = 27, OID_TIMESTAMPTZ = 1184 };

static int claim_result(PGconn *conn, int timeout_ms, PGresult **ret, struct error *err)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);

	while (PQisBusy(conn)) {
		int unsent = PQflush(conn);
		struct pollfd fd = { .fd = PQsocket(conn), .events = unsent ? POLLIN | POLLOUT : POLLIN };
		int left_ms = mono_until_ms(until, mono_now());

		if (!left_ms)
			return 1;
		if (unsent < 0 || poll(&fd, 1, left_ms) < 0 ||
			((fd.revents & ~POLLOUT) && !PQconsumeInput(conn)))
			return sink_error(conn, NULL, "claim", err);
	}
	*ret = PQgetResult(conn);
	return 0;
}

/* ends whoever holds the row, if it is one of this stream's own sessions under our role */
static int claim_end_holder(struct sink_postgres *sink, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char pid[24], application[APPLICATION_MAX];
	const char *values[] = { pid, session_application(sink->stream, "", application) };

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(sink->conn));
	if (pg_exec_params(sink->state.conn,
		    "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
		    " WHERE pid = ANY (pg_catalog.pg_blocking_pids($1::int)) AND usename = current_user"
		    " AND pg_catalog.starts_with(application_name, $2)",
		    2, values, &res, err) < 0)
		return -1;
	log_debug(sink->base.ctx->log, "claim", "ended the session that held the progress row", "sessions=%d",
		PQntuples(res));
	return 0;
}

/* the row, locked; waits for a commit in doubt */
static int claim_lock(struct sink_postgres *sink, PGresult **ret, struct error *err)
{
	const char *values[] = { sink->stream };
	struct mono limit = mono_add_ms(mono_now(), CLAIM_LIMIT_MS);
	_cleanup_(PQclearp) PGresult *res = NULL;
	int r;

	if (!PQsendQueryParams(sink->conn,
		    "SELECT ctid, epoch, position, resume, identity,"
		    " (extract(epoch FROM commit_time) * 1000000)::bigint"
		    " FROM sluice.progress WHERE stream = $1 AND topic = '' AND partition = 0 FOR UPDATE",
		    1, NULL, values, NULL, NULL, 0))
		return sink_error(sink->conn, NULL, "claim", err);
	while ((r = claim_result(sink->conn, CLAIM_PATIENCE_MS, &res, err)) == 1) {
		if (!mono_until_ms(limit, mono_now()))
			return error_set(err, ERROR_TRANSIENT, "CLAIM",
				"the progress row is locked by a session that is not ours");
		if (claim_end_holder(sink, err) < 0)
			return -1;
	}
	if (r < 0)
		return r;
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		r = sink_error(sink->conn, res, "claim", err);
	else if (PQntuples(res) != 1)
		r = error_set(err, ERROR_TRANSIENT, "CLAIM", "the progress row is gone");
	PQclear(PQgetResult(sink->conn)); /* NULL: the end of the statement */
	if (r == 0) {
		*ret = res;
		res = NULL; /* the caller's */
	}
	return r;
}

static size_t progress_bytea(const PGresult *res, int column, uint8_t **ret)
{
	size_t len = 0;

	*ret = NULL;
	if (!PQgetisnull(res, 0, column)) {
		*ret = PQunescapeBytea((const unsigned char *)PQgetvalue(res, 0, column), &len);
		if (!*ret)
			abort();
	}
	return len;
}

static int claim_read(struct sink_postgres *sink, const PGresult *res, const char *identity,
	struct progress *ret, struct error *err)
{
	struct progress_row *row = &sink->progress;
	const char *stored = PQgetvalue(res, 0, 4);
	uint8_t *bytes;
	size_t len;

	*ret = (struct progress){ .epoch = strtoull(PQgetvalue(res, 0, 1), NULL, 10) + 1 };
	snprintf(row->identity, sizeof(row->identity), "%s", stored);
	if (*stored && *identity && strcmp(stored, identity) != 0) {
		error_set(err, ERROR_FATAL, "RESYNC-IDENTITY",
			"progress in the target belongs to source %s, this source is %s", stored, identity);
		error_remedy(err,
			"start over with a new copy (README), or point source.uri at the source of the stream");
		return error_exit(err, EXIT_RESYNC);
	}
	len = progress_bytea(res, 2, &bytes);
	row->current.has_position = len != 0;
	if (len && !position_decode(&ret->position, bytes, (uint32_t)len)) {
		PQfreemem(bytes);
		return error_set(err, ERROR_BUG, "PROGRESS", "the stored position has %zu bytes", len);
	}
	if (len)
		memcpy(row->current.position, bytes, POSITION_BYTES);
	PQfreemem(bytes);
	len = progress_bytea(res, 3, &bytes);
	resume_box_set(&row->resume, (struct resume){ bytes, (uint32_t)len });
	PQfreemem(bytes);
	ret->resume = resume_box_get(&row->resume);
	ret->exists = row->current.has_position || row->resume.len;
	ret->identity = row->identity;
	ret->commit_time.us = strtoll(PQgetvalue(res, 0, 5), NULL, 10);
	return 0;
}

static int claim_raise(struct sink_postgres *sink, const char *identity, uint64_t epoch, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char number[24];
	const char *values[] = { number, identity, sink->stream };

	snprintf(number, sizeof(number), "%llu", (unsigned long long)epoch);
	if (pg_exec_params(sink->conn,
		    "UPDATE sluice.progress SET epoch = $1, identity = coalesce(identity, nullif($2, '')),"
		    " updated_at = now() WHERE stream = $3 AND topic = '' AND partition = 0 RETURNING ctid",
		    3, values, &res, err) < 0)
		return -1;
	if (PQntuples(res) != 1)
		return error_set(err, ERROR_TRANSIENT, "CLAIM", "the progress row is gone");
	snprintf(sink->progress.current.ctid, sizeof(sink->progress.current.ctid), "%s",
		PQgetvalue(res, 0, 0));
	return 0;
}

/* the compare-and-swap, by address and by key */
int progress_prepare(struct sink_postgres *sink, struct error *err)
{
	const Oid types[] = { OID_BYTEA, OID_BYTEA, OID_TIMESTAMPTZ, OID_TID, OID_INT8, OID_BYTEA, OID_TEXT };
	_cleanup_(PQclearp) PGresult *by_ctid = NULL;
	_cleanup_(PQclearp) PGresult *by_key = NULL;

	by_ctid = PQprepare(sink->conn, "progress_ctid",
		PROGRESS_UPDATE("ctid = $4 AND stream = $7 AND topic = '' AND partition = 0"), 7, types);
	if (PQresultStatus(by_ctid) != PGRES_COMMAND_OK)
		return sink_error(sink->conn, by_ctid, "prepare progress", err);
	by_key = PQprepare(sink->conn, "progress_key",
		PROGRESS_UPDATE("$4 IS NULL AND stream = $7 AND topic = '' AND partition = 0"), 7, types);
	if (PQresultStatus(by_key) != PGRES_COMMAND_OK)
		return sink_error(sink->conn, by_key, "prepare progress", err);
	return 0;
}

static int claim_transaction(
	struct sink_postgres *sink, const char *identity, struct progress *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[] = { sink->stream };

	/* asked first: beside an uncommitted update even DO NOTHING would wait, where nobody looks at the clock */
	if (pg_exec_params(sink->conn,
		    "INSERT INTO sluice.progress (stream) SELECT $1::text WHERE NOT EXISTS (SELECT 1"
		    " FROM sluice.progress WHERE stream = $1 AND topic = '' AND partition = 0) ON CONFLICT DO NOTHING",
		    1, values, NULL, err) < 0)
		return -1;
	/* an epoch that a crash could take back would let an older process write again */
	if (pg_exec(sink->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err) < 0 ||
		claim_lock(sink, &res, err) < 0 || claim_read(sink, res, identity, ret, err) < 0 ||
		claim_raise(sink, identity, ret->epoch, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.claim.commit"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.claim.commit");
	return pg_exec(sink->conn, "COMMIT", NULL, err);
}

int progress_claim(struct sink_postgres *sink, const char *identity, struct progress *ret, struct error *err)
{
	struct error ignored = ERROR_INIT;

	if (claim_transaction(sink, identity, ret, err) < 0) {
		if (PQtransactionStatus(sink->conn) != PQTRANS_ACTIVE)
			pg_exec(sink->conn, "ROLLBACK", NULL, &ignored);
		return -1;
	}
	sink->progress.committed = sink->progress.current;
	sink->epoch = ret->epoch;
	pthread_mutex_lock(&sink->state.lock);
	sink->state.epoch = ret->epoch;
	pthread_mutex_unlock(&sink->state.lock);
	return progress_prepare(sink, err);
}

/* keeps the row's new address; what the next compare-and-swap expects */
static void progress_written(void *arg, const PGresult *res)
{
	struct sink_postgres *sink = arg;
	struct progress_version *now = &sink->progress.current;

	snprintf(now->ctid, sizeof(now->ctid), "%s", PQgetvalue(res, 0, 1));
	memcpy(now->position, sink->progress.next, POSITION_BYTES);
	now->has_position = true;
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

int progress_put(struct sink_postgres *sink, const struct progress_next *next, struct error *err)
{
	struct progress_version *now = &sink->progress.current;
	const struct queue_item item = {
		.expect = 1,
		.counted = true,
		.what = "progress",
		.tag = TAG_PROGRESS,
		.result = progress_written,
		.arg = sink,
	};
	int64_t commit_us = (int64_t)__builtin_bswap64((uint64_t)pg_time_from_wall(next->commit_time));
	char epoch[24];
	const char *values[7];
	int lengths[7] = { POSITION_BYTES, (int)next->resume.len, 8, 0, 0, POSITION_BYTES, 0 };
	const int formats[7] = { 1, 1, 1, 0, 0, 1, 0 };
	bool by_key = progress_by_key(&sink->progress);

	position_encode(next->position, sink->progress.next);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)sink->epoch);
	values[0] = (const char *)sink->progress.next;
	values[1] = next->resume.len ? (const char *)next->resume.data : NULL;
	values[2] = next->commit_time.us ? (const char *)&commit_us : NULL;
	values[3] = by_key ? NULL : now->ctid;
	values[4] = epoch;
	values[5] = now->has_position ? (const char *)now->position : NULL;
	values[6] = sink->stream;
	return queue_exec(&sink->queue, by_key ? "progress_key" : "progress_ctid",
		&(struct queue_params){ 7, values, lengths, formats }, &item, err);
}

void progress_settle(struct sink_postgres *sink, bool committed)
{
	if (committed)
		sink->progress.committed = sink->progress.current;
	else
		sink->progress.current = sink->progress.committed;
}

int progress_fenced(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FENCED", "another process has taken over this stream");
}

int progress_store_resume(struct sink_postgres *sink, struct resume resume, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char epoch[24];
	const char *values[] = { epoch, (const char *)resume.data, sink->stream };
	const int lengths[] = { 0, (int)resume.len, 0 };
	const int formats[] = { 0, 1, 0 };
	const Oid types[] = { OID_INT8, OID_BYTEA, OID_TEXT };
	struct error ignored = ERROR_INIT;

	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)sink->epoch);
	if (SLUICE_FAULT_POINT("sink.pg.store_resume"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.store_resume");
	if (pg_exec(sink->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err) < 0)
		return -1;
	res = PQexecParams(sink->conn,
		"UPDATE sluice.progress SET resume = " RESUME_FORWARD ", updated_at = pg_catalog.now()"
		" WHERE stream = $3 AND topic = '' AND partition = 0 AND epoch = $1 RETURNING ctid",
		3, types, values, lengths, formats, 0);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		return sink_error(sink->conn, res, "store the resume point", err);
	if (PQntuples(res) != 1) {
		pg_exec(sink->conn, "ROLLBACK", NULL, &ignored);
		return progress_fenced(err);
	}
	if (pg_exec(sink->conn, "COMMIT", NULL, err) < 0)
		return -1;
	snprintf(sink->progress.current.ctid, sizeof(sink->progress.current.ctid), "%s",
		PQgetvalue(res, 0, 0));
	progress_settle(sink, true);
	return 0;
}
