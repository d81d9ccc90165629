/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Decode, encode, decode, encode; see fuzz.h. */

#include "fuzz.h"

struct input {
	uint8_t op, flags;
	struct relation *rel;
	struct message msg;
};

/* a message in memory of exactly its size, so that the first byte read behind it is seen */
struct text {
	uint8_t *value, *exact;
};

static bool has_relation(uint8_t op)
{
	return op == RECORD_INSERT || op == RECORD_UPDATE || op == RECORD_DELETE || op == RECORD_READ;
}

static uint8_t *exact_copy(const void *data, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	FUZZ_CHECK(p);
	if (len)
		memcpy(p, data, len);
	return p;
}

static bool read_input(struct input *ret, struct text *text, const uint8_t *data, size_t size)
{
	size_t exact_len;

	if (size < FUZZ_HEAD_BYTES)
		return false;
	exact_len = (size_t)data[3] | (size_t)data[4] << 8;
	if (exact_len > size - FUZZ_HEAD_BYTES)
		return false;
	*ret = (struct input){ .op = data[0], .flags = data[1] & 15, .rel = fuzz_relation(data[2]) };
	text->exact = exact_copy(data + FUZZ_HEAD_BYTES, exact_len);
	ret->msg.value_len = size - FUZZ_HEAD_BYTES - exact_len;
	text->value = exact_copy(data + FUZZ_HEAD_BYTES + exact_len, ret->msg.value_len);
	ret->msg.value = text->value;
	if (exact_len)
		ret->msg.headers[ret->msg.n_headers++] =
			(struct message_header){ "sluice.exact", text->exact, exact_len };
	return true;
}

/* every byte counts, so that the sanitizers see a value that is not there */
static unsigned sum_row(const struct value *values, uint32_t n)
{
	unsigned sum = 0;

	for (uint32_t i = 0; values && i < n; i++) {
		FUZZ_CHECK(values[i].state <= VALUE_PRESENT);
		FUZZ_CHECK(values[i].state == VALUE_PRESENT || !values[i].len);
		for (uint32_t k = 0; k < values[i].len; k++)
			sum += values[i].data[k];
	}
	return sum;
}

/* decodes msg, and encodes what came out behind out->out's end; false = one of both was refused */
static bool again(
	struct codec *codec, const struct input *in, const struct message *msg, struct codec_output *out)
{
	struct record rec = { .op = in->op, .flags = in->flags, .pos = { 100, 7 } };
	const struct codec_transaction tx = { 7, { 1000000 }, { 1000000 } };
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;
	volatile unsigned sum = 0;
	bool done = false;

	if (has_relation(in->op))
		rec.rel = batch_hold(batch, in->rel);
	if (codec->ops->decode(codec, msg, batch, &rec, &err) == 0) {
		if (has_relation(in->op))
			sum = sum_row(rec.before, in->rel->n_columns) +
			      sum_row(rec.after, in->rel->n_columns);
		done = codec->ops->encode(codec, &rec, &tx, out, &err) == 0;
	}
	FUZZ_CHECK(done || err.class == ERROR_DATA);
	(void)sum;
	batch_free(batch);
	return done;
}

static void check_same(const struct codec_output *a, const struct codec_output *b)
{
	const struct codec_slice x[] = { a->key, a->value, a->exact }, y[] = { b->key, b->value, b->exact };

	for (unsigned i = 0; i < 3; i++) {
		FUZZ_CHECK(x[i].null == y[i].null && x[i].len == y[i].len);
		FUZZ_CHECK(x[i].null || !memcmp(a->out->data + x[i].at, b->out->data + y[i].at, x[i].len));
	}
}

static bool known(uint8_t op)
{
	return op && memchr("BIUDTRMCKH", op, 10);
}

void fuzz_codec(const uint8_t *data, size_t size, struct codec *(*new_codec)(void))
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct codec_output a = { .out = &first }, b = { .out = &second };
	struct text text = { 0 };
	struct message msg = { 0 };
	struct input in;
	struct codec *codec;

	if (!size || !known(*data) || !read_input(&in, &text, data, size))
		return;
	codec = new_codec();
	if (again(codec, &in, &in.msg, &a)) {
		codec_free(codec); /* nothing of the first time may help the second */
		codec = new_codec();
		msg.value = a.value.null ? NULL : first.data + a.value.at;
		msg.value_len = a.value.len;
		if (!a.exact.null)
			msg.headers[msg.n_headers++] = (struct message_header){ "sluice.exact",
				first.data + a.exact.at, a.exact.len };
		FUZZ_CHECK(again(codec, &in, &msg, &b));
		check_same(&a, &b);
	}
	codec_free(codec);
	relation_unref(in.rel);
	free(text.value);
	free(text.exact);
	buf_fini(&first);
	buf_fini(&second);
}
