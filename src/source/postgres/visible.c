/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Does who asks the source now see what a transaction of the stream did? Its commit is in the WAL, and so in the stream, before other
 * sessions see it: for the moment that the server needs from the one to the other, and, where it waits for a synchronous
 * standby, for as long as that takes (xact.c, CommitTransaction: RecordTransactionCommit, then ProcArrayEndTransaction). An
 * answer from before would be taken for one from after.
 */

#include <poll.h>
#include <stdlib.h>

#include "postgres.h"

#define WAIT_MS 5000
#define TURN_MS 20 /* between two looks, at most */

bool snapshot_sees(const char *text, uint32_t xid)
{
	char *at;
	uint64_t next;

	strtoull(text, &at, 10); /* the oldest that runs */
	if (*at != ':')
		return false;
	next = strtoull(at + 1, &at, 10);
	if (*at != ':' || (int32_t)(xid - (uint32_t)next) >= 0)
		return false;
	while (*at && at[1])
		if ((uint32_t)strtoull(at + 1, &at, 10) == xid || (*at && *at != ','))
			return false;
	return true;
}

static int visible_look(PGconn *conn, uint32_t xid, bool *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(conn, "SELECT pg_catalog.pg_current_snapshot()", &res, err) < 0)
		return error_where(err, "look for transaction %u", xid);
	*ret = snapshot_sees(PQgetvalue(res, 0, 0), xid);
	return 0;
}

int visible_wait(struct pg_source *src, PGconn *conn, uint64_t xid, struct error *err)
{
	struct mono began = mono_now();
	bool visible = false;

	if (!xid || xid == src->visible_xid)
		return 0;
	for (int turn = 0;; turn += turn < TURN_MS) {
		if (visible_look(conn, (uint32_t)xid, &visible, err) < 0)
			return -1;
		if (visible)
			break;
		if (mono_diff_us(mono_now(), began) > WAIT_MS * 1000) {
			error_set(err, ERROR_TRANSIENT, "PG-COMMIT-WAITS",
				"transaction %u is in the stream, but the source does not show it to others yet",
				(uint32_t)xid);
			return error_remedy(err,
				"where the source has synchronous_standby_names: look whether these standbys answer, and that "
				"there is no * in it");
		}
		poll(NULL, 0, turn);
	}
	src->visible_xid = xid;
	return 0;
}
