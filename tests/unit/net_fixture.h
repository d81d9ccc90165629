/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Groups of records written as short texts, for the tests of the reduction. Include cmocka before. */

#include <stdlib.h>

#include <sluice/net.h>

#define COLUMNS 4

static const struct value absent = { .state = VALUE_ABSENT };

/* group under construction */
struct fixture {
	struct relation *rels[3]; /* one key column first; two key columns apart; found by the whole row */
	struct batch *batches[8];
	struct span spans[8];
	struct apply_group group;
	struct net *net;
};

static inline struct relation *make_relation(const char *name, unsigned keys, enum relation_identity identity)
{
	static const char *const names[COLUMNS] = { "a", "b", "c", "d" };
	struct column columns[COLUMNS];

	for (unsigned i = 0; i < COLUMNS; i++)
		columns[i] = (struct column){ .name = names[i], .type_oid = 25, .key = keys >> i & 1 };
	return relation_new(&(struct relation_spec){ .id = 1,
		.schema = "s",
		.name = name,
		.identity = identity,
		.n_columns = COLUMNS,
		.columns = columns });
}

static inline void next_batch(struct fixture *f)
{
	struct batch *batch = batch_new(NULL);
	uint32_t n = f->group.n_spans++;

	f->batches[n] = batch;
	/* what stands before and behind the span must not be looked at */
	batch_add(batch)->op = RECORD_TRUNCATE;
	f->spans[n] = (struct span){ .batch = batch, .from = 1, .to = 1 };
}

static inline void new_group(struct fixture *f)
{
	for (uint32_t i = 0; i < f->group.n_spans; i++)
		batch_free(f->batches[i]);
	f->group = (struct apply_group){ .spans = f->spans };
	next_batch(f);
}

static inline struct fixture begin(void)
{
	struct fixture f = { .net = net_new() };

	f.rels[0] = make_relation("one", 1, IDENTITY_DEFAULT);
	f.rels[1] = make_relation("two", 1 | 4, IDENTITY_INDEX);
	f.rels[2] = make_relation("whole", 15, IDENTITY_FULL);
	new_group(&f);
	return f;
}

static inline void end(struct fixture *f)
{
	net_free(f->net);
	for (uint32_t i = 0; i < f->group.n_spans; i++)
		batch_free(f->batches[i]);
	for (int i = 0; i < 3; i++)
		relation_unref(f->rels[i]);
}

static inline struct record *put(struct fixture *f, enum record_op op, struct relation *rel)
{
	struct span *span = &f->spans[f->group.n_spans - 1];
	struct record *rec = batch_add(span->batch);

	f->group.spans = f->spans;
	span->to = span->batch->n_records;
	rec->op = (uint8_t)op;
	rec->rel = rel ? batch_hold(span->batch, rel) : NULL;
	return rec;
}

/* "1-n3": present 1, absent, null, present 3 */
static inline struct value *row_of(struct fixture *f, const char *spec)
{
	struct arena *arena = &f->spans[f->group.n_spans - 1].batch->arena;
	struct value *row = arena_alloc(arena, COLUMNS * sizeof(*row));

	for (int i = 0; i < COLUMNS; i++) {
		row[i] = absent;
		if (spec[i] == 'n')
			row[i].state = VALUE_NULL;
		else if (spec[i] != '-')
			row[i] = (struct value){
				.data = arena_dup(arena, &spec[i], 1), .len = 1, .state = VALUE_PRESENT
			};
	}
	return row;
}

static inline void put_row(
	struct fixture *f, enum record_op op, struct relation *rel, const char *before, const char *after)
{
	struct record *rec = put(f, op, rel);

	rec->before = before ? row_of(f, before) : NULL;
	rec->after = after ? row_of(f, after) : NULL;
	if (after && strchr(after, '-'))
		rec->flags |= RECORD_TOAST;
}
