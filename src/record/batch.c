/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Batches. The records vector lives in the arena as all else does, so it counts against the budget and is
 * recycled: it begins small, inside the arena's block, and moves to blocks of its own when the batch grows.
 * The pointers that batch_add() returns are short-lived, those of a batch that was handed on are stable.
 */

#include <stdlib.h>

#include <sluice/batch.h>

#define FIRST_RECORDS 32u
#define SMALL_RECORDS 256u /* up to here inside the arena's block */

struct batch *batch_new(struct block_pool *pool)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		abort();
	batch->arena = ARENA_INIT(pool);
	return batch;
}

struct batch *batch_free(struct batch *batch)
{
	if (!batch)
		return NULL;
	for (uint32_t i = 0; i < batch->n_relations; i++)
		relation_unref(batch->relations[i]);
	arena_reset(&batch->arena);
	free(batch);
	return NULL;
}

static void batch_grow(struct batch *batch)
{
	size_t used = batch->n_records * sizeof(*batch->records), room;
	void *records;

	if (batch->cap_records < SMALL_RECORDS) {
		batch->cap_records = batch->cap_records ? SMALL_RECORDS : FIRST_RECORDS;
		records = arena_alloc(&batch->arena, batch->cap_records * sizeof(*batch->records));
		if (used)
			memcpy(records, batch->records, used);
	} else {
		bool small = batch->cap_records == SMALL_RECORDS;

		records = arena_vector(&batch->arena, small ? NULL : batch->records, small ? 0 : used,
			2 * sizeof(*batch->records) * batch->cap_records, &room);
		if (small)
			memcpy(records, batch->records, used);
		batch->cap_records = (uint32_t)(room / sizeof(*batch->records));
	}
	batch->records = records;
}

struct record *batch_add(struct batch *batch)
{
	struct record *rec;

	if (batch->n_records == batch->cap_records)
		batch_grow(batch);
	if (!batch->n_records)
		batch->filled = mono_now();
	rec = &batch->records[batch->n_records++];
	*rec = (struct record){ 0 };
	return rec;
}

static uint32_t held_slot(const struct batch *batch, const struct relation *rel)
{
	uint32_t mask = batch->cap_relations * 2 - 1;
	uint32_t i = (uint32_t)(((uintptr_t)rel * 0x9E3779B97F4A7C15u) >> 32) & mask;

	while (batch->held[i] && batch->held[i] != rel)
		i = (i + 1) & mask;
	return i;
}

static void held_grow(struct batch *batch)
{
	uint32_t cap = batch->cap_relations ? batch->cap_relations * 2 : 8;
	size_t bytes = cap * sizeof(struct relation *);
	struct relation **relations = arena_alloc(&batch->arena, bytes);

	if (batch->n_relations)
		memcpy(relations, batch->relations, batch->n_relations * sizeof(struct relation *));
	batch->relations = relations;
	batch->held = memset(arena_alloc(&batch->arena, 2 * bytes), 0, 2 * bytes);
	batch->cap_relations = cap;
	for (uint32_t i = 0; i < batch->n_relations; i++)
		batch->held[held_slot(batch, relations[i])] = relations[i];
}

struct relation *batch_hold(struct batch *batch, struct relation *rel)
{
	uint32_t slot;

	/* most often the one held last */
	if (batch->n_relations && batch->relations[batch->n_relations - 1] == rel)
		return rel;
	if (batch->n_relations == batch->cap_relations)
		held_grow(batch);
	slot = held_slot(batch, rel);
	if (!batch->held[slot]) {
		batch->held[slot] = rel;
		batch->relations[batch->n_relations++] = relation_ref(rel);
	}
	return rel;
}
