/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Is this server's history the one that our stored position belongs to? A failover to a standby that did not have
 * everything leaves the target ahead of the source: the stream would go on, skip what is below the stored position, and
 * so lose what was written anew at those LSNs. Two checks find it:
 *
 *   1. The stored position must not lie beyond the end of the source's WAL (a restored backup, a lost disk).
 *   2. The timeline is kept beside the progress. Where it has changed, the stored position must not lie beyond the point at
 *      which the server left the old one; the timeline's history file says where that was.
 *
 * A copy that was not finished when the timeline changed is not continued: its tables may hold rows that are gone.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

#define KEY "source/timeline"

bool timeline_left(const char *history, uint32_t timeline, uint64_t *ret_lsn)
{
	while (*history) {
		char lsn[24];
		unsigned tli;

		/* "parent timeline <blank> LSN <blank> reason"; comments and empty lines are not entries */
		if (sscanf(history, "%u %23s", &tli, lsn) == 2 && tli == timeline)
			return pg_lsn_parse(lsn, ret_lsn);
		history += strcspn(history, "\n");
		history += strspn(history, "\n");
	}
	return false;
}

static int read_now(PGconn *conn, uint32_t *ret_timeline, uint64_t *ret_head, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(conn,
		    "SELECT ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, "
		    "8))::pg_catalog.bit(32)::pg_catalog.int4, pg_catalog.pg_current_wal_flush_lsn()",
		    &res, err) < 0)
		return -1;
	*ret_timeline = (uint32_t)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	if (!pg_lsn_parse(PQgetvalue(res, 0, 1), ret_head))
		return error_set(err, ERROR_BUG, "PG-LSN", "the source's flush position is not an LSN");
	return 0;
}

static int lost_history(uint64_t stored, uint64_t end, const char *what, struct error *err)
{
	char a[20], b[20];

	error_set(err, ERROR_FATAL, "PG-HISTORY",
		"%s: the target has applied changes up to %s, the source's history ends at %s", what,
		pg_lsn_format(stored, a, sizeof(a)), pg_lsn_format(end, b, sizeof(b)));
	error_remedy(err,
		"what the target holds beyond that never happened on this source: start over with a new copy (README)");
	return error_exit(err, EXIT_RESYNC);
}

/* where the server left the timeline `old`, from the history file of its own */
static int check_switch(struct pg_source *src, uint32_t old, uint32_t now, uint64_t stored, struct error *err)
{
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	_cleanup_(PQclearp) PGresult *res = NULL;
	uint64_t left = 0;

	if (source_pg_connect(src->base.ctx, PG_SOURCE_REPLICATION, "lease", &conn, err) < 0 ||
		pg_execf(conn, &res, err, "TIMELINE_HISTORY %u", now) < 0)
		return error_where(err, "the source has changed from timeline %u to %u", old, now);
	if (PQntuples(res) != 1 || PQnfields(res) < 2 || !timeline_left(PQgetvalue(res, 0, 1), old, &left))
		return lost_history(stored, 0, "timeline is no ancestor of the source's", err);
	if (stored > left)
		return lost_history(stored, left, "failover that lost commits", err);
	return 0;
}

int timeline_check(
	struct pg_source *src, struct state *state, uint64_t stored, bool copying, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	uint32_t now, old = 0;
	uint64_t head;
	char text[16];
	int r;

	if (read_now(src->sql, &now, &head, err) < 0)
		return -1;
	if (stored > head)
		return lost_history(stored, head, "source is behind", err);
	if (!state)
		return 0;
	r = state_get(state, KEY, &value, err);
	if (r < 0)
		return r;
	if (r == 0)
		old = (uint32_t)strtoul(buf_str(&value), NULL, 10);
	if (old == now)
		return 0;
	if (old && copying)
		return lost_history(stored, 0, "failover during the copy", err);
	if (old && stored && check_switch(src, old, now, stored, err) < 0)
		return -1;
	snprintf(text, sizeof(text), "%u", now);
	if (SLUICE_FAULT_POINT("source.pg.timeline"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.timeline");
	return state_set(state, KEY, text, strlen(text), err);
}
