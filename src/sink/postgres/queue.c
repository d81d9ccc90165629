/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * libpq's pipeline mode, wrapped so that it can neither deadlock nor lose count.
 *
 * Invariants:
 *   1. The socket never blocks: while the server takes no more, arriving results are taken in, so that two
 *      full buffers can not wait for each other.
 *   2. Memory is bounded by one statement: an addition waits until libpq has handed everything to the
 *      kernel. The server works on one statement while the next is being encoded.
 *   3. Every statement added has exactly one item and gets exactly one answer, in order. After the first
 *      failure the server answers the others with "aborted" up to the synchronisation point that
 *      queue_wait() sends.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/postgres.h>

#include "queue.h"
#include "sink.h"

#define QUEUE_DRAIN_BYTES ((size_t)48 * 1024)
#define QUEUE_LOOK_MS	  5 /* for work that has come meanwhile */

void queue_init(struct queue *queue, PGconn *conn, const struct meanwhile *meanwhile)
{
	*queue = (struct queue){ .conn = conn, .meanwhile = meanwhile, .failed = QUEUE_NONE };
	PQsetnonblocking(conn, 1);
}

void queue_fini(struct queue *queue)
{
	free(queue->items);
	*queue = (struct queue){ .failed = QUEUE_NONE };
}

static int queue_lost(struct queue *queue, struct error *err)
{
	return sink_error(queue->conn, NULL, "apply", err);
}

static int queue_poll(struct queue *queue, short events, struct error *err)
{
	const struct meanwhile *meanwhile = queue->meanwhile->work ? queue->meanwhile : NULL;
	struct pollfd fd = { .fd = PQsocket(queue->conn), .events = events };
	int timeout_ms = meanwhile ? 0 : -1, n;

	if (fd.fd < 0)
		return queue_lost(queue, err);
	while ((n = poll(&fd, 1, timeout_ms)) <= 0) {
		if (n < 0 && errno != EINTR)
			return error_set(err, ERROR_TRANSIENT, "POLL", "poll: %s", strerror(errno));
		if (meanwhile)
			timeout_ms = meanwhile->work(meanwhile->arg) ? 0 : QUEUE_LOOK_MS;
	}
	if (fd.revents & (POLLIN | POLLHUP | POLLERR))
		if (!PQconsumeInput(queue->conn))
			return queue_lost(queue, err);
	return 0;
}

static int queue_drain(struct queue *queue, struct error *err)
{
	for (;;) {
		int r = PQflush(queue->conn);

		if (r == 0)
			return 0;
		if (r < 0)
			return queue_lost(queue, err);
		if (queue_poll(queue, POLLIN | POLLOUT, err) < 0)
			return -1;
	}
}

static int queue_next_result(struct queue *queue, PGresult **ret, struct error *err)
{
	while (PQisBusy(queue->conn)) {
		int r = PQflush(queue->conn);

		if (r < 0)
			return queue_lost(queue, err);
		if (queue_poll(queue, r ? POLLIN | POLLOUT : POLLIN, err) < 0)
			return -1;
	}
	*ret = PQgetResult(queue->conn);
	return 0;
}

int queue_enter(struct queue *queue, struct error *err)
{
	if (PQpipelineStatus(queue->conn) == PQ_PIPELINE_OFF && !PQenterPipelineMode(queue->conn))
		return queue_lost(queue, err);
	return 0;
}

int queue_leave(struct queue *queue, struct error *err)
{
	if (PQpipelineStatus(queue->conn) != PQ_PIPELINE_OFF && !PQexitPipelineMode(queue->conn))
		return queue_lost(queue, err);
	return 0;
}

/* after libpq took a statement: its item, and the bytes on their way */
static int queue_added(struct queue *queue, int sent, const struct queue_item *item, struct error *err)
{
	if (!sent)
		return queue_lost(queue, err);
	if (queue->n == queue->cap) {
		queue->cap = queue->cap ? queue->cap * 2 : 64;
		queue->items = realloc(queue->items, queue->cap * sizeof(*queue->items));
		if (!queue->items)
			abort();
	}
	queue->items[queue->n++] = *item;
	return 0;
}

int queue_sql(struct queue *queue, const char *sql, const struct queue_item *item, struct error *err)
{
	return queue_added(
		queue, PQsendQueryParams(queue->conn, sql, 0, NULL, NULL, NULL, NULL, 0), item, err);
}

int queue_prepare(struct queue *queue, const struct queue_statement *st, const struct queue_item *item,
	struct error *err)
{
	return queue_added(
		queue, PQsendPrepare(queue->conn, st->name, st->sql, st->n_params, st->types), item, err);
}

int queue_exec(struct queue *queue, const char *name, const struct queue_params *params,
	const struct queue_item *item, struct error *err)
{
	int sent = PQsendQueryPrepared(
		queue->conn, name, params->n, params->values, params->lengths, params->formats, 0);
	size_t bytes = 0;

	if (queue_added(queue, sent, item, err) < 0)
		return -1;
	for (int i = 0; i < params->n; i++)
		bytes += params->values[i] ? (size_t)params->lengths[i] : 0;
	/* small statements gather in libpq, which sends them together; a large one is waited for */
	return bytes > QUEUE_DRAIN_BYTES ? queue_drain(queue, err) : 0;
}

static void queue_failure(struct queue *queue, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);
	const char *column = PQresultErrorField(res, PG_DIAG_COLUMN_NAME);

	queue->failed = queue->done;
	queue->error_seen = true;
	snprintf(queue->sqlstate, sizeof(queue->sqlstate), "%s", state ? state : "");
	snprintf(queue->constraint, sizeof(queue->constraint), "%s", constraint ? constraint : "");
	snprintf(queue->column, sizeof(queue->column), "%s", column ? column : "");
	sink_error(queue->conn, res, queue->items[queue->done].what, &queue->error);
}

static int64_t queue_rows(const PGresult *res, bool counted)
{
	const char *s = counted ? PQntuples(res) ? PQgetvalue(res, 0, 0) : "0"
				: PQcmdTuples((PGresult *)(uintptr_t)res);

	return strtoll(s, NULL, 10);
}

/* one answer; the item at queue->done is its owner */
static void queue_answer(struct queue *queue, const PGresult *res)
{
	struct queue_item *item = &queue->items[queue->done];
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_PIPELINE_ABORTED)
		return;
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		if (!queue->error_seen)
			queue_failure(queue, res);
		return;
	}
	item->rows = queue_rows(res, item->counted);
	if (item->result)
		item->result(item->arg, res);
	if (item->expect >= 0 && item->rows != item->expect && queue->failed == QUEUE_NONE)
		queue->failed = queue->done;
}

/* every outstanding answer, through the synchronisation point */
static int queue_sync(struct queue *queue, struct error *err)
{
	if (!PQpipelineSync(queue->conn))
		return queue_lost(queue, err);
	for (;;) {
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (queue_next_result(queue, &res, err) < 0)
			return -1;
		if (PQstatus(queue->conn) == CONNECTION_BAD)
			return queue_lost(queue, err);
		if (!res) {
			if (queue->done < queue->n)
				queue->done++;
			continue;
		}
		if (PQresultStatus(res) == PGRES_PIPELINE_SYNC)
			return 0;
		queue_answer(queue, res);
	}
}

int queue_wait(struct queue *queue, struct error *err)
{
	int r;

	if (queue->done == queue->n && queue->failed == QUEUE_NONE)
		return 0;
	r = queue_sync(queue, err);
	if (r < 0)
		return r;
	if (queue->error_seen)
		return QUEUE_FAILED;
	return queue->failed == QUEUE_NONE ? 0 : QUEUE_MISMATCH;
}

void queue_clear(struct queue *queue)
{
	queue->n = queue->done = 0;
	queue->round++;
	queue->failed = QUEUE_NONE;
	queue->error_seen = false;
}

/* the last result of a statement outside pipeline mode, and the end of it */
static int queue_copy_result(struct queue *queue, ExecStatusType wanted, struct error *err)
{
	int r = 0;

	for (;;) {
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (queue_next_result(queue, &res, err) < 0)
			return -1;
		if (PQstatus(queue->conn) == CONNECTION_BAD)
			return queue_lost(queue, err);
		if (!res)
			break;
		if (PQresultStatus(res) == wanted && wanted == PGRES_COPY_IN)
			return 0;
		if (PQresultStatus(res) != wanted) {
			queue_answer(queue, res);
			r = QUEUE_FAILED;
		}
	}
	queue->done++;
	return r;
}

int queue_copy_begin(struct queue *queue, const char *sql, const struct queue_item *item, struct error *err)
{
	int r;

	if (queue_leave(queue, err) < 0 || queue_added(queue, PQsendQuery(queue->conn, sql), item, err) < 0)
		return -1;
	r = queue_copy_result(queue, PGRES_COPY_IN, err);
	if (r == QUEUE_FAILED && queue_enter(queue, err) < 0)
		return -1;
	return r;
}

int queue_copy_put(struct queue *queue, const void *data, size_t len, struct error *err)
{
	if (PQputCopyData(queue->conn, data, (int)len) < 0)
		return queue_lost(queue, err);
	return queue_drain(queue, err);
}

int queue_copy_end(struct queue *queue, struct error *err)
{
	int r;

	if (PQputCopyEnd(queue->conn, NULL) < 0)
		return queue_lost(queue, err);
	r = queue_copy_result(queue, PGRES_COMMAND_OK, err);
	if (r >= 0 && queue_enter(queue, err) < 0)
		return -1;
	return r;
}
