/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The PostgreSQL source: the lease, who the server is, and what exists there compared with what the target has stored.
 *
 * prepare() decides from four facts, each durable: the slot, the intent to make it, its consistent point, the stored
 * resume point. PostgreSQL itself skips in silence what lies before confirmed_flush_lsn, so every gap has to be found
 * here:
 *
 *   no slot, nothing stored                      a first run: snapshot
 *   no slot, a point or progress stored          RESYNC: never made again quietly
 *   slot, intent, no point                       ours, and nothing was copied from it: dropped, a first run
 *   slot, neither intent nor progress            somebody's: refused (snapshot.mode none: the operator's, used)
 *   slot confirmed beyond what is stored         RESYNC: what lies between would be lost
 *   stored beyond what the server ever wrote     RESYNC: see timeline.c
 *   slot, point, copy unfinished                 the snapshot goes on
 *   slot, all of it                              the stream goes on
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>
#include <sluice/fnv1a.h>

#include "postgres.h"
#include "snapshot.h"

static struct pg_source *source_of(struct source *src)
{
	return (struct pg_source *)src;
}

int source_pg_connect(
	const struct context *ctx, enum pg_role role, const char *part, PGconn **ret, struct error *err)
{
	struct pg_peer peer = source_peer(ctx);
	char application[96];

	snprintf(application, sizeof(application), "sluice_%s/%s", ctx->cfg->name, part);
	if (pg_connect(&peer, role, application, ret, err) < 0)
		return error_where(err, "source");
	return 0;
}

/* the lease's key: a hash of our name, stable over versions */
static int64_t lease_key(const char *name)
{
	char text[64];

	snprintf(text, sizeof(text), "sluice:%s", name);
	return (int64_t)fnv1a(FNV1A_BASIS, text, strlen(text));
}

static int take_lease(struct pg_source *src, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	src->lease_key = lease_key(src->base.ctx->cfg->name);
	if (pg_execf(src->sql, &res, err, "SELECT pg_catalog.pg_try_advisory_lock(%lld)",
		    (long long)src->lease_key) < 0)
		return -1;
	src->lease_pid = PQbackendPID(src->sql);
	return *PQgetvalue(res, 0, 0) == 't' ? 0 : SOURCE_STANDBY;
}

static int refuse_server(const PGresult *res, int version, struct error *err)
{
	if (version < 140000)
		return error_set(err, ERROR_CONFIG, "PG-VERSION",
			"the source is PostgreSQL %d: 14 or newer is needed", version / 10000);
	if (*PQgetvalue(res, 0, 3) == 't')
		return error_set(
			err, ERROR_CONFIG, "PG-STANDBY", "the source is a standby: connect to the primary");
	if (strcmp(PQgetvalue(res, 0, 4), "logical")) {
		error_set(err, ERROR_CONFIG, "PG-WAL-LEVEL", "the source has wal_level=%s",
			PQgetvalue(res, 0, 4));
		return error_remedy(err, "ALTER SYSTEM SET wal_level = logical; -- then restart the source");
	}
	if (*PQgetvalue(res, 0, 5) != 't') {
		error_set(err, ERROR_CONFIG, "PG-ROLE", "role %s may not replicate", PQgetvalue(res, 0, 6));
		error_exit(err, EXIT_PERMISSION);
		return error_remedy(err, "ALTER ROLE \"%s\" REPLICATION;", PQgetvalue(res, 0, 6));
	}
	return 0;
}

static int identify(struct pg_source *src, struct error *err)
{
	static const char sql[] =
		"SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), pg_catalog.current_database(), "
		"pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), "
		"pg_catalog.current_setting('wal_level'), (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles "
		"WHERE rolname = current_user), current_user";
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct status *st = src->base.ctx->status;

	if (pg_exec(src->sql, sql, &res, err) < 0 || refuse_server(res, PQserverVersion(src->sql), err) < 0)
		return -1;
	snprintf(src->base.identity, sizeof(src->base.identity), "%s/%s", PQgetvalue(res, 0, 0),
		PQgetvalue(res, 0, 1));
	status_lock(st);
	snprintf(st->source.version, sizeof(st->source.version), "%s", PQgetvalue(res, 0, 2));
	snprintf(st->source.database, sizeof(st->source.database), "%s", PQgetvalue(res, 0, 1));
	snprintf(st->source.host, sizeof(st->source.host), "%s", PQhost(src->sql) ? PQhost(src->sql) : "");
	snprintf(st->slot_name, sizeof(st->slot_name), "%s", src->slot);
	status_unlock(st);
	return 0;
}

static int source_connect(struct source *base, struct error *err)
{
	struct pg_source *src = source_of(base);
	int r;

	if (SLUICE_FAULT_POINT("source.pg.connect"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.connect");
	if (source_pg_connect(base->ctx, PG_SOURCE, "lease", &src->sql, err) < 0)
		return -1;
	r = take_lease(src, err);
	return r ? r : identify(src, err);
}

/* the migration's facts about the slot */
struct slot_facts {
	bool intent, point_known, done;
	uint64_t point, stored;
};

static int read_flag(struct state *state, const char *key, bool *ret, struct buf *value, struct error *err)
{
	int r = state ? state_get(state, key, value, err) : STATE_MISSING;

	if (r < 0)
		return r;
	*ret = r == 0;
	return 0;
}

/* "name time": an intent to make a slot of another name says nothing about this one */
static bool intent_is_for(struct buf *value, const char *slot)
{
	const char *text = buf_str(value);
	size_t len = strlen(slot);

	return !strncmp(text, slot, len) && (text[len] == ' ' || !text[len]);
}

static int read_facts(const struct pg_source *src, struct state *state, const struct source_start *start,
	struct slot_facts *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;

	*ret = (struct slot_facts){ .stored = resume_lsn(start->resume) };
	if (read_flag(state, "slot/intent", &ret->intent, &value, err) < 0)
		return -1;
	ret->intent = ret->intent && intent_is_for(&value, src->slot);
	if (read_flag(state, STATE_SNAPSHOT_DONE, &ret->done, &value, err) < 0 ||
		read_flag(state, "slot/point", &ret->point_known, &value, err) < 0)
		return -1;
	if (ret->point_known && !pg_lsn_parse(buf_str(&value), &ret->point))
		return error_set(err, ERROR_FATAL, "STATE", "the stored slot/point is not an LSN");
	return 0;
}

static int slot_ahead(const struct pg_source *src, uint64_t confirmed, uint64_t stored, struct error *err)
{
	char a[20], b[20];

	error_set(err, ERROR_FATAL, "PG-SLOT-AHEAD",
		"slot %s is ahead by %llu bytes: confirmed %s, stored in the target %s; what lies between is lost",
		src->slot, (unsigned long long)(confirmed - stored), pg_lsn_format(confirmed, a, sizeof(a)),
		pg_lsn_format(stored, b, sizeof(b)));
	error_remedy(
		err, "somebody advanced the slot, or the target was restored from a backup: take a new copy");
	return error_exit(err, EXIT_RESYNC);
}

static int slot_foreign(const struct pg_source *src, struct error *err)
{
	error_set(err, ERROR_CONFIG, "PG-SLOT-FOREIGN",
		"replication slot %s exists and is not ours: no intent to make it is stored in the target",
		src->slot);
	return error_remedy(err,
		"set source.postgresql.slot to another name, or drop it: "
		"SELECT pg_drop_replication_slot('%s'); or use it with snapshot.mode: none",
		src->slot);
}

/* one that pgoutput in this database could not have made */
static int slot_kind(const struct pg_source *src, const struct slot_info *slot, struct error *err)
{
	if (!slot->logical || strcmp(slot->plugin, "pgoutput"))
		error_set(err, ERROR_CONFIG, "PG-SLOT-FOREIGN", "replication slot %s is not one of pgoutput",
			src->slot);
	else if (strcmp(slot->database, PQdb(src->sql)))
		error_set(err, ERROR_CONFIG, "PG-SLOT-FOREIGN", "replication slot %s belongs to database %s",
			src->slot, slot->database);
	else
		return 0;
	return error_remedy(err, "set source.postgresql.slot to another name");
}

/* what is wrong with a slot that is there; 0 = usable */
static int slot_check(struct pg_source *src, const struct slot_info *slot, const struct slot_facts *facts,
	struct error *err)
{
	uint64_t from = facts->stored ? facts->stored : facts->point;

	if (slot_kind(src, slot, err) < 0)
		return -1;
	if (slot->lost)
		return slot_lost_error(src->slot, slot->wal_status, err);
	if (from && from < slot->confirmed)
		return slot_ahead(src, slot->confirmed, from, err);
	if (slot->active)
		return slot_busy_error(src->slot, slot->active_pid, err);
	return 0;
}

static void starts_free(struct pg_source *src)
{
	for (uint32_t i = 0; i < src->n_starts; i++) {
		free(src->starts[i].schema);
		free(src->starts[i].name);
	}
	free(src->starts);
	src->starts = NULL;
	src->n_starts = 0;
}

/* the start points of tables that were read under a later snapshot than the slot's */
static int load_starts(
	struct pg_source *src, struct state *state, const struct source_tables *tables, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;

	starts_free(src);
	src->base.start_point_max = 0;
	src->starts = calloc(tables->n + 1u, sizeof(*src->starts));
	if (!src->starts)
		abort();
	for (uint32_t i = 0; state && i < tables->n; i++) {
		uint64_t start = 0;
		int r;

		buf_clear(&key);
		buf_clear(&value);
		buf_printf(&key, "table/%s.%s/start", tables->items[i].schema, tables->items[i].name);
		r = state_get(state, buf_str(&key), &value, err);
		if (r < 0)
			return r;
		if (r == STATE_MISSING || !pg_lsn_parse(buf_str(&value), &start))
			continue;
		src->starts[src->n_starts++] = (struct decode_start){
			.schema = strdup(tables->items[i].schema),
			.name = strdup(tables->items[i].name),
			.start = start,
		};
		if (start > src->base.start_point_max)
			src->base.start_point_max = start;
	}
	return 0;
}

/* what start() needs beside the slot */
static int load_stream(struct pg_source *src, struct state *state, struct error *err)
{
	struct source_tables tables;
	bool builtin = true;
	int r;

	r = publication_exists(src->sql, src->publication, err);
	if (r < 0)
		return r;
	if (r == 0) {
		error_set(err, ERROR_CONFIG, "PG-PUBLICATION", "publication %s does not exist on the source",
			src->publication);
		return error_remedy(err,
			"what is written while it does not exist cannot be read any more: CREATE "
			"PUBLICATION, then a new slot and a new copy");
	}
	r = publication_exists(src->sql, src->publication_insert, err);
	if (r < 0)
		return r;
	src->insert_only = r > 0;
	if (tables_read(src->sql, src->cfg, &tables, err) < 0)
		return -1;
	for (uint32_t i = 0; i < tables.n; i++)
		builtin = builtin && tables.items[i].builtin_types;
	src->binary = src->cfg->postgresql.binary && builtin;
	r = load_starts(src, state, &tables, err);
	tables_fini(&tables);
	return r;
}

static int prepare_none(struct pg_source *src, const struct slot_info *slot, const struct slot_facts *facts,
	struct error *err)
{
	if (!slot->exists && facts->stored)
		return slot_missing_error(src->slot, err);
	if (!slot->exists) {
		error_set(err, ERROR_CONFIG, "PG-SLOT-MISSING",
			"snapshot.mode is none, but slot %s does not exist", src->slot);
		return error_remedy(
			err, "SELECT pg_create_logical_replication_slot('%s', 'pgoutput');", src->slot);
	}
	return slot_check(src, slot, facts, err);
}

static int source_prepare(
	struct source *base, struct state *state, const struct source_start *start, struct error *err)
{
	struct pg_source *src = source_of(base);
	struct slot_facts facts;
	struct slot_info slot;

	if (start->identity && *start->identity && strcmp(start->identity, base->identity)) {
		error_set(err, ERROR_FATAL, "PG-IDENTITY-OTHER",
			"the target holds progress of source %s, but this is %s", start->identity,
			base->identity);
		error_remedy(err,
			"connect to the source that the copy was made from, or start over with a new copy (README)");
		return error_exit(err, EXIT_RESYNC);
	}
	if (slot_read(src->sql, src->slot, &slot, err) < 0 || read_facts(src, state, start, &facts, err) < 0)
		return -1;
	if (base->ctx->cfg->snapshot.mode == SNAPSHOT_NONE) {
		if (prepare_none(src, &slot, &facts, err) < 0 ||
			timeline_check(src, state, facts.stored, false, err) < 0)
			return -1;
		return load_stream(src, state, err);
	}
	if (!slot.exists && (facts.stored || facts.point_known))
		return slot_missing_error(src->slot, err);
	if (!slot.exists)
		return timeline_check(src, state, 0, false, err) < 0 ? -1 : SOURCE_FRESH;
	if (!facts.intent && !facts.stored)
		return slot_foreign(src, err);
	if (facts.intent && !facts.point_known && !facts.stored) {
		if (slot_kind(src, &slot, err) < 0)
			return -1;
		if (slot.active)
			return slot_busy_error(src->slot, slot.active_pid, err);
		if (slot_drop(src->sql, src->slot, err) < 0 || timeline_check(src, state, 0, false, err) < 0)
			return -1;
		return SOURCE_FRESH;
	}
	if (facts.done && base->ctx->cfg->snapshot.mode == SNAPSHOT_ONLY)
		return SOURCE_FRESH; /* the copy is finished: running it again finds nothing to do */
	if (slot_check(src, &slot, &facts, err) < 0)
		return -1;
	if (!facts.done)
		return timeline_check(src, state, facts.point, true, err) < 0 ? -1 : SOURCE_FRESH;
	if (load_stream(src, state, err) < 0)
		return -1;
	return timeline_check(src, state,
		facts.stored > base->start_point_max ? facts.stored : base->start_point_max, false, err);
}

static int source_start(struct source *base, const struct source_start *start, int wake_fd, struct error *err)
{
	struct pg_source *src = source_of(base);
	uint64_t stored = resume_lsn(start->resume);
	struct slot_info slot;

	if (stream_start(src, stored, wake_fd, err) < 0 || slot_read(src->sql, src->slot, &slot, err) < 0)
		return -1;
	/* the slot is ours now, so nobody moves it any more: what prepare() saw might have changed */
	if (stored && stored < slot.confirmed)
		return slot_ahead(src, slot.confirmed, stored, err);
	return 0;
}

static int source_read(struct source *base, struct batch *batch, int timeout_ms, struct error *err)
{
	return stream_read(source_of(base), batch, timeout_ms, err);
}

static int source_confirm(struct source *base, struct resume resume, struct error *err)
{
	stream_confirm(source_of(base), resume_lsn(resume));
	return 0;
}

static int source_watch(struct source *base, struct source_health *ret, struct error *err)
{
	return monitor_watch(source_of(base), ret, err);
}

static int source_head(struct source *base, uint64_t *ret_head, struct wall *ret_time, struct error *err)
{
	return monitor_head(source_of(base), ret_head, ret_time, err);
}

static int source_barrier(struct source *base, uint64_t *ret_major, struct error *err)
{
	return monitor_barrier(source_of(base), ret_major, err);
}

static void source_free_postgres(struct source *base)
{
	struct pg_source *src = source_of(base);

	snapshot_postgres_free(base->snapshot);
	stream_fini(src);
	starts_free(src);
	PQfinish(src->monitor);
	PQfinish(src->lookup_conn);
	PQfinish(src->sql);
	free(src);
}

static const struct source_ops postgres_ops = {
	.connect = source_connect,
	.prepare = source_prepare,
	.start = source_start,
	.read = source_read,
	.confirm = source_confirm,
	.watch = source_watch,
	.head = source_head,
	.barrier = source_barrier,
	.free = source_free_postgres,
};

static const char *format_resume(struct resume resume, char *buf, size_t size)
{
	if (!resume.len) {
		*buf = '\0';
		return buf;
	}
	return pg_lsn_format(resume_lsn(resume), buf, size);
}

static const char *format_position(struct position pos, char *buf, size_t size)
{
	return pg_lsn_format(pos.major, buf, size);
}

const struct source_format source_postgres_format = {
	.resume = format_resume,
	.position = format_position,
	.major = resume_lsn,
	.parse = pg_lsn_parse,
};

struct source *source_postgres_new(const struct context *ctx)
{
	struct pg_source *src = calloc(1, sizeof(*src));

	if (!src)
		abort();
	src->base = (struct source){
		.ops = &postgres_ops,
		.ctx = ctx,
		.format = &source_postgres_format,
	};
	src->cfg = &ctx->cfg->source;
	snprintf(src->slot, sizeof(src->slot), "%s", src->cfg->postgresql.slot);
	snprintf(src->publication, sizeof(src->publication), "%s", src->cfg->postgresql.publication);
	publication_insert_name(src->publication, src->publication_insert, sizeof(src->publication_insert));
	src->lookup.ops = &lookup_postgres_ops;
	src->base.lookup = &src->lookup;
	src->base.snapshot = snapshot_postgres_new(ctx);
	return &src->base;
}
