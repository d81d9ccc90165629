/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * How far a target that several appliers share is as a whole: as far as all its partitions are, and no heartbeat says less of how
 * many these are.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/attempt.h"

static void hear(struct attempt *at, uint32_t partitions, uint64_t lsn, uint64_t head)
{
	const uint8_t bytes[8] = { [6] = (uint8_t)(lsn >> 8), [7] = (uint8_t)lsn };
	const struct record_heartbeat beat = {
		.resume = { bytes, sizeof(bytes) }, .partitions = partitions, .head = head
	};
	struct batch *batch = batch_new(NULL);
	struct record *rec = batch_add(batch);

	rec->op = RECORD_HEARTBEAT;
	rec->heartbeat = &beat;
	attempt_hear(at, batch);
	batch_free(batch);
}

static void nothing_is_said_beyond_the_newest_heartbeat(void **state)
{
	struct attempt at = { .format = &source_postgres_format };

	pthread_mutex_init(&at.lock, NULL);
	assert_int_equal(attempt_whole(&at, 4, 100), 0);
	hear(&at, 4, 100, 500);
	assert_int_equal(attempt_whole(&at, 3, 100), 0);
	assert_int_equal(attempt_whole(&at, 4, 90), 90);
	/* rows behind it are applied, but a table that nobody reads yet may have some, too */
	assert_int_equal(attempt_whole(&at, 4, 130), 100);
	/* without news of the source it still says how many partitions there are */
	hear(&at, 6, 140, 0);
	assert_int_equal(attempt_whole(&at, 4, 140), 0);
	assert_int_equal(attempt_whole(&at, 6, 140), 140);
	assert_int_equal(at.heard.head, 500);
	pthread_mutex_destroy(&at.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_said_beyond_the_newest_heartbeat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
