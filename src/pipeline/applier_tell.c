/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What the applier tells of itself: counters, its place in status, how far it is to the monitor, and to the other appliers that share
 * the partitions with it. Nothing here moves a record; what is told late or not at all costs knowledge, never data.
 */

#include <string.h>

#include "applier.h"

#define STATUS_MS  100
#define SHARE_MS   200
#define SHARE_MOST 64u

uint64_t applier_passed(const struct applier *ap, bool committed)
{
	uint64_t least = ap->lanes ? UINT64_MAX : 0;

	for (const struct lane *lane = ap->lanes; lane; lane = lane->next) {
		uint64_t major = committed ? lane->committed_major : lane->passed;

		least = major < least ? major : least;
	}
	return least;
}

void applier_count(struct applier *ap, const struct apply_result *res, struct mono began)
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

bool applier_shares(const struct applier *ap)
{
	return ap->at->reader->spread && ap->at->sink->ops->passed;
}

/* for people: position and commit time of the lane that is furthest behind */
static void applier_show(struct applier *ap)
{
	struct attempt *at = ap->at;
	struct status *st = at->ctx->status;
	const struct lane *last = ap->lanes;

	for (const struct lane *lane = ap->lanes; lane; lane = lane->next)
		last = lane->passed < last->passed ? lane : last;
	status_lock(st);
	if (applier_shares(ap))
		at->format->position((struct position){ atomic_load(&at->passed), 0 }, st->applied_position,
			sizeof(st->applied_position));
	else if (last)
		at->format->resume(
			resume_box_get(&last->resume), st->applied_position, sizeof(st->applied_position));
	if (last && last->last_commit.us)
		st->applied_commit_time = last->last_commit;
	st->target.last_contact = wall_now();
	status_unlock(st);
}

int applier_share(struct applier *ap, struct error *err)
{
	struct attempt *at = ap->at;
	struct sink_passed own[SHARE_MOST], all = { 0 };
	const struct lane *lane = ap->lanes;
	struct mono now = mono_now();

	if (ap->open || mono_diff_us(now, ap->last_passed) < SHARE_MS * 1000)
		return 0;
	ap->last_passed = now;
	do {
		uint32_t n = 0;

		for (; lane && n < SHARE_MOST; lane = lane->next)
			own[n++] = (struct sink_passed){ lane->partition, lane->passed, lane->clear, 0 };
		if (at->sink->ops->passed(at->sink, own, n, &all, err) < 0)
			return -1;
	} while (lane);
	all.major = attempt_whole(at, all.partitions, all.major);
	atomic_store(&at->passed, all.major);
	atomic_store(&at->passed_clear_us, all.major ? all.clear.us : 0);
	return 0;
}

void applier_publish(struct applier *ap, bool now)
{
	struct attempt *at = ap->at;
	struct mono t = mono_now();
	struct wall oldest = { 0 }, clear = { INT64_MAX };

	for (const struct lane *lane = ap->lanes; lane; lane = lane->next) {
		struct wall pending = pending_oldest(&lane->pending);

		if (pending.us && (!oldest.us || pending.us < oldest.us))
			oldest = pending;
		if (lane->clear.us < clear.us)
			clear = lane->clear;
	}
	if (ap->lanes && !applier_shares(ap)) {
		atomic_store(&at->passed, applier_passed(ap, false));
		atomic_store(&at->passed_clear_us, clear.us);
	}
	atomic_store(&at->pending_us, oldest.us);
	if (!now && mono_diff_us(t, ap->last_status) < STATUS_MS * 1000)
		return;
	ap->last_status = t;
	applier_show(ap);
}

void applier_show_source(struct status *st, const struct lane *lane)
{
	status_lock(st);
	memcpy(st->source.identity, lane->identity, sizeof(st->source.identity));
	status_unlock(st);
}
