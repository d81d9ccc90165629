/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* messages as a PostgreSQL 15 sends them (long values shortened), and the records that follow from them */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "source/postgres/decode.h"

/* cap.t (id int primary key, v text, big text); cap.f (id int, big text) with replica identity full */
#define RELATION_T                                                                                            \
	"52000040666361700074006400030169640000000017ffffffff00760000000019ffffffff006269670000000019fffffff" \
	"f"
#define RELATION_F "520000406d6361700066006600020169640000000017ffffffff016269670000000019ffffffff"
#define BEGIN_1	   "42000000003b063008000303c1cb18bf680000032d"
#define COMMIT_1   "4300000000003b063008000000003b063038000303c1cb18bf68"
#define INSERT_1   "49000040664e0003740000000131740000000161740000000142"
#define INSERT_2   "49000040664e00037400000001326e7400000000"
#define BEGIN_2	   "42000000003b063b80000303c1cb18c2800000032f"
#define COMMIT_2   "4300000000003b063b80000000003b063bb0000303c1cb18c280"
#define KEY_CHANGE "55000040664b00037400000001316e6e4e000374000000013374000000016175"
#define DELETE_2   "44000040664b00037400000001326e6e"
#define FULL_TOAST "550000406d4f0002740000000131740000000379797a4e000274000000013275"
#define TRUNCATE   "540000000200000040660000406d"
#define MESSAGE_TX "4d01000000003b0665987000000000027478"
#define MESSAGE	   "4d00000000003b06660070000000000203ff"

#define FINAL_1	 0x3b063008u
#define RESUME_1 0x3b063038u
#define FINAL_2	 0x3b063b80u

struct stream {
	struct decode dec;
	struct batch *batch;
	struct error err;
};

static void stream_open(struct stream *st, uint64_t skip_below, uint64_t record_bytes)
{
	decode_init(&st->dec, skip_below, record_bytes);
	st->batch = batch_new(NULL);
	st->err = ERROR_INIT;
}

static void stream_close(struct stream *st)
{
	decode_fini(&st->dec);
	batch_free(st->batch);
}

static uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* as the stream does it: what is not wanted is not decoded */
static int feed(struct stream *st, const char *hex)
{
	size_t len = strlen(hex) / 2;
	uint8_t *data = arena_alloc(&st->batch->arena, len);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	if (!decode_wants(&st->dec, data, len))
		return 0;
	return decode_message(&st->dec, st->batch, data, len, &st->err);
}

static void feed_all(struct stream *st, const char *const *messages)
{
	for (; *messages; messages++)
		assert_int_equal(feed(st, *messages), 0);
}

static void assert_ops(const struct batch *batch, const char *ops)
{
	assert_int_equal(batch->n_records, strlen(ops));
	for (uint32_t i = 0; i < batch->n_records; i++)
		assert_int_equal(batch->records[i].op, ops[i]);
}

static void assert_value(const struct value *value, const char *text)
{
	assert_int_equal(value->state, VALUE_PRESENT);
	assert_int_equal(value->format, VALUE_TEXT);
	assert_int_equal(value->len, strlen(text));
	assert_memory_equal(value->data, text, value->len);
}

static uint64_t resume_of(struct resume resume)
{
	uint64_t wire;

	assert_int_equal(resume.len, sizeof(wire));
	memcpy(&wire, resume.data, sizeof(wire));
	return __builtin_bswap64(wire);
}

static void a_transaction_becomes_records(void **state)
{
	struct stream st;
	const struct record *recs;

	stream_open(&st, 0, 0);
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_T, INSERT_1, INSERT_2, COMMIT_1, NULL });
	recs = st.batch->records;
	assert_ops(st.batch, "BSIIC");
	assert_int_equal(recs[0].pos.major, FINAL_1);
	assert_int_equal(recs[0].pos.minor, 0);
	assert_int_equal(recs[0].begin->xid, 0x32d);
	/* 2026-11-21 05:5x: after the epoch of 2000 has been added */
	assert_int_equal(
		recs[0].begin->commit_time.us, INT64_C(0x000303c1cb18bf68) + INT64_C(946684800000000));
	assert_string_equal(recs[1].rel->schema, "cap");
	assert_string_equal(recs[1].rel->name, "t");
	assert_int_equal(recs[1].rel->n_keys, 1);
	assert_true(recs[1].rel->columns[0].key);
	assert_int_equal(recs[1].rel->columns[0].type_oid, 23);
	assert_int_equal(recs[2].pos.minor, 1);
	assert_value(&recs[2].after[1], "a");
	assert_int_equal(recs[3].pos.minor, 2);
	assert_int_equal(recs[3].after[1].state, VALUE_NULL);
	assert_value(&recs[3].after[2], "");
	assert_int_equal(recs[4].pos.minor, POSITION_END);
	assert_int_equal(recs[4].end->n_records, 2);
	assert_int_equal(resume_of(recs[4].end->resume), RESUME_1);
	stream_close(&st);
}

static void a_changed_key_keeps_the_old_one_and_unsent_columns_stay_absent(void **state)
{
	struct stream st;
	const struct record *update, *delete;

	stream_open(&st, 0, 0);
	feed_all(&st, (const char *[]){ BEGIN_2, RELATION_T, KEY_CHANGE, DELETE_2, COMMIT_2, NULL });
	update = &st.batch->records[2];
	assert_int_equal(update->op, RECORD_UPDATE);
	assert_int_equal(update->flags, RECORD_BEFORE_KEY | RECORD_KEY_CHANGED | RECORD_TOAST);
	assert_value(&update->before[0], "1");
	assert_int_equal(update->before[1].state, VALUE_ABSENT); /* null on the wire: not known */
	assert_value(&update->after[0], "3");
	assert_value(&update->after[1], "a");
	assert_int_equal(update->after[2].state, VALUE_ABSENT);
	delete = &st.batch->records[3];
	assert_int_equal(delete->op, RECORD_DELETE);
	assert_int_equal(delete->flags, RECORD_BEFORE_KEY);
	assert_null(delete->after);
	stream_close(&st);
}

static void full_identity_fills_what_the_new_row_leaves_out(void **state)
{
	struct stream st;
	const struct record *update;

	stream_open(&st, 0, 0);
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_F, FULL_TOAST, COMMIT_1, NULL });
	update = &st.batch->records[2];
	assert_int_equal(update->flags, RECORD_BEFORE_FULL | RECORD_KEY_CHANGED);
	assert_value(&update->before[1], "yyz");
	assert_value(&update->after[0], "2");
	assert_value(&update->after[1], "yyz");
	stream_close(&st);
}

/* strictly: a transaction whose final_lsn equals the stored resume point is not applied yet */
static void only_what_lies_below_the_resume_point_is_skipped(void **state)
{
	static const char *const messages[] = { BEGIN_1, RELATION_T, INSERT_1, COMMIT_1, BEGIN_2, KEY_CHANGE,
		COMMIT_2, NULL };
	struct stream st;

	stream_open(&st, FINAL_1, 0);
	feed_all(&st, messages);
	assert_ops(st.batch, "BSICBUC");
	stream_close(&st);

	stream_open(&st, FINAL_1 + 1, 0);
	feed_all(&st, messages);
	/* the relation was described in the skipped one, and is known all the same */
	assert_ops(st.batch, "BUC");
	assert_int_equal(st.batch->records[0].pos.major, FINAL_2);
	assert_string_equal(st.batch->records[1].rel->name, "t");
	stream_close(&st);
}

static void start_from(struct decode *dec, const char *name, uint64_t start)
{
	dec->starts = calloc(1, sizeof(*dec->starts));
	dec->starts[0] = (struct decode_start){ strdup("cap"), strdup(name), start };
	dec->n_starts = 1;
}

/* rows that the snapshot holds already are dropped, but counted */
static void rows_below_their_tables_start_point_are_dropped(void **state)
{
	struct stream st;
	const struct record *recs;

	stream_open(&st, 0, 0);
	start_from(&st.dec, "t", FINAL_2);
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_T, RELATION_F, INSERT_1, FULL_TOAST, TRUNCATE,
			      COMMIT_1, BEGIN_2, INSERT_2, COMMIT_2, NULL });
	recs = st.batch->records;
	assert_ops(st.batch, "BSSUTCBIC");
	assert_int_equal(recs[3].pos.minor, 2);
	assert_int_equal(recs[4].truncate->n_relations, 1);
	assert_string_equal(recs[4].truncate->relations[0]->name, "f");
	assert_int_equal(recs[5].end->n_records, 2);
	assert_int_equal(recs[7].pos.major, FINAL_2); /* equal: applied */
	stream_close(&st);
}

static void a_transaction_left_empty_still_ends(void **state)
{
	struct stream st;

	stream_open(&st, 0, 0);
	start_from(&st.dec, "t", FINAL_2);
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_T, INSERT_1, COMMIT_1, NULL });
	assert_ops(st.batch, "BSC");
	assert_int_equal(st.batch->records[2].end->n_records, 0);
	assert_int_equal(resume_of(st.batch->records[2].end->resume), RESUME_1);
	stream_close(&st);
}

static void a_relation_described_anew_replaces_the_old_one(void **state)
{
	struct stream st;
	const struct record *recs;

	stream_open(&st, 0, 0);
	/* the same oid with one column */
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_T, INSERT_1,
			      "5200004066636170006e65770064000101696400000000"
			      "17ffffffff",
			      "49000040664e0001740000000137", COMMIT_1, NULL });
	recs = st.batch->records;
	assert_ops(st.batch, "BSISIC");
	assert_int_equal(recs[2].rel->n_columns, 3);
	assert_string_equal(recs[2].rel->name, "t");
	assert_int_equal(recs[4].rel->n_columns, 1);
	assert_string_equal(recs[4].rel->name, "new");
	stream_close(&st);
}

static void messages_keep_their_kind_and_only_transactional_ones_count(void **state)
{
	struct stream st;
	const struct record *recs;

	stream_open(&st, 0, 0);
	feed_all(&st, (const char *[]){ MESSAGE, BEGIN_1, MESSAGE_TX, RELATION_T, INSERT_1, COMMIT_1, NULL });
	recs = st.batch->records;
	assert_ops(st.batch, "MBMSIC");
	assert_false(recs[0].message->transactional);
	assert_int_equal(recs[0].message->content_len, 2);
	assert_true(recs[2].message->transactional);
	assert_string_equal(recs[2].message->prefix, "p");
	assert_memory_equal(recs[2].message->content, "tx", 2);
	assert_int_equal(recs[2].pos.minor, 1);
	assert_int_equal(recs[4].pos.minor, 2);
	stream_close(&st);
}

static void a_row_above_the_limit_is_a_data_error_without_its_values(void **state)
{
	struct stream st;

	stream_open(&st, 0, 24);
	feed_all(&st, (const char *[]){ BEGIN_1, RELATION_T, INSERT_2, NULL });
	assert_true(feed(&st, INSERT_1) < 0);
	assert_int_equal(st.err.class, ERROR_DATA);
	assert_non_null(strstr(st.err.message, "cap.t"));
	assert_non_null(strstr(st.err.message, "0/3B063008, event 2"));
	stream_close(&st);
}

static void bytes_that_fit_nothing_are_refused(void **state)
{
	struct stream st;

	stream_open(&st, 0, 0);
	assert_int_equal(feed(&st, BEGIN_1), 0);
	assert_true(feed(&st, INSERT_1) < 0); /* a relation nobody described */
	assert_int_equal(st.err.class, ERROR_FATAL);
	assert_int_equal(feed(&st, RELATION_F), 0);
	assert_true(feed(&st, "490000406d4e00017400000001") < 0);   /* cut in a value */
	assert_true(feed(&st, "490000406d4e0001740000000131") < 0); /* one column, two described */
	assert_true(feed(&st, "5300000001") < 0);		    /* a stream segment, not asked for */
	assert_int_equal(st.err.class, ERROR_FATAL);
	stream_close(&st);
}

/* E02: the same bytes give the same positions, however often they come */
static void positions_are_stable_over_replays(void **state)
{
	static const char *const messages[] = { BEGIN_1, RELATION_T, RELATION_F, INSERT_1, MESSAGE_TX,
		FULL_TOAST, TRUNCATE, COMMIT_1, NULL };
	struct position first[16];

	for (int round = 0; round < 100; round++) {
		struct stream st;

		stream_open(&st, 0, 0);
		feed_all(&st, messages);
		for (uint32_t i = 0; i < st.batch->n_records; i++) {
			if (round == 0)
				first[i] = st.batch->records[i].pos;
			assert_int_equal(position_compare(first[i], st.batch->records[i].pos), 0);
		}
		stream_close(&st);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_becomes_records),
		cmocka_unit_test(a_changed_key_keeps_the_old_one_and_unsent_columns_stay_absent),
		cmocka_unit_test(full_identity_fills_what_the_new_row_leaves_out),
		cmocka_unit_test(only_what_lies_below_the_resume_point_is_skipped),
		cmocka_unit_test(rows_below_their_tables_start_point_are_dropped),
		cmocka_unit_test(a_transaction_left_empty_still_ends),
		cmocka_unit_test(a_relation_described_anew_replaces_the_old_one),
		cmocka_unit_test(messages_keep_their_kind_and_only_transactional_ones_count),
		cmocka_unit_test(a_row_above_the_limit_is_a_data_error_without_its_values),
		cmocka_unit_test(bytes_that_fit_nothing_are_refused),
		cmocka_unit_test(positions_are_stable_over_replays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
