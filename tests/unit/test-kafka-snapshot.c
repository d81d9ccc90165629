/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The copy's way into the log: which marks and rows go out in which order, what is stored when, and what becomes of a
 * chunk that is given up. The writer and the store are played by this file; both write into one protocol.
 */

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store_fixture.h"
#include "transport/kafka/snapshot.h"

/* what is stored of tables and of the end stands in the protocol */
static void stored(void *arg, const char *key, const void *value, size_t len)
{
	if (strncmp(key, "table/", 6) == 0 || !strcmp(key, STATE_SNAPSHOT_DONE))
		buf_printf(arg, "%s=%.*s\n", key, (int)len, (const char *)value);
}

/* the writer */
struct out {
	struct snapshot_out base;
	struct buf *protocol;
	int fail_at; /* this put fails; 0 = none */
	int puts;
	atomic_int inside;
	atomic_bool hold; /* rows are not taken */
};

static int out_put(
	struct snapshot_out *base, const struct batch *batch, const atomic_bool *cancel, struct error *err)
{
	struct out *out = (struct out *)base;
	const struct record *rec = &batch->records[0];

	assert_int_equal(atomic_fetch_add(&out->inside, 1), 0);
	while (rec->op == RECORD_READ && atomic_load(&out->hold))
		sched_yield();
	if (++out->puts == out->fail_at) {
		atomic_fetch_sub(&out->inside, 1);
		return error_set(err, ERROR_TRANSIENT, "TEST", "not taken");
	}
	if (rec->op == RECORD_CHUNK)
		buf_printf(out->protocol, "%c %s no=%u attempt=%u rows=%llu start=%llx\n",
			(char)rec->chunk->mark, rec->rel ? rec->rel->name : "-", rec->chunk->no,
			rec->chunk->attempt, (unsigned long long)rec->chunk->rows,
			(unsigned long long)rec->chunk->start);
	else
		buf_printf(out->protocol, "%u rows of %s\n", batch->n_records, rec->rel->name);
	atomic_fetch_sub(&out->inside, 1);
	return 0;
}

static int out_settle(struct snapshot_out *base, const atomic_bool *cancel, struct error *err)
{
	struct out *out = (struct out *)base;

	buf_puts(out->protocol, "acked\n");
	return 0;
}

static int out_partitions(struct snapshot_out *base, struct relation *rel, struct error *err)
{
	return 3;
}

static const struct snapshot_out_ops out_ops = {
	.put = out_put, .settle = out_settle, .partitions = out_partitions
};

struct fixture {
	struct buf protocol;
	struct store store;
	struct out out;
	struct config cfg;
	struct context ctx;
	struct snapshot_sink *sink;
	struct snapshot_table tables[2];
	struct snapshot_source src;
	atomic_bool cancel;
	struct error err;
};

static struct relation *make_relation(const char *name)
{
	static const struct column columns[] = {
		{ .name = "id", .type_oid = 23, .type_modifier = -1, .key = true }
	};

	return relation_new(&(struct relation_spec){ .schema = "public",
		.name = name,
		.identity = IDENTITY_DEFAULT,
		.n_columns = 1,
		.columns = columns });
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	store_init(&f->store);
	f->store.seen = stored;
	f->store.arg = &f->protocol;
	f->out.base.ops = &out_ops;
	f->out.protocol = &f->protocol;
	f->cfg.snapshot.workers = 12; /* 2 MiB each */
	f->cfg.snapshot.schema = SCHEMA_EXISTING;
	f->cfg.transport.kafka.layout = LAYOUT_STREAM;
	f->ctx.cfg = &f->cfg;
	f->sink = snapshot_kafka_new(&f->ctx, &f->out.base, &f->store.base);
	f->sink->cancel = &f->cancel;
	f->tables[0].rel = make_relation("a");
	f->tables[1].rel = make_relation("b");
	for (int i = 0; i < 2; i++) {
		f->tables[i].start = 0x10;
		f->tables[i].n_chunks = 2;
		f->tables[i].format = SNAPSHOT_BINARY_COPY;
	}
	f->src = (struct snapshot_source){ .tables = f->tables, .n_tables = 2, .start = 0x10 };
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		f->sink->ops->table_free(&f->tables[i]);
		relation_unref(f->tables[i].rel);
	}
	snapshot_kafka_free(f->sink);
	store_fini(&f->store);
	buf_fini(&f->protocol);
	free(f);
	return 0;
}

static void protocol_is(struct fixture *f, const char *expect)
{
	assert_string_equal(buf_str(&f->protocol), expect);
	buf_clear(&f->protocol);
}

static struct batch *rows(struct snapshot_table *table, uint32_t n)
{
	struct batch *batch = batch_new(NULL);

	for (uint32_t i = 0; i < n; i++) {
		struct record *rec = batch_add(batch);

		rec->op = RECORD_READ;
		rec->rel = batch_hold(batch, table->rel);
	}
	return batch;
}

/* a batch that fills a worker's buffer */
static struct batch *many_rows(struct snapshot_table *table)
{
	struct batch *batch = rows(table, 1);

	arena_alloc(&batch->arena, (size_t)2 << 20);
	return batch;
}

static struct snapshot_writer *writer(struct fixture *f)
{
	struct snapshot_writer *w = NULL;

	assert_int_equal(f->sink->ops->writer_new(f->sink, &w, &f->err), 0);
	return w;
}

static void chunk(struct fixture *f, struct snapshot_writer *w, const struct snapshot_chunk *c, uint32_t n)
{
	uint64_t came = 99;

	assert_int_equal(f->sink->ops->chunk_begin(w, c, &f->err), 0);
	if (n)
		assert_int_equal(f->sink->ops->chunk_take(w, rows(c->table, n), &f->err), 0);
	assert_int_equal(f->sink->ops->chunk_commit(w, &came, &f->err), 0);
	assert_int_equal(came, n);
}

static void test_a_table(void **state)
{
	struct fixture *f = *state;
	struct snapshot_chunk chunks[2] = { { .table = f->tables, .no = 0 },
		{ .table = f->tables, .no = 1 } };
	struct snapshot_writer *w = writer(f);

	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	assert_int_equal(f->tables[0].format, SNAPSHOT_RECORDS);
	protocol_is(f, "table/public.a/attempt=1\nT a no=3 attempt=1 rows=0 start=10\n");
	chunk(f, w, &chunks[1], 5);
	protocol_is(f, "B a no=1 attempt=1 rows=0 start=0\n5 rows of a\nE a no=1 attempt=1 rows=5 start=0\n");
	/* the last one, without a row, brings the end, acked before anything is stored */
	chunk(f, w, &chunks[0], 0);
	protocol_is(f, "B a no=0 attempt=1 rows=0 start=0\nE a no=0 attempt=1 rows=0 start=0\n"
		       "D a no=3 attempt=1 rows=5 start=10\nacked\n");
	assert_int_equal(f->sink->ops->table_done(f->sink, f->tables, &f->err), 0);
	protocol_is(f, "table/public.a/start=0/10\ntable/public.a/done=1\n");
	f->sink->ops->writer_free(w);
}

static void test_no_chunks(void **state)
{
	struct fixture *f = *state;

	f->tables[0].n_chunks = 0;
	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	protocol_is(f, "table/public.a/attempt=1\nT a no=3 attempt=1 rows=0 start=10\n"
		       "D a no=3 attempt=1 rows=0 start=10\nacked\n");
}

/* given up while all of it is in memory: it has not happened */
static void test_given_up_early(void **state)
{
	struct fixture *f = *state;
	struct snapshot_chunk c = { .table = f->tables };
	struct snapshot_writer *w = writer(f);

	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	buf_clear(&f->protocol);
	assert_int_equal(f->sink->ops->chunk_begin(w, &c, &f->err), 0);
	assert_int_equal(f->sink->ops->chunk_take(w, rows(f->tables, 7), &f->err), 0);
	f->sink->ops->chunk_abort(w);
	assert_false(f->tables[0].spoilt);
	protocol_is(f, "");
	chunk(f, w, &c, 2);
	protocol_is(f, "B a no=0 attempt=1 rows=0 start=0\n2 rows of a\nE a no=0 attempt=1 rows=2 start=0\n");
	f->sink->ops->writer_free(w);
}

/* given up when some of it is out: the table begins anew */
static void test_given_up_late(void **state)
{
	struct fixture *f = *state;
	struct snapshot_chunk c = { .table = f->tables }, other = { .table = &f->tables[1] };
	struct snapshot_writer *w = writer(f), *v = writer(f);

	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	assert_int_equal(f->sink->ops->table_begin(f->sink, &f->tables[1], &f->err), 0);
	buf_clear(&f->protocol);
	assert_int_equal(f->sink->ops->chunk_begin(w, &c, &f->err), 0);
	assert_int_equal(f->sink->ops->chunk_take(w, many_rows(f->tables), &f->err), 0);
	protocol_is(f, "B a no=0 attempt=1 rows=0 start=0\n1 rows of a\n");
	assert_int_equal(f->sink->ops->chunk_take(w, rows(f->tables, 4), &f->err), 0);
	protocol_is(f, "4 rows of a\n");
	f->sink->ops->chunk_abort(w);
	assert_true(f->tables[0].spoilt);
	/* the way is free for others */
	chunk(f, v, &other, 1);
	assert_false(f->tables[1].spoilt);
	buf_clear(&f->protocol);
	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	assert_false(f->tables[0].spoilt);
	protocol_is(f, "table/public.a/attempt=2\nT a no=3 attempt=2 rows=0 start=10\n");
	f->sink->ops->writer_free(w);
	f->sink->ops->writer_free(v);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct snapshot_chunk c = { .table = f->tables };
	struct snapshot_writer *w = writer(f);
	uint64_t came;

	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	/* BEGIN, rows, END: each of them */
	for (int i = 1; i <= 3; i++) {
		f->out.fail_at = f->out.puts + i;
		assert_int_equal(f->sink->ops->chunk_begin(w, &c, &f->err), 0);
		assert_int_equal(f->sink->ops->chunk_take(w, rows(f->tables, 1), &f->err), 0);
		assert_true(f->sink->ops->chunk_commit(w, &came, &f->err) < 0);
		assert_string_equal(f->err.code, "TEST");
		assert_true(f->tables[0].spoilt);
	}
	f->sink->ops->writer_free(w);
}

struct worker {
	struct fixture *f;
	struct snapshot_chunk chunk;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct fixture *f = worker->f;
	struct snapshot_writer *w = NULL;
	struct error err;
	uint64_t came = 0;

	f->sink->ops->writer_new(f->sink, &w, &err);
	f->sink->ops->chunk_begin(w, &worker->chunk, &err);
	for (int i = 0; i < 3; i++)
		f->sink->ops->chunk_take(w, many_rows(worker->chunk.table), &err);
	f->sink->ops->chunk_commit(w, &came, &err);
	f->sink->ops->writer_free(w);
	return NULL;
}

/* four workers, and never two chunks in one another */
static void test_in_turns(void **state)
{
	struct fixture *f = *state;
	struct worker workers[4];
	const char *at;

	f->tables[0].n_chunks = f->tables[1].n_chunks = 2;
	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	assert_int_equal(f->sink->ops->table_begin(f->sink, &f->tables[1], &f->err), 0);
	buf_clear(&f->protocol);
	for (uint32_t i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .f = f, .chunk = { .table = &f->tables[i % 2], .no = i / 2 } };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (uint32_t i = 0; i < 4; i++)
		pthread_join(workers[i].thread, NULL);
	at = buf_str(&f->protocol);
	for (int i = 0; i < 4; i++) {
		char name, expect[200], no;

		assert_int_equal(*at, 'B');
		name = at[2];
		no = at[7];
		snprintf(expect, sizeof(expect),
			"B %c no=%c attempt=1 rows=0 start=0\n1 rows of %c\n1 rows of %c\n1 rows of %c\n"
			"E %c no=%c attempt=1 rows=3 start=0\n",
			name, no, name, name, name, name, no);
		assert_int_equal(strncmp(at, expect, strlen(expect)), 0);
		at += strlen(expect);
		if (*at == 'D') {
			snprintf(
				expect, sizeof(expect), "D %c no=3 attempt=1 rows=6 start=10\nacked\n", name);
			assert_int_equal(strncmp(at, expect, strlen(expect)), 0);
			at += strlen(expect);
		}
	}
	assert_int_equal(*at, '\0');
}

/* a stop ends who waits for its turn */
static void test_stop(void **state)
{
	struct fixture *f = *state;
	struct worker first = { .f = f, .chunk = { .table = f->tables } };
	struct snapshot_chunk c = { .table = &f->tables[1] };
	struct snapshot_writer *w = writer(f);

	assert_int_equal(f->sink->ops->table_begin(f->sink, f->tables, &f->err), 0);
	assert_int_equal(f->sink->ops->table_begin(f->sink, &f->tables[1], &f->err), 0);
	atomic_store(&f->out.hold, true);
	assert_int_equal(pthread_create(&first.thread, NULL, work, &first), 0);
	while (!atomic_load(&f->out.inside))
		sched_yield();
	atomic_store(&f->cancel, true);
	assert_int_equal(f->sink->ops->chunk_begin(w, &c, &f->err), 0);
	assert_true(f->sink->ops->chunk_take(w, many_rows(&f->tables[1]), &f->err) < 0);
	assert_string_equal(f->err.code, "STOPPED");
	f->sink->ops->chunk_abort(w);
	assert_false(f->tables[1].spoilt);
	atomic_store(&f->out.hold, false);
	pthread_join(first.thread, NULL);
	f->sink->ops->writer_free(w);
}

static void test_plan(void **state)
{
	struct fixture *f = *state;
	struct buf dump = BUF_INIT, value = BUF_INIT;
	char *large = malloc(1300000);

	assert_int_equal(f->sink->ops->plan(f->sink, &f->src, &f->err), 0);
	assert_int_equal(state_get_large(&f->store.base, "snapshot/tables", &value, &f->err), 0);
	assert_non_null(strchr(buf_str(&value), '\n'));
	assert_int_equal(value.data[value.len - 1], '\n');
	/* a dump in pieces comes back whole */
	memset(large, 'd', 1300000);
	large[700000] = 'e';
	buf_put(&dump, large, 1300000);
	assert_int_equal(f->sink->ops->schema(f->sink, "pre-data", &dump, &f->err), 0);
	assert_int_equal(f->sink->ops->schema(f->sink, "post-data", NULL, &f->err), 0);
	assert_int_equal(state_get_large(&f->store.base, "schema/dump", &value, &f->err), 0);
	assert_int_equal(value.len, 1300000);
	assert_memory_equal(value.data, large, value.len);
	/* one that is there is not asked for again */
	f->cfg.snapshot.schema = SCHEMA_CREATE;
	assert_int_equal(f->sink->ops->plan(f->sink, &f->src, &f->err), 0);
	/* half a value is none */
	state_set(&f->store.base, "schema/dump/1", "x", 1, &f->err);
	assert_int_equal(state_get_large(&f->store.base, "schema/dump", &value, &f->err), STATE_MISSING);
	assert_int_equal(state_get_large(&f->store.base, "nothing", &value, &f->err), STATE_MISSING);
	buf_fini(&dump);
	buf_fini(&value);
	free(large);
}

static void test_finish(void **state)
{
	struct fixture *f = *state;
	struct buf sequences = BUF_INIT, value = BUF_INIT;

	buf_puts(&sequences, "public\ts\t7\tt\n");
	assert_int_equal(f->sink->ops->finish(f->sink, &f->src, &sequences, &f->err), 0);
	protocol_is(f, "F - no=0 attempt=0 rows=0 start=0\nacked\nsnapshot/done=1\n");
	assert_int_equal(state_get_large(&f->store.base, "snapshot/sequences", &value, &f->err), 0);
	assert_string_equal(buf_str(&value), "public\ts\t7\tt\n");
	/* tables of different moments, each with a topic of its own */
	f->tables[1].start = 0x20;
	f->cfg.transport.kafka.layout = LAYOUT_TABLES;
	assert_int_equal(f->sink->ops->finish(f->sink, &f->src, &sequences, &f->err), 0);
	protocol_is(f, "F a no=0 attempt=0 rows=0 start=20\nF b no=0 attempt=0 rows=0 start=20\nacked\n"
		       "snapshot/done=1\n");
	buf_fini(&sequences);
	buf_fini(&value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_table, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_chunks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_given_up_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_given_up_late, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_in_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_plan, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_finish, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
