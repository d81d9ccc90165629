/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The slot as the server sees it.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

static int64_t number_or(const PGresult *res, int column, int64_t none)
{
	return PQgetisnull(res, 0, column) ? none : strtoll(PQgetvalue(res, 0, column), NULL, 10);
}

int slot_read(PGconn *conn, const char *name, struct slot_info *ret, struct error *err)
{
	static const char sql[] =
		"SELECT plugin, database, active, active_pid, confirmed_flush_lsn, restart_lsn, wal_status, "
		"safe_wal_size, temporary, slot_type = 'logical', "
		"pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), restart_lsn)::int8 "
		"FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
	_cleanup_(PQclearp) PGresult *res = NULL;

	*ret = (struct slot_info){ .retained_bytes = -1, .safe_bytes = -1 };
	if (pg_exec_params(conn, sql, 1, &name, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	ret->exists = true;
	snprintf(ret->plugin, sizeof(ret->plugin), "%s", PQgetvalue(res, 0, 0));
	snprintf(ret->database, sizeof(ret->database), "%s", PQgetvalue(res, 0, 1));
	ret->active = *PQgetvalue(res, 0, 2) == 't';
	ret->active_pid = (int)number_or(res, 3, 0);
	pg_lsn_parse(PQgetvalue(res, 0, 4), &ret->confirmed);
	pg_lsn_parse(PQgetvalue(res, 0, 5), &ret->restart);
	snprintf(ret->wal_status, sizeof(ret->wal_status), "%s", PQgetvalue(res, 0, 6));
	ret->safe_bytes = number_or(res, 7, -1);
	ret->temporary = *PQgetvalue(res, 0, 8) == 't';
	ret->logical = *PQgetvalue(res, 0, 9) == 't';
	ret->retained_bytes = number_or(res, 10, -1);
	ret->lost = !strcmp(ret->wal_status, "lost");
	return 0;
}

int slot_drop(PGconn *conn, const char *name, struct error *err)
{
	if (SLUICE_FAULT_POINT("source.pg.slot_drop"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.slot_drop");
	return pg_exec_params(conn,
		"SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots "
		"WHERE slot_name = $1",
		1, &name, NULL, err);
}
