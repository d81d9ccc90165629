/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <limits.h>

#include <sluice/clock.h>

static void waits_are_rounded_up_and_fit_poll(void **state)
{
	struct mono now = { 5000000 };

	assert_int_equal(mono_until_ms((struct mono){ 5000001 }, now), 1);
	assert_int_equal(mono_until_ms((struct mono){ 5001000 }, now), 1);
	assert_int_equal(mono_until_ms((struct mono){ 5001001 }, now), 2);
	assert_int_equal(mono_until_ms(now, now), 0);
	assert_int_equal(mono_until_ms((struct mono){ 1 }, now), 0);
	assert_int_equal(mono_until_ms((struct mono){ INT64_MAX }, now), INT_MAX);
	assert_int_equal(mono_diff_us(mono_add_ms(now, 7), now), 7000);
}

static void monotonic_time_does_not_go_back(void **state)
{
	struct mono a = mono_now(), b = mono_now();

	assert_true(a.us > 0 && b.us >= a.us);
	assert_true(wall_now().us > INT64_C(1700000000000000));
}

static void wall_times_are_rfc_3339(void **state)
{
	char buf[40];

	assert_string_equal(wall_format((struct wall){ 0 }, buf, sizeof(buf)), "1970-01-01T00:00:00.000000Z");
	assert_string_equal(
		wall_format((struct wall){ -1 }, buf, sizeof(buf)), "1969-12-31T23:59:59.999999Z");
	assert_string_equal(wall_format((struct wall){ INT64_C(1709210096123456) }, buf, sizeof(buf)),
		"2024-02-29T12:34:56.123456Z");
	assert_string_equal(wall_format((struct wall){ INT64_MIN }, buf, 8), "-290308");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_are_rounded_up_and_fit_poll),
		cmocka_unit_test(monotonic_time_does_not_go_back),
		cmocka_unit_test(wall_times_are_rfc_3339),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
