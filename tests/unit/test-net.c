/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "net_fixture.h"

static void insert(struct fixture *f, const char *after)
{
	put_row(f, RECORD_INSERT, f->rels[0], NULL, after);
}

static void update(struct fixture *f, const char *after)
{
	put_row(f, RECORD_UPDATE, f->rels[0], NULL, after);
}

static void delete (struct fixture *f, const char *before)
{
	put_row(f, RECORD_DELETE, f->rels[0], before, NULL);
}

/* "D1 U12nn I1---": what a table's rows are */
static const char *render(const struct net_table *table)
{
	static char out[1000];
	size_t len = 0;

	out[0] = '\0';
	for (int op = 0; op < NET_OPS; op++) {
		for (uint32_t i = 0; i < table->n_rows[op]; i++) {
			const struct net_row *row = &table->rows[op][i];

			out[len++] = "DUI"[op];
			for (uint32_t k = 0; op == NET_DELETE && k < table->rel->n_keys; k++)
				out[len++] = (char)row->key[k].data[0];
			for (int k = 0; op != NET_DELETE && k < COLUMNS; k++)
				out[len++] = row->row[k].state == VALUE_ABSENT ? '-'
					     : row->row[k].state == VALUE_NULL ? 'n'
									       : (char)row->row[k].data[0];
			out[len++] = ' ';
		}
	}
	if (len)
		out[len - 1] = '\0';
	return out;
}

static void assert_net(struct fixture *f, const char *want)
{
	struct net_at at = net_at_begin(&f->group);
	struct net_table *tables;

	assert_int_equal(net_build(f->net, &f->group, &at, &tables), 0);
	assert_null(net_at_record(&f->group, &at));
	assert_string_equal(tables ? render(tables) : "", want);
	new_group(f);
}

static void each_pair_of_events(void **state)
{
	struct fixture f = begin();

	insert(&f, "1abc");
	update(&f, "1xyz");
	assert_net(&f, "I1xyz");
	insert(&f, "1abc");
	delete (&f, "1---");
	assert_net(&f, "");
	update(&f, "1abc");
	update(&f, "1xyz");
	assert_net(&f, "U1xyz");
	update(&f, "1abc");
	delete (&f, "1---");
	assert_net(&f, "D1");
	delete (&f, "1---");
	insert(&f, "1abc");
	assert_net(&f, "D1 I1abc");
	delete (&f, "1---");
	insert(&f, "1abc");
	update(&f, "1xyz");
	assert_net(&f, "D1 I1xyz");
	delete (&f, "1---");
	insert(&f, "1abc");
	delete (&f, "1---");
	assert_net(&f, "D1");
	insert(&f, "1abc");
	delete (&f, "1---");
	insert(&f, "1xyz");
	assert_net(&f, "I1xyz");
	end(&f);
}

/* the trap of unchanged TOAST: what was not sent keeps the value known from before, and never becomes NULL */
static void unsent_columns_merge(void **state)
{
	struct fixture f = begin();

	insert(&f, "1abc");
	update(&f, "1-y-");
	update(&f, "1--n");
	assert_net(&f, "I1ayn");
	update(&f, "1-y-");
	update(&f, "1x--");
	assert_net(&f, "U1xy-");
	update(&f, "1abc");
	update(&f, "1-y-");
	assert_net(&f, "U1ayc");
	update(&f, "1--c");
	update(&f, "1xyz");
	update(&f, "1-n-");
	assert_net(&f, "U1xnz");
	delete (&f, "1---");
	insert(&f, "1abc");
	update(&f, "1z--");
	assert_net(&f, "D1 I1zbc");
	end(&f);
}

static void merging_leaves_the_records_as_they_are(void **state)
{
	struct fixture f = begin();
	struct net_table *tables;
	const struct record *recs;

	insert(&f, "1abc");
	update(&f, "1-y-");
	update(&f, "1x--");
	update(&f, "1rst");
	update(&f, "1-n-");
	for (int i = 0; i < 2; i++) {
		struct net_at at = net_at_begin(&f.group);

		assert_int_equal(net_build(f.net, &f.group, &at, &tables), 0);
		assert_string_equal(render(tables), "I1rnt");
	}
	recs = f.batches[0]->records + 1;
	assert_int_equal(recs[0].after[1].data[0], 'a');
	assert_int_equal(recs[1].after[1].state, VALUE_ABSENT);
	assert_int_equal(recs[2].after[2].state, VALUE_ABSENT);
	assert_int_equal(recs[3].after[2].data[0], 's');
	assert_ptr_equal(tables->rows[NET_INSERT][0].rec, &recs[4]);
	end(&f);
}

static void equal_column_sets_stand_together_in_first_come_order(void **state)
{
	struct fixture f = begin();
	struct net_at at = net_at_begin(&f.group);
	struct net_table *tables;
	const struct net_row *rows;

	update(&f, "1a--");
	update(&f, "2abc");
	update(&f, "3-b-");
	update(&f, "4a--");
	update(&f, "5abc");
	update(&f, "6n--"); /* null is present */
	update(&f, "3b--"); /* now another set */
	at = net_at_begin(&f.group);
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), 0);
	assert_string_equal(render(tables), "U1a-- U4a-- U6n-- U2abc U5abc U3bb-");
	rows = tables->rows[NET_UPDATE];
	assert_true(
		rows[0].present && rows[0].present == rows[1].present && rows[1].present == rows[2].present);
	assert_true(rows[3].present == 0 && rows[4].present == 0);
	assert_true(rows[5].present && rows[5].present != rows[0].present);
	end(&f);
}

/* records before the boundary, and where it is */
static void assert_boundary(struct fixture *f, const char *want, uint32_t record)
{
	struct net_at at = net_at_begin(&f->group);
	struct net_table *tables;

	assert_int_equal(net_build(f->net, &f->group, &at, &tables), NET_BOUNDARY);
	assert_int_equal(at.record, record);
	assert_string_equal(tables ? render(tables) : "", want);
	new_group(f);
}

static void what_cannot_be_reduced_ends_the_run(void **state)
{
	struct fixture f = begin();
	struct relation *again = make_relation("one", 1, IDENTITY_DEFAULT);

	insert(&f, "1abc");
	put_row(&f, RECORD_UPDATE, f.rels[0], "1---", "2abc"); /* a key change, though not marked */
	assert_boundary(&f, "I1abc", 2);
	insert(&f, "1abc");
	put_row(&f, RECORD_UPDATE, f.rels[0], NULL, "1xyz");
	f.batches[0]->records[2].flags |= RECORD_KEY_CHANGED;
	assert_boundary(&f, "I1abc", 2);
	insert(&f, "1abc");
	put(&f, RECORD_TRUNCATE, NULL);
	assert_boundary(&f, "I1abc", 2);
	insert(&f, "1abc");
	insert(&f, "1xyz");
	assert_boundary(&f, "I1abc", 2);
	update(&f, "1abc");
	insert(&f, "1xyz");
	assert_boundary(&f, "U1abc", 2);
	delete (&f, "1---");
	update(&f, "1xyz");
	assert_boundary(&f, "D1", 2);
	delete (&f, "1---");
	delete (&f, "1---");
	assert_boundary(&f, "D1", 2);
	insert(&f, "nabc"); /* a key that is null */
	assert_boundary(&f, "", 1);
	insert(&f, "1abc");
	put_row(&f, RECORD_DELETE, again, "1---", NULL);
	assert_boundary(&f, "I1abc", 2);
	relation_unref(again);
	end(&f);
}

static void whole_row_relations_take_inserts_only(void **state)
{
	struct fixture f = begin();

	put_row(&f, RECORD_INSERT, f.rels[2], NULL, "1abc");
	put_row(&f, RECORD_INSERT, f.rels[2], NULL, "1abc");
	put_row(&f, RECORD_DELETE, f.rels[2], "1abc", NULL);
	assert_boundary(&f, "I1abc I1abc", 3);
	put_row(&f, RECORD_UPDATE, f.rels[2], "1abc", "1abd");
	assert_boundary(&f, "", 1);
	end(&f);
}

/* the old key is sent with the row, for example when it is stored apart; and the new one is then not */
static void an_old_key_equal_to_the_new_is_no_change(void **state)
{
	struct fixture f = begin();

	insert(&f, "1abc");
	put_row(&f, RECORD_UPDATE, f.rels[0], "1---", "1xyz");
	put_row(&f, RECORD_UPDATE, f.rels[0], "1---", "---n");
	assert_net(&f, "I1xyn");
	end(&f);
}

static void all_that_is_no_row_is_passed_over(void **state)
{
	struct fixture f = begin();

	put(&f, RECORD_BEGIN, NULL);
	put_row(&f, RECORD_INSERT, f.rels[0], NULL, "1abc");
	put(&f, RECORD_MESSAGE, NULL);
	put(&f, RECORD_SCHEMA, f.rels[0]);
	next_batch(&f);
	next_batch(&f);
	put(&f, RECORD_END, NULL);
	put(&f, RECORD_HEARTBEAT, NULL);
	put(&f, RECORD_ABORT, NULL);
	put(&f, RECORD_FENCE, NULL);
	update(&f, "1x--");
	assert_net(&f, "I1xbc");
	assert_net(&f, "");
	f.group.n_spans = 0;
	assert_int_equal(net_at_begin(&f.group).record, 0);
	f.group.n_spans = 1;
	end(&f);
}

/* a copy's rows need no look-up, so what changes them afterwards stands in a run of its own */
static void rows_of_a_copy_are_inserts_of_a_run_without_changes(void **state)
{
	struct fixture f = begin();
	struct net_at at;
	struct net_table *tables;

	put(&f, RECORD_CHUNK, f.rels[0]);
	put_row(&f, RECORD_READ, f.rels[0], NULL, "1abc");
	put_row(&f, RECORD_READ, f.rels[0], NULL, "2abc");
	put_row(&f, RECORD_INSERT, f.rels[1], NULL, "1x2y");
	put(&f, RECORD_CHUNK, f.rels[0]);
	update(&f, "1xyz");
	update(&f, "2xyz");
	at = net_at_begin(&f.group);
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), NET_BOUNDARY);
	assert_string_equal(render(tables), "I1abc I2abc");
	assert_int_equal(tables->rows[NET_INSERT][1].key[0].data[0], '2');
	assert_string_equal(render(tables->next), "I1x2y");
	assert_int_equal(net_at_record(&f.group, &at)->op, RECORD_UPDATE);
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), 0);
	assert_string_equal(render(tables), "U1xyz U2xyz");
	new_group(&f);
	delete (&f, "1---");
	put_row(&f, RECORD_READ, f.rels[0], NULL, "1abc");
	at = net_at_begin(&f.group);
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), NET_BOUNDARY);
	assert_string_equal(render(tables), "D1");
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), 0);
	assert_string_equal(render(tables), "I1abc");
	new_group(&f);
	/* key columns apart */
	put_row(&f, RECORD_READ, f.rels[1], NULL, "1x2y");
	at = net_at_begin(&f.group);
	assert_int_equal(net_build(f.net, &f.group, &at, &tables), 0);
	assert_int_equal(tables->rows[NET_INSERT][0].key[1].data[0], '2');
	end(&f);
}

/* the index grows by other tables' keys, and has none of the copy's */
static void a_copy_beside_many_keys_is_quick(void **state)
{
	struct fixture f = begin();
	struct net_at at;
	struct net_table *tables;

	for (int i = 0; i < 3000; i++) {
		char row[] = { (char)(0x80 + i % 100), 'x', (char)(0x80 + i / 100), 'y', '\0' };

		put_row(&f, RECORD_READ, f.rels[0], NULL, "1abc");
		put_row(&f, RECORD_INSERT, f.rels[1], NULL, row);
	}
	at = net_at_begin(&f.group);
	net_build(f.net, &f.group, &at, &tables);
	assert_int_equal(tables->n_rows[NET_INSERT], 3000);
	assert_int_equal(tables->next->n_rows[NET_INSERT], 3000);
	end(&f);
}

static void tables_come_in_the_order_of_first_appearance(void **state)
{
	struct relation *rels[700];
	struct fixture f = begin();
	struct net_at at;
	struct net_table *table;
	char name[20];

	for (unsigned i = 0; i < 700; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		rels[i] = make_relation(name, 1, IDENTITY_DEFAULT);
	}
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 700; i++)
			put_row(&f, RECORD_UPDATE, rels[i], NULL, round ? "1-yz" : "1xy-");
	}
	at = net_at_begin(&f.group);
	assert_int_equal(net_build(f.net, &f.group, &at, &table), 0);
	for (unsigned i = 0; i < 700; i++, table = table->next) {
		assert_ptr_equal(table->rel, rels[i]);
		assert_string_equal(render(table), "U1xyz");
		relation_unref(rels[i]);
	}
	assert_null(table);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_pair_of_events),
		cmocka_unit_test(unsent_columns_merge),
		cmocka_unit_test(merging_leaves_the_records_as_they_are),
		cmocka_unit_test(equal_column_sets_stand_together_in_first_come_order),
		cmocka_unit_test(what_cannot_be_reduced_ends_the_run),
		cmocka_unit_test(whole_row_relations_take_inserts_only),
		cmocka_unit_test(an_old_key_equal_to_the_new_is_no_change),
		cmocka_unit_test(all_that_is_no_row_is_passed_over),
		cmocka_unit_test(rows_of_a_copy_are_inserts_of_a_run_without_changes),
		cmocka_unit_test(a_copy_beside_many_keys_is_quick),
		cmocka_unit_test(tables_come_in_the_order_of_first_appearance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
