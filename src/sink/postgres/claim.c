/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Taking over a partition's progress row (without a log: the stream's only one), and giving it back.
 *
 * Invariants:
 *   1. claim() waits, by FOR UPDATE, for a commit in doubt of whoever ruled before; only then it reads. A
 *      holder that does not let go within CLAIM_PATIENCE_MS and is one of ours is ended.
 *   2. The epoch is raised durably before anything is applied, so an older holder's next compare-and-swap fails, whenever
 *      it wakes up.
 *   3. The list of rows held is changed under the state's mutex: its writes are guarded by all of them.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "chunks.h"
#include "load.h"
#include "sink.h"

#define CLAIM_PATIENCE_MS 10000
#define CLAIM_LIMIT_MS	  60000

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
	int r;

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(sink->conn));
	/* the state's session is any thread's */
	pthread_mutex_lock(&sink->state.lock);
	r = pg_exec_params(sink->state.conn,
		"SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
		" WHERE pid = ANY (pg_catalog.pg_blocking_pids($1::int)) AND usename = current_user"
		" AND pg_catalog.starts_with(application_name, $2)",
		2, values, &res, err);
	pthread_mutex_unlock(&sink->state.lock);
	if (r < 0)
		return -1;
	log_debug(sink->base.ctx->log, "claim", "ended the session that held the progress row", "sessions=%d",
		PQntuples(res));
	return 0;
}

/* the row, locked; waits for a commit in doubt */
static int claim_lock(
	struct sink_postgres *sink, const struct progress_row *row, PGresult **ret, struct error *err)
{
	struct mono limit = mono_add_ms(mono_now(), CLAIM_LIMIT_MS);
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[3];
	char number[16];
	int r;

	progress_params(sink, row, number, values);
	if (!PQsendQueryParams(sink->conn,
		    "SELECT ctid, epoch, position, resume, identity,"
		    " (extract(epoch FROM commit_time) * 1000000)::bigint, \"offset\", reign"
		    " FROM sluice.progress WHERE stream = $1 AND topic = $2 AND partition = $3 FOR UPDATE",
		    3, NULL, values, NULL, NULL, 0))
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

static size_t claim_bytea(const PGresult *res, int column, uint8_t **ret)
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

/* where the log was read to */
static int claim_offset(
	struct progress_row *row, const PGresult *res, struct progress *ret, struct error *err)
{
	const char *reign = PQgetvalue(res, 0, 7);

	row->current.offset = PQgetisnull(res, 0, 6) ? -1 : strtoll(PQgetvalue(res, 0, 6), NULL, 10);
	ret->offset = row->current.offset;
	ret->reign = REIGN_NONE;
	if (*reign && !reign_parse(&ret->reign, reign, strlen(reign)))
		return error_set(err, ERROR_BUG, "PROGRESS", "the stored reign is none");
	return 0;
}

static int claim_read(struct progress_row *row, const PGresult *res, const char *identity,
	struct progress *ret, struct error *err)
{
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
	len = claim_bytea(res, 2, &bytes);
	row->current.has_position = len != 0;
	if (len && !position_decode(&ret->position, bytes, (uint32_t)len)) {
		PQfreemem(bytes);
		return error_set(err, ERROR_BUG, "PROGRESS", "the stored position has %zu bytes", len);
	}
	if (len)
		memcpy(row->current.position, bytes, POSITION_BYTES);
	PQfreemem(bytes);
	len = claim_bytea(res, 3, &bytes);
	resume_box_set(&row->resume, (struct resume){ bytes, (uint32_t)len });
	PQfreemem(bytes);
	if (claim_offset(row, res, ret, err) < 0)
		return -1;
	ret->resume = resume_box_get(&row->resume);
	ret->exists = row->current.has_position || row->resume.len || ret->offset >= 0;
	ret->identity = row->identity;
	ret->commit_time.us = strtoll(PQgetvalue(res, 0, 5), NULL, 10);
	return 0;
}

static int claim_raise(struct sink_postgres *sink, struct progress_row *row, const char *identity,
	uint64_t epoch, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char number[16], raised[24];
	const char *values[5] = { NULL, NULL, NULL, raised, identity };

	progress_params(sink, row, number, values);
	snprintf(raised, sizeof(raised), "%llu", (unsigned long long)epoch);
	if (pg_exec_params(sink->conn,
		    "UPDATE sluice.progress SET epoch = $4, identity = coalesce(identity, nullif($5, '')),"
		    " updated_at = now() WHERE stream = $1 AND topic = $2 AND partition = $3 RETURNING ctid",
		    5, values, &res, err) < 0)
		return -1;
	if (PQntuples(res) != 1)
		return error_set(err, ERROR_TRANSIENT, "CLAIM", "the progress row is gone");
	snprintf(row->current.ctid, sizeof(row->current.ctid), "%s", PQgetvalue(res, 0, 0));
	return 0;
}

static int claim_transaction(struct sink_postgres *sink, struct progress_row *row, const char *identity,
	struct progress *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[3];
	char number[16];

	progress_params(sink, row, number, values);
	/* asked first: beside an uncommitted update even DO NOTHING would wait, where nobody looks at the clock */
	if (pg_exec_params(sink->conn,
		    "INSERT INTO sluice.progress (stream, topic, partition) SELECT $1::text, $2::text, $3::int"
		    " WHERE NOT EXISTS (SELECT 1 FROM sluice.progress WHERE stream = $1 AND topic = $2"
		    " AND partition = $3) ON CONFLICT DO NOTHING",
		    3, values, NULL, err) < 0)
		return -1;
	/* an epoch that a crash could take back would let an older process write again */
	if (pg_exec(sink->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err) < 0 ||
		claim_lock(sink, row, &res, err) < 0 || claim_read(row, res, identity, ret, err) < 0 ||
		claim_raise(sink, row, identity, ret->epoch, err) < 0 || chunks_load(sink, row, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.claim.commit"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.claim.commit");
	return pg_exec(sink->conn, "COMMIT", NULL, err);
}

static struct progress_row *claim_row(const struct partition *partition)
{
	struct progress_row *row = calloc(1, sizeof(*row));

	if (!row)
		abort();
	row->partition = partition;
	row->topic = partition ? partition->topic : "";
	row->id = partition ? partition->id : 0;
	return row;
}

/* a row that is held has its place in the list; epoch and list are the state's too */
static void claim_hold(struct sink_postgres *sink, struct progress_row *row, uint64_t epoch)
{
	pthread_mutex_lock(&sink->state.lock);
	row->epoch = epoch;
	if (!progress_find(sink, row->partition)) {
		row->next = sink->rows;
		sink->rows = row;
	}
	sink->state.rows = sink->rows;
	pthread_mutex_unlock(&sink->state.lock);
}

int progress_claim(struct sink_postgres *sink, const struct partition *partition, const char *identity,
	struct progress *ret, struct error *err)
{
	struct progress_row *row = progress_find(sink, partition);
	struct error ignored = ERROR_INIT;
	bool held = row;

	if (!held)
		row = claim_row(partition);
	if (claim_transaction(sink, row, identity, ret, err) < 0) {
		if (PQtransactionStatus(sink->conn) != PQTRANS_ACTIVE)
			pg_exec(sink->conn, "ROLLBACK", NULL, &ignored);
		if (!held) {
			resume_box_fini(&row->resume);
			free(row);
		}
		return -1;
	}
	row->committed = row->current;
	claim_hold(sink, row, ret->epoch);
	if (partition && restore_claimed(sink->base.snapshot, err) < 0)
		return -1;
	if (!partition)
		sink->epoch = ret->epoch;
	if (sink->prepared)
		return 0;
	sink->prepared = true;
	return progress_prepare(sink, err);
}

struct progress_row *progress_find(const struct sink_postgres *sink, const struct partition *partition)
{
	struct progress_row *row = sink->rows;

	while (row && row->partition != partition)
		row = row->next;
	return row;
}

void progress_release(struct sink_postgres *sink, struct progress_row *row)
{
	struct progress_row **at = &sink->rows;

	pthread_mutex_lock(&sink->state.lock);
	while (*at != row)
		at = &(*at)->next;
	*at = row->next;
	sink->state.rows = sink->rows;
	pthread_mutex_unlock(&sink->state.lock);
	resume_box_fini(&row->resume);
	free(row);
}
