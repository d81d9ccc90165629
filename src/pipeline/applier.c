/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The applier's thread: transport → transforms → groups → sink, and what became durable back to the transport.
 *
 * Invariants:
 *   1. A group is applied in one target transaction together with its progress; a transaction larger than the
 *      memory is applied in parts of one target transaction, invisible until its END.
 *   2. A batch is acked only after a commit that covers it was made durable, and after the resume point of its last
 *      END or HEARTBEAT was stored: confirmed ≤ stored ≤ applied and durable.
 *   3. Commits do not wait for the target's disk; every DURABLE_MS one of them does, and covers those before it.
 *      While idle a flush of its own takes its place.
 *   4. Heartbeats alone move progress at most every HEARTBEAT_MS, so an idle stream costs next to nothing.
 */

#include <stdlib.h>
#include <sys/eventfd.h>

#include <sluice/fault.h>

#include "attempt.h"
#include "pending.h"

#define DURABLE_MS	200
#define HEARTBEAT_MS	3000
#define IDLE_MS		10000
#define STATUS_MS	100
#define RECV_TIMEOUT_MS 200
#define GROUP_MAX_BYTES ((size_t)8 * 1024 * 1024)

struct applier {
	struct attempt *at;
	struct pending pending;
	size_t group_bytes;	/* receive no more than this before applying */
	bool skipping;		/* still below progress */
	bool in_skipped;	/* inside a transaction that is skipped */
	bool open;		/* a target transaction is open: its END has not come yet */
	bool ended;		/* the transport has no more */
	uint64_t committed_seq; /* newest batch wholly committed */
	uint64_t acked_seq;
	bool unflushed;		     /* commits that are not known durable */
	struct mono unflushed_since; /* of the oldest of them */
	struct mono last_store;	     /* progress moved */
	struct mono last_idle, last_status;
	uint64_t committed_major;
	struct resume_box resume; /* newest stored */
	struct wall last_commit;  /* of the last transaction applied, the source's clock */
};

/* only this thread writes it; an idle heartbeat may have moved it beyond what is stored */
static void applier_passed(struct attempt *at, uint64_t major)
{
	if (major > atomic_load(&at->passed))
		atomic_store(&at->passed, major);
}

static int applier_ack(struct applier *ap, struct error *err)
{
	struct attempt *at = ap->at;

	ap->unflushed = false;
	atomic_store(&at->durable, ap->committed_major);
	if (ap->committed_seq > ap->acked_seq) {
		ap->acked_seq = ap->committed_seq;
		atomic_store(&at->progressed, true);
		return at->transport->ops->ack(at->transport, ap->acked_seq, err);
	}
	return 0;
}

static int applier_flush(struct applier *ap, struct error *err)
{
	if (SLUICE_FAULT_POINT("pipeline.applier.flush"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.flush");
	if (ap->at->sink->ops->flush(ap->at->sink, err) < 0)
		return -1;
	return applier_ack(ap, err);
}

static void applier_count(struct applier *ap, const struct apply_result *res, struct mono began)
{
	struct metrics *metrics = ap->at->ctx->metrics;

	metric_add(&metrics->applied_insert, res->inserts);
	metric_add(&metrics->applied_update, res->updates);
	metric_add(&metrics->applied_delete, res->deletes);
	metric_add(&metrics->applied_truncate, res->truncates);
	metric_add(&metrics->applied_transactions, res->transactions);
	metric_add(&metrics->applied_bytes, res->bytes);
	metric_add(&metrics->missing_rows, res->missing_rows);
	metric_add(&metrics->conflicts, res->conflicts);
	metric_add(&metrics->dead_letters, res->dead_letters);
	histogram_add_us(&metrics->apply_batch_us, (uint64_t)mono_diff_us(mono_now(), began));
	histogram_add_n(&metrics->apply_batch_records, res->records);
	if (res->transactions && res->commit_time.us) {
		int64_t us = wall_now().us + atomic_load(&ap->at->clock_offset_us) - res->commit_time.us;

		histogram_add_us(&metrics->commit_to_apply_us, us > 0 ? (uint64_t)us : 0);
	}
}

static void applier_publish(struct applier *ap, bool now)
{
	struct attempt *at = ap->at;
	struct status *st = at->ctx->status;
	struct mono t = mono_now();

	applier_passed(at, ap->committed_major);
	atomic_store(&at->pending_us, pending_oldest(&ap->pending).us);
	if (!now && mono_diff_us(t, ap->last_status) < STATUS_MS * 1000)
		return;
	ap->last_status = t;
	status_lock(st);
	at->src->format(resume_box_get(&ap->resume), st->applied_position, sizeof(st->applied_position));
	if (ap->last_commit.us)
		st->applied_commit_time = ap->last_commit;
	st->target.last_contact = wall_now();
	status_unlock(st);
}

/* what a commit means for the bookkeeping */
static int applier_committed(struct applier *ap, const struct apply_group *group,
	const struct apply_result *res, struct error *err)
{
	struct mono now = mono_now();
	uint64_t seq;

	if (res->resume.len) {
		resume_box_set(&ap->resume, res->resume);
		ap->committed_major = ap->at->src->major(res->resume);
	}
	if (res->transactions)
		ap->last_commit = res->commit_time;
	ap->last_store = now;
	seq = pending_consume(&ap->pending, group);
	if (seq)
		ap->committed_seq = seq;
	if (!ap->unflushed)
		ap->unflushed_since = now;
	ap->unflushed = true;
	return group->durable ? applier_ack(ap, err) : 0;
}

static int applier_apply(struct applier *ap, struct apply_group *group, struct error *err)
{
	struct sink *sink = ap->at->sink;
	struct apply_result res = { 0 };
	struct mono began = mono_now();

	group->durable =
		group->ends && ap->unflushed && mono_diff_us(began, ap->unflushed_since) >= DURABLE_MS * 1000;
	if (SLUICE_FAULT_POINT("pipeline.applier.apply"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.apply");
	if (sink->ops->apply(sink, group, &res, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("pipeline.applier.applied"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.applied");
	ap->last_idle = mono_now();
	applier_count(ap, &res, began);
	ap->open = !group->ends;
	if (!group->ends)
		pending_consume(&ap->pending, group);
	else if (applier_committed(ap, group, &res, err) < 0)
		return -1;
	applier_publish(ap, false);
	return 0;
}

/* heartbeats alone: all before them is applied; stored now and then, or at once when commits wait to be confirmed */
static int applier_heartbeat(struct applier *ap, const struct apply_group *group, bool now, struct error *err)
{
	const struct span *last = &group->spans[group->n_spans - 1];
	struct resume resume = last->batch->records[last->to - 1].heartbeat->resume;
	struct apply_result res = { .resume = resume };
	uint64_t major = ap->at->src->major(resume);

	applier_passed(ap->at, major);
	if (!now && mono_diff_us(mono_now(), ap->last_store) < HEARTBEAT_MS * 1000)
		return 0;
	if (ap->at->sink->ops->store_resume(ap->at->sink, resume, err) < 0)
		return -1;
	ap->last_idle = mono_now();
	if (applier_committed(ap, group, &res, err) < 0 || applier_ack(ap, err) < 0)
		return -1;
	applier_publish(ap, false);
	return 0;
}

/* takes what the transport has, up to a group's size */
static int applier_receive(struct applier *ap, int timeout_ms, struct error *err)
{
	struct attempt *at = ap->at;

	while (!ap->ended && ap->pending.n < PENDING_MAX_BATCHES && ap->pending.bytes < ap->group_bytes) {
		struct batch *batch = NULL;
		int r = at->transport->ops->recv(at->transport, timeout_ms, &batch, err);

		if (r < 0)
			return r;
		if (r == TRANSPORT_END)
			ap->ended = true;
		if (r != 0)
			break;
		r = transform_chain_apply(at->transforms, batch, err);
		if (r < 0) {
			batch_free(batch);
			return r;
		}
		pending_add(&ap->pending, batch);
		timeout_ms = 0;
	}
	if (ap->skipping && ap->pending.n) {
		uint64_t skipped = 0;

		ap->skipping = !pending_skip(&ap->pending, at->applied_at_start, &ap->in_skipped, &skipped);
		metric_add(&at->ctx->metrics->duplicates_skipped, skipped);
	}
	return 0;
}

/* until the next thing that has to be done without a batch coming */
static int applier_timeout(const struct applier *ap)
{
	int ms = RECV_TIMEOUT_MS;

	if (ap->unflushed && !ap->open)
		ms = mono_until_ms(mono_add_ms(ap->unflushed_since, DURABLE_MS), mono_now());
	return ms < RECV_TIMEOUT_MS ? ms : RECV_TIMEOUT_MS;
}

static int applier_turn(struct applier *ap, struct error *err)
{
	struct mono now;
	struct apply_group group;
	bool full;

	if (applier_receive(ap, applier_timeout(ap), err) < 0)
		return -1;
	full = ap->pending.bytes >= ap->group_bytes || ap->pending.n == PENDING_MAX_BATCHES;
	if (pending_group(&ap->pending, full || ap->open, &group)) {
		int r = !ap->open && pending_is_idle(&group) ? applier_heartbeat(ap, &group, full, err)
							     : applier_apply(ap, &group, err);

		if (r < 0)
			return r;
	}
	now = mono_now();
	if (ap->unflushed && !ap->open && mono_diff_us(now, ap->unflushed_since) >= DURABLE_MS * 1000)
		return applier_flush(ap, err);
	if (mono_diff_us(now, ap->last_idle) >= IDLE_MS * 1000) {
		ap->last_idle = now;
		applier_publish(ap, true);
		return ap->at->sink->ops->idle(ap->at->sink, err);
	}
	return 0;
}

/* the transport has ended: what is whole is applied, stored and made durable; a part without END is left */
static int applier_finish(struct applier *ap, struct error *err)
{
	struct apply_group group;

	if (ap->open)
		return 0;
	if (pending_group(&ap->pending, false, &group)) {
		int r = pending_is_idle(&group) ? applier_heartbeat(ap, &group, true, err)
						: applier_apply(ap, &group, err);

		if (r < 0)
			return r;
	}
	if (ap->unflushed && applier_flush(ap, err) < 0)
		return -1;
	applier_publish(ap, true);
	return 0;
}

void *applier_main(void *arg)
{
	struct attempt *at = arg;
	struct applier *ap = calloc(1, sizeof(*ap));
	struct error err = ERROR_INIT;
	size_t share = at->ctx->cfg->limits.batch_memory_bytes / 6;
	int r = 0;

	if (!ap)
		abort();
	ap->at = at;
	ap->group_bytes = share < GROUP_MAX_BYTES ? share : GROUP_MAX_BYTES;
	ap->skipping = at->applied_at_start.major != 0;
	ap->last_store = ap->last_idle = mono_now();
	if (at->progress.resume.len) {
		resume_box_set(&ap->resume, at->progress.resume);
		ap->committed_major = at->src->major(at->progress.resume);
	}
	applier_publish(ap, true);
	while (r >= 0 && !attempt_aborted(at) && !ap->ended)
		r = applier_turn(ap, &err);
	if (r >= 0 && !attempt_aborted(at))
		r = applier_finish(ap, &err);
	if (r < 0)
		attempt_fail(at, "sink", &err);
	pending_clear(&ap->pending);
	resume_box_fini(&ap->resume);
	free(ap);
	atomic_store(&at->applier_ended, true);
	eventfd_write(at->done_fd, 1);
	return NULL;
}
