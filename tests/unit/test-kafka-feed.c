/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which messages of a partition count: fences, the chain of positions, and where an applier may begin.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "transport/kafka/fill.h"

#define TOPIC "shop.changes"

static const struct reign first = { 1, 0xa1 }, second = { 2, 0xb2 }, rival = { 2, 0xc3 };

static struct stamp record(uint8_t op, struct reign reign, struct position pos, struct position prev)
{
	return (struct stamp){
		.op = op,
		.reign = reign,
		.pos = pos,
		.prev = prev,
		.has_pos = true,
		.identity = "7000/shop",
		.options = "",
	};
}

static struct position at(uint64_t major, uint64_t minor)
{
	return (struct position){ major, minor };
}

static struct feed *fresh(void)
{
	struct feed *feed = feed_new(TOPIC, 0);
	const struct progress none = { .offset = -1, .identity = "" };
	struct error err = ERROR_INIT;

	assert_int_equal(feed_begin(feed, &none, 0, 0, &err), 0);
	assert_int_equal(feed->next, 0);
	return feed;
}

static void judged(struct feed *feed, struct stamp stamp, int64_t offset, enum feed_verdict want)
{
	struct error err = ERROR_INIT;
	enum feed_verdict verdict = FEED_IGNORE;

	if (feed_judge(feed, &stamp, offset, &verdict, &err) < 0)
		fail_msg("offset %lld: %s", (long long)offset, err.message);
	assert_int_equal(verdict, want);
	assert_int_equal(feed->next, offset + 1);
}

static void refused(struct feed *feed, struct stamp stamp, int64_t offset, const char *code)
{
	struct error err = ERROR_INIT;
	enum feed_verdict verdict = FEED_IGNORE;

	assert_int_equal(feed_judge(feed, &stamp, offset, &verdict, &err), -1);
	assert_string_equal(err.code, code);
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
	assert_non_null(strstr(err.message, TOPIC));
	assert_true(err.remedy[0] != 0);
}

static void fence(struct feed *feed, struct reign reign, struct position tail, int64_t offset)
{
	judged(feed, record(RECORD_FENCE, reign, tail, tail), offset, FEED_REIGN);
	judged(feed, record(STAMP_CONTINUE, reign, tail, tail), offset + 1, FEED_IGNORE);
}

/* one transaction with one row; returns its last position */
static struct position transaction(
	struct feed *feed, struct reign reign, uint64_t major, struct position prev, int64_t offset)
{
	judged(feed, record(RECORD_BEGIN, reign, at(major, 0), prev), offset, FEED_TAKE);
	judged(feed, record(RECORD_INSERT, reign, at(major, 1), at(major, 0)), offset + 1, FEED_TAKE);
	judged(feed, record(RECORD_END, reign, at(major, POSITION_END), at(major, 1)), offset + 2, FEED_TAKE);
	return at(major, POSITION_END);
}

static void test_records_follow_one_another(void **state)
{
	struct feed *feed = fresh();
	struct position last;

	fence(feed, first, POSITION_NONE, 0);
	last = transaction(feed, first, 10, POSITION_NONE, 2);
	/* a heartbeat has the position of the END before it */
	judged(feed, record(RECORD_HEARTBEAT, first, last, last), 5, FEED_TAKE);
	transaction(feed, first, 20, last, 6);
	assert_string_equal(feed->identity, "7000/shop");
	feed_free(feed);
}

/* K25: a stopped producer wakes up behind the fence of its successor, in the middle of that one's transaction */
static void test_records_of_a_dead_reign_are_ignored(void **state)
{
	struct feed *feed = fresh();

	fence(feed, first, POSITION_NONE, 0);
	judged(feed, record(RECORD_BEGIN, first, at(10, 0), POSITION_NONE), 2, FEED_TAKE);
	fence(feed, second, at(10, 0), 3);
	judged(feed, record(RECORD_INSERT, second, at(10, 1), at(10, 0)), 5, FEED_TAKE);
	judged(feed, record(RECORD_INSERT, first, at(10, 1), at(10, 0)), 6, FEED_IGNORE);
	judged(feed, record(RECORD_END, first, at(10, POSITION_END), at(10, 1)), 7, FEED_IGNORE);
	/* neither can it fence back, nor can a rival that took the same number later */
	judged(feed, record(RECORD_FENCE, first, POSITION_NONE, POSITION_NONE), 8, FEED_IGNORE);
	judged(feed, record(RECORD_FENCE, rival, at(10, 0), at(10, 0)), 9, FEED_IGNORE);
	judged(feed, record(RECORD_END, rival, at(10, POSITION_END), at(10, 1)), 10, FEED_IGNORE);
	judged(feed, record(RECORD_END, second, at(10, POSITION_END), at(10, 1)), 11, FEED_TAKE);
	feed_free(feed);
}

static void test_hole_in_the_chain(void **state)
{
	struct feed *feed = fresh();

	fence(feed, first, POSITION_NONE, 0);
	transaction(feed, first, 10, POSITION_NONE, 2);
	refused(feed, record(RECORD_BEGIN, first, at(30, 0), at(20, POSITION_END)), 5, "KAFKA-LOG-GAP");
	feed_free(feed);
}

static void test_continue_elsewhere(void **state)
{
	struct feed *feed = fresh();

	fence(feed, first, POSITION_NONE, 0);
	transaction(feed, first, 10, POSITION_NONE, 2);
	judged(feed, record(RECORD_FENCE, second, POSITION_NONE, POSITION_NONE), 5, FEED_REIGN);
	refused(feed, record(STAMP_CONTINUE, second, at(9, 1), at(9, 1)), 6, "KAFKA-LOG-CONTINUE");
	feed_free(feed);
}

static void test_written_twice(void **state)
{
	struct feed *feed = fresh();
	struct position last;

	fence(feed, first, POSITION_NONE, 0);
	last = transaction(feed, first, 10, POSITION_NONE, 2);
	judged(feed, record(RECORD_BEGIN, first, at(10, 0), POSITION_NONE), 5, FEED_DUPLICATE);
	judged(feed, record(RECORD_INSERT, first, at(10, 1), at(10, 0)), 6, FEED_DUPLICATE);
	transaction(feed, first, 20, last, 7);
	feed_free(feed);
}

/* P54: a transaction that was half written is aborted and comes again whole, from below what was accepted */
static void test_aborted_and_again(void **state)
{
	struct feed *feed = fresh();

	fence(feed, first, POSITION_NONE, 0);
	judged(feed, record(RECORD_BEGIN, first, at(10, 0), POSITION_NONE), 2, FEED_TAKE);
	judged(feed, record(RECORD_INSERT, first, at(10, 1), at(10, 0)), 3, FEED_TAKE);
	fence(feed, second, at(10, 1), 4);
	judged(feed, record(RECORD_ABORT, second, at(10, 1), at(10, 1)), 6, FEED_TAKE);
	transaction(feed, second, 10, at(10, 1), 7);
	feed_free(feed);
}

static void test_reign_without_a_fence(void **state)
{
	struct feed *feed = fresh();

	refused(feed, record(RECORD_BEGIN, first, at(10, 0), POSITION_NONE), 0, "KAFKA-LOG-FENCE");
	feed_free(feed);
}

static void test_another_source(void **state)
{
	struct feed *feed = fresh();
	struct stamp stamp = record(RECORD_BEGIN, first, at(20, 0), at(10, POSITION_END));

	fence(feed, first, POSITION_NONE, 0);
	transaction(feed, first, 10, POSITION_NONE, 2);
	stamp.identity = "7001/shop";
	refused(feed, stamp, 5, "KAFKA-SOURCE");
	feed_free(feed);
}

/* where an applier goes on: offset 5 is the END of transaction 10 */
static struct progress stood(void)
{
	return (struct progress){
		.exists = true,
		.position = { 10, POSITION_END },
		.offset = 5,
		.reign = first,
		.identity = "7000/shop",
	};
}

static void test_goes_on_behind_progress(void **state)
{
	struct feed *feed = feed_new(TOPIC, 0);
	const struct progress progress = stood();
	struct error err = ERROR_INIT;

	assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
	assert_int_equal(feed->next, 5);
	judged(feed, record(RECORD_END, first, at(10, POSITION_END), at(10, 1)), 5, FEED_IGNORE);
	transaction(feed, first, 20, at(10, POSITION_END), 6);
	feed_free(feed);
}

/* K21: what was applied from that offset is not there any more */
static void test_another_record_at_the_offset(void **state)
{
	const struct stamp others[] = {
		record(RECORD_END, first, at(9, POSITION_END), at(9, 1)),
		record(RECORD_END, second, at(10, POSITION_END), at(10, 1)),
		record(RECORD_FENCE, second, POSITION_NONE, POSITION_NONE),
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct feed *feed = feed_new(TOPIC, 0);
		const struct progress progress = stood();
		struct error err = ERROR_INIT;

		assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
		refused(feed, others[i], 5, "KAFKA-LOG-CHANGED");
		feed_free(feed);
	}
}

/* the record that was applied last may stand in the middle of its message */
static void test_goes_on_inside_a_pack(void **state)
{
	struct stamp before = record(RECORD_BEGIN, first, at(10, 0), at(9, POSITION_END));
	struct stamp other = record(RECORD_END, first, at(11, POSITION_END), at(11, 0));
	const struct progress progress = stood();
	struct error err = ERROR_INIT;
	struct feed *feed;

	before.more = true;
	for (int last = 0; last < 2; last++) {
		struct stamp stored = record(RECORD_END, first, at(10, POSITION_END), at(10, 0));

		feed = feed_new(TOPIC, 0);
		stored.more = !last;
		assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
		judged(feed, before, 5, FEED_IGNORE);
		judged(feed, stored, 5, FEED_IGNORE);
		transaction(feed, first, 20, at(10, POSITION_END), last ? 6 : 5);
		feed_free(feed);
	}
	/* it is not there: neither further on nor at the end */
	for (int more = 0; more < 2; more++) {
		other.more = more;
		feed = feed_new(TOPIC, 0);
		assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
		judged(feed, before, 5, FEED_IGNORE);
		refused(feed, other, 5, "KAFKA-LOG-CHANGED");
		feed_free(feed);
	}
	before.more = false;
	feed = feed_new(TOPIC, 0);
	assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
	refused(feed, before, 5, "KAFKA-LOG-CHANGED");
	feed_free(feed);
}

static void test_marks_have_no_position(void **state)
{
	struct feed *feed = feed_new(TOPIC, 0);
	const struct progress progress = stood();
	struct stamp mark = record(RECORD_CHUNK, first, POSITION_NONE, POSITION_NONE);
	struct error err = ERROR_INIT;

	mark.has_pos = false;
	assert_int_equal(feed_begin(feed, &progress, 0, 9, &err), 0);
	judged(feed, mark, 5, FEED_IGNORE);
	judged(feed, mark, 6, FEED_TAKE);
	transaction(feed, first, 20, at(10, POSITION_END), 7);
	feed_free(feed);
}

/* where a reader that takes over has not written a record yet, what progress names was still written by the one before it */
static void test_heartbeat_behind_a_fence(void **state)
{
	const struct fill fill = { .frames = true };
	const struct record_heartbeat beat = { .head = 30 };
	struct position last;
	struct batch *batch;
	struct feed *feed = fresh();
	struct progress progress = stood();
	struct error err = ERROR_INIT;

	fence(feed, first, POSITION_NONE, 1);
	last = transaction(feed, first, 10, POSITION_NONE, 3);
	judged(feed, record(RECORD_FENCE, second, last, last), 6, FEED_REIGN);
	fill_heartbeat(&fill, feed, &beat);
	batch = fill_close(feed, FILL_END_WHOLE);
	assert_int_equal(batch->n_records, 1);
	progress.position = batch->records[0].pos;
	progress.offset = batch->records[0].offset;
	progress.reign = batch->reign;
	batch_free(batch);
	feed_free(feed);

	feed = feed_new(TOPIC, 0);
	assert_int_equal(feed_begin(feed, &progress, 0, 7, &err), 0);
	judged(feed, record(RECORD_END, first, last, at(10, 1)), 5, FEED_IGNORE);
	fence(feed, second, last, 6);
	transaction(feed, second, 20, last, 8);
	feed_free(feed);
}

/* K19: the record itself is gone, but nothing behind it */
static void test_start_deleted_up_to_progress(void **state)
{
	struct feed *feed = feed_new(TOPIC, 0);
	const struct progress progress = stood();
	struct error err = ERROR_INIT;

	assert_int_equal(feed_begin(feed, &progress, 6, 12, &err), 0);
	assert_int_equal(feed->next, 6);
	transaction(feed, first, 20, at(10, POSITION_END), 6);
	feed_free(feed);

	feed = feed_new(TOPIC, 0);
	assert_int_equal(feed_begin(feed, &progress, 6, 12, &err), 0);
	refused(feed, record(RECORD_BEGIN, first, at(30, 0), at(20, POSITION_END)), 6, "KAFKA-LOG-GAP");
	feed_free(feed);
}

static void begins_not(const struct progress *progress, int64_t low, int64_t high, const char *code)
{
	struct feed *feed = feed_new(TOPIC, 3);
	struct error err = ERROR_INIT;

	assert_int_equal(feed_begin(feed, progress, low, high, &err), -1);
	assert_string_equal(err.code, code);
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
	assert_non_null(strstr(err.message, TOPIC " partition 3"));
	feed_free(feed);
}

/* K26, K27 */
static void test_nothing_to_go_on_from(void **state)
{
	const struct progress none = { .offset = -1, .identity = "" }, progress = stood();

	begins_not(&none, 7, 7, "KAFKA-LOG-EMPTY");
	begins_not(&progress, 0, 0, "KAFKA-LOG-SHORT");
	begins_not(&progress, 0, 5, "KAFKA-LOG-SHORT");
	begins_not(&progress, 7, 7, "KAFKA-LOG-EMPTY");
	begins_not(&progress, 7, 12, "KAFKA-LOG-GONE");
}

static void test_no_progress_and_no_beginning(void **state)
{
	struct feed *feed = feed_new(TOPIC, 0);
	const struct progress none = { .offset = -1, .identity = "" };
	struct error err = ERROR_INIT;

	assert_int_equal(feed_begin(feed, &none, 4, 9, &err), 0);
	judged(feed, record(RECORD_FENCE, second, POSITION_NONE, POSITION_NONE), 4, FEED_REIGN);
	refused(feed, record(STAMP_CONTINUE, second, at(10, 1), at(10, 1)), 5, "KAFKA-LOG-CONTINUE");
	feed_free(feed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_follow_one_another),
		cmocka_unit_test(test_records_of_a_dead_reign_are_ignored),
		cmocka_unit_test(test_hole_in_the_chain),
		cmocka_unit_test(test_continue_elsewhere),
		cmocka_unit_test(test_written_twice),
		cmocka_unit_test(test_aborted_and_again),
		cmocka_unit_test(test_reign_without_a_fence),
		cmocka_unit_test(test_another_source),
		cmocka_unit_test(test_goes_on_behind_progress),
		cmocka_unit_test(test_another_record_at_the_offset),
		cmocka_unit_test(test_goes_on_inside_a_pack),
		cmocka_unit_test(test_marks_have_no_position),
		cmocka_unit_test(test_heartbeat_behind_a_fence),
		cmocka_unit_test(test_start_deleted_up_to_progress),
		cmocka_unit_test(test_nothing_to_go_on_from),
		cmocka_unit_test(test_no_progress_and_no_beginning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
