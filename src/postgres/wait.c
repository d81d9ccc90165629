/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Long statements that can be given up. libpq's blocking calls cannot be woken by a flag, so that a service told to stop
 * would sit in a COMMIT or a CREATE INDEX until the server is done; here every wait is a poll() of at most half a
 * second. Giving up sends a cancel request, so that the server does not work on for nobody, and leaves the session in
 * the middle of its protocol: it can only be closed.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <sluice/postgres.h>

#define TURN_MS 400

static bool stopping(const atomic_bool *stop)
{
	return stop && atomic_load_explicit(stop, memory_order_relaxed);
}

void pg_cancel(PGconn *conn)
{
	PGcancel *c = PQgetCancel(conn);
	char why[128];

	if (c)
		PQcancel(c, why, sizeof(why));
	PQfreeCancel(c);
}

int pg_stopped(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped before the end");
}

int pg_wait(PGconn *conn, bool write, int timeout_ms, struct error *err)
{
	struct pollfd fd = { .fd = PQsocket(conn), .events = (short)(POLLIN | (write ? POLLOUT : 0)) };
	int n;

	if (fd.fd < 0)
		return pg_error(conn, NULL, "wait", err);
	n = poll(&fd, 1, timeout_ms);
	if (n < 0 && errno != EINTR)
		return error_set(err, ERROR_TRANSIENT, "PG-POLL", "poll: %s", strerror(errno));
	return n > 0;
}

int pg_flush(PGconn *conn, const atomic_bool *stop, struct error *err)
{
	int r;

	while ((r = PQflush(conn)) == 1) {
		if (stopping(stop)) {
			pg_cancel(conn);
			return pg_stopped(err);
		}
		if (pg_wait(conn, true, TURN_MS, err) < 0)
			return -1;
		/* the server may wait for us to read its notices before it reads on */
		if (!PQconsumeInput(conn))
			return pg_error(conn, NULL, "send", err);
	}
	return r < 0 ? pg_error(conn, NULL, "send", err) : 0;
}

int pg_result(PGconn *conn, const atomic_bool *stop, PGresult **ret, struct error *err)
{
	if (pg_flush(conn, stop, err) < 0)
		return -1;
	while (PQisBusy(conn)) {
		if (stopping(stop)) {
			pg_cancel(conn);
			return pg_stopped(err);
		}
		if (pg_wait(conn, false, TURN_MS, err) < 0)
			return -1;
		if (!PQconsumeInput(conn))
			return pg_error(conn, NULL, "receive", err);
	}
	*ret = PQgetResult(conn);
	return 0;
}

/* a COPY leaves the session waiting for data, and PQgetResult() would return the same result for ever */
static bool is_copy(const PGresult *res)
{
	ExecStatusType st = PQresultStatus(res);

	return st == PGRES_COPY_IN || st == PGRES_COPY_OUT || st == PGRES_COPY_BOTH;
}

int pg_exec_stop(
	PGconn *conn, const char *sql, const atomic_bool *stop, PGresult **ret_res, struct error *err)
{
	_cleanup_(PQclearp) PGresult *last = NULL;
	PGresult *res;
	int r = 0;

	if (stopping(stop))
		return pg_stopped(err);
	if (!PQsendQuery(conn, sql))
		return pg_error(conn, NULL, "send", err);
	for (;;) {
		if (pg_result(conn, stop, &res, err) < 0)
			return -1;
		if (!res)
			break;
		PQclear(last);
		last = res;
		if (PQresultStatus(res) == PGRES_FATAL_ERROR && r == 0)
			r = pg_error(conn, res, "server", err);
		if (is_copy(res))
			break;
	}
	if (r < 0)
		return r;
	if (!last)
		return pg_error(conn, NULL, "receive", err);
	if (ret_res) {
		*ret_res = last;
		last = NULL; /* now the caller's */
	}
	return 0;
}
