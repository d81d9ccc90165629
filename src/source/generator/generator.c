/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A source that makes its own transactions: the trivial driver to copy, and a load for measuring without a
 * server. Transaction n (from 1) is always the same for the same settings, so a stream can be resumed
 * anywhere: position.major and the resume point are n. Keys are dealt out so that every operation fits what
 * is there: a pass over all keys inserts them, the next updates, the third deletes. A transaction of any size
 * is made in parts as batches have room.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <sluice/source.h>

#define COLUMN_ID   20 /* int8 */
#define COLUMN_TEXT 25

struct generator {
	struct source base;
	struct relation *rel;
	int wake_fd;
	uint64_t next;		   /* transaction that is made next, or in the making */
	uint64_t row;		   /* of it: 0 = its BEGIN comes next, above rows_per_transaction its END */
	struct wall commit_time;   /* of it */
	atomic_uint_fast64_t made; /* the last one whose END was made */
};

static struct generator *generator_of(struct source *src)
{
	return (struct generator *)src;
}

static uint64_t resume_number(struct resume resume)
{
	uint64_t wire;

	if (resume.len != sizeof(wire))
		return 0;
	memcpy(&wire, resume.data, sizeof(wire));
	return __builtin_bswap64(wire);
}

static int generator_connect(struct source *src, struct error *err)
{
	snprintf(src->identity, sizeof(src->identity), "generator/%llu",
		(unsigned long long)src->ctx->cfg->source.generator.seed);
	return 0;
}

static int generator_prepare(
	struct source *src, struct state *state, const struct source_start *start, struct error *err)
{
	return 0;
}

static int generator_start(
	struct source *src, const struct source_start *start, int wake_fd, struct error *err)
{
	struct generator *gen = generator_of(src);

	gen->wake_fd = wake_fd;
	gen->next = resume_number(start->resume) + 1;
	gen->row = 0;
	atomic_store(&gen->made, gen->next - 1);
	return 0;
}

/* a number in digits */
static struct value digits(struct arena *arena, uint64_t n)
{
	uint8_t text[20];
	uint32_t at = sizeof(text);

	do
		text[--at] = (uint8_t)('0' + n % 10);
	while (n /= 10);
	return (struct value){
		.data = arena_dup(arena, text + at, sizeof(text) - at),
		.len = (uint32_t)sizeof(text) - at,
		.state = VALUE_PRESENT,
	};
}

/* n counts rows from 0 over all transactions */
static void make_row(struct generator *gen, struct batch *batch, uint64_t n)
{
	static const enum record_op ops[] = { RECORD_INSERT, RECORD_UPDATE, RECORD_DELETE };
	uint64_t keys = gen->base.ctx->cfg->source.generator.keys;
	uint64_t seed = gen->base.ctx->cfg->source.generator.seed;
	uint32_t bytes = gen->base.ctx->cfg->source.generator.row_bytes;
	struct value *values = arena_alloc(&batch->arena, 2 * sizeof(*values));
	struct record *rec = batch_add(batch);

	rec->op = (uint8_t)ops[n / keys % 3];
	rec->rel = batch_hold(batch, gen->rel);
	rec->pos = (struct position){ gen->next, gen->row };
	values[0] = digits(&batch->arena, n % keys + 1);
	if (rec->op == RECORD_DELETE) {
		values[1] = (struct value){ .state = VALUE_ABSENT };
		rec->before = values;
		rec->flags = RECORD_BEFORE_KEY;
		return;
	}
	values[1] = (struct value){ .len = bytes, .state = VALUE_PRESENT };
	values[1].data = memset(arena_alloc(&batch->arena, bytes), 'a' + (int)((n + seed) % 26), bytes);
	rec->after = values;
}

static void make_begin(struct generator *gen, struct batch *batch)
{
	struct record_begin *begin = arena_alloc(&batch->arena, sizeof(*begin));
	struct record *rec = batch_add(batch);

	gen->commit_time = wall_now();
	*begin = (struct record_begin){ .commit_time = gen->commit_time, .xid = gen->next };
	rec->op = RECORD_BEGIN;
	rec->begin = begin;
	rec->pos.major = gen->next;
}

static void make_end(struct generator *gen, struct batch *batch)
{
	struct record_end *end = arena_alloc(&batch->arena, sizeof(*end));
	uint64_t wire = __builtin_bswap64(gen->next);
	struct record *rec = batch_add(batch);

	*end = (struct record_end){
		.commit_time = gen->commit_time,
		.xid = gen->next,
		.resume = { arena_dup(&batch->arena, &wire, sizeof(wire)), sizeof(wire) },
		.n_records = gen->base.ctx->cfg->source.generator.rows_per_transaction,
	};
	rec->op = RECORD_END;
	rec->end = end;
	rec->pos = (struct position){ gen->next, POSITION_END };
}

static void make_record(struct generator *gen, struct batch *batch)
{
	uint64_t rows = gen->base.ctx->cfg->source.generator.rows_per_transaction;

	if (!gen->row) {
		make_begin(gen, batch);
	} else if (gen->row <= rows) {
		make_row(gen, batch, (gen->next - 1) * rows + gen->row - 1);
	} else {
		make_end(gen, batch);
		atomic_store(&gen->made, gen->next++);
		gen->row = 0;
		return;
	}
	gen->row++;
}

static int generator_read(struct source *src, struct batch *batch, int timeout_ms, struct error *err)
{
	struct generator *gen = generator_of(src);
	uint64_t last = src->ctx->cfg->source.generator.transactions;
	bool any = false;

	while (batch && !batch_is_full(batch) && (!last || gen->next <= last)) {
		make_record(gen, batch);
		any = true;
	}
	if (!any) {
		struct pollfd fd = { .fd = gen->wake_fd, .events = POLLIN };
		eventfd_t n;

		if (poll(&fd, 1, timeout_ms) > 0)
			eventfd_read(gen->wake_fd, &n);
	}
	return any ? 0 : SOURCE_IDLE;
}

static int generator_confirm(struct source *src, struct resume resume, struct error *err)
{
	return 0;
}

static int generator_watch(struct source *src, struct source_health *ret, struct error *err)
{
	ret->head = atomic_load(&generator_of(src)->made);
	ret->server_time = wall_now();
	ret->prepared_transactions = 0;
	return 0;
}

static int generator_barrier(struct source *src, uint64_t *ret_major, struct error *err)
{
	uint64_t last = src->ctx->cfg->source.generator.transactions;

	*ret_major = last ? last : atomic_load(&generator_of(src)->made);
	return 0;
}

static void generator_free(struct source *src)
{
	relation_unref(generator_of(src)->rel);
	free(src);
}

static const struct source_ops generator_ops = {
	.connect = generator_connect,
	.prepare = generator_prepare,
	.start = generator_start,
	.read = generator_read,
	.confirm = generator_confirm,
	.watch = generator_watch,
	.barrier = generator_barrier,
	.free = generator_free,
};

static const char *format_resume(struct resume resume, char *buf, size_t size)
{
	snprintf(buf, size, "%llu", (unsigned long long)resume_number(resume));
	return buf;
}

static const char *format_position(struct position pos, char *buf, size_t size)
{
	snprintf(buf, size, "%llu", (unsigned long long)pos.major);
	return buf;
}

const struct source_format source_generator_format = {
	.resume = format_resume,
	.position = format_position,
	.major = resume_number,
};

struct source *source_generator_new(const struct context *ctx)
{
	static const struct column columns[] = {
		{ .name = "id", .type_oid = COLUMN_ID, .type_modifier = -1, .key = true },
		{ .name = "payload", .type_oid = COLUMN_TEXT, .type_modifier = -1 },
	};
	struct generator *gen = calloc(1, sizeof(*gen));

	if (!gen)
		abort();
	gen->base = (struct source){
		.ops = &generator_ops,
		.ctx = ctx,
		.format = &source_generator_format,
	};
	gen->rel = relation_new(&(struct relation_spec){
		.id = 1,
		.schema = "public",
		.name = "generated",
		.identity = IDENTITY_DEFAULT,
		.n_columns = 2,
		.columns = columns,
	});
	return &gen->base;
}
