/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Topics that Debezium wrote: which they are, where an applier may begin, and what repeated, empty and foreign messages
 * become.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "transport/kafka/foreign.h"

static void test_topics(void **state)
{
	static char prefix[] = "my.shop", first[] = "shop.public.*", second[] = "a?.b",
		    plain[] = "shop.public.t";
	char *patterns[] = { first, second };
	struct config_kafka cfg = { .prefix = prefix };
	char text[FOREIGN_TOPIC_BYTES];

	assert_int_equal(foreign_topics(&cfg), 1);
	foreign_topic(&cfg, 0, text, sizeof(text));
	assert_string_equal(text, "^my\\.shop\\.[^.]*\\.[^.]*$");
	assert_true(foreign_matches(&cfg, "my.shop.public.orders"));
	assert_false(foreign_matches(&cfg, "my.shop.transaction"));
	assert_false(foreign_matches(&cfg, "my.shop.public.orders.old"));
	assert_false(foreign_matches(&cfg, "__debezium-heartbeat.my.shop"));
	cfg.topics = (struct string_list){ patterns, 2 };
	assert_int_equal(foreign_topics(&cfg), 2);
	foreign_topic(&cfg, 1, text, sizeof(text));
	assert_string_equal(text, "^a[^.]\\.b$");
	assert_true(foreign_matches(&cfg, "shop.public.t") && foreign_matches(&cfg, "ax.b"));
	assert_false(foreign_matches(&cfg, "shop.public.t.u") || foreign_matches(&cfg, "a..b"));
	patterns[0] = plain;
	foreign_topic(&cfg, 0, text, sizeof(text));
	assert_string_equal(text, "shop.public.t");
}

static void begins(int64_t stored, int64_t low, int64_t high, bool whole, int64_t next, const char *code)
{
	struct feed *feed = feed_new("shop.public.t", 0);
	const struct progress progress = {
		.exists = stored >= 0, .offset = stored, .identity = "", .position = { 7, 8 }
	};
	struct error err = ERROR_INIT;
	int r = foreign_begin(feed, &progress, low, high, whole, &err);

	assert_int_equal(r, code ? -1 : 0);
	if (code) {
		assert_string_equal(err.code, code);
		assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
		assert_true(err.remedy[0] != 0);
	} else {
		assert_int_equal(feed->next, next);
		assert_int_equal(feed->last.major, stored >= 0 ? 7 : 0);
	}
	feed_free(feed);
}

static void test_where_to_begin(void **state)
{
	begins(-1, 0, 0, true, 0, NULL);
	begins(-1, 0, 50, true, 0, NULL);
	begins(-1, 20, 50, true, 0, "KAFKA-LOG-GONE");
	begins(-1, 20, 50, false, 20, NULL);
	begins(30, 20, 50, true, 31, NULL);
	begins(49, 50, 50, true, 50, NULL);
	begins(19, 20, 50, true, 20, NULL);
	begins(18, 20, 50, false, 0, "KAFKA-LOG-GONE");
	begins(50, 20, 50, true, 0, "KAFKA-LOG-SHORT");
	begins(5, 0, 3, true, 0, "KAFKA-LOG-SHORT");
}

struct fixture {
	struct catalog catalog;
	struct config cfg;
	struct context ctx;
	struct foreign *foreign;
	struct feed *feed;
	struct fill fill;
	int asked; /* the catalog */
};

static int table(
	struct catalog *catalog, const struct debezium_table *want, struct relation **ret, struct error *err)
{
	const struct column columns[] = { { "id", 23, -1, true }, { "v", 25, -1, false } };
	struct fixture *fx = (struct fixture *)catalog;

	fx->asked++;
	*ret = relation_new(&(struct relation_spec){
		1, want->schema, want->name, want->n_keys ? IDENTITY_DEFAULT : IDENTITY_FULL, 2, columns });
	return 0;
}

static void type(struct catalog *catalog, uint32_t oid, struct debezium_type *ret)
{
	*ret = (struct debezium_type){ .class = DEBEZIUM_TYPE_TEXT };
}

static const struct catalog_ops ops = { table, type };

static int setup(void **state)
{
	static char none[] = "";
	struct fixture *fx = test_calloc(1, sizeof(*fx));

	fx->catalog.ops = &ops;
	fx->cfg.transport.kafka.debezium.unavailable = none;
	fx->cfg.limits.record_bytes = 100;
	fx->ctx.cfg = &fx->cfg;
	fx->foreign = foreign_new(&fx->ctx, &fx->catalog, NULL);
	fx->feed = feed_new("shop.public.t", 0);
	fx->fill.frames = true;
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	foreign_free(fx->foreign);
	feed_free(fx->feed);
	test_free(fx);
	return 0;
}

static void take(struct fixture *fx, int64_t offset, const char *key, const char *value)
{
	const struct message msg = { .key = key,
		.key_len = key ? strlen(key) : 0,
		.value = value,
		.value_len = value ? strlen(value) : 0,
		.offset = offset,
		.at_ms = 1000 };
	struct error err = ERROR_INIT;

	if (foreign_take(fx->foreign, &fx->fill, fx->feed, &msg, &err) < 0)
		fail_msg("%s", err.message);
}

#define EVENT(op, rows, before, lsn)                                                                         \
	"{" rows ",\"source\":{\"schema\":\"public\",\"table\":\"t\",\"lsn\":" lsn                           \
	",\"sequence\":\"[\\\"" before "\\\",\\\"" lsn "\\\"]\",\"ts_us\":5000000},\"op\":\"" op "\"}"
#define ROW(v)	"\"before\":null,\"after\":{\"id\":1,\"v\":\"" v "\"}"
#define DELETED "\"before\":{\"id\":1,\"v\":null},\"after\":null"
#define UNSENT	"__debezium_unavailable_value"

/* what is told again is applied again, but known for it; what has no values of its own needs its row */
static void test_repetitions(void **state)
{
	static const struct {
		uint8_t op, flags;
	} want[] = { { RECORD_BEGIN, 0 }, { RECORD_INSERT, RECORD_UPSERT }, { RECORD_UPDATE, RECORD_UPSERT },
		{ RECORD_UPDATE, RECORD_UPSERT | RECORD_AGAIN },
		{ RECORD_DELETE, RECORD_UPSERT | RECORD_BEFORE_KEY },
		{ RECORD_UPDATE, RECORD_UPSERT | RECORD_TOAST }, { RECORD_END, 0 } };
	struct fixture *fx = *state;
	struct batch *batch;

	take(fx, 5, "{\"id\":1}", EVENT("r", ROW("a"), "90", "100"));
	take(fx, 6, "{\"id\":1}", EVENT("u", ROW("b"), "100", "110"));
	take(fx, 7, "{\"id\":1}", EVENT("u", ROW("b"), "90", "105"));
	take(fx, 8, "{\"id\":1}", EVENT("d", DELETED, "120", "121"));
	take(fx, 9, "{\"id\":1}", NULL);
	take(fx, 10, "{\"id\":1}", EVENT("c", ROW(UNSENT), "120", "119"));
	take(fx, 12, NULL, "{\"ts_ms\":1}");
	assert_int_equal(fx->feed->next, 13);
	assert_int_equal(fx->asked, 1);
	batch = fill_close(fx->feed, FILL_END_WHOLE);
	assert_int_equal(batch->n_records, sizeof(want) / sizeof(want[0]));
	for (uint32_t i = 0; i < batch->n_records; i++) {
		assert_int_equal(batch->records[i].op, want[i].op);
		assert_int_equal(batch->records[i].flags, want[i].flags);
	}
	/* progress: the last message that was looked at, the highest position */
	assert_int_equal(batch->records[6].offset, 12);
	assert_int_equal(batch->records[6].pos.major, 120);
	assert_int_equal(batch->records[6].pos.minor, 121);
	assert_int_equal(batch->records[6].end->commit_time.us, 5000000);
	batch_free(batch);
}

/* a partition in which nothing happens moves on all the same */
static void test_nothing_to_apply(void **state)
{
	struct fixture *fx = *state;
	struct batch *batch;

	take(fx, 3, "{\"id\":1}", NULL);
	take(fx, 4, NULL, "{\"status\":\"BEGIN\",\"id\":\"7:8\",\"ts_ms\":1}");
	batch = fill_close(fx->feed, FILL_END_WHOLE);
	assert_int_equal(batch->n_records, 3);
	assert_int_equal(batch->records[1].op, RECORD_MESSAGE);
	assert_int_equal(batch->records[2].op, RECORD_END);
	assert_int_equal(batch->records[2].offset, 4);
	batch_free(batch);
}

static void test_a_row_that_is_too_large(void **state)
{
	struct fixture *fx = *state;
	char text[101], rows[200], event[500];
	struct message msg = { .key = "{\"id\":1}", .key_len = 8, .value = event, .offset = 7 };

	memset(text, 's', sizeof(text));
	for (int length = 99; length <= 100; length++) {
		struct error err = ERROR_INIT;

		/* and a byte of the key */
		snprintf(rows, sizeof(rows), ROW("%.*s"), length, text);
		msg.value_len = (size_t)snprintf(event, sizeof(event), EVENT("c", "%s", "90", "100"), rows);
		msg.offset++;
		if (length == 99) {
			assert_int_equal(foreign_take(fx->foreign, &fx->fill, fx->feed, &msg, &err), 0);
			continue;
		}
		assert_int_equal(foreign_take(fx->foreign, &fx->fill, fx->feed, &msg, &err), -1);
		assert_string_equal(err.code, "RECORD-SIZE");
		assert_non_null(strstr(err.message, "shop.public.t partition 0"));
		assert_non_null(strstr(err.message, "offset 9: a row of public.t takes 101 bytes"));
		assert_null(strstr(err.message, "sss"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_topics),
		cmocka_unit_test(test_where_to_begin),
		cmocka_unit_test_setup_teardown(test_repetitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_apply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_row_that_is_too_large, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
