/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader's half on Kafka against the client's own mock cluster: taking the log over, what is written and what is
 * left out. Errors of brokers: test-kafka-errors.c.
 */

#include "kafka_writer_fixture.h"
#include "transport/kafka/writer.h"

static void test_a_batch_is_durable_once_it_is_acked(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	assert_false(k->tail.exists);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	assert_int_equal(k->writer->ops->durable(k->writer), 0);
	settle(k);
	add_heartbeat(k, 11);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBICK");
	expect_content(k, "shop.schemas", "S");
	assert_true(atomic_load(&k->metrics.kafka_produce_us.count) > 0);
}

/* until all that was sent is durable; returns how many messages waited at most, and were under way */
static uint32_t settle_watching(struct kafka *k, uint32_t *ret_under_way)
{
	const struct writer *w = (const struct writer *)(const void *)k->writer;
	struct mono until = mono_add_ms(mono_now(), LIMIT_MS);
	struct error err = ERROR_INIT;
	uint32_t waiting = 0;

	*ret_under_way = 0;
	while (k->writer->ops->durable(k->writer) < k->seq) {
		wait_fd(k);
		assert_int_equal(k->writer->ops->poll(k->writer, &err), 0);
		*ret_under_way = w->unacked > *ret_under_way ? w->unacked : *ret_under_way;
		waiting = w->outbox.n > waiting ? w->outbox.n : waiting;
		assert_true(mono_until_ms(until, mono_now()) > 0);
	}
	assert_true(outbox_is_empty(&w->outbox));
	assert_int_equal(w->unacked, 0);
	assert_int_equal(w->unacked_bytes, 0);
	return waiting;
}

/* the client never holds so many that its thread would poll for room; what waits goes in order */
static void test_a_request_is_put_together_while_one_is_under_way(void **state)
{
	struct kafka *k = *state;
	uint32_t under_way;
	char want[1100] = "1FXB";

	writer_begin(k);
	add_begin(k, 10, "one");
	for (uint64_t i = 1; i <= 1000; i++)
		add_row(k, 10, i);
	add_end(k, 10);
	memset(want + 4, 'I', 1000);
	want[1004] = 'C';
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 100);
	send_all(k);
	assert_in_range(settle_watching(k, &under_way), 700, 750);
	assert_in_range(under_way, 256, 1010);
	expect_content(k, "shop.changes", want);
}

static void test_the_next_reader_goes_on_behind_the_tail(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	settle(k);
	writer_begin(k);
	assert_true(k->tail.exists);
	assert_int_equal(k->tail.position.major, 10);
	assert_true(k->tail.position.minor == POSITION_END);
	assert_int_equal(k->tail.resume.data[0], 10);
	assert_string_equal(k->tail.identity, IDENTITY);
	/* the source sends the last transaction again */
	add_begin(k, 10, "two");
	add_row(k, 10, 1);
	add_end(k, 10);
	add_heartbeat(k, 10);
	add_begin(k, 20, "two");
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBIC2FXKBC");
}

/* a reader died in the middle of a transaction */
static void half_a_transaction(struct kafka *k)
{
	writer_begin(k);
	add_begin(k, 10, "one");
	add_end(k, 10);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	send_all(k);
	settle(k);
	writer_begin(k);
	assert_int_equal(k->tail.position.major, 20);
	assert_int_equal(k->tail.position.minor, 1);
	assert_int_equal(k->tail.resume.data[0], 10);
}

static void goes_on(struct kafka *k, const char *want)
{
	half_a_transaction(k);
	/* a heartbeat that the source sends before it must not come to stand inside it */
	add_heartbeat(k, 10);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_row(k, 20, 2);
	add_end(k, 20);
	add_heartbeat(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", want);
}

static void test_a_transaction_goes_on_where_it_was(void **state)
{
	goes_on(*state, "1FXBCBI2FXICK");
}

static void test_a_packed_transaction_goes_on_where_it_was(void **state)
{
	struct kafka *k = *state;

	k->cfg.transport.kafka.format = KAFKA_BINARY;
	goes_on(k, "1FX(BCBI)2FX(IC)K");
}

static void is_aborted(struct kafka *k, const char *want)
{
	half_a_transaction(k);
	add_begin(k, 20, "two");
	add_row(k, 20, 1);
	send_all(k);
	settle(k);
	/* what comes again of it is known to the reader after that, too */
	writer_begin(k);
	assert_int_equal(k->tail.position.minor, 1);
	add_begin(k, 20, "two");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", want);
}

static void test_other_options_abort_the_transaction(void **state)
{
	is_aborted(*state, "1FXBCBI2FXABI3FXC");
}

static void test_a_packed_transaction_is_aborted(void **state)
{
	struct kafka *k = *state;

	k->cfg.transport.kafka.format = KAFKA_BINARY;
	is_aborted(k, "1FX(BCBI)2FXA(BI)3FX(C)");
}

static void test_a_transaction_that_does_not_come_again_is_aborted(void **state)
{
	struct kafka *k = *state;

	half_a_transaction(k);
	add_begin(k, 30, "one");
	add_end(k, 30);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBCBI2FXABC");
}

/* binary: what a batch brings goes in one message, and what stands outside of transactions apart */
static void test_a_batch_in_one_message(void **state)
{
	struct kafka *k = *state;

	k->cfg.transport.kafka.format = KAFKA_BINARY;
	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	add_begin(k, 20, "one");
	add_end(k, 20);
	add_heartbeat(k, 20);
	add_begin(k, 30, "one");
	send_all(k);
	settle(k);
	add_row(k, 30, 1);
	add_end(k, 30);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FX(BICBC)K(B)(IC)");
}

/* packs that wait, too: for room in the client, and for the description of a relation */
static void test_packs_leave_in_order(void **state)
{
	struct kafka *k = *state;
	static char name[1000];
	uint64_t rows = 4000;
	uint32_t under_way;
	char found[8192];
	size_t packs = 0, records = 0;

	memset(name, 'x', sizeof(name) - 1);
	k->cfg.transport.kafka.format = KAFKA_BINARY;
	writer_begin(k);
	add_begin(k, 10, "one");
	for (uint64_t i = 1; i <= rows; i++)
		add_row_of(k, 10, i, name);
	add_end(k, 10);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 100);
	send_all(k);
	assert_true(settle_watching(k, &under_way) > 1);
	read_content(k, "shop.changes", found, sizeof(found));
	for (const char *at = found; *at; at++) {
		packs += *at == '(';
		records += *at == 'I';
	}
	/* a few bytes less than 64 of them fill one */
	assert_in_range(packs, rows / 64, rows / 60);
	assert_int_equal(records, rows);
}

static void test_another_source_is_refused(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_end(k, 10);
	send_all(k);
	settle(k);
	writer_end(k);
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	assert_int_equal(k->writer->ops->open(k->writer, "7001/other", &k->tail, &err), -1);
	assert_string_equal(err.code, "RESYNC-IDENTITY");
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
}

/* K26: retention deleted everything; K27: the topic was made anew */
static void test_K27_a_log_that_was_made_anew(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	struct state *store = NULL;

	writer_begin(k);
	writer_end(k);
	/* a reign that took over further behind than the log now reaches */
	assert_int_equal(state_kafka_new(&k->ctx, &store, &err), 0);
	state_kafka_reign(store, (struct reign){ 5, 1 });
	assert_int_equal(state_set(store, "reign", "5-0000000000000001 1000", 23, &err), 0);
	state_kafka_free(store);
	k->writer = transport_kafka_writer_new(&k->ctx, k->fd);
	assert_int_equal(k->writer->ops->open(k->writer, IDENTITY, &k->tail, &err), -1);
	assert_string_equal(err.code, "KAFKA-LOG-LOST");
	assert_int_equal(error_exit_code(&err), EXIT_RESYNC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kafka_test(test_a_batch_is_durable_once_it_is_acked),
		kafka_test(test_a_request_is_put_together_while_one_is_under_way),
		kafka_test(test_the_next_reader_goes_on_behind_the_tail),
		kafka_test(test_a_transaction_goes_on_where_it_was),
		kafka_test(test_other_options_abort_the_transaction),
		kafka_test(test_a_transaction_that_does_not_come_again_is_aborted),
		kafka_test(test_a_batch_in_one_message),
		kafka_test(test_a_packed_transaction_goes_on_where_it_was),
		kafka_test(test_a_packed_transaction_is_aborted),
		kafka_test(test_packs_leave_in_order),
		kafka_test(test_another_source_is_refused),
		kafka_test(test_K27_a_log_that_was_made_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
