/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One attempt, in the order that makes it safe:
 *   1. the lease on the source: without it nothing else is touched;
 *   2. the target, and the epoch: from here on no other applier of this stream can commit;
 *   3. what exists at the source is compared with the stored progress, before anything is streamed;
 *   4. the snapshot, where one is due; everything it copies is marked in the target;
 *   5. the stream, from the stored resume point.
 * Progress lives in the target and WAL in the slot, so tearing everything down loses nothing.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/fault.h>

#include "attempt.h"

#define TURN_MS 200

void attempt_wake(struct attempt *at)
{
	eventfd_write(at->reader_fd, 1);
	if (at->transport)
		at->transport->ops->wake(at->transport);
}

void attempt_fail(struct attempt *at, const char *stage, const struct error *err)
{
	pthread_mutex_lock(&at->lock);
	if (!at->err_stage) {
		at->err = *err;
		at->err_stage = stage;
	}
	pthread_mutex_unlock(&at->lock);
	atomic_store_explicit(&at->abort, true, memory_order_release);
	eventfd_write(at->done_fd, 1);
}

static int attempt_make(struct attempt *at, struct error *err)
{
	const struct config *cfg = at->ctx->cfg;

	switch (cfg->source.type) {
	case PEER_POSTGRESQL:
		at->src = source_postgres_new(at->ctx);
		break;
	case PEER_GENERATOR:
		at->src = source_generator_new(at->ctx);
		break;
	case PEER_MONGODB:
	case PEER_DISCARD:
		return error_set(err, ERROR_CONFIG, "CONFIG-SOURCE", "source.type cannot be a source here");
	}
	switch (cfg->target.type) {
	case PEER_POSTGRESQL:
		at->sink = sink_postgres_new(at->ctx);
		break;
	case PEER_DISCARD:
		at->sink = sink_discard_new(at->ctx);
		break;
	case PEER_MONGODB:
	case PEER_GENERATOR:
		return error_set(err, ERROR_CONFIG, "CONFIG-TARGET", "target.type cannot be a target here");
	}
	return 0;
}

static void attempt_describe(struct attempt *at)
{
	static const char *const types[] = { "postgresql", "mongodb", "generator", "discard" };
	struct status *st = at->ctx->status;

	status_lock(st);
	snprintf(st->source.type, sizeof(st->source.type), "%s", types[at->ctx->cfg->source.type]);
	snprintf(st->source.identity, sizeof(st->source.identity), "%s", at->src->identity);
	snprintf(st->target.type, sizeof(st->target.type), "%s", types[at->ctx->cfg->target.type]);
	snprintf(st->target.identity, sizeof(st->target.identity), "%s", at->sink->identity);
	st->source.connected = st->target.connected = true;
	st->source.last_contact = st->target.last_contact = wall_now();
	status_unlock(st);
}

static struct source_start attempt_start_point(const struct attempt *at)
{
	return (struct source_start){
		.resume = at->progress.resume,
		.position = at->progress.position,
		.identity = at->progress.identity,
	};
}

/* steps 1 to 3; returns 0, SOURCE_STANDBY, SOURCE_FRESH or negative */
static int attempt_connect(struct attempt *at, const char **stage, struct error *err)
{
	struct source_start start;
	int r;

	*stage = "source";
	r = attempt_make(at, err);
	if (r == 0)
		r = at->src->ops->connect(at->src, err);
	if (r != 0)
		return r;
	*stage = "sink";
	r = at->sink->ops->connect(at->sink, err);
	if (r == 0)
		r = at->sink->ops->claim(at->sink, at->src->identity, &at->progress, err);
	if (r < 0)
		return r;
	if (SLUICE_FAULT_POINT("pipeline.claimed"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.claimed");
	attempt_describe(at);
	log_info(at->ctx->log, "connected", "source and target connected", "source=%s target=%s epoch=%llu",
		at->src->identity, at->sink->identity, (unsigned long long)at->progress.epoch);
	*stage = "source";
	start = attempt_start_point(at);
	return at->src->ops->prepare(at->src, at->sink->state, &start, err);
}

/* step 4; returns 0 = the stream can begin */
static int attempt_snapshot(struct attempt *at, struct error *err)
{
	struct source_start start;
	struct buf point = BUF_INIT;
	int r;

	if (!at->src->snapshot || !at->sink->snapshot || !at->sink->state)
		return error_set(err, ERROR_CONFIG, "SNAPSHOT-NONE",
			"a snapshot is due, but source or target cannot take one: set snapshot.mode: none");
	r = state_get(at->sink->state, "slot/point", &point, err);
	buf_fini(&point);
	if (r < 0)
		return r;
	r = snapshot_run(at->ctx, at->src, at->sink, r == STATE_MISSING, err);
	if (r < 0 || context_stopping(at->ctx))
		return r;
	if (!at->progress.resume.len && at->src->snapshot->resume.len) {
		r = at->sink->ops->store_resume(at->sink, at->src->snapshot->resume, err);
		if (r < 0)
			return r;
		at->progress.resume = at->src->snapshot->resume;
	}
	if (at->ctx->cfg->snapshot.mode == SNAPSHOT_ONLY)
		return snapshot_post(at->ctx, at->src, at->sink, err);
	start = attempt_start_point(at);
	r = at->src->ops->prepare(at->src, at->sink->state, &start, err);
	if (r == SOURCE_FRESH)
		return error_set(
			err, ERROR_BUG, "SNAPSHOT-AGAIN", "a finished snapshot is said to be due again");
	return r;
}

/* once the stream has passed every start point, what had to wait for it is built */
static void attempt_post(struct attempt *at)
{
	struct error err = ERROR_INIT;

	if (atomic_load(&at->post_done) || atomic_load(&at->passed) < at->src->start_point_max)
		return;
	if (at->sink->snapshot && at->src->snapshot && snapshot_post(at->ctx, at->src, at->sink, &err) < 0)
		attempt_fail(at, "snapshot", &err);
	else
		atomic_store(&at->post_done, true);
}

/* waits for the threads; turns a request to stop, or the end point, into a drain */
static enum attempt_outcome attempt_wait(struct attempt *at)
{
	enum attempt_outcome outcome = ATTEMPT_DONE;

	while (!attempt_aborted(at) && !(atomic_load(&at->reader_ended) && atomic_load(&at->applier_ended))) {
		bool draining = attempt_draining(at);
		struct pollfd fds[2] = {
			{ .fd = at->done_fd, .events = POLLIN },
			{ .fd = at->opt->wake_fd, .events = POLLIN },
		};
		uint64_t until = atomic_load(at->until);
		eventfd_t n;

		poll(fds, draining ? 1 : 2, TURN_MS);
		if (fds[0].revents)
			eventfd_read(at->done_fd, &n);
		attempt_post(at);
		if (draining)
			continue;
		if (context_stopping(at->ctx))
			outcome = ATTEMPT_STOPPED;
		else if (!until || atomic_load(&at->durable) < until || !atomic_load(&at->post_done))
			continue;
		status_state(at->ctx->status, STATE_DRAINING, "", "", "");
		log_info(at->ctx->log, "draining", "reading has ended, applying what was read", "reason=%s",
			outcome == ATTEMPT_STOPPED ? "signal" : "end-point");
		atomic_store_explicit(&at->drain, true, memory_order_release);
		attempt_wake(at);
	}
	return outcome;
}

/* what is known to be in place once the stream begins */
static void attempt_streaming(struct attempt *at)
{
	struct status *st = at->ctx->status;

	status_lock(st);
	st->sequences_mapped = true; /* the snapshot's last step; without one they are the operator's */
	for (uint32_t i = 0; i < st->n_tables; i++) {
		if (!strcmp(st->tables[i].state, "copied"))
			snprintf(st->tables[i].state, sizeof(st->tables[i].state), "streaming");
	}
	status_unlock(st);
	atomic_store(&at->streaming, true);
	status_state(st, STATE_RUNNING, "", "", "");
	log_info(at->ctx->log, "streaming", "streaming has begun", "epoch=%llu",
		(unsigned long long)at->progress.epoch);
}

/* step 5 */
static enum attempt_outcome attempt_stream(struct attempt *at)
{
	pthread_t reader, applier;
	enum attempt_outcome outcome;

	atomic_store(&at->passed, at->src->major(at->progress.resume));
	atomic_store(&at->durable, atomic_load(&at->passed));
	at->applied_at_start = at->progress.position;
	attempt_streaming(at);
	if (pthread_create(&reader, NULL, reader_main, at))
		abort();
	if (pthread_create(&applier, NULL, applier_main, at))
		abort();
	outcome = attempt_wait(at);
	attempt_wake(at);
	pthread_join(reader, NULL);
	attempt_wake(at);
	pthread_join(applier, NULL);
	return attempt_aborted(at) ? ATTEMPT_FAILED : outcome;
}

/* steps 4 and 5, with the monitor beside them */
static enum attempt_outcome attempt_work(struct attempt *at, bool fresh)
{
	struct error err = ERROR_INIT;
	struct source_start start;

	if (fresh) {
		status_state(at->ctx->status, STATE_RUNNING, "", "", "");
		if (attempt_snapshot(at, &err) < 0) {
			attempt_fail(at, "snapshot", &err);
			return ATTEMPT_FAILED;
		}
		if (context_stopping(at->ctx))
			return ATTEMPT_STOPPED;
		if (at->ctx->cfg->snapshot.mode == SNAPSHOT_ONLY)
			return ATTEMPT_DONE;
		atomic_store(&at->progressed, true);
	}
	start = attempt_start_point(at);
	if (at->src->ops->start(at->src, &start, at->reader_fd, &err) < 0) {
		attempt_fail(at, "source", &err);
		return ATTEMPT_FAILED;
	}
	return attempt_stream(at);
}

static enum attempt_outcome attempt_body(struct attempt *at)
{
	struct error err = ERROR_INIT;
	const char *stage = "source";
	enum attempt_outcome outcome;
	pthread_t monitor;
	int r = attempt_connect(at, &stage, &err);

	if (r == SOURCE_STANDBY)
		return ATTEMPT_STANDBY;
	if (r < 0) {
		attempt_fail(at, stage, &err);
		return ATTEMPT_FAILED;
	}
	if (pthread_create(&monitor, NULL, monitor_main, at))
		abort();
	outcome = attempt_work(at, r == SOURCE_FRESH);
	atomic_store(&at->monitor_stop, true);
	pthread_join(monitor, NULL);
	return outcome;
}

enum attempt_outcome attempt_run(struct attempt *at)
{
	/* the rest of the budget is the applier's: parameters, COPY data, libpq's buffers */
	size_t pool_bytes = at->ctx->cfg->limits.batch_memory_bytes / 3 * 2;
	struct status *st = at->ctx->status;
	enum attempt_outcome outcome;

	pthread_mutex_init(&at->lock, NULL);
	at->reader_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	at->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (at->reader_fd < 0 || at->done_fd < 0)
		abort(); /* no file descriptors left: a restart is the way out */
	at->pool = block_pool_new(pool_bytes, at->reader_fd);
	at->transport = transport_direct_new(at->ctx->metrics, at->reader_fd);
	outcome = attempt_body(at);

	at->transport->ops->free(at->transport);
	transform_chain_free(at->transforms);
	source_free(at->src);
	sink_free(at->sink);
	block_pool_free(at->pool);
	close(at->reader_fd);
	close(at->done_fd);
	pthread_mutex_destroy(&at->lock);
	status_lock(st);
	st->source.connected = st->target.connected = false;
	status_unlock(st);
	return outcome;
}
