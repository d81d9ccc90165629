/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What an end of the replication stream means. The SQLSTATE alone does not tell: 55000 is a lost slot and much else,
 * 42704 a missing slot or a missing publication; and the text may be in the server's language. So the text decides
 * where it is known, and where it is not the server is asked what became of the slot.
 */

#include "postgres.h"

enum stream_cause stream_cause(const char *sqlstate, const char *text)
{
	if (strstr(text, "can no longer get changes") ||
		strstr(text, "can no longer access replication slot") ||
		strstr(text, "cannot read from logical replication slot") ||
		strstr(text, "has been invalidated") || strstr(text, "requested WAL segment"))
		return STREAM_SLOT_LOST;
	if (!strcmp(sqlstate, "42704") && strstr(text, "publication"))
		return STREAM_PUBLICATION;
	if (!strcmp(sqlstate, "42704") && strstr(text, "replication slot"))
		return STREAM_SLOT_MISSING;
	if (!strcmp(sqlstate, "55006"))
		return STREAM_SLOT_BUSY;
	if (strstr(text, "invalid memory alloc request size") || strstr(text, "enlarge string buffer") ||
		!strcmp(sqlstate, "54000"))
		return STREAM_ROW_SIZE;
	if (!strcmp(sqlstate, "55000") || !strcmp(sqlstate, "42704"))
		return STREAM_ASK;
	return STREAM_OTHER;
}

/* what became of the slot, asked in a session of ours; any failure leaves the question open */
static enum stream_cause ask(struct pg_source *src)
{
	struct error ignored = ERROR_INIT;
	struct slot_info slot;

	if (!src->sql || PQstatus(src->sql) != CONNECTION_OK ||
		slot_read(src->sql, src->slot, &slot, &ignored) < 0)
		return STREAM_OTHER;
	if (!slot.exists)
		return STREAM_SLOT_MISSING;
	if (slot.lost)
		return STREAM_SLOT_LOST;
	return publication_exists(src->sql, src->publication, &ignored) == 0 ? STREAM_PUBLICATION
									     : STREAM_OTHER;
}

int slot_lost_error(const char *name, const char *wal_status, struct error *err)
{
	error_set(err, ERROR_FATAL, "PG-SLOT-LOST",
		"replication slot %s is lost (wal_status %s): the source has removed WAL that was not applied yet",
		name, *wal_status ? wal_status : "unknown");
	error_remedy(err,
		"the copy has to be made again: raise max_slot_wal_keep_size, then start over with a new copy (README)");
	return error_exit(err, EXIT_RESYNC);
}

int slot_missing_error(const char *name, struct error *err)
{
	error_set(err, ERROR_FATAL, "PG-SLOT-MISSING",
		"replication slot %s does not exist, but the target holds progress of it", name);
	error_remedy(err,
		"it is never made again quietly: what was written since then is not known; start over with a new copy (README)");
	return error_exit(err, EXIT_RESYNC);
}

int slot_busy_error(const char *name, int pid, struct error *err)
{
	error_set(
		err, ERROR_TRANSIENT, "PG-SLOT-BUSY", "replication slot %s is active for PID %d", name, pid);
	return error_remedy(err, "its reader is waited for, never ended; see pg_stat_activity on the source");
}

/* the code, the class and the remedy of a cause; the message is the server's where nothing better is known */
static int cause_error(struct pg_source *src, enum stream_cause cause, const char *text, struct error *err)
{
	char lsn[20];

	switch (cause) {
	case STREAM_SLOT_LOST:
		return slot_lost_error(src->slot, "lost", err);
	case STREAM_SLOT_MISSING:
		return slot_missing_error(src->slot, err);
	case STREAM_SLOT_BUSY:
		error_set(err, ERROR_TRANSIENT, "PG-SLOT-BUSY", "%s", text);
		return error_remedy(
			err, "its reader is waited for, never ended; see pg_stat_activity on the source");
	case STREAM_PUBLICATION:
		error_set(err, ERROR_CONFIG, "PG-PUBLICATION", "%s", text);
		return error_remedy(err,
			"what was written while publication %.63s did not exist cannot be read any "
			"more: create it again, then start over with a new copy (README)",
			src->publication);
	case STREAM_ROW_SIZE:
		error_set(err, ERROR_FATAL, "PG-ROW-SIZE", "the source cannot send a row behind %s: %s",
			pg_lsn_format(src->stream.delivered, lsn, sizeof(lsn)), text);
		error_remedy(err,
			"its text is beyond 1 GB: set source.postgresql.binary: true, or take the table out");
		return error_exit(err, EXIT_RECORD);
	case STREAM_ASK:
	case STREAM_OTHER:
		break;
	}
	return -1;
}

int stream_error(struct pg_source *src, const PGresult *res, struct error *err)
{
	const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	enum stream_cause cause;

	pg_error(src->stream.conn, res, "replication stream", err);
	if (!sqlstate || !text)
		return -1;
	cause = stream_cause(sqlstate, text);
	if (cause == STREAM_ASK)
		cause = ask(src);
	return cause_error(src, cause, text, err);
}
