/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sluice/backoff.h>

static const struct backoff_config cfg = {
	.base_ms = 100, .max_ms = 3000, .factor = 2, .breaker_failures = 10, .breaker_pause_ms = 60000
};

static void waits_are_within_a_doubling_bound(void **state)
{
	int64_t bounds[] = { 100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000 };
	int64_t highest[9] = { 0 };

	for (uint64_t seed = 0; seed < 500; seed++) {
		struct backoff b;

		backoff_init(&b, &cfg, seed * 7919);
		for (int i = 0; i < 9; i++) {
			int64_t ms = backoff_next_ms(&b);

			assert_in_range(ms, 0, bounds[i]);
			highest[i] = ms > highest[i] ? ms : highest[i];
		}
	}
	/* full jitter uses the whole range */
	for (int i = 0; i < 9; i++)
		assert_true(highest[i] > bounds[i] * 8 / 10);
}

static void the_breaker_opens_and_a_success_closes_it(void **state)
{
	struct backoff b;

	backoff_init(&b, &cfg, 1);
	for (int i = 0; i < 9; i++) {
		backoff_next_ms(&b);
		assert_false(b.open);
	}
	assert_int_equal(backoff_next_ms(&b), 60000);
	assert_true(b.open);
	assert_int_equal(backoff_next_ms(&b), 60000);
	backoff_success(&b);
	assert_false(b.open);
	assert_in_range(backoff_next_ms(&b), 0, 100);
}

static void without_a_breaker_it_goes_on_for_ever(void **state)
{
	struct backoff_config endless = cfg;
	struct backoff b;

	endless.breaker_failures = 0;
	backoff_init(&b, &endless, 3);
	for (int i = 0; i < 10000; i++)
		assert_in_range(backoff_next_ms(&b), 0, 3000);
	assert_false(b.open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_are_within_a_doubling_bound),
		cmocka_unit_test(the_breaker_opens_and_a_success_closes_it),
		cmocka_unit_test(without_a_breaker_it_goes_on_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
