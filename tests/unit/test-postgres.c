/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sluice/postgres.h>

static void lsns_are_read_and_written(void **state)
{
	char text[20];
	uint64_t lsn = 1;

	assert_true(pg_lsn_parse("0/0", &lsn));
	assert_int_equal(lsn, 0);
	assert_true(pg_lsn_parse("16/B374D848", &lsn));
	assert_int_equal(lsn, UINT64_C(0x16B374D848));
	assert_string_equal(pg_lsn_format(lsn, text, sizeof(text)), "16/B374D848");
	assert_true(pg_lsn_parse("ffffffff/ffffffff", &lsn));
	assert_int_equal(lsn, UINT64_MAX);
	assert_string_equal(pg_lsn_format(lsn, text, sizeof(text)), "FFFFFFFF/FFFFFFFF");
	/* the low half is not padded */
	assert_string_equal(pg_lsn_format(UINT64_C(0x100000001), text, sizeof(text)), "1/1");
}

static void what_is_no_lsn_is_refused(void **state)
{
	static const char *const texts[] = { "", "/", "1", "1/", "/1", "1/2/3", "1/2 ", " 1/2", "1/g",
		"123456789/0", "0/123456789", "0x1/2", "-1/2" };
	uint64_t lsn = 7;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(pg_lsn_parse(texts[i], &lsn));
	assert_int_equal(lsn, 7);
}

static void sqlstates_have_classes(void **state)
{
	static const struct {
		const char *sqlstate;
		enum error_class class;
	} cases[] = {
		{ "08006", ERROR_TRANSIENT },
		{ "57P01", ERROR_TRANSIENT },
		{ "57P03", ERROR_TRANSIENT },
		{ "53300", ERROR_TRANSIENT },
		{ "53100", ERROR_TRANSIENT },
		{ "40001", ERROR_TRANSIENT },
		{ "40P01", ERROR_TRANSIENT },
		{ "55P03", ERROR_TRANSIENT },
		{ "55006", ERROR_TRANSIENT },
		{ "25006", ERROR_TRANSIENT },
		{ "22P02", ERROR_DATA },
		{ "23505", ERROR_DATA },
		{ "42P01", ERROR_SCHEMA },
		{ "42703", ERROR_SCHEMA },
		{ "42804", ERROR_SCHEMA },
		{ "28P01", ERROR_CONFIG },
		{ "28000", ERROR_CONFIG },
		{ "42501", ERROR_CONFIG },
		{ "42601", ERROR_FATAL },
		{ "25001", ERROR_FATAL },
		{ "0A000", ERROR_FATAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(pg_sqlstate_class(cases[i].sqlstate), cases[i].class);
}

static void names_and_literals_cannot_break_out(void **state)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	pg_put_name(&sql, "public", "x\"; DROP TABLE y;--");
	assert_string_equal(buf_str(&sql), "\"public\".\"x\"\"; DROP TABLE y;--\"");
	buf_clear(&sql);
	pg_put_literal(&sql, "it's");
	assert_string_equal(buf_str(&sql), "'it''s'");
	buf_clear(&sql);
	pg_put_literal(&sql, "a\\'b");
	assert_string_equal(buf_str(&sql), " E'a\\\\''b'");
	buf_clear(&sql);
	pg_put_literal(&sql, "");
	assert_string_equal(buf_str(&sql), "''");
}

static void times_move_between_the_epochs(void **state)
{
	assert_int_equal(pg_time_to_wall(0).us, INT64_C(946684800000000));
	assert_int_equal(pg_time_from_wall((struct wall){ 0 }), INT64_C(-946684800000000));
	assert_int_equal(pg_time_from_wall(pg_time_to_wall(123456789)), 123456789);
}

static void descriptions_hold_no_secret(void **state)
{
	static const struct {
		const char *uri, *text;
	} cases[] = {
		{ "postgresql://u:s3cret@db.example:5433/shop?sslmode=disable", "db.example:5433/shop" },
		{ "host=db password=s3cret dbname=shop", "db:5432/shop" },
		{ "postgresql://u:s3cret@/shop", "local:5432/shop" },
		{ "this is no s3cret uri", "local:5432/" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[128];

		pg_describe_uri(cases[i].uri, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

static void a_bad_uri_is_a_config_error_without_its_text(void **state)
{
	const struct pg_peer peer = { .uri = "host=x s3cret", .user = "", .password = "" };
	struct error err = ERROR_INIT;
	PGconn *conn = NULL;

	assert_true(pg_connect(&peer, PG_SOURCE, "test", &conn, &err) < 0);
	assert_null(conn);
	assert_int_equal(err.class, ERROR_CONFIG);
	assert_string_equal(err.code, "PG-URI");
	assert_null(strstr(err.message, "s3cret"));
}

/* a socket directory that does not exist: nothing is sent anywhere */
static void a_server_that_is_not_there_is_transient(void **state)
{
	const struct pg_peer peer = {
		.uri = "host=/nonexistent dbname=shop", .user = "u", .password = "s3cret"
	};
	struct error err = ERROR_INIT;
	PGconn *conn = NULL;

	assert_true(pg_connect(&peer, PG_TARGET, "test", &conn, &err) < 0);
	assert_int_equal(err.class, ERROR_TRANSIENT);
	assert_int_equal(error_exit_code(&err), EXIT_UNAVAILABLE);
	assert_null(strstr(err.message, "s3cret"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lsns_are_read_and_written),
		cmocka_unit_test(what_is_no_lsn_is_refused),
		cmocka_unit_test(sqlstates_have_classes),
		cmocka_unit_test(names_and_literals_cannot_break_out),
		cmocka_unit_test(times_move_between_the_epochs),
		cmocka_unit_test(descriptions_hold_no_secret),
		cmocka_unit_test(a_bad_uri_is_a_config_error_without_its_text),
		cmocka_unit_test(a_server_that_is_not_there_is_transient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
