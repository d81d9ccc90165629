/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "source/postgres/postgres.h"

/* the texts are those of PostgreSQL 14 to 18 */
static void ends_of_the_stream_have_causes(void **state)
{
	static const struct {
		const char *sqlstate, *text;
		enum stream_cause cause;
	} cases[] = {
		{ "55000", "can no longer get changes from replication slot \"s\"", STREAM_SLOT_LOST },
		{ "55000", "cannot read from logical replication slot \"s\"", STREAM_SLOT_LOST },
		{ "55000", "can no longer access replication slot \"s\"", STREAM_SLOT_LOST },
		{ "58P01", "requested WAL segment 000000010000000000000001 has already been removed",
			STREAM_SLOT_LOST },
		{ "42704", "replication slot \"s\" does not exist", STREAM_SLOT_MISSING },
		{ "42704", "publication \"p\" does not exist", STREAM_PUBLICATION },
		{ "55006", "replication slot \"s\" is active for PID 42", STREAM_SLOT_BUSY },
		{ "55006", "Replikations-Slot \u00bbs\u00ab ist aktiv f\u00fcr PID 42", STREAM_SLOT_BUSY },
		{ "XX000", "invalid memory alloc request size 1174405123", STREAM_ROW_SIZE },
		{ "54000", "out of memory", STREAM_ROW_SIZE },
		/* another language: the server is asked */
		{ "55000", "kann nicht mehr aus dem Replikations-Slot lesen", STREAM_ASK },
		{ "42704", "Publikation \u00bbp\u00ab existiert nicht", STREAM_ASK },
		{ "57P01", "terminating connection due to administrator command", STREAM_OTHER },
		{ "XX000", "could not open relation with OID 1", STREAM_OTHER },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(stream_cause(cases[i].sqlstate, cases[i].text), cases[i].cause);
}

static void history_files_tell_where_a_timeline_was_left(void **state)
{
	static const char history[] = "# a comment\n"
				      "1\t0/5000140\tno recovery target specified\n"
				      "\n"
				      "2\t1/A0000028\tbefore 2026-01-01 00:00:00+00\n";
	uint64_t lsn = 0;

	assert_true(timeline_left(history, 1, &lsn));
	assert_int_equal(lsn, 0x5000140);
	assert_true(timeline_left(history, 2, &lsn));
	assert_int_equal(lsn, UINT64_C(0x1A0000028));
	assert_false(timeline_left(history, 3, &lsn));
	assert_false(timeline_left("", 1, &lsn));
	assert_false(timeline_left("1\tnonsense\n", 1, &lsn));
}

static void a_publication_lists_only_tables_whose_changes_can_be_published(void **state)
{
	struct source_table items[] = {
		{ .schema = (char[]){ "public" }, .name = (char[]){ "a\"b" }, .identity = true },
		{ .schema = (char[]){ "public" }, .name = (char[]){ "log" }, .identity = false },
		{ .schema = (char[]){ "public" },
			.name = (char[]){ "parts" },
			.identity = true,
			.partition_root = true },
	};
	const struct source_tables tables = { items, 3 };
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	publication_sql(&sql, "pub", &tables, true);
	assert_string_equal(buf_str(&sql),
		"CREATE PUBLICATION \"pub\" FOR TABLE ONLY \"public\".\"a\"\"b\", \"public\".\"parts\" "
		"WITH (publish_via_partition_root = true);");
	buf_clear(&sql);
	publication_sql(&sql, "pub_insert", &tables, false);
	assert_string_equal(buf_str(&sql),
		"CREATE PUBLICATION \"pub_insert\" FOR TABLE ONLY \"public\".\"log\" "
		"WITH (publish_via_partition_root = true, publish = 'insert');");
	buf_clear(&sql);
	publication_sql(&sql, "none", &(const struct source_tables){ items, 0 }, true);
	assert_string_equal(
		buf_str(&sql), "CREATE PUBLICATION \"none\" WITH (publish_via_partition_root = true);");
}

static void tables_are_found_by_their_bytes(void **state)
{
	struct source_table items[] = {
		{ .schema = (char[]){ "A" }, .name = (char[]){ "z" } },
		{ .schema = (char[]){ "a" }, .name = (char[]){ "Z" } },
		{ .schema = (char[]){ "a" }, .name = (char[]){ "z" } },
		{ .schema = (char[]){ "\u00e4" }, .name = (char[]){ "a" } },
	};
	const struct source_tables tables = { items, 4 };

	for (uint32_t i = 0; i < tables.n; i++)
		assert_ptr_equal(tables_find(&tables, items[i].schema, items[i].name), &items[i]);
	assert_null(tables_find(&tables, "a", "y"));
	assert_null(tables_find(&tables, "b", "z"));
	assert_null(tables_find(&(const struct source_tables){ NULL, 0 }, "a", "z"));
}

/* whatever the publication's name, the second one is another */
static void the_second_publication_has_a_name_of_its_own(void **state)
{
	char name[64];

	publication_insert_name("sluice_shop", name, sizeof(name));
	assert_string_equal(name, "sluice_shop_insert");
	publication_insert_name(
		"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123", name, sizeof(name));
	assert_string_equal(name, "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffff_insert");
}

static void resume_points_are_eight_bytes(void **state)
{
	const uint8_t wire[8] = { 0, 0, 0, 0x16, 0xB3, 0x74, 0xD8, 0x48 };

	assert_int_equal(resume_lsn((struct resume){ wire, sizeof(wire) }), UINT64_C(0x16B374D848));
	assert_int_equal(resume_lsn((struct resume){ wire, 7 }), 0);
	assert_int_equal(resume_lsn((struct resume){ NULL, 0 }), 0);
}

/* whose end the server shows already; numbers of transactions begin anew after four billion */
static void a_snapshot_sees_what_has_ended(void **state)
{
	assert_true(snapshot_sees("10:10:", 9));
	assert_false(snapshot_sees("10:10:", 10));
	assert_false(snapshot_sees("10:10:", 12));
	for (uint32_t xid = 9; xid < 22; xid++)
		assert_int_equal(snapshot_sees("12:20:12,15,19", xid),
			xid < 20 && xid != 12 && xid != 15 && xid != 19);
	for (uint32_t xid = 0; xid < 8; xid++)
		assert_int_equal(snapshot_sees("4294967290:4294967300:4294967290,4294967297", xid),
			xid < 4 && xid != 1);
	assert_true(snapshot_sees("4294967290:4294967300:4294967290,4294967297", 4294967291));
	assert_false(snapshot_sees("4294967290:4294967300:4294967290,4294967297", 4294967290));
	assert_false(snapshot_sees("", 3));
	assert_false(snapshot_sees("10", 3));
	assert_false(snapshot_sees("10:20:12;13", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_of_the_stream_have_causes),
		cmocka_unit_test(history_files_tell_where_a_timeline_was_left),
		cmocka_unit_test(a_publication_lists_only_tables_whose_changes_can_be_published),
		cmocka_unit_test(tables_are_found_by_their_bytes),
		cmocka_unit_test(the_second_publication_has_a_name_of_its_own),
		cmocka_unit_test(resume_points_are_eight_bytes),
		cmocka_unit_test(a_snapshot_sees_what_has_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
