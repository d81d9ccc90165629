/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reduction against its definition: whatever records come, writing what net_build() hands out gives the
 * state that replaying the records gives. The model is a small database of two tables.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "net_fixture.h"

#define ROWS 16

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
		cmocka_unit_test(net_effect_equals_replay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
