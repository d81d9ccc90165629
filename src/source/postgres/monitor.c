/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The monitor's session: short queries, so that it never pins xmin for long; every 30 s a look at the
 * tables. What needs a person soon becomes an alarm; a slot that is lost ends the stream, and so does a lease that is gone
 * (the reader ends the attempt, for another instance may have begun its own).
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

#define TABLES_CHECK_MS	  30000
#define FORECAST_MS	  60000 /* the rate at which the source writes WAL is taken over at least this */
#define ALARM_LEFT_S	  3600
#define ALARM_RETAINED_MB 16384

static int monitor_open(struct pg_source *src, struct error *err)
{
	if (src->monitor && PQstatus(src->monitor) == CONNECTION_OK)
		return 0;
	PQfinish(src->monitor);
	src->monitor = NULL;
	if (source_pg_connect(src->base.ctx, PG_SOURCE, "monitor", &src->monitor, err) < 0)
		return -1;
	return pg_exec(src->monitor, "SET statement_timeout = '5s'", NULL, err);
}

/* how fast the source's WAL grows; < 0 = not known yet */
static double wal_rate(struct pg_source *src, uint64_t head, struct mono now)
{
	int64_t us = mono_diff_us(now, src->rate_since);

	if (!src->rate_since.us || head < src->rate_head) {
		src->rate_since = now;
		src->rate_head = head;
		return -1;
	}
	if (us >= FORECAST_MS * 1000) {
		src->rate = (double)(head - src->rate_head) * 1e6 / (double)us;
		src->rate_known = true;
		src->rate_since = now;
		src->rate_head = head;
	}
	return src->rate_known ? src->rate : -1;
}

/* the slot keeps WAL: until a limit is reached, or the disk is full */
static void slot_alarm(struct pg_source *src, const struct slot_info *slot, double rate)
{
	static const char raise_it[] =
		"raise max_slot_wal_keep_size on the source, or let the target catch up";
	struct status *st = src->base.ctx->status;
	double left_s = slot->safe_bytes >= 0 && rate > 0 ? (double)slot->safe_bytes / rate : -1;
	long long retained_mb = (long long)(slot->retained_bytes >> 20);

	if (!strcmp(slot->wal_status, "unreserved"))
		status_alarm_raise(st, "PG-SLOT-UNRESERVED", raise_it,
			"slot %s: its WAL is beyond max_slot_wal_keep_size, the next checkpoint may remove it",
			src->slot);
	else
		status_alarm_clear(st, "PG-SLOT-UNRESERVED");
	if (left_s >= 0 && left_s < ALARM_LEFT_S)
		status_alarm_raise(st, "PG-SLOT-LIMIT", raise_it,
			"slot %s is lost in about %.0f min if nothing is confirmed: %lld MB kept, %lld MB left",
			src->slot, left_s / 60, retained_mb, (long long)(slot->safe_bytes >> 20));
	else
		status_alarm_clear(st, "PG-SLOT-LIMIT");
	if (slot->safe_bytes < 0 && retained_mb >= ALARM_RETAINED_MB)
		status_alarm_raise(st, "PG-WAL-KEEP",
			"look at the disk; in need: stop sluice, pg_drop_replication_slot() lets the WAL go, and start over",
			"slot %s keeps %lld MB of WAL on the source, without a limit, growing by %.0f MB/h",
			src->slot, retained_mb, rate > 0 ? rate * 3600 / 1048576 : 0.0);
	else
		status_alarm_clear(st, "PG-WAL-KEEP");
	if (!strcmp(slot->wal_status, "extended"))
		status_alarm_raise(st, "PG-SLOT-EXTENDED", "",
			"slot %s keeps more WAL than max_wal_size: %lld MB", src->slot, retained_mb);
	else
		status_alarm_clear(st, "PG-SLOT-EXTENDED");
}

/* a published table whose updates the server cannot publish: the application's UPDATE fails from now on */
static int identity_alarm(struct pg_source *src, const struct source_tables *tables, struct error *err)
{
	bool set = false;

	for (uint32_t i = 0; i < tables->n; i++) {
		struct source_table *t = &tables->items[i];
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (t->identity || !t->published)
			continue;
		if (src->cfg->postgresql.no_identity == NO_IDENTITY_FULL) {
			if (table_set_identity(src->monitor, t, err) < 0)
				return -1;
			status_alarm_raise(src->base.ctx->status, "PG-IDENTITY-SET", "",
				"%s.%s had no replica identity and was set to FULL", t->schema, t->name);
			set = true;
			continue;
		}
		if (table_identity_statements(src->monitor, t, &res, err) < 0)
			return -1;
		status_alarm_raise(src->base.ctx->status, "PG-IDENTITY",
			PQntuples(res) ? PQgetvalue(res, 0, 0) : "",
			"%s.%s has no replica identity any more: the application's UPDATE and DELETE fail",
			t->schema, t->name);
		return 0;
	}
	status_alarm_clear(src->base.ctx->status, "PG-IDENTITY");
	if (!set)
		status_alarm_clear(src->base.ctx->status, "PG-IDENTITY-SET");
	return 0;
}

static int tables_alarms(struct pg_source *src, struct error *err)
{
	_cleanup_(buf_freep) struct buf differs = BUF_INIT;
	struct status *st = src->base.ctx->status;
	struct source_tables tables;
	int r;

	if (tables_read(src->monitor, src->cfg, &tables, err) < 0)
		return -1;
	r = publication_differs(src->base.ctx, src->monitor, &tables, &differs, &src->new_tables, err);
	if (r == 0)
		r = identity_alarm(src, &tables, err);
	tables_fini(&tables);
	if (r < 0)
		return r;
	if (differs.len)
		status_alarm_raise(st, "PG-PUBLICATION",
			"a table is added by starting over (README); or exclude it in source.exclude", "%s",
			buf_str(&differs));
	else
		status_alarm_clear(st, "PG-PUBLICATION");
	return 0;
}

#define HEAD_AND_CLOCK                                                                                       \
	"pg_catalog.pg_current_wal_flush_lsn(), (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8"

static void take_head(const PGresult *res, uint64_t *ret_head, struct wall *ret_time)
{
	pg_lsn_parse(PQgetvalue(res, 0, 0), ret_head);
	ret_time->us = strtoll(PQgetvalue(res, 0, 1), NULL, 10);
}

/* head, clock, prepared transactions, and whether our other session still holds the lease */
static int read_health(struct pg_source *src, struct source_health *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_execf(src->monitor, &res, err,
		    "SELECT " HEAD_AND_CLOCK
		    ", (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = "
		    "pg_catalog.current_database()), EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND "
		    "granted AND pid = %d AND objsubid = 1 AND classid::pg_catalog.int8 << 32 | objid::pg_catalog.int8 = %lld)",
		    src->lease_pid, (long long)src->lease_key) < 0)
		return -1;
	take_head(res, &ret->head, &ret->server_time);
	ret->prepared_transactions = strtoll(PQgetvalue(res, 0, 2), NULL, 10);
	if (src->lease_pid && *PQgetvalue(res, 0, 3) != 't') {
		atomic_store(&src->lease_lost, true);
		return error_set(err, ERROR_TRANSIENT, "PG-LEASE-LOST",
			"the session that held the lease on the source has ended");
	}
	return 0;
}

int monitor_watch(struct pg_source *src, struct source_health *ret, struct error *err)
{
	struct mono now = mono_now();
	struct slot_info slot;

	if (SLUICE_FAULT_POINT("source.pg.watch"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.watch");
	if (monitor_open(src, err) < 0 || read_health(src, ret, err) < 0 ||
		slot_read(src->monitor, src->slot, &slot, err) < 0)
		return -1;
	ret->retained_bytes = slot.retained_bytes;
	ret->safe_bytes = slot.safe_bytes;
	snprintf(ret->wal_status, sizeof(ret->wal_status), "%s", slot.wal_status);
	if (slot.exists && slot.lost)
		return slot_lost_error(src->slot, slot.wal_status, err);
	if (slot.exists)
		slot_alarm(src, &slot, wal_rate(src, ret->head, now));
	/* the publication is made before the slot: without one there is nothing to compare */
	if (slot.exists && mono_until_ms(src->next_tables_check, now) == 0) {
		/* also after a failure: what cannot be read now is looked at again in its turn */
		src->next_tables_check = mono_add_ms(now, SLUICE_PERIOD("source.pg.tables", TABLES_CHECK_MS));
		if (tables_alarms(src, err) < 0)
			return -1;
	}
	ret->new_tables = src->new_tables;
	return 0;
}

int monitor_head(struct pg_source *src, uint64_t *ret_head, struct wall *ret_time, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (!src->monitor || PQstatus(src->monitor) != CONNECTION_OK)
		return SOURCE_IDLE;
	if (pg_exec(src->monitor, "SELECT " HEAD_AND_CLOCK, &res, err) < 0)
		return -1;
	take_head(res, ret_head, ret_time);
	return 0;
}

int monitor_barrier(struct pg_source *src, uint64_t *ret_major, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (SLUICE_FAULT_POINT("source.pg.barrier"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.barrier");
	/* one transaction, its commit on disk: an LSN read from a function would not do, it may never arrive */
	if (monitor_open(src, err) < 0 ||
		pg_exec(src->monitor, "SET synchronous_commit = on", NULL, err) < 0 ||
		pg_exec(src->monitor,
			"SELECT pg_catalog.pg_logical_emit_message(true, 'sluice', 'barrier'),"
			" (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
			" pg_catalog.current_database()",
			&res, err) < 0)
		return -1;
	if (PQntuples(res) != 1 || !pg_lsn_parse(PQgetvalue(res, 0, 0), ret_major))
		return error_set(err, ERROR_BUG, "PG-BARRIER", "pg_logical_emit_message gave no LSN");
	if (!*src->base.identity) /* nobody has connected but us */
		snprintf(src->base.identity, sizeof(src->base.identity), "%s/%s", PQgetvalue(res, 0, 1),
			PQgetvalue(res, 0, 2));
	return 0;
}
