/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Durability of commits that did not wait for it. The server's log is flushed in order, and synchronous standbys
 * acknowledge in order: once one commit with synchronous_commit=on has returned, every commit before it is durable on
 * whatever the target counts as durable. That one commit is an update of a row of its own, in a session of its own, so that
 * the applier goes on while the disk works. It is begun only by a caller whose commits have returned.
 */

#include <stdio.h>

#include <sluice/fault.h>

#include "sink.h"

static int flush_open(struct sink_postgres *sink, struct error *err)
{
	if (sink->flush.conn)
		return 0;
	if (session_open(sink, "flush", &sink->flush.conn, NULL, err) < 0 ||
		pg_exec(sink->flush.conn, "SET synchronous_commit = on", NULL, err) < 0)
		return -1;
	return PQsetnonblocking(sink->flush.conn, 1) == 0 ? 0
							  : sink_error(sink->flush.conn, NULL, "flush", err);
}

static int flush_begin(struct sink_postgres *sink, struct error *err)
{
	const struct progress_row *row = sink->rows;
	char key[TOPIC_MAX + 96];
	const char *values[] = { key };

	/* appliers that share a stream would wait for each other's disk on one row */
	if (row && row->partition)
		snprintf(key, sizeof(key), "%s/%s/%d", sink->stream, row->topic, (int)row->id);
	else
		snprintf(key, sizeof(key), "%s", sink->stream);
	if (SLUICE_FAULT_POINT("sink.pg.flush"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.flush");
	if (flush_open(sink, err) < 0)
		return -1;
	if (!PQsendQueryParams(sink->flush.conn,
		    "INSERT INTO sluice.flush (stream, at) VALUES ($1, pg_catalog.now())"
		    " ON CONFLICT (stream) DO UPDATE SET at = excluded.at",
		    1, NULL, values, NULL, NULL, 0))
		return sink_error(sink->flush.conn, NULL, "flush", err);
	sink->flush.under_way = true;
	return 0;
}

/* 0 = answered, SINK_FLUSHING = not yet */
static int flush_poll(PGconn *conn, struct error *err)
{
	if (PQflush(conn) < 0 || !PQconsumeInput(conn))
		return sink_error(conn, NULL, "flush", err);
	return PQisBusy(conn) ? SINK_FLUSHING : 0;
}

static int flush_result(struct sink_postgres *sink, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_result(sink->flush.conn, NULL, &res, err) < 0)
		return -1;
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		return sink_error(sink->flush.conn, res, "flush", err);
	PQclear(PQgetResult(sink->flush.conn)); /* NULL: the end of the statement */
	sink->flush.under_way = false;
	if (SLUICE_FAULT_POINT("sink.pg.flushed"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.flushed");
	return 0;
}

int flush_commits(struct sink_postgres *sink, bool wait, struct error *err)
{
	int r;

	if (!sink->flush.under_way && flush_begin(sink, err) < 0)
		return -1;
	r = wait ? 0 : flush_poll(sink->flush.conn, err);
	return r == 0 ? flush_result(sink, err) : r;
}

void flush_fini(struct sink_postgres *sink)
{
	if (sink->flush.conn)
		PQfinish(sink->flush.conn);
	sink->flush.conn = NULL;
}
