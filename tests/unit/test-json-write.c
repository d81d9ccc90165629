/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Keys, envelopes and the header sluice.exact of all records, as exact strings derived from Debezium's format. */

#include "json_fixture.h"

#include "record/json.h"

/* ---- rows ---- */

static struct column t_columns[] = {
	{ "id", INT4, -1, true },
	{ "name", TEXT, -1, false },
	{ "price", DECIMAL, NUMERIC(10, 2), false },
};
static const struct relation_spec t_spec = { .id = 16400,
	.schema = "public",
	.name = "t",
	.identity = IDENTITY_DEFAULT,
	.n_columns = 3,
	.columns = t_columns };

/* 2019-05-28 08:58:23.904863 */
static const struct codec_transaction t_tx = { 555, { 1559033904863123 }, { 1559033904870456 } };

#define SOURCE_OF(snapshot, sequence, table, tx_id, lsn)                                                         \
	"\"source\":{\"version\":\"0.1.0\",\"connector\":\"postgresql\",\"name\":\"p\",\"ts_ms\":1559033904863," \
	"\"snapshot\":\"" snapshot "\",\"db\":\"postgres\",\"sequence\":" sequence                               \
	",\"ts_us\":1559033904863123,\"ts_ns\":1559033904863123000," table ",\"txId\":" tx_id                    \
	",\"lsn\":" lsn ",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}"
#define SEQUENCE "\"[\\\"24023128\\\",\\\"24023128\\\"]\""
#define TABLE_T	 "\"schema\":\"public\",\"table\":\"t\""
#define SOURCE	 SOURCE_OF("false", SEQUENCE, TABLE_T, "555", "24023128")
#define BLOCK(total, order)                                                                                  \
	"\"transaction\":{\"id\":\"555:24023128\",\"total_order\":" total                                    \
	",\"data_collection_order\":" order "}"
#define END ",\"ts_ms\":1559033904870,\"ts_us\":1559033904870456,\"ts_ns\":1559033904870456000}"

static void an_insert(void **state)
{
	struct fixture f;
	struct value after[] = { text("1"), text("x"), text("12.34") };
	struct record rec = { .op = RECORD_INSERT, .after = after, .pos = { 24023128, 3 } };

	start(&f, JSON_SCHEMAS_TOPIC, &t_spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"id\":1}");
	assert_slice(&f, f.result.value,
		"{\"before\":null,\"after\":{\"id\":1,\"name\":\"x\",\"price\":\"BNI=\"}," SOURCE
		"," BLOCK("3", "3") ",\"op\":\"c\"" END);
	assert_slice(&f, f.result.exact, NULL);
	stop(&f);
}

static void an_update_with_everything(void **state)
{
	struct fixture f;
	struct value before[] = { text("1"), null, text("NaN") };
	struct value after[] = { text("2"), absent, null };
	struct record rec = { .op = RECORD_UPDATE,
		.before = before,
		.after = after,
		.pos = { 24023128, 1 },
		.flags = RECORD_BEFORE_FULL | RECORD_KEY_CHANGED | RECORD_TOAST };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"id\":2}");
	assert_slice(&f, f.result.value,
		"{\"before\":{\"id\":1,\"name\":null,\"price\":null},"
		"\"after\":{\"id\":2,\"name\":\"" P "\",\"price\":null}," SOURCE
		"," BLOCK("1", "1") ",\"op\":\"u\"" END);
	assert_slice(&f, f.result.exact, "{\"before\":{\"price\":\"NaN\"},\"absent\":[\"name\"]}");
	stop(&f);
}

static void deletes(void **state)
{
	struct fixture f;
	struct value before[] = { text("7"), absent, absent };
	struct record rec = {
		.op = RECORD_DELETE, .before = before, .pos = { 24023128, 1 }, .flags = RECORD_BEFORE_KEY
	};

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"id\":7}");
	assert_slice(&f, f.result.value,
		"{\"before\":{\"id\":7,\"name\":null,\"price\":null},\"after\":null," SOURCE
		"," BLOCK("1", "1") ",\"op\":\"d\"" END);
	assert_slice(&f, f.result.exact, NULL);
	/* a null outside the key, where absence would be expected */
	before[1] = null;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.exact, "{\"absent_before\":[\"price\"]}");
	rec.flags = RECORD_BEFORE_FULL;
	before[2] = text("1.00");
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.value,
		"{\"before\":{\"id\":7,\"name\":null,\"price\":\"ZA==\"},\"after\":null," SOURCE
		"," BLOCK("1", "1") ",\"op\":\"d\"" END);
	assert_slice(&f, f.result.exact, NULL);
	stop(&f);
}

static void a_row_of_the_snapshot(void **state)
{
	struct fixture f;
	struct value after[] = { text("1"), null, text("Infinity") };
	struct record rec = { .op = RECORD_READ, .after = after };
	struct codec_transaction tx = { .commit_time = t_tx.commit_time, .now = t_tx.now };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &tx), 0);
	assert_slice(&f, f.result.key, "{\"id\":1}");
	assert_slice(&f, f.result.value,
		"{\"before\":null,\"after\":{\"id\":1,\"name\":null,\"price\":null}," SOURCE_OF(
			"true", "null", TABLE_T, "null", "null") ",\"transaction\":null,\"op\":\"r\"" END);
	assert_slice(&f, f.result.exact, "{\"after\":{\"price\":\"Infinity\"}}");
	stop(&f);
}

static void names_are_escaped(void **state)
{
	struct column columns[] = { { "a\"b\\c\n", INT4, -1, true }, { "\xC3\xA9", DATE, -1, false } };
	struct relation_spec spec = { .id = 1,
		.schema = "s\"",
		.name = "; DROP",
		.identity = IDENTITY_DEFAULT,
		.n_columns = 2,
		.columns = columns };
	struct value after[] = { text("1"), text("infinity") };
	struct record rec = { .op = RECORD_INSERT, .after = after, .pos = { 24023128, 1 } };
	struct fixture f;

	start(&f, JSON_SCHEMAS_NONE, &spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"a\\\"b\\\\c\\u000a\":1}");
	assert_slice(&f, f.result.value,
		"{\"before\":null,\"after\":{\"a\\\"b\\\\c\\u000a\":1,\"\xC3\xA9\":null}," SOURCE_OF("false",
			SEQUENCE, "\"schema\":\"s\\\"\",\"table\":\"; DROP\"", "555",
			"24023128") "," BLOCK("1", "1") ",\"op\":\"c\"" END);
	assert_slice(&f, f.result.exact, "{\"after\":{\"\xC3\xA9\":\"infinity\"}}");
	stop(&f);
}

/* a stream may change from text to binary: its keys must not */
static void a_key_is_the_same_from_text_and_binary(void **state)
{
	static const struct {
		uint32_t type_oid;
		const char *binary;
		uint32_t len;
		const char *text, *expected;
	} all[] = {
		{ INT2, "\xff\xfe", 2, "-2", "-2" },
		{ INT4, "\x80\0\0\0", 4, "-2147483648", "-2147483648" },
		{ INT8, "\0\0\0\1\0\0\0\0", 8, "4294967296", "4294967296" },
		{ OID, "\xff\xff\xff\xff", 4, "4294967295", "4294967295" },
		{ BOOL, "\1", 1, "t", "true" },
		{ TEXT, "a\"b", 3, "a\"b", "\"a\\\"b\"" },
		{ DATE, "\xff\xff\xff\xff", 4, "1999-12-31", "10956" },
		{ TIMESTAMP, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "1999-12-31 23:59:59.999999",
			"946684799999999" },
		{ TIMESTAMP, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8, "infinity", "9223372036825200000" },
		{ UUID, "\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11", 16,
			"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"" },
		/* of other types the key is made of the bytes */
		{ USER, "\0\1\xff", 3, NULL, "\"AAH/\"" },
		{ INT4, "\0", 1, NULL, "\"AA==\"" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct column column = { "k", all[i].type_oid, -1, true };
		struct relation_spec spec = { .id = 1,
			.schema = "s",
			.name = "t",
			.identity = IDENTITY_DEFAULT,
			.n_columns = 1,
			.columns = &column };
		struct value value = { .data = (const uint8_t *)all[i].binary,
			.len = all[i].len,
			.state = VALUE_PRESENT,
			.format = VALUE_BINARY };
		struct record rec = { .op = RECORD_INSERT, .after = &value };
		struct json_writer *writer = json_writer_new(&(struct codec_json_options){
			.version = "v", .prefix = "p", .database = "d", .schemas = JSON_SCHEMAS_NONE });
		_cleanup_(buf_freep) struct buf expected = BUF_INIT;
		struct fixture f;

		start(&f, JSON_SCHEMAS_NONE, &spec);
		rec.rel = f.rel;
		buf_printf(&expected, "{\"k\":%s}", all[i].expected);
		assert_int_equal(json_write_key(writer, &rec, &f.result, &f.err), 0);
		assert_slice(&f, f.result.key, buf_str(&expected));
		if (all[i].text) {
			value = text(all[i].text);
			assert_int_equal(json_write_key(writer, &rec, &f.result, &f.err), 0);
			assert_slice(&f, f.result.key, buf_str(&expected));
		}
		json_writer_free(writer);
		stop(&f);
	}
}

static void a_binary_value_is_refused(void **state)
{
	struct fixture f;
	struct value after[] = { text("1"), null, null };
	struct record rec = { .op = RECORD_INSERT, .after = after, .pos = { 1, 1 } };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	buf_puts(&f.out, "kept");
	after[1] = (struct value){
		.data = (const uint8_t *)"secret", .len = 6, .state = VALUE_PRESENT, .format = VALUE_BINARY
	};
	rec.rel = f.rel;
	assert_true(encode(&f, &rec, &t_tx) < 0);
	assert_string_equal(f.err.code, "JSON-BINARY");
	assert_null(strstr(f.err.message, "secret"));
	assert_int_equal(f.out.len, 4);
	stop(&f);
}

/* ---- schemas inline: the example of the format's description ---- */

#define T_COLUMNS                                                                                            \
	"[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},{\"type\":\"string\",\"optional\":true,"  \
	"\"field\":\"name\"},{\"type\":\"bytes\",\"optional\":true,\"name\":"                                \
	"\"org.apache.kafka.connect.data.Decimal\",\"version\":1,\"parameters\":{\"scale\":\"2\","           \
	"\"connect.decimal.precision\":\"10\"},\"field\":\"price\"}]"
#define T_ROW(field)                                                                                         \
	"{\"type\":\"struct\",\"fields\":" T_COLUMNS                                                         \
	",\"optional\":true,\"name\":\"p.public.t.Value\",\"field\":\"" field "\"}"
#define SOURCE_SCHEMA                                                                                           \
	"{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":false,\"field\":\"version\"},"      \
	"{\"type\":\"string\",\"optional\":false,\"field\":\"connector\"},"                                     \
	"{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"                                          \
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"},"                                          \
	"{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,"              \
	"\"parameters\":{\"allowed\":\"true,first,first_in_data_collection,last_in_data_collection,last,false," \
	"incremental\"},\"default\":\"false\",\"field\":\"snapshot\"},"                                         \
	"{\"type\":\"string\",\"optional\":false,\"field\":\"db\"},"                                            \
	"{\"type\":\"string\",\"optional\":true,\"field\":\"sequence\"},"                                       \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"                                           \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"},"                                           \
	"{\"type\":\"string\",\"optional\":false,\"field\":\"schema\"},"                                        \
	"{\"type\":\"string\",\"optional\":false,\"field\":\"table\"},"                                         \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"txId\"},"                                            \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"lsn\"},"                                             \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"xmin\"},"                                            \
	"{\"type\":\"string\",\"optional\":true,\"field\":\"origin\"},"                                         \
	"{\"type\":\"int64\",\"optional\":true,\"field\":\"origin_lsn\"}],"                                     \
	"\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\",\"version\":1,"                \
	"\"field\":\"source\"}"
#define BLOCK_SCHEMA                                                                                         \
	"{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":false,\"field\":\"id\"},"        \
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"total_order\"},"                                 \
	"{\"type\":\"int64\",\"optional\":false,\"field\":\"data_collection_order\"}],"                      \
	"\"optional\":true,\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"}"
#define T_ENVELOPE                                                                                           \
	"{\"type\":\"struct\",\"fields\":[" T_ROW("before") "," T_ROW(                                       \
		"after") "," SOURCE_SCHEMA "," BLOCK_SCHEMA ","                                              \
			 "{\"type\":\"string\",\"optional\":false,\"field\":\"op\"},"                        \
			 "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ms\"},"                       \
			 "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"                       \
			 "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"}],"                      \
			 "\"optional\":false,\"name\":\"p.public.t.Envelope\",\"version\":2}"

static void schemas_inline(void **state)
{
	struct fixture f;
	struct value after[] = { text("1"), text("x"), text("12.34") };
	struct record rec = { .op = RECORD_INSERT, .after = after, .pos = { 24023128, 1 } };

	start(&f, JSON_SCHEMAS_INLINE, &t_spec);
	rec.rel = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key,
		"{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"}],"
		"\"optional\":false,\"name\":\"p.public.t.Key\"},\"payload\":{\"id\":1}}");
	assert_slice(&f, f.result.value,
		"{\"schema\":" T_ENVELOPE
		",\"payload\":{\"before\":null,\"after\":{\"id\":1,\"name\":\"x\",\"price\":\"BNI=\"}," SOURCE
		"," BLOCK("1", "1") ",\"op\":\"c\"" END "}");
	buf_clear(&f.out);
	relation_write_connect(f.rel, "p", &f.out);
	assert_string_equal(buf_str(&f.out), T_ENVELOPE);
	stop(&f);
}

/* ---- records that are no rows ---- */

static void a_transaction(void **state)
{
	struct fixture f;
	struct record_begin begin = { t_tx.commit_time, 555, NULL };
	struct record_end end = { t_tx.commit_time, 555, { 0 }, 3 };
	struct value after[] = { text("1"), null, null };
	struct record_message message = { "audit", (const uint8_t *)"\1\2\377", 3, true };
	struct record rec = { .op = RECORD_BEGIN, .pos = { 24023128, 0 }, .begin = &begin };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, NULL);
	assert_slice(&f, f.result.value,
		"{\"status\":\"BEGIN\",\"id\":\"555:24023128\",\"event_count\":null,\"data_collections\":null,"
		"\"ts_ms\":1559033904863,\"commit_us\":1559033904863123,\"xid\":555}");
	/* ordinals count what a filter dropped, the order within a table does not */
	for (uint64_t i = 1; i <= 2; i++) {
		rec = (struct record){
			.op = RECORD_INSERT, .rel = f.rel, .after = after, .pos = { 24023128, i * 5 }
		};
		assert_int_equal(encode(&f, &rec, &t_tx), 0);
		assert_slice(&f, f.result.value,
			i == 1 ? "{\"before\":null,\"after\":{\"id\":1,\"name\":null,\"price\":null}," SOURCE
				 "," BLOCK("5", "1") ",\"op\":\"c\"" END
			       : "{\"before\":null,\"after\":{\"id\":1,\"name\":null,\"price\":null}," SOURCE
				 "," BLOCK("10", "2") ",\"op\":\"c\"" END);
	}
	rec = (struct record){ .op = RECORD_MESSAGE, .pos = { 24023128, 11 }, .message = &message };
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"prefix\":\"audit\"}");
	assert_slice(&f, f.result.value,
		"{\"op\":\"m\",\"ts_ms\":1559033904870," SOURCE_OF("false", SEQUENCE,
			"\"schema\":\"\",\"table\":\"\"", "555", "24023128") "," BLOCK("11",
			"1") ",\"message\":{\"prefix\":\"audit\",\"content\":\"AQL/\"}}");
	rec = (struct record){ .op = RECORD_END, .pos = { 24023128, POSITION_END }, .end = &end };
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.value,
		"{\"status\":\"END\",\"id\":\"555:24023128\",\"event_count\":3,\"data_collections\":["
		"{\"data_collection\":\"public.t\",\"event_count\":2},"
		"{\"data_collection\":\"LOGICAL_DECODING_MESSAGE\",\"event_count\":1}],"
		"\"ts_ms\":1559033904863,\"commit_us\":1559033904863123,\"xid\":555}");
	stop(&f);
}

/* the order in the envelope's block of the value that was written last */
static uint64_t order_of(const struct fixture *f)
{
	static const char name[] = "\"data_collection_order\":";
	const char *at =
		memmem(f->out.data + f->result.value.at, f->result.value.len, name, sizeof(name) - 1);

	assert_non_null(at);
	return strtoull(at + sizeof(name) - 1, NULL, 10);
}

static void orders_grow_when_a_transaction_is_told_again(void **state)
{
	static const struct {
		uint64_t minor, order;
	} told[] = { { 10, 1 }, { 20, 2 }, { 30, 3 }, { 20, 20 }, { 30, 30 }, { 40, 40 } };
	struct fixture f;
	struct record_begin begin = { t_tx.commit_time, 555, NULL };
	struct record_end end = { t_tx.commit_time, 555, { 0 }, 6 };
	struct value after[] = { text("1"), null, null };
	struct record rec = { .op = RECORD_BEGIN, .pos = { 24023128, 0 }, .begin = &begin };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++) {
		rec = (struct record){
			.op = RECORD_INSERT, .rel = f.rel, .after = after, .pos = { 24023128, told[i].minor }
		};
		assert_int_equal(encode(&f, &rec, &t_tx), 0);
		assert_int_equal(order_of(&f), told[i].order);
	}
	rec = (struct record){ .op = RECORD_END, .pos = { 24023128, POSITION_END }, .end = &end };
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_non_null(
		memmem(f.out.data + f.result.value.at, f.result.value.len, "\"data_collections\":null", 23));
	stop(&f);
}

static void marks(void **state)
{
	struct fixture f;
	struct record_heartbeat heartbeat = { { 0 }, { 1500001 }, 18446744073709551615u, { 1400000 } };
	struct record_chunk chunk = { CHUNK_MARK_END, 3, 2, 1000, 24023128, NULL, 0 };
	struct record_message message = { "a\"b", NULL, 0, false };
	struct record rec = { .op = RECORD_HEARTBEAT, .heartbeat = &heartbeat };

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	assert_int_equal(encode(&f, &rec, NULL), 0);
	assert_slice(&f, f.result.key, NULL);
	assert_slice(&f, f.result.value,
		"{\"ts_ms\":1500,\"at_us\":1500001,\"head\":18446744073709551615,\"clear_us\":1400000}");
	rec = (struct record){ .op = RECORD_CHUNK, .rel = f.rel, .chunk = &chunk };
	assert_int_equal(encode(&f, &rec, NULL), 0);
	assert_slice(&f, f.result.value,
		"{\"mark\":\"E\",\"no\":3,\"attempt\":2,\"rows\":1000,\"start\":24023128,\"content\":null}");
	chunk.content = (const uint8_t *)"\1\2\377";
	chunk.content_len = 3;
	assert_int_equal(encode(&f, &rec, NULL), 0);
	assert_slice(&f, f.result.value,
		"{\"mark\":\"E\",\"no\":3,\"attempt\":2,\"rows\":1000,\"start\":24023128,\"content\":\"AQL/\"}");
	rec = (struct record){ .op = RECORD_MESSAGE, .pos = { 24023128, POSITION_END }, .message = &message };
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, "{\"prefix\":\"a\\\"b\"}");
	assert_slice(&f, f.result.value,
		"{\"op\":\"m\",\"ts_ms\":1559033904870," SOURCE_OF("false", SEQUENCE,
			"\"schema\":\"\",\"table\":\"\"", "null",
			"24023128") ",\"transaction\":null,\"message\":{\"prefix\":\"a\\\"b\",\"content\":\"\"}}");
	rec = (struct record){ .op = RECORD_FENCE };
	assert_int_equal(encode(&f, &rec, NULL), 0);
	assert_slice(&f, f.result.key, NULL);
	assert_slice(&f, f.result.value, NULL);
	stop(&f);
}

static void a_truncate(void **state)
{
	struct column column = { "c", INT4, -1, true };
	struct relation_spec spec = { .id = 5,
		.schema = "s",
		.name = "u",
		.identity = IDENTITY_FULL,
		.n_columns = 1,
		.columns = &column };
	struct relation *other = relation_new(&spec), *both[2] = { NULL, other };
	struct record_truncate truncate = { both, 2, true, false };
	struct record rec = { .op = RECORD_TRUNCATE, .pos = { 24023128, 1 }, .truncate = &truncate };
	_cleanup_(buf_freep) struct buf expected = BUF_INIT;
	struct fixture f;

	start(&f, JSON_SCHEMAS_NONE, &t_spec);
	both[0] = f.rel;
	assert_int_equal(encode(&f, &rec, &t_tx), 0);
	assert_slice(&f, f.result.key, NULL);
	assert_slice(&f, f.result.value,
		"{\"before\":null,\"after\":null," SOURCE "," BLOCK("1", "1") ",\"op\":\"t\"" END);
	buf_puts(&expected, "{\"truncate\":{\"relations\":[");
	relation_write_json(f.rel, &expected);
	buf_putc(&expected, ',');
	relation_write_json(other, &expected);
	buf_puts(&expected, "],\"cascade\":true,\"restart_identity\":false}}");
	assert_slice(&f, f.result.exact, buf_str(&expected));
	relation_unref(other);
	stop(&f);
}

static void more_relations_than_the_cache_holds(void **state)
{
	struct relation *rels[64];
	struct fixture f;

	start(&f, JSON_SCHEMAS_INLINE, NULL);
	for (int round = 0; round < 60; round++) {
		for (int i = 0; i < 64; i++) {
			char name[24];
			struct relation_spec spec = t_spec;
			struct value after[] = { text("1"), null, null };
			struct record rec = { .op = RECORD_INSERT, .after = after, .pos = { 24023128, 1 } };

			snprintf(name, sizeof(name), "t%d", round * 64 + i);
			spec.name = name;
			rec.rel = rels[i] = relation_new(&spec);
			buf_clear(&f.out);
			assert_int_equal(encode(&f, &rec, &t_tx), 0);
			assert_non_null(memmem(f.out.data, f.out.len, name, strlen(name)));
		}
		for (int i = 0; i < 64; i++)
			relation_unref(rels[i]);
	}
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_insert),
		cmocka_unit_test(an_update_with_everything),
		cmocka_unit_test(deletes),
		cmocka_unit_test(a_row_of_the_snapshot),
		cmocka_unit_test(names_are_escaped),
		cmocka_unit_test(a_key_is_the_same_from_text_and_binary),
		cmocka_unit_test(a_binary_value_is_refused),
		cmocka_unit_test(schemas_inline),
		cmocka_unit_test(a_transaction),
		cmocka_unit_test(orders_grow_when_a_transaction_is_told_again),
		cmocka_unit_test(marks),
		cmocka_unit_test(a_truncate),
		cmocka_unit_test(more_relations_than_the_cache_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
