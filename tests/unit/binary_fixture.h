/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#pragma once

/* What the tests of the binary codec share: a codec with a relation, and the way there and back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/codec.h>

#define COLUMNS 5u

struct fixture {
	struct codec *codec;
	struct relation *rel;
	struct batch *batch;
	struct buf out;
	struct codec_output output;
	struct message msg;
	struct error err;
};

static inline struct relation *relation_of(uint32_t n)
{
	struct column columns[40];
	char names[40][16];

	for (uint32_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "c%u", i);
		columns[i] = (struct column){ names[i], 25, -1, i == 0 };
	}
	return relation_new(&(struct relation_spec){ 7, "public", "goods", IDENTITY_DEFAULT, n, columns });
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	f->codec = codec_binary_new();
	f->rel = relation_of(COLUMNS);
	f->batch = batch_new(NULL);
	f->output.out = &f->out;
	f->msg.offset = 4711;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	codec_free(f->codec);
	relation_unref(f->rel);
	batch_free(f->batch);
	buf_fini(&f->out);
	free(f);
	return 0;
}

static inline void encode(struct fixture *f, const struct record *rec)
{
	struct codec_output *ret = &f->output;

	buf_clear(&f->out);
	if (f->codec->ops->encode(f->codec, rec, &(struct codec_transaction){ 0 }, ret, &f->err))
		fail_msg("%s", f->err.message);
	assert_true(ret->exact.null);
	f->msg.key = ret->key.null ? NULL : f->out.data + ret->key.at;
	f->msg.key_len = ret->key.len;
	f->msg.value = ret->value.null ? NULL : f->out.data + ret->value.at;
	f->msg.value_len = ret->value.len;
}

static inline struct record decode(struct fixture *f, uint8_t op)
{
	struct record rec = { .op = op };

	if (strchr("IUDRS", op))
		rec.rel = f->rel;
	if (f->codec->ops->decode(f->codec, &f->msg, f->batch, &rec, &f->err))
		fail_msg("%s", f->err.message);
	return rec;
}

/* what was decoded must not need the message: it comes from a copy that is gone then */
static inline struct record there_and_back(struct fixture *f, const struct record *rec)
{
	struct record back;
	void *copy = NULL;

	encode(f, rec);
	if (f->msg.value) {
		copy = malloc(f->msg.value_len);
		assert_non_null(copy);
		memcpy(copy, f->msg.value, f->msg.value_len);
		f->msg.value = copy;
	}
	back = decode(f, rec->op);
	free(copy);
	return back;
}

static inline struct value text(const char *s)
{
	return (struct value){ (const uint8_t *)s, (uint32_t)strlen(s), VALUE_PRESENT, VALUE_TEXT, 0 };
}

static inline struct value as(uint8_t format, uint16_t subtype, const char *s, uint32_t len)
{
	return (struct value){ (const uint8_t *)s, len, VALUE_PRESENT, format, subtype };
}

static inline void expect_same(const struct value *a, const struct value *b)
{
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->format, b->format);
	assert_int_equal(a->subtype, b->subtype);
	assert_int_equal(a->len, b->len);
	if (a->len)
		assert_memory_equal(a->data, b->data, a->len);
}

static inline void expect_row(const struct value *a, const struct value *b, uint32_t n)
{
	assert_true(!a == !b);
	for (uint32_t i = 0; a && i < n; i++)
		expect_same(&a[i], &b[i]);
}

static inline struct record update_of(struct fixture *f, struct value *before, struct value *after)
{
	return (struct record){ .op = RECORD_UPDATE, .rel = f->rel, .before = before, .after = after };
}
