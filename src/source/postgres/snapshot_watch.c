/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Whom we are in the way of. A chunk holds ACCESS SHARE for as long as it is copied, which stops TRUNCATE and most of
 * ALTER TABLE; and whoever waits for such a lock stops everybody behind it. So four times a second we ask who waits, for
 * whom, and end our own statement when it is us: first by a cancel request, and if the session still stands in the way at
 * the next look (it hangs in a write to us, where a server does not hear a cancel), by ending the session. The reader
 * reports SNAPSHOT_YIELD and the chunk is done again later. pg_dump's session is treated alike.
 */

#include <stdlib.h>

#include "snapshot.h"

static bool was_ended(const struct pg_snapshot *snap, int pid)
{
	for (uint32_t i = 0; i < snap->n_ended; i++) {
		if (snap->ended[i] == pid)
			return true;
	}
	return false;
}

/* the reader has to know before its statement fails */
static void tell_reader(struct pg_snapshot *snap, int pid)
{
	pthread_mutex_lock(&snap->lock);
	for (struct snapshot_reader *reader = snap->readers; reader; reader = reader->next) {
		if (reader->pid == pid)
			atomic_store(&reader->yield, true);
	}
	pthread_mutex_unlock(&snap->lock);
}

/* pids of ours that somebody waits for; pg_locks tells everybody everything, pg_stat_activity does not */
static int blockers(struct pg_snapshot *snap, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;

	buf_puts(&sql,
		"SELECT DISTINCT s.pid FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l WHERE NOT l.granted AND "
		"l.pid IS NOT NULL) w, LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b(pid) JOIN "
		"pg_catalog.pg_stat_activity s ON s.pid = b.pid WHERE s.usename = CURRENT_USER AND "
		"s.application_name IN (");
	pg_put_literal(&sql, snap->application);
	buf_printf(&name, "sluice_%s/dump", snap->ctx->cfg->name);
	buf_puts(&sql, ", ");
	pg_put_literal(&sql, buf_str(&name));
	buf_puts(&sql, ") LIMIT 64");
	return pg_exec_stop(snap->sql, buf_str(&sql), snap->base.cancel, ret, err);
}

int watch_blocked(struct snapshot_source *base, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;
	_cleanup_(PQclearp) PGresult *res = NULL;
	int ended[64];
	uint32_t n = 0;

	if (!snap->sql)
		return 0;
	if (blockers(snap, &res, err) < 0)
		return error_where(err, "watch for waiting sessions");
	for (int i = 0; i < PQntuples(res); i++) {
		int pid = (int)strtol(PQgetvalue(res, i, 0), NULL, 10);
		bool again = was_ended(snap, pid);

		tell_reader(snap, pid);
		log_debug(snap->ctx->log, "snapshot-yield", "somebody waits for a chunk of ours",
			"pid=%d ended=%d", pid, (int)again);
		if (pg_execf(snap->sql, NULL, err, "SELECT pg_catalog.%s(%d)",
			    again ? "pg_terminate_backend" : "pg_cancel_backend", pid) < 0)
			return -1;
		ended[n++] = pid;
	}
	memcpy(snap->ended, ended, n * sizeof(int));
	snap->n_ended = n;
	return 0;
}
