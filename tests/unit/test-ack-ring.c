/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pipeline/ack_ring.h"

/* the durable point's number, -1 = none */
static int durable(const struct ack_ring *ring)
{
	struct resume resume = resume_box_get(&ring->durable);

	return resume.data ? resume.data[0] : -1;
}

static struct resume point(uint8_t *storage, uint8_t n)
{
	*storage = n;
	return (struct resume){ storage, 1 };
}

static void nothing_is_confirmed_before_it_is_durable(void **state)
{
	struct ack_ring ring = ACK_RING_INIT;
	uint8_t byte;

	ack_ring_push(&ring, 1, point(&byte, 10));
	ack_ring_push(&ring, 2, point(&byte, 20));
	assert_false(ack_ring_pop(&ring, 0));
	assert_int_equal(durable(&ring), -1);
	assert_true(ack_ring_pop(&ring, 1));
	assert_int_equal(durable(&ring), 10);
	assert_false(ack_ring_pop(&ring, 1));
	assert_true(ack_ring_pop(&ring, 2));
	assert_int_equal(durable(&ring), 20);
	ack_ring_fini(&ring);
}

/* a batch in the middle of a transaction ends none: its durability confirms nothing */
static void batches_without_an_end_confirm_nothing(void **state)
{
	struct ack_ring ring = ACK_RING_INIT;
	uint8_t byte;

	ack_ring_push(&ring, 1, point(&byte, 10));
	ack_ring_push(&ring, 2, (struct resume){ 0 });
	ack_ring_push(&ring, 3, (struct resume){ 0 });
	assert_true(ack_ring_pop(&ring, 2));
	assert_int_equal(durable(&ring), 10);
	assert_false(ack_ring_pop(&ring, 3));
	ack_ring_fini(&ring);
}

static void grows_and_keeps_order(void **state)
{
	struct ack_ring ring = ACK_RING_INIT;
	uint64_t seq = 0, popped = 0;
	uint8_t byte;

	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 37 + round; i++) {
			seq++;
			ack_ring_push(&ring, seq, point(&byte, (uint8_t)seq));
		}
		popped += 31;
		assert_true(ack_ring_pop(&ring, popped));
		assert_int_equal(durable(&ring), (uint8_t)popped);
		assert_int_equal(ring.n, seq - popped);
	}
	ack_ring_fini(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_confirmed_before_it_is_durable),
		cmocka_unit_test(batches_without_an_end_confirm_nothing),
		cmocka_unit_test(grows_and_keeps_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
