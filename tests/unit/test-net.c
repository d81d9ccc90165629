/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reduction against its definition: whatever records come, writing what net_build() hands out gives the
 * state that replaying the records gives. The model is a small database of three tables.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <sluice/net.h>

#define COLUMNS 4
#define ROWS	16

static const struct value absent = { .state = VALUE_ABSENT };

/* group under construction */
struct fixture {
	struct relation *rels[3]; /* one key column first; two key columns apart; found by the whole row */
	struct batch *batches[8];
	struct span spans[8];
	struct apply_group group;
	struct net *net;
};

static struct relation *make_relation(const char *name, unsigned keys, enum relation_identity identity)
{
	static const char *const names[COLUMNS] = { "a", "b", "c", "d" };
	struct column columns[COLUMNS];

	for (unsigned i = 0; i < COLUMNS; i++)
		columns[i] = (struct column){ .name = names[i], .type_oid = 25, .key = keys >> i & 1 };
	return relation_new(&(struct relation_spec){ .id = 1,
		.schema = "s",
		.name = name,
		.identity = identity,
		.n_columns = COLUMNS,
		.columns = columns });
}

static void next_batch(struct fixture *f)
{
	struct batch *batch = batch_new(NULL);
	uint32_t n = f->group.n_spans++;

	f->batches[n] = batch;
	/* what stands before and behind the span must not be looked at */
	batch_add(batch)->op = RECORD_TRUNCATE;
	f->spans[n] = (struct span){ .batch = batch, .from = 1, .to = 1 };
}

static void new_group(struct fixture *f)
{
	for (uint32_t i = 0; i < f->group.n_spans; i++)
		batch_free(f->batches[i]);
	f->group = (struct apply_group){ .spans = f->spans };
	next_batch(f);
}

static struct fixture begin(void)
{
	struct fixture f = { .net = net_new() };

	f.rels[0] = make_relation("one", 1, IDENTITY_DEFAULT);
	f.rels[1] = make_relation("two", 1 | 4, IDENTITY_INDEX);
	f.rels[2] = make_relation("whole", 15, IDENTITY_FULL);
	new_group(&f);
	return f;
}

static void end(struct fixture *f)
{
	net_free(f->net);
	for (uint32_t i = 0; i < f->group.n_spans; i++)
		batch_free(f->batches[i]);
	for (int i = 0; i < 3; i++)
		relation_unref(f->rels[i]);
}

static struct record *put(struct fixture *f, enum record_op op, struct relation *rel)
{
	struct span *span = &f->spans[f->group.n_spans - 1];
	struct record *rec = batch_add(span->batch);

	f->group.spans = f->spans;
	span->to = span->batch->n_records;
	rec->op = (uint8_t)op;
	rec->rel = rel ? batch_hold(span->batch, rel) : NULL;
	return rec;
}

/* "1-n3": present 1, absent, null, present 3 */
static struct value *row_of(struct fixture *f, const char *spec)
{
	struct arena *arena = &f->spans[f->group.n_spans - 1].batch->arena;
	struct value *row = arena_alloc(arena, COLUMNS * sizeof(*row));

	for (int i = 0; i < COLUMNS; i++) {
		row[i] = absent;
		if (spec[i] == 'n')
			row[i].state = VALUE_NULL;
		else if (spec[i] != '-')
			row[i] = (struct value){
				.data = arena_dup(arena, &spec[i], 1), .len = 1, .state = VALUE_PRESENT
			};
	}
	return row;
}

static void put_row(
	struct fixture *f, enum record_op op, struct relation *rel, const char *before, const char *after)
{
	struct record *rec = put(f, op, rel);

	rec->before = before ? row_of(f, before) : NULL;
	rec->after = after ? row_of(f, after) : NULL;
	if (after && strchr(after, '-'))
		rec->flags |= RECORD_TOAST;
}

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
	put_row(&f, RECORD_READ, f.rels[0], NULL, "1abc");
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

/* ---- the property ---- */

/* a table: rows by key; extra is a column that the source does not know */
struct model {
	struct {
		bool exists;
		char row[COLUMNS], extra;
	} rows[2][ROWS];
};

static unsigned key_number(const struct relation *rel, const struct value *values)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (rel->columns[i].key)
			n = n * 4 + (unsigned)(values[i].data[0] - '0');
	}
	return n % ROWS;
}

static char letter(const struct value *value)
{
	return value->state == VALUE_NULL ? 'n' : (char)value->data[0];
}

static void model_set(struct model *model, int t, unsigned key, const struct value *row)
{
	for (int i = 0; i < COLUMNS; i++) {
		if (row[i].state != VALUE_ABSENT)
			model->rows[t][key].row[i] = letter(&row[i]);
	}
}

static void model_insert(struct model *model, int t, unsigned key, const struct value *row)
{
	assert_false(model->rows[t][key].exists);
	memset(&model->rows[t][key], 0, sizeof(model->rows[t][key]));
	model->rows[t][key].exists = true;
	for (int i = 0; i < COLUMNS; i++)
		assert_int_not_equal(row[i].state, VALUE_ABSENT);
	model_set(model, t, key, row);
}

static void model_delete(struct model *model, int t, unsigned key)
{
	memset(&model->rows[t][key], 0, sizeof(model->rows[t][key]));
}

static int table_number(const struct fixture *f, const struct relation *rel)
{
	return rel == f->rels[0] ? 0 : 1;
}

static void model_replay(struct model *model, const struct fixture *f, const struct record *rec)
{
	int t = rec->rel ? table_number(f, rec->rel) : 0;
	unsigned from;

	if (rec->op == RECORD_TRUNCATE)
		memset(model, 0, sizeof(*model));
	if (!rec->rel)
		return;
	from = key_number(rec->rel, rec->before ? rec->before : rec->after);
	if (rec->op == RECORD_INSERT)
		model_insert(model, t, from, rec->after);
	if (rec->op == RECORD_DELETE)
		model_delete(model, t, from);
	if (rec->op == RECORD_UPDATE && model->rows[t][from].exists) {
		bool moves = rec->before && rec->after[0].state == VALUE_PRESENT;
		unsigned to = moves ? key_number(rec->rel, rec->after) : from;

		if (to != from) {
			assert_false(model->rows[t][to].exists);
			model->rows[t][to] = model->rows[t][from];
			model_delete(model, t, from);
		}
		model_set(model, t, to, rec->after);
	}
}

static void model_write(struct model *model, const struct fixture *f, const struct net_table *tables)
{
	for (int op = 0; op < NET_OPS; op++) {
		for (const struct net_table *table = tables; table; table = table->next) {
			int t = table_number(f, table->rel);

			for (uint32_t i = 0; i < table->n_rows[op]; i++) {
				const struct net_row *row = &table->rows[op][i];
				unsigned key = 0;

				for (uint32_t k = 0; k < table->rel->n_keys; k++)
					key = key * 4 + (unsigned)(row->key[k].data[0] - '0');
				key %= ROWS;
				if (op == NET_DELETE)
					model_delete(model, t, key);
				else if (op == NET_INSERT)
					model_insert(model, t, key, row->row);
				else if (model->rows[t][key].exists)
					model_set(model, t, key, row->row);
			}
		}
	}
}

static uint64_t rng = 88172645463325252u;

static unsigned dice(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng >> 11) % n;
}

/* a row text with the key in its columns; table 0: a; table 1: a and c, two bits each */
static void random_row(char *spec, int t, unsigned key, bool partial)
{
	for (int i = 0; i < COLUMNS; i++)
		spec[i] = partial && dice(3) == 0 ? '-' : dice(5) == 0 ? 'n' : (char)('a' + dice(26));
	spec[COLUMNS] = '\0';
	if (t == 0) {
		spec[0] = (char)('0' + key);
	} else {
		spec[0] = (char)('0' + key / 4);
		spec[2] = (char)('0' + key % 4);
	}
}

static void key_row(char *spec, int t, unsigned key)
{
	random_row(spec, t, key, false);
	for (int i = 0; i < COLUMNS; i++) {
		if (!(i == 0 || (t == 1 && i == 2)))
			spec[i] = '-';
	}
}

/* one record that can follow the model's state, put into the group and replayed */
static void random_step(struct fixture *f, struct model *model)
{
	int t = (int)dice(2);
	unsigned key = dice(t ? ROWS : 10), to = dice(t ? ROWS : 10), kind = dice(1000);
	char before[COLUMNS + 1], after[COLUMNS + 1];
	bool exists = model->rows[t][key].exists;

	key_row(before, t, key);
	random_row(after, t, key, exists && dice(2));
	if (kind < 5)
		put(f, RECORD_TRUNCATE, NULL);
	else if (kind < 30 && exists && !model->rows[t][to].exists) {
		random_row(after, t, to, dice(2));
		put_row(f, RECORD_UPDATE, f->rels[t], before, after);
		if (dice(2))
			f->spans[f->group.n_spans - 1]
				.batch->records[f->spans[f->group.n_spans - 1].to - 1]
				.flags |= RECORD_KEY_CHANGED;
	} else if (kind < 40)
		put(f, RECORD_MESSAGE, NULL);
	else if (!exists && kind > 100)
		put_row(f, RECORD_INSERT, f->rels[t], NULL, after);
	else if (kind < 400)
		put_row(f, RECORD_DELETE, f->rels[t], before, NULL);
	else
		put_row(f, RECORD_UPDATE, f->rels[t], dice(4) ? NULL : before, after);
	model_replay(model, f,
		&f->spans[f->group.n_spans - 1].batch->records[f->spans[f->group.n_spans - 1].to - 1]);
}

static void net_effect_equals_replay(void **state)
{
	struct fixture f = begin();
	struct model replayed = { 0 }, reduced = { 0 };
	uint64_t steps = 0, runs = 0, singles = 0;

	while (steps < 100000) {
		unsigned n = 1 + dice(dice(4) ? 30 : 400);
		struct net_at at;
		const struct record *rec;
		int r;

		/* somebody writes the column that the source does not know */
		for (int i = 0; i < 5; i++) {
			unsigned t = dice(2), key = dice(ROWS);

			if (replayed.rows[t][key].exists)
				reduced.rows[t][key].extra = replayed.rows[t][key].extra =
					(char)('A' + dice(26));
		}
		for (unsigned i = 0; i < n; i++, steps++) {
			if (dice(40) == 0 && f.group.n_spans < 8)
				next_batch(&f);
			random_step(&f, &replayed);
		}
		for (uint32_t i = 0; i < f.group.n_spans; i++)
			batch_add(f.batches[i])->op = RECORD_TRUNCATE;
		at = net_at_begin(&f.group);
		do {
			struct net_table *tables;

			r = net_build(f.net, &f.group, &at, &tables);
			model_write(&reduced, &f, tables);
			runs++;
			if (r == NET_BOUNDARY) {
				rec = net_at_record(&f.group, &at);
				assert_non_null(rec);
				model_replay(&reduced, &f, rec);
				at.record++;
				singles++;
			}
		} while (r == NET_BOUNDARY);
		assert_memory_equal(&reduced, &replayed, sizeof(reduced));
		new_group(&f);
	}
	/* the test means something: most records were reduced, some were not */
	assert_in_range(singles, 1000, steps / 5);
	assert_true(runs > 1000);
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
		cmocka_unit_test(tables_come_in_the_order_of_first_appearance),
		cmocka_unit_test(net_effect_equals_replay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
