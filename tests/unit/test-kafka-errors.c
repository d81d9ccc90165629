/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What the reader's half does with errors and delays that brokers give; the client's mock cluster gives those that a real one
 * cannot be made to.
 */

#include "kafka_writer_fixture.h"

/* K07: a broker takes less than the client */
static void test_K07_a_message_that_a_broker_refuses(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	settle(k);
	rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle_error(k, &err);
	assert_int_equal(err.class, ERROR_DATA);
	assert_non_null(strstr(err.message, "position 0/14:"));
	/* and nothing behind it */
	add_begin(k, 30, "one");
	k->batch->seq = 3;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), -1);
	writer_end(k);
	expect_content(k, "shop.changes", "1FXBIC");
	/* the next one writes it */
	writer_begin(k);
	add_begin(k, 20, "one");
	add_row(k, 20, 1);
	add_end(k, 20);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBIC2FXBIC");
}

/* K08: more than the client itself sends */
static void too_large(struct kafka *k)
{
	struct error err = ERROR_INIT;
	char *name = malloc(2 * 1024 * 1024);

	assert_non_null(name);
	memset(name, 'y', 2 * 1024 * 1024 - 1);
	name[2 * 1024 * 1024 - 1] = 0;
	writer_begin(k);
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	send_all(k);
	settle(k);
	add_row_of(k, 10, 2, name);
	add_end(k, 10);
	k->batch->seq = 2;
	assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), -1);
	assert_int_equal(err.class, ERROR_DATA);
	assert_non_null(strstr(err.message, "public.item, position 0/A:2"));
	assert_null(strstr(err.message, "yyy"));
	assert_int_equal(k->writer->ops->poll(k->writer, &err), -1);
	free(name);
}

static void test_K08_a_message_that_is_too_large(void **state)
{
	too_large(*state);
}

/* it is in a pack of its own, so nothing else is too large with it */
static void test_K08_a_record_that_is_too_large_for_a_pack(void **state)
{
	struct kafka *k = *state;

	k->cfg.transport.kafka.format = KAFKA_BINARY;
	too_large(k);
}

/* K06: retried by the client, which writes nothing twice */
static void test_K06_not_enough_replicas_is_waited_for(void **state)
{
	struct kafka *k = *state;

	writer_begin(k);
	rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
		RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
	add_begin(k, 10, "one");
	add_end(k, 10);
	send_all(k);
	settle(k);
	expect_content(k, "shop.changes", "1FXBC");
}

/* K02: a slow broker costs time, nothing else: nothing is durable before its answer, nothing is given up or sent again */
static void test_K02_a_slow_broker_is_waited_for(void **state)
{
	struct kafka *k = *state;
	struct mono began;

	writer_begin(k);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 1500);
	began = mono_now();
	add_begin(k, 10, "one");
	add_row(k, 10, 1);
	add_end(k, 10);
	send_all(k);
	settle(k);
	assert_true(mono_diff_us(mono_now(), began) > 1200000);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 0);
	expect_content(k, "shop.changes", "1FXBIC");
}

/* a transaction whose relation is known already, so that the next Produce request carries it */
static void one_transaction(struct kafka *k, uint64_t major)
{
	add_begin(k, major, "one");
	add_row(k, major, 1);
	add_end(k, major);
	send_all(k);
}

/* K03: what the client may try again it does, in order, and each change is there once */
static void test_K03_errors_that_pass(void **state)
{
	static const rd_kafka_resp_err_t codes[] = { RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
		RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
		RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND };
	struct kafka *k = *state;
	char want[64] = "1FX";
	uint64_t major = 10;

	writer_begin(k);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++, major += 10) {
		rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 1, codes[i]);
		one_transaction(k, major);
		settle(k);
		strcat(want, "BIC");
	}
	expect_content(k, "shop.changes", want);
}

/* K03: what it may not, ends the reign: not one message behind the gap, and the next reign fills it */
static void test_K03_errors_that_stay(void **state)
{
	static const struct {
		rd_kafka_resp_err_t code;
		enum error_class class;
	} errors[] = {
		{ RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERROR_DATA },
		{ RD_KAFKA_RESP_ERR_INVALID_RECORD, ERROR_DATA },
		{ RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERROR_CONFIG },
		{ RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERROR_CONFIG },
		{ RD_KAFKA_RESP_ERR_UNKNOWN, ERROR_TRANSIENT },
	};
	struct kafka *k = *state;
	char want[64] = "1FX";
	uint64_t major = 10;

	writer_begin(k);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++, major += 20) {
		struct error err = ERROR_INIT;

		one_transaction(k, major);
		settle(k);
		rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 1, errors[i].code);
		one_transaction(k, major + 10);
		settle_error(k, &err);
		assert_int_equal(err.class, errors[i].class);
		add_begin(k, major + 15, "one");
		k->batch->seq = k->seq + 1;
		assert_int_equal(k->writer->ops->send(k->writer, k->batch, &err), -1);
		writer_begin(k);
		assert_int_equal(k->tail.position.major, major);
		one_transaction(k, major + 10);
		settle(k);
		snprintf(want + strlen(want), sizeof(want) - strlen(want), "BIC%zuFXBIC", i + 2);
	}
	expect_content(k, "shop.changes", want);
}

/* K04: the producer itself cannot go on; whoever comes next writes what is missing */
static void test_K04_a_producer_that_turns_fatal(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;

	writer_begin(k);
	one_transaction(k, 10);
	settle(k);
	rd_kafka_mock_push_request_errors(k->mock, 0 /* Produce */, 5, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
		RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	one_transaction(k, 20);
	settle_error(k, &err);
	assert_int_equal(err.class, ERROR_TRANSIENT); /* the supervisor begins again */
	rd_kafka_mock_clear_request_errors(k->mock, 0);
	writer_begin(k);
	assert_int_equal(k->tail.position.major, 10);
	one_transaction(k, 20);
	settle(k);
	expect_content(k, "shop.changes", "1FXBIC2FXBIC");
}

/* K05: a leader that has died is not waited for longer than was said */
static void test_K05_a_dead_leader_is_given_up(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	struct mono began;
	rd_kafka_t *rk = NULL;
	int64_t end = -1;

	assert_int_equal(kafka_reader_client(&k->ctx, "test", &rk, &err), 0);
	assert_int_equal(kafka_offset(rk, "shop.changes", 0, RD_KAFKA_OFFSET_END, LIMIT_MS, &end), 0);
	assert_int_equal(end, 0);
	rd_kafka_mock_broker_set_down(k->mock, 1);
	began = mono_now();
	assert_int_not_equal(kafka_offset(rk, "shop.changes", 0, RD_KAFKA_OFFSET_END, 300, &end), 0);
	assert_true(mono_diff_us(mono_now(), began) < LIMIT_MS * 1000);
	rd_kafka_mock_broker_set_up(k->mock, 1);
	rd_kafka_destroy(rk);
}

/* a question has its time however slow the broker is, and no more than a part of it once we are to stop */
static void test_K02_a_stop_ends_a_question(void **state)
{
	struct kafka *k = *state;
	struct error err = ERROR_INIT;
	const struct rd_kafka_metadata *meta = NULL;
	struct mono began;
	rd_kafka_t *rk = NULL, *late = NULL;
	int64_t low = -1, high = -1;
	uint32_t n = 0;

	assert_int_equal(kafka_reader_client(&k->ctx, "test", &rk, &err), 0);
	assert_int_equal(kafka_metadata(rk, &k->ctx, false, NULL, &meta), 0);
	rd_kafka_metadata_destroy(meta);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 1200);
	assert_int_equal(kafka_metadata(rk, &k->ctx, false, NULL, &meta), 0);
	rd_kafka_metadata_destroy(meta);
	/* not connected yet, and that alone takes longer than a first try */
	assert_int_equal(kafka_reader_client(&k->ctx, "late", &late, &err), 0);
	assert_int_equal(kafka_bounds(late, &k->ctx, "shop.changes", 0, &low, &high, &err), 0);
	assert_true(low == 0 && high == 0);
	assert_int_equal(kafka_partitions(late, &k->ctx, "shop.changes", &n, &err), 0);
	assert_int_equal(n, 1);
	rd_kafka_destroy(late);
	rd_kafka_mock_broker_set_down(k->mock, 1);
	atomic_store(&k->stop, true);
	began = mono_now();
	assert_int_not_equal(kafka_metadata(rk, &k->ctx, false, NULL, &meta), 0);
	assert_true(mono_diff_us(mono_now(), began) < KAFKA_REQUEST_MS / 2 * 1000);
	atomic_store(&k->stop, false);
	rd_kafka_mock_broker_set_up(k->mock, 1);
	rd_kafka_mock_broker_set_rtt(k->mock, 1, 0);
	rd_kafka_destroy(rk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kafka_test(test_K07_a_message_that_a_broker_refuses),
		kafka_test(test_K08_a_message_that_is_too_large),
		kafka_test(test_K08_a_record_that_is_too_large_for_a_pack),
		kafka_test(test_K05_a_dead_leader_is_given_up),
		kafka_test(test_K06_not_enough_replicas_is_waited_for),
		kafka_test(test_K02_a_slow_broker_is_waited_for),
		kafka_test(test_K02_a_stop_ends_a_question),
		kafka_test(test_K03_errors_that_pass),
		kafka_test(test_K03_errors_that_stay),
		kafka_test(test_K04_a_producer_that_turns_fatal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
