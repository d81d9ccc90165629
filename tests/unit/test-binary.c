/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Every record that the binary codec writes is read back as it was. */

#include "binary_fixture.h"

static void test_E01_absent_null_empty_and_present_stay_apart(void **state)
{
	struct fixture *f = *state;
	const struct value all[] = { { .state = VALUE_ABSENT }, { .state = VALUE_NULL }, text(""), text("x"),
		text("null"), as(VALUE_BINARY, 0, "", 0), as(VALUE_BINARY, 0, "\0\xff", 2),
		as(VALUE_BSON, 2, "", 0), as(VALUE_BSON, 0xff, "\1\0\0\0", 4),
		text("__debezium_unavailable_value") };
	const size_t n = sizeof(all) / sizeof(*all);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			struct value before[] = { text("1"), all[k], all[i], all[i], text("e") };
			struct value after[] = { text("1"), all[i], text("m"), all[k], all[k] };
			struct record rec = update_of(f, before, after), back = there_and_back(f, &rec);

			expect_row(back.before, before, COLUMNS);
			expect_row(back.after, after, COLUMNS);
		}
	}
}

static void a_side_that_a_record_has_not_stays_away(void **state)
{
	struct fixture *f = *state;
	struct value row[] = { text("1"), text("2"), text("3"), text("4"), text("5") };

	for (const char *op = "IURD"; *op; op++) {
		for (unsigned sides = 1; sides < 4; sides++) {
			struct record rec = update_of(f, sides & 1 ? row : NULL, sides & 2 ? row : NULL),
				      back;

			rec.op = (uint8_t)*op;
			back = there_and_back(f, &rec);
			expect_row(back.before, rec.before, COLUMNS);
			expect_row(back.after, rec.after, COLUMNS);
			assert_ptr_equal(back.rel, f->rel);
		}
	}
}

static void lengths_around_every_border(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65,
		100, 2047, 2048, 65536, 262143, 262144, 3000000 };
	struct fixture *f = *state;
	uint8_t *big = malloc(3000000);

	assert_non_null(big);
	for (uint32_t i = 0; i < 3000000; i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct value after[COLUMNS] = { text("1") };
		struct record rec = update_of(f, NULL, after), back;

		for (uint32_t c = 1; c < COLUMNS; c++)
			after[c] = as(VALUE_TEXT, 0, (const char *)big, lengths[i]);
		back = there_and_back(f, &rec);
		expect_row(back.after, after, COLUMNS);
	}
	free(big);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static struct value random_value(uint64_t *seed, const uint8_t *from, size_t size)
{
	uint64_t r = next_random(seed);
	uint32_t len = r & 0x300 ? r >> 16 & 31 : r >> 16 & 511;

	switch (r & 7) {
	case 0:
		return (struct value){ .state = VALUE_ABSENT };
	case 1:
		return (struct value){ .state = VALUE_NULL };
	case 2:
		return as(VALUE_BSON, r >> 48 & 0xff, (const char *)from + (r >> 32) % (size - 512), len);
	case 3:
	case 4:
		return as(VALUE_BINARY, 0, (const char *)from + (r >> 32) % (size - 512), len);
	default:
		return as(VALUE_TEXT, 0, (const char *)from + (r >> 32) % (size - 512), len);
	}
}

/* a million values of all kinds, byte for byte */
static void test_E01_a_million_random_values_come_back(void **state)
{
	struct fixture *f = *state;
	struct relation *rel = relation_of(40), *first = f->rel;
	uint64_t seed = 0x9e3779b97f4a7c15;
	uint8_t noise[4096];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)next_random(&seed);
	f->rel = rel;
	for (unsigned round = 0; round < 12500; round++) {
		struct value row[80];
		struct record rec = update_of(f, row + 40, row), back;

		for (unsigned i = 0; i < 80; i++)
			row[i] = random_value(&seed, noise, sizeof(noise));
		row[0] = text("7");
		encode(f, &rec);
		back = decode(f, rec.op);
		for (unsigned i = 0; i < 80; i++) {
			const struct value *a = &row[i], *b = i < 40 ? &back.after[i] : &back.before[i - 40];

			if (a->state != b->state || a->format != b->format || a->subtype != b->subtype ||
				a->len != b->len || (a->len && memcmp(a->data, b->data, a->len)))
				fail_msg("round %u, value %u", round, i);
		}
		arena_reset(&f->batch->arena);
	}
	f->rel = first;
	relation_unref(rel);
}

static void marks_come_back(void **state)
{
	struct fixture *f = *state;
	const struct record_begin begin = { { -1 }, UINT64_MAX, NULL };
	const struct record_end end = { { INT64_MAX }, 7, { 0 }, 1ull << 40 };
	const struct record_heartbeat heartbeat = { { 0 }, { 1700000000000000 }, UINT64_MAX - 1, { 5 } };
	struct record back, rec = { .op = RECORD_BEGIN, .begin = &begin };

	back = there_and_back(f, &rec);
	assert_null(f->msg.key);
	assert_true(
		back.begin->commit_time.us == -1 && back.begin->xid == UINT64_MAX && !back.begin->options);
	rec = (struct record){ .op = RECORD_END, .end = &end };
	back = there_and_back(f, &rec);
	assert_true(back.end->commit_time.us == INT64_MAX && back.end->xid == 7);
	assert_true(back.end->n_records == 1ull << 40 && !back.end->resume.len);
	rec = (struct record){ .op = RECORD_HEARTBEAT, .heartbeat = &heartbeat };
	back = there_and_back(f, &rec);
	assert_true(back.heartbeat->at.us == heartbeat.at.us && back.heartbeat->head == heartbeat.head);
	assert_true(back.heartbeat->clear.us == 5);
	for (const char *op = "AF"; *op; op++) {
		rec = (struct record){ .op = (uint8_t)*op };
		there_and_back(f, &rec);
		assert_null(f->msg.value);
		assert_null(f->msg.key);
	}
}

static void chunks_come_back(void **state)
{
	static const uint8_t content[] = { 0, 1, 2 };
	const struct record_chunk all[] = {
		{ CHUNK_MARK_TABLE, 0, 1, 0, UINT64_MAX, NULL, 0 },
		{ CHUNK_MARK_BEGIN, UINT32_MAX, 2, 0, 0, NULL, 0 },
		{ CHUNK_MARK_END, 3, UINT32_MAX, UINT64_MAX, 0, NULL, 0 },
		{ CHUNK_MARK_DONE, 0, 1, 1000, 0, content, 0 },
		{ CHUNK_MARK_FINISHED, 0, 0, 0, 0, content, 3 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct record rec = { .op = RECORD_CHUNK, .chunk = &all[i] }, back = there_and_back(f, &rec);

		assert_int_equal(back.chunk->mark, all[i].mark);
		assert_int_equal(back.chunk->no, all[i].no);
		assert_int_equal(back.chunk->attempt, all[i].attempt);
		assert_true(back.chunk->rows == all[i].rows && back.chunk->start == all[i].start);
		assert_true(!back.chunk->content == !all[i].content);
		assert_int_equal(back.chunk->content_len, all[i].content_len);
		if (all[i].content_len)
			assert_memory_equal(back.chunk->content, content, all[i].content_len);
	}
}

static void truncates_messages_and_schemas_come_back(void **state)
{
	struct fixture *f = *state;
	struct relation *other = relation_of(2), *relations[] = { f->rel, other };
	const struct record_truncate truncate = { relations, 2, true, false };
	const struct record_message messages[] = { { "app", (const uint8_t *)"\0\xff", 2, true },
		{ "", (const uint8_t *)"", 0, false } };
	struct record rec = { .op = RECORD_TRUNCATE, .truncate = &truncate }, back = there_and_back(f, &rec);

	assert_int_equal(back.truncate->n_relations, 2);
	assert_true(back.truncate->cascade && !back.truncate->restart_identity);
	for (unsigned i = 0; i < 2; i++)
		assert_true(back.truncate->relations[i]->fingerprint == relations[i]->fingerprint);
	for (unsigned i = 0; i < 2; i++) {
		rec = (struct record){ .op = RECORD_MESSAGE, .message = &messages[i] };
		back = there_and_back(f, &rec);
		assert_string_equal(back.message->prefix, messages[i].prefix);
		assert_int_equal(back.message->content_len, messages[i].content_len);
		assert_memory_equal(back.message->content, messages[i].content, messages[i].content_len);
		assert_int_equal(back.message->transactional, messages[i].transactional);
	}
	rec = (struct record){ .op = RECORD_SCHEMA, .rel = other };
	back = there_and_back(f, &rec);
	assert_true(back.rel != f->rel && back.rel->fingerprint == other->fingerprint);
	assert_non_null(f->msg.key);
	relation_unref(other);
}

static void the_key_is_the_one_of_the_json_codec(void **state)
{
	struct fixture *f = *state;
	struct codec *json = codec_json_new(&(struct codec_json_options){ "1", "p", "d", JSON_SCHEMAS_NONE });
	struct value row[] = { text("a\"b"), text("2"), text("3"), text("4"), text("5") };
	struct record rec = update_of(f, NULL, row);
	struct buf other = BUF_INIT;
	struct codec_output output = { .out = &other };

	encode(f, &rec);
	assert_int_equal(json->ops->encode(json, &rec, NULL, &output, &f->err), 0);
	assert_int_equal(f->msg.key_len, output.key.len);
	assert_memory_equal(f->msg.key, other.data + output.key.at, output.key.len);
	assert_memory_equal(f->msg.key, "{\"c0\":\"a\\\"b\"}", output.key.len);
	buf_fini(&other);
	codec_free(json);
}

static void test_E02_the_same_change_is_the_same_bytes_in_every_replay(void **state)
{
	struct fixture *f = *state;
	struct value row[] = { text("1"), { .state = VALUE_NULL }, text(""), { .state = VALUE_ABSENT },
		text("e") };
	struct record rec = update_of(f, row, row);
	struct buf first = BUF_INIT;

	encode(f, &rec);
	buf_put(&first, f->out.data, f->out.len);
	for (unsigned i = 0; i < 100; i++) {
		struct codec *codec = codec_binary_new(); /* another process knows nothing of this one */

		f->codec = codec_free(f->codec);
		f->codec = codec;
		encode(f, &rec);
		assert_int_equal(f->out.len, first.len);
		assert_memory_equal(f->out.data, first.data, first.len);
	}
	buf_fini(&first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_E01_absent_null_empty_and_present_stay_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_E01_a_million_random_values_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_side_that_a_record_has_not_stays_away, setup, teardown),
		cmocka_unit_test_setup_teardown(lengths_around_every_border, setup, teardown),
		cmocka_unit_test_setup_teardown(marks_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(chunks_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(truncates_messages_and_schemas_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(the_key_is_the_one_of_the_json_codec, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_E02_the_same_change_is_the_same_bytes_in_every_replay, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
