/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * How fast are the codecs? Ordinary rows, some 120 bytes in five columns, are encoded and decoded by both, with their
 * transactions of a thousand rows, in memory and on one core; and stamps are written and read. Each figure is the best of
 * several rounds: what disturbs a round only ever makes it slower. Time is CPU time. MB/s are bytes of the messages' keys and values; ns are
 * per record, where the codecs can be compared although their messages differ in size.
 *
 *   codec [ROWS [ROUNDS]]
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sluice/codec.h>

#define COLUMNS		5
#define TRANSACTION	1000u
#define DISTINCT_ROWS	4096u /* 0.5 MB of row data: as in a batch, it is not all in the nearest cache */
#define BATCH_ROWS	2048u
#define TEXT_BYTES	68
#define ROW_BYTES	(COLUMNS * TEXT_BYTES)
#define OID_TIMESTAMPTZ 1184
#define OID_NUMERIC	1700

struct rows {
	struct relation *rel;
	struct value values[DISTINCT_ROWS][COLUMNS];
	char texts[DISTINCT_ROWS * ROW_BYTES]; /* one behind the other, as in the message of a source */
	size_t bytes;			       /* of all values */
};

/* messages, one behind the other */
struct messages {
	struct buf data;
	struct codec_output *slices;
	size_t bytes;
};

struct figures {
	double encode_ns, decode_ns, message_bytes;
};

static void fail(const char *what, const struct error *err)
{
	fprintf(stderr, "codec: %s: %s\n", what, err->message);
	exit(1);
}

static void rows_make(struct rows *rows)
{
	static const struct column columns[COLUMNS] = { { "id", 20, -1, true }, { "quantity", 23, -1, false },
		{ "payload", 25, -1, false }, { "changed_at", OID_TIMESTAMPTZ, -1, false },
		{ "price", OID_NUMERIC, ((12 << 16) | 2) + 4, false } };
	static const char letters[] = "the quick brown fox jumps over the lazy dog, and over and over again";

	rows->rel = relation_new(
		&(struct relation_spec){ 16385, "public", "orders", IDENTITY_DEFAULT, COLUMNS, columns });
	rows->bytes = 0;
	for (unsigned i = 0; i < DISTINCT_ROWS; i++) {
		char texts[COLUMNS][TEXT_BYTES];

		snprintf(texts[0], TEXT_BYTES, "%" PRIu64, 1000000007u * (uint64_t)(i + 1));
		snprintf(texts[1], TEXT_BYTES, "%u", i * 7919 % 100000);
		snprintf(texts[2], TEXT_BYTES, "%.*s", TEXT_BYTES - 1 - (int)(i % 8), letters);
		snprintf(texts[3], TEXT_BYTES, "2026-11-%02u %02u:%02u:%02u.%06u+00", 1 + i % 28, i % 24,
			i % 60, i * 7 % 60, i * 7919 % 1000000);
		snprintf(texts[4], TEXT_BYTES, "%u.%02u", i * 104729 % 10000000, i % 100);
		for (unsigned c = 0; c < COLUMNS; c++) {
			struct value *value = &rows->values[i][c];

			*value = (struct value){ .len = (uint32_t)strlen(texts[c]), .state = VALUE_PRESENT };
			value->data = memcpy(rows->texts + rows->bytes, texts[c], value->len);
			rows->bytes += value->len;
		}
	}
}

/* the record at place i of an endless stream: BEGIN, rows, END, … */
static struct record record_at(
	const struct rows *rows, uint64_t i, const struct record_begin *begin, const struct record_end *end)
{
	uint64_t in_transaction = i % (TRANSACTION + 2);
	struct record rec = { .pos = { 0x100000000 + 64 * (i / (TRANSACTION + 2)), in_transaction } };

	if (!in_transaction) {
		rec.op = RECORD_BEGIN;
		rec.begin = begin;
	} else if (in_transaction == TRANSACTION + 1) {
		rec.op = RECORD_END;
		rec.pos.minor = POSITION_END;
		rec.end = end;
	} else {
		rec.op = RECORD_INSERT;
		rec.rel = rows->rel;
		/* borrowed for reading, as the contract has no const there */
		rec.after = (struct value *)(uintptr_t)rows->values[i % DISTINCT_ROWS];
	}
	return rec;
}

/* encodes n records; with kept, their messages are collected for decoding. Return: bytes of keys and values */
static size_t encode_all(struct codec *codec, const struct rows *rows, uint64_t n, struct messages *kept)
{
	const struct record_begin begin = { { 1800000000000000 }, 100000, NULL };
	const struct record_end end = { { 1800000000000000 }, 100000, { 0 }, TRANSACTION };
	const struct codec_transaction tx = { 100000, { 1800000000000000 }, { 1800000000001000 } };
	struct error err = ERROR_INIT;
	struct buf out = BUF_INIT;
	size_t bytes = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct codec_output output = { .out = kept ? &kept->data : &out };
		struct record rec = record_at(rows, i, &begin, &end);

		buf_clear(&out);
		if (codec->ops->encode(codec, &rec, &tx, &output, &err) < 0)
			fail("encode", &err);
		if (kept)
			kept->slices[i] = output;
		bytes += output.key.len + output.value.len;
	}
	buf_fini(&out);
	return bytes;
}

static void decode_all(
	struct codec *codec, const struct rows *rows, const struct messages *messages, uint64_t n)
{
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;

	for (uint64_t i = 0; i < n; i++) {
		const struct codec_output *from = &messages->slices[i];
		uint64_t in_transaction = i % (TRANSACTION + 2);
		struct message msg = { .offset = (int64_t)i };
		struct record *rec = batch_add(batch);

		msg.key = from->key.null ? NULL : messages->data.data + from->key.at;
		msg.key_len = from->key.len;
		msg.value = messages->data.data + from->value.at;
		msg.value_len = from->value.len;
		if (!from->exact.null)
			msg.headers[msg.n_headers++] = (struct message_header){ "sluice.exact",
				messages->data.data + from->exact.at, from->exact.len };
		rec->op = !in_transaction		 ? RECORD_BEGIN
			  : in_transaction > TRANSACTION ? RECORD_END
							 : RECORD_INSERT;
		if (rec->op == RECORD_INSERT)
			rec->rel = batch_hold(batch, rows->rel);
		if (codec->ops->decode(codec, &msg, batch, rec, &err) < 0)
			fail("decode", &err);
		if (batch->n_records == BATCH_ROWS) {
			batch_free(batch);
			batch = batch_new(NULL);
		}
	}
	batch_free(batch);
}

/* CPU time of this process, which other programs on the machine disturb less than they do the clock */
static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double ns_since(double start, uint64_t n)
{
	return (cpu_ns() - start) / (double)n;
}

static double better(double best, double ns)
{
	return best == 0 || ns < best ? ns : best;
}

static struct figures measure(struct codec *codec, const struct rows *rows, uint64_t n, unsigned rounds)
{
	uint64_t kept = n < 4 * DISTINCT_ROWS ? n : 4 * DISTINCT_ROWS;
	struct messages messages = { .slices = calloc(kept, sizeof(*messages.slices)) };
	struct figures figures = { 0 };

	if (!messages.slices)
		abort();
	encode_all(codec, rows, kept, &messages);
	for (unsigned round = 0; round < rounds; round++) {
		double start = cpu_ns();

		figures.message_bytes = (double)encode_all(codec, rows, n, NULL) / (double)n;
		figures.encode_ns = better(figures.encode_ns, ns_since(start, n));
		start = cpu_ns();
		for (uint64_t done = 0; done < n; done += kept)
			decode_all(codec, rows, &messages, kept);
		figures.decode_ns = better(figures.decode_ns, ns_since(start, (n + kept - 1) / kept * kept));
	}
	buf_fini(&messages.data);
	free(messages.slices);
	return figures;
}

static void print_line(const char *what, double ns, double bytes)
{
	printf("%-14s %8.0f MB/s %8.1f ns/record %8.0f bytes/record\n", what, bytes * 1e3 / ns, ns, bytes);
}

static void measure_stamps(const struct rows *rows, uint64_t n, unsigned rounds)
{
	double write_ns = 0, read_ns = 0, bytes = 0;
	struct arena arena = ARENA_INIT(NULL);
	struct buf text = BUF_INIT;
	struct error err = ERROR_INIT;
	struct message msg = { 0 };

	for (unsigned round = 0; round < rounds; round++) {
		struct stamp stamp = { .op = RECORD_INSERT,
			.has_pos = true,
			.reign = { 12, 0xa1b2c3d4e5f607 },
			.identity = "7300000000000000001/shop",
			.options = "",
			.fingerprint = rows->rel->fingerprint };
		double start = cpu_ns();

		for (uint64_t i = 0; i < n; i++) {
			stamp.prev = stamp.pos;
			stamp.pos = (struct position){ 0x100000000, i };
			buf_clear(&text);
			msg.n_headers = 0;
			stamp_write(&stamp, &text, &msg);
		}
		write_ns = better(write_ns, ns_since(start, n));
		start = cpu_ns();
		for (uint64_t i = 0; i < n; i++) {
			if (i % BATCH_ROWS == 0)
				arena_reset(&arena);
			if (stamp_read(&msg, &arena, &stamp, &err))
				fail("stamp", &err);
		}
		read_ns = better(read_ns, ns_since(start, n));
	}
	bytes = (double)text.len;
	print_line("stamp write", write_ns, bytes);
	print_line("stamp read", read_ns, bytes);
	arena_reset(&arena);
	buf_fini(&text);
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;
	struct rows *rows = calloc(1, sizeof(*rows));
	struct codec *json, *binary;
	struct figures a, b;

	if (!rows || !n || !rounds)
		return 64;
	rows_make(rows);
	json = codec_json_new(&(struct codec_json_options){ "0", "shop", "shop", JSON_SCHEMAS_TOPIC });
	binary = codec_binary_new();
	printf("rows of %.0f bytes\n", (double)rows->bytes / DISTINCT_ROWS);
	a = measure(json, rows, n, rounds);
	b = measure(binary, rows, n, rounds);
	print_line("json encode", a.encode_ns, a.message_bytes);
	print_line("json decode", a.decode_ns, a.message_bytes);
	print_line("binary encode", b.encode_ns, b.message_bytes);
	print_line("binary decode", b.decode_ns, b.message_bytes);
	printf("binary against json: encode %.1f x MB/s, %.1f x records/s; decode %.1f x MB/s, %.1f x records/s\n",
		b.message_bytes / b.encode_ns / (a.message_bytes / a.encode_ns), a.encode_ns / b.encode_ns,
		b.message_bytes / b.decode_ns / (a.message_bytes / a.decode_ns), a.decode_ns / b.decode_ns);
	measure_stamps(rows, n, rounds);
	codec_free(json);
	codec_free(binary);
	relation_unref(rows->rel);
	free(rows);
	return 0;
}
