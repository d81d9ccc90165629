/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pipeline/lag.h"

#define S INT64_C(1000000)

static void zero_when_everything_is_passed(void **state)
{
	struct lag lag = { 0 };

	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 10, .server_time = { 100 * S }, .passed = 10 }) == 0);
}

static void unknown_before_anything_is_known(void **state)
{
	struct lag lag = { 0 };

	assert_true(lag_update(&lag,
			    &(struct lag_input){ .head = 10, .server_time = { 100 * S }, .passed = 5 }) < 0);
}

static void exact_while_the_applier_holds_the_oldest(void **state)
{
	struct lag lag = { 0 };
	struct lag_input in = { .head = 10, .server_time = { 100 * S }, .passed = 5, .pending = { 93 * S } };

	assert_true(lag_update(&lag, &in) == 7);
}

/* a backlog that is still at the source: nothing of it has been read, so only the samples bound it */
static void bounded_by_samples_of_the_end(void **state)
{
	struct lag lag = { 0 };

	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 10, .server_time = { 100 * S }, .passed = 10 }) == 0);
	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 20, .server_time = { 101 * S }, .passed = 10 }) == 1);
	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 30, .server_time = { 102 * S }, .passed = 10 }) == 2);
	/* 20 is passed: what is left was written after second 101 */
	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 30, .server_time = { 103 * S }, .passed = 25 }) == 2);
	assert_true(lag_update(&lag, &(struct lag_input){
					     .head = 30, .server_time = { 104 * S }, .passed = 30 }) == 0);
}

/* somebody else's writes that never end: what is passed is the end as it was a moment ago */
static void as_close_as_the_samples_are(void **state)
{
	struct lag lag = { 0 };

	for (int64_t ms = 0; ms < 10000; ms += 200) {
		const uint64_t head = 1000 + (uint64_t)ms;
		const struct wall now = { 100 * S + ms * 1000 };
		const struct lag_input in = { .head = head, .server_time = now, .passed = head - 100 };

		if (ms % 1000 || !ms) {
			lag_note(&lag, head, now);
			continue;
		}
		assert_true(lag_update(&lag, &in) == 0.2);
	}
	/* its end stays, and its time goes on: all of it is passed, and all before that moment */
	lag_note(&lag, 20000, (struct wall){ 120 * S });
	lag_note(&lag, 20000, (struct wall){ 121 * S });
	assert_true(
		lag_update(&lag, &(struct lag_input){
					 .head = 20001, .server_time = { 122 * S }, .passed = 20000 }) == 1);
}

/* steady writes: the end is always a little ahead, and what was applied last is the newer bound */
static void bounded_by_the_last_applied(void **state)
{
	struct lag lag = { 0 };
	struct lag_input in = { .head = 10, .server_time = { 100 * S }, .passed = 10 };

	assert_true(lag_update(&lag, &in) == 0);
	in = (struct lag_input){
		.head = 20, .server_time = { 101 * S }, .passed = 19, .applied = { 101 * S - S / 50 }
	};
	assert_true(lag_update(&lag, &in) < 0.03);
}

static void never_too_low_with_many_samples(void **state)
{
	struct lag lag = { 0 };
	double seconds = 0;

	lag_update(&lag, &(struct lag_input){ .head = 1, .server_time = { 1 * S }, .passed = 1 });
	for (int64_t i = 2; i < 5000; i++) {
		seconds = lag_update(&lag,
			&(struct lag_input){ .head = (uint64_t)i, .server_time = { i * S }, .passed = 1 });
		assert_true(seconds == (double)(i - 1));
	}
	/* everything up to second 4000 is applied now: the true lag is 999 s or less */
	seconds = lag_update(
		&lag, &(struct lag_input){ .head = 5000, .server_time = { 5000 * S }, .passed = 4000 });
	assert_true(seconds >= 999);
	assert_true(seconds < 1100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_when_everything_is_passed),
		cmocka_unit_test(unknown_before_anything_is_known),
		cmocka_unit_test(exact_while_the_applier_holds_the_oldest),
		cmocka_unit_test(bounded_by_samples_of_the_end),
		cmocka_unit_test(as_close_as_the_samples_are),
		cmocka_unit_test(bounded_by_the_last_applied),
		cmocka_unit_test(never_too_low_with_many_samples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
