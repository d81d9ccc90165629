/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/metrics.h>
#include <sluice/transport.h>

struct fixture {
	struct metrics metrics;
	int reader_fd;
	struct block_pool *pool;
	struct transport_writer *w;
	struct transport_reader *t;
	const struct partition *none; /* this transport has no partitions */
};

static void begin(struct fixture *f)
{
	*f = (struct fixture){ .reader_fd = eventfd(0, EFD_NONBLOCK) };
	f->pool = block_pool_new((size_t)4 << 20, f->reader_fd);
	transport_direct_new(&f->metrics, f->reader_fd, &f->w, &f->t);
}

static void end(struct fixture *f)
{
	f->w->ops->free(f->w);
	f->t->ops->free(f->t);
	assert_int_equal(metric_get(&f->metrics.queue_bytes), 0);
	assert_int_equal(metric_get(&f->metrics.queue_records), 0);
	assert_int_equal(block_pool_used(f->pool), 0);
	block_pool_free(f->pool);
	close(f->reader_fd);
}

static struct batch *make_batch(struct fixture *f, uint64_t seq)
{
	struct batch *batch = batch_new(f->pool);

	batch->seq = seq;
	batch_add(batch)->pos.major = seq;
	batch_add(batch);
	return batch;
}

static void batches_arrive_in_order_and_are_counted(void **state)
{
	struct fixture f;
	struct error err;
	struct batch *batch;

	begin(&f);
	for (uint64_t seq = 1; seq <= 3; seq++)
		assert_int_equal(f.w->ops->send(f.w, make_batch(&f, seq), &err), 0);
	assert_int_equal(metric_get(&f.metrics.queue_records), 6);
	assert_int_equal(metric_get(&f.metrics.queue_bytes), block_pool_used(f.pool));
	for (uint64_t seq = 1; seq <= 2; seq++) {
		assert_int_equal(f.t->ops->recv(f.t, 1000, &batch, &f.none, &err), 0);
		assert_int_equal(batch->seq, seq);
		batch_free(batch);
	}
	assert_int_equal(metric_get(&f.metrics.queue_records), 2);
	/* the third is freed with the transport */
	end(&f);
}

static void the_end_comes_behind_the_last_batch(void **state)
{
	struct fixture f;
	struct error err;
	struct batch *batch;

	begin(&f);
	assert_int_equal(f.t->ops->recv(f.t, 0, &batch, &f.none, &err), TRANSPORT_IDLE);
	assert_int_equal(f.t->ops->recv(f.t, 1, &batch, &f.none, &err), TRANSPORT_IDLE);
	assert_int_equal(f.w->ops->send(f.w, make_batch(&f, 1), &err), 0);
	f.w->ops->end(f.w);
	assert_int_equal(f.t->ops->recv(f.t, 1000, &batch, &f.none, &err), 0);
	batch_free(batch);
	assert_int_equal(f.t->ops->recv(f.t, 1000, &batch, &f.none, &err), TRANSPORT_END);
	assert_int_equal(f.t->ops->recv(f.t, 0, &batch, &f.none, &err), TRANSPORT_END);
	end(&f);
}

static void a_full_ring_takes_nothing(void **state)
{
	struct fixture f;
	struct error err;
	struct batch *batch = NULL;
	uint64_t seq = 0;
	int r;

	begin(&f);
	do {
		batch = batch_new(NULL);
		batch->seq = ++seq;
		r = f.w->ops->send(f.w, batch, &err);
	} while (r == 0 && seq < 1000000);
	assert_int_equal(r, TRANSPORT_FULL);
	assert_true(seq > 1000);
	/* it is still ours, and fits once there is room */
	for (uint64_t i = 1; i < seq; i++) {
		struct batch *first;

		assert_int_equal(f.t->ops->recv(f.t, 0, &first, &f.none, &err), 0);
		assert_int_equal(first->seq, i);
		batch_free(first);
		if (i == 1)
			assert_int_equal(f.w->ops->send(f.w, batch, &err), 0);
	}
	end(&f);
}

static void durability_goes_back_and_wakes_the_reader(void **state)
{
	struct fixture f;
	struct error err;
	eventfd_t n;

	begin(&f);
	assert_int_equal(f.w->ops->durable(f.w), 0);
	assert_int_not_equal(eventfd_read(f.reader_fd, &n), 0);
	assert_int_equal(f.t->ops->ack(f.t, 7, &err), 0);
	assert_int_equal(f.w->ops->durable(f.w), 7);
	assert_int_equal(eventfd_read(f.reader_fd, &n), 0);
	end(&f);
}

static void *wake_main(void *arg)
{
	struct fixture *f = arg;

	f->t->ops->wake(f->t);
	return NULL;
}

static void a_wake_ends_a_wait(void **state)
{
	struct fixture f;
	struct error err;
	struct batch *batch;
	pthread_t thread;
	struct mono began = mono_now();

	begin(&f);
	assert_int_equal(pthread_create(&thread, NULL, wake_main, &f), 0);
	assert_int_equal(f.t->ops->recv(f.t, 60000, &batch, &f.none, &err), TRANSPORT_IDLE);
	assert_true(mono_diff_us(mono_now(), began) < 30 * 1000000);
	pthread_join(thread, NULL);
	end(&f);
}

#define MANY 20000u

/* a reader: waits for memory and for room, and sometimes is slow, so that the other side falls asleep */
static void *producer_main(void *arg)
{
	struct fixture *f = arg;
	struct pollfd fd = { .fd = f->reader_fd, .events = POLLIN };
	struct error err;
	eventfd_t n;

	for (uint64_t seq = 1; seq <= MANY;) {
		struct batch *batch;

		if (!block_pool_available(f->pool, BATCH_MAX_BYTES)) {
			if (poll(&fd, 1, 30000) != 1)
				return NULL;
			eventfd_read(f->reader_fd, &n);
			continue;
		}
		batch = make_batch(f, seq);
		memset(arena_alloc(&batch->arena, seq % 1000), (int)seq, seq % 1000);
		while (f->w->ops->send(f->w, batch, &err) == TRANSPORT_FULL)
			poll(&fd, 1, 1);
		if (seq++ % 64 == 0) {
			/* until it is received: the consumer has nothing to do then */
			while (f->w->ops->durable(f->w) < seq - 1) {
				if (poll(&fd, 1, 30000) != 1)
					return NULL;
				eventfd_read(f->reader_fd, &n);
			}
		}
	}
	f->w->ops->end(f->w);
	return f;
}

static void two_threads_lose_nothing(void **state)
{
	struct fixture f;
	struct error err;
	uint64_t expected = 1;
	pthread_t thread;
	void *sent;
	int r;

	begin(&f);
	assert_int_equal(pthread_create(&thread, NULL, producer_main, &f), 0);
	for (;;) {
		struct batch *batch;

		r = f.t->ops->recv(f.t, 30000, &batch, &f.none, &err);
		if (r == TRANSPORT_IDLE)
			continue;
		if (r != 0)
			break;
		assert_int_equal(batch->seq, expected);
		assert_int_equal(batch->records[0].pos.major, expected);
		batch_free(batch);
		f.t->ops->ack(f.t, expected++, &err);
	}
	assert_int_equal(r, TRANSPORT_END);
	assert_int_equal(expected, MANY + 1);
	pthread_join(thread, &sent);
	assert_non_null(sent);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches_arrive_in_order_and_are_counted),
		cmocka_unit_test(the_end_comes_behind_the_last_batch),
		cmocka_unit_test(a_full_ring_takes_nothing),
		cmocka_unit_test(durability_goes_back_and_wakes_the_reader),
		cmocka_unit_test(a_wake_ends_a_wait),
		cmocka_unit_test(two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
