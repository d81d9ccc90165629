/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * COPY text to records: every escape the server writes, in every place of a field; nothing is copied where nothing is
 * escaped; what no server writes is refused by column and leaves the batch as it was.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "source/postgres/copy_text.h"

#define COLUMNS 3

struct fixture {
	struct relation *rel;
	struct batch *batch;
	struct error err;
};

static int set_up(void **state)
{
	static const struct column columns[COLUMNS] = { { .name = "a", .key = true }, { .name = "b" },
		{ .name = "c" } };
	struct relation_spec spec = {
		.schema = "public",
		.name = "t",
		.identity = IDENTITY_DEFAULT,
		.n_columns = COLUMNS,
		.columns = columns,
	};
	struct fixture *f = calloc(1, sizeof(*f));

	f->rel = relation_new(&spec);
	f->batch = batch_new(NULL);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	batch_free(f->batch);
	relation_unref(f->rel);
	free(f);
	return 0;
}

/* the line at the very end of an allocation of its own, so that a sanitizer sees a read too far */
static int row(struct fixture *f, const char *text, size_t len, uint8_t **ret_line)
{
	uint8_t *line = arena_alloc(&f->batch->arena, len + COPY_TEXT_SLACK);

	memcpy(line, text, len);
	memset(line + len, '\\', COPY_TEXT_SLACK);
	if (ret_line)
		*ret_line = line;
	return copy_text_row(f->batch, f->rel, line, len, &f->err);
}

static const struct record *good(struct fixture *f, const char *text)
{
	const struct record *rec;

	assert_int_equal(row(f, text, strlen(text), NULL), 0);
	rec = &f->batch->records[f->batch->n_records - 1];
	assert_int_equal(rec->op, RECORD_READ);
	assert_ptr_equal(rec->rel, f->rel);
	assert_null(rec->before);
	assert_int_equal(rec->pos.major, 0);
	assert_int_equal(rec->pos.minor, 0);
	return rec;
}

static void is(const struct value *value, const char *data, size_t len)
{
	assert_int_equal(value->state, VALUE_PRESENT);
	assert_int_equal(value->format, VALUE_TEXT);
	assert_int_equal(value->len, len);
	assert_memory_equal(value->data, data, len);
}

#define IS(value, text) is(&(value), text, sizeof(text) - 1)

static void test_plain(void **state)
{
	struct fixture *f = *state;
	const struct record *rec;
	uint8_t *line;

	assert_int_equal(row(f, "17\thello, world: longer than one look\tx\n", 40, &line), 0);
	rec = &f->batch->records[0];
	IS(rec->after[0], "17");
	IS(rec->after[1], "hello, world: longer than one look");
	IS(rec->after[2], "x");
	/* nothing was copied */
	assert_ptr_equal(rec->after[0].data, line);
	assert_ptr_equal(rec->after[1].data, line + 3);
	assert_int_equal(f->batch->n_relations, 1);
}

static void test_empty_and_null(void **state)
{
	const struct record *rec = good(*state, "\t\\N\t\n");

	IS(rec->after[0], "");
	assert_int_equal(rec->after[1].state, VALUE_NULL);
	IS(rec->after[2], "");
	rec = good(*state, "\\N\t\\N\t\\N\n");
	for (int i = 0; i < COLUMNS; i++)
		assert_int_equal(rec->after[i].state, VALUE_NULL);
	/* the text "\N" is no null */
	rec = good(*state, "\\\\N\tN\tx\\\\N\n");
	IS(rec->after[0], "\\N");
	IS(rec->after[1], "N");
	IS(rec->after[2], "x\\N");
}

static void test_every_escape(void **state)
{
	static const char from[] = "bfnrtv\\", to[] = "\b\f\n\r\t\v\\";

	for (size_t i = 0; i < sizeof(from) - 1; i++) {
		char line[64], expect[16];
		const struct record *rec;

		/* alone and first, in the middle, last and twice */
		snprintf(line, sizeof(line), "\\%c\tlong enough \\%c to move\tab\\%c\\%c\n", from[i], from[i],
			from[i], from[i]);
		rec = good(*state, line);
		is(&rec->after[0], &to[i], 1);
		snprintf(line, sizeof(line), "long enough %c to move", to[i]);
		is(&rec->after[1], line, strlen(line));
		snprintf(expect, sizeof(expect), "ab%c%c", to[i], to[i]);
		is(&rec->after[2], expect, 4);
	}
}

static void test_first_byte_does_not_move(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "\\\\xdeadbeef00112233445566778899aabb\tx\ty\n";
	uint8_t *line;

	assert_int_equal(row(f, text, sizeof(text) - 1, &line), 0);
	IS(f->batch->records[0].after[0], "\\xdeadbeef00112233445566778899aabb");
	assert_ptr_equal(f->batch->records[0].after[0].data, line + 1);
}

static void test_other_bytes_mean_themselves(void **state)
{
	char line[300];
	const struct record *rec;
	size_t n = 0;

	/* each byte but NUL and those that are written as escapes, at each alignment */
	for (int shift = 0; shift < 8; shift++) {
		n = 0;
		for (int i = 0; i < shift; i++)
			line[n++] = '.';
		for (int c = 1; c < 256; c++) {
			if (!strchr("\b\f\n\r\t\v\\", c))
				line[n++] = (char)c;
		}
		memcpy(line + n, "\t1\t2\n", 6);
		rec = good(*state, line);
		is(&rec->after[0], line, n);
		IS(rec->after[1], "1");
		IS(rec->after[2], "2");
	}
}

/* random texts, escaped as the server does, come back byte for byte */
static void test_random(void **state)
{
	static const char alphabet[] = "ab\\\t\n\r\b\f\vN.\x01\x7f\xc3\xa4";
	struct fixture *f = *state;
	uint32_t seed = 1;

	for (int turn = 0; turn < 3000; turn++) {
		char plain[COLUMNS][64], line[512];
		size_t lens[COLUMNS], n = 0;

		for (int c = 0; c < COLUMNS; c++) {
			seed = seed * 1664525 + 1013904223;
			lens[c] = (seed >> 16) % sizeof(plain[c]);
			for (size_t i = 0; i < lens[c]; i++) {
				static const char special[] = "\b\f\n\r\t\v\\", letter[] = "bfnrtv\\";
				const char *at;

				seed = seed * 1664525 + 1013904223;
				plain[c][i] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
				at = strchr(special, plain[c][i]);
				if (at)
					line[n++] = '\\';
				line[n++] = at ? letter[at - special] : plain[c][i];
			}
			line[n++] = c + 1 < COLUMNS ? '\t' : '\n';
		}
		assert_int_equal(row(f, line, n, NULL), 0);
		for (int c = 0; c < COLUMNS; c++)
			is(&f->batch->records[turn].after[c], plain[c], lens[c]);
	}
}

static void test_huge(void **state)
{
	struct fixture *f = *state;
	size_t half = (size_t)4 << 20, n = 0;
	char *line = malloc(2 * half + 64);

	memcpy(line, "1\t", 2);
	n = 2;
	memset(line + n, 'x', half);
	n += half;
	memcpy(line + n, "\\t", 2);
	n += 2;
	memset(line + n, 'y', half);
	n += half;
	memcpy(line + n, "\t\\N\n", 4);
	n += 4;
	assert_int_equal(row(f, line, n, NULL), 0);
	assert_int_equal(f->batch->records[0].after[1].len, 2 * half + 1);
	assert_int_equal(f->batch->records[0].after[1].data[half - 1], 'x');
	assert_int_equal(f->batch->records[0].after[1].data[half], '\t');
	assert_int_equal(f->batch->records[0].after[1].data[half + 1], 'y');
	assert_true(batch_is_full(f->batch));
	free(line);
}

static void test_broken(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "no end" },
		{ "1\t2\t3", "no end" },
		{ "1\t2\n", "columns" },
		{ "\n", "columns" },
		{ "1\t2\t3\t4\n", "columns" },
		{ "1\t2\t3\t\n", "columns" },
		{ "1\t2\n\t3\n", "column b" }, /* a newline is never plain */
		{ "1\t2\tend\\\n", "column c" },
		{ "\\q\t2\t3\n", "column a" },
		{ "1\tx\\Ny\t3\n", "column b" },
		{ "1\t\\Ny\t3\n", "column b" },
		{ "1\t\\101\t3\n", "column b" }, /* COPY FROM would take it, no server writes it */
		{ "1\t\\x41\t3\n", "column b" },
		{ "\\.\n", "column a" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(row(f, cases[i].text, strlen(cases[i].text), NULL) < 0);
		assert_int_equal(f->err.class, ERROR_DATA);
		assert_string_equal(f->err.code, "COPY-TEXT");
		assert_non_null(strstr(f->err.message, "public.t"));
		if (!strstr(f->err.message, cases[i].says))
			fail_msg("case %zu: %s", i, f->err.message);
		assert_int_equal(f->batch->n_records, 0);
	}
}

static void test_no_columns(void **state)
{
	struct fixture *f = *state;
	struct relation_spec spec = { .schema = "public", .name = "none" };

	relation_unref(f->rel);
	f->rel = relation_new(&spec);
	good(f, "\n");
	assert_true(row(f, "1\n", 2, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_empty_and_null, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_escape, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_first_byte_does_not_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_bytes_mean_themselves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_huge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_columns, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
