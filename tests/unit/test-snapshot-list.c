/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which chunk comes next: each once, a yielded one later and not at once, none of a table that has changed, and an end that
 * is only reported when nothing can come any more.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pipeline/snapshot_work.h"

static struct snapshot_table tables[2];
static struct snapshot_chunk chunks[4];
static struct snapshot_source src = { .tables = tables, .n_tables = 2, .chunks = chunks, .n_chunks = 4 };

static int setup(void **state)
{
	static struct chunk_list list;

	for (uint32_t i = 0; i < 4; i++)
		chunks[i] = (struct snapshot_chunk){ .table = &tables[i / 2], .no = i % 2 };
	chunk_list_init(&list, &src);
	*state = &list;
	return 0;
}

static int teardown(void **state)
{
	chunk_list_fini(*state);
	return 0;
}

static void test_each_once(void **state)
{
	struct chunk_list *list = *state;
	struct mono now = { 1000000 };
	bool end;

	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(chunk_list_take(list, now, &end), i);
	assert_int_equal(chunk_list_take(list, now, &end), CHUNK_NONE);
	/* the running ones may come back */
	assert_false(end);
	for (uint32_t i = 0; i < 4; i++)
		chunk_list_done(list, i, 10 + i);
	assert_int_equal(chunk_list_take(list, now, &end), CHUNK_NONE);
	assert_true(end);
	assert_int_equal(list->tables[0].rows, 21);
	assert_int_equal(list->tables[1].rows, 25);
	assert_int_equal(list->tables[0].left, 0);
}

static void test_yield_waits(void **state)
{
	struct chunk_list *list = *state;
	struct mono now = { 1000000 };
	bool end;

	assert_int_equal(chunk_list_take(list, now, &end), 0);
	chunk_list_yield(list, 0, now);
	assert_int_equal(chunk_list_take(list, now, &end), 1);
	for (uint32_t i = 2; i < 4; i++)
		assert_int_equal(chunk_list_take(list, now, &end), i);
	for (uint32_t i = 1; i < 4; i++)
		chunk_list_done(list, i, 1);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 199), &end), CHUNK_NONE);
	assert_false(end);
	assert_int_equal(list->tables[0].left, 1);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 200), &end), 0);
	/* the second time it waits longer */
	chunk_list_yield(list, 0, now);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 399), &end), CHUNK_NONE);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 400), &end), 0);
	chunk_list_done(list, 0, 1);
	assert_int_equal(chunk_list_take(list, now, &end), CHUNK_NONE);
	assert_true(end);
}

static void test_yield_has_a_longest_wait(void **state)
{
	struct chunk_list *list = *state;
	struct mono now = { 1000000 };
	bool end;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(chunk_list_take(list, now, &end), 0);
		chunk_list_yield(list, 0, now);
		now = mono_add_ms(now, 5000);
	}
}

static void test_changed_table_is_dropped(void **state)
{
	struct chunk_list *list = *state;
	struct mono now = { 1000000 };
	bool end;

	assert_int_equal(chunk_list_take(list, now, &end), 0);
	assert_int_equal(chunk_list_take(list, now, &end), 1);
	chunk_list_changed(list, 0);
	/* a chunk of it that is still running ends somehow; it does not come again */
	chunk_list_yield(list, 1, now);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 10000), &end), 2);
	assert_int_equal(chunk_list_take(list, now, &end), 3);
	chunk_list_done(list, 2, 1);
	chunk_list_done(list, 3, 1);
	assert_int_equal(chunk_list_take(list, mono_add_ms(now, 10000), &end), CHUNK_NONE);
	assert_true(end);
	assert_true(list->tables[0].changed);
	assert_true(list->tables[0].left > 0);
	assert_int_equal(list->tables[1].left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_yield_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_yield_has_a_longest_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_table_is_dropped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
