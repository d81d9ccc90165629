/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Arenas over a pool of blocks. The pool keeps every standard block it ever made, up to its limit, on a free list: in
 * steady state neither malloc() nor the kernel is asked. The lock is taken per block of 64 KiB, never per record.
 * Larger allocations get a block of their own, which goes back to the heap at once.
 */

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <sluice/arena.h>

struct block {
	struct block *next;
	size_t bytes; /* with this header */
	uint8_t data[] __attribute__((aligned(16)));
};

struct block_pool {
	pthread_mutex_t lock; /* guards free_blocks */
	struct block *free_blocks;
	size_t limit_bytes;
	int wake_fd;
	atomic_size_t used_bytes;
	atomic_bool refused; /* someone waits for memory */
};

struct block_pool *block_pool_new(size_t limit_bytes, int wake_fd)
{
	struct block_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		abort();
	pthread_mutex_init(&pool->lock, NULL);
	pool->limit_bytes = limit_bytes;
	pool->wake_fd = wake_fd;
	return pool;
}

struct block_pool *block_pool_free(struct block_pool *pool)
{
	if (!pool)
		return NULL;
	while (pool->free_blocks) {
		struct block *block = pool->free_blocks;

		pool->free_blocks = block->next;
		free(block);
	}
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return NULL;
}

size_t block_pool_used(const struct block_pool *pool)
{
	return atomic_load_explicit(
		&((struct block_pool *)(uintptr_t)pool)->used_bytes, memory_order_relaxed);
}

bool block_pool_available(struct block_pool *pool, size_t bytes)
{
	size_t used = atomic_load(&pool->used_bytes);

	if (!used || used + bytes <= pool->limit_bytes)
		return true;
	atomic_store(&pool->refused, true);
	/* memory may have come back between the look and the note */
	used = atomic_load(&pool->used_bytes);
	return !used || used + bytes <= pool->limit_bytes;
}

static struct block *block_take(struct block_pool *pool, size_t bytes)
{
	struct block *block = NULL;

	if (pool) {
		atomic_fetch_add(&pool->used_bytes, bytes);
		if (bytes == ARENA_BLOCK_BYTES) {
			pthread_mutex_lock(&pool->lock);
			block = pool->free_blocks;
			if (block)
				pool->free_blocks = block->next;
			pthread_mutex_unlock(&pool->lock);
		}
	}
	if (!block) {
		block = malloc(bytes);
		if (!block)
			abort();
	}
	block->bytes = bytes;
	return block;
}

static void block_give(struct block_pool *pool, struct block *block)
{
	if (pool && block->bytes == ARENA_BLOCK_BYTES) {
		pthread_mutex_lock(&pool->lock);
		block->next = pool->free_blocks;
		pool->free_blocks = block;
		pthread_mutex_unlock(&pool->lock);
	} else {
		free(block);
	}
}

void *arena_alloc_slow(struct arena *arena, size_t bytes)
{
	size_t room = ARENA_BLOCK_BYTES - sizeof(struct block);
	struct block *block =
		block_take(arena->pool, bytes > room ? bytes + sizeof(struct block) : ARENA_BLOCK_BYTES);

	arena->bytes += block->bytes;
	if (bytes > room) {
		/* a block of its own, behind the one in use, which still has room */
		if (arena->blocks) {
			block->next = arena->blocks->next;
			arena->blocks->next = block;
		} else {
			block->next = NULL;
			arena->blocks = block;
		}
		return block->data;
	}
	block->next = arena->blocks;
	arena->blocks = block;
	arena->at = block->data + bytes;
	arena->end = block->data + room;
	return block->data;
}

void arena_reset(struct arena *arena)
{
	struct block_pool *pool = arena->pool;
	size_t bytes = arena->bytes;

	while (arena->blocks) {
		struct block *block = arena->blocks;

		arena->blocks = block->next;
		block_give(pool, block);
	}
	*arena = ARENA_INIT(pool);
	if (pool && bytes) {
		atomic_fetch_sub(&pool->used_bytes, bytes);
		if (atomic_exchange(&pool->refused, false) && pool->wake_fd >= 0)
			eventfd_write(pool->wake_fd, 1);
	}
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	s = arena_alloc(arena, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}
