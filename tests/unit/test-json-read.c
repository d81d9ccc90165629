/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reading half of the JSON codec alone: the canonical text of each form, and hostile input, which is always a DATA
 * error. What the writer makes is read in test-json-roundtrip.c.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/codec.h>

#define NUMERIC(p, s) (((p) << 16 | (s)) + 4)

struct fixture {
	struct codec *codec;
	struct relation *rel;
	struct batch *batch;
	struct record *rec;
	struct error err;
};

static void start(struct fixture *f, uint32_t oid, int32_t modifier)
{
	const struct column columns[] = { { "id", 23, -1, true }, { "v", oid, modifier, false } };

	*f = (struct fixture){ 0 };
	f->codec = codec_json_new(&(struct codec_json_options){ "0", "p", "d", JSON_SCHEMAS_NONE });
	f->rel = relation_new(&(struct relation_spec){ 1, "public", "t", IDENTITY_DEFAULT, 2, columns });
	f->batch = batch_new(NULL);
}

static void stop(struct fixture *f)
{
	codec_free(f->codec);
	batch_free(f->batch);
	relation_unref(f->rel);
}

static int decode(struct fixture *f, enum record_op op, const void *value, size_t len, const char *exact)
{
	char *copy = malloc(len + !len);
	struct message msg = { .value = copy, .value_len = len, .offset = 9 };
	int r;

	assert_non_null(copy);
	memcpy(copy, value, len);
	if (exact)
		msg.headers[msg.n_headers++] =
			(struct message_header){ "sluice.exact", exact, strlen(exact) };
	f->rec = batch_add(f->batch);
	f->rec->op = (uint8_t)op;
	if (op == RECORD_INSERT || op == RECORD_UPDATE || op == RECORD_DELETE)
		f->rec->rel = batch_hold(f->batch, f->rel);
	r = f->codec->ops->decode(f->codec, &msg, f->batch, f->rec, &f->err);
	free(copy);
	return r;
}

static int insert(struct fixture *f, const char *value, const char *exact)
{
	struct buf text = BUF_INIT;
	int r;

	buf_printf(&text,
		"{\"before\":null,\"after\":{\"id\":1,\"v\":%s},\"source\":{\"after\":{\"id\":5}},\"op\":\"c\"}",
		value);
	r = decode(f, RECORD_INSERT, text.data, text.len, exact);
	buf_fini(&text);
	return r;
}

static void assert_value(const struct value *value, const char *expected)
{
	char *text;

	assert_int_equal(value->state, VALUE_PRESENT);
	text = strndup((const char *)value->data, value->len);
	assert_string_equal(text, expected);
	free(text);
}

static void forms_become_text(void **state)
{
	static const struct {
		uint32_t oid;
		int32_t modifier;
		const char *json, *text;
	} table[] = {
		{ 16, -1, "true", "t" },
		{ 16, -1, "false", "f" },
		{ 1560, 1, "true", "1" },
		{ 1560, 2, "\"\"", "00" },
		{ 1562, -1, "\"BQ==\"", "101" },
		{ 20, -1, "-9223372036854775808", "-9223372036854775808" },
		{ 701, -1, "1e+20", "1e+20" },
		{ 701, -1, "\"NaN\"", "NaN" },
		{ 25, -1, "\"\"", "" },
		{ 17, -1, "\"\"", "\\x" },
		{ 17, -1, "\"AQL/\"", "\\x0102ff" },
		{ 1700, NUMERIC(10, 2), "\"BNI=\"", "12.34" },
		{ 1700, NUMERIC(10, 2), "\"gA==\"", "-1.28" },
		{ 1700, NUMERIC(10, 2), "\"AA==\"", "0.00" },
		{ 1700, -1, "{\"scale\":3,\"value\":\"AQ==\"}", "0.001" },
		{ 790, -1, "\"/h3t\"", "-$1,234.11" },
		{ 1082, -1, "-719163", "0001-12-31 BC" },
		{ 1082, -1, "2932897", "10000-01-01" },
		{ 1083, 3, "86400000", "24:00:00" },
		{ 1083, -1, "1", "00:00:00.000001" },
		{ 1114, -1, "-1", "1969-12-31 23:59:59.999999" },
		{ 1114, -1, "9223372036825200000", "infinity" },
		{ 1184, -1, "\"2020-01-01T00:00:00.000000Z\"", "2020-01-01 00:00:00+00" },
		{ 1184, -1, "\"-0043-03-15T00:00:00.100000Z\"", "0044-03-15 00:00:00.1+00 BC" },
		{ 1184, -1, "\"+12001-03-15T00:00:00.000000Z\"", "12001-03-15 00:00:00+00" },
		{ 1266, -1, "\"04:05:06.789Z\"", "04:05:06.789+00" },
		{ 600, -1, "{\"x\":1,\"y\":2.5,\"wkb\":\"AA==\",\"srid\":null}", "(1,2.5)" },
		{ 1007, -1, "[1,null]", "{1,NULL}" },
		{ 1009, -1, "[\"a b\",\"\",\"NULL\",\"x\"]", "{\"a b\",\"\",\"NULL\",x}" },
		{ 16500, -1, "\"label\"", "label" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct fixture f;

		start(&f, table[i].oid, table[i].modifier);
		if (insert(&f, table[i].json, NULL) != 0)
			fail_msg("type %u %s: %s", table[i].oid, table[i].json, f.err.message);
		assert_value(&f.rec->after[0], "1");
		assert_value(&f.rec->after[1], table[i].text);
		stop(&f);
	}
}

static void exact_wins(void **state)
{
	struct fixture f;

	start(&f, 1700, NUMERIC(10, 2));
	assert_int_equal(insert(&f, "\"BNI=\"", "{\"after\":{\"v\":\"NaN\"}}"), 0);
	assert_value(&f.rec->after[1], "NaN");
	assert_int_equal(insert(&f, "null", "{\"after\":{\"v\":\"\"}}"), 0);
	assert_value(&f.rec->after[1], "");
	assert_int_equal(insert(&f, "\"__debezium_unavailable_value\"", "{\"absent\":[\"v\"]}"), 0);
	assert_int_equal(f.rec->after[1].state, VALUE_ABSENT);
	assert_int_equal(insert(&f, "null", NULL), 0);
	assert_int_equal(f.rec->after[1].state, VALUE_NULL);
	stop(&f);
}

static void damage_is_refused(void **state)
{
	static const struct {
		uint32_t oid;
		const char *json;
	} table[] = {
		{ 23, "\"1\"" },
		{ 23, "1.5" },
		{ 23, "99999999999999999999999999" },
		{ 23, "{}" },
		{ 23, "[]" },
		{ 16, "1" },
		{ 17, "\"A\"" },
		{ 17, "\"A===\"" },
		{ 17, "5" },
		{ 1700, "{\"scale\":-1,\"value\":\"AA==\"}" },
		{ 1700, "{\"scale\":99999,\"value\":\"AA==\"}" },
		{ 1700, "{\"scale\":1}" },
		{ 1082, "99999999999" },
		{ 1083, "86400000001" },
		{ 1114, "99999999999999999999" },
		{ 1184, "\"T\"" },
		{ 1184, "\"\"" },
		{ 1184, "\"+-005-01-01T00:00:00Z\"" },
		{ 25, "\"half of a pair: \\ud800\"" },
		{ 600, "{\"x\":1}" },
		{ 1007, "[\"x\"]" },
		{ 1007, "[[1]]" },
		{ 1007, "5" },
	};
	static const char *const rows[] = { "", "1", "null", "[]", "{}", "{\"after\":null}", "{\"after\":5}",
		"{\"after\":{}}", "{\"after\":{\"id\":1}}", "{\"after\":{\"id\":1,\"id\":2}}",
		"{\"after\":{\"id\":1,\"v\":2,\"w\":3}}", "{\"after\":{\"id\\u0000\":1,\"v\":2}}",
		"{\"after\":{\"v\\u0000xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\":1,\"id\":2}}",
		"{\"after\":{\"id\":1,\"v\":2},\"after\":{\"id\":1,\"v\":2}}",
		"{\"before\":{\"id\":1,\"v\":2},\"after\":null}" };
	static const char *const exact[] = { "", "[]{", "{\"after\":{\"w\":\"x\"}}",
		"{\"before\":{\"v\":\"x\"}}", "{\"absent\":[\"w\"]}",
		"{\"absent\":[\"v\\u0000xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]}", "{\"after\":{\"v\":5}}",
		"{\"after\":{\"v\":null}}", "{\"after\":{\"v\":true}}", "{\"absent\":[5]}" };
	struct fixture f;

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		start(&f, table[i].oid, -1);
		if (insert(&f, table[i].json, NULL) >= 0)
			fail_msg("type %u takes %s", table[i].oid, table[i].json);
		assert_int_equal(f.err.class, ERROR_DATA);
		stop(&f);
	}
	start(&f, 23, -1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (decode(&f, RECORD_INSERT, rows[i], strlen(rows[i]), NULL) >= 0)
			fail_msg("taken: %s", rows[i]);
		assert_int_equal(f.err.class, ERROR_DATA);
	}
	for (size_t i = 0; i < sizeof(exact) / sizeof(*exact); i++) {
		if (insert(&f, "1", exact[i]) >= 0)
			fail_msg("taken: %s", exact[i]);
		assert_int_equal(f.err.class, ERROR_DATA);
	}
	/* of a wrong form, and the header speaks of another column, or of none */
	assert_true(insert(&f, "\"x\"", "{\"after\":{\"id\":\"1\"}}") < 0);
	assert_true(insert(&f, "[1]", "{}") < 0);
	assert_int_equal(insert(&f, "[1]", "{\"after\":{\"v\":\"x\"}}"), 0);
	assert_value(&f.rec->after[1], "x"); /* the target says what it thinks of that */
	stop(&f);
}

static void depth_is_bounded(void **state)
{
	struct buf text = BUF_INIT;
	struct fixture f;

	start(&f, 1007, -1);
	buf_puts(&text, "{\"after\":{\"v\":");
	for (int i = 0; i < 100000; i++)
		buf_putc(&text, '[');
	assert_true(decode(&f, RECORD_INSERT, text.data, text.len, NULL) < 0);
	assert_int_equal(f.err.class, ERROR_DATA);
	stop(&f);
	buf_fini(&text);
}

static void truncated_messages_are_refused(void **state)
{
	static const char value[] = "{\"before\":{\"id\":1,\"v\":[1,2]},\"after\":{\"id\":1,\"v\":[null]},"
				    "\"source\":{\"lsn\":5},\"op\":\"u\",\"ts_ms\":1}";
	struct fixture f;

	start(&f, 1007, -1);
	assert_int_equal(decode(&f, RECORD_UPDATE, value, sizeof(value) - 1, NULL), 0);
	for (size_t len = 0; len < sizeof(value) - 1; len++) {
		assert_true(decode(&f, RECORD_UPDATE, value, len, NULL) < 0);
		assert_int_equal(f.err.class, ERROR_DATA);
	}
	stop(&f);
}

/* what is behind a row is not looked at, but for whether it is there: also where a column has a member's name */
static void cut_off_behind_the_row(void **state)
{
	static const char *const values[] = {
		"{\"before\":null,\"after\":{\"id\":1,\"op\":\"x\"},\"source\":{\"lsn\":5,\"sequence\":\"[\\\"1\\\",null]\"},"
		"\"transaction\":{\"id\":\"7:5\"},\"op\":\"c\",\"ts_ms\":1,\"ts_us\":1000,\"ts_ns\":1000000}",
		"{\"schema\":{\"type\":\"struct\"},\"payload\":{\"before\":null,\"after\":{\"id\":1,\"op\":\"x\"},"
		"\"source\":{\"lsn\":5},\"op\":\"c\",\"ts_ms\":1}}",
	};
	const struct column columns[] = { { "id", 23, -1, true }, { "op", 25, -1, false } };
	struct fixture f;

	start(&f, 25, -1);
	relation_unref(f.rel);
	f.rel = relation_new(&(struct relation_spec){ 1, "public", "t", IDENTITY_DEFAULT, 2, columns });
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		assert_int_equal(decode(&f, RECORD_INSERT, values[i], strlen(values[i]), NULL), 0);
		assert_value(&f.rec->after[1], "x");
		for (size_t len = 0; len < strlen(values[i]); len++) {
			assert_true(decode(&f, RECORD_INSERT, values[i], len, NULL) < 0);
			assert_int_equal(f.err.class, ERROR_DATA);
		}
	}
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_become_text),
		cmocka_unit_test(exact_wins),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(truncated_messages_are_refused),
		cmocka_unit_test(cut_off_behind_the_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
