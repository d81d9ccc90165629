/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The PostgreSQL sink: its methods, each in a file of its own; this one only ties them together. Nothing here
 * reconnects: after an error the object is freed, which ends its sessions and rolls back what was open.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"

static struct sink_postgres *sink_of(struct sink *base)
{
	return (struct sink_postgres *)base;
}

/* "system identifier/database" */
static int sink_identify(struct sink_postgres *sink, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(sink->conn,
		    "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), current_database(),"
		    " current_setting('server_version')",
		    &res, err) < 0)
		return -1;
	snprintf(sink->base.identity, sizeof(sink->base.identity), "%s/%s", PQgetvalue(res, 0, 0),
		PQgetvalue(res, 0, 1));
	sink->server_version = PQserverVersion(sink->conn);
	if (sink->base.ctx->status) {
		struct status_peer *peer = &sink->base.ctx->status->target;

		status_lock(sink->base.ctx->status);
		snprintf(peer->version, sizeof(peer->version), "%s", PQgetvalue(res, 0, 2));
		snprintf(peer->host, sizeof(peer->host), "%s", PQhost(sink->conn) ? PQhost(sink->conn) : "");
		snprintf(peer->database, sizeof(peer->database), "%s", PQgetvalue(res, 0, 1));
		status_unlock(sink->base.ctx->status);
	}
	return 0;
}

static int sink_postgres_connect(struct sink *base, struct error *err)
{
	struct sink_postgres *sink = sink_of(base);

	if (session_open(sink, "apply", &sink->conn, &sink->replica_role, err) < 0 ||
		sink_identify(sink, err) < 0 || layout_prepare(sink->conn, err) < 0 ||
		state_postgres_init(sink, err) < 0)
		return -1;
	queue_init(&sink->queue, sink->conn, &sink->base.meanwhile);
	sink->apply = apply_new(sink);
	sink->base.snapshot = load_new(sink);
	sink->base.catalog = catalog_new(sink);
	return 0;
}

static int sink_postgres_claim(struct sink *base, const struct partition *partition, const char *identity,
	struct progress *ret, struct error *err)
{
	struct sink_postgres *sink = sink_of(base);

	if (sink->apply->open)
		return error_set(err, ERROR_TRANSIENT, "CLAIM",
			"a partition was assigned while a transaction of another one is open");
	if (queue_leave(&sink->queue, err) < 0 || progress_claim(sink, partition, identity, ret, err) < 0)
		return -1;
	sink->base.state = &sink->state.base;
	/* whoever had the partition before may have written some */
	letters_doubt(sink->apply);
	return letters_load(sink->apply, err);
}

static int sink_postgres_apply(
	struct sink *base, const struct apply_group *group, struct apply_result *ret, struct error *err)
{
	return apply_group(sink_of(base)->apply, group, ret, err);
}

static int sink_postgres_release(struct sink *base, const struct partition *partition, struct error *err)
{
	struct sink_postgres *sink = sink_of(base);
	struct progress_row *row = progress_find(sink, partition);

	if (!row)
		return 0;
	if (apply_release(sink->apply, row, err) < 0)
		return -1;
	progress_release(sink, row);
	return 0;
}

static int sink_postgres_store_resume(struct sink *base, const struct sink_point *point, struct error *err)
{
	struct sink_postgres *sink = sink_of(base);
	struct progress_row *row = progress_find(sink, point->partition);

	if (!row || sink->apply->open)
		return error_set(err, ERROR_BUG, "PARTITION",
			"a resume point of a partition that is not claimed, or inside an open transaction");
	if (queue_leave(&sink->queue, err) < 0)
		return -1;
	return progress_store(sink, row, point, err);
}

static int sink_postgres_passed(struct sink *base, const struct sink_passed *own, uint32_t n,
	struct sink_passed *ret, struct error *err)
{
	struct sink_postgres *sink = sink_of(base);

	if (sink->apply->open)
		return error_set(err, ERROR_BUG, "PASSED", "asked inside an open transaction");
	return queue_leave(&sink->queue, err) < 0 ? -1 : passed_exchange(sink, own, n, ret, err);
}

static int sink_postgres_flush(struct sink *base, bool wait, struct error *err)
{
	return flush_commits(sink_of(base), wait, err);
}

static int sink_postgres_idle(struct sink *base, struct error *err)
{
	return apply_idle(sink_of(base)->apply, err);
}

static int sink_postgres_announce(struct sink *base, const struct announcement *to, struct error *err)
{
	return announce_letters(sink_of(base), to, err);
}

static void sink_postgres_free(struct sink *base)
{
	struct sink_postgres *sink = sink_of(base);

	catalog_free(sink->base.catalog);
	load_free(sink->base.snapshot);
	apply_free(sink->apply);
	queue_fini(&sink->queue);
	flush_fini(sink);
	if (sink->announcing)
		PQfinish(sink->announcing);
	if (sink->conn)
		PQfinish(sink->conn);
	state_postgres_fini(&sink->state);
	while (sink->rows)
		progress_release(sink, sink->rows);
	pthread_mutex_destroy(&sink->state.lock);
	free(sink);
}

static const struct sink_ops sink_postgres_ops = {
	.connect = sink_postgres_connect,
	.claim = sink_postgres_claim,
	.release = sink_postgres_release,
	.apply = sink_postgres_apply,
	.store_resume = sink_postgres_store_resume,
	.passed = sink_postgres_passed,
	.flush = sink_postgres_flush,
	.idle = sink_postgres_idle,
	.announce = sink_postgres_announce,
	.free = sink_postgres_free,
};

struct sink *sink_postgres_new(const struct context *ctx)
{
	struct sink_postgres *sink = calloc(1, sizeof(*sink));

	if (!sink)
		abort();
	sink->base.ops = &sink_postgres_ops;
	sink->base.ctx = ctx;
	sink->cfg = ctx->cfg;
	sink->stream = ctx->cfg->name;
	sink->queue.failed = QUEUE_NONE;
	pthread_mutex_init(&sink->state.lock, NULL);
	return &sink->base;
}
