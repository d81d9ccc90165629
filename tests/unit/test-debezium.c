/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Debezium's messages, written by hand as its documentation and code have them: every type in every mode, every
 * operation, with schema and without, and what happens when they are damaged.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/debezium.h>

#define P	      "__debezium_unavailable_value"
#define P64	      "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
#define NUMERIC(p, s) (((p) << 16 | (s)) + 4)
#define SOURCE                                                                                                   \
	"\"source\":{\"version\":\"3.7.0\",\"connector\":\"postgresql\",\"name\":\"p\",\"ts_ms\":1559033904863," \
	"\"snapshot\":\"false\",\"db\":\"postgres\",\"sequence\":\"[\\\"24023119\\\",\\\"24023128\\\"]\","       \
	"\"ts_us\":1559033904863123,\"ts_ns\":1559033904863123000,\"schema\":\"public\",\"table\":\"t\","        \
	"\"txId\":555,\"lsn\":24023128,\"xmin\":null,\"origin\":null,\"origin_lsn\":null},"                      \
	"\"transaction\":{\"id\":\"555:24023128\",\"total_order\":3,\"data_collection_order\":2}"

/* oids of user types in these tests */
enum { ENUM = 16500, HSTORE, VECTOR, GEOMETRY, DOMAIN_OF_INT, ENUMS };

struct fixture {
	struct debezium *dbz;
	struct debezium_options opt;
	struct relation *rel;
	struct batch *batch;
	struct record *rec;
	struct debezium_info info;
	struct error err;
};

static struct relation *relation_of(void *ctx, const struct debezium_table *table, struct error *err)
{
	struct fixture *f = ctx;

	if (strcmp(table->schema, f->rel->schema) == 0 && strcmp(table->name, f->rel->name) == 0)
		return f->rel;
	error_set(err, ERROR_SCHEMA, "NO-TABLE", "no table %s.%s", table->schema, table->name);
	return NULL;
}

static void type_of(void *ctx, uint32_t oid, struct debezium_type *ret)
{
	(void)ctx;
	if (oid == HSTORE)
		ret->class = DEBEZIUM_TYPE_HSTORE;
	else if (oid == VECTOR)
		ret->class = DEBEZIUM_TYPE_VECTOR;
	else if (oid == GEOMETRY)
		ret->class = DEBEZIUM_TYPE_GEOMETRY;
	else if (oid == DOMAIN_OF_INT)
		*ret = (struct debezium_type){ DEBEZIUM_TYPE_DOMAIN, 23, -1 };
	else if (oid == ENUMS)
		*ret = (struct debezium_type){ DEBEZIUM_TYPE_ARRAY, ENUM, -1 };
}

static void start(struct fixture *f, const struct debezium_options *opt, uint32_t oid, int32_t modifier)
{
	const struct column columns[] = { { "id", 23, -1, true }, { "v", oid, modifier, false } };

	*f = (struct fixture){ .opt = *opt };
	f->opt.relation = relation_of;
	f->opt.type = type_of;
	f->opt.ctx = f;
	f->dbz = debezium_new(&f->opt);
	f->rel = relation_new(&(struct relation_spec){ 1, "public", "t", IDENTITY_DEFAULT, 2, columns });
	f->batch = batch_new(NULL);
}

static void stop(struct fixture *f)
{
	debezium_free(f->dbz);
	batch_free(f->batch);
	relation_unref(f->rel);
}

/* the text is copied to where it ends with its allocation, so that reading on is seen */
static int decode(struct fixture *f, const char *key, const void *value, size_t len)
{
	struct message msg = { .key = key, .key_len = key ? strlen(key) : 0, .value_len = len, .offset = 9 };
	char *copy = malloc(len + !len);
	int r;

	assert_non_null(copy);
	memcpy(copy, value, len);
	msg.value = copy;
	f->rec = batch_add(f->batch);
	r = debezium_decode(f->dbz, &msg, f->batch, f->rec, &f->info, &f->err);
	free(copy);
	return r;
}

static int decode_text(struct fixture *f, const char *key, const char *value)
{
	return decode(f, key, value, strlen(value));
}

static void assert_value(const struct value *value, const char *expected)
{
	char *text;

	if (!expected) {
		assert_int_equal(value->state, VALUE_ABSENT);
		return;
	}
	assert_int_equal(value->state, VALUE_PRESENT);
	text = strndup((const char *)value->data, value->len);
	assert_string_equal(text, expected);
	free(text);
}

struct typed {
	struct debezium_options opt;
	uint32_t oid;
	int32_t modifier;
	const char *json;
	const char *text;   /* NULL = absent */
	const char *schema; /* NULL = none inline */
};

static void check_typed(const struct typed *t)
{
	struct buf msg = BUF_INIT;
	struct fixture f;

	start(&f, &t->opt, t->oid, t->modifier);
	if (t->schema)
		buf_printf(&msg,
			"{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":["
			"{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},{%s,\"field\":\"v\"}],"
			"\"field\":\"after\"}]},\"payload\":",
			t->schema);
	buf_printf(&msg,
		"{\"before\":null,\"after\":{\"id\":1,\"v\":%s}," SOURCE ",\"op\":\"c\",\"ts_ms\":1}",
		t->json);
	if (t->schema)
		buf_putc(&msg, '}');
	if (decode_text(&f, "{\"id\":1}", buf_str(&msg)) != 0)
		fail_msg("type %u, %s: %s", t->oid, t->json, f.err.message);
	assert_int_equal(f.rec->op, RECORD_INSERT);
	assert_value(&f.rec->after[0], "1");
	assert_value(&f.rec->after[1], t->text);
	assert_int_equal(!!(f.rec->flags & RECORD_TOAST), !t->text);
	stop(&f);
	buf_fini(&msg);
}

#define ALL(table)                                                                                           \
	for (size_t i = 0; i < sizeof(table) / sizeof(*(table)); i++)                                        \
	check_typed(&(table)[i])
#define MODE_TIME(m)                                                                                         \
	{                                                                                                    \
		.time = DEBEZIUM_TIME_##m                                                                    \
	}

static void plain_types(void **state)
{
	static const struct typed table[] = {
		{ { 0 }, 16, -1, "true", "t", NULL },
		{ { 0 }, 1560, 1, "true", "1", NULL },
		{ { 0 }, 1560, 2, "\"Aw==\"", "11", NULL },
		{ { 0 }, 1560, 7, "\"QA==\"", "1000000", NULL },
		{ { 0 }, 1560, 24, "\"AQID\"", "000000110000001000000001", NULL },
		{ { 0 }, 1562, -1, "\"BQ==\"", "101", NULL },
		{ { 0 }, 21, -1, "-32768", "-32768", NULL },
		{ { 0 }, 20, -1, "9223372036854775807", "9223372036854775807", NULL },
		{ { 0 }, 26, -1, "4294967295", "4294967295", NULL },
		{ { 0 }, 700, -1, "1.1", "1.1", NULL },
		{ { 0 }, 700, -1, "1.0E10", "1e+10", NULL },
		{ { 0 }, 700, -1, "1234567.0", "1.234567e+06", NULL },
		{ { 0 }, 701, -1, "1.0", "1", NULL },
		{ { 0 }, 701, -1, "0.1", "0.1", NULL },
		{ { 0 }, 701, -1, "1.0E20", "1e+20", NULL },
		{ { 0 }, 701, -1, "1.0E-5", "1e-05", NULL },
		{ { 0 }, 701, -1, "1.23456789012345E14", "123456789012345", NULL },
		{ { 0 }, 701, -1, "4.9E-324", "5e-324", NULL },
		{ { 0 }, 701, -1, "1.7976931348623157E308", "1.7976931348623157e+308", NULL },
		{ { 0 }, 701, -1, "-0.0", "-0", NULL },
		{ { 0 }, 701, -1, "\"NaN\"", "NaN", NULL },
		{ { 0 }, 701, -1, "\"-Infinity\"", "-Infinity", NULL },
		{ { 0 }, 25, -1, "\"a\\n\\u00e9\\\"\"", "a\n\xC3\xA9\"", NULL },
		{ { 0 }, 1042, 9, "\"ab   \"", "ab   ", NULL },
		{ { 0 }, 3802, -1, "\"{\\\"a\\\": 1}\"", "{\"a\": 1}", NULL },
		{ { 0 }, 2950, -1, "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
			"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", NULL },
		{ { 0 }, ENUM, -1, "\"red\"", "red", NULL },
		{ { 0 }, DOMAIN_OF_INT, -1, "5", "5", NULL },
		{ { 0 }, 17, -1, "\"AQL/\"", "\\x0102ff", NULL },
		{ { .binary = DEBEZIUM_BINARY_BASE64 }, 17, -1, "\"AQL/\"", "\\x0102ff", NULL },
		{ { .binary = DEBEZIUM_BINARY_BASE64_URL_SAFE }, 17, -1, "\"-_8=\"", "\\xfbff", NULL },
		{ { .binary = DEBEZIUM_BINARY_HEX }, 17, -1, "\"0102ff\"", "\\x0102ff", NULL },
		{ { .binary = DEBEZIUM_BINARY_HEX }, 17, -1, "\"0102ff\"", "\\x0102ff",
			"\"type\":\"string\",\"optional\":true" },
		{ { .binary = DEBEZIUM_BINARY_HEX }, 17, -1, "\"AQL/\"", "\\x0102ff",
			"\"type\":\"bytes\",\"optional\":true" },
	};

	ALL(table);
}

static void decimals(void **state)
{
#define DECIMAL(s)                                                                                             \
	"\"type\":\"bytes\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1,\"parameters\":{" \
	"\"scale\":\"" s "\",\"connect.decimal.precision\":\"10\"}"
	static const struct debezium_options as_double = { .decimal = DEBEZIUM_DECIMAL_DOUBLE },
					     as_string = { .decimal = DEBEZIUM_DECIMAL_STRING };
	const struct typed table[] = {
		{ { 0 }, 1700, NUMERIC(10, 2), "\"BNI=\"", "12.34", NULL },
		{ { 0 }, 1700, NUMERIC(10, 2), "\"/w==\"", "-0.01", NULL },
		{ { 0 }, 1700, NUMERIC(10, 2), "\"AA==\"", "0.00", NULL },
		{ { 0 }, 1700, NUMERIC(10, 2), "\"BNI=\"", "12.34", DECIMAL("2") },
		{ { 0 }, 1700, NUMERIC(10, 2), "12.34", "12.34", DECIMAL("2") },
		{ { 0 }, 1700, NUMERIC(10, 2), "12.3", "12.30", NULL },
		{ { 0 }, 1700, NUMERIC(10, 2), "1.2E+3", "1200.00", NULL },
		{ { 0 }, 1700, -1, "{\"scale\":3,\"value\":\"BNI=\"}", "1.234", NULL },
		{ { 0 }, 1700, -1, "{\"scale\":0,\"value\":\"AP//////////\"}", "18446744073709551615", NULL },
		{ as_double, 1700, NUMERIC(10, 2), "12.5", "12.50", NULL },
		{ as_double, 1700, -1, "1.0E-7", "0.0000001", NULL },
		{ as_double, 1700, -1, "12.0", "12", NULL },
		{ as_double, 1700, -1, "-0.0", "0", NULL },
		{ as_double, 1700, -1, "\"NaN\"", "NaN", NULL },
		{ as_string, 1700, NUMERIC(10, 2), "\"12.34\"", "12.34", NULL },
		{ as_string, 1700, -1, "\"12.3400\"", "12.3400", NULL },
		{ as_string, 1700, -1, "\"NAN\"", "NaN", NULL },
		{ as_string, 1700, -1, "\"POSITIVE_INFINITY\"", "Infinity", NULL },
		{ as_string, 1700, -1, "\"NEGATIVE_INFINITY\"", "-Infinity", NULL },
		{ as_string, 1700, NUMERIC(10, 2), "\"12.34\"", "12.34", "\"type\":\"string\"" },
		{ { 0 }, 1700, NUMERIC(10, 2), "\"12.34\"", "12.34", "\"type\":\"string\"" },
		{ { 0 }, 790, -1, "\"AeIT\"", "$1,234.11", NULL },
		{ { .money_digits = 3 }, 790, -1, "\"EtSK\"", "$1,234.058", NULL },
		{ as_double, 790, -1, "1234.1", "$1,234.10", NULL },
		{ as_string, 790, -1, "\"-1234567.89\"", "-$1,234,567.89", NULL },
	};

	ALL(table);
}

static void times(void **state)
{
#define NAMED(type, name) "\"type\":\"" type "\",\"name\":\"" name "\",\"version\":1"
	static const struct typed table[] = {
		{ { 0 }, 1082, -1, "17424", "2017-09-15", NULL },
		{ { 0 }, 1082, -1, "-719163", "0001-12-31 BC", NULL },
		{ { 0 }, 1082, -1, "2932897", "10000-01-01", NULL },
		{ { 0 }, 1083, 3, "14711789", "04:05:11.789", NULL },
		{ { 0 }, 1083, -1, "14711789123", "04:05:11.789123", NULL },
		{ { 0 }, 1083, -1, "86400000000", "24:00:00", NULL },
		{ MODE_TIME(ADAPTIVE_TIME_MICROSECONDS), 1083, 3, "14711789000", "04:05:11.789", NULL },
		{ MODE_TIME(CONNECT), 1083, -1, "14711789", "04:05:11.789", NULL },
		{ MODE_TIME(MICROSECONDS), 1083, 0, "14711000000", "04:05:11", NULL },
		{ MODE_TIME(NANOSECONDS), 1083, -1, "14711789123000", "04:05:11.789123", NULL },
		{ MODE_TIME(ISOSTRING), 1083, -1, "\"04:05:11.789Z\"", "04:05:11.789", NULL },
		{ MODE_TIME(STRUCTURED), 1083, -1,
			"{\"hour\":4,\"minute\":5,\"second\":11,\"nanos\":789000000,\"precision\":6}",
			"04:05:11.789", NULL },
		{ { 0 }, 1083, -1, "14711789", "04:05:11.789",
			NAMED("int32", "org.apache.kafka.connect.data.Time") },
		{ { 0 }, 1114, 3, "1478260290123", "2016-11-04 11:51:30.123", NULL },
		{ { 0 }, 1114, -1, "1478260290123456", "2016-11-04 11:51:30.123456", NULL },
		{ { 0 }, 1114, -1, "-1", "1969-12-31 23:59:59.999999", NULL },
		{ { 0 }, 1114, -1, "9223372036825200000", "infinity", NULL },
		{ { 0 }, 1114, -1, "-9223372036832400000", "-infinity", NULL },
		{ { 0 }, 1114, 3, "9223372036825200", "infinity", NULL },
		{ MODE_TIME(ADAPTIVE_TIME_MICROSECONDS), 1114, 3, "1478260290123", "2016-11-04 11:51:30.123",
			NULL },
		{ MODE_TIME(CONNECT), 1114, -1, "1478260290123", "2016-11-04 11:51:30.123", NULL },
		{ MODE_TIME(MICROSECONDS), 1114, 3, "1478260290123000", "2016-11-04 11:51:30.123", NULL },
		{ MODE_TIME(NANOSECONDS), 1114, -1, "1478260290123456000", "2016-11-04 11:51:30.123456",
			NULL },
		{ MODE_TIME(NANOSECONDS), 1114, -1, "9223372036854775807", "infinity", NULL },
		{ MODE_TIME(NANOSECONDS), 1114, -1, "-1000", "1969-12-31 23:59:59.999999", NULL },
		{ MODE_TIME(ISOSTRING), 1114, -1, "\"2016-11-04T11:51:30.123456Z\"",
			"2016-11-04 11:51:30.123456", NULL },
		{ MODE_TIME(ISOSTRING), 1114, -1, "\"+292278994-08-16T23:00:00Z\"", "infinity", NULL },
		{ MODE_TIME(ISOSTRING), 1082, -1, "\"2017-09-15Z\"", "2017-09-15", NULL },
		{ MODE_TIME(STRUCTURED), 1082, -1,
			"{\"year\":-43,\"month\":3,\"day\":15,\"specialValue\":null}", "0044-03-15 BC",
			NULL },
		{ MODE_TIME(STRUCTURED), 1082, -1,
			"{\"year\":null,\"month\":null,\"day\":null,\"specialValue\":\"POSITIVE_INFINITY\"}",
			"infinity", NULL },
		{ MODE_TIME(STRUCTURED), 1114, -1,
			"{\"year\":2016,\"month\":11,\"day\":4,\"hour\":11,\"minute\":51,\"second\":30,\"nanos\":5000}",
			"2016-11-04 11:51:30.000005", NULL },
		{ MODE_TIME(STRUCTURED), 1184, -1,
			"{\"year\":2016,\"month\":11,\"day\":4,\"hour\":11,\"minute\":51,\"second\":30,\"nanos\":0,"
			"\"offsetSeconds\":7200,\"zoneId\":\"+02:00\"}",
			"2016-11-04 09:51:30+00", NULL },
		{ MODE_TIME(STRUCTURED), 1266, -1,
			"{\"hour\":24,\"minute\":0,\"second\":0,\"nanos\":0,\"offsetSeconds\":-12600}",
			"24:00:00-03:30", NULL },
		{ { 0 }, 1184, -1, "\"2016-11-04T11:51:30.123400Z\"", "2016-11-04 11:51:30.1234+00", NULL },
		{ { 0 }, 1184, -1, "\"2016-11-04T13:51:30+02:00\"", "2016-11-04 11:51:30+00", NULL },
		{ { 0 }, 1184, -1, "\"+21016-11-04T11:51:30.000000Z\"", "21016-11-04 11:51:30+00", NULL },
		{ { 0 }, 1184, -1, "\"-0043-03-15T00:00:00.000000Z\"", "0044-03-15 00:00:00+00 BC", NULL },
		{ { 0 }, 1184, -1, "\"infinity\"", "infinity", NULL },
		{ { 0 }, 1184, -1, "\"-infinity\"", "-infinity", NULL },
		{ { 0 }, 1266, -1, "\"11:51:30.123789Z\"", "11:51:30.123789+00", NULL },
		{ { 0 }, 1114, -1, "1478260290123", "2016-11-04 11:51:30.123",
			NAMED("int64", "io.debezium.time.Timestamp") },
		{ MODE_TIME(CONNECT), 1114, -1, "1478260290123456", "2016-11-04 11:51:30.123456",
			NAMED("int64", "io.debezium.time.MicroTimestamp") },
		{ { 0 }, 1186, -1, "93784000000", "26:03:04", NULL },
		{ { 0 }, 1186, -1, "-1500000", "-00:00:01.5", NULL },
		{ { .interval_string = true }, 1186, -1, "\"P1Y2M3DT4H5M6.78S\"",
			"1 year 2 mons 3 days 04:05:06.78", NULL },
		{ { .interval_string = true }, 1186, -1, "\"P-1Y0M3DT0H0M0S\"", "-1 years +3 days", NULL },
		{ { .interval_string = true }, 1186, -1, "\"P0Y0M-3DT4H0M0S\"", "-3 days +04:00:00", NULL },
		{ { .interval_string = true }, 1186, -1, "\"P0Y0M0DT0H0M0S\"", "00:00:00", NULL },
		{ MODE_TIME(STRUCTURED), 1186, -1,
			"{\"years\":1,\"months\":2,\"days\":3,\"hours\":4,\"minutes\":5,\"seconds\":6,\"nanos\":0}",
			"1 year 2 mons 3 days 04:05:06", NULL },
	};

	ALL(table);
}

static void shapes_and_arrays(void **state)
{
	static const struct typed table[] = {
		{ { 0 }, 600, -1, "{\"x\":1.0,\"y\":-2.5,\"wkb\":\"\",\"srid\":null}", "(1,-2.5)", NULL },
		{ { 0 }, 628, -1, "{\"a\":1.0,\"b\":2.0,\"c\":3.5}", "{1,2,3.5}", NULL },
		{ { 0 }, 718, -1, "{\"center\":{\"x\":1.0,\"y\":2.0},\"radius\":3.0}", "<(1,2),3>", NULL },
		{ { 0 }, 601, -1,
			"{\"wkb\":\"AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAAEEA=\",\"srid\":null,"
			"\"extensions\":{\"type\":\"lseg\"}}",
			"[(1,2),(3,4)]", NULL },
		{ { 0 }, 602, -1,
			"{\"wkb\":\"AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAAEEA=\",\"srid\":null,"
			"\"extensions\":{\"type\":\"path\",\"closed\":\"true\"}}",
			"((1,2),(3,4))", NULL },
		{ { 0 }, GEOMETRY, -1, "{\"wkb\":\"AQEAACBzDAAA\",\"srid\":3187}", "0101000020730C0000",
			NULL },
		{ { 0 }, HSTORE, -1, "\"{\\\"bb\\\":null,\\\"k\\\":\\\"v\\\"}\"",
			"\"k\"=>\"v\", \"bb\"=>NULL", NULL },
		{ { 0 }, HSTORE, -1, "{\"k\":\"a\\\"b\"}", "\"k\"=>\"a\\\"b\"", NULL },
		{ { 0 }, VECTOR, -1, "[1.0,2.5]", "[1,2.5]", NULL },
		{ { 0 }, VECTOR, -1, "{\"dimensions\":5,\"vector\":[[1,1.5],[3,2.0]]}", "{1:1.5,3:2}/5",
			NULL },
		{ { 0 }, 1007, -1, "[1,null,3]", "{1,NULL,3}", NULL },
		{ { 0 }, 1007, -1, "[[1,2],[3,4]]", "{{1,2},{3,4}}", NULL },
		{ { 0 }, 1009, -1, "[\"a,b\",\"\",\"null\",\"q\\\"\"]", "{\"a,b\",\"\",\"null\",\"q\\\"\"}",
			NULL },
		{ { 0 }, 1231, NUMERIC(10, 2), "[\"BNI=\"]", "{12.34}", NULL },
		{ { 0 }, 1231, -1, "[{\"scale\":1,\"value\":\"DA==\"}]", "{1.2}", NULL },
		{ { 0 }, 1115, -1, "[1478260290123456]", "{\"2016-11-04 11:51:30.123456\"}", NULL },
		{ { 0 }, 1001, -1, "[\"AQI=\"]", "{\"\\\\x0102\"}", NULL },
		{ { 0 }, ENUMS, -1, "[\"red\",\"a b\"]", "{red,\"a b\"}", NULL },
		{ { 0 }, 1182, -1, "[17424]", "{2017-09-15}",
			"\"type\":\"array\",\"items\":{\"type\":\"int32\",\"name\":\"io.debezium.time.Date\"}" },
	};

	ALL(table);
}

static void unsent_values_are_absent(void **state)
{
	struct buf numbers = BUF_INIT;
	struct typed table[] = {
		{ { 0 }, 25, -1, "\"" P "\"", NULL, NULL },
		{ { 0 }, 3802, -1, "\"" P "\"", NULL, NULL },
		{ { 0 }, 17, -1, "\"" P64 "\"", NULL, NULL },
		{ { 0 }, 25, -1, "\"" P64 "\"", P64, NULL },
		{ { .binary = DEBEZIUM_BINARY_HEX }, 17, -1, "\"" P "\"", NULL, NULL },
		{ { 0 }, 1009, -1, "[\"" P "\"]", NULL, NULL },
		{ { 0 }, 1009, -1, "[\"" P "\",\"x\"]", "{" P ",x}", NULL },
		{ { 0 }, 1001, -1, "[\"" P64 "\"]", NULL, NULL },
		{ { 0 }, 2951, -1, "[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]", NULL, NULL },
		{ { 0 }, HSTORE, -1, "{\"" P "\":\"" P "\"}", NULL, NULL },
		{ { 0 }, HSTORE, -1, "\"{\\\"" P "\\\":\\\"" P "\\\"}\"", NULL, NULL },
		{ { .unavailable = "gone" }, 25, -1, "\"gone\"", NULL, NULL },
		{ { .unavailable = "gone" }, 25, -1, "\"" P "\"", P, NULL },
		{ { 0 }, 1007, -1, NULL, NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(P) - 1; i++)
		buf_printf(&numbers, "%c%d", i ? ',' : '[', P[i]);
	buf_putc(&numbers, ']');
	table[sizeof(table) / sizeof(*table) - 1].json = buf_str(&numbers);
	ALL(table);
	buf_fini(&numbers);
}

#define ROW "{\"id\":7,\"v\":\"x\"}"

static void operations(void **state)
{
	struct fixture f;

	start(&f, &(struct debezium_options){ 0 }, 25, -1);
	assert_int_equal(
		decode_text(&f, "{\"id\":7}", "{\"before\":null,\"after\":" ROW "," SOURCE ",\"op\":\"u\"}"),
		0);
	assert_int_equal(f.rec->op, RECORD_UPDATE);
	assert_null(f.rec->before);
	assert_value(&f.rec->after[1], "x");
	assert_true(f.rec->rel == f.rel);
	assert_true(f.info.has_lsn && f.info.lsn == 24023128 && f.info.has_xid && f.info.xid == 555);
	assert_int_equal(f.info.commit_time.us, 1559033904863123);
	assert_int_equal(f.info.total_order, 3);
	assert_int_equal(f.info.data_collection_order, 2);
	assert_string_equal(f.info.transaction, "555:24023128");
	assert_int_equal(f.info.snapshot, DEBEZIUM_STREAMED);
	assert_int_equal(f.rec->pos.major, 24023128);
	assert_int_equal(f.rec->offset, 9);

	/* what is not of the key was made up */
	assert_int_equal(decode_text(&f, "{\"id\":7}",
				 "{\"before\":{\"id\":7,\"v\":\"\"},\"after\":null," SOURCE ",\"op\":\"d\"}"),
		0);
	assert_int_equal(f.rec->op, RECORD_DELETE);
	assert_int_equal(f.rec->flags, RECORD_BEFORE_KEY);
	assert_value(&f.rec->before[0], "7");
	assert_value(&f.rec->before[1], NULL);
	assert_null(f.rec->after);

	/* the key of the message says what the key is */
	assert_int_equal(decode_text(&f, "{\"schema\":{\"type\":\"struct\"},\"payload\":{\"v\":\"x\"}}",
				 "{\"before\":" ROW ",\"after\":null," SOURCE ",\"op\":\"d\"}"),
		0);
	assert_value(&f.rec->before[0], NULL);
	assert_value(&f.rec->before[1], "x");

	f.rel->identity = IDENTITY_FULL;
	assert_int_equal(
		decode_text(&f, NULL,
			"{\"before\":{\"id\":7,\"v\":null},\"after\":" ROW "," SOURCE ",\"op\":\"u\"}"),
		0);
	assert_int_equal(f.rec->flags, RECORD_BEFORE_FULL);
	assert_value(&f.rec->before[0], "7");
	assert_int_equal(f.rec->before[1].state, VALUE_NULL);

	assert_int_equal(
		decode_text(&f, NULL, "{\"before\":null,\"after\":" ROW "," SOURCE ",\"op\":\"r\"}"), 0);
	assert_int_equal(f.rec->op, RECORD_READ);
	assert_int_equal(
		decode_text(&f, NULL, "{\"before\":null,\"after\":null," SOURCE ",\"op\":\"t\"}"), 0);
	assert_int_equal(f.rec->op, RECORD_TRUNCATE);
	assert_int_equal(f.rec->truncate->n_relations, 1);
	assert_true(f.rec->truncate->relations[0] == f.rel);
	assert_int_equal(decode_text(&f, "{\"prefix\":\"p\"}",
				 "{\"op\":\"m\",\"ts_ms\":1," SOURCE
				 ",\"message\":{\"prefix\":\"p\",\"content\":\"AAE=\"}}"),
		0);
	assert_int_equal(f.rec->op, RECORD_MESSAGE);
	assert_string_equal(f.rec->message->prefix, "p");
	assert_int_equal(f.rec->message->content_len, 2);
	assert_memory_equal(f.rec->message->content, "\0\1", 2);
	assert_true(f.rec->message->transactional);
	stop(&f);
}

static void others(void **state)
{
	struct message tombstone = { .key = "{\"id\":7}", .key_len = 8 };
	struct message changed = { .offset = 1 };
	static const char value[] = "{\"before\":" ROW ",\"after\":null," SOURCE ",\"op\":\"d\"}";
	struct fixture f;

	start(&f, &(struct debezium_options){ 0 }, 25, -1);
	f.rec = batch_add(f.batch);
	assert_int_equal(
		debezium_decode(f.dbz, &tombstone, f.batch, f.rec, &f.info, &f.err), DEBEZIUM_TOMBSTONE);
	assert_int_equal(decode_text(&f, NULL, "null"), DEBEZIUM_TOMBSTONE);
	assert_int_equal(decode_text(&f, NULL, "{\"schema\":null,\"payload\":null}"), DEBEZIUM_TOMBSTONE);
	assert_int_equal(decode_text(&f, NULL, "{\"ts_ms\":5}"), DEBEZIUM_HEARTBEAT);
	assert_int_equal(decode_text(&f, NULL,
				 "{\"status\":\"BEGIN\",\"id\":\"5:6\",\"event_count\":null,"
				 "\"data_collections\":null,\"ts_ms\":5}"),
		DEBEZIUM_TRANSACTION);
	assert_false(f.info.is_end);
	assert_int_equal(f.info.event_count, -1);
	assert_int_equal(
		decode_text(&f, NULL,
			"{\"status\":\"END\",\"id\":\"5:6\",\"event_count\":4,\"ts_ms\":5,"
			"\"data_collections\":[{\"data_collection\":\"public.t\",\"event_count\":4}]}"),
		DEBEZIUM_TRANSACTION);
	assert_true(f.info.is_end);
	assert_int_equal(f.info.event_count, 4);
	assert_string_equal(f.info.transaction, "5:6");

	changed.value = value;
	changed.value_len = sizeof(value) - 1;
	changed.headers[changed.n_headers++] =
		(struct message_header){ "__debezium.newkey", "{\"id\":8}", 8 };
	f.rec = batch_add(f.batch);
	assert_int_equal(debezium_decode(f.dbz, &changed, f.batch, f.rec, &f.info, &f.err), 0);
	assert_true(f.info.key_change);
	stop(&f);
}

static void damage_is_refused(void **state)
{
	static const struct {
		uint32_t oid;
		const char *value;
	} table[] = {
		{ 23, "\"x\"" },
		{ 23, "1.5" },
		{ 23, "99999999999999999999" },
		{ 23, "[1]" },
		{ 16, "1" },
		{ 17, "\"***\"" },
		{ 1082, "99999999999999" },
		{ 1082, "{\"year\":2000,\"month\":13,\"day\":1}" },
		{ 1083, "-1" },
		{ 1184, "\"2016-11-04T\"" },
		{ 1184, "\"T\"" },
		{ 1186, "\"P\"" },
		{ 1186, "\"P999999999999999Y\"" },
		{ 1700, "{\"scale\":99999999999,\"value\":\"AA==\"}" },
		{ 1700, "1E999999999" },
		{ 1700, "\"1..2\"" },
		{ 701, "1E999" },
		{ 600, "{\"x\":1}" },
		{ 601, "{\"wkb\":\"AQIAAAD/////\"}" },
		{ 718, "{}" },
		{ HSTORE, "\"{\"" },
		{ HSTORE, "{\"a\":1}" },
		{ VECTOR, "{\"dimensions\":1,\"vector\":[[1]]}" },
	};
	static const char *const whole[] = { "", "{", "[]", "1", "{\"op\":\"x\"}", "{\"op\":1}",
		"{\"op\":\"c\"}", "{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"t\"}}",
		"{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"after\":5}",
		"{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"after\":{\"nope\":1}}",
		"{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"after\":{\"id\\u0000\":1}}",
		"{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"after\":{\"id\":1,\"id\":1}}",
		"{\"op\":\"c\",\"source\":{\"schema\":\"public\",\"table\":\"other\"},\"after\":{}}",
		"{\"op\":\"d\",\"source\":{\"schema\":\"public\",\"table\":\"t\"},\"before\":{\"id\":null}}",
		"{\"op\":\"m\",\"message\":1}", "{\"schema\":{},\"payload\":[]}" };
	struct buf msg = BUF_INIT;
	struct fixture f;

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		start(&f, &(struct debezium_options){ 0 }, table[i].oid, -1);
		buf_clear(&msg);
		buf_printf(&msg, "{\"after\":{\"v\":%s}," SOURCE ",\"op\":\"c\"}", table[i].value);
		if (decode_text(&f, NULL, buf_str(&msg)) >= 0)
			fail_msg("type %u takes %s", table[i].oid, table[i].value);
		assert_int_equal(f.err.class, ERROR_DATA);
		stop(&f);
	}
	start(&f, &(struct debezium_options){ 0 }, 25, -1);
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
		if (decode_text(&f, NULL, whole[i]) >= 0)
			fail_msg("taken: %s", whole[i]);
	}
	buf_clear(&msg);
	for (int i = 0; i < 100000; i++)
		buf_putc(&msg, '[');
	assert_true(decode(&f, NULL, msg.data, msg.len) < 0);
	assert_int_equal(f.err.class, ERROR_DATA);
	stop(&f);
	buf_fini(&msg);
}

static void truncated_messages_are_refused(void **state)
{
	static const char value[] =
		"{\"schema\":{\"type\":\"struct\",\"fields\":[]},\"payload\":{\"before\":" ROW
		",\"after\":{\"id\":7,\"v\":\"\\u00e9\"}," SOURCE ",\"op\":\"u\"}}";
	struct fixture f;

	start(&f, &(struct debezium_options){ 0 }, 25, -1);
	assert_int_equal(decode_text(&f, NULL, value), 0);
	for (size_t len = 0; len < sizeof(value) - 1; len++) {
		assert_true(decode(&f, NULL, value, len) < 0);
		assert_int_equal(f.err.class, ERROR_DATA);
	}
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_types),
		cmocka_unit_test(decimals),
		cmocka_unit_test(times),
		cmocka_unit_test(shapes_and_arrays),
		cmocka_unit_test(unsent_values_are_absent),
		cmocka_unit_test(operations),
		cmocka_unit_test(others),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(truncated_messages_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
