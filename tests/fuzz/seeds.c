/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Writes what the fuzzers begin with: messages as our own encoders make them, into a folder per fuzzer.
 *
 *   fuzz-seeds DIR      writes DIR/json/…, DIR/debezium/…, DIR/binary/…, DIR/pack/…, DIR/stamp/…, DIR/schema/…
 */

#include <errno.h>
#include <sys/stat.h>

#include <sluice/pack.h>

#include "fuzz.h"

#define RELATIONS 19u

static const char *dir;

/* texts of the types in relation.c: one ordinary, one that the envelope cannot hold */
static const char *const texts[RELATIONS][2] = { { "t", "f" }, { "\\x00ff", "\\x" },
	{ "9223372036854775807", "-1" }, { "-2147483648", "7" }, { "a \"b\"\n\xC3\xA9", "" },
	{ "(1,2.5)", "(NaN,1e-300)" }, { "1.5", "-0" }, { "$1,234.50", "-$0.01" },
	{ "2026-11-21", "0044-03-15 BC" }, { "23:59:59.123", "24:00:00" },
	{ "2026-11-21 10:00:00.000001", "infinity" }, { "2026-11-21 10:00:00+00", "-infinity" },
	{ "1 year 2 mons -3 days +04:05:06.7", "-178000000 years" }, { "10:00:00.5+02", "00:00:00-15:59" },
	{ "1010101", "0000000" }, { "123.4500", "NaN" }, { "12345678.90", "-Infinity" },
	{ "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000" },
	{ "{\"a\": [1, null]}", "1" } };

static void write_seed(const char *folder, const char *name, const struct buf *seed)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, folder);
	if (mkdir(path, 0777) && errno != EEXIST)
		abort();
	snprintf(path, sizeof(path), "%s/%s/%s", dir, folder, name);
	file = fopen(path, "wb");
	FUZZ_CHECK(file && fwrite(seed->data, 1, seed->len, file) == seed->len);
	fclose(file);
}

static void write_message(
	const char *folder, struct codec *codec, const struct record *rec, unsigned relation)
{
	static unsigned number;
	const struct codec_transaction tx = { 7, { 1000000 }, { 1000000 } };
	bool binary = !strcmp(folder, "binary");
	struct buf out = BUF_INIT, seed = BUF_INIT;
	struct codec_output output = { .out = &out };
	struct error err = ERROR_INIT;
	size_t exact_len, value_len;
	char name[32];

	FUZZ_CHECK(codec->ops->encode(codec, rec, &tx, &output, &err) == 0);
	/* to the reader of Debezium's messages ours are such */
	if (!strcmp(folder, "debezium")) {
		exact_len = output.key.null ? 0 : output.key.len;
		output.exact = output.key;
	} else {
		exact_len = output.exact.null ? 0 : output.exact.len;
	}
	value_len = output.value.len - (binary ? 4 : 0);
	buf_put(&seed,
		(const uint8_t[]){
			rec->op, rec->flags, (uint8_t)relation, exact_len & 0xff, (uint8_t)(exact_len >> 8) },
		5);
	if (!strcmp(folder, "debezium"))
		memset(seed.data, 0, 2); /* the modes that we write */
	buf_put(&seed, out.data + output.exact.at, exact_len);
	buf_put(&seed, out.data + output.value.at, value_len);
	snprintf(name, sizeof(name), "%c%02u-%03u", rec->op, relation, number++);
	write_seed(folder, name, &seed);
	buf_fini(&out);
	buf_fini(&seed);
}

static struct value text_value(const char *s)
{
	return (struct value){ (const uint8_t *)s, (uint32_t)strlen(s), VALUE_PRESENT, VALUE_TEXT, 0 };
}

static void write_rows(const char *folder, struct codec *codec, unsigned i)
{
	struct relation *rel = fuzz_relation(i);
	struct value ordinary[] = { text_value("7"), text_value(texts[i][0]), { .state = VALUE_NULL } };
	struct value odd[] = { text_value("7"), text_value(texts[i][1]), text_value("{NULL,NULL}") };
	struct value key[] = { text_value("8"), { .state = VALUE_ABSENT }, { .state = VALUE_ABSENT } };
	struct value toast[] = { text_value("7"), text_value(texts[i][0]), { .state = VALUE_ABSENT } };
	const struct record all[] = { { .op = RECORD_INSERT, .rel = rel, .after = ordinary },
		{ .op = RECORD_READ, .rel = rel, .after = odd },
		{ .op = RECORD_UPDATE,
			.rel = rel,
			.after = odd,
			.before = ordinary,
			.flags = RECORD_BEFORE_FULL },
		{ .op = RECORD_UPDATE,
			.rel = rel,
			.after = toast,
			.before = key,
			.flags = RECORD_BEFORE_KEY | RECORD_KEY_CHANGED | RECORD_TOAST },
		{ .op = RECORD_DELETE, .rel = rel, .before = key, .flags = RECORD_BEFORE_KEY } };

	for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
		struct record rec = all[k];

		rec.pos = (struct position){ 100, 7 };
		write_message(folder, codec, &rec, i);
	}
	relation_unref(rel);
}

static void write_marks(const char *folder, struct codec *codec)
{
	struct relation *rel = fuzz_relation(0);
	const struct record_begin begin = { { 1700000000000000 }, 1000, NULL };
	const struct record_end end = { { 1700000000000000 }, 1000, { 0 }, 3 };
	const struct record_heartbeat heartbeat = { { 0 }, { 1700000000000000 }, 1u << 30, { 5 } };
	const struct record_message message = { "app", (const uint8_t *)"content", 7, true };
	const struct record_chunk chunk = { CHUNK_MARK_END, 1, 1, 1000, 1, (const uint8_t *)"s", 1 };
	const struct record_truncate truncate = { &rel, 1, true, false };
	const struct record all[] = { { .op = RECORD_BEGIN, .begin = &begin },
		{ .op = RECORD_END, .end = &end }, { .op = RECORD_HEARTBEAT, .heartbeat = &heartbeat },
		{ .op = RECORD_MESSAGE, .message = &message }, { .op = RECORD_CHUNK, .chunk = &chunk },
		{ .op = RECORD_TRUNCATE, .truncate = &truncate } };

	for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
		struct record rec = all[k];

		rec.pos = (struct position){ 100, rec.op == RECORD_END ? POSITION_END : 7 };
		write_message(folder, codec, &rec, 0);
	}
	relation_unref(rel);
}

static void write_stamps(void)
{
	static const uint8_t resume[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	static const char *const order[] = { "sluice.op", "sluice.reign", "sluice.source", "sluice.position",
		"sluice.prev", "sluice.resume", "sluice.id", "sluice.relation", "sluice.flags",
		"sluice.options" };

	for (const char *op = "BIUDTRSMCAKFHX"; *op; op++) {
		struct stamp stamp = { .op = (uint8_t)*op,
			.flags = 9,
			.pos = { 100, 7 },
			.prev = { 100, 6 },
			.has_pos = !strchr("RSH", *op),
			.reign = { 12, 34 },
			.identity = "7300000000000000001/shop",
			.options = *op == 'B' ? "proto_version '2'" : "",
			.fingerprint = 0x1234567890abcdef };
		struct buf text = BUF_INIT, seed = BUF_INIT;
		struct message msg = { 0 };
		char name[] = { *op, '\0' };

		if (strchr("CKX", *op))
			stamp.resume = (struct resume){ resume, sizeof(resume) };
		stamp_write(&stamp, &text, &msg);
		for (uint8_t i = 0; i < 10; i++) {
			const struct message_header *header = message_header(&msg, order[i]);

			if (!header)
				continue;
			buf_put(&seed, (const uint8_t[]){ i, (uint8_t)header->len }, 2);
			buf_put(&seed, header->value, header->len);
		}
		write_seed("stamp", name, &seed);
		buf_fini(&text);
		buf_fini(&seed);
	}
}

/* a transaction, without its checksum */
static void write_packs(void)
{
	static const uint8_t resume[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct pack pack = { 0 };
	uint64_t minor = 0;

	for (const char *op = "BIUDTMC"; *op; op++) {
		const char value[] = { '\xd5', 1, *op, 'v', '\0' };
		struct stamp stamp = { .pos = { 101, minor++ }, .prev = pack.last, .options = "" };

		if (*op == 'B')
			stamp.options = "proto_version '2'";
		if (strchr("IUD", *op))
			stamp.fingerprint = *op == 'D' ? 7 : 0x1234567890abcdef;
		if (*op == 'U')
			stamp.flags = 9;
		if (*op == 'C') {
			stamp.pos.minor = POSITION_END;
			stamp.resume = (struct resume){ resume, sizeof(resume) };
		}
		if (*op == 'B')
			stamp.prev = (struct position){ 100, 6 };
		pack_put(&pack, &stamp, value, sizeof(value));
		write_seed("pack", value + 2, &pack.bytes);
	}
	pack_fini(&pack);
}

static void write_schemas(void)
{
	for (unsigned i = 0; i < RELATIONS; i++) {
		struct relation *rel = fuzz_relation(i);
		struct buf seed = BUF_INIT;
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		relation_write_json(rel, &seed);
		write_seed("schema", name, &seed);
		buf_fini(&seed);
		relation_unref(rel);
	}
}

int main(int argc, char **argv)
{
	struct codec *json =
		codec_json_new(&(struct codec_json_options){ "0", "p", "d", JSON_SCHEMAS_TOPIC });
	struct codec *inline_json =
		codec_json_new(&(struct codec_json_options){ "0", "p", "d", JSON_SCHEMAS_INLINE });
	struct codec *binary = codec_binary_new();

	if (argc != 2)
		return 64;
	dir = argv[1];
	for (unsigned i = 0; i < RELATIONS; i++) {
		write_rows("json", json, i);
		write_rows("debezium", json, i);
		write_rows("debezium", inline_json, i);
		write_rows("binary", binary, i);
	}
	write_marks("json", json);
	write_marks("debezium", inline_json);
	write_marks("binary", binary);
	write_packs();
	write_stamps();
	write_schemas();
	codec_free(json);
	codec_free(inline_json);
	codec_free(binary);
	return 0;
}
