/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What a reader finds at the end of a log: which reign rules, which record is the last that counts.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "transport/kafka/tail.h"
#include <sluice/pack.h>

static const struct reign first = { 1, 0xa1 }, second = { 2, 0xb2 }, rival = { 2, 0xc3 }, third = { 3, 0xd4 };

/* a log read from some place on */
struct end {
	struct tail tail;
	struct arena arena;
	struct buf text;
	int64_t offset;
};

static struct end end_of(struct reign known)
{
	struct end end = { .arena = ARENA_INIT(NULL) };

	tail_init(&end.tail, known);
	return end;
}

static void end_fini(struct end *end)
{
	tail_fini(&end->tail);
	arena_reset(&end->arena);
	buf_fini(&end->text);
}

static struct position at(uint64_t major, uint64_t minor)
{
	return (struct position){ major, minor };
}

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

static int offer(struct end *end, struct stamp stamp, struct error *err)
{
	struct message msg = { .offset = end->offset++ };

	if (stamp.op == RECORD_INSERT)
		stamp.fingerprint = 7;
	buf_clear(&end->text);
	stamp_write(&stamp, &end->text, &msg);
	return tail_take(&end->tail, &msg, &end->arena, err);
}

static void take(struct end *end, struct stamp stamp)
{
	struct error err = ERROR_INIT;

	if (offer(end, stamp, &err) < 0)
		fail_msg("offset %lld: %s", (long long)end->offset - 1, err.message);
}

static void refuse(struct end *end, struct stamp stamp, const char *code)
{
	struct error err = ERROR_INIT;

	assert_int_equal(offer(end, stamp, &err), -1);
	assert_string_equal(err.code, code);
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
}

static void take_begin(
	struct end *end, struct reign reign, uint64_t major, struct position prev, const char *options)
{
	struct stamp stamp = record(RECORD_BEGIN, reign, at(major, 0), prev);

	stamp.options = options;
	take(end, stamp);
}

static void take_end(struct end *end, struct reign reign, uint64_t major, uint64_t last)
{
	struct stamp stamp = record(RECORD_END, reign, at(major, POSITION_END), at(major, last));
	uint8_t resume[1] = { (uint8_t)major };

	stamp.resume = (struct resume){ resume, sizeof(resume) };
	take(end, stamp);
}

/* one transaction with one row; returns its last position */
static struct position transaction(struct end *end, struct reign reign, uint64_t major, struct position prev)
{
	take_begin(end, reign, major, prev, "one");
	take(end, record(RECORD_INSERT, reign, at(major, 1), at(major, 0)));
	take_end(end, reign, major, 1);
	return at(major, POSITION_END);
}

static void fence(struct end *end, struct reign reign, struct position tail)
{
	take(end, record(RECORD_FENCE, reign, tail, tail));
}

static void go_on(struct end *end, struct reign reign, struct position tail, uint8_t resume)
{
	struct stamp stamp = record(STAMP_CONTINUE, reign, tail, tail);

	if (resume)
		stamp.resume = (struct resume){ &resume, 1 };
	take(end, stamp);
}

static void expect_last(const struct end *end, struct position pos)
{
	assert_true(end->tail.found);
	assert_int_equal(end->tail.last.major, pos.major);
	assert_int_equal(end->tail.last.minor, pos.minor);
}

/* a pack: a whole transaction, and the beginning of the next one */
static void take_pack(struct end *end, struct reign reign, uint64_t major, struct position prev)
{
	const uint8_t resume[1] = { (uint8_t)major };
	const struct stamp all[] = {
		{ .op = RECORD_BEGIN, .pos = at(major, 0), .prev = prev, .options = "one" },
		{ .op = RECORD_END, .pos = at(major, POSITION_END), .resume = { resume, 1 }, .options = "" },
		{ .op = RECORD_BEGIN, .pos = at(major + 1, 0), .options = "two" },
		{ .op = RECORD_INSERT, .pos = at(major + 1, 1), .options = "", .fingerprint = 7 },
	};
	struct stamp stamp = record(STAMP_PACK, reign, POSITION_NONE, POSITION_NONE);
	struct message msg = { .offset = end->offset++ };
	struct error err = ERROR_INIT;
	struct pack pack = { 0 };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		const char value[] = { '\xd5', 1, (char)all[i].op };

		pack_put(&pack, &all[i], value, sizeof(value));
	}
	pack_write(&pack, &stamp, &msg);
	buf_clear(&end->text);
	stamp_write(&stamp, &end->text, &msg);
	if (tail_take(&end->tail, &msg, &end->arena, &err) < 0)
		fail_msg("offset %lld: %s", (long long)end->offset - 1, err.message);
	pack_fini(&pack);
}

static void test_the_tail_stands_inside_a_pack(void **state)
{
	struct end end = end_of(first);

	take(&end, record(RECORD_FENCE, first, POSITION_NONE, POSITION_NONE));
	go_on(&end, first, POSITION_NONE, 0);
	take_pack(&end, first, 10, POSITION_NONE);
	expect_last(&end, at(11, 1));
	assert_true(tail_inside(&end.tail));
	assert_true(end.tail.begun == 11 && end.tail.resume.data[0] == 10);
	assert_string_equal(end.tail.options, "two");
	/* a repeated one changes nothing, and neither does that of a reign that was replaced */
	take_pack(&end, first, 10, POSITION_NONE);
	expect_last(&end, at(11, 1));
	fence(&end, second, at(11, 1));
	take_pack(&end, first, 20, at(11, 1));
	expect_last(&end, at(11, 1));
	end_fini(&end);
}

static void test_a_new_log_has_no_tail(void **state)
{
	struct end end = end_of(REIGN_NONE);

	fence(&end, first, POSITION_NONE);
	go_on(&end, first, POSITION_NONE, 0);
	assert_false(end.tail.found);
	assert_true(reign_equal(end.tail.current, first));
	end_fini(&end);
}

static void test_the_last_record_is_the_tail(void **state)
{
	struct end end = end_of(first);
	struct position last;

	fence(&end, first, POSITION_NONE);
	go_on(&end, first, POSITION_NONE, 0);
	last = transaction(&end, first, 10, POSITION_NONE);
	last = transaction(&end, first, 20, last);
	expect_last(&end, last);
	assert_int_equal(end.tail.resume.len, 1);
	assert_int_equal(end.tail.resume.data[0], 20);
	assert_string_equal(end.tail.identity, "7000/shop");
	assert_false(tail_inside(&end.tail));
	end_fini(&end);
}

static void test_a_tail_inside_a_transaction_knows_its_begin(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	take_begin(&end, first, 20, at(10, POSITION_END), "two");
	take(&end, record(RECORD_INSERT, first, at(20, 1), at(20, 0)));
	expect_last(&end, at(20, 1));
	assert_true(tail_inside(&end.tail));
	assert_int_equal(end.tail.begun, 20);
	assert_string_equal(end.tail.options, "two");
	assert_int_equal(end.tail.resume.data[0], 10);
	end_fini(&end);
}

static void test_an_aborted_transaction_is_not_open(void **state)
{
	struct end end = end_of(first);

	take_begin(&end, first, 20, at(10, POSITION_END), "two");
	take(&end, record(RECORD_INSERT, first, at(20, 1), at(20, 0)));
	take(&end, record(RECORD_ABORT, first, at(20, 1), at(20, 1)));
	expect_last(&end, at(20, 1));
	assert_true(end.tail.aborted);
	assert_false(tail_inside(&end.tail));
	/* it comes again, whole, and goes back in position */
	take_begin(&end, first, 20, at(20, 1), "three");
	expect_last(&end, at(20, 0));
	assert_true(tail_inside(&end.tail));
	assert_string_equal(end.tail.options, "three");
	end_fini(&end);
}

/* K25: a stopped reader wakes up behind the fence of its successor, in the middle of that one's transaction */
static void test_K25_late_records_are_not_the_tail(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	take_begin(&end, first, 20, at(10, POSITION_END), "one");
	fence(&end, second, POSITION_NONE);
	go_on(&end, second, at(20, 0), 10);
	take(&end, record(RECORD_INSERT, second, at(20, 1), at(20, 0)));
	take(&end, record(RECORD_INSERT, first, at(20, 1), at(20, 0)));
	take_end(&end, first, 20, 1);
	expect_last(&end, at(20, 1));
	assert_true(tail_inside(&end.tail));
	assert_true(reign_equal(end.tail.current, second));
	end_fini(&end);
}

/* K29: the second reader fences and dies early, the first wakes and appends, a third starts */
static void test_K29_records_behind_a_dead_fence_are_not_the_tail(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	fence(&end, second, POSITION_NONE);
	transaction(&end, first, 20, at(10, POSITION_END));
	expect_last(&end, at(10, POSITION_END));
	assert_int_equal(end.tail.resume.data[0], 10);
	/* the third is the one that reads this: its number has to be above the second's */
	assert_int_equal(end.tail.current.number, 2);
	fence(&end, third, POSITION_NONE);
	go_on(&end, third, at(10, POSITION_END), 10);
	transaction(&end, third, 20, at(10, POSITION_END));
	expect_last(&end, at(20, POSITION_END));
	end_fini(&end);
}

static void test_the_first_fence_of_a_number_wins(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	fence(&end, second, POSITION_NONE);
	fence(&end, rival, POSITION_NONE);
	go_on(&end, rival, at(10, POSITION_END), 10);
	transaction(&end, rival, 20, at(10, POSITION_END));
	expect_last(&end, at(10, POSITION_END));
	assert_true(reign_equal(end.tail.current, second));
	end_fini(&end);
}

static void test_contradictions_end_the_search(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	refuse(&end, record(RECORD_BEGIN, first, at(30, 0), at(20, POSITION_END)), "KAFKA-LOG-GAP");
	/* written twice: no contradiction, and not counted */
	take(&end, record(RECORD_INSERT, first, at(10, 1), at(10, 0)));
	expect_last(&end, at(10, POSITION_END));
	fence(&end, second, POSITION_NONE);
	refuse(&end, record(STAMP_CONTINUE, second, at(10, 1), at(10, 1)), "KAFKA-LOG-CONTINUE");
	end_fini(&end);
}

static void test_a_reign_without_its_fence_asks_for_more(void **state)
{
	struct end end = end_of(first);

	transaction(&end, first, 10, POSITION_NONE);
	transaction(&end, second, 20, at(10, POSITION_END));
	expect_last(&end, at(10, POSITION_END));
	assert_true(end.tail.torn);
	assert_false(tail_whole(&end.tail));
	end_fini(&end);
}

/* a window is sure once it holds more of the known reign than a stopped producer could have held back */
static void test_a_window_has_to_be_wide_enough(void **state)
{
	struct end end = end_of(first);
	struct position last = POSITION_NONE;

	for (uint64_t i = 1; end.tail.known_records <= KAFKA_QUEUE_MESSAGES; i++) {
		assert_false(tail_whole(&end.tail));
		last = transaction(&end, first, i, last);
	}
	assert_true(tail_whole(&end.tail));
	/* what the transaction was read with has to be known, too */
	take_begin(&end, first, UINT32_MAX, last, "one");
	assert_true(tail_whole(&end.tail));
	end.tail.begun = 0;
	assert_false(tail_whole(&end.tail));
	end_fini(&end);
}

static void test_continue_tells_what_stood_before(void **state)
{
	struct end end = end_of(second);
	struct stamp stamp = record(STAMP_CONTINUE, second, at(20, 3), at(20, 3));
	uint8_t resume = 10;

	fence(&end, second, POSITION_NONE);
	stamp.resume = (struct resume){ &resume, 1 };
	stamp.options = "two";
	take(&end, stamp);
	expect_last(&end, at(20, 3));
	assert_true(tail_inside(&end.tail));
	assert_int_equal(end.tail.begun, 20);
	assert_string_equal(end.tail.options, "two");
	assert_int_equal(end.tail.resume.data[0], 10);
	assert_string_equal(end.tail.identity, "7000/shop");
	end_fini(&end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_tail_stands_inside_a_pack),
		cmocka_unit_test(test_a_new_log_has_no_tail),
		cmocka_unit_test(test_the_last_record_is_the_tail),
		cmocka_unit_test(test_a_tail_inside_a_transaction_knows_its_begin),
		cmocka_unit_test(test_an_aborted_transaction_is_not_open),
		cmocka_unit_test(test_K25_late_records_are_not_the_tail),
		cmocka_unit_test(test_K29_records_behind_a_dead_fence_are_not_the_tail),
		cmocka_unit_test(test_the_first_fence_of_a_number_wins),
		cmocka_unit_test(test_contradictions_end_the_search),
		cmocka_unit_test(test_a_reign_without_its_fence_asks_for_more),
		cmocka_unit_test(test_a_window_has_to_be_wide_enough),
		cmocka_unit_test(test_continue_tells_what_stood_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
