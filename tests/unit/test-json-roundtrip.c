/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The JSON codec's two halves together: every record that was written is read back as it was, every byte of every value
 * in every state, and so is whatever the writer accepts of texts that are not what they should be.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <yajl/yajl_parse.h>

#include <sluice/cleanup.h>
#include <sluice/codec.h>

#include "json_texts.h"

#define N_COLUMNS 96u
#define N_ROWS	  12600u

/* ---- a relation of many columns, and rows of it ---- */

struct fixture {
	struct codec *codec;
	struct relation *rel;
	const struct kind *kinds[N_COLUMNS]; /* what makes the column's texts */
	bool arrays[N_COLUMNS];
	struct buf texts, out;
	struct batch *batch;
	struct value before[N_COLUMNS], after[N_COLUMNS];
	uint64_t n_values;
	bool parse; /* what was written has to be JSON for another reader too */
};

static struct codec *new_codec(enum json_schemas schemas)
{
	return codec_json_new(&(struct codec_json_options){
		.version = "0.1.0", .prefix = "p", .database = "d", .schemas = schemas });
}

static void start(struct fixture *f, enum json_schemas schemas)
{
	static const char *const odd[] = { "a\"b", "c\\d", "\n", "\xC3\xA9", "before", "after", "schema",
		"payload", "x.y" };
	struct column columns[N_COLUMNS];
	char names[N_COLUMNS][16];
	struct relation_spec spec = { .id = 16400,
		.schema = "s \"x",
		.name = "t'\\",
		.identity = IDENTITY_DEFAULT,
		.n_columns = N_COLUMNS,
		.columns = columns };

	*f = (struct fixture){ .codec = new_codec(schemas) };
	for (uint32_t i = 0; i < N_COLUMNS; i++) {
		const struct kind *kind = &kinds[i % N_KINDS];

		f->kinds[i] = kind;
		f->arrays[i] = i >= N_KINDS && kind->array_oid;
		snprintf(names[i], sizeof(names[i]), "%s%u", i < 9 ? odd[i] : "c", i < 9 ? 0 : i);
		columns[i] = (struct column){ .name = names[i],
			.type_modifier = kind->modifier,
			.key = i % 17 == 3,
			.type_oid = f->arrays[i] ? kind->array_oid : kind->type_oid };
	}
	f->rel = relation_new(&spec);
	f->batch = batch_new(NULL);
}

static void stop(struct fixture *f)
{
	codec_free(f->codec);
	batch_free(f->batch);
	relation_unref(f->rel);
	buf_fini(&f->texts);
	buf_fini(&f->out);
}

static void clear(struct fixture *f)
{
	batch_free(f->batch);
	f->batch = batch_new(NULL);
	buf_clear(&f->texts);
	buf_clear(&f->out);
}

/* spoils some of the texts: what the writer accepts has to come back all the same */
static void spoil(struct fixture *f, size_t from)
{
	size_t len = f->texts.len - from;

	if (!len)
		return;
	for (uint32_t n = 1 + below(3); n; n--)
		f->texts.data[from + below((uint32_t)len)] =
			one_in(2) ? (uint8_t)random_u64() : (uint8_t) " \"\\{},:.-+0129NTZ"[below(17)];
}

/* the offset of the text stands in data until all texts are made */
static void make_value(struct fixture *f, uint32_t column, bool spoiled, struct value *ret)
{
	size_t from = f->texts.len;

	if (f->arrays[column])
		put_array(f->kinds[column], &f->texts);
	else
		f->kinds[column]->put(&f->texts);
	if (spoiled)
		spoil(f, from);
	*ret = (struct value){ .data = (const uint8_t *)(uintptr_t)from,
		.len = (uint32_t)(f->texts.len - from),
		.state = VALUE_PRESENT };
	f->n_values++;
}

static void fix_values(const struct fixture *f, struct value *values)
{
	for (uint32_t i = 0; i < N_COLUMNS; i++) {
		if (values[i].state == VALUE_PRESENT)
			values[i].data = f->texts.data + (uintptr_t)values[i].data;
	}
}

static void make_row(struct fixture *f, bool key_only, bool spoiled, struct value *values)
{
	bool odd = one_in(8); /* absences that the flags do not tell */

	for (uint32_t i = 0; i < N_COLUMNS; i++) {
		bool away = key_only ? !f->rel->columns[i].key : one_in(10) && odd;

		if (odd && one_in(30))
			away = !away;
		if (away)
			values[i] = (struct value){ .state = VALUE_ABSENT };
		else if (one_in(12))
			values[i] = (struct value){ .state = VALUE_NULL };
		else
			make_value(f, i, spoiled && one_in(20), &values[i]);
	}
}

static void make_record(struct fixture *f, bool spoiled, struct record *ret)
{
	static const enum record_op ops[] = { RECORD_INSERT, RECORD_UPDATE, RECORD_DELETE, RECORD_READ };

	*ret = (struct record){
		.op = (uint8_t)ops[below(4)], .rel = f->rel, .pos = { 77, 1 + below(5) }, .offset = 5
	};
	if (ret->op == RECORD_DELETE || (ret->op == RECORD_UPDATE && one_in(2))) {
		ret->flags = one_in(2) ? RECORD_BEFORE_KEY : RECORD_BEFORE_FULL;
		make_row(f, ret->flags & RECORD_BEFORE_KEY, spoiled, f->before);
		ret->before = f->before;
	}
	if (ret->op != RECORD_DELETE) {
		make_row(f, false, spoiled, f->after);
		ret->after = f->after;
	}
	if (ret->before)
		fix_values(f, f->before);
	if (ret->after)
		fix_values(f, f->after);
}

static void assert_json(const struct buf *out, struct codec_slice slice)
{
	static const yajl_callbacks callbacks = { 0 };
	yajl_handle handle;

	if (slice.null)
		return;
	handle = yajl_alloc(&callbacks, NULL, NULL);
	assert_int_equal(yajl_parse(handle, out->data + slice.at, slice.len), yajl_status_ok);
	assert_int_equal(yajl_complete_parse(handle), yajl_status_ok);
	yajl_free(handle);
}

static void assert_row(const struct fixture *f, const struct value *expected, const struct value *got)
{
	assert_int_equal(expected == NULL, got == NULL);
	if (!expected)
		return;
	for (uint32_t i = 0; i < N_COLUMNS; i++) {
		const struct value *a = &expected[i], *b = &got[i];

		if (a->state != b->state)
			fail_msg("column %u, type %u: %s became %s", i, f->rel->columns[i].type_oid,
				value_state_to_string((enum value_state)a->state),
				value_state_to_string((enum value_state)b->state));
		if (a->state != VALUE_PRESENT)
			continue;
		if (a->len != b->len || memcmp(a->data, b->data, a->len) != 0)
			fail_msg("column %u, type %u modifier %d: %.*s became %.*s", i,
				f->rel->columns[i].type_oid, f->rel->columns[i].type_modifier, (int)a->len,
				(const char *)a->data, (int)b->len, (const char *)b->data);
		assert_int_equal(b->format, VALUE_TEXT);
	}
}

static void make_message(const struct buf *out, const struct codec_output *written, struct message *ret)
{
	const uint8_t *data = out->data;

	*ret = (struct message){ .key = written->key.null ? NULL : data + written->key.at,
		.key_len = written->key.len,
		.value = written->value.null ? NULL : data + written->value.at,
		.value_len = written->value.len,
		.offset = 5 };
	if (!written->exact.null)
		ret->headers[ret->n_headers++] = (struct message_header){ "sluice.exact",
			data + written->exact.at, written->exact.len };
}

/* writes and reads a record; false = the writer refused it */
static bool passes(struct fixture *f, const struct record *rec, struct record **ret)
{
	struct codec_output written = { .out = &f->out };
	struct codec_transaction tx = { .xid = 5, .commit_time = { 1500000 } };
	struct error err = ERROR_INIT;
	struct message msg;
	struct record *got;

	if (f->codec->ops->encode(f->codec, rec, &tx, &written, &err) < 0) {
		assert_int_equal(err.class, ERROR_DATA);
		return false;
	}
	if (f->parse) {
		assert_json(&f->out, written.key);
		assert_json(&f->out, written.value);
		assert_json(&f->out, written.exact);
	}
	make_message(&f->out, &written, &msg);
	got = batch_add(f->batch);
	got->op = rec->op;
	got->flags = rec->flags;
	got->pos = rec->pos;
	got->offset = rec->offset;
	if (rec->rel)
		got->rel = batch_hold(f->batch, rec->rel);
	if (f->codec->ops->decode(f->codec, &msg, f->batch, got, &err) < 0)
		fail_msg("%s: %s\n%.*s\nexact %.*s", err.code, err.message, (int)msg.value_len,
			(const char *)msg.value, (int)written.exact.len,
			(const char *)f->out.data + written.exact.at);
	*ret = got;
	return true;
}

static void rows_come_back(enum json_schemas schemas, uint32_t n_rows)
{
	struct fixture f;

	start(&f, schemas);
	for (uint32_t i = 0; i < n_rows; i++) {
		struct record rec, *got;

		clear(&f);
		make_record(&f, false, &rec);
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->op, rec.op);
		assert_int_equal(got->flags, rec.flags);
		assert_row(&f, rec.before, got->before);
		assert_row(&f, rec.after, got->after);
	}
	print_message("%llu values\n", (unsigned long long)f.n_values);
	stop(&f);
}

static void a_million_values_come_back(void **state)
{
	rows_come_back(JSON_SCHEMAS_TOPIC, N_ROWS);
}

static void values_come_back_from_behind_a_schema(void **state)
{
	rows_come_back(JSON_SCHEMAS_INLINE, N_ROWS / 20);
}

static void whatever_is_accepted_comes_back(void **state)
{
	uint32_t n_accepted = 0, n_refused = 0;
	struct fixture f;

	start(&f, JSON_SCHEMAS_NONE);
	f.parse = true;
	for (uint32_t i = 0; i < N_ROWS / 4; i++) {
		struct record rec, *got;
		size_t before;

		clear(&f);
		make_record(&f, true, &rec);
		before = f.out.len;
		if (!passes(&f, &rec, &got)) {
			assert_int_equal(f.out.len, before);
			n_refused++;
			continue;
		}
		assert_row(&f, rec.before, got->before);
		assert_row(&f, rec.after, got->after);
		n_accepted++;
	}
	assert_true(n_accepted > 20);
	assert_true(n_refused > 20);
	stop(&f);
}

static void boundaries_come_back(void **state)
{
	static const int64_t times[] = { 0, 1, -1, 1559033904863123, INT64_MAX, INT64_MIN };
	struct fixture f;
	struct record *got;

	start(&f, JSON_SCHEMAS_INLINE);
	f.parse = true;
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		struct record_begin begin = { .commit_time = { times[i] }, .xid = 1 + i };
		struct record_end end = {
			.commit_time = { times[i] }, .xid = UINT64_MAX - i, .n_records = i
		};
		struct record_heartbeat beat = {
			.at = { times[i] }, .head = UINT64_MAX - i, .clear = { times[i] }
		};
		struct record rec = { .op = RECORD_BEGIN, .pos = { 7 + i, 0 }, .begin = &begin };

		clear(&f);
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->begin->commit_time.us, times[i]);
		assert_int_equal(got->begin->xid, 1 + i);
		rec = (struct record){ .op = RECORD_END, .pos = { 7 + i, POSITION_END }, .end = &end };
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->end->commit_time.us, times[i]);
		assert_true(got->end->xid == UINT64_MAX - i);
		assert_int_equal(got->end->n_records, i);
		rec = (struct record){
			.op = RECORD_HEARTBEAT, .pos = { 7 + i, POSITION_END }, .heartbeat = &beat
		};
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->heartbeat->at.us, times[i]);
		assert_int_equal(got->heartbeat->clear.us, times[i]);
		assert_true(got->heartbeat->head == UINT64_MAX - i);
	}
	stop(&f);
}

static void messages_come_back(void **state)
{
	static const char content[] = "\0\1\2\377 \" \\ text";
	struct fixture f;
	struct record *got;

	for (int schemas = JSON_SCHEMAS_TOPIC; schemas <= JSON_SCHEMAS_NONE; schemas++) {
		start(&f, (enum json_schemas)schemas);
		f.parse = true;
		for (uint32_t len = 0; len < sizeof(content); len++) {
			struct record_message message = { .prefix = len % 2 ? "pre\"fix\n" : "",
				.content_len = len,
				.content = (const uint8_t *)content,
				.transactional = len % 3 == 0 };
			struct record rec = {
				.op = RECORD_MESSAGE, .pos = { 7, 1 + len }, .message = &message
			};

			clear(&f);
			assert_true(passes(&f, &rec, &got));
			assert_string_equal(got->message->prefix, message.prefix);
			assert_int_equal(got->message->content_len, len);
			assert_memory_equal(got->message->content, content, len);
			assert_int_equal(got->message->transactional, message.transactional);
		}
		stop(&f);
	}
}

static void chunks_come_back(void **state)
{
	static const enum chunk_mark all[] = { CHUNK_MARK_TABLE, CHUNK_MARK_BEGIN, CHUNK_MARK_END,
		CHUNK_MARK_DONE, CHUNK_MARK_FINISHED };
	struct fixture f;
	struct record *got;

	start(&f, JSON_SCHEMAS_NONE);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct record_chunk chunk = { .mark = all[i],
			.no = UINT32_MAX - (uint32_t)i,
			.attempt = 1 + (uint32_t)i,
			.rows = UINT64_MAX - i,
			.start = i << 60 };
		struct record rec = { .op = RECORD_CHUNK, .rel = i < 4 ? f.rel : NULL, .chunk = &chunk };

		if (i == 4) {
			chunk.content = (const uint8_t *)"\0seq";
			chunk.content_len = 4;
		}
		clear(&f);
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->chunk->mark, all[i]);
		assert_true(got->chunk->no == chunk.no && got->chunk->attempt == chunk.attempt);
		assert_true(got->chunk->rows == chunk.rows && got->chunk->start == chunk.start);
		assert_int_equal(got->chunk->content_len, chunk.content_len);
		assert_memory_equal(chunk.content_len ? got->chunk->content : (const uint8_t *)"", "\0seq",
			chunk.content_len);
	}
	stop(&f);
}

static void truncates_come_back(void **state)
{
	struct column column = { "c", 23, -1, true };
	struct relation *other = relation_new(&(struct relation_spec){ .id = 9,
		.schema = "o",
		.name = "\"; DROP",
		.identity = IDENTITY_FULL,
		.n_columns = 1,
		.columns = &column });
	struct fixture f;
	struct record *got;

	start(&f, JSON_SCHEMAS_INLINE);
	for (uint32_t i = 0; i < 4; i++) {
		struct relation *both[] = { f.rel, other };
		struct record_truncate truncate = { both, 1 + i % 2, i & 1, i & 2 };
		struct record rec = { .op = RECORD_TRUNCATE, .pos = { 7, 1 + i }, .truncate = &truncate };

		clear(&f);
		assert_true(passes(&f, &rec, &got));
		assert_int_equal(got->truncate->n_relations, truncate.n_relations);
		assert_int_equal(got->truncate->cascade, truncate.cascade);
		assert_int_equal(got->truncate->restart_identity, truncate.restart_identity);
		for (uint32_t k = 0; k < truncate.n_relations; k++) {
			assert_int_equal(got->truncate->relations[k]->fingerprint, both[k]->fingerprint);
			assert_string_equal(got->truncate->relations[k]->name, both[k]->name);
			assert_int_equal(got->truncate->relations[k]->id, both[k]->id);
		}
	}
	stop(&f);
	relation_unref(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_million_values_come_back),
		cmocka_unit_test(values_come_back_from_behind_a_schema),
		cmocka_unit_test(whatever_is_accepted_comes_back),
		cmocka_unit_test(boundaries_come_back),
		cmocka_unit_test(messages_come_back),
		cmocka_unit_test(chunks_come_back),
		cmocka_unit_test(truncates_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
