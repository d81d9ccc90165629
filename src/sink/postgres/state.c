/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The migration's key-value store, behind <sluice/state.h>. It has a session of its own, so that snapshot
 * workers and the source can use it while the applier's session is in the middle of a transaction.
 *
 * Every write holds the progress row FOR KEY SHARE with our epoch, so a process that was superseded can
 * write nothing, and whoever supersedes us waits for a write that is under way. With several partitions it holds the
 * rows of all that this sink has: one that was taken away without our giving it back means that we are superseded. Writes
 * are durable when they return.
 */

#include <stdio.h>
#include <string.h>

#include <sluice/fault.h>

#include "sink.h"

static struct state_postgres *state_of(struct state *state)
{
	return (struct state_postgres *)state;
}

static int state_postgres_get(struct state *base, const char *key, struct buf *ret, struct error *err)
{
	struct state_postgres *state = state_of(base);
	const char *values[] = { state->stream, key };
	_cleanup_(PQclearp) PGresult *res = NULL;
	unsigned char *bytes;
	size_t len;
	int r;

	pthread_mutex_lock(&state->lock);
	r = pg_exec_params(state->conn, "SELECT value FROM sluice.migration WHERE stream = $1 AND key = $2",
		2, values, &res, err);
	pthread_mutex_unlock(&state->lock);
	buf_clear(ret);
	if (r < 0)
		return r;
	if (!PQntuples(res))
		return STATE_MISSING;
	bytes = PQunescapeBytea((const unsigned char *)PQgetvalue(res, 0, 0), &len);
	if (!bytes)
		abort();
	buf_put(ret, bytes, len);
	PQfreemem(bytes);
	return 0;
}

/* every row that we have, with our epoch */
static int state_hold(struct state_postgres *state, struct error *err)
{
	if (!state->rows)
		return progress_nothing(err);
	for (const struct progress_row *row = state->rows; row; row = row->next) {
		_cleanup_(PQclearp) PGresult *held = NULL;
		char epoch[24], id[16];
		const char *values[] = { state->stream, row->topic, id, epoch };

		snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)row->epoch);
		snprintf(id, sizeof(id), "%d", (int)row->id);
		if (pg_exec_params(state->conn,
			    "SELECT 1 FROM sluice.progress WHERE stream = $1 AND topic = $2 AND partition = $3"
			    " AND epoch = $4 FOR KEY SHARE",
			    4, values, &held, err) < 0)
			return -1;
		if (PQntuples(held) != 1)
			return progress_fenced(err);
	}
	return 0;
}

/* one statement in a transaction that holds our epoch; the caller holds the lock */
static int state_write(
	struct state_postgres *state, const char *sql, int n, const char *const *values, struct error *err)
{
	struct error ignored = ERROR_INIT;
	int r = pg_exec(state->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err);

	if (r == 0)
		r = state_hold(state, err);
	if (r == 0)
		r = pg_exec_params(state->conn, sql, n, values, NULL, err);
	if (r == 0 && SLUICE_FAULT_POINT("sink.pg.state.commit"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.state.commit");
	if (r == 0)
		return pg_exec(state->conn, "COMMIT", NULL, err);
	pg_exec(state->conn, "ROLLBACK", NULL, &ignored);
	return r;
}

static int state_postgres_set(
	struct state *base, const char *key, const void *value, size_t len, struct error *err)
{
	struct state_postgres *state = state_of(base);
	_cleanup_(buf_freep) struct buf hex = BUF_INIT;
	const char *values[] = { state->stream, key, NULL };
	const uint8_t *bytes = value;
	int r;

	buf_grow(&hex, 2 * len + 3);
	buf_puts(&hex, "\\x");
	for (size_t i = 0; i < len; i++) {
		buf_putc(&hex, "0123456789abcdef"[bytes[i] >> 4]);
		buf_putc(&hex, "0123456789abcdef"[bytes[i] & 15]);
	}
	values[2] = buf_str(&hex);
	pthread_mutex_lock(&state->lock);
	r = state_write(state,
		"INSERT INTO sluice.migration (stream, key, value, updated_at) VALUES ($1, $2, $3::bytea, now())"
		" ON CONFLICT (stream, key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()",
		3, values, err);
	pthread_mutex_unlock(&state->lock);
	return r;
}

static int state_postgres_remove(struct state *base, const char *prefix, struct error *err)
{
	struct state_postgres *state = state_of(base);
	const char *values[] = { state->stream, prefix };
	int r;

	pthread_mutex_lock(&state->lock);
	r = state_write(state,
		"DELETE FROM sluice.migration WHERE stream = $1 AND pg_catalog.starts_with(key, $2)", 2,
		values, err);
	pthread_mutex_unlock(&state->lock);
	return r;
}

static const struct state_ops state_postgres_ops = {
	.get = state_postgres_get,
	.set = state_postgres_set,
	.remove = state_postgres_remove,
};

int state_postgres_init(struct sink_postgres *sink, struct error *err)
{
	sink->state.base.ops = &state_postgres_ops;
	sink->state.stream = sink->stream;
	return session_open(sink, "state", &sink->state.conn, NULL, err);
}

void state_postgres_fini(struct state_postgres *state)
{
	if (state->conn)
		PQfinish(state->conn);
	state->conn = NULL;
}
