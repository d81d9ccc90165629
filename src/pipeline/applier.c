/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The applier's thread: transport → transforms → groups → sink, and what became durable back to the transport.
 *
 * Invariants:
 *   1. A group is applied in one target transaction together with its progress; a transaction larger than the
 *      memory is applied in parts of one target transaction, invisible until its END.
 *   2. A batch is acked once a commit that covers it, and the resume point of its last END or HEARTBEAT, are durable.
 *   3. Commits do not wait for the target's disk; every DURABLE_MS the sink is asked to flush what has been committed,
 *      beside the applying, and what is acked then is what had been committed when that flush began.
 *   4. A group is of one partition. A partition is taken on by claiming its progress and given back by rolling back what
 *      is open of it; without a log there is one lane from the beginning, claimed by the supervisor.
 *   5. While keys and indexes of a copy are built nothing is applied, and no batch is taken from the log.
 *   6. Heartbeats alone move progress at most every HEARTBEAT_MS, so an idle stream costs next to nothing.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <sluice/fault.h>

#include "applier.h"

#define DURABLE_MS	200
#define HEARTBEAT_MS	3000
#define IDLE_MS		10000
#define RECV_TIMEOUT_MS 200
#define FLUSH_POLL_MS	5 /* how often a flush is looked at while nothing else comes */
#define GROUP_MAX_BYTES ((size_t)8 * 1024 * 1024)

/* every batch up to this one is wholly committed */
static uint64_t applier_settled(const struct applier *ap)
{
	uint64_t seq = ap->received_seq;

	for (const struct lane *lane = ap->lanes; lane; lane = lane->next) {
		if (lane->pending.n && lane->pending.batches[0]->seq <= seq)
			seq = lane->pending.batches[0]->seq - 1;
	}
	return seq;
}

/* everything up to seq and major is durable */
static int applier_ack(struct applier *ap, uint64_t seq, uint64_t major, struct error *err)
{
	struct attempt *at = ap->at;

	if (major > atomic_load(&at->durable))
		atomic_store(&at->durable, major);
	if (seq > ap->acked_seq) {
		ap->acked_seq = seq;
		atomic_store(&at->progressed, true);
		return at->reader->ops->ack(at->reader, seq, err);
	}
	return 0;
}

static void applier_flush_begin(struct applier *ap)
{
	ap->flushing = true;
	ap->flushing_seq = applier_settled(ap);
	ap->flushing_major = applier_passed(ap, true);
	ap->unflushed = false;
}

/* begins a flush when one is due, looks whether it is done; wait: everything committed is durable at the end */
static int applier_flush(struct applier *ap, bool wait, struct error *err)
{
	struct sink *sink = ap->at->sink;
	int r;

	while (ap->flushing || ap->unflushed) {
		if (!ap->flushing && !wait &&
			mono_diff_us(mono_now(), ap->unflushed_since) < DURABLE_MS * 1000)
			return 0;
		if (!ap->flushing)
			applier_flush_begin(ap);
		if (SLUICE_FAULT_POINT("pipeline.applier.flush"))
			return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.flush");
		r = sink->ops->flush(sink, wait, err);
		if (r != 0)
			return r < 0 ? r : 0;
		ap->flushing = false;
		/* what was only heard of since then needs no flush */
		if (applier_ack(ap, ap->flushing_seq,
			    ap->unflushed ? ap->flushing_major : applier_passed(ap, true), err) < 0)
			return -1;
	}
	return 0;
}

/* what a commit means for the bookkeeping */
static void applier_committed(struct applier *ap, struct lane *lane, const struct apply_group *group,
	const struct apply_result *res)
{
	lane_committed(lane, group, res, ap->at->format);
	if (!ap->unflushed)
		ap->unflushed_since = mono_now();
	ap->unflushed = true;
}

/* a step that a request to stop has ended is no failure, but what follows it cannot be done */
static int applier_stopped(const struct applier *ap, struct error *err)
{
	return context_stopping(ap->at->ctx) ? error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped") : -1;
}

/* keys and indexes at the end of a copy. Return: 1 = being built, nothing may be applied; 0; negative */
static int applier_build(struct applier *ap, struct error *err)
{
	uint64_t passed = applier_shares(ap) ? atomic_load(&ap->at->passed) : applier_passed(ap, false);
	int r = builder_turn(&ap->builder, !ap->open && ap->lanes, passed, err);

	ap->at->reader->hold = r > 0;
	return r;
}

/* the log has told whose changes these are: progress remembers it, and nobody else's are taken from then on */
static int applier_identify(struct applier *ap, struct lane *lane, struct error *err)
{
	const char *identity = lane->pending.n ? lane->pending.batches[0]->identity : NULL;
	struct progress progress = { 0 };

	if (!identity || !*identity || strcmp(lane->identity, identity) == 0)
		return 0;
	if (ap->at->sink->ops->claim(ap->at->sink, lane->partition, identity, &progress, err) < 0)
		return -1;
	snprintf(lane->identity, sizeof(lane->identity), "%s", identity);
	applier_show_source(ap->at->ctx->status, lane);
	return 0;
}

static int applier_apply(
	struct applier *ap, struct lane *lane, const struct apply_group *group, struct error *err)
{
	struct sink *sink = ap->at->sink;
	struct apply_result res = { 0 };
	struct mono began = mono_now();
	int copy = lane->partition ? pending_copy_mark(group) : 0;

	if (copy && !ap->prepared && snapshot_log_before(ap->at->ctx, sink, err) != 0)
		return applier_stopped(ap, err);
	ap->prepared = ap->prepared || copy;
	if (SLUICE_FAULT_POINT("pipeline.applier.apply"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.apply");
	if (sink->ops->apply(sink, group, &res, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("pipeline.applier.applied"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.applied");
	ap->last_idle = mono_now();
	applier_count(ap, &res, began);
	lane->open = !group->ends;
	ap->open = lane->open ? lane : NULL;
	if (group->ends)
		applier_committed(ap, lane, group, &res);
	else
		pending_consume(&lane->pending, group);
	applier_publish(ap, false);
	if (copy == CHUNK_MARK_FINISHED)
		builder_look(&ap->builder, ap->at);
	return 0;
}

/* heartbeats alone: all before them is applied; stored now and then, or at once when commits wait to be confirmed */
static int applier_heartbeat(
	struct applier *ap, struct lane *lane, const struct apply_group *group, bool now, struct error *err)
{
	struct sink_point point = lane_point(lane, group);
	struct apply_result res = { .resume = point.resume };

	if (point.resume.len)
		lane_passed(lane, ap->at->format->major(point.resume));
	/* layout tables: news of the source alone, behind what is stored already */
	if (lane->partition && point.offset <= lane->offset) {
		lane_heard(lane, group, point.resume);
		applier_publish(ap, false);
		/* nothing was written that a flush would have to cover */
		return ap->unflushed || ap->flushing ? 0 : applier_ack(ap, 0, applier_passed(ap, true), err);
	}
	if (!now && mono_diff_us(mono_now(), lane->last_store) < HEARTBEAT_MS * 1000) {
		applier_publish(ap, false);
		return 0;
	}
	if (ap->at->sink->ops->store_resume(ap->at->sink, &point, err) < 0)
		return -1;
	ap->last_idle = mono_now();
	applier_committed(ap, lane, group, &res);
	/* stored with a commit that waited for the disk: all before it is durable, too */
	ap->unflushed = false;
	if (applier_ack(ap, applier_settled(ap), applier_passed(ap, true), err) < 0)
		return -1;
	applier_publish(ap, false);
	return 0;
}

static struct lane *applier_lane(const struct applier *ap, const struct partition *partition)
{
	struct lane *lane = ap->lanes;

	while (lane && lane->partition != partition)
		lane = lane->next;
	return lane;
}

static void applier_add(
	struct applier *ap, const struct partition *partition, const struct progress *progress)
{
	struct lane *lane = lane_new(partition, progress, ap->at->format);

	lane->next = ap->lanes;
	ap->lanes = lane;
	applier_publish(ap, true);
}

/* nothing of a partition is in work any more; what is open of it is rolled back */
static int applier_forget(struct applier *ap, const struct partition *partition, struct error *err)
{
	struct lane *lane = applier_lane(ap, partition);
	struct lane **at_lane = &ap->lanes;

	if (!lane)
		return 0;
	while (*at_lane != lane)
		at_lane = &(*at_lane)->next;
	*at_lane = lane->next;
	if (ap->open == lane)
		ap->open = NULL;
	lane_free(lane);
	return ap->at->sink->ops->release(ap->at->sink, partition, err);
}

/* a partition is ours: whoever had it before is ended, then it is read from where the target stands */
static int applier_take(struct applier *ap, const struct partition *partition, struct error *err)
{
	struct attempt *at = ap->at;
	struct progress progress = { 0 };

	if (SLUICE_FAULT_POINT("pipeline.applier.assigned"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.applier.assigned");
	/* the group may give it again without having taken it: it begins anew at what is stored */
	if (applier_forget(ap, partition, err) < 0 ||
		at->sink->ops->claim(at->sink, partition, "", &progress, err) < 0 ||
		at->reader->ops->seek(at->reader, partition, &progress, err) < 0)
		return -1;
	log_info(at->ctx->log, "assigned", "a partition is ours",
		"topic=%s partition=%d epoch=%llu offset=%lld", partition->topic, partition->id,
		(unsigned long long)progress.epoch, (long long)progress.offset);
	applier_add(ap, partition, &progress);
	applier_show_source(at->ctx->status, ap->lanes);
	/* a copy by Debezium is rows like all others */
	ap->looked = ap->looked || at->ctx->cfg->transport.kafka.events == EVENTS_DEBEZIUM;
	if (!ap->looked)
		builder_look(&ap->builder, at);
	ap->looked = true;
	status_state(at->ctx->status, STATE_RUNNING, "", "", "");
	return 0;
}

/* a partition is another's */
static int applier_give(struct applier *ap, const struct partition *partition, struct error *err)
{
	struct attempt *at = ap->at;

	if (applier_forget(ap, partition, err) < 0)
		return -1;
	log_info(at->ctx->log, "revoked", "a partition is not ours any more", "topic=%s partition=%d",
		partition->topic, partition->id);
	if (!ap->lanes)
		status_state(at->ctx->status, STATE_STANDBY, "PARTITION",
			"another instance of this name has the partitions", "");
	return at->reader->ops->drop(at->reader, partition, err);
}

/* takes a batch to its lane */
static int applier_put(struct applier *ap, struct batch *batch, struct error *err)
{
	struct attempt *at = ap->at;
	struct lane *lane = applier_lane(ap, batch->partition);
	uint64_t skipped = 0;

	if (!lane) {
		batch_free(batch);
		return error_set(err, ERROR_BUG, "APPLIER-LANE", "a batch of a partition that is not ours");
	}
	if (transform_chain_apply(at->transforms, batch, err) < 0) {
		batch_free(batch);
		return -1;
	}
	ap->received_seq = batch->seq;
	if (lane->partition)
		attempt_hear(at, batch);
	ap->pending_bytes += batch->arena.bytes;
	pending_add(&lane->pending, batch);
	if (lane->skipping) {
		lane->skipping =
			!pending_skip(&lane->pending, lane->applied_at_start, &lane->in_skipped, &skipped);
		metric_add(&at->ctx->metrics->duplicates_skipped, skipped);
	}
	return 0;
}

/* may parts be applied of what is larger than memory, while all other lanes wait? Shared partitions have two batches at most */
static bool applier_splits(const struct applier *ap, const struct lane *lane)
{
	return !ap->at->reader->spread || lane->pending.n == PENDING_MAX_BATCHES;
}

static bool applier_is_full(const struct applier *ap)
{
	if (ap->pending_bytes >= ap->group_bytes)
		return true;
	for (const struct lane *lane = ap->lanes; lane; lane = lane->next) {
		if (lane->pending.n == PENDING_MAX_BATCHES)
			return true;
	}
	return false;
}

/* takes what the transport has, up to a group's size */
static int applier_receive(struct applier *ap, int timeout_ms, struct error *err)
{
	struct attempt *at = ap->at;
	/* what comes slowly and never ends, heartbeats say, must not keep what has come already from its turn */
	struct mono until = mono_add_ms(mono_now(), RECV_TIMEOUT_MS);

	ap->pending_bytes = 0;
	for (const struct lane *lane = ap->lanes; lane; lane = lane->next) {
		if (lane->pending.has_end || applier_splits(ap, lane))
			ap->pending_bytes += lane->pending.bytes;
	}
	while (!ap->ended && !applier_is_full(ap) && mono_until_ms(until, mono_now()) > 0) {
		struct batch *batch = NULL;
		const struct partition *partition = NULL;
		int r = at->reader->ops->recv(at->reader, timeout_ms, &batch, &partition, err);

		if (r == TRANSPORT_END)
			ap->ended = true;
		if (r == TRANSPORT_IDLE || r == TRANSPORT_END)
			break;
		if (r == TRANSPORT_ASSIGNED)
			r = applier_take(ap, partition, err);
		else if (r == TRANSPORT_REVOKED)
			r = applier_give(ap, partition, err);
		else if (r == 0)
			r = applier_put(ap, batch, err);
		if (r < 0)
			return r;
		timeout_ms = 0;
	}
	return 0;
}

/* until the next thing that has to be done without a batch coming */
static int applier_timeout(const struct applier *ap)
{
	int ms = RECV_TIMEOUT_MS;

	if (ap->flushing || (ap->lanes && builder_is_due(&ap->builder)))
		return FLUSH_POLL_MS;
	if (ap->unflushed)
		ms = mono_until_ms(mono_add_ms(ap->unflushed_since, DURABLE_MS), mono_now());
	return ms < RECV_TIMEOUT_MS ? ms : RECV_TIMEOUT_MS;
}

/* one lane's turn; last: nothing more will come */
static int applier_lane_turn(struct applier *ap, struct lane *lane, bool full, bool last, struct error *err)
{
	struct apply_group group;

	if (!pending_group(
		    &lane->pending, !last && (lane->open || (full && applier_splits(ap, lane))), &group))
		return 0;
	if (!lane->open && applier_identify(ap, lane, err) < 0)
		return -1;
	if (!lane->open && pending_is_idle(&group))
		return applier_heartbeat(ap, lane, &group, full || last, err);
	return applier_apply(ap, lane, &group, err);
}

static int applier_turn(struct applier *ap, struct error *err)
{
	struct mono now;
	bool full;
	int r = 0;

	if (applier_receive(ap, applier_timeout(ap), err) < 0)
		return -1;
	full = applier_is_full(ap);
	r = ap->at->role == ROLE_APPLIER ? applier_build(ap, err) : 0;
	/* one target transaction at a time: an open one goes on until its END */
	for (struct lane *lane = ap->lanes; r == 0 && lane; lane = lane->next) {
		if (!ap->open || ap->open == lane)
			r = applier_lane_turn(ap, lane, full, false, err);
	}
	if (r == 0 && applier_shares(ap))
		r = applier_share(ap, err);
	if (r < 0 || applier_flush(ap, false, err) < 0)
		return -1;
	now = mono_now();
	if (mono_diff_us(now, ap->last_idle) >= IDLE_MS * 1000) {
		ap->last_idle = now;
		applier_publish(ap, true);
		return ap->at->sink->ops->idle(ap->at->sink, err);
	}
	return 0;
}

/* no more will come: what is whole is applied, stored and made durable; a part without END is left */
static int applier_finish(struct applier *ap, struct error *err)
{
	if (ap->open)
		return 0;
	for (struct lane *lane = ap->lanes; lane; lane = lane->next) {
		if (applier_lane_turn(ap, lane, false, true, err) < 0)
			return -1;
	}
	if (applier_flush(ap, true, err) < 0)
		return -1;
	applier_publish(ap, true);
	return 0;
}

/* with a reader in the same process the end comes through the transport; a log has none */
static bool applier_goes_on(const struct applier *ap)
{
	const struct attempt *at = ap->at;

	return !attempt_aborted(at) && !ap->ended && !(at->role == ROLE_APPLIER && attempt_draining(at));
}

static bool applier_meanwhile(void *arg)
{
	struct transport_reader *in = arg;

	return in->ops->prepare(in);
}

void *applier_main(void *arg)
{
	struct attempt *at = arg;
	struct applier ap = { .at = at };
	struct error err = ERROR_INIT;
	size_t share = at->ctx->cfg->limits.batch_memory_bytes / 6;
	int r = 0;

	ap.group_bytes = share < GROUP_MAX_BYTES ? share : GROUP_MAX_BYTES;
	ap.last_idle = mono_now();
	if (at->reader->ops->prepare)
		at->sink->meanwhile = (struct meanwhile){ applier_meanwhile, at->reader };
	if (at->role == ROLE_WHOLE)
		applier_add(&ap, NULL, &at->progress);
	while (r >= 0 && applier_goes_on(&ap))
		r = applier_turn(&ap, &err);
	builder_stop(&ap.builder);
	if (r >= 0 && !attempt_aborted(at))
		r = applier_finish(&ap, &err);
	at->sink->meanwhile = (struct meanwhile){ 0 };
	if (r < 0)
		attempt_fail(at, "sink", &err);
	while (ap.lanes) {
		struct lane *next = ap.lanes->next;

		lane_free(ap.lanes);
		ap.lanes = next;
	}
	atomic_store(&at->applier_ended, true);
	eventfd_write(at->done_fd, 1);
	return NULL;
}
