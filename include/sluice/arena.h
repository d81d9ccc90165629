/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory by lifetime. A `block_pool` owns a fixed budget and hands out blocks; an `arena` takes blocks from
 * it and frees everything at once. The pool is where back-pressure begins: a reader that gets no block waits
 * until the applier has given some back. Blocks are recycled, so steady state makes no system call.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block;
struct block_pool;

#define ARENA_BLOCK_BYTES ((size_t)64 * 1024)

/**
 * block_pool_new() - makes a pool with a budget.
 * @limit_bytes: what arenas may hold together; one arena may exceed it by one oversized allocation when it
 *               holds nothing else, so that a record larger than the budget can still pass.
 * @wake_fd: an eventfd written whenever memory comes back while someone was refused; borrowed; -1 for none.
 * Thread: any. Blocks: never. Return: the pool; out of memory aborts.
 */
struct block_pool *block_pool_new(size_t limit_bytes, int wake_fd);
/** block_pool_free() - NULL is allowed; every arena must have been reset before. Returns NULL. */
struct block_pool *block_pool_free(struct block_pool *pool);
size_t block_pool_used(const struct block_pool *pool);
/** block_pool_available() - true when at least `bytes` are free, else remembers to write wake_fd once memory
 * comes back. A pool nobody holds anything of is always available. Thread: any. Blocks: never. */
bool block_pool_available(struct block_pool *pool, size_t bytes);

struct arena {
	struct block_pool *pool; /* NULL: blocks from the heap, without a budget */
	struct block *blocks;	 /* newest first */
	uint8_t *at, *end;
	size_t bytes; /* charged to the pool by this arena */
};

#define ARENA_INIT(p) ((struct arena){ .pool = (p) })

/** arena_alloc_slow() - takes a new block; see arena_alloc(). */
void *arena_alloc_slow(struct arena *arena, size_t bytes);

/** arena_reset() - gives every block back; the arena can be used again. */
void arena_reset(struct arena *arena);

/**
 * arena_alloc() - memory, 8-byte aligned, that lives until arena_reset(). Never fails: budgets are checked at
 * the batch's boundary (block_pool_available, batch_full), not per allocation.
 * Thread: the arena's owner. Blocks: never.
 */
static inline void *arena_alloc(struct arena *arena, size_t bytes)
{
	/* something even for nothing: NULL says that a thing is not there */
	size_t need = (bytes + !bytes + 7) & ~(size_t)7;

	if (need <= (size_t)(arena->end - arena->at)) {
		void *p = arena->at;

		arena->at += need;
		return p;
	}
	return arena_alloc_slow(arena, need);
}

static inline void *arena_dup(struct arena *arena, const void *data, size_t bytes)
{
	void *p = arena_alloc(arena, bytes);

	if (bytes)
		memcpy(p, data, bytes);
	return p;
}

/**
 * arena_vector() - moves a growing array to a larger block of its own, which counts and lives like all of the
 * arena.
 * @old: what an earlier call returned, or NULL; given back, so it must not be used any more.
 * @used_bytes: how much of it is copied. @ret_bytes: the room of the new one, at least `bytes`.
 * Thread: the arena's owner. Blocks: never.
 */
void *arena_vector(struct arena *arena, void *old, size_t used_bytes, size_t bytes, size_t *ret_bytes);

/** arena_printf() - a formatted string in the arena. */
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
