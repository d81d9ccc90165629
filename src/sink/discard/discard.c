/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The sink that counts and forgets: the trivial driver to copy, and the other end of the reader's benchmark.
 * Every commit is durable at once; nothing is stored, so each start begins where the source's slot stands.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/sink.h>

static int discard_connect(struct sink *sink, struct error *err)
{
	snprintf(sink->identity, sizeof(sink->identity), "discard");
	return 0;
}

static int discard_claim(struct sink *sink, const struct partition *partition, const char *identity,
	struct progress *ret, struct error *err)
{
	*ret = (struct progress){ .epoch = 1, .identity = "", .offset = -1 };
	return 0;
}

static int discard_release(struct sink *sink, const struct partition *partition, struct error *err)
{
	return 0;
}

static void discard_count(const struct record *rec, struct apply_result *ret)
{
	switch ((enum record_op)rec->op) {
	case RECORD_INSERT:
	case RECORD_READ:
		ret->inserts++;
		break;
	case RECORD_UPDATE:
		ret->updates++;
		break;
	case RECORD_DELETE:
		ret->deletes++;
		break;
	case RECORD_TRUNCATE:
		ret->truncates++;
		break;
	case RECORD_END:
		ret->transactions++;
		ret->position = rec->pos;
		ret->resume = rec->end->resume;
		ret->commit_time = rec->end->commit_time;
		break;
	case RECORD_HEARTBEAT:
		ret->resume = rec->heartbeat->resume;
		break;
	case RECORD_BEGIN:
	case RECORD_SCHEMA:
	case RECORD_MESSAGE:
	case RECORD_ABORT:
	case RECORD_FENCE:
	case RECORD_CHUNK:
		break;
	}
}

static int discard_apply(
	struct sink *sink, const struct apply_group *group, struct apply_result *ret, struct error *err)
{
	*ret = (struct apply_result){ 0 };
	for (uint32_t i = 0; i < group->n_spans; i++) {
		const struct span *span = &group->spans[i];

		for (uint32_t k = span->from; k < span->to; k++)
			discard_count(&span->batch->records[k], ret);
		/* no look at the rows: the span's share of its batch */
		if (span->to > span->from)
			ret->bytes +=
				span->batch->arena.bytes * (span->to - span->from) / span->batch->n_records;
	}
	ret->records = ret->inserts + ret->updates + ret->deletes + ret->truncates;
	return 0;
}

static int discard_store_resume(struct sink *sink, const struct sink_point *point, struct error *err)
{
	return 0;
}

/* a commit was durable when it returned */
static int discard_flush(struct sink *sink, bool wait, struct error *err)
{
	return 0;
}

static int discard_nothing(struct sink *sink, struct error *err)
{
	return 0;
}

static void discard_free(struct sink *sink)
{
	free(sink);
}

static const struct sink_ops discard_ops = {
	.connect = discard_connect,
	.claim = discard_claim,
	.release = discard_release,
	.apply = discard_apply,
	.store_resume = discard_store_resume,
	.flush = discard_flush,
	.idle = discard_nothing,
	.free = discard_free,
};

struct sink *sink_discard_new(const struct context *ctx)
{
	struct sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		abort();
	sink->ops = &discard_ops;
	sink->ctx = ctx;
	return sink;
}
