/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Values at the ends of what types hold, as Debezium's connector writes them; more digits than the target's type has; what a
 * message says of its table.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/debezium.h>

struct fixture {
	struct relation *rel;
	struct error err;
	char said[200]; /* of the table */
};

static struct relation *relation_of(void *ctx, const struct debezium_table *table, struct error *err)
{
	struct fixture *fx = ctx;
	int n = snprintf(fx->said, sizeof(fx->said), "%s.%s:", table->schema, table->name);

	for (uint32_t i = 0; i < table->n_columns; i++)
		n += snprintf(fx->said + n, sizeof(fx->said) - (size_t)n, " %s", table->columns[i]);
	for (uint32_t i = 0; i < table->n_keys; i++)
		n += snprintf(fx->said + n, sizeof(fx->said) - (size_t)n, " key %s", table->keys[i]);
	return fx->rel;
}

#define EVENT                                                                                                \
	"{\"before\":null,\"after\":{\"id\":1,\"v\":%s},\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"op\":\"c\"}"

/* what a value of the column becomes; NULL = it is refused */
static void becomes(
	enum debezium_time time, uint32_t oid, int32_t modifier, const char *json, const char *expected)
{
	const struct column columns[] = { { "id", 23, -1, true }, { "v", oid, modifier, false } };
	struct fixture fx = { .rel = relation_new(&(struct relation_spec){
				      1, "public", "t", IDENTITY_DEFAULT, 2, columns }) };
	struct debezium *dbz = debezium_new(&(struct debezium_options){
		.time = time, .decimal = DEBEZIUM_DECIMAL_STRING, .relation = relation_of, .ctx = &fx });
	struct batch *batch = batch_new(NULL);
	struct debezium_info info;
	struct record rec = { 0 };
	char value[400];
	struct message msg = { .key = "{\"id\":1}", .key_len = 8, .value = value };
	int r;

	msg.value_len = (size_t)snprintf(value, sizeof(value), EVENT, json);
	r = debezium_decode(dbz, &msg, batch, &rec, &info, &fx.err);
	assert_string_equal(fx.said, "public.t: id v key id");
	if (expected) {
		if (r < 0)
			fail_msg("%s: %s", json, fx.err.message);
		assert_int_equal(rec.after[1].len, strlen(expected));
		assert_memory_equal(rec.after[1].data, expected, strlen(expected));
	} else {
		assert_int_equal(r, -1);
		assert_string_equal(fx.err.code, "DEBEZIUM-VALUE");
	}
	batch_free(batch);
	debezium_free(dbz);
	relation_unref(fx.rel);
}

/* streamed, and in a snapshot */
static void test_dates_without_end(void **state)
{
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "2146033979", "infinity");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "-2147472691", "-infinity");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "-622191234", "infinity");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "-625821272", "-infinity");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1082, -1, "\"+5877611-06-21Z\"", "infinity");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1082, -1, "\"-5877611-06-22Z\"", "-infinity");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1082, -1, "\"+292278994-08-16Z\"", "infinity");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1082, -1, "\"+292269055-12-02Z\"", "-infinity");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "2145042905", "5874897-12-31");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "-2440550", "4713-01-01 BC");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "-100000000", NULL);
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1082, -1, "99999999999999", NULL);
}

/* beyond what microseconds since 1970 hold */
static void test_last_timestamps(void **state)
{
	becomes(DEBEZIUM_TIME_ISOSTRING, 1114, -1, "\"+294276-12-31T23:59:59.999999Z\"",
		"294276-12-31 23:59:59.999999");
	becomes(DEBEZIUM_TIME_ADAPTIVE, 1184, -1, "\"+294276-12-31T23:59:59.999999Z\"",
		"294276-12-31 23:59:59.999999+00");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1114, -1, "\"-4712-01-01T00:00:00Z\"", "4713-01-01 00:00:00 BC");
	becomes(DEBEZIUM_TIME_ISOSTRING, 1114, -1, "\"+292278994-08-16T23:00:00Z\"", "infinity");
}

/* numeric(10,2), timestamp(3) and time(0) would round */
static void test_nothing_is_rounded(void **state)
{
	const int32_t numeric = (10 << 16 | 2) + 4;

	becomes(DEBEZIUM_TIME_MICROSECONDS, 1700, numeric, "\"1.5\"", "1.50");
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1700, numeric, "\"1.5500\"", "1.55");
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1700, numeric, "\"1.555\"", NULL);
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1114, 3, "1000000123000", "1970-01-12 13:46:40.123");
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1114, 3, "1000000123400", NULL);
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1083, 0, "1000000", "00:00:01");
	becomes(DEBEZIUM_TIME_MICROSECONDS, 1083, 0, "1500000", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dates_without_end),
		cmocka_unit_test(test_last_timestamps),
		cmocka_unit_test(test_nothing_is_rounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
