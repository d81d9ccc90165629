/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>

#include <sluice/transform.h>

static int freed;

struct marker {
	struct transform base;
	uint8_t flag;
	bool fails;
};

/* writes down who came in which order */
static int marker_apply(struct transform *tf, struct batch *batch, struct error *err)
{
	const struct marker *marker = (struct marker *)tf;

	if (marker->fails)
		return error_set(err, ERROR_DATA, "MARK", "refused");
	for (uint32_t i = 0; i < batch->n_records; i++)
		batch->records[i].pos.minor = batch->records[i].pos.minor * 10 + marker->flag;
	return 0;
}

static void marker_free(struct transform *tf)
{
	freed++;
	free(tf);
}

static const struct transform_ops marker_ops = { .apply = marker_apply, .free = marker_free };

static struct transform *marker(uint8_t flag, bool fails, struct transform *next)
{
	struct marker *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	*m = (struct marker){ { &marker_ops, next }, flag, fails };
	return &m->base;
}

static void the_empty_chain_is_the_identity(void **state)
{
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;

	batch_add(batch)->pos.minor = 5;
	assert_int_equal(transform_chain_apply(NULL, batch, &err), 0);
	assert_int_equal(batch->records[0].pos.minor, 5);
	assert_null(transform_chain_free(NULL));
	batch_free(batch);
}

static void transforms_run_in_order(void **state)
{
	struct transform *chain = marker(1, false, marker(2, false, marker(3, false, NULL)));
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;

	batch_add(batch);
	batch_add(batch);
	assert_int_equal(transform_chain_apply(chain, batch, &err), 0);
	assert_int_equal(batch->records[0].pos.minor, 123);
	assert_int_equal(batch->records[1].pos.minor, 123);
	freed = 0;
	assert_null(transform_chain_free(chain));
	assert_int_equal(freed, 3);
	batch_free(batch);
}

static void an_error_ends_the_chain(void **state)
{
	struct transform *chain = marker(1, false, marker(2, true, marker(3, false, NULL)));
	struct batch *batch = batch_new(NULL);
	struct error err = ERROR_INIT;

	batch_add(batch);
	assert_true(transform_chain_apply(chain, batch, &err) < 0);
	assert_string_equal(err.code, "MARK");
	assert_int_equal(batch->records[0].pos.minor, 1);
	transform_chain_free(chain);
	batch_free(batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_empty_chain_is_the_identity),
		cmocka_unit_test(transforms_run_in_order),
		cmocka_unit_test(an_error_ends_the_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
