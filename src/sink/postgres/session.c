/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Sessions on the target. What must hold in each:
 *   1. Read committed whatever the database's default: the compare-and-swap relies on seeing the row's
 *      newest version.
 *   2. Commits do not wait for the disk, but those that say so.
 *   3. Triggers and foreign keys behave as for native logical replication (replica role) when that is
 *      allowed.
 *   4. Plans of the array statements are made once and stay nested loops over an index, though tables grow
 *      under cached plans: hash and merge joins would read the whole table for ten rows; left alone, the
 *      server would plan each one-row execution anew, because it takes an unknown array for ten rows.
 *   5. The session is the server's own: behind a transaction pooler settings, prepared statements and the
 *      lock on the progress row would belong to somebody else a moment later.
 */

#include <stdio.h>
#include <string.h>

#include <sluice/fault.h>

#include "sink.h"

const char *session_application(const char *name, const char *part, char buf[APPLICATION_MAX])
{
	snprintf(buf, APPLICATION_MAX, "sluice_%s/%s", name, part);
	return buf;
}

static int session_settings(PGconn *conn, struct error *err)
{
	return pg_exec(conn,
		"SET default_transaction_isolation = 'read committed';"
		"SET default_transaction_deferrable = off;"
		"SET synchronous_commit = off;"
		"SET idle_in_transaction_session_timeout = '60s';"
		"SET statement_timeout = 0;"
		"SET lock_timeout = 0;"
		"SET enable_hashjoin = off;"
		"SET enable_mergejoin = off;"
		"SET enable_seqscan = off;"
		"SET enable_memoize = off;"
		"SET enable_material = off;"
		"SET jit = off;"
		"SET plan_cache_mode = force_generic_plan;"
		"SET check_function_bodies = off;"
		"SET tcp_keepalives_idle = 30;"
		"SET tcp_keepalives_interval = 5;"
		"SET tcp_keepalives_count = 3",
		NULL, err);
}

/* the server's word for who we are has to be what the connection says, in every transaction */
static int session_refuse_pooler(PGconn *conn, struct error *err)
{
	for (int i = 0; i < 2; i++) {
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (pg_exec(conn, "SELECT pg_catalog.pg_backend_pid()", &res, err) < 0)
			return -1;
		if (strtol(PQgetvalue(res, 0, 0), NULL, 10) != PQbackendPID(conn)) {
			error_set(err, ERROR_CONFIG, "PG-POOLER",
				"a connection pooler stands in front of the target: sessions do not belong to us");
			return error_remedy(
				err, "let target.uri name the server itself (host and port of PostgreSQL)");
		}
	}
	return 0;
}

static int session_refuse_read_only(PGconn *conn, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(conn,
		    "SELECT pg_catalog.pg_is_in_recovery(), current_setting('default_transaction_read_only')",
		    &res, err) < 0)
		return -1;
	if (*PQgetvalue(res, 0, 0) == 't')
		/* a failover may be under way: the standby may become the primary */
		return error_set(
			err, ERROR_TRANSIENT, "PG-READ-ONLY", "the target is a standby, it takes no writes");
	if (!strcmp(PQgetvalue(res, 0, 1), "on"))
		return error_set(err, ERROR_TRANSIENT, "PG-READ-ONLY",
			"the target is read-only (default_transaction_read_only)");
	return 0;
}

/* 42501: not allowed; that is the operator's choice, and `check` names the grant */
static int session_replica_role(PGconn *conn, bool *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = PQexec(conn, "SET session_replication_role = replica");
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	*ret = PQresultStatus(res) == PGRES_COMMAND_OK;
	if (!*ret && (!state || strcmp(state, "42501") != 0))
		return sink_error(conn, res, "set session_replication_role", err);
	return 0;
}

/* notices of the server are nobody's: triggers may put values into them */
static void session_ignore_notice(void *arg, const PGresult *res)
{
}

int session_open(const struct sink_postgres *sink, const char *part, PGconn **ret, bool *ret_replica_role,
	struct error *err)
{
	const struct config_target *target = &sink->cfg->target;
	struct pg_peer peer = { .uri = target->uri, .user = target->user, .password = target->password };
	char application[APPLICATION_MAX];
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	bool replica_role = false;
	int r;

	if (SLUICE_FAULT_POINT("sink.pg.connect"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.connect");
	session_application(sink->stream, part, application);
	r = pg_connect(&peer, PG_TARGET, application, &conn, err);
	if (r == 0) {
		PQsetNoticeReceiver(conn, session_ignore_notice, NULL);
		r = session_refuse_pooler(conn, err);
	}
	if (r == 0)
		r = session_refuse_read_only(conn, err);
	if (r == 0)
		r = session_settings(conn, err);
	if (r == 0)
		r = session_replica_role(conn, &replica_role, err);
	if (r < 0)
		return r;
	if (ret_replica_role)
		*ret_replica_role = replica_role;
	*ret = conn;
	conn = NULL; /* the caller's */
	return 0;
}
