/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The control tables in the target. They are made by whoever comes first, under an advisory lock, in one
 * transaction; after that only their version is looked at. Changes within a major version only add, so an
 * older binary that is not below `oldest` can go on beside a newer layout.
 *
 * progress: fillfactor 50 and eager vacuum, because its one row per stream is updated in every transaction:
 * the new version has to find room on the same page (HOT), and dead ones have to go at once.
 */

#include <stdlib.h>

#include <sluice/fault.h>

#include "sink.h"

#define LAYOUT_LOCK "7022041795127394167" /* any constant of ours */
#define TEXT_(x)    #x
#define TEXT(x)	    TEXT_(x)

static const char layout_sql[] =
	"CREATE SCHEMA IF NOT EXISTS sluice;"
	"CREATE TABLE IF NOT EXISTS sluice.layout (version int NOT NULL, oldest int NOT NULL);"
	"CREATE TABLE IF NOT EXISTS sluice.progress ("
	" stream text NOT NULL, topic text NOT NULL DEFAULT '', partition int NOT NULL DEFAULT 0,"
	" epoch bigint NOT NULL DEFAULT 0, \"offset\" bigint, reign text, position bytea, resume bytea,"
	" commit_time timestamptz, identity text, updated_at timestamptz NOT NULL DEFAULT now(),"
	" PRIMARY KEY (stream, topic, partition))"
	" WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0,"
	" autovacuum_vacuum_cost_delay = 0);"
	"CREATE TABLE IF NOT EXISTS sluice.passed (stream text NOT NULL, topic text NOT NULL, partition int NOT NULL,"
	" passed numeric(20) NOT NULL, clear_us bigint NOT NULL, at timestamptz NOT NULL,"
	" PRIMARY KEY (stream, topic, partition)) WITH (fillfactor = 50);"
	"CREATE TABLE IF NOT EXISTS sluice.flush (stream text PRIMARY KEY, at timestamptz NOT NULL)"
	" WITH (fillfactor = 50);"
	"CREATE TABLE IF NOT EXISTS sluice.migration (stream text NOT NULL, key text NOT NULL, value bytea NOT NULL,"
	" updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (stream, key));"
	"CREATE TABLE IF NOT EXISTS sluice.snapshot_chunks (stream text NOT NULL, table_name text NOT NULL,"
	" chunk int NOT NULL, attempt int NOT NULL DEFAULT 1, rows bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
	" PRIMARY KEY (stream, table_name, chunk));"
	"CREATE TABLE IF NOT EXISTS sluice.dead_letters (id bigserial PRIMARY KEY, stream text NOT NULL,"
	" at timestamptz NOT NULL DEFAULT now(), position bytea, commit_time timestamptz, table_name text NOT NULL,"
	" op text NOT NULL, key_hash bytea, record jsonb NOT NULL, error_class text NOT NULL, error_code text NOT NULL,"
	" message text NOT NULL, attempts int NOT NULL DEFAULT 1, state text NOT NULL DEFAULT 'pending', reason text,"
	" resolved_at timestamptz);"
	"CREATE INDEX IF NOT EXISTS dead_letters_pending ON sluice.dead_letters (stream, id) WHERE state = 'pending';"
	/* from version 2 on: the state and the attempts that the log's topic has been told of */
	"ALTER TABLE sluice.dead_letters ADD COLUMN IF NOT EXISTS published text;"
	"CREATE INDEX IF NOT EXISTS dead_letters_unpublished ON sluice.dead_letters (stream, id)"
	" WHERE " LETTER_UNPUBLISHED ";"
	"CREATE TABLE IF NOT EXISTS sluice.audit (id bigserial PRIMARY KEY, stream text NOT NULL,"
	" at timestamptz NOT NULL DEFAULT now(), operator text NOT NULL DEFAULT current_user, action text NOT NULL,"
	" detail text);"
	"INSERT INTO sluice.layout SELECT " TEXT(LAYOUT_VERSION) ", " TEXT(
		LAYOUT_OLDEST) " WHERE NOT EXISTS (SELECT 1 FROM sluice.layout);"
			       "UPDATE sluice.layout SET version = " TEXT(
				       LAYOUT_VERSION) " WHERE version < " TEXT(LAYOUT_VERSION);

/* > 0 the version; 0 = no layout yet */
static int layout_version(PGconn *conn, long *ret_version, long *ret_oldest, struct error *err)
{
	_cleanup_(PQclearp) PGresult *there = NULL;
	_cleanup_(PQclearp) PGresult *res = NULL;

	*ret_version = *ret_oldest = 0;
	if (pg_exec(conn,
		    "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE n.nspname = 'sluice' AND c.relname = 'layout'",
		    &there, err) < 0)
		return -1;
	if (!PQntuples(there))
		return 0;
	if (pg_exec(conn, "SELECT version, oldest FROM sluice.layout", &res, err) < 0)
		return -1;
	if (PQntuples(res) != 1)
		return error_set(err, ERROR_CONFIG, "LAYOUT",
			"schema \"sluice\" in the target is not ours: table layout has %d rows",
			PQntuples(res));
	*ret_version = strtol(PQgetvalue(res, 0, 0), NULL, 10);
	*ret_oldest = strtol(PQgetvalue(res, 0, 1), NULL, 10);
	return 0;
}

static int layout_create(PGconn *conn, struct error *err)
{
	struct error ignored = ERROR_INIT;
	int r;

	if (SLUICE_FAULT_POINT("sink.pg.layout"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.layout");
	/* several statements in one string are one transaction only when it says so */
	r = pg_exec(conn,
		"BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL client_min_messages = warning;"
		" SELECT pg_catalog.pg_advisory_xact_lock(" LAYOUT_LOCK ")",
		NULL, err);
	if (r == 0)
		r = pg_exec(conn, layout_sql, NULL, err);
	if (r == 0)
		r = pg_exec(conn, "COMMIT", NULL, err);
	if (r < 0)
		pg_exec(conn, "ROLLBACK", NULL, &ignored);
	if (r < 0 && err->exit_code == EXIT_PERMISSION)
		error_remedy(err, "GRANT CREATE ON DATABASE \"%s\" TO \"%s\";", PQdb(conn), PQuser(conn));
	return r;
}

int layout_prepare(PGconn *conn, struct error *err)
{
	long version, oldest;

	if (layout_version(conn, &version, &oldest, err) < 0)
		return -1;
	if (oldest > LAYOUT_VERSION) {
		error_set(err, ERROR_CONFIG, "LAYOUT-NEWER",
			"the target's layout has version %ld, for binaries from layout %ld on; this one knows %d",
			version, oldest, LAYOUT_VERSION);
		return error_remedy(err, "run the newer sluice that made it");
	}
	return version >= LAYOUT_VERSION ? 0 : layout_create(conn, err);
}
