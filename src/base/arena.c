/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Arenas over a pool of blocks. Blocks come in five sizes, 64 KiB to 1 MiB; larger allocations get a block of
 * their own size, which goes back to the heap at once. The pool keeps what comes back on free lists, so in
 * steady state neither malloc() nor the kernel is asked.
 *
 * Invariants:
 *   1. used_bytes is what arenas hold; together with the free lists it stays within the limit, unless arenas
 *      alone exceed it (an allocation never fails).
 *   2. The lock is taken per block, never per record.
 *   3. Whoever was refused is woken after the next arena_reset(): the note is made before the last look at
 *      used_bytes.
 */

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <sluice/arena.h>

/* in builds with AddressSanitizer a block on a free list cannot be touched */
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)	  ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define N_CLASSES 5 /* ARENA_BLOCK_BYTES << class */

struct block {
	struct block *next;
	size_t bytes; /* with this header */
	uint8_t data[] __attribute__((aligned(16)));
};

struct block_pool {
	pthread_mutex_t lock; /* guards the free lists */
	struct block *free_blocks[N_CLASSES];
	size_t free_bytes; /* on them */
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

/* the smallest class that holds bytes; N_CLASSES = none does */
static int class_of(size_t bytes)
{
	int class = 0;

	while (class < N_CLASSES && ARENA_BLOCK_BYTES << class < bytes)
		class ++;
	return class;
}

static struct block *list_pop(struct block_pool *pool, int class)
{
	struct block *block = pool->free_blocks[class];

	if (block) {
		ASAN_UNPOISON_MEMORY_REGION(block->data, block->bytes - sizeof(*block));
		pool->free_blocks[class] = block->next;
		pool->free_bytes -= block->bytes;
	}
	return block;
}

/* gives free blocks to the heap, the largest first, until more_bytes fit beside them */
static void pool_trim(struct block_pool *pool, size_t more_bytes)
{
	size_t used = atomic_load(&pool->used_bytes);

	for (int class = N_CLASSES - 1; class >= 0; class --) {
		while (pool->free_blocks[class] && used + more_bytes + pool->free_bytes > pool->limit_bytes)
			free(list_pop(pool, class));
	}
}

struct block_pool *block_pool_free(struct block_pool *pool)
{
	if (!pool)
		return NULL;
	for (int class = 0; class < N_CLASSES; class ++) {
		while (pool->free_blocks[class])
			free(list_pop(pool, class));
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

/* a block with room for bytes; charged to the arena and its pool */
static struct block *block_take(struct arena *arena, size_t bytes)
{
	struct block_pool *pool = arena->pool;
	struct block *block = NULL;
	int class = class_of(bytes + sizeof(struct block));

	bytes = class < N_CLASSES ? ARENA_BLOCK_BYTES << class : bytes + sizeof(struct block);
	if (pool) {
		pthread_mutex_lock(&pool->lock);
		if (class < N_CLASSES)
			block = list_pop(pool, class);
		if (!block)
			pool_trim(pool, bytes);
		atomic_fetch_add(&pool->used_bytes, bytes);
		pthread_mutex_unlock(&pool->lock);
	}
	if (!block) {
		block = malloc(bytes);
		if (!block)
			abort();
		block->bytes = bytes;
	}
	arena->bytes += bytes;
	return block;
}

/* its charge is taken off by the caller */
static void block_give(struct block_pool *pool, struct block *block)
{
	int class = class_of(block->bytes);
	bool keep = false;

	if (pool && class < N_CLASSES && block->bytes == ARENA_BLOCK_BYTES << class) {
		pthread_mutex_lock(&pool->lock);
		/* used_bytes still counts this block */
		keep = pool->free_bytes + atomic_load(&pool->used_bytes) <= pool->limit_bytes;
		if (keep) {
			block->next = pool->free_blocks[class];
			pool->free_blocks[class] = block;
			pool->free_bytes += block->bytes;
			atomic_fetch_sub(&pool->used_bytes, block->bytes);
			ASAN_POISON_MEMORY_REGION(block->data, block->bytes - sizeof(*block));
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (!keep) {
		if (pool)
			atomic_fetch_sub(&pool->used_bytes, block->bytes);
		free(block);
	}
}

void *arena_alloc_slow(struct arena *arena, size_t bytes)
{
	struct block *block = block_take(arena, bytes);
	size_t room = block->bytes - sizeof(*block);

	/* the block with more room left is the one in use; the other goes behind it */
	if (arena->blocks && room - bytes < (size_t)(arena->end - arena->at)) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
		return block->data;
	}
	block->next = arena->blocks;
	arena->blocks = block;
	arena->at = block->data + bytes;
	arena->end = block->data + room;
	return block->data;
}

void *arena_vector(struct arena *arena, void *old, size_t used_bytes, size_t bytes, size_t *ret_bytes)
{
	struct block *block = block_take(arena, bytes);

	if (used_bytes)
		memcpy(block->data, old, used_bytes);
	/* never first: that is the one in use */
	if (!arena->blocks) {
		struct block *used = block_take(arena, 1);

		used->next = NULL;
		arena->blocks = used;
		arena->at = used->data;
		arena->end = used->data + (used->bytes - sizeof(*used));
	}
	for (struct block **at = &arena->blocks->next; old && *at; at = &(*at)->next) {
		if ((*at)->data == old) {
			struct block *gone = *at;

			*at = gone->next;
			arena->bytes -= gone->bytes;
			block_give(arena->pool, gone);
			break;
		}
	}
	block->next = arena->blocks->next;
	arena->blocks->next = block;
	*ret_bytes = block->bytes - sizeof(*block);
	return block->data;
}

void arena_reset(struct arena *arena)
{
	struct block_pool *pool = arena->pool;
	bool any = arena->blocks;

	while (arena->blocks) {
		struct block *block = arena->blocks;

		arena->blocks = block->next;
		block_give(pool, block);
	}
	*arena = ARENA_INIT(pool);
	if (pool && any && atomic_exchange(&pool->refused, false) && pool->wake_fd >= 0)
		eventfd_write(pool->wake_fd, 1);
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
