/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The initial copy, source side, from begin to end. A first run makes, in this order and each step durable before the next:
 *
 *   publication → "slot/intent" → slot with its snapshot → "slot/point"
 *
 * so that a crash anywhere leaves something that can be told: an intent without a point is a slot of ours from which
 * nothing was copied (dropped, begun anew by prepare()). A later run takes its snapshot from a temporary slot, and only
 * when some table is not done. Where the stream begins is the first slot's point in both cases; where a table begins to
 * take part in it is the table's own start point.
 *
 * Two connections live as long as the snapshot: the keeper, which holds it, and `sql`, which looks things up. With one for
 * each worker and pg_dump's (before the workers) the source sees no more than the contract allows.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"
#include "snapshot.h"

static int fault(const char *name, struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point %s", name);
}

static void resume_from(struct pg_snapshot *snap, uint64_t lsn)
{
	uint64_t wire = __builtin_bswap64(lsn);

	memcpy(snap->resume, &wire, sizeof(wire));
	snap->base.resume = (struct resume){ snap->resume, sizeof(snap->resume) };
}

static int sql_open(struct pg_snapshot *snap, struct error *err)
{
	struct pg_peer peer = snapshot_peer(snap);

	if (snap->sql)
		return 0;
	return pg_connect(&peer, PG_SOURCE, snap->application, &snap->sql, err);
}

static int store_intent(struct pg_snapshot *snap, struct state *state, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	char now[32];

	buf_printf(&value, "%s %s", snap->ctx->cfg->source.postgresql.slot,
		wall_format(wall_now(), now, sizeof(now)));
	return state_set(state, "slot/intent", value.data, value.len, err);
}

static int snapshot_preview(struct snapshot_source *base, struct state *state, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;

	if (sql_open(snap, err) < 0 || publication_ensure(snap->ctx, snap->sql, err) < 0)
		return -1;
	return plan_make(snap, snap->sql, state, 0, err);
}

static int begin_first(struct pg_snapshot *snap, struct state *state, struct error *err)
{
	uint64_t point;
	char lsn[24];

	if (publication_ensure(snap->ctx, snap->sql, err) < 0 || store_intent(snap, state, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.intent"))
		return fault("snapshot.intent", err);
	if (export_slot(snap, false, &point, err) < 0)
		return -1;
	pg_lsn_format(point, lsn, sizeof(lsn));
	if (state_set(state, "slot/point", lsn, strlen(lsn), err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.point_stored"))
		return fault("snapshot.point_stored", err);
	snap->base.start = point;
	resume_from(snap, point);
	return plan_make(snap, snap->keeper, state, point, err);
}

void snapshot_publications(const struct pg_snapshot *snap, struct buf *sql)
{
	const char *name = snap->ctx->cfg->source.postgresql.publication;
	_cleanup_(buf_freep) struct buf second = BUF_INIT;

	buf_printf(&second, "%.56s_insert", name);
	pg_put_literal(sql, name);
	buf_puts(sql, ", ");
	pg_put_literal(sql, buf_str(&second));
}

static bool all_done(const struct snapshot_source *base)
{
	for (uint32_t i = 0; i < base->n_tables; i++) {
		if (!base->tables[i].done)
			return false;
	}
	return true;
}

static int begin_again(struct pg_snapshot *snap, struct state *state, struct error *err)
{
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	uint64_t point;
	int r = state_get(state, "slot/point", &value, err);

	if (r < 0)
		return r;
	if (r == STATE_MISSING || !pg_lsn_parse(buf_str(&value), &point))
		return error_set(err, ERROR_BUG, "SNAPSHOT-POINT",
			"a snapshot goes on, but its slot's point is not stored");
	resume_from(snap, point);
	snap->base.start = point;
	r = publication_exists(snap->sql, snap->ctx->cfg->source.postgresql.publication, err);
	if (r < 0)
		return r;
	if (r == 0)
		/* one made now would come behind the slot, which looks for it in the past */
		return error_set(err, ERROR_CONFIG, "PG-PUBLICATION",
			"publication %s has vanished from the source",
			snap->ctx->cfg->source.postgresql.publication);
	if (plan_make(snap, snap->sql, state, point, err) < 0)
		return -1;
	if (all_done(&snap->base))
		return 0;
	if (export_slot(snap, true, &point, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("snapshot.again"))
		return fault("snapshot.again", err);
	snap->base.start = point;
	return plan_make(snap, snap->keeper, state, point, err);
}

static int snapshot_begin(struct snapshot_source *base, struct state *state, bool first, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;

	if (sql_open(snap, err) < 0)
		return -1;
	return first ? begin_first(snap, state, err) : begin_again(snap, state, err);
}

/* sequences that belong to the copied tables; with nothing excluded also those that belong to none */
static int query_sequences(struct pg_snapshot *snap, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	const struct config_source *cfg = &snap->ctx->cfg->source;

	buf_puts(&sql,
		"SELECT n.nspname, s.relname, pg_catalog.has_sequence_privilege(s.oid, 'SELECT') FROM (SELECT * FROM "
		"pg_catalog.pg_class WHERE relkind = 'S' OFFSET 0) s JOIN pg_catalog.pg_namespace n ON n.oid = "
		"s.relnamespace LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid "
		"= s.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') WHERE "
		"n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'sluice') AND "
		"(d.refobjid IN (0");
	for (uint32_t i = 0; i < snap->base.n_tables; i++) {
		const struct plan_table *plan = snap->base.tables[i].driver;

		buf_printf(&sql, ",%u", (unsigned)snap->base.tables[i].rel->id);
		for (uint32_t k = 0; k < plan->n_leaves; k++)
			buf_printf(&sql, ",%u", (unsigned)plan->leaves[k].oid);
	}
	buf_puts(&sql, cfg->include.n || cfg->exclude.n ? ")) ORDER BY 1, 2"
							: ") OR d.refobjid IS NULL) ORDER BY 1, 2");
	return pg_exec_stop(snap->sql, buf_str(&sql), snap->base.cancel, ret, err);
}

/* a name in a tab-separated line: COPY's escapes */
static void put_field(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '\t' || *s == '\n')
			buf_putc(out, '\\');
		buf_putc(out, *s == '\t' ? 't' : *s == '\n' ? 'n' : *s);
	}
}

static int snapshot_finish(struct snapshot_source *base, struct buf *ret_sequences, struct error *err)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;
	_cleanup_(PQclearp) PGresult *names = NULL;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	if (sql_open(snap, err) < 0 || query_sequences(snap, &names, err) < 0)
		return error_where(err, "read the sequences");
	for (int i = 0; i < PQntuples(names); i++) {
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (*PQgetvalue(names, i, 2) != 't') {
			status_alarm_raise(snap->ctx->status, "PG-SEQUENCE",
				"GRANT SELECT ON ALL SEQUENCES IN SCHEMA …",
				"role %s may not read sequence %s.%s: its value was not copied",
				PQuser(snap->sql), PQgetvalue(names, i, 0), PQgetvalue(names, i, 1));
			continue;
		}
		buf_clear(&sql);
		buf_puts(&sql, "SELECT last_value, is_called FROM ");
		pg_put_name(&sql, PQgetvalue(names, i, 0), PQgetvalue(names, i, 1));
		if (pg_exec_stop(snap->sql, buf_str(&sql), base->cancel, &res, err) < 0)
			return error_where(err, "read the sequences");
		put_field(ret_sequences, PQgetvalue(names, i, 0));
		buf_putc(ret_sequences, '\t');
		put_field(ret_sequences, PQgetvalue(names, i, 1));
		buf_printf(ret_sequences, "\t%s\t%s\n", PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1));
	}
	return 0;
}

/* the resume point stays readable: the caller stores it after the end */
static void snapshot_end(struct snapshot_source *base)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;

	plan_free(base);
	PQfinish(snap->keeper);
	PQfinish(snap->sql);
	snap->keeper = snap->sql = NULL;
	snap->n_ended = 0;
}

static const struct snapshot_source_ops ops = {
	.preview = snapshot_preview,
	.begin = snapshot_begin,
	.watch = watch_blocked,
	.dump_schema = dump_schema,
	.reader_new = reader_new,
	.open = reader_open,
	.read = reader_read,
	.reader_free = reader_free,
	.finish = snapshot_finish,
	.end = snapshot_end,
};

struct snapshot_source *snapshot_postgres_new(const struct context *ctx)
{
	struct pg_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		abort();
	snap->base.ops = &ops;
	snap->ctx = ctx;
	snprintf(snap->application, sizeof(snap->application), "sluice_%s/snapshot", ctx->cfg->name);
	pthread_mutex_init(&snap->lock, NULL);
	return &snap->base;
}

struct snapshot_source *snapshot_postgres_free(struct snapshot_source *base)
{
	struct pg_snapshot *snap = (struct pg_snapshot *)base;

	if (!snap)
		return NULL;
	snapshot_end(base);
	pthread_mutex_destroy(&snap->lock);
	free(snap);
	return NULL;
}
