/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Several records in one message: each comes out as it went in, and what is not a pack is refused with its place. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/crc32c.h>
#include <sluice/pack.h>

#define LIMIT 4096u

static const struct position before = { 100, POSITION_END };

struct fixture {
	struct pack pack;
	struct position last;
	struct stamp stamp;
	struct message msg;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->last = before;
	f->msg.offset = 4711;
	f->msg.at_ms = 99;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pack_fini(&f->pack);
	free(f);
	return 0;
}

/* what stands for a value: only its op is looked at */
static const char *value_of(uint8_t op)
{
	static char value[] = "\xd5\1?content";

	value[2] = (char)op;
	return value;
}

static struct stamp stamp_of(struct fixture *f, uint8_t op, uint64_t major, uint64_t minor)
{
	return (struct stamp){
		.op = op,
		.pos = { major, minor },
		.prev = f->last,
		.has_pos = true,
		.options = "",
		.fingerprint = strchr("IUD", op) ? 0x1234567890abcdef : 0,
	};
}

static void put(struct fixture *f, const struct stamp *stamp)
{
	pack_put(&f->pack, stamp, value_of(stamp->op), strlen(value_of(stamp->op)));
	f->last = stamp->pos;
}

static void put_plain(struct fixture *f, uint8_t op, uint64_t major, uint64_t minor)
{
	struct stamp stamp = stamp_of(f, op, major, minor);

	put(f, &stamp);
}

static void put_end(struct fixture *f, uint64_t major)
{
	static const uint8_t resume[8] = { 0, 0, 0, 0, 0, 0, 1, 2 };
	struct stamp stamp = stamp_of(f, RECORD_END, major, POSITION_END);

	stamp.resume = (struct resume){ resume, sizeof(resume) };
	put(f, &stamp);
}

static void write_pack(struct fixture *f)
{
	f->stamp = (struct stamp){ .reign = { 3, 4 }, .identity = "7000/shop", .options = "" };
	pack_write(&f->pack, &f->stamp, &f->msg);
}

/* two transactions, with all that a record may have */
static void fill(struct fixture *f)
{
	struct stamp stamp = stamp_of(f, RECORD_BEGIN, 200, 0);

	stamp.options = "proto_version '2'";
	put(f, &stamp);
	put_plain(f, RECORD_INSERT, 200, 1);
	stamp = stamp_of(f, RECORD_UPDATE, 200, 5000);
	stamp.flags = RECORD_BEFORE_KEY | RECORD_TOAST;
	put(f, &stamp);
	stamp = stamp_of(f, RECORD_DELETE, 200, 5001);
	stamp.fingerprint = 7;
	put(f, &stamp);
	put_plain(f, RECORD_TRUNCATE, 200, 5002);
	put_plain(f, RECORD_MESSAGE, 200, 5003);
	put_end(f, 200);
	put_plain(f, RECORD_BEGIN, UINT64_MAX - 1, 0);
	put_plain(f, RECORD_INSERT, UINT64_MAX - 1, 1);
	put_end(f, UINT64_MAX - 1);
	write_pack(f);
}

static void expect(struct unpack *unpack, struct stamp *ret, uint8_t op, uint64_t major, uint64_t minor)
{
	struct position last = unpack->last;
	struct error err = ERROR_INIT;
	struct message msg;

	if (unpack_next(unpack, &msg, ret, &err) != 1)
		fail_msg("%s", err.message);
	assert_int_equal(ret->op, op);
	assert_true(ret->pos.major == major && ret->pos.minor == minor && ret->has_pos);
	assert_int_equal(position_compare(ret->prev, last), 0);
	assert_true(ret->reign.number == 3 && ret->reign.id == 4);
	assert_string_equal(ret->identity, "7000/shop");
	assert_int_equal(msg.value_len, strlen(value_of(op)));
	assert_memory_equal(msg.value, value_of(op), msg.value_len);
	assert_true(msg.offset == 4711 && msg.at_ms == 99 && !msg.key && !msg.n_headers);
}

static void test_each_record_comes_out_as_it_went_in(void **state)
{
	struct fixture *f = *state;
	struct unpack unpack;
	struct message msg;
	struct stamp stamp;

	fill(f);
	assert_int_equal(f->stamp.op, STAMP_PACK);
	assert_int_equal(position_compare(f->stamp.prev, before), 0);
	assert_true(f->stamp.pos.major == UINT64_MAX - 1 && f->stamp.pos.minor == POSITION_END);
	assert_int_equal(unpack_begin(&unpack, &f->msg, &f->stamp, &f->err), 0);
	expect(&unpack, &stamp, RECORD_BEGIN, 200, 0);
	assert_string_equal(stamp.options, "proto_version '2'");
	assert_true(!stamp.fingerprint && !stamp.flags && stamp.more);
	expect(&unpack, &stamp, RECORD_INSERT, 200, 1);
	assert_true(stamp.fingerprint == 0x1234567890abcdef && !*stamp.options);
	expect(&unpack, &stamp, RECORD_UPDATE, 200, 5000);
	assert_true(stamp.fingerprint == 0x1234567890abcdef);
	assert_int_equal(stamp.flags, RECORD_BEFORE_KEY | RECORD_TOAST);
	expect(&unpack, &stamp, RECORD_DELETE, 200, 5001);
	assert_true(stamp.fingerprint == 7 && !stamp.flags);
	expect(&unpack, &stamp, RECORD_TRUNCATE, 200, 5002);
	assert_true(!stamp.fingerprint);
	expect(&unpack, &stamp, RECORD_MESSAGE, 200, 5003);
	expect(&unpack, &stamp, RECORD_END, 200, POSITION_END);
	assert_true(stamp.resume.len == 8 && stamp.resume.data[7] == 2 && stamp.more);
	expect(&unpack, &stamp, RECORD_BEGIN, UINT64_MAX - 1, 0);
	expect(&unpack, &stamp, RECORD_INSERT, UINT64_MAX - 1, 1);
	assert_true(stamp.fingerprint == 0x1234567890abcdef);
	expect(&unpack, &stamp, RECORD_END, UINT64_MAX - 1, POSITION_END);
	assert_false(stamp.more);
	assert_int_equal(unpack_next(&unpack, &msg, &stamp, &f->err), 0);
}

/* behind ABORT the same transaction begins anew, below where it was */
static void test_a_transaction_from_its_beginning_again(void **state)
{
	struct fixture *f = *state;
	struct unpack unpack;
	struct stamp stamp;

	f->last = (struct position){ 200, 7 };
	put_plain(f, RECORD_BEGIN, 200, 0);
	put_plain(f, RECORD_INSERT, 200, 1);
	write_pack(f);
	assert_int_equal(unpack_begin(&unpack, &f->msg, &f->stamp, &f->err), 0);
	expect(&unpack, &stamp, RECORD_BEGIN, 200, 0);
	expect(&unpack, &stamp, RECORD_INSERT, 200, 1);
}

static void test_it_is_used_again(void **state)
{
	struct fixture *f = *state;
	struct unpack unpack;
	struct stamp stamp;

	fill(f);
	pack_clear(&f->pack);
	f->last = before;
	put_plain(f, RECORD_BEGIN, 300, 0);
	/* written, and more comes all the same: as when there was no room for it */
	write_pack(f);
	put_plain(f, RECORD_INSERT, 300, 1);
	write_pack(f);
	assert_int_equal(unpack_begin(&unpack, &f->msg, &f->stamp, &f->err), 0);
	expect(&unpack, &stamp, RECORD_BEGIN, 300, 0);
	expect(&unpack, &stamp, RECORD_INSERT, 300, 1);
	assert_true(stamp.fingerprint == 0x1234567890abcdef);
	assert_false(stamp.more);
}

static void test_no_pack_is_larger_than_its_limit(void **state)
{
	struct fixture *f = *state;
	struct stamp stamp = stamp_of(f, RECORD_INSERT, 200, 1);

	/* but for what is larger alone */
	assert_true(pack_takes(&f->pack, &stamp, 10 * LIMIT, LIMIT));
	while (pack_takes(&f->pack, &stamp, strlen(value_of('I')), LIMIT)) {
		put(f, &stamp);
		stamp.prev = stamp.pos;
		stamp.pos.minor++;
	}
	write_pack(f);
	assert_true(f->msg.value_len <= LIMIT && f->msg.value_len > LIMIT - 100);
}

/* reads all of it. Return: as unpack_next() */
static int read_all(struct fixture *f)
{
	struct unpack unpack;
	struct message msg;
	struct stamp stamp;
	int r;

	memset(&f->err, 0, sizeof(f->err));
	r = unpack_begin(&unpack, &f->msg, &f->stamp, &f->err);
	if (r < 0)
		return r;
	while ((r = unpack_next(&unpack, &msg, &stamp, &f->err)) > 0)
		;
	return r;
}

static void expect_refused(struct fixture *f, const char *code, const char *part)
{
	assert_int_equal(read_all(f), -1);
	assert_int_equal(f->err.class, ERROR_DATA);
	assert_string_equal(f->err.code, code);
	if (!strstr(f->err.message, "offset 4711") || !strstr(f->err.message, part))
		fail_msg("'%s' is not in '%s'", part, f->err.message);
}

/* a pack by hand; the stamp is that of an insert behind `before` */
static void by_hand(struct fixture *f, const char *records, size_t len)
{
	uint32_t crc;

	buf_clear(&f->pack.bytes);
	buf_put(&f->pack.bytes, "\xd6\1", 2);
	buf_put(&f->pack.bytes, records, len);
	crc = crc32c_table(0, f->pack.bytes.data, f->pack.bytes.len);
	buf_put(&f->pack.bytes, &crc, sizeof(crc));
	f->msg.value = f->pack.bytes.data;
	f->msg.value_len = f->pack.bytes.len;
	f->stamp = stamp_of(f, STAMP_PACK, 101, 1);
	f->stamp.identity = "7000/shop";
}
#define BY_HAND(f, records) by_hand(f, records, sizeof(records) - 1)
#define BEGIN		    "\0\1\0\3\xd5\1B"
#define MESSAGE_AT_1	    "\0\0\1\3\xd5\1M"

static void test_what_does_not_fit_is_refused_with_its_place(void **state)
{
	struct fixture *f = *state;

	BY_HAND(f, BEGIN MESSAGE_AT_1);
	assert_int_equal(read_all(f), 0);
	BY_HAND(f, BEGIN);
	expect_refused(f, "BINARY-FORMAT", "does not end at the position");
	BY_HAND(f, "");
	expect_refused(f, "BINARY-FORMAT", "6 bytes");
	BY_HAND(f, "\x40\1\0\3\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "byte 2: a newer version");
	BY_HAND(f, BEGIN "\0\0\0\3\xd5\1M");
	expect_refused(f, "BINARY-FORMAT", "byte 10: a position is not behind");
	BY_HAND(f, BEGIN "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\1\3\xd5\1M");
	expect_refused(f, "BINARY-FORMAT", "byte 10: a position is not behind");
	BY_HAND(f, "\0\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\3\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "byte 3: a position is not behind");
	BY_HAND(f, "\2\1\0\3\xd5\1I");
	expect_refused(f, "BINARY-FORMAT", "which relation");
	BY_HAND(f, "\4\1\0\1\2\3\4\5\6\7\x08\3\xd5\1I");
	expect_refused(f, "BINARY-FORMAT", "which relation");
	BY_HAND(f, "\x06\1\0\1\2\3");
	expect_refused(f, "BINARY-FORMAT", "longer than what is left");
	BY_HAND(f, "\x08\1\0\0\3\xd5\1C");
	expect_refused(f, "BINARY-FORMAT", "a resume point");
	BY_HAND(f, "\x10\1\0\2ab\3\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "a text does not end");
	BY_HAND(f, "\x10\1\0\3a\0\0\3\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "a text does not end");
	BY_HAND(f, "\x10\1\0\0\3\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "a text does not end");
	BY_HAND(f, "\0\1\0\3\xd5\1F");
	expect_refused(f, "BINARY-FORMAT", "byte 6: it holds what does not belong");
	BY_HAND(f, "\0\1\0\3\xd5\1P");
	expect_refused(f, "BINARY-FORMAT", "byte 6: it holds what does not belong");
	BY_HAND(f, "\0\1\0\2\xd5\1");
	expect_refused(f, "BINARY-FORMAT", "byte 6: it holds what does not belong");
	BY_HAND(f, "\0\1\0\x09\xd5\1B");
	expect_refused(f, "BINARY-FORMAT", "longer than what is left");
}

static void test_another_version_is_refused(void **state)
{
	struct fixture *f = *state;

	fill(f);
	f->pack.bytes.data[1] = 2;
	expect_refused(f, "BINARY-VERSION", "version 2");
	f->pack.bytes.data[0] = 0xd5;
	expect_refused(f, "BINARY-FORMAT", "not in sluice's binary form");
	f->msg.value = NULL;
	expect_refused(f, "BINARY-FORMAT", "0 bytes");
}

/* E06: whatever byte is damaged, with a checksum of its own or without, nothing is read beyond the end */
static void test_E06_every_byte_damaged(void **state)
{
	struct fixture *f = *state;
	size_t len;

	fill(f);
	len = f->msg.value_len;
	for (size_t i = 2; i < len; i++) {
		uint8_t *copy = malloc(len), *byte = &copy[i];
		uint32_t crc;

		assert_non_null(copy);
		memcpy(copy, f->pack.bytes.data, len);
		f->msg.value = copy;
		*byte ^= 0x81;
		expect_refused(f, "BINARY-CHECKSUM", "damaged");
		crc = crc32c_table(0, copy, len - 4);
		memcpy(copy + len - 4, &crc, 4);
		read_all(f);
		/* and cut there */
		crc = crc32c_table(0, copy, i);
		copy = realloc(copy, i + 4);
		memcpy(copy + i, &crc, 4);
		f->msg.value = copy;
		f->msg.value_len = i + 4;
		read_all(f);
		f->msg.value_len = len;
		free(copy);
	}
}

#define pack_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pack_test(test_each_record_comes_out_as_it_went_in),
		pack_test(test_a_transaction_from_its_beginning_again),
		pack_test(test_it_is_used_again),
		pack_test(test_no_pack_is_larger_than_its_limit),
		pack_test(test_what_does_not_fit_is_refused_with_its_place),
		pack_test(test_another_version_is_refused),
		pack_test(test_E06_every_byte_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
