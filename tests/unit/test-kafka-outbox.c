/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What waits for the client: in order, empty and null apart, and never more than a request holds.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "transport/kafka/outbox.h"

static struct parcel parcel_of(const char *key, const char *value)
{
	return (struct parcel){
		.key = key,
		.key_len = key ? strlen(key) : 0,
		.value = value,
		.value_len = value ? strlen(value) : 0,
		.headers = rd_kafka_headers_new(1),
	};
}

static void put(struct outbox *box, const char *key, const char *value)
{
	struct parcel parcel = parcel_of(key, value);

	assert_true(outbox_takes(box, parcel.key_len + parcel.value_len));
	outbox_put(box, &parcel);
}

static void expect_first(struct outbox *box, const char *key, const char *value)
{
	struct parcel parcel = outbox_first(box);

	assert_int_equal(!parcel.key, !key);
	assert_int_equal(!parcel.value, !value);
	assert_int_equal(parcel.key_len, key ? strlen(key) : 0);
	assert_int_equal(parcel.value_len, value ? strlen(value) : 0);
	assert_memory_equal(parcel.key ? parcel.key : "", key ? key : "", parcel.key_len);
	assert_memory_equal(parcel.value ? parcel.value : "", value ? value : "", parcel.value_len);
	rd_kafka_headers_destroy(parcel.headers);
	outbox_drop(box);
}

static void test_first_in_first_out(void **state)
{
	struct outbox box;

	outbox_init(&box, 1024 * 1024, 1);
	assert_true(outbox_is_empty(&box));
	put(&box, "k1", "v1");
	put(&box, "k2", NULL);
	put(&box, NULL, "");
	expect_first(&box, "k1", "v1");
	put(&box, "k4", "v4");
	expect_first(&box, "k2", NULL);
	expect_first(&box, NULL, "");
	assert_false(outbox_is_empty(&box));
	expect_first(&box, "k4", "v4");
	assert_true(outbox_is_empty(&box));
	put(&box, "k5", "v5"); /* its headers go with the box */
	outbox_fini(&box);
}

/* returns how many bytes of values it has taken */
static size_t put_until_full(struct outbox *box)
{
	static char value[20001];
	size_t bytes = 0;

	memset(value, 'x', sizeof(value) - 1);
	for (; outbox_takes(box, sizeof(value) - 1); bytes += sizeof(value) - 1)
		put(box, NULL, value);
	return bytes;
}

static void test_no_more_than_a_request(void **state)
{
	struct outbox box;

	outbox_init(&box, 1024 * 1024, 1);
	assert_in_range(put_until_full(&box), 800000, 900000);
	assert_true(outbox_takes(&box, 1));
	outbox_fini(&box);
	outbox_init(&box, 1024 * 1024, 1);
	for (int i = 0; i < 3000; i++)
		put(&box, "k", NULL);
	for (int i = 3000; outbox_takes(&box, 1); i++) {
		put(&box, "k", NULL);
		assert_in_range(i, 3000, 5000);
	}
	outbox_fini(&box);
}

static void test_a_request_for_each_partition(void **state)
{
	struct outbox box;
	int n;

	outbox_init(&box, 1024 * 1024, 4);
	assert_in_range(put_until_full(&box), 4 * 800000, 4 * 900000);
	outbox_fini(&box);
	outbox_init(&box, 1024 * 1024, 4);
	for (n = 0; outbox_takes(&box, 1); n++)
		put(&box, "k", NULL);
	assert_in_range(n, 12000, 20000);
	outbox_fini(&box);
}

/* what the client may refuse for its size is refused where its record is known */
static void test_large_ones_do_not_wait(void **state)
{
	struct outbox box;

	outbox_init(&box, 1024 * 1024, 1);
	assert_true(outbox_takes(&box, 99000));
	assert_false(outbox_takes(&box, 101000));
	outbox_init(&box, 10000, 1);
	assert_true(outbox_takes(&box, 4000));
	assert_false(outbox_takes(&box, 6000));
	outbox_fini(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_in_first_out),
		cmocka_unit_test(test_no_more_than_a_request),
		cmocka_unit_test(test_a_request_for_each_partition),
		cmocka_unit_test(test_large_ones_do_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
