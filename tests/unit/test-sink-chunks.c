/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* What of a group is left when aborted transactions and void attempts at a table's copy are out. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "net_fixture.h"
#include "sink/postgres/chunks.h"

struct texts {
	struct fixture f;
	struct arena arena;
	struct chunk_at at;
};

static struct texts texts_begin(void)
{
	return (struct texts){ .f = begin() };
}

static void texts_end(struct texts *t)
{
	arena_reset(&t->arena);
	end(&t->f);
}

static void mark(struct texts *t, struct relation *rel, enum chunk_mark mark, uint32_t attempt)
{
	struct fixture *f = &t->f;
	struct record *rec = put(f, RECORD_CHUNK, rel);
	struct record_chunk chunk = { .mark = mark, .attempt = attempt, .start = attempt * 100u };

	rec->chunk = arena_dup(&f->spans[f->group.n_spans - 1].batch->arena, &chunk, sizeof(chunk));
}

/* one letter per record: T B E D F marks, R rows of the copy, lower case for all others: b c a k i u; '|' is the next batch */
static void records(struct texts *t, const char *spec, uint32_t attempt)
{
	static const char ops[] = "bcakiuR", to[] = { RECORD_BEGIN, RECORD_END, RECORD_ABORT,
		RECORD_HEARTBEAT, RECORD_INSERT, RECORD_UPDATE, RECORD_READ };

	for (; *spec; spec++) {
		const char *op = strchr(ops, *spec);

		if (*spec == '|')
			next_batch(&t->f);
		else if (!op)
			mark(t, t->f.rels[0], (enum chunk_mark) * spec, attempt);
		else if (strchr("iuR", *spec))
			put_row(&t->f, (enum record_op)to[op - ops], t->f.rels[0], NULL, "1abc");
		else
			put(&t->f, (enum record_op)to[op - ops], NULL);
	}
}

static void assert_left(struct texts *t, const struct group_cut *cut, const char *want)
{
	struct apply_group left = group_without(&t->arena, &t->f.group, cut);
	struct net_at at = net_at_begin(&left);
	const struct record *rec;
	char got[100];
	size_t n = 0;

	for (; (rec = net_at_record(&left, &at)); at.record++)
		got[n++] = rec->op == RECORD_CHUNK	 ? (char)rec->chunk->mark
			   : rec->op == RECORD_BEGIN	 ? 'b'
			   : rec->op == RECORD_END	 ? 'c'
			   : rec->op == RECORD_ABORT	 ? 'a'
			   : rec->op == RECORD_HEARTBEAT ? 'k'
			   : rec->op == RECORD_INSERT	 ? 'i'
			   : rec->op == RECORD_UPDATE	 ? 'u'
							 : 'R';
	got[n] = '\0';
	assert_string_equal(got, want);
}

static void assert_aborts(const char *spec, const char *want, bool open)
{
	struct texts t = texts_begin();
	struct group_cut cut;

	records(&t, spec, 1);
	cut = group_cut_new(&t.arena, &t.f.group);
	assert_int_equal(group_cut_aborts(&cut, &t.f.group), open);
	assert_left(&t, &cut, want);
	texts_end(&t);
}

static void what_an_abort_takes_back_is_left_out(void **state)
{
	assert_aborts("bic", "bic", false);
	assert_aborts("bicbiia", "bic", false);
	assert_aborts("bicb|i|iabuc", "bicbuc", false);
	assert_aborts("biabiabic", "bic", false);
	assert_aborts("kba", "k", false);
	/* one that began in an earlier group */
	assert_aborts("iia", "", true);
	assert_aborts("i|abic", "bic", true);
	assert_aborts("icbia", "ic", false);
	assert_aborts("BRREbia", "BRRE", false);
}

/* the target's attempt is told by the table's entry, as chunk_table_hold() does it */
static void assert_copy(struct texts *t, uint32_t known, bool emptied, const char *want)
{
	struct chunk_table *tables = chunks_list(&t->arena, &t->f.group, &t->at);
	struct group_cut cut = group_cut_new(&t->arena, &t->f.group);

	assert_non_null(tables);
	tables->attempt = known > tables->wanted ? known : tables->wanted;
	tables->emptied = emptied;
	chunks_drop(&cut, &t->f.group, &t->at, tables);
	assert_left(t, &cut, want);
	texts_end(t);
}

static void a_chunk_of_the_attempt_is_copied(void **state)
{
	struct texts t = texts_begin();

	records(&t, "TBR|RREBRED", 2);
	assert_copy(&t, 1, true, "TBRRREBRED");
}

static void a_chunk_of_an_older_attempt_is_void(void **state)
{
	struct texts t = texts_begin();

	records(&t, "TBRRE", 1);
	records(&t, "TBRE", 2);
	assert_copy(&t, 0, true, "TBETBRE");
	/* another partition has begun it */
	t = texts_begin();
	records(&t, "TBR|RED", 1);
	assert_copy(&t, 2, false, "TBED");
}

static void a_chunk_that_began_before_the_group_goes_on(void **state)
{
	struct texts t = texts_begin();

	t.at = (struct chunk_at){ .open = true, .attempt = 2, .table = "s.one" };
	records(&t, "RR|REBRE", 2);
	assert_copy(&t, 2, false, "RRREBRE");
	t = texts_begin();
	t.at = (struct chunk_at){ .open = true, .attempt = 1, .table = "s.one" };
	records(&t, "RRE", 1);
	records(&t, "TBRE", 2);
	assert_copy(&t, 2, false, "ETBRE");
	/* its writer was cut off: the next attempt follows at once */
	t = texts_begin();
	t.at = (struct chunk_at){ .open = true, .attempt = 1, .table = "s.one" };
	records(&t, "RR", 1);
	records(&t, "TBRE", 2);
	assert_copy(&t, 1, true, "TBRE");
}

static void changes_before_a_copy_anew_are_void(void **state)
{
	struct texts t = texts_begin();

	records(&t, "bicbuc", 1);
	records(&t, "TBRE", 3);
	records(&t, "biuc", 3);
	assert_copy(&t, 1, true, "bcbcTBREbiuc");
	/* as long as this group is the one that empties the table */
	t = texts_begin();
	records(&t, "bic", 1);
	records(&t, "TBRE", 3);
	assert_copy(&t, 3, false, "bicTBRE");
}

static void a_row_outside_of_chunks_is_a_row(void **state)
{
	struct texts t = texts_begin();

	records(&t, "bRcTBRE", 1);
	assert_copy(&t, 1, false, "bRcTBRE");
}

static void tables_and_their_marks(void **state)
{
	struct texts t = texts_begin();
	struct chunk_table *tables;

	t.at = (struct chunk_at){ .open = true, .attempt = 4, .table = "s.two" };
	mark(&t, t.f.rels[0], CHUNK_MARK_BEGIN, 1);
	mark(&t, t.f.rels[0], CHUNK_MARK_END, 1);
	mark(&t, t.f.rels[2], CHUNK_MARK_TABLE, 2);
	mark(&t, t.f.rels[2], CHUNK_MARK_TABLE, 3);
	mark(&t, NULL, CHUNK_MARK_FINISHED, 0);
	mark(&t, t.f.rels[2], CHUNK_MARK_FINISHED, 9);
	tables = chunks_list(&t.arena, &t.f.group, &t.at);
	assert_string_equal(tables->name, "s.two");
	assert_int_equal(tables->wanted, 4);
	assert_null(tables->rel);
	assert_false(tables->exclusive);
	tables = tables->next;
	assert_string_equal(tables->name, "s.one");
	assert_int_equal(tables->wanted, 1);
	assert_false(tables->exclusive);
	tables = tables->next;
	assert_string_equal(tables->name, "s.whole");
	assert_int_equal(tables->wanted, 3);
	assert_int_equal(tables->start, 300);
	assert_true(tables->exclusive);
	assert_null(tables->next);
	texts_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_abort_takes_back_is_left_out),
		cmocka_unit_test(a_chunk_of_the_attempt_is_copied),
		cmocka_unit_test(a_chunk_of_an_older_attempt_is_void),
		cmocka_unit_test(a_chunk_that_began_before_the_group_goes_on),
		cmocka_unit_test(changes_before_a_copy_anew_are_void),
		cmocka_unit_test(a_row_outside_of_chunks_is_a_row),
		cmocka_unit_test(tables_and_their_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
