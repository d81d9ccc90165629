/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The applier's part of a copy that comes through a log: what is asked of the sink, from what the log's store says, and
 * what is not done twice. Both stores and the sink are played by this file.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sluice/codec.h>
#include <sluice/pipeline.h>
#include <sluice/sink.h>
#include <sluice/source.h>

#include "store_fixture.h"

/* the sink: writes down what it is asked for */
struct copy {
	struct snapshot_sink base;
	struct buf protocol;
	bool wants_schema;
	const char *fails; /* this call fails */
	int tables;	   /* with a target */
};

static int say(struct copy *copy, const char *what, struct error *err)
{
	buf_printf(&copy->protocol, "%s\n", what);
	if (copy->fails && !strcmp(copy->fails, what))
		return error_set(err, ERROR_TRANSIENT, "TEST", "%s fails", what);
	return 0;
}

static int copy_plan(struct snapshot_sink *base, const struct snapshot_source *src, struct error *err)
{
	struct copy *copy = (struct copy *)base;
	char text[64];

	for (uint32_t i = 0; i < src->n_tables; i++) {
		src->tables[i].target = malloc(1);
		copy->tables++;
	}
	snprintf(text, sizeof(text), "plan %u", src->n_tables);
	if (say(copy, text, err) < 0)
		return -1;
	return copy->wants_schema ? SNAPSHOT_SCHEMA_WANTED : 0;
}

static int copy_schema(
	struct snapshot_sink *base, const char *section, const struct buf *dump, struct error *err)
{
	struct copy *copy = (struct copy *)base;

	if (dump)
		assert_memory_equal(dump->data, "the dump", 8);
	copy->wants_schema = false;
	return say(copy, section, err);
}

static void copy_table_free(struct snapshot_table *table)
{
	free(table->target);
	table->target = NULL;
}

static int copy_finish(struct snapshot_sink *base, const struct snapshot_source *src,
	const struct buf *sequences, struct error *err)
{
	char text[64];

	snprintf(text, sizeof(text), "finish %u %.*s", src->n_tables, (int)sequences->len,
		(const char *)sequences->data);
	return say((struct copy *)base, text, err);
}

static const struct snapshot_sink_ops copy_ops = {
	.plan = copy_plan, .schema = copy_schema, .table_free = copy_table_free, .finish = copy_finish
};

static bool parse(const char *s, uint64_t *ret_major)
{
	return sscanf(s, "0/%lX", ret_major) == 1;
}

static const struct source_format format = { .parse = parse };

struct fixture {
	struct store log, target;
	struct copy copy;
	struct sink sink;
	struct log out;
	struct config cfg;
	struct context ctx;
	atomic_bool stop;
	struct error err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	store_init(&f->log);
	store_init(&f->target);
	f->copy.base.ops = &copy_ops;
	f->sink.state = &f->target.base;
	f->sink.snapshot = &f->copy.base;
	f->out = (struct log){ .level = LOG_ERROR };
	f->ctx.cfg = &f->cfg;
	f->ctx.log = &f->out;
	f->ctx.stop = &f->stop;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	store_fini(&f->log);
	store_fini(&f->target);
	buf_fini(&f->copy.protocol);
	free(f);
	return 0;
}

static void set(struct store *store, const char *key, const char *value)
{
	store_set(&store->base, key, value, strlen(value), NULL);
}

static void asked(struct fixture *f, const char *expect)
{
	assert_string_equal(buf_str(&f->copy.protocol), expect);
	buf_clear(&f->copy.protocol);
	assert_null(f->copy.base.cancel);
}

/* what a reader leaves in the log */
static void tables(struct fixture *f)
{
	static const struct column columns[] = {
		{ .name = "id", .type_oid = 23, .type_modifier = -1, .key = true },
	};
	struct buf list = BUF_INIT;

	for (int i = 0; i < 2; i++) {
		struct relation *rel = relation_new(&(struct relation_spec){ .schema = "public",
			.name = i ? "b" : "a",
			.identity = IDENTITY_DEFAULT,
			.n_columns = 1,
			.columns = columns });

		relation_write_json(rel, &list);
		buf_putc(&list, '\n');
		relation_unref(rel);
	}
	state_set_large(&f->log.base, "snapshot/tables", list.data, list.len, &f->err);
	buf_fini(&list);
}

static int prepare(struct fixture *f)
{
	return snapshot_log_prepare(&f->ctx, &f->sink, &f->log.base, &f->err);
}

static int complete(struct fixture *f, uint64_t *ret_post_at)
{
	return snapshot_log_complete(&f->ctx, &f->sink, &f->log.base, &format, ret_post_at, &f->err);
}

static void test_prepare(void **state)
{
	struct fixture *f = *state;

	/* a mark without a plan: the log is not what we think */
	assert_true(prepare(f) < 0);
	assert_string_equal(f->err.code, "SNAPSHOT-STATE");
	asked(f, "");
	tables(f);
	assert_int_equal(prepare(f), 0);
	asked(f, "plan 2\n");
	f->copy.wants_schema = true;
	assert_true(prepare(f) < 0);
	assert_string_equal(f->err.code, "SCHEMA-NONE");
	asked(f, "plan 2\n");
	state_set_large(&f->log.base, "schema/dump", "the dump", 8, &f->err);
	f->copy.fails = "pre-data";
	assert_true(prepare(f) < 0);
	asked(f, "plan 2\npre-data\n");
	f->copy.fails = NULL;
	f->copy.wants_schema = true;
	/* made, then looked at again: now every column is checked */
	assert_int_equal(prepare(f), 0);
	asked(f, "plan 2\npre-data\nplan 2\n");
	set(&f->target, "snapshot/complete", "1");
	assert_int_equal(prepare(f), 0);
	asked(f, "");
}

static void test_complete(void **state)
{
	struct fixture *f = *state;
	uint64_t at = 9;

	/* no copy at all, then one that is under way */
	assert_int_equal(complete(f, &at), 0);
	assert_int_equal(at, 0);
	tables(f);
	assert_int_equal(complete(f, &at), 0);
	state_set_large(&f->log.base, "snapshot/sequences", "seq", 3, &f->err);
	set(&f->log, "table/public.a/start", "0/10");
	set(&f->log, "table/public.b/start", "0/10");
	set(&f->target, "table/public.a/done", "1");
	assert_int_equal(complete(f, &at), SNAPSHOT_LOG_WAITING);
	asked(f, "");
	set(&f->target, "table/public.b/done", "1");
	f->copy.fails = "post-data";
	assert_true(complete(f, &at) < 0);
	asked(f, "post-data\n");
	f->copy.fails = "finish 2 seq";
	assert_true(complete(f, &at) < 0);
	asked(f, "post-data\nfinish 2 seq\n");
	f->copy.fails = NULL;
	assert_int_equal(complete(f, &at), 0);
	assert_int_equal(at, 0);
	asked(f, "post-data\nfinish 2 seq\n");
	/* and never again */
	assert_int_equal(complete(f, &at), 0);
	asked(f, "");
}

/* tables of different moments: keys alone, the rest once the stream has passed the highest */
static void test_two_moments(void **state)
{
	struct fixture *f = *state;
	uint64_t at = 0;

	tables(f);
	state_set_large(&f->log.base, "snapshot/sequences", "", 0, &f->err);
	set(&f->log, "table/public.a/start", "0/10");
	set(&f->log, "table/public.b/start", "0/20");
	set(&f->target, "table/public.a/done", "1");
	set(&f->target, "table/public.b/done", "1");
	set(&f->target, "snapshot/dump", "the dump");
	assert_int_equal(complete(f, &at), 0);
	asked(f, "keys\nfinish 2 \n");
	assert_int_equal(at, 0x20);
	/* another process knows it, too */
	at = 0;
	assert_int_equal(complete(f, &at), 0);
	assert_int_equal(at, 0x20);
	asked(f, "");
	set(&f->target, "snapshot/post", "1");
	assert_int_equal(complete(f, &at), 0);
	assert_int_equal(at, 0);
}

static void test_no_copying_sink(void **state)
{
	struct fixture *f = *state;
	uint64_t at = 5;

	f->sink.snapshot = NULL;
	f->sink.state = NULL;
	assert_int_equal(prepare(f), 0);
	assert_int_equal(complete(f, &at), 0);
	assert_int_equal(at, 0);
	assert_int_equal(snapshot_log_before(&f->ctx, &f->sink, &f->err), 0);
	assert_int_equal(snapshot_log_behind(&f->ctx, &f->sink, &format, &at, &f->err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_prepare, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_complete, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_moments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_copying_sink, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
