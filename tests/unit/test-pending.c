/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pipeline/pending.h"

static const struct record_begin begin_at_5 = { .commit_time = { 5 } };

/* a batch from a word: B begin, I insert, C end, K heartbeat, M message; the major counts up with each B */
static struct batch *batch_of(const char *word, uint64_t *major, uint64_t seq)
{
	struct batch *batch = batch_new(NULL);

	batch->seq = seq;
	for (; *word; word++) {
		struct record *rec = batch_add(batch);

		rec->op = (uint8_t)*word;
		if (*word == 'B') {
			(*major)++;
			rec->begin = &begin_at_5;
		}
		rec->pos.major = *major;
	}
	return batch;
}

static uint32_t count(const struct apply_group *group)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < group->n_spans; i++)
		n += group->spans[i].to - group->spans[i].from;
	return n;
}

static void group_ends_with_the_newest_whole_transaction(void **state)
{
	struct pending *pending = test_calloc(1, sizeof(*pending));
	struct apply_group group;
	uint64_t major = 0;

	pending_add(pending, batch_of("BIICBI", &major, 1));
	assert_true(pending_group(pending, false, &group));
	assert_true(group.ends);
	assert_int_equal(count(&group), 4);
	assert_int_equal(pending_consume(pending, &group), 0); /* the tail is still needed */
	assert_false(pending_group(pending, false, &group));
	assert_int_equal(pending_oldest(pending).us, 5);

	pending_add(pending, batch_of("IC", &major, 2));
	assert_true(pending_group(pending, false, &group));
	assert_int_equal(group.n_spans, 2);
	assert_int_equal(group.spans[0].from, 4);
	assert_int_equal(count(&group), 4);
	assert_int_equal(pending_consume(pending, &group), 2);
	assert_int_equal(pending->n, 0);
	assert_int_equal(pending->bytes, 0);
	test_free(pending);
}

static void a_part_is_only_taken_when_allowed(void **state)
{
	struct pending *pending = test_calloc(1, sizeof(*pending));
	struct apply_group group;
	uint64_t major = 0;

	pending_add(pending, batch_of("BIII", &major, 1));
	assert_false(pending_group(pending, false, &group));
	assert_true(pending_group(pending, true, &group));
	assert_false(group.ends);
	assert_int_equal(pending_consume(pending, &group), 1);
	pending_add(pending, batch_of("C", &major, 2));
	assert_true(pending_group(pending, true, &group));
	assert_true(group.ends);
	assert_int_equal(pending_consume(pending, &group), 2);
	test_free(pending);
}

static void heartbeats_alone_are_idle(void **state)
{
	struct pending *pending = test_calloc(1, sizeof(*pending));
	struct apply_group group;
	uint64_t major = 0;

	pending_add(pending, batch_of("K", &major, 1));
	pending_add(pending, batch_of("KB", &major, 2));
	assert_true(pending_group(pending, false, &group));
	assert_true(pending_is_idle(&group));
	assert_int_equal(count(&group), 2);
	assert_int_equal(pending_consume(pending, &group), 1);
	pending_add(pending, batch_of("ICK", &major, 3));
	assert_true(pending_group(pending, false, &group));
	assert_false(pending_is_idle(&group));
	pending_clear(pending);
	test_free(pending);
}

static void skips_what_progress_covers(void **state)
{
	struct pending *pending = test_calloc(1, sizeof(*pending));
	struct position applied = { 2, POSITION_END };
	struct apply_group group;
	bool in_skipped = false;
	uint64_t major = 0, skipped = 0;

	pending_add(pending, batch_of("MBIICB", &major, 1));
	assert_false(pending_skip(pending, applied, &in_skipped, &skipped));
	assert_true(in_skipped);
	pending_add(pending, batch_of("ICMBIC", &major, 2));
	assert_true(pending_skip(pending, applied, &in_skipped, &skipped));
	assert_int_equal(skipped, 3);
	assert_true(pending_group(pending, false, &group));
	assert_int_equal(count(&group), 3);
	assert_int_equal(group.spans[0].batch->records[group.spans[0].from].pos.major, 3);
	pending_clear(pending);
	test_free(pending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(group_ends_with_the_newest_whole_transaction),
		cmocka_unit_test(a_part_is_only_taken_when_allowed),
		cmocka_unit_test(heartbeats_alone_are_idle),
		cmocka_unit_test(skips_what_progress_covers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
