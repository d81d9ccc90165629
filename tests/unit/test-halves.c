/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What the halves tell each other, and what is made of it: notes from outside, clocks known by hearsay, silence, whose lag it is.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <sluice/log_lag.h>

#include "context_fixture.h"
#include "pipeline/exchange.h"

#define S INT64_C(1000000)

static char name[] = "shop", prefix[] = "shop";

static int setup(void **state)
{
	status_init(&status);
	cfg.name = name;
	cfg.transport.kafka.prefix = prefix;
	cfg.transport.type = TRANSPORT_DIRECT; /* no brokers: what was heard is given */
	cfg.cutover.max_lag_ms = 1000;
	return 0;
}

static int teardown(void **state)
{
	status_fini(&status);
	return 0;
}

static void notes_come_back(void **state)
{
	static const struct note note = {
		.at = { 1795251613220966 },
		.head = UINT64_MAX,
		.passed = 0x197E1D8,
		.durable = 1,
		.lag_us = 5,
		.prepared = -1,
		.new_tables = 3,
		.phase = PHASE_IN_SYNC,
	};
	struct note back;
	char text[NOTE_TEXT];

	assert_true(note_write(&note, text, sizeof(text)));
	assert_true(note_read(text, &back));
	assert_memory_equal(&back, &note, sizeof(note));
	assert_false(note_write(&note, text, 40));
}

static void notes_from_outside(void **state)
{
	static const char *const bad[] = { "", "sluice1", "sluice1 ", "sluice2 at=1",
		"sluice1 at=", "sluice1 at=x", "sluice1 at=0", "sluice1 at=-5",
		"sluice1 at=99999999999999999999999999", "sluice1 at=9e18", "sluice1 at=5 head=-1",
		"sluice1 at=5 lag=9223372036854775807", "sluice1 at=5 passed=1x", "at=5", "sluice1 head=5" };
	struct note note;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (note_read(bad[i], &note))
			fail_msg("taken: %s", bad[i]);
	}
	/* a newer version may say more, an older one less */
	assert_true(note_read("sluice1 at=5 mood=good  phase=sleeping = x= passed=7", &note));
	assert_int_equal(note.passed, 7);
	assert_int_equal(note.lag_us, -1);
	assert_int_equal(note.phase, PHASE_PREPARE);
}

static void clocks_are_never_behind_what_was_heard(void **state)
{
	struct source_clock clock = { 0 };
	struct mono t = { 1000 * S };

	assert_int_equal(source_clock_now(&clock, t).us, 0);
	source_clock_hear(&clock, t, (struct wall){ 5000 * S });
	/* heard two seconds after it was so: the better one counts */
	source_clock_hear(&clock, (struct mono){ 1010 * S }, (struct wall){ 5008 * S });
	assert_int_equal(source_clock_now(&clock, (struct mono){ 1020 * S }).us, 5020 * S);
	source_clock_hear(&clock, (struct mono){ 1030 * S }, (struct wall){ 5031 * S });
	assert_int_equal(source_clock_now(&clock, (struct mono){ 1040 * S }).us, 5041 * S);
	/* set back by an hour: believed after two minutes */
	for (int64_t s = 1050; s < 1200; s += 10)
		source_clock_hear(&clock, (struct mono){ s * S }, (struct wall){ (s + 400) * S });
	assert_int_equal(source_clock_now(&clock, (struct mono){ 1200 * S }).us, 1600 * S);
}

static void silence_grows(void **state)
{
	struct note note = { .at = { 100 * S }, .passed = 50, .lag_us = S / 2 };

	assert_true(note_lag(&note, 60, (struct wall){ 102 * S }, false) == 0.5);
	assert_true(note_lag(&note, 60, (struct wall){ 140 * S }, false) == 40.5);
	assert_true(note_lag(&note, 0, (struct wall){ 140 * S }, false) == 40.5);
	assert_true(note_lag(&note, 60, (struct wall){ 102 * S }, true) == 2.5);
	/* nothing was written since: nothing is missing */
	assert_true(note_lag(&note, 50, (struct wall){ 140 * S }, false) == 0);
	note.lag_us = -1;
	assert_true(note_lag(&note, 60, (struct wall){ 140 * S }, false) < 0);
}

static void who_is_behind(void **state)
{
	struct halves h;

	halves_init(&h);
	assert_int_equal(halves_judge(&h, 1), BEHIND_UNKNOWN);
	h.reader.seconds = 0.4;
	h.applier.seconds = 0.5;
	assert_int_equal(halves_judge(&h, 1), BEHIND_NONE);
	h.applier.seconds = 5;
	assert_int_equal(halves_judge(&h, 1), BEHIND_APPLIER);
	h.reader.seconds = 5.1;
	assert_int_equal(halves_judge(&h, 1), BEHIND_READER);
	h.applier.silent = true;
	assert_int_equal(halves_judge(&h, 1), BEHIND_APPLIER);
	h.reader.silent = true;
	assert_int_equal(halves_judge(&h, 1), BEHIND_READER);
	assert_string_equal(half_behind_to_string(BEHIND_READER), "reader");
}

/* the seconds of both add up to the lag */
static void the_applier_shows_both(void **state)
{
	struct exchange ex;
	struct sight sight = { .head = 1000, .now = { 100 * S }, .passed = 400, .seconds = 12 };

	exchange_init(&ex, &ctx, EXCHANGE_APPLIER);
	ex.alone = true;
	exchange_show_applier(&ex, &sight);
	assert_true(status.halves.applier.seconds < 0 && status.halves.reader.seconds < 0);
	ex.reader.note = (struct note){ .at = { 99 * S }, .head = 1000, .passed = 900, .lag_us = 2 * S };
	log_lag_set(&status, &(struct partition){ "shop.changes", 0 },
		&(struct log_lag){ .offset = 10, .end = 25, .held = true });
	log_lag_set(&status, &(struct partition){ "shop.changes", 1 },
		&(struct log_lag){ .offset = 0, .end = 1000 });
	exchange_show_applier(&ex, &sight);
	assert_true(status.halves.reader.seconds == 2 && status.halves.applier.seconds == 10);
	assert_int_equal(status.halves.reader.bytes, 100);
	assert_int_equal(status.halves.applier.bytes, 500);
	assert_int_equal(status.halves.applier.records, 15);
	assert_int_equal(status.halves.behind, BEHIND_APPLIER);
	exchange_fini(&ex);
}

static void partitions_come_and_go(void **state)
{
	const struct partition one = { "shop.changes", 0 };

	log_lag_set(&status, &one, NULL);
	assert_int_equal(status.n_log_lags, 0);
	log_lag_set(&status, &one, &(struct log_lag){ .offset = 7, .end = -1, .held = true });
	assert_int_equal(status.log_lags[0].records, -1);
	log_lag_set(&status, &one, &(struct log_lag){ .offset = 7, .end = 5, .held = true });
	assert_int_equal(status.log_lags[0].records, 0);
	assert_int_equal(status.n_log_lags, 1);
	log_lag_set(&status, &one, NULL);
	assert_int_equal(status.n_log_lags, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notes_come_back),
		cmocka_unit_test(notes_from_outside),
		cmocka_unit_test(clocks_are_never_behind_what_was_heard),
		cmocka_unit_test(silence_grows),
		cmocka_unit_test(who_is_behind),
		cmocka_unit_test_setup_teardown(the_applier_shows_both, setup, teardown),
		cmocka_unit_test_setup_teardown(partitions_come_and_go, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
