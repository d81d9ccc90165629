/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The generator alone, and the trivial pipeline: generator, an empty chain, discard. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/sink.h>
#include <sluice/source.h>
#include <sluice/transform.h>

struct fixture {
	struct config cfg;
	struct context ctx;
	struct source *src;
	int wake_fd;
};

static void begin(struct fixture *f, uint64_t transactions, uint64_t rows, uint64_t keys)
{
	*f = (struct fixture){ .wake_fd = eventfd(0, EFD_NONBLOCK) };
	f->cfg.source.generator.transactions = transactions;
	f->cfg.source.generator.rows_per_transaction = rows;
	f->cfg.source.generator.keys = keys;
	f->cfg.source.generator.row_bytes = 30;
	f->cfg.source.generator.seed = 3;
	f->ctx.cfg = &f->cfg;
	f->src = source_generator_new(&f->ctx);
}

static void start(struct fixture *f, struct resume resume)
{
	struct source_start at = { .resume = resume, .identity = "" };
	struct error err;

	assert_int_equal(f->src->ops->connect(f->src, &err), 0);
	assert_string_equal(f->src->identity, "generator/3");
	assert_int_equal(f->src->ops->prepare(f->src, NULL, &at, &err), 0);
	assert_int_equal(f->src->ops->start(f->src, &at, f->wake_fd, &err), 0);
}

static void end(struct fixture *f)
{
	assert_null(source_free(f->src));
	close(f->wake_fd);
}

/* what a consumer that checks everything remembers */
struct seen {
	struct position last;
	uint64_t transactions, rows, in_transaction, batches;
	bool open;
	uint8_t exists[64]; /* by key */
	uint64_t hash;
	uint8_t resume[8]; /* of the last END */
};

static void see_row(struct seen *seen, const struct record *rec)
{
	const struct value *row = rec->after ? rec->after : rec->before;
	unsigned key = 0;

	for (uint32_t i = 0; i < row[0].len; i++)
		key = key * 10 + (unsigned)(row[0].data[i] - '0');
	assert_in_range(key, 1, 63);
	assert_int_equal(seen->exists[key], rec->op != RECORD_INSERT);
	if (rec->op != RECORD_UPDATE)
		seen->exists[key] = !seen->exists[key];
	if (rec->after) {
		assert_int_equal(row[1].len, 30);
		seen->hash = seen->hash * 31 + row[1].data[29];
	}
	seen->hash = seen->hash * 31 + rec->op + key;
	seen->rows++;
	seen->in_transaction++;
}

static void see(struct seen *seen, const struct batch *batch)
{
	seen->batches++;
	for (uint32_t i = 0; i < batch->n_records; i++) {
		const struct record *rec = &batch->records[i];

		assert_true(position_compare(rec->pos, seen->last) > 0);
		seen->last = rec->pos;
		assert_int_equal(seen->open, rec->op != RECORD_BEGIN);
		seen->open = rec->op != RECORD_END;
		if (rec->op == RECORD_BEGIN) {
			assert_int_equal(rec->pos.major, ++seen->transactions);
			seen->in_transaction = 0;
		} else if (rec->op == RECORD_END) {
			assert_int_equal(rec->end->n_records, seen->in_transaction);
			assert_int_equal(rec->end->resume.len, 8);
			memcpy(seen->resume, rec->end->resume.data, 8);
		} else {
			see_row(seen, rec);
		}
	}
}

/* reads until nothing comes */
static void read_all(struct fixture *f, struct seen *seen)
{
	struct error err;
	int r;

	do {
		struct batch *batch = batch_new(NULL);

		r = f->src->ops->read(f->src, batch, 0, &err);
		if (r == 0)
			see(seen, batch);
		batch_free(batch);
	} while (r == 0);
	assert_int_equal(r, SOURCE_IDLE);
}

static void operations_fit_what_is_there(void **state)
{
	struct fixture f;
	struct seen seen = { 0 };
	struct source_health health = { 0 };
	struct error err;
	uint64_t major;

	begin(&f, 1000, 7, 50);
	start(&f, (struct resume){ 0 });
	read_all(&f, &seen);
	assert_int_equal(seen.transactions, 1000);
	assert_int_equal(seen.rows, 7000);
	assert_false(seen.open);
	assert_int_equal(f.src->format->major((struct resume){ seen.resume, 8 }), 1000);
	assert_int_equal(f.src->ops->watch(f.src, &health, &err), 0);
	assert_int_equal(health.head, 1000);
	assert_int_equal(f.src->ops->barrier(f.src, &major, &err), 0);
	assert_int_equal(major, 1000);
	end(&f);
}

/* a stream that is resumed anywhere is the same stream */
static void resuming_continues_where_it_ended(void **state)
{
	struct fixture whole, part;
	struct seen seen = { 0 }, again = { 0 };
	char text[40];

	begin(&whole, 500, 3, 20);
	start(&whole, (struct resume){ 0 });
	read_all(&whole, &seen);
	end(&whole);
	for (uint64_t until = 100; until <= 500; until += 100) {
		begin(&part, until, 3, 20);
		start(&part, (struct resume){ again.resume, until > 100 ? 8 : 0 });
		read_all(&part, &again);
		part.src->format->resume((struct resume){ again.resume, 8 }, text, sizeof(text));
		assert_int_equal(strtoull(text, NULL, 10), until);
		end(&part);
	}
	assert_true(again.hash == seen.hash);
	assert_int_equal(again.rows, seen.rows);
}

/* memory does not depend on a transaction's size */
static void a_large_transaction_comes_in_parts(void **state)
{
	struct fixture f;
	struct seen seen = { 0 };

	begin(&f, 2, 40000, 63);
	start(&f, (struct resume){ 0 });
	read_all(&f, &seen);
	assert_int_equal(seen.rows, 80000);
	assert_true(seen.batches >= 80000 / BATCH_MAX_RECORDS);
	end(&f);
}

static void without_a_batch_nothing_is_made(void **state)
{
	struct fixture f;
	struct seen seen = { 0 };
	struct error err;
	eventfd_t n;

	begin(&f, 10, 1, 10);
	start(&f, (struct resume){ 0 });
	assert_int_equal(f.src->ops->read(f.src, NULL, 0, &err), SOURCE_IDLE);
	eventfd_write(f.wake_fd, 1);
	assert_int_equal(f.src->ops->read(f.src, NULL, 60000, &err), SOURCE_IDLE);
	assert_int_not_equal(eventfd_read(f.wake_fd, &n), 0);
	read_all(&f, &seen);
	assert_int_equal(seen.transactions, 10);
	end(&f);
}

static void discard_counts_and_forgets(void **state)
{
	struct fixture f;
	struct batch *batches[2] = { batch_new(NULL), batch_new(NULL) };
	struct span spans[2];
	struct apply_group group = { .spans = spans, .n_spans = 2, .ends = true };
	struct apply_result res;
	struct progress progress;
	struct sink *sink;
	struct error err;

	begin(&f, 9000, 3, 100);
	start(&f, (struct resume){ 0 });
	sink = sink_discard_new(&f.ctx);
	assert_int_equal(sink->ops->connect(sink, &err), 0);
	assert_int_equal(sink->ops->claim(sink, NULL, f.src->identity, &progress, &err), 0);
	assert_false(progress.exists);
	assert_int_equal(progress.epoch, 1);
	assert_null(sink->state);
	assert_null(sink->snapshot);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f.src->ops->read(f.src, batches[i], 0, &err), 0);
		spans[i] = (struct span){ batches[i], 0, batches[i]->n_records };
	}
	/* up to the last END */
	while (batches[1]->records[spans[1].to - 1].op != RECORD_END)
		spans[1].to--;
	spans[0].from = 5; /* the first transaction was applied before */
	assert_int_equal(sink->ops->apply(sink, &group, &res, &err), 0);
	assert_int_equal(res.position.minor, POSITION_END);
	assert_int_equal(f.src->format->major(res.resume), res.position.major);
	assert_int_equal(res.transactions, res.position.major - 1);
	assert_int_equal(res.records, res.transactions * 3);
	assert_int_equal(res.inserts + res.updates + res.deletes, res.records);
	assert_true(res.updates > 0 && res.deletes > 0 && res.bytes > 0);
	assert_true(res.commit_time.us > 0);
	assert_int_equal(sink->ops->flush(sink, true, &err), 0);
	assert_int_equal(sink->ops->idle(sink, &err), 0);
	assert_int_equal(
		sink->ops->store_resume(sink, &(struct sink_point){ .resume = res.resume }, &err), 0);
	assert_null(sink_free(sink));
	batch_free(batches[0]);
	batch_free(batches[1]);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations_fit_what_is_there),
		cmocka_unit_test(resuming_continues_where_it_ended),
		cmocka_unit_test(a_large_transaction_comes_in_parts),
		cmocka_unit_test(without_a_batch_nothing_is_made),
		cmocka_unit_test(discard_counts_and_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
