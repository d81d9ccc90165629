/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/message.h>

#define SOURCE "7300000000000000001/shop"

struct fixture {
	struct arena arena;
	struct buf text;
	struct message msg;
	struct stamp stamp;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	f->stamp = (struct stamp){
		.op = RECORD_UPDATE,
		.flags = RECORD_BEFORE_KEY | RECORD_TOAST,
		.pos = { 0x0a1b2c3d, 7 },
		.prev = { 0x0a1b2c3d, 6 },
		.has_pos = true,
		.reign = { 12, 0xa1b2c3d4e5f607 },
		.identity = SOURCE,
		.options = "",
		.fingerprint = 0x123456789abcdef,
	};
	f->msg.offset = 4711;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_reset(&f->arena);
	buf_fini(&f->text);
	free(f);
	return 0;
}

static void write_stamp(struct fixture *f)
{
	buf_fini(&f->text); /* so that it has to grow, and pointers into the old one would be seen */
	f->msg.n_headers = 0;
	stamp_write(&f->stamp, &f->text, &f->msg);
}

static void expect_header(struct fixture *f, const char *name, const char *value)
{
	const struct message_header *header = message_header(&f->msg, name);

	if (!header != !value)
		fail_msg("%s is %s", name, value ? "missing" : "there");
	if (!header)
		return;
	if (header->len != strlen(value) || memcmp(header->value, value, header->len))
		fail_msg("%s is '%.*s'", name, (int)header->len, (const char *)header->value);
}

static void headers_are_readable_text(void **state)
{
	struct fixture *f = *state;

	write_stamp(f);
	expect_header(f, "sluice.op", "U");
	expect_header(f, "sluice.reign", "12-00a1b2c3d4e5f607");
	expect_header(f, "sluice.source", SOURCE);
	expect_header(f, "sluice.position", "000000000a1b2c3d0000000000000007");
	expect_header(f, "sluice.prev", "000000000a1b2c3d0000000000000006");
	expect_header(f, "sluice.relation", "0123456789abcdef");
	expect_header(f, "sluice.flags", "9");
	expect_header(f, "sluice.resume", NULL);
	expect_header(f, "sluice.options", NULL);
	assert_null(message_header(&f->msg, "sluice"));
	assert_int_equal(f->msg.n_headers, 8);
}

static void expect_same(const struct stamp *a, const struct stamp *b)
{
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->has_pos, b->has_pos);
	assert_int_equal(position_compare(a->pos, b->pos), 0);
	assert_int_equal(position_compare(a->prev, b->prev), 0);
	assert_int_equal(a->resume.len, b->resume.len);
	if (a->resume.len)
		assert_memory_equal(a->resume.data, b->resume.data, a->resume.len);
	assert_true(reign_equal(a->reign, b->reign));
	assert_string_equal(a->identity, b->identity);
	assert_string_equal(a->options, b->options);
	assert_true(a->fingerprint == b->fingerprint);
}

static void every_op_comes_back(void **state)
{
	static const char ops[] = "BIUDTRSMCAKFHX";
	static const uint8_t resume[] = { 0, 1, 0xfe, 0xff };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(ops) - 1; i++) {
		struct stamp back;

		setup(state);
		teardown((void **)&f);
		f = *state;
		f->stamp.op = (uint8_t)ops[i];
		if (strchr("CKX", ops[i]))
			f->stamp.resume = (struct resume){ resume, sizeof(resume) };
		if (ops[i] == 'B')
			f->stamp.options = "proto_version '2', publication_names 'p'";
		if (strchr("RSH", ops[i])) {
			f->stamp.has_pos = false;
			f->stamp.pos = f->stamp.prev = POSITION_NONE;
		}
		write_stamp(f);
		if (stamp_read(&f->msg, &f->arena, &back, &f->err))
			fail_msg("%c: %s", ops[i], f->err.message);
		memset(f->text.data, '?', f->text.len); /* what was read is a copy */
		expect_same(&f->stamp, &back);
	}
}

static void other_programs_messages_have_no_stamp(void **state)
{
	struct fixture *f = *state;
	struct stamp back;

	assert_int_equal(stamp_read(&f->msg, &f->arena, &back, &f->err), 1);
	f->msg.headers[f->msg.n_headers++] = (struct message_header){ "traceparent", "00-1", 4 };
	assert_int_equal(stamp_read(&f->msg, &f->arena, &back, &f->err), 1);
	f->msg.headers[f->msg.n_headers++] = (struct message_header){ "sluice.later", "", 0 };
	assert_int_equal(stamp_read(&f->msg, &f->arena, &back, &f->err), -1);
	assert_string_equal(f->err.code, "KAFKA-HEADER");
}

static void expect_refused(struct fixture *f, const char *name)
{
	struct stamp back;
	char offset[] = "4711";

	assert_int_equal(stamp_read(&f->msg, &f->arena, &back, &f->err), -1);
	assert_int_equal(f->err.class, ERROR_DATA);
	assert_string_equal(f->err.code, "KAFKA-HEADER");
	if (!strstr(f->err.message, name) || !strstr(f->err.message, offset))
		fail_msg("%s at %s: '%s'", name, offset, f->err.message);
}

static struct message_header *header_at(struct fixture *f, const char *name)
{
	for (uint32_t i = 0; i < f->msg.n_headers; i++) {
		if (!strcmp(f->msg.headers[i].name, name))
			return &f->msg.headers[i];
	}
	fail_msg("no header %s", name);
	abort();
}

static void what_must_be_there_is_missed(void **state)
{
	static const char *const needed[] = { "sluice.op", "sluice.reign", "sluice.source", "sluice.position",
		"sluice.prev", "sluice.relation" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		struct message_header *header;

		write_stamp(f);
		header = header_at(f, needed[i]);
		*header = f->msg.headers[--f->msg.n_headers];
		expect_refused(f, needed[i]);
		write_stamp(f);
		f->msg.headers[f->msg.n_headers++] = *header_at(f, needed[i]);
		expect_refused(f, needed[i]);
	}
}

static void what_sluice_does_not_write_is_refused(void **state)
{
	static const struct {
		const char *name, *value;
	} wrong[] = {
		{ "sluice.op", "" },
		{ "sluice.op", "Z" },
		{ "sluice.op", "UU" },
		{ "sluice.reign", "" },
		{ "sluice.reign", "12" },
		{ "sluice.source", "" },
		{ "sluice.position", "000000000a1b2c3d000000000000007" },
		{ "sluice.position", "000000000a1b2c3d000000000000000700" },
		{ "sluice.prev", "000000000A1B2C3D0000000000000007" },
		{ "sluice.relation", "123" },
		{ "sluice.relation", "0000000000000000" },
		{ "sluice.flags", "" },
		{ "sluice.flags", "100" },
		{ "sluice.flags", "x" },
		{ "sluice.resume", "" },
		{ "sluice.resume", "abc" },
	};
	static const uint8_t resume[] = { 1 };
	struct fixture *f = *state;

	f->stamp.resume = (struct resume){ resume, 1 };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct message_header *header;

		write_stamp(f);
		header = header_at(f, wrong[i].name);
		header->value = wrong[i].value;
		header->len = strlen(wrong[i].value);
		expect_refused(f, wrong[i].name);
		header->value = NULL;
		header->len = 0;
		expect_refused(f, wrong[i].name);
	}
	write_stamp(f);
	header_at(f, "sluice.source")->value = "a\0b";
	header_at(f, "sluice.source")->len = 3;
	expect_refused(f, "sluice.source");
}

static void test_E03_later_headers_and_flags_are_skipped(void **state)
{
	struct fixture *f = *state;
	struct stamp back;

	write_stamp(f);
	header_at(f, "sluice.flags")->value = "f9";
	header_at(f, "sluice.flags")->len = 2;
	f->msg.headers[f->msg.n_headers++] = (struct message_header){ "sluice.later", "\xff", 1 };
	f->msg.headers[f->msg.n_headers++] = (struct message_header){ "sluice.later", NULL, 0 };
	f->msg.headers[f->msg.n_headers++] = (struct message_header){ "op", "??", 2 };
	assert_int_equal(stamp_read(&f->msg, &f->arena, &back, &f->err), 0);
	expect_same(&f->stamp, &back);
}

static void test_E02_an_id_is_the_same_in_every_replay(void **state)
{
	struct fixture *f = *state;
	char id[37], other[37];

	for (unsigned i = 0; i < 100; i++) {
		/* uuid5(uuid5(NAMESPACE, source), position), as any program computes it */
		stamp_id(SOURCE, (struct position){ 0x0a1b2c3d, 7 }, id);
		assert_string_equal(id, "4ade5d94-105b-5e4b-8f2c-63899f5f9aa1");
		stamp_id("7300000000000000002/other", (struct position){ 0x0a1b2c3d, POSITION_END }, other);
		assert_string_equal(other, "03c40f8f-80f2-56b4-9f2b-4ec830f5ac04");
	}
	write_stamp(f);
	expect_header(f, "sluice.id", id);
}

/* whatever stands where something else stands too has none */
static void only_what_has_a_place_of_its_own_has_an_id(void **state)
{
	struct fixture *f = *state;

	for (const char *op = "BIUDTMC"; *op; op++) {
		f->stamp.op = (uint8_t)*op;
		write_stamp(f);
		if (!message_header(&f->msg, "sluice.id"))
			fail_msg("%c has no id", *op);
	}
	for (const char *op = "RSAKFHX"; *op; op++) {
		f->stamp.op = (uint8_t)*op;
		write_stamp(f);
		expect_header(f, "sluice.id", NULL);
	}
	f->stamp.op = RECORD_MESSAGE;
	f->stamp.pos.minor = POSITION_END; /* outside transactions: the END before it */
	write_stamp(f);
	expect_header(f, "sluice.id", NULL);
	f->stamp.pos = POSITION_NONE;
	write_stamp(f);
	expect_header(f, "sluice.id", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(headers_are_readable_text, setup, teardown),
		cmocka_unit_test_setup_teardown(every_op_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(other_programs_messages_have_no_stamp, setup, teardown),
		cmocka_unit_test_setup_teardown(what_must_be_there_is_missed, setup, teardown),
		cmocka_unit_test_setup_teardown(what_sluice_does_not_write_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_E03_later_headers_and_flags_are_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_E02_an_id_is_the_same_in_every_replay, setup, teardown),
		cmocka_unit_test_setup_teardown(only_what_has_a_place_of_its_own_has_an_id, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
