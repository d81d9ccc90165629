/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Fills a status from the control tables in the target, from the slot on the source and from what reader and applier have left with
 * the brokers, and renders it as the service would. It reads with short queries, changes nothing, and creates nothing: without control tables there is no
 * migration yet. What only a running service knows stays unknown.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/halves.h>
#include <sluice/postgres.h>
#include <sluice/report.h>

#include "status_db.h"

struct reading {
	const struct config *cfg;
	struct status *st;
	struct metrics *metrics;
	uint64_t applied; /* the stored resume point, 0 = none */
	uint64_t head;	  /* the source's flushed end, 0 = unknown */
	struct wall now;  /* its clock */
};

static const char *field(const PGresult *res, int column)
{
	return PQntuples(res) > 0 && !PQgetisnull(res, 0, column) ? PQgetvalue(res, 0, column) : "";
}

static uint64_t field_u64(const PGresult *res, int column)
{
	return strtoull(field(res, column), NULL, 10);
}

static int64_t field_i64(const PGresult *res, int column)
{
	const char *text = field(res, column);

	return *text ? strtoll(text, NULL, 10) : -1;
}

static int open_session(const struct config *cfg, const struct pg_peer *peer, enum pg_role role,
	struct status_peer *ret, PGconn **ret_conn, struct error *err)
{
	const char *version;
	char application[80];

	snprintf(application, sizeof(application), "sluice_%s/monitor", cfg->name);
	if (pg_connect(peer, role, application, ret_conn, err) < 0)
		return -1;
	ret->connected = true;
	ret->last_contact = wall_now();
	snprintf(ret->host, sizeof(ret->host), "%s", PQhost(*ret_conn));
	snprintf(ret->database, sizeof(ret->database), "%s", PQdb(*ret_conn));
	version = PQparameterStatus(*ret_conn, "server_version");
	if (version) /* "15.8 (Debian 15.8-0+deb12u1)" */
		snprintf(ret->version, sizeof(ret->version), "%.*s", (int)strcspn(version, " "), version);
	return 0;
}

static int read_progress(struct reading *r, PGconn *conn, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *params[] = { r->cfg->name };
	struct status *st = r->st;

	if (pg_exec_params(conn,
		    "SELECT pg_catalog.encode(resume, 'hex'), identity,"
		    " (extract(epoch FROM commit_time) * 1000000)::bigint"
		    " FROM sluice.progress WHERE stream = $1 ORDER BY updated_at DESC LIMIT 1",
		    1, params, &res, err) < 0)
		return -1;
	if (PQntuples(res) == 0)
		return 0;
	r->applied = strtoull(field(res, 0), NULL, 16);
	if (r->applied)
		pg_lsn_format(r->applied, st->applied_position, sizeof(st->applied_position));
	snprintf(st->source.identity, sizeof(st->source.identity), "%s", field(res, 1));
	st->applied_commit_time.us = strtoll(field(res, 2), NULL, 10);
	return 0;
}

static int read_migration(struct reading *r, PGconn *conn, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *params[] = { r->cfg->name };
	struct status *st = r->st;

	if (pg_exec_params(conn,
		    "SELECT (SELECT pg_catalog.convert_from(value, 'UTF8') FROM sluice.migration"
		    "  WHERE stream = $1 AND key = 'phase'),"
		    " (SELECT count(*) FROM sluice.migration WHERE stream = $1 AND key LIKE 'table/%/start'),"
		    " (SELECT count(*) FROM sluice.migration WHERE stream = $1 AND key LIKE 'table/%/done'),"
		    " (SELECT sum(rows)::bigint FROM sluice.snapshot_chunks WHERE stream = $1),"
		    " (SELECT count(*) FROM sluice.dead_letters WHERE stream = $1 AND state = 'pending')",
		    1, params, &res, err) < 0)
		return -1;
	if (phase_from_string(field(res, 0), &st->phase) < 0)
		st->phase = PHASE_PREPARE;
	st->snapshot_tables_total = field_u64(res, 1);
	st->snapshot_tables_done = field_u64(res, 2);
	st->snapshot_rows_done = field_u64(res, 3);
	metric_set(&r->metrics->dead_letters_pending, field_u64(res, 4));
	return 0;
}

static int read_target(struct reading *r, struct error *err)
{
	const struct config_target *target = &r->cfg->target;
	struct pg_peer peer = { target->uri, target->user, target->password };
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(PQfinishp) PGconn *conn = NULL;

	if (open_session(r->cfg, &peer, PG_TARGET, &r->st->target, &conn, err) < 0)
		return -1;
	if (pg_exec(conn,
		    "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE n.nspname = 'sluice' AND c.relname = 'dead_letters'",
		    &res, err) < 0)
		return -1;
	if (PQntuples(res) == 0)
		return 0; /* nothing has begun */
	if (read_progress(r, conn, err) < 0)
		return -1;
	return read_migration(r, conn, err);
}

static int read_source(struct reading *r, struct error *err)
{
	const struct config_source *source = &r->cfg->source;
	struct pg_peer peer = { source->uri, source->user, source->password };
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	const char *params[] = { source->postgresql.slot };
	struct status *st = r->st;

	if (open_session(r->cfg, &peer, PG_SOURCE, &st->source, &conn, err) < 0)
		return -1;
	if (pg_exec_params(conn,
		    "SELECT pg_catalog.pg_current_wal_flush_lsn(), s.slot_name, s.wal_status, s.safe_wal_size,"
		    " pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint,"
		    " (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()),"
		    " (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint"
		    " FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = $1",
		    1, params, &res, err) < 0)
		return -1;
	snprintf(st->source.position, sizeof(st->source.position), "%s", field(res, 0));
	if (!pg_lsn_parse(field(res, 0), &r->head))
		r->head = 0;
	snprintf(st->slot_name, sizeof(st->slot_name), "%s", field(res, 1));
	snprintf(st->slot_wal_status, sizeof(st->slot_wal_status), "%s", field(res, 2));
	st->slot_safe_bytes = field_i64(res, 3);
	st->slot_retained_bytes = field_i64(res, 4);
	st->prepared_transactions = field_i64(res, 5);
	r->now.us = strtoll(field(res, 6), NULL, 10);
	return 0;
}

static void alarm_from(struct status *st, const char *side, const struct error *err)
{
	char code[24];

	snprintf(code, sizeof(code), "%.20s", err->code);
	status_alarm_raise(st, code, err->remedy, "%s: %s", side, err->message);
}

/* reads both sides; returns how many could be read, *err of the last that could not */
static int read_both(struct reading *r, struct error *err)
{
	static const char *const types[] = { "postgresql", "mongodb", "generator", "discard" };
	int sides = 0;

	snprintf(r->st->source.type, sizeof(r->st->source.type), "%s", types[r->cfg->source.type]);
	snprintf(r->st->target.type, sizeof(r->st->target.type), "%s", types[r->cfg->target.type]);
	if (r->cfg->source.type == PEER_POSTGRESQL && *r->cfg->source.uri) {
		if (read_source(r, err) == 0)
			sides++;
		else
			alarm_from(r->st, "source", err);
	}
	if (r->cfg->target.type == PEER_POSTGRESQL && *r->cfg->target.uri) {
		if (read_target(r, err) == 0)
			sides++;
		else
			alarm_from(r->st, "target", err);
	}
	return sides;
}

/* what the halves have left with the brokers before they ended, and what the target says now */
static int read_log(struct reading *r, const struct context *ctx, struct error *err)
{
	if (halves_look(ctx, r->head, r->now, err) == 0)
		return 1;
	alarm_from(r->st, "log", err);
	return 0;
}

int status_databases(const struct config *cfg, struct buf *ret, struct error *err)
{
	struct metrics metrics = { 0 };
	struct log log = { .fd = -1 };
	struct status st;
	atomic_bool stop = false;
	struct context ctx = { .cfg = cfg, .log = &log, .metrics = &metrics, .status = &st, .stop = &stop };
	struct readiness ready = { .eta_seconds = -1, .n_reasons = 1 };
	struct report_options opt = { .from = "databases", .ready = &ready, .max_tables = 0 };
	struct reading r = { .cfg = cfg, .st = &st, .metrics = &metrics };
	int sides;

	error_set(err, ERROR_CONFIG, "STATUS", "neither source nor target is a database that could be asked");
	status_init(&st);
	sides = read_both(&r, err);
	if (cfg->transport.type == TRANSPORT_KAFKA)
		sides += read_log(&r, &ctx, err);
	if (sides > 0) {
		if (r.applied && r.head)
			st.lag_bytes = r.head > r.applied ? (int64_t)(r.head - r.applied) : 0;
		snprintf(ready.reasons[0].code, sizeof(ready.reasons[0].code), "not_connected");
		snprintf(ready.reasons[0].message, sizeof(ready.reasons[0].message), "no service answers");
		report_status(&ctx, &opt, ret);
	}
	status_fini(&st);
	return sides > 0 ? 0 : -1;
}
