/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service: `sluice run`, `reader` and `applier`. The calling thread becomes the supervisor: it makes source, transport and sink,
 * runs them, and is the only place that retries.
 */

#include <sluice/context.h>

enum pipeline_role {
	ROLE_WHOLE,   /* both halves joined in process */
	ROLE_READER,  /* source → log */
	ROLE_APPLIER, /* log → target */
};

struct pipeline_options {
	enum pipeline_role role; /* WHOLE with a log between the halves: both, each supervised by itself */
	bool until_synced; /* end once everything committed at the source at the start is durably applied */
	const char *until; /* the same for a source position ("0/5A3F120"); NULL = none */
	bool no_standby;   /* exit 81 instead of waiting for the lease */
	int wake_fd;	   /* eventfd that the main thread writes together with *ctx->stop; borrowed */
	/* asked every second while the limits hold: may a cutover begin? Decides between the phases in-sync and ready.
	 * Thread: the monitor's. NULL = never. */
	bool (*ready)(const struct context *ctx);
	/* called after a server refused our role, before the next attempt: reads passwords anew, since they rotate. Nobody
	 * else uses the URIs of the config then. Thread: the supervisor's. NULL = they stay. */
	void (*reload)(void *arg);
	void *reload_arg;
};

/**
 * pipeline_run() - runs until ctx->stop, an end point, or a final error.
 * Thread: one of its own (main keeps signals and HTTP). Blocks: as long as the service lives.
 * Return: the process exit code; *err tells why when it is not 0.
 */
int pipeline_run(struct context *ctx, const struct pipeline_options *opt, struct error *err);

struct source;
struct sink;
struct snapshot_sink;
struct state;

/* where a copy goes: to a target, or into a log */
struct snapshot_to {
	struct snapshot_sink *sink;
	struct state *state;
};

#define SNAPSHOT_STOPPED                                                                                     \
	1 /* snapshot_run, snapshot_post: ctx->stop was set before the end; the next run goes on */

/**
 * snapshot_run() - copies everything the state does not mark done: publication and slot (first), schema, N workers,
 * keys, sequences, ANALYZE, and at last the mark "snapshot/done". Called by the supervisor between source prepare()
 * and start(). Where tables have different start points, only primary keys are built here: then snapshot_post() is due
 * once the stream has passed the highest start point.
 * Thread: the supervisor's; starts and joins its own workers. Blocks: as long as the copy takes; ctx->stop ends it
 * within about a second. Return: 0, SNAPSHOT_STOPPED, negative.
 */
int snapshot_run(
	struct context *ctx, struct source *src, const struct snapshot_to *to, bool first, struct error *err);

/** snapshot_post_due() - 1 when unique, exclusion and foreign keys are still to be built ("snapshot/dump" is stored,
 * "snapshot/post" is not), 0 when not, negative. Thread: the one that may use sink->state. */
int snapshot_post_due(struct sink *sink, struct error *err);

/** snapshot_post() - builds them; resumable; nothing to do is fine. Uses sessions of its own (the applier may go on).
 * Thread: any one. Blocks: as long as it takes; ctx->stop ends it. Return: 0, SNAPSHOT_STOPPED, negative. */
int snapshot_post(struct context *ctx, struct source *src, struct sink *sink, struct error *err);

/*
 * A copy that comes through a log: the applier's part beside applying its rows and marks. Resumable at every step; several
 * appliers may be here at once. Thread: the applier's, or any one while nothing is applied. ctx->stop ends them.
 */

/** snapshot_log_before() - before the first mark that this process applies: makes the target's tables where it is asked to,
 * and checks that all fit and hold nobody's rows. Blocks: as long as DDL takes.
 * Return: 0, SNAPSHOT_STOPPED, negative (CONFIG, SCHEMA: as the sink's plan()). */
int snapshot_log_before(struct context *ctx, struct sink *sink, struct error *err);

#define SNAPSHOT_LOG_WAITING 2 /* marks of other partitions are still to be applied, here or elsewhere */

/**
 * snapshot_log_behind() - once all marks are applied: keys, indexes, sequences, ANALYZE, "snapshot/done". To be called
 * behind an applied FINISHED mark, and at the start before anything is applied; then it mostly finds nothing to do.
 * Blocks: as long as the indexes take.
 * @format: the source's. @ret_post_at: not 0: tables have different start points, and snapshot_post() is due once the stream
 * has passed this one. Return: 0 = done, or no copy has come to its end; SNAPSHOT_LOG_WAITING, SNAPSHOT_STOPPED, negative.
 */
struct source_format;
int snapshot_log_behind(struct context *ctx, struct sink *sink, const struct source_format *format,
	uint64_t *ret_post_at, struct error *err);

/** snapshot_log_is_complete() - 1 = a copy was applied whole, and nothing of it is left to be built; 0 = not; negative. */
int snapshot_log_is_complete(struct sink *sink, struct error *err);

/** snapshot_log_prepare(), snapshot_log_complete() - the same with a store at hand: the log's, only read. */
int snapshot_log_prepare(struct context *ctx, struct sink *sink, struct state *log, struct error *err);
int snapshot_log_complete(struct context *ctx, struct sink *sink, struct state *log,
	const struct source_format *format, uint64_t *ret_post_at, struct error *err);
