/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/batch.h>

static void positions_sort_as_bytes(void **state)
{
	static const struct position all[] = { { 0, 0 }, { 0, 1 }, { 0, 256 }, { 1, 0 },
		{ 255, POSITION_END }, { 256, 0 }, { 0x1122334455667788, 9 },
		{ 0x1122334455667788, POSITION_END }, { UINT64_MAX, 0 }, { UINT64_MAX, UINT64_MAX } };
	const size_t n = sizeof(all) / sizeof(*all);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			uint8_t a[POSITION_BYTES], b[POSITION_BYTES];
			int bytes, compared = position_compare(all[i], all[k]);

			position_encode(all[i], a);
			position_encode(all[k], b);
			bytes = memcmp(a, b, POSITION_BYTES);
			assert_int_equal((bytes > 0) - (bytes < 0), compared);
			assert_int_equal(compared, (i > k) - (i < k));
		}
	}
}

static void a_position_comes_back_whole_or_not_at_all(void **state)
{
	struct position pos = { 0x0102030405060708, 42 }, back = { 7, 7 };
	uint8_t bytes[POSITION_BYTES];

	position_encode(pos, bytes);
	assert_int_equal(bytes[0], 1);
	assert_false(position_decode(&back, bytes, POSITION_BYTES - 1));
	assert_int_equal(back.major, 7);
	assert_true(position_decode(&back, bytes, POSITION_BYTES));
	assert_int_equal(position_compare(pos, back), 0);
}

/* the byte at `at`, -1 = there is none */
static int byte_of(const struct resume_box *box, uint32_t at)
{
	struct resume resume = resume_box_get(box);

	return resume.data && at < resume.len ? resume.data[at] : -1;
}

static void a_box_keeps_its_own_copy(void **state)
{
	struct resume_box box = { 0 };
	uint8_t bytes[100];

	assert_null(resume_box_get(&box).data);
	memset(bytes, 5, sizeof(bytes));
	resume_box_set(&box, (struct resume){ bytes, 8 });
	bytes[0] = 6;
	assert_int_equal(byte_of(&box, 0), 5);
	resume_box_set(&box, (struct resume){ bytes, 100 });
	resume_box_set(&box, resume_box_get(&box));
	assert_int_equal(resume_box_get(&box).len, 100);
	assert_int_equal(byte_of(&box, 99), 5);
	resume_box_set(&box, (struct resume){ 0 });
	assert_null(resume_box_get(&box).data);
	resume_box_fini(&box);
}

static struct relation_spec spec(struct column *columns, uint32_t n)
{
	return (struct relation_spec){ .id = 16384,
		.schema = "public",
		.name = "orders",
		.identity = IDENTITY_DEFAULT,
		.n_columns = n,
		.columns = columns };
}

static uint64_t fingerprint(const struct relation_spec *s)
{
	struct relation *rel = relation_new(s);
	uint64_t fp = rel->fingerprint;

	relation_unref(rel);
	return fp;
}

static void a_relation_copies_what_describes_it(void **state)
{
	char name[] = "id";
	struct column columns[] = { { .name = name, .type_oid = 20, .type_modifier = -1, .key = true },
		{ .name = "note", .type_oid = 25, .type_modifier = -1 },
		{ .name = "region", .type_oid = 25, .type_modifier = -1, .key = true } };
	struct relation_spec s = spec(columns, 3);
	struct relation *rel = relation_new(&s), *second = relation_ref(rel);

	name[0] = 'x';
	assert_string_equal(rel->schema, "public");
	assert_string_equal(rel->name, "orders");
	assert_int_equal(rel->n_keys, 2);
	assert_int_equal(relation_column(rel, "id"), 0);
	assert_int_equal(relation_column(rel, "region"), 2);
	assert_int_equal(relation_column(rel, "xd"), -1);
	assert_null(relation_unref(rel));
	assert_string_equal(second->columns[1].name, "note");
	relation_unref(second);
	assert_null(relation_unref(NULL));
}

static void the_fingerprint_says_whether_two_descriptions_are_equal(void **state)
{
	struct column columns[] = { { .name = "a", .type_oid = 20, .type_modifier = -1, .key = true },
		{ .name = "bc", .type_oid = 25, .type_modifier = -1 } };
	struct relation_spec s = spec(columns, 2), other;
	uint64_t fp = fingerprint(&s);

	other = s;
	other.id = 99; /* not part of the description */
	assert_true(fingerprint(&other) == fp);
	other = s;
	other.name = "order";
	assert_true(fingerprint(&other) != fp);
	other = s;
	other.identity = IDENTITY_FULL;
	assert_true(fingerprint(&other) != fp);
	other = s;
	other.n_columns = 1;
	assert_true(fingerprint(&other) != fp);
	columns[0].name = "ab";
	columns[1].name = "c";
	assert_true(fingerprint(&s) != fp);
	columns[0].name = "a";
	columns[1].name = "bc";
	columns[1].type_modifier = 24;
	assert_true(fingerprint(&s) != fp);
	columns[1].type_modifier = -1;
	columns[1].key = true;
	assert_true(fingerprint(&s) != fp);
	columns[1].key = false;
	columns[1].type_oid = 1043;
	assert_true(fingerprint(&s) != fp);
}

static void a_batch_keeps_records_in_order_while_it_grows(void **state)
{
	struct block_pool *pool = block_pool_new((size_t)64 << 20, -1);
	struct batch *batch = batch_new(pool);
	uint32_t n = 0;

	while (!batch_is_full(batch)) {
		struct record *rec = batch_add(batch);

		assert_int_equal(rec->op, 0);
		assert_null(rec->after);
		rec->pos.minor = n++;
		rec->after = arena_alloc(&batch->arena, sizeof(struct value));
	}
	assert_int_equal(n, BATCH_MAX_RECORDS);
	assert_true(batch->filled.us > 0);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(batch->records[i].pos.minor, i);
	/* the vector counts against the budget, and nothing else is held */
	assert_true(block_pool_used(pool) >= n * (sizeof(struct record) + sizeof(struct value)));
	assert_true(block_pool_used(pool) <= BATCH_MAX_BYTES);
	assert_null(batch_free(batch));
	assert_int_equal(block_pool_used(pool), 0);
	block_pool_free(pool);
}

static void a_batch_is_full_by_bytes_too(void **state)
{
	struct batch *batch = batch_new(NULL);

	batch_add(batch);
	assert_false(batch_is_full(batch));
	arena_alloc(&batch->arena, BATCH_MAX_BYTES);
	assert_true(batch_is_full(batch));
	batch_free(batch);
	assert_null(batch_free(NULL));
}

static void a_batch_references_each_relation_once(void **state)
{
	struct column column = { .name = "a", .key = true };
	struct relation_spec s = spec(&column, 1);
	struct relation *rels[300];
	struct batch *batch = batch_new(NULL);

	for (int i = 0; i < 300; i++)
		rels[i] = relation_new(&s);
	for (int i = 0; i < 1000; i++)
		assert_ptr_equal(batch_hold(batch, rels[i % 300]), rels[i % 300]);
	assert_int_equal(batch->n_relations, 300);
	for (int i = 0; i < 300; i++)
		assert_int_equal(atomic_load(&rels[i]->refs), 2);
	batch_free(batch);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(atomic_load(&rels[i]->refs), 1);
		relation_unref(rels[i]);
	}
}

static void every_operation_has_a_name(void **state)
{
	const char *ops = "BIUDTRSMCAKF";

	for (const char *p = ops; *p; p++) {
		const char *name = record_op_to_string((enum record_op) * p);

		assert_string_not_equal(name, "unknown");
		for (const char *q = ops; q < p; q++)
			assert_string_not_equal(name, record_op_to_string((enum record_op) * q));
	}
	assert_string_equal(value_state_to_string(VALUE_ABSENT), "absent");
	assert_string_equal(value_state_to_string(VALUE_NULL), "null");
	assert_string_equal(value_state_to_string(VALUE_PRESENT), "present");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(positions_sort_as_bytes),
		cmocka_unit_test(a_position_comes_back_whole_or_not_at_all),
		cmocka_unit_test(a_box_keeps_its_own_copy),
		cmocka_unit_test(a_relation_copies_what_describes_it),
		cmocka_unit_test(the_fingerprint_says_whether_two_descriptions_are_equal),
		cmocka_unit_test(a_batch_keeps_records_in_order_while_it_grows),
		cmocka_unit_test(a_batch_is_full_by_bytes_too),
		cmocka_unit_test(a_batch_references_each_relation_once),
		cmocka_unit_test(every_operation_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
