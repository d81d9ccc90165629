/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* What is not a message of this version, or not one any more, is refused whole and with its place. */

#include <sluice/binary_format.h>
#include <sluice/crc32c.h>

#include "binary_fixture.h"

/* a message by hand: head and checksum around fields */
static void by_hand(struct fixture *f, uint8_t version, uint8_t op, const void *fields, size_t len)
{
	const uint8_t head[] = { BINARY_MAGIC, version, op };
	uint32_t crc;

	buf_clear(&f->out);
	buf_put(&f->out, head, sizeof(head));
	buf_put(&f->out, fields, len);
	crc = crc32c_table(0, f->out.data, f->out.len);
	buf_put(&f->out, &crc, 4);
	f->msg.value = f->out.data;
	f->msg.value_len = f->out.len;
}

#define BY_HAND(f, op, fields) by_hand(f, BINARY_VERSION, op, fields, sizeof(fields) - 1)

static void expect_refused(struct fixture *f, uint8_t op, const char *code, const char *part)
{
	struct record rec = { .op = op, .rel = strchr("IUDR", op) ? f->rel : NULL }, same = rec;
	int r = f->codec->ops->decode(f->codec, &f->msg, f->batch, &rec, &f->err);

	assert_int_equal(r, -1);
	assert_int_equal(f->err.class, ERROR_DATA);
	if (code)
		assert_string_equal(f->err.code, code);
	if (!strstr(f->err.message, "offset 4711") || !strstr(f->err.message, part))
		fail_msg("'%s' is not in '%s'", part, f->err.message);
	assert_memory_equal(&rec, &same, sizeof(rec)); /* nothing of it came through */
}

#define ROW                                                                                                  \
	"\5\x0a"                                                                                             \
	"1\1\2\0\x0a"                                                                                        \
	"e"
#define TIME "\1\0\0\0\0\0\0\0"

static void test_E03_a_newer_version_is_refused(void **state)
{
	struct fixture *f = *state;

	by_hand(f, 2, 'I', "\1\7" ROW, 9);
	expect_refused(f, 'I', "BINARY-VERSION", "version 2");
	by_hand(f, 0, 'I', "\1\7" ROW, 9);
	expect_refused(f, 'I', "BINARY-VERSION", "version 0");
	BY_HAND(f, 'I', "\1\x08" ROW "\x08\1x");
	expect_refused(f, 'I', "BINARY-VERSION", "byte 13");
	BY_HAND(f, 'I', "\x7f\0");
	expect_refused(f, 'I', "BINARY-VERSION", "byte 3");
	BY_HAND(f, 'I', "\0\0");
	expect_refused(f, 'I', "BINARY-VERSION", "byte 3");
}

static void test_E03_what_can_be_done_without_is_skipped(void **state)
{
	struct fixture *f = *state;
	struct record rec;

	BY_HAND(f, 'I', "\x80\0\xff\2zz\1\x08" ROW "\x81\1a\x81\1b");
	rec = decode(f, 'I');
	assert_int_equal(rec.after[0].len, 1);
	assert_memory_equal(rec.after[0].data, "1", 1);
	assert_int_equal(rec.after[1].state, VALUE_NULL);
	assert_int_equal(rec.after[2].state, VALUE_PRESENT);
	assert_int_equal(rec.after[3].state, VALUE_ABSENT);
	assert_null(rec.before);
	/* a field that has grown: 8 + 2 bytes are known, 5 follow */
	BY_HAND(f, 'B', "\3\x0f" TIME "\x80\1later");
	rec = decode(f, 'B');
	assert_true(rec.begin->commit_time.us == 1 && rec.begin->xid == 128);
}

static void what_does_not_fit_is_refused_with_its_place(void **state)
{
	struct fixture *f = *state;

	BY_HAND(f, 'I', "\1\2\4\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 5: its columns are not as many");
	BY_HAND(f, 'I', "\1\7\5\1\1\1\1\1\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 11: bytes follow");
	BY_HAND(f, 'I', "\1\5\5\1\1\1\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "column c4");
	BY_HAND(f, 'I', "\1\3\5\1\x3a");
	expect_refused(f, 'I', "BINARY-FORMAT", "relation public.goods, column c1");
	BY_HAND(f, 'I', "\1\6\5\1\5\1\1\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 7: a value is of no known kind");
	BY_HAND(f, 'I', "\1\6\5\x09\1\1\1\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 6: a value is of no known kind");
	BY_HAND(f, 'I', "\1\x10\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\1\1\1\1\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 6: a number has more than 64 bits");
	BY_HAND(f, 'I', "\1\x08" ROW "\1\x08" ROW);
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 13: a field does not belong there");
	BY_HAND(f, 'I', "\3\x09" TIME "\1");
	expect_refused(f, 'I', "BINARY-FORMAT", "byte 3: a field does not belong there");
	BY_HAND(f, 'B', "\3\4\1\0\0\0");
	expect_refused(f, 'B', "BINARY-FORMAT", "byte 5: it ends too early");
	BY_HAND(f, 'C', "\3\x09" TIME "\1");
	expect_refused(f, 'C', "BINARY-FORMAT", "byte 14: it ends too early");
	BY_HAND(f, 'H', "\7\6?\1\1\1\1\0");
	expect_refused(f, 'H', "BINARY-FORMAT", "byte 5: a mark is of no known kind");
	BY_HAND(f, 'T', "\4\7\0\xff\xff\xff\xff\x0f\1");
	expect_refused(f, 'T', "BINARY-FORMAT", "byte 6: there are more relations");
	BY_HAND(f, 'T', "\4\5\0\1\2{}");
	expect_refused(f, 'T', "BINARY-FORMAT", "byte 8: a relation's description");
	BY_HAND(f, 'M', "\5\4\1\2\0a");
	expect_refused(f, 'M', "BINARY-FORMAT", "byte 6: a prefix has a zero byte");
	BY_HAND(f, 'K', "\x80\0");
	expect_refused(f, 'K', "BINARY-FORMAT", "it says nothing");
	BY_HAND(f, 'U', "\1\x08" ROW);
	expect_refused(f, 'I', "BINARY-FORMAT", "op 0x55");
	f->msg.value = "{\"before\":null}";
	f->msg.value_len = 15;
	expect_refused(f, 'I', "BINARY-FORMAT", "not in sluice's binary form");
	f->msg.value = NULL;
	f->msg.value_len = 0;
	expect_refused(f, 'I', "BINARY-FORMAT", "0 bytes");
}

/* all that can be encoded, for damaging it */
static struct record sample(struct fixture *f, size_t i, struct value *row, struct relation **relations)
{
	static const struct record_begin begin = { { 1700000000000000 }, 1000, NULL };
	static const struct record_end end = { { 1700000000000000 }, 1000, { 0 }, 300 };
	static const struct record_heartbeat heartbeat = { { 0 }, { 1700000000000000 }, 1u << 30, { 5 } };
	static const struct record_message message = { "app", (const uint8_t *)"content", 7, true };
	static const struct record_chunk chunk = { CHUNK_MARK_FINISHED, 1, 1, 1, 1, (const uint8_t *)"s", 1 };
	static struct record_truncate truncate = { NULL, 1, true, false };
	const struct record all[] = { update_of(f, row, row),
		{ .op = RECORD_INSERT, .rel = f->rel, .after = row }, { .op = RECORD_BEGIN, .begin = &begin },
		{ .op = RECORD_END, .end = &end }, { .op = RECORD_HEARTBEAT, .heartbeat = &heartbeat },
		{ .op = RECORD_MESSAGE, .message = &message }, { .op = RECORD_CHUNK, .chunk = &chunk },
		{ .op = RECORD_TRUNCATE, .truncate = &truncate }, { 0 } };

	truncate.relations = relations;
	return all[i];
}

static void test_E04_every_flipped_bit_is_detected(void **state)
{
	struct fixture *f = *state;
	struct value row[] = { text("1"), { .state = VALUE_NULL }, text(""), { .state = VALUE_ABSENT },
		text("e") };
	struct record rec;

	for (size_t i = 0; (rec = sample(f, i, row, &f->rel)).op; i++) {
		encode(f, &rec);
		for (size_t bit = 0; bit < 8 * f->msg.value_len; bit++) {
			uint8_t *value = f->out.data + f->output.value.at;

			value[bit / 8] ^= (uint8_t)(1u << bit % 8);
			expect_refused(f, rec.op, NULL, "the message ");
			value[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t at = 0; at < f->msg.value_len; at++) {
			uint8_t *value = f->out.data + f->output.value.at, was = value[at];

			for (unsigned v = 0; v < 256; v++) {
				value[at] = (uint8_t)v;
				if (v != was)
					expect_refused(f, rec.op, NULL, "the message ");
			}
			value[at] = was;
		}
		decode(f, rec.op); /* undamaged again, it is taken */
	}
}

static void test_E04_every_truncation_is_detected(void **state)
{
	struct fixture *f = *state;
	struct value row[] = { text("1"), { .state = VALUE_NULL }, text(""), { .state = VALUE_ABSENT },
		text("e") };
	struct record rec;

	for (size_t i = 0; (rec = sample(f, i, row, &f->rel)).op; i++) {
		size_t whole;

		encode(f, &rec);
		whole = f->msg.value_len;
		for (size_t len = 0; len < whole; len++) {
			/* a heap copy of that length: reading behind it is seen by the sanitizer */
			void *copy = malloc(len ? len : 1);

			assert_non_null(copy);
			memcpy(copy, f->out.data + f->output.value.at, len);
			f->msg.value = copy;
			f->msg.value_len = len;
			expect_refused(f, rec.op, NULL, "the message ");
			free(copy);
		}
		/* with a checksum that fits: the form alone has to show it */
		for (size_t len = BINARY_HEAD_BYTES; len < whole - BINARY_CRC_BYTES; len++) {
			struct buf cut = BUF_INIT;
			uint32_t crc = crc32c(0, f->out.data + f->output.value.at, len);

			buf_put(&cut, f->out.data + f->output.value.at, len);
			buf_put(&cut, &crc, 4);
			f->msg.value = cut.data;
			f->msg.value_len = cut.len;
			if (rec.op != RECORD_UPDATE ||
				len != 3 + 2 + 8) /* there its first field ends: a whole message */
				expect_refused(f, rec.op, "BINARY-FORMAT", "the message cannot be read");
			buf_fini(&cut);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_E03_a_newer_version_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_E03_what_can_be_done_without_is_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_with_its_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_E04_every_flipped_bit_is_detected, setup, teardown),
		cmocka_unit_test_setup_teardown(test_E04_every_truncation_is_detected, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
