/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A slot and the snapshot that fits it. CREATE_REPLICATION_SLOT waits for every transaction that is older than itself,
 * open or prepared, in any database of the server; that can be hours, so the command is sent without waiting, looked at
 * four times a second, and cancelled after snapshot.slot_wait with the names of those it waited for. The server drops a
 * slot whose creation was cancelled.
 *
 * The exported snapshot lives as long as the walsender session does nothing else. An ordinary session (the keeper) takes it
 * over and exports it again, so that the walsender can go: a temporary slot then keeps no WAL, and one connection is all
 * that has to survive. A plain snapshot would not do: it shows commits that a crash of the server may take back, whereas
 * those a slot's snapshot shows have been flushed.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "snapshot.h"

#define TURN_MS	 250
#define DRAIN_MS 5000

static int walsender_open(struct pg_snapshot *snap, PGconn **ret, struct error *err)
{
	struct pg_peer peer = snapshot_peer(snap);
	_cleanup_(PQfinishp) PGconn *conn = NULL;

	if (pg_connect(&peer, PG_SOURCE_REPLICATION, snap->application, &conn, err) < 0)
		return -1;
	/* waiting is what this session is for: a lock_timeout of the role would end it */
	if (pg_exec(conn,
		    "SET lock_timeout = 0; SET statement_timeout = 0; SET idle_session_timeout = 0; "
		    "SET idle_in_transaction_session_timeout = 0",
		    NULL, err) < 0)
		return -1;
	if (PQserverVersion(conn) >= 170000 && pg_exec(conn, "SET transaction_timeout = 0", NULL, err) < 0)
		return -1;
	*ret = conn;
	conn = NULL; /* now the caller's */
	return 0;
}

/* every transaction with an xid makes the slot wait; pg_locks shows them without special rights */
static int blocked_error(struct pg_snapshot *snap, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *who = "", *ids = "";

	if (pg_exec(snap->sql,
		    "SELECT count(*), string_agg(what, ', ' ORDER BY a DESC), string_agg(how, ' ' ORDER BY a DESC) FROM "
		    "(SELECT a, what, how, row_number() OVER (ORDER BY a DESC) AS n FROM ("
		    "SELECT pg_catalog.max(pg_catalog.age(l.transactionid)) AS a, pg_catalog.format('pid %s (xid %s)', l.pid, "
		    "pg_catalog.min(l.transactionid::text)) AS what, pg_catalog.format('SELECT pg_terminate_backend(%s);', "
		    "l.pid) AS how FROM pg_catalog.pg_locks l WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = "
		    "'ExclusiveLock' AND l.pid IS NOT NULL GROUP BY l.pid UNION ALL SELECT "
		    "pg_catalog.age(p.transaction), pg_catalog.format('prepared %L (xid %s)', p.gid, p.transaction), "
		    "pg_catalog.format('ROLLBACK PREPARED %L;', p.gid) FROM pg_catalog.pg_prepared_xacts p) w) x WHERE n <= 4",
		    &res, err) < 0)
		return -1;
	if (PQntuples(res) == 1 && !PQgetisnull(res, 0, 1)) {
		who = PQgetvalue(res, 0, 1);
		ids = PQgetvalue(res, 0, 2);
	}
	error_set(err, ERROR_FATAL, "PG-SLOT-WAIT",
		"the replication slot waited %lld s for older transactions on the source: %s",
		(long long)(snap->ctx->cfg->snapshot.slot_wait_ms / 1000),
		*who ? who : "they have ended by now");
	error_remedy(err, "let them end, or raise snapshot.slot_wait%s%s", *ids ? ", or: " : "", ids);
	return error_exit(err, EXIT_TIMEOUT);
}

/* 0 = there is a result; else *err says why there is none, and the command has been cancelled */
static int slot_await(struct pg_snapshot *snap, PGconn *conn, struct error *err)
{
	struct mono deadline = mono_add_ms(mono_now(), snap->ctx->cfg->snapshot.slot_wait_ms);
	bool given_up = false;

	while (PQisBusy(conn)) {
		bool stop = snap->base.cancel && atomic_load(snap->base.cancel);

		if (!given_up && (stop || mono_until_ms(deadline, mono_now()) == 0)) {
			if (stop)
				pg_stopped(err);
			else
				blocked_error(snap, err);
			pg_cancel(conn);
			given_up = true;
			deadline = mono_add_ms(mono_now(), DRAIN_MS);
		}
		if (given_up && mono_until_ms(deadline, mono_now()) == 0)
			return -1;
		if (pg_wait(conn, false, TURN_MS, err) < 0)
			return -1;
		if (!PQconsumeInput(conn))
			return pg_error(conn, NULL, "create the replication slot", err);
	}
	return given_up ? -1 : 0;
}

/* one row: slot_name, consistent_point, snapshot_name, output_plugin */
static int slot_create(
	struct pg_snapshot *snap, PGconn *conn, bool temporary, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *slot = snap->ctx->cfg->source.postgresql.slot;
	char name[64];

	if (temporary)
		snprintf(name, sizeof(name), "%.50s_%08x", slot, (unsigned)mono_now().us);
	else
		snprintf(name, sizeof(name), "%.63s", slot);
	buf_puts(&sql, "CREATE_REPLICATION_SLOT ");
	pg_put_ident(&sql, name);
	buf_puts(&sql, temporary ? " TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"
				 : " LOGICAL pgoutput EXPORT_SNAPSHOT");
	if (!PQsendQuery(conn, buf_str(&sql)))
		return pg_error(conn, NULL, "create the replication slot", err);
	if (slot_await(snap, conn, err) < 0)
		return -1;
	res = PQgetResult(conn);
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1 || PQnfields(res) < 3)
		return pg_error(conn, res, "create the replication slot", err);
	PQclear(PQgetResult(conn)); /* the NULL that ends the command */
	*ret = res;
	res = NULL; /* now the caller's */
	return 0;
}

/* takes the walsender's snapshot over and exports it again under snap->id */
static int keeper_open(struct pg_snapshot *snap, const char *id, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct pg_peer peer = snapshot_peer(snap);

	PQfinish(snap->keeper);
	snap->keeper = NULL;
	if (pg_connect(&peer, PG_SOURCE, snap->application, &snap->keeper, err) < 0)
		return -1;
	buf_puts(&sql, "SET TRANSACTION SNAPSHOT ");
	pg_put_literal(&sql, id);
	if (pg_exec(snap->keeper, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, err) < 0 ||
		pg_exec(snap->keeper, buf_str(&sql), NULL, err) < 0 ||
		pg_exec(snap->keeper, "SELECT pg_catalog.pg_export_snapshot()", &res, err) < 0)
		return error_where(err, "keep the snapshot");
	snprintf(snap->id, sizeof(snap->id), "%s", PQgetvalue(res, 0, 0));
	return 0;
}

int export_slot(struct pg_snapshot *snap, bool temporary, uint64_t *ret_point, struct error *err)
{
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (walsender_open(snap, &conn, err) < 0 || slot_create(snap, conn, temporary, &res, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.slot_created"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.slot_created");
	if (!pg_lsn_parse(PQgetvalue(res, 0, 1), ret_point))
		return error_set(err, ERROR_BUG, "PG-SLOT", "the new slot's consistent point is not an LSN");
	return keeper_open(snap, PQgetvalue(res, 0, 2), err);
}
