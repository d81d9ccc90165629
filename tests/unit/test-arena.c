/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/arena.h>

static bool woken(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) == 0;
}

static void memory_is_aligned_and_does_not_overlap(void **state)
{
	struct arena arena = ARENA_INIT(NULL);
	uint8_t *all[500];
	size_t sizes[500];

	for (unsigned i = 0; i < 500; i++) {
		sizes[i] = (i * 7919) % 3000 + (i % 50 == 0 ? 200000 : 0);
		all[i] = arena_alloc(&arena, sizes[i]);
		assert_int_equal((uintptr_t)all[i] % 8, 0);
		memset(all[i], (int)(i % 251), sizes[i]);
	}
	for (unsigned i = 0; i < 500; i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(all[i][k], i % 251);
	}
	assert_true(arena.bytes > 0);
	arena_reset(&arena);
	assert_int_equal(arena.bytes, 0);
}

/* an allocation larger than a block does not throw away the room left in the block in use */
static void a_large_allocation_keeps_the_block_in_use(void **state)
{
	struct arena arena = ARENA_INIT(NULL);
	size_t bytes;

	arena_alloc(&arena, 100);
	arena_alloc(&arena, ARENA_BLOCK_BYTES);
	bytes = arena.bytes;
	for (int i = 0; i < 100; i++)
		arena_alloc(&arena, 400);
	assert_int_equal(arena.bytes, bytes);
	arena_reset(&arena);
}

static void used_bytes_are_what_arenas_hold(void **state)
{
	struct block_pool *pool = block_pool_new(10 * ARENA_BLOCK_BYTES, -1);
	struct arena a = ARENA_INIT(pool), b = ARENA_INIT(pool);

	for (int round = 0; round < 3; round++) {
		arena_alloc(&a, 1);
		arena_alloc(&b, 3 * ARENA_BLOCK_BYTES);
		arena_alloc(&b, 50 * ARENA_BLOCK_BYTES);
		assert_int_equal(block_pool_used(pool), a.bytes + b.bytes);
		arena_reset(&a);
		assert_int_equal(block_pool_used(pool), b.bytes);
		arena_reset(&b);
		assert_int_equal(block_pool_used(pool), 0);
	}
	assert_null(block_pool_free(pool));
}

static void who_was_refused_is_woken_once(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct block_pool *pool = block_pool_new(2 * ARENA_BLOCK_BYTES, fd);
	struct arena a = ARENA_INIT(pool), b = ARENA_INIT(pool);

	arena_alloc(&a, 1);
	arena_reset(&a);
	assert_false(woken(fd)); /* nobody was refused */
	arena_alloc(&a, 1);
	assert_true(block_pool_available(pool, ARENA_BLOCK_BYTES));
	arena_alloc(&b, 1);
	assert_false(block_pool_available(pool, 1));
	assert_false(woken(fd));
	arena_reset(&a);
	assert_true(woken(fd));
	assert_true(block_pool_available(pool, 1));
	arena_reset(&b);
	assert_false(woken(fd));
	block_pool_free(pool);
	close(fd);
}

/* otherwise a record larger than the budget could never pass */
static void an_unused_pool_is_available_for_anything(void **state)
{
	struct block_pool *pool = block_pool_new(ARENA_BLOCK_BYTES, -1);
	struct arena arena = ARENA_INIT(pool);

	assert_true(block_pool_available(pool, 100 * ARENA_BLOCK_BYTES));
	arena_alloc(&arena, 100 * ARENA_BLOCK_BYTES);
	assert_false(block_pool_available(pool, 1));
	arena_reset(&arena);
	assert_true(block_pool_available(pool, 1));
	block_pool_free(pool);
}

static void blocks_are_recycled(void **state)
{
	struct block_pool *pool = block_pool_new(64 * ARENA_BLOCK_BYTES, -1);
	struct arena arena = ARENA_INIT(pool);
	void *small = arena_alloc(&arena, 1), *large = arena_alloc(&arena, 100000);

	arena_reset(&arena);
	for (int round = 0; round < 10; round++) {
		assert_ptr_equal(arena_alloc(&arena, 1), small);
		assert_ptr_equal(arena_alloc(&arena, 100000), large);
		arena_reset(&arena);
	}
	block_pool_free(pool);
}

static void a_vector_keeps_its_content_and_gives_the_old_block_back(void **state)
{
	struct block_pool *pool = block_pool_new(100 * ARENA_BLOCK_BYTES, -1);
	struct arena arena = ARENA_INIT(pool);
	size_t room, n = 1000;
	uint32_t *v = arena_vector(&arena, NULL, 0, n * sizeof(*v), &room);
	uint8_t *other = arena_alloc(&arena, 64);

	memset(other, 0xEE, 64);
	for (uint32_t i = 0; i < 200000; i++) {
		if ((i + 1) * sizeof(*v) > room) {
			v = arena_vector(&arena, v, i * sizeof(*v), 2 * room, &room);
			arena_alloc(&arena, 40000);
		}
		v[i] = i;
	}
	for (uint32_t i = 0; i < 200000; i++)
		assert_int_equal(v[i], i);
	assert_int_equal(other[63], 0xEE);
	assert_true(arena.bytes < 30 * ARENA_BLOCK_BYTES);
	assert_int_equal(block_pool_used(pool), arena.bytes);
	arena_reset(&arena);
	assert_int_equal(block_pool_used(pool), 0);
	block_pool_free(pool);
}

static void formats_and_copies(void **state)
{
	struct arena arena = ARENA_INIT(NULL);
	char *s = arena_printf(&arena, "%s-%d", "x", 42);

	assert_string_equal(s, "x-42");
	assert_memory_equal(arena_dup(&arena, "abc", 4), "abc", 4);
	arena_reset(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_aligned_and_does_not_overlap),
		cmocka_unit_test(a_large_allocation_keeps_the_block_in_use),
		cmocka_unit_test(used_bytes_are_what_arenas_hold),
		cmocka_unit_test(who_was_refused_is_woken_once),
		cmocka_unit_test(an_unused_pool_is_available_for_anything),
		cmocka_unit_test(blocks_are_recycled),
		cmocka_unit_test(a_vector_keeps_its_content_and_gives_the_old_block_back),
		cmocka_unit_test(formats_and_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
