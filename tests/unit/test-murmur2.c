/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include <sluice/murmur2.h>

/* the values that Kafka's own UtilsTest expects, as unsigned numbers */
static void the_values_of_the_java_client(void **state)
{
	static const struct {
		const char *text;
		int32_t hash;
	} known[] = {
		{ "21", -973932308 },
		{ "foobar", -790332482 },
		{ "a-little-bit-long-string", -985981536 },
		{ "a-little-bit-longer-string", -1486304829 },
		{ "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 },
		{ "abc", 479470107 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		assert_int_equal((int32_t)murmur2(known[i].text, strlen(known[i].text)), known[i].hash);
}

static void a_partition_is_one_of_n(void **state)
{
	assert_int_equal(murmur2_partition("", 0, 1), 0);
	assert_int_equal(murmur2_partition("foobar", 6, 7), (uint32_t)(-790332482 & 0x7fffffff) % 7);
	for (uint32_t n = 1; n < 100; n++)
		assert_true(murmur2_partition("{\"id\":1}", 8, n) < n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_values_of_the_java_client),
		cmocka_unit_test(a_partition_is_one_of_n),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
