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
	if (at->reader)
		at->reader->ops->wake(at->reader);
}

void attempt_fail(struct attempt *at, const char *stage, const struct error *err)
{
	bool first;

	pthread_mutex_lock(&at->lock);
	first = !at->err_stage;
	if (first) {
		at->err = *err;
		at->err_stage = stage;
	}
	pthread_mutex_unlock(&at->lock);
	/* to take an attempt down takes as long as clients of peers that are away need: what it was it is no more */
	if (first && err->class == ERROR_TRANSIENT && !context_stopping(at->ctx))
		status_state(at->ctx->status, STATE_RETRYING, err->code, err->message, err->remedy);
	atomic_store_explicit(&at->abort, true, memory_order_release);
	eventfd_write(at->done_fd, 1);
}

void attempt_hear(struct attempt *at, const struct batch *batch)
{
	uint64_t major;

	for (uint32_t i = batch->n_records; i > 0; i--) {
		const struct record *rec = &batch->records[i - 1];

		if (rec->op != RECORD_HEARTBEAT)
			continue;
		/* how many there are counts with whatever the heartbeat says to be in the log */
		if (rec->heartbeat->partitions > atomic_load(&at->log_partitions))
			atomic_store(&at->log_partitions, rec->heartbeat->partitions);
		major = rec->heartbeat->resume.len ? at->format->major(rec->heartbeat->resume) : 0;
		if (major > atomic_load(&at->log_major))
			atomic_store(&at->log_major, major);
		if (!rec->heartbeat->head)
			continue;
		pthread_mutex_lock(&at->lock);
		at->heard.head = rec->heartbeat->head;
		at->heard.at = rec->heartbeat->at;
		at->heard.when = mono_now();
		pthread_mutex_unlock(&at->lock);
		return;
	}
}

uint64_t attempt_whole(const struct attempt *at, uint32_t partitions, uint64_t major)
{
	uint64_t heard = atomic_load(&at->log_major);

	if (!atomic_load(&at->log_partitions) || partitions < atomic_load(&at->log_partitions))
		return 0;
	return major < heard ? major : heard;
}

static int attempt_make_source(struct attempt *at, struct error *err)
{
	switch (at->ctx->cfg->source.type) {
	case PEER_POSTGRESQL:
		at->src = source_postgres_new(at->ctx);
		return 0;
	case PEER_GENERATOR:
		at->src = source_generator_new(at->ctx);
		return 0;
	case PEER_MONGODB:
	case PEER_DISCARD:
		break;
	}
	return error_set(err, ERROR_CONFIG, "CONFIG-SOURCE", "source.type cannot be a source here");
}

static int attempt_make_sink(struct attempt *at, struct error *err)
{
	switch (at->ctx->cfg->target.type) {
	case PEER_POSTGRESQL:
		at->sink = sink_postgres_new(at->ctx);
		return 0;
	case PEER_DISCARD:
		at->sink = sink_discard_new(at->ctx);
		return 0;
	case PEER_MONGODB:
	case PEER_GENERATOR:
		break;
	}
	return error_set(err, ERROR_CONFIG, "CONFIG-TARGET", "target.type cannot be a target here");
}

/* the objects of this attempt's half, or of both */
static int attempt_make(struct attempt *at, struct error *err)
{
	at->format = at->ctx->cfg->source.type == PEER_GENERATOR ? &source_generator_format
								 : &source_postgres_format;
	if (at->role != ROLE_APPLIER && attempt_make_source(at, err) < 0)
		return -1;
	if (at->role != ROLE_READER && attempt_make_sink(at, err) < 0)
		return -1;
	switch (at->role) {
	case ROLE_WHOLE:
		transport_direct_new(at->ctx->metrics, at->reader_fd, &at->writer, &at->reader);
		break;
	case ROLE_READER:
		at->writer = transport_kafka_writer_new(at->ctx, at->reader_fd);
		break;
	case ROLE_APPLIER:
		at->reader = transport_kafka_reader_new(at->ctx, at->pool);
		break;
	}
	return 0;
}

static void attempt_describe(struct attempt *at)
{
	static const char *const types[] = { "postgresql", "mongodb", "generator", "discard" };
	struct status *st = at->ctx->status;

	status_lock(st);
	snprintf(st->source.type, sizeof(st->source.type), "%s", types[at->ctx->cfg->source.type]);
	snprintf(st->target.type, sizeof(st->target.type), "%s", types[at->ctx->cfg->target.type]);
	if (at->src) {
		snprintf(st->source.identity, sizeof(st->source.identity), "%s", at->src->identity);
		st->source.connected = true;
		st->source.last_contact = wall_now();
	}
	if (at->sink) {
		snprintf(st->target.identity, sizeof(st->target.identity), "%s", at->sink->identity);
		st->target.connected = true;
		st->target.last_contact = wall_now();
	}
	status_unlock(st);
}

static struct state *attempt_state(const struct attempt *at)
{
	return at->role == ROLE_READER ? at->writer->state : at->sink->state;
}

/* what the target holds of the stream */
static int attempt_claim(struct attempt *at, struct error *err)
{
	if (at->sink->ops->claim(at->sink, NULL, at->src->identity, &at->progress, err) < 0)
		return -1;
	at->start = (struct source_start){
		.resume = at->progress.resume,
		.position = at->progress.position,
		.identity = at->progress.identity,
	};
	return 0;
}

/* what the log holds of it; from here on nobody else's records count */
static int attempt_open_log(struct attempt *at, struct error *err)
{
	struct transport_tail tail = { .identity = "" };

	at->writer->lookup = at->src->lookup;
	if (at->writer->ops->open(at->writer, at->src->identity, &tail, err) < 0)
		return -1;
	resume_box_set(&at->tail, tail.resume);
	at->start = (struct source_start){
		.resume = resume_box_get(&at->tail),
		.position = tail.position,
		.identity = tail.identity,
	};
	return 0;
}

/* steps 1 to 3; returns 0, SOURCE_STANDBY, SOURCE_FRESH or negative */
static int attempt_connect(struct attempt *at, const char **stage, struct error *err)
{
	int r;

	*stage = "source";
	r = attempt_make(at, err);
	if (r == 0 && at->src)
		r = at->src->ops->connect(at->src, err);
	if (r != 0)
		return r;
	*stage = "sink";
	if (at->sink && at->sink->ops->connect(at->sink, err) < 0)
		return -1;
	if (at->role == ROLE_WHOLE && attempt_claim(at, err) < 0)
		return -1;
	*stage = "transport";
	if (at->role == ROLE_READER && attempt_open_log(at, err) < 0)
		return -1;
	if (at->role == ROLE_APPLIER)
		at->reader->catalog = at->sink->catalog;
	if (at->role == ROLE_APPLIER && at->reader->ops->open(at->reader, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("pipeline.claimed"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.claimed");
	attempt_describe(at);
	log_info(at->ctx->log, "connected", "connected", "source=%s target=%s epoch=%llu",
		at->src ? at->src->identity : "log", at->sink ? at->sink->identity : "log",
		(unsigned long long)at->progress.epoch);
	*stage = "source";
	return at->src ? at->src->ops->prepare(at->src, attempt_state(at), &at->start, err) : 0;
}

/* the slot's point is where the stream begins: stored before anything else is */
static int attempt_begin_at(struct attempt *at, struct resume resume, struct error *err)
{
	if (at->start.resume.len || !resume.len)
		return 0;
	if (at->role == ROLE_WHOLE &&
		at->sink->ops->store_resume(at->sink, &(struct sink_point){ .resume = resume }, err) < 0)
		return -1;
	resume_box_set(&at->tail, resume);
	at->start.resume = at->progress.resume = resume_box_get(&at->tail);
	return 0;
}

/* step 4; returns 0 = the stream can begin */
static int attempt_snapshot(struct attempt *at, struct error *err)
{
	struct buf point = BUF_INIT;
	struct snapshot_to to = { .state = attempt_state(at) };
	int r;

	to.sink = at->role == ROLE_READER ? at->writer->snapshot : at->sink->snapshot;
	if (!at->src->snapshot || !to.sink || !to.state)
		return error_set(err, ERROR_CONFIG, "SNAPSHOT-NONE",
			"a snapshot is due, but source or target cannot take one: set snapshot.mode: none");
	r = state_get(to.state, "slot/point", &point, err);
	buf_fini(&point);
	if (r < 0)
		return r;
	r = snapshot_run(at->ctx, at->src, &to, r == STATE_MISSING, err);
	if (r < 0 || context_stopping(at->ctx))
		return r;
	r = attempt_begin_at(at, at->src->snapshot->resume, err);
	if (r < 0)
		return r;
	if (at->ctx->cfg->snapshot.mode == SNAPSHOT_ONLY)
		return at->sink ? snapshot_post(at->ctx, at->src, at->sink, err) : 0;
	r = at->src->ops->prepare(at->src, to.state, &at->start, err);
	if (r == SOURCE_FRESH)
		return error_set(
			err, ERROR_BUG, "SNAPSHOT-AGAIN", "a finished snapshot is said to be due again");
	return r;
}

/* once the stream has passed every start point, what had to wait for it is built */
static void attempt_post(struct attempt *at)
{
	struct error err = ERROR_INIT;

	if (atomic_load(&at->post_done) || at->role != ROLE_WHOLE ||
		atomic_load(&at->passed) < at->src->start_point_max)
		return;
	if (at->sink->snapshot && at->src->snapshot && snapshot_post(at->ctx, at->src, at->sink, &err) < 0)
		attempt_fail(at, "snapshot", &err);
	else
		atomic_store(&at->post_done, true);
}

int attempt_mark_source(struct attempt *at, uint64_t *ret_major, struct error *err)
{
	struct source *src;
	int r;

	*ret_major = 0;
	if (at->ctx->cfg->source.type != PEER_POSTGRESQL || !*at->ctx->cfg->source.uri)
		return 0;
	src = source_postgres_new(at->ctx);
	r = src->ops->barrier(src, ret_major, err);
	if (r == 0)
		snprintf(at->marked, sizeof(at->marked), "%s", src->identity);
	source_free(src);
	return r;
}

/* whether what this run was to do is done */
static bool attempt_reached(struct attempt *at)
{
	uint64_t until = atomic_load(at->until);

	if (atomic_load(&at->reached))
		return true;
	/* an applier by itself shares the partitions with others: its monitor knows */
	return at->opt->role != ROLE_APPLIER && until && atomic_load(&at->durable) >= until &&
	       atomic_load(&at->post_done);
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
		eventfd_t n;

		poll(fds, draining ? 1 : 2, TURN_MS);
		if (fds[0].revents)
			eventfd_read(at->done_fd, &n);
		attempt_post(at);
		if (draining)
			continue;
		if (context_stopping(at->ctx))
			outcome = ATTEMPT_STOPPED;
		else if (!attempt_reached(at))
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
	if (at->role == ROLE_APPLIER)
		status_state(st, STATE_STANDBY, "PARTITION", "waiting for a partition", "");
	else
		status_state(st, STATE_RUNNING, "", "", "");
	log_info(at->ctx->log, "streaming", "streaming has begun", "epoch=%llu",
		(unsigned long long)at->progress.epoch);
}

/* step 5 */
static enum attempt_outcome attempt_stream(struct attempt *at)
{
	pthread_t reader, applier;
	bool reads = at->role != ROLE_APPLIER, applies = at->role != ROLE_READER;
	enum attempt_outcome outcome;

	atomic_store(&at->passed, at->start.resume.len ? at->format->major(at->start.resume) : 0);
	atomic_store(&at->durable, atomic_load(&at->passed));
	atomic_store(&at->sent, atomic_load(&at->passed));
	atomic_store(&at->reader_ended, !reads);
	atomic_store(&at->applier_ended, !applies);
	atomic_store(&at->post_done, at->role == ROLE_READER);
	attempt_streaming(at);
	if (reads && pthread_create(&reader, NULL, reader_main, at))
		abort();
	if (applies && pthread_create(&applier, NULL, applier_main, at))
		abort();
	outcome = attempt_wait(at);
	attempt_wake(at);
	if (reads)
		pthread_join(reader, NULL);
	attempt_wake(at);
	if (applies)
		pthread_join(applier, NULL);
	return attempt_aborted(at) ? ATTEMPT_FAILED : outcome;
}

/* steps 4 and 5, with the monitor beside them */
static enum attempt_outcome attempt_work(struct attempt *at, bool fresh)
{
	struct error err = ERROR_INIT;

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
	if (at->src && at->src->ops->start(at->src, &at->start, at->reader_fd, &err) < 0) {
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
	pthread_t monitor, announcer;
	int r = attempt_connect(at, &stage, &err);
	bool announces;

	if (r == SOURCE_STANDBY)
		return ATTEMPT_STANDBY;
	if (r < 0) {
		attempt_fail(at, stage, &err);
		return ATTEMPT_FAILED;
	}
	if (pthread_create(&monitor, NULL, monitor_main, at))
		abort();
	announces = at->role == ROLE_APPLIER && at->sink->ops->announce;
	if (announces && pthread_create(&announcer, NULL, announce_main, at))
		abort();
	outcome = attempt_work(at, r == SOURCE_FRESH);
	atomic_store(&at->monitor_stop, true);
	pthread_join(monitor, NULL);
	if (announces)
		pthread_join(announcer, NULL);
	return outcome;
}

static void attempt_free(struct attempt *at)
{
	struct status *st = at->ctx->status;

	if (at->writer)
		at->writer->ops->free(at->writer);
	if (at->reader)
		at->reader->ops->free(at->reader);
	transform_chain_free(at->transforms);
	status_lock(st);
	if (at->src)
		st->source.connected = false;
	if (at->sink)
		st->target.connected = false;
	status_unlock(st);
	source_free(at->src);
	sink_free(at->sink);
	block_pool_free(at->pool);
	resume_box_fini(&at->tail);
	close(at->reader_fd);
	close(at->done_fd);
	pthread_mutex_destroy(&at->lock);
}

enum attempt_outcome attempt_run(struct attempt *at)
{
	/* the rest of the budget is the applier's: parameters, COPY data, libpq's buffers */
	size_t pool_bytes = at->ctx->cfg->limits.batch_memory_bytes / 3 * 2;
	enum attempt_outcome outcome;

	pthread_mutex_init(&at->lock, NULL);
	at->reader_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	at->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (at->reader_fd < 0 || at->done_fd < 0)
		abort(); /* no file descriptors left: a restart is the way out */
	at->pool = block_pool_new(pool_bytes, at->reader_fd);
	outcome = attempt_body(at);
	attempt_free(at);
	return outcome;
}
