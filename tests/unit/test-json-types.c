/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* What one column's text becomes, type by type, as exact strings derived from Debezium's documented format. */

#include "json_fixture.h"

struct one {
	uint32_t type_oid;
	int32_t modifier;
	const char *text;     /* NULL = absent */
	const char *expected; /* NULL = refused */
	bool exact;	      /* its text stands in sluice.exact */
};

static void start_column(struct fixture *f, uint32_t type_oid, int32_t modifier)
{
	struct column column = { .name = "c", .type_oid = type_oid, .type_modifier = modifier };

	start(f, JSON_SCHEMAS_NONE,
		&(struct relation_spec){ .id = 1,
			.schema = "s",
			.name = "t",
			.identity = IDENTITY_DEFAULT,
			.n_columns = 1,
			.columns = &column });
}

static void check_column(const struct one *one)
{
	struct fixture f;
	struct value value = one->text ? text(one->text) : absent;
	struct record rec = { .op = RECORD_INSERT, .after = &value, .pos = { 9, 1 } };
	struct codec_transaction tx = { .xid = 7 };
	_cleanup_(buf_freep) struct buf expected = BUF_INIT;

	start_column(&f, one->type_oid, one->modifier);
	rec.rel = f.rel;
	if (!one->expected) {
		assert_true(encode(&f, &rec, &tx) < 0);
		assert_int_equal(f.err.class, ERROR_DATA);
		assert_non_null(strstr(f.err.message, "s.t, column c"));
		assert_int_equal(f.out.len, 0);
		stop(&f);
		return;
	}
	if (encode(&f, &rec, &tx) < 0)
		fail_msg("%u %d %s: %s", one->type_oid, one->modifier, one->text, f.err.message);
	assert_true(f.result.key.null);
	buf_printf(&expected, "{\"before\":null,\"after\":{\"c\":%s},\"source\":", one->expected);
	if (memcmp(f.out.data + f.result.value.at, expected.data, expected.len) != 0)
		fail_msg("%u %d %s: expected %s, is %.*s", one->type_oid, one->modifier,
			one->text ? one->text : "absent", one->expected, (int)f.result.value.len,
			(const char *)f.out.data + f.result.value.at);
	if (one->exact == f.result.exact.null && one->text)
		fail_msg("%u %d %s: exact is %s", one->type_oid, one->modifier, one->text,
			f.result.exact.null ? "missing" : "not needed");
	if (!one->text) {
		assert_slice(&f, f.result.exact, "{\"absent\":[\"c\"]}");
	} else if (one->exact && !strpbrk(one->text, "\"\\")) {
		buf_clear(&expected);
		buf_printf(&expected, "{\"after\":{\"c\":\"%s\"}}", one->text);
		assert_slice(&f, f.result.exact, buf_str(&expected));
	}
	stop(&f);
}

static void check_columns(const struct one *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check_column(&all[i]);
}

#define CHECK_COLUMNS(...)                                                                                   \
	do {                                                                                                 \
		static const struct one all[] = { __VA_ARGS__ };                                             \
		check_columns(all, sizeof(all) / sizeof(*all));                                              \
	} while (0)

static void booleans_and_bits(void **state)
{
	CHECK_COLUMNS({ BOOL, -1, "t", "true", false }, { BOOL, -1, "f", "false", false },
		{ BOOL, -1, "true", NULL, 0 }, { BOOL, -1, "", NULL, 0 }, { BIT, 1, "1", "true", false },
		{ BIT, 1, "0", "false", false }, { BIT, 1, "2", NULL, 0 }, { VARBIT, 1, "1", "true", false },
		{ VARBIT, 1, "", "false", true }, { BIT, 2, "11", "\"Aw==\"", false },
		{ BIT, 7, "1000000", "\"QA==\"", false }, { BIT, 2, "00", "\"\"", false },
		{ BIT, 24, "000000110000001000000001", "\"AQID\"", false },
		{ BIT, 64, "1000000000000000000000000000000000000000000000000000000000000000",
			"\"AAAAAAAAAIA=\"", false },
		{ BIT, 3, "11", "\"Aw==\"", true }, { BIT, 2, "1x", NULL, 0 }, { BIT, 2, "x1", NULL, 0 },
		{ VARBIT, -1, "101", "\"BQ==\"", false }, { VARBIT, 5, "101", "\"BQ==\"", false },
		{ VARBIT, 5, "0101", "\"BQ==\"", true }, { VARBIT, 5, "", "\"\"", false },
		{ VARBIT, 5, "0", "\"\"", true });
}

static void integers(void **state)
{
	CHECK_COLUMNS({ INT2, -1, "-32768", "-32768", false }, { INT2, -1, "32767", "32767", false },
		{ INT2, -1, "32768", NULL, 0 }, { INT4, -1, "0", "0", false }, { INT4, -1, "-0", NULL, 0 },
		{ INT4, -1, "2147483647", "2147483647", false }, { INT4, -1, "-2147483649", NULL, 0 },
		{ INT4, -1, "007", NULL, 0 }, { INT4, -1, "+7", NULL, 0 }, { INT4, -1, "", NULL, 0 },
		{ INT4, -1, "-", NULL, 0 }, { INT4, -1, "1,\"x\":2", NULL, 0 }, { INT4, -1, "1 ", NULL, 0 },
		{ INT8, -1, "9223372036854775807", "9223372036854775807", false },
		{ INT8, -1, "-9223372036854775808", "-9223372036854775808", false },
		{ INT8, -1, "9223372036854775808", NULL, 0 }, { INT8, -1, "99999999999999999999", NULL, 0 },
		{ OID, -1, "4294967295", "4294967295", false });
}

static void floats(void **state)
{
	CHECK_COLUMNS({ FLOAT4, -1, "3.4028235e+38", "3.4028235e+38", false },
		{ FLOAT8, -1, "0.1", "0.1", false }, { FLOAT8, -1, "1e-05", "1e-05", false },
		{ FLOAT8, -1, "-12345", "-12345", false }, { FLOAT8, -1, "NaN", "\"NaN\"", false },
		{ FLOAT8, -1, "Infinity", "\"Infinity\"", false },
		{ FLOAT8, -1, "-Infinity", "\"-Infinity\"", false }, { FLOAT8, -1, "-0", "-0.0", true },
		{ FLOAT8, -1, "nan", NULL, 0 }, { FLOAT8, -1, ".5", NULL, 0 }, { FLOAT8, -1, "5.", NULL, 0 },
		{ FLOAT8, -1, "1e", NULL, 0 }, { FLOAT8, -1, "0x10", NULL, 0 }, { FLOAT8, -1, "", NULL, 0 },
		{ FLOAT8, -1, "01", NULL, 0 });
}

static void decimals(void **state)
{
	CHECK_COLUMNS({ DECIMAL, NUMERIC(10, 2), "12.34", "\"BNI=\"", false },
		{ DECIMAL, NUMERIC(10, 2), "-1.00", "\"nA==\"", false },
		{ DECIMAL, NUMERIC(10, 2), "0.00", "\"AA==\"", false },
		{ DECIMAL, NUMERIC(10, 2), "1.27", "\"fw==\"", false },
		{ DECIMAL, NUMERIC(10, 2), "1.28", "\"AIA=\"", false },
		{ DECIMAL, NUMERIC(10, 2), "-1.28", "\"gA==\"", false },
		{ DECIMAL, NUMERIC(10, 2), "-1.29", "\"/38=\"", false },
		{ DECIMAL, NUMERIC(10, 2), "2.55", "\"AP8=\"", false },
		{ DECIMAL, NUMERIC(5, 0), "255", "\"AP8=\"", false },
		{ DECIMAL, NUMERIC(38, 0), "99999999999999999999999999999999999999",
			"\"SztMqFqGxHoJiiI//////w==\"", false },
		{ DECIMAL, NUMERIC(38, 0), "-99999999999999999999999999999999999999",
			"\"tMSzV6V5O4X2dd3AAAAAAQ==\"", false },
		{ DECIMAL, NUMERIC(40, 0), "1000000000000000000", "\"DeC2s6dkAAA=\"", false },
		{ DECIMAL, NUMERIC(40, 0), "-1000000000000000000", "\"8h9JTFicAAA=\"", false },
		{ DECIMAL, NUMERIC(50, 1), "1000000000000000000000000000000000000000.1",
			"\"HWMp8cNcpL+rufVhAAAAAAE=\"", false },
		/* the scale of the column is not the text's: as near as the scale allows, and exact */
		{ DECIMAL, NUMERIC(10, 2), "12.345", "\"BNI=\"", true },
		{ DECIMAL, NUMERIC(10, 2), "12.3", "\"BM4=\"", true },
		{ DECIMAL, NUMERIC(3, -2), "1200", "\"DA==\"", false },
		{ DECIMAL, NUMERIC(3, -2), "0", "\"AA==\"", false },
		{ DECIMAL, NUMERIC(3, -2), "1234", "\"DA==\"", true },
		{ DECIMAL, NUMERIC(10, 2), "NaN", "null", true },
		{ DECIMAL, NUMERIC(10, 2), "Infinity", "null", true },
		{ DECIMAL, NUMERIC(10, 2), "1e5", NULL, 0 }, { DECIMAL, NUMERIC(10, 2), "", NULL, 0 },
		{ DECIMAL, NUMERIC(10, 2), "-", NULL, 0 }, { DECIMAL, NUMERIC(10, 2), "1.", NULL, 0 },
		{ DECIMAL, NUMERIC(10, 2), ".1", NULL, 0 }, { DECIMAL, NUMERIC(10, 2), "1.2.3", NULL, 0 },
		{ DECIMAL, -1, "1.50", "{\"scale\":2,\"value\":\"AJY=\"}", false },
		{ DECIMAL, -1, "0", "{\"scale\":0,\"value\":\"AA==\"}", false },
		{ DECIMAL, -1, "-0.50", "{\"scale\":2,\"value\":\"zg==\"}", false },
		{ DECIMAL, -1, "-Infinity", "null", true },
		{ DECIMAL, -1, "007", "{\"scale\":0,\"value\":\"Bw==\"}", true },
		{ MONEY, -1, "$1,234.11", "\"AeIT\"", false }, { MONEY, -1, "-$0.50", "\"zg==\"", false },
		{ MONEY, -1, "$0.00", "\"AA==\"", false },
		{ MONEY, -1, "-$92,233,720,368,547,758.08", "\"gAAAAAAAAAA=\"", false },
		{ MONEY, -1, "$92,233,720,368,547,758.08", NULL, 0 }, { MONEY, -1, "$1234.11", NULL, 0 },
		{ MONEY, -1, "$,234.11", NULL, 0 }, { MONEY, -1, "1.11", NULL, 0 },
		{ MONEY, -1, "$.11", NULL, 0 });
}

static void dates_and_times(void **state)
{
	CHECK_COLUMNS({ DATE, -1, "2016-11-04", "17109", false }, { DATE, -1, "1970-01-01", "0", false },
		{ DATE, -1, "1969-12-31", "-1", false }, { DATE, -1, "0044-03-15 BC", "-735160", false },
		{ DATE, -1, "4714-11-24 BC", "-2440588", false },
		{ DATE, -1, "5874897-12-31", "2145042905", false }, { DATE, -1, "infinity", "null", true },
		{ DATE, -1, "-infinity", "null", true }, { DATE, -1, "2016-02-30", NULL, 0 },
		{ DATE, -1, "2015-02-29", NULL, 0 }, { DATE, -1, "2016-13-01", NULL, 0 },
		{ DATE, -1, "2016-1-01", NULL, 0 }, { DATE, -1, "2016-11-00", NULL, 0 },
		{ DATE, -1, "0000-01-01", NULL, 0 }, { DATE, -1, "04.11.2016", NULL, 0 },
		{ TIME, 3, "04:05:11.789", "14711789", false }, { TIME, 0, "23:59:59", "86399000", false },
		{ TIME, 3, "24:00:00", "86400000", false }, { TIME, 3, "04:05:11.7891", "14711789", true },
		{ TIME, -1, "04:05:11.789123", "14711789123", false },
		{ TIME, 6, "24:00:00", "86400000000", false }, { TIME, 4, "00:00:00.1", "100000", false },
		{ TIME, -1, "24:00:01", NULL, 0 }, { TIME, -1, "12:60:00", NULL, 0 },
		{ TIME, -1, "12:00", NULL, 0 }, { TIME, -1, "12:00:00.", NULL, 0 },
		{ TIME, -1, "12:00:00.1234567", NULL, 0 }, { TIME, -1, "infinity", NULL, 0 },
		{ TIMESTAMP, 3, "2016-11-04 13:51:30.123", "1478267490123", false },
		{ TIMESTAMP, -1, "2016-11-04 13:51:30.123456", "1478267490123456", false },
		{ TIMESTAMP, 6, "1969-12-31 23:59:59.999999", "-1", false },
		{ TIMESTAMP, 3, "1969-12-31 23:59:59.999", "-1", false },
		{ TIMESTAMP, -1, "4714-11-24 00:00:00 BC", "-210866803200000000", false },
		{ TIMESTAMP, 0, "294276-12-31 00:00:00", "9224317929600000", false },
		{ TIMESTAMP, -1, "294276-12-31 00:00:00", "null", true },
		{ TIMESTAMP, -1, "infinity", "9223372036825200000", false },
		{ TIMESTAMP, 3, "-infinity", "-9223372036832400000", false },
		/* the moment whose number stands for infinity */
		{ TIMESTAMP, -1, "294247-01-10 04:00:25.2", "9223372036825200000", true },
		{ TIMESTAMP, -1, "2016-11-04T13:51:30", NULL, 0 }, { TIMESTAMP, -1, "2016-11-04", NULL, 0 });
}

static void zoned_times(void **state)
{
	CHECK_COLUMNS({ TIMESTAMPTZ, -1, "2016-11-04 11:51:30.123456+00", "\"2016-11-04T11:51:30.123456Z\"",
			      false },
		{ TIMESTAMPTZ, -1, "2016-11-04 13:51:30.123456+02", "\"2016-11-04T11:51:30.123456Z\"", true },
		{ TIMESTAMPTZ, -1, "2016-12-31 23:00:00-05:30", "\"2017-01-01T04:30:00.000000Z\"", true },
		{ TIMESTAMPTZ, -1, "2016-03-01 00:00:00+01", "\"2016-02-29T23:00:00.000000Z\"", true },
		{ TIMESTAMPTZ, -1, "2016-11-04 11:51:30+00", "\"2016-11-04T11:51:30.000000Z\"", false },
		{ TIMESTAMPTZ, 3, "2016-11-04 11:51:30.5+00", "\"2016-11-04T11:51:30.500Z\"", false },
		{ TIMESTAMPTZ, 0, "2016-11-04 11:51:30+00", "\"2016-11-04T11:51:30Z\"", false },
		{ TIMESTAMPTZ, -1, "21016-11-04 11:51:30.123456+00", "\"+21016-11-04T11:51:30.123456Z\"",
			false },
		{ TIMESTAMPTZ, -1, "4714-12-31 11:51:30.123456+00 BC", "\"-4713-12-31T11:51:30.123456Z\"",
			false },
		{ TIMESTAMPTZ, -1, "0001-06-01 00:00:00+00 BC", "\"0000-06-01T00:00:00.000000Z\"", false },
		{ TIMESTAMPTZ, -1, "infinity", "\"infinity\"", false },
		{ TIMESTAMPTZ, -1, "-infinity", "\"-infinity\"", false },
		{ TIMESTAMPTZ, -1, "2016-11-04 11:51:30", NULL, 0 },
		{ TIMETZ, -1, "11:51:30.123789+00", "\"11:51:30.123789Z\"", false },
		{ TIMETZ, -1, "13:51:30.123789+02", "\"11:51:30.123789Z\"", true },
		{ TIMETZ, -1, "01:00:00+02", "\"23:00:00Z\"", true },
		{ TIMETZ, -1, "11:51:30.5+00", "\"11:51:30.5Z\"", false },
		{ TIMETZ, -1, "24:00:00+00", "\"00:00:00Z\"", true }, { TIMETZ, -1, "11:51:30", NULL, 0 },
		{ INTERVAL, -1, "1 year 2 mons 3 days 04:05:06.78", "37091106780000", true },
		{ INTERVAL, -1, "-1 years -2 mons +3 days -04:05:06.78", "-36572706780000", true },
		{ INTERVAL, -1, "00:00:00", "0", true }, { INTERVAL, -1, "-00:00:00.000001", "-1", true },
		{ INTERVAL, -1, "2562047788:00:54.775807", "9223372036854775807", true },
		{ INTERVAL, -1, "178000000 years", "null", true }, { INTERVAL, -1, "infinity", "null", true },
		{ INTERVAL, -1, "", NULL, 0 }, { INTERVAL, -1, "P1Y", NULL, 0 },
		{ INTERVAL, -1, "1 year ", NULL, 0 }, { INTERVAL, -1, "1 fortnight", NULL, 0 });
}

static void strings(void **state)
{
	CHECK_COLUMNS({ TEXT, -1, "", "\"\"", false }, { VARCHAR, 14, "Anne", "\"Anne\"", false },
		{ BPCHAR, 9, "ab   ", "\"ab   \"", false },
		{ TEXT, -1, "say \"hi\" \\ to / all", "\"say \\\"hi\\\" \\\\ to / all\"", false },
		{ TEXT, -1, "a\tb\nc\rd\be\ff\x01g\x1fh\x7fi",
			"\"a\\tb\\nc\\rd\\be\\ff\\u0001g\\u001fh\x7fi\"", false },
		{ TEXT, -1, "seven b\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 and more",
			"\"seven b\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 and more\"", false },
		{ TEXT, -1, "\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF",
			"\"\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF\"", false },
		/* bare continuation, overlong, cut off, surrogate, beyond U+10FFFF */
		{ TEXT, -1, "\x80", NULL, 0 }, { TEXT, -1, "\xC0\xAF", NULL, 0 },
		{ TEXT, -1, "0123456\xC3", NULL, 0 }, { TEXT, -1, "01234567\xE2\x82", NULL, 0 },
		{ TEXT, -1, "\xE0\x80\xAF", NULL, 0 }, { TEXT, -1, "\xED\xA0\x80", NULL, 0 },
		{ TEXT, -1, "\xF0\x80\x80\xAF", NULL, 0 }, { TEXT, -1, "\xF4\x90\x80\x80", NULL, 0 },
		{ TEXT, -1, "\xF8\x88\x80\x80\x80", NULL, 0 },
		{ JSON, -1, "{\"a\": 1}", "\"{\\\"a\\\": 1}\"", false }, { JSONB, -1, "[]", "\"[]\"", false },
		{ XML, -1, "<a/>", "\"<a/>\"", false }, { INET, -1, "10.0.0.1/8", "\"10.0.0.1/8\"", false },
		{ UUID, -1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
			"\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"", false },
		{ INT4RANGE, -1, "[1000,6001)", "\"[1000,6001)\"", false },
		{ INT4MULTIRANGE, -1, "{[1,2),[5,9)}", "\"{[1,2),[5,9)}\"", false },
		{ TSVECTOR, -1, "'cat':1", "\"'cat':1\"", false },
		{ TSQUERY, -1, "'cat'", "\"'cat'\"", false },
		{ USER, -1, "(1,\"a b\")", "\"(1,\\\"a b\\\")\"", false },
		{ BYTEA, -1, "\\x", "\"\"", false }, { BYTEA, -1, "\\x0102ff", "\"AQL/\"", false },
		{ BYTEA, -1, "\\x00", "\"AA==\"", false },
		{ BYTEA, -1, "\\xdeadbeef", "\"3q2+7w==\"", false }, { BYTEA, -1, "\\xabcde", NULL, 0 },
		{ BYTEA, -1, "\\xABCD", NULL, 0 }, { BYTEA, -1, "\\x12345g", NULL, 0 },
		{ BYTEA, -1, "abc", NULL, 0 }, { BYTEA, -1, "", NULL, 0 });
}

static void shapes(void **state)
{
	CHECK_COLUMNS(
		{ POINT, -1, "(1,2)",
			"{\"x\":1,\"y\":2,\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAABA\",\"srid\":null}", false },
		{ POINT, -1, "(-1.5,1e+10)",
			"{\"x\":-1.5,\"y\":1e+10,\"wkb\":\"AQEAAAAAAAAAAAD4vwAAACBfoAJC\",\"srid\":null}",
			false },
		{ POINT, -1, "(1,2,3)", NULL, 0 }, { POINT, -1, "(1,x)", NULL, 0 },
		{ POINT, -1, "", NULL, 0 }, { LINE, -1, "{1,-1,0.5}", "{\"a\":1,\"b\":-1,\"c\":0.5}", false },
		{ LINE, -1, "{1,-1}", NULL, 0 },
		{ CIRCLE, -1, "<(1,2),3>",
			"{\"center\":{\"x\":1,\"y\":2,\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAABA\",\"srid\":null},"
			"\"radius\":3}",
			false },
		{ LSEG, -1, "[(1,2),(3,4)]",
			"{\"wkb\":\"AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAAEEA=\",\"srid\":null,"
			"\"extensions\":{\"type\":\"lseg\"}}",
			true },
		{ PATH, -1, "((0,0),(1,1))",
			"{\"wkb\":\"AQIAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPA/AAAAAAAA8D8=\",\"srid\":null,"
			"\"extensions\":{\"type\":\"path\",\"closed\":\"true\"}}",
			true },
		{ BOX, -1, "(3,4),(1,2)",
			"{\"wkb\":\"AQMAAAABAAAABQAAAAAAAAAAAPA/AAAAAAAAAEAAAAAAAADwPwAAAAAAABBAAAAAAAAACEAAAAAAAAAQ"
			"QAAAAAAAAAhAAAAAAAAAAEAAAAAAAADwPwAAAAAAAABA\",\"srid\":null,\"extensions\":{\"type\":\"box\"}}",
			true },
		{ POLYGON, -1, "((0,0),(1,0),(1,1))",
			"{\"wkb\":\"AQMAAAABAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADwPwAAAAAAAAAAAAAAAAAA8D8AAAAAAADwPwAA"
			"AAAAAAAAAAAAAAAAAAA=\",\"srid\":null,\"extensions\":{\"type\":\"polygon\"}}",
			true },
		{ LSEG, -1, "[(1,2)]", NULL, 0 }, { POLYGON, -1, "[(1,2)]", NULL, 0 },
		{ BOX, -1, "(1,2)", NULL, 0 });
}

static void arrays(void **state)
{
	CHECK_COLUMNS({ INT4S, -1, "{}", "[]", false }, { INT4S, -1, "{1,NULL,-3}", "[1,null,-3]", false },
		{ BOOLS, -1, "{t,f}", "[true,false]", false },
		{ INT8S, -1, "{9223372036854775807}", "[9223372036854775807]", false },
		{ TEXTS, -1, "{a,\"b c\",\"\",\"NULL\",\"q\\\"\\\\\",\"{,}\"}",
			"[\"a\",\"b c\",\"\",\"NULL\",\"q\\\"\\\\\",\"{,}\"]", false },
		{ TEXTS, -1, "{\"a\"}", "[\"a\"]", true }, { TEXTS, -1, "{null}", "[null]", true },
		{ BYTEAS, -1, "{\"\\\\x0102ff\"}", "[\"AQL/\"]", false },
		{ DECIMALS, NUMERIC(10, 2), "{12.34,NULL}", "[\"BNI=\",null]", false },
		{ DECIMALS, -1, "{1.50}", "[{\"scale\":2,\"value\":\"AJY=\"}]", false },
		{ DECIMALS, -1, "{1.50,NaN}", "[{\"scale\":2,\"value\":\"AJY=\"},null]", true },
		{ DATES, -1, "{2016-11-04}", "[17109]", false },
		{ TIMESTAMPS, 3, "{\"2016-11-04 13:51:30.123\"}", "[1478267490123]", false },
		{ FLOAT8S, -1, "{0.5,NaN,Infinity}", "[0.5,\"NaN\",\"Infinity\"]", false },
		{ INT4S, -1, "{{1,2},{3,4}}", "null", true }, { INT4S, -1, "[0:1]={1,2}", "null", true },
		{ INT4S, -1, "{1,x}", NULL, 0 }, { INT4S, -1, "{1", NULL, 0 }, { INT4S, -1, "{1}}", NULL, 0 },
		{ INT4S, -1, "{1,}", NULL, 0 }, { INT4S, -1, "{1},{2}", NULL, 0 }, { INT4S, -1, "", NULL, 0 },
		{ TEXTS, -1, "{\"a", NULL, 0 }, { TEXTS, -1, "{\"a}", NULL, 0 },
		{ TEXTS, -1, "{\"a\\}", NULL, 0 }, { TEXTS, -1, "{\"a\"b}", NULL, 0 },
		{ TEXTS, -1, "{a\\b}", NULL, 0 },
		/* what Debezium leaves out */
		{ NAMES, -1, "{a,b}", "\"{a,b}\"", false },
		{ POINTS, -1, "{\"(1,2)\"}", "\"{\\\"(1,2)\\\"}\"", false },
		{ INTERVALS, -1, "{01:00:00}", "\"{01:00:00}\"", false });
}

#define NUMBERS                                                                                              \
	"[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,"    \
	"117,101]"

static void unavailable_values(void **state)
{
	CHECK_COLUMNS({ TEXT, -1, NULL, "\"" P "\"", false }, { JSONB, -1, NULL, "\"" P "\"", false },
		{ BYTEA, -1, NULL, "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"", false },
		{ TEXTS, -1, NULL, "[\"" P "\"]", false }, { JSONBS, -1, NULL, "[\"" P "\"]", false },
		{ BYTEAS, -1, NULL, "[\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"]", false },
		{ INT4S, -1, NULL, NUMBERS, false }, { DATES, -1, NULL, NUMBERS, false },
		{ INT8S, -1, NULL, NUMBERS, false },
		{ UUIDS, -1, NULL, "[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]", false },
		{ DECIMAL, NUMERIC(10, 2), NULL, "null", false }, { DECIMAL, -1, NULL, "null", false },
		{ INT2S, -1, NULL, "null", false }, { FLOAT8S, -1, NULL, "null", false },
		{ INT4, -1, NULL, "null", false }, { USER, -1, NULL, "\"" P "\"", false });
}

static void schemas_of_types(void **state)
{
	static const struct {
		uint32_t type_oid;
		int32_t modifier;
		const char *expected;
	} all[] = {
		{ BIT, 1, "\"boolean\",\"optional\":true" },
		{ BIT, 7,
			"\"bytes\",\"optional\":true,\"name\":\"io.debezium.data.Bits\",\"version\":1,\"parameters\":{\"length\":\"7\"}" },
		{ VARBIT, -1,
			"\"bytes\",\"optional\":true,\"name\":\"io.debezium.data.Bits\",\"version\":1,"
			"\"parameters\":{\"length\":\"2147483647\"}" },
		{ INT2, -1, "\"int16\",\"optional\":true" },
		{ OID, -1, "\"int64\",\"optional\":true" },
		{ FLOAT4, -1, "\"float\",\"optional\":true" },
		{ FLOAT8, -1, "\"double\",\"optional\":true" },
		{ DECIMAL, -1,
			"\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":\"scale\"},"
			"{\"type\":\"bytes\",\"optional\":false,\"field\":\"value\"}],\"optional\":true,"
			"\"name\":\"io.debezium.data.VariableScaleDecimal\",\"version\":1" },
		{ MONEY, -1,
			"\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1,"
			"\"parameters\":{\"scale\":\"2\"}" },
		{ DATE, -1, "\"int32\",\"optional\":true,\"name\":\"io.debezium.time.Date\",\"version\":1" },
		{ TIME, 3, "\"int32\",\"optional\":true,\"name\":\"io.debezium.time.Time\",\"version\":1" },
		{ TIME, 4,
			"\"int64\",\"optional\":true,\"name\":\"io.debezium.time.MicroTime\",\"version\":1" },
		{ TIMESTAMP, 0,
			"\"int64\",\"optional\":true,\"name\":\"io.debezium.time.Timestamp\",\"version\":1" },
		{ TIMESTAMP, -1,
			"\"int64\",\"optional\":true,\"name\":\"io.debezium.time.MicroTimestamp\",\"version\":1" },
		{ TIMESTAMPTZ, -1,
			"\"string\",\"optional\":true,\"name\":\"io.debezium.time.ZonedTimestamp\",\"version\":1" },
		{ TIMETZ, -1,
			"\"string\",\"optional\":true,\"name\":\"io.debezium.time.ZonedTime\",\"version\":1" },
		{ INTERVAL, -1,
			"\"int64\",\"optional\":true,\"name\":\"io.debezium.time.MicroDuration\",\"version\":1" },
		{ JSONB, -1,
			"\"string\",\"optional\":true,\"name\":\"io.debezium.data.Json\",\"version\":1" },
		{ UUID, -1, "\"string\",\"optional\":true,\"name\":\"io.debezium.data.Uuid\",\"version\":1" },
		{ TSVECTOR, -1,
			"\"string\",\"optional\":true,\"name\":\"io.debezium.data.Tsvector\",\"version\":1" },
		{ USER, -1, "\"string\",\"optional\":true" },
		{ TEXTS, -1,
			"\"array\",\"items\":{\"type\":\"string\",\"optional\":true},\"optional\":true" },
		{ UUIDS, -1,
			"\"array\",\"items\":{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Uuid\","
			"\"version\":1},\"optional\":true" },
		{ POINT, -1,
			"\"struct\",\"fields\":[{\"type\":\"double\",\"optional\":false,\"field\":\"x\"},"
			"{\"type\":\"double\",\"optional\":false,\"field\":\"y\"},{\"type\":\"bytes\",\"optional\":true,"
			"\"field\":\"wkb\"},{\"type\":\"int32\",\"optional\":true,\"field\":\"srid\"}],\"optional\":true,"
			"\"name\":\"io.debezium.data.geometry.Point\",\"version\":1" },
		{ BOX, -1,
			"\"struct\",\"fields\":[{\"type\":\"bytes\",\"optional\":false,\"field\":\"wkb\"},"
			"{\"type\":\"int32\",\"optional\":true,\"field\":\"srid\"},{\"type\":\"map\",\"keys\":{\"type\":\"string\","
			"\"optional\":false},\"values\":{\"type\":\"string\",\"optional\":true},\"optional\":true,"
			"\"field\":\"extensions\"}],\"optional\":true,\"name\":\"io.debezium.data.geometry.Geometry\",\"version\":2" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct fixture f;
		_cleanup_(buf_freep) struct buf expected = BUF_INIT;

		start_column(&f, all[i].type_oid, all[i].modifier);
		buf_printf(&expected,
			"{\"type\":\"struct\",\"fields\":[{\"type\":%s,\"field\":\"c\"}],\"optional\":true,",
			all[i].expected);
		relation_write_connect(f.rel, "p", &f.out);
		if (!strstr(buf_str(&f.out), buf_str(&expected)))
			fail_msg("%u: expected %s, is %s", all[i].type_oid, buf_str(&expected),
				buf_str(&f.out));
		stop(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(booleans_and_bits),
		cmocka_unit_test(integers),
		cmocka_unit_test(floats),
		cmocka_unit_test(decimals),
		cmocka_unit_test(dates_and_times),
		cmocka_unit_test(zoned_times),
		cmocka_unit_test(strings),
		cmocka_unit_test(shapes),
		cmocka_unit_test(arrays),
		cmocka_unit_test(unavailable_values),
		cmocka_unit_test(schemas_of_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
