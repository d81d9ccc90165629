/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One step at a time in a thread of its own. Each is resumable, so one that was stopped or killed costs time only.
 *
 * Where several appliers share the partitions, each looks when it has applied the last mark of one; whoever comes last finds all
 * there. The others look again every LOOK_MS, since that one may die before it has done anything. Several may come to the same step:
 * the sink lets one after the other in, and who comes later finds it done.
 *
 * In layout tables the rows of one table may be ahead of those of another, or of another partition, that they refer to, and a
 * foreign key cannot be built at such a moment. What is missing may be this applier's own to apply: so it goes on applying, and
 * tries again after LOOK_MS.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "builder.h"

#define LOOK_MS 5000

static int build(struct builder *builder)
{
	struct attempt *at = builder->at;
	int r = 0;

	switch (builder->step) {
	case BUILDER_BEHIND:
		r = snapshot_log_behind(
			&builder->ctx, at->sink, at->format, &builder->result_post_at, &builder->err);
		break;
	case BUILDER_POST:
		r = snapshot_post(&builder->ctx, NULL, at->sink, &builder->err);
		break;
	}
	if (r != 0)
		return r;
	r = snapshot_log_is_complete(at->sink, &builder->err);
	builder->complete = r > 0;
	return r < 0 ? r : 0;
}

static void *builder_main(void *arg)
{
	struct builder *builder = arg;

	builder->result = build(builder);
	atomic_store(&builder->done, true);
	builder->at->reader->ops->wake(builder->at->reader);
	return NULL;
}

static void begin(struct builder *builder, enum builder_step step)
{
	builder->step = step;
	builder->result_post_at = 0;
	builder->complete = false;
	builder->err = ERROR_INIT;
	builder->ctx = *builder->at->ctx;
	builder->ctx.stop = &builder->stop;
	atomic_store(&builder->stop, false);
	atomic_store(&builder->done, false);
	builder->running = true;
	if (pthread_create(&builder->thread, NULL, builder_main, builder))
		abort();
}

static void look_in(struct builder *builder, int64_t ms)
{
	builder->due = true;
	builder->due_at = mono_add_ms(mono_now(), ms);
	atomic_store(&builder->at->post_done, false);
}

void builder_look(struct builder *builder, struct attempt *at)
{
	builder->at = at;
	look_in(builder, 0);
}

bool builder_is_due(const struct builder *builder)
{
	return builder->due && !builder->running && mono_until_ms(builder->due_at, mono_now()) == 0;
}

/* a key that refers to rows which are not applied yet */
static bool must_wait(const struct builder *builder)
{
	return builder->result < 0 && !strcmp(builder->err.code, "PG-23503") &&
	       builder->ctx.cfg->transport.kafka.layout == LAYOUT_TABLES;
}

/* The partitions went to another applier while it was at work. That ends no rule of ours: where one was ended, the next transaction
 * that applies something finds out. Whoever has a partition then looks again. */
static bool was_interrupted(const struct builder *builder)
{
	return builder->result < 0 && !strcmp(builder->err.code, "FENCED") &&
	       builder->ctx.cfg->transport.type == TRANSPORT_KAFKA;
}

static void wait_for_rows(struct builder *builder)
{
	struct context *ctx = builder->at->ctx;

	status_alarm_raise(ctx->status, "SNAPSHOT-FK-WAITS",
		"if it stays, look for rows of the source that break the key, or for an applier that is stopped",
		"tried again until the rows it refers to are applied: %.180s", builder->err.message);
	log_info(ctx->log, "snapshot-wait", "a foreign key waits for rows that are not applied yet",
		"again_ms=%d", LOOK_MS);
	look_in(builder, LOOK_MS);
}

/* a step has ended: what is left of the copy? */
static int ended(struct builder *builder, struct error *err)
{
	struct attempt *at = builder->at;
	bool only = at->ctx->cfg->snapshot.mode == SNAPSHOT_ONLY;

	pthread_join(builder->thread, NULL);
	builder->running = false;
	if (must_wait(builder)) {
		wait_for_rows(builder);
		return 0;
	}
	if (was_interrupted(builder)) {
		log_info(at->ctx->log, "snapshot-handed-over", "partitions moved while keys were built",
			"again_ms=%d", LOOK_MS);
		look_in(builder, LOOK_MS);
		return 0;
	}
	if (builder->result < 0) {
		*err = builder->err;
		return -1;
	}
	if (builder->result == SNAPSHOT_STOPPED)
		return 0;
	if (builder->result == SNAPSHOT_LOG_WAITING) {
		look_in(builder, LOOK_MS);
		return 0;
	}
	status_alarm_clear(at->ctx->status, "SNAPSHOT-FK-WAITS");
	builder->post_at = builder->result_post_at;
	/* no stream follows that could pass a start point */
	if (only && builder->post_at)
		builder->post_at = 1;
	atomic_store(&at->post_done, !builder->post_at && !builder->due);
	if (!only || !builder->complete)
		return 0;
	log_info(at->ctx->log, "end-point", "the copy is applied, and nothing else is wanted", "of=%s",
		"snapshot");
	atomic_store(&at->reached, true);
	eventfd_write(at->done_fd, 1);
	return 0;
}

int builder_turn(struct builder *builder, bool may_begin, uint64_t passed, struct error *err)
{
	if (builder->running && atomic_load(&builder->done) && ended(builder, err) < 0)
		return -1;
	if (!builder->running && may_begin && builder_is_due(builder)) {
		builder->due = false;
		begin(builder, BUILDER_BEHIND);
	} else if (!builder->running && may_begin && builder->post_at &&
		   (builder->post_at == 1 || passed >= builder->post_at)) {
		builder->post_at = 0;
		begin(builder, BUILDER_POST);
	}
	return builder->running;
}

void builder_stop(struct builder *builder)
{
	if (!builder->running)
		return;
	atomic_store(&builder->stop, true);
	pthread_join(builder->thread, NULL);
	builder->running = false;
}
