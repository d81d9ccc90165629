/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The transport in process: a ring with one producer (the reader) and one consumer (the applier).
 *
 * Invariants:
 *   1. `head` is written by the producer alone, `tail` by the consumer alone; a slot belongs to the producer
 *      until head is past it (release), to the consumer from then on (acquire). No lock, no copy: batches are
 *      handed over.
 *   2. A sleeping consumer is woken by an eventfd; the producer writes it only when the consumer has said
 *      that it sleeps, so a busy pipeline makes no system call per batch. The flag is set before the ring is
 *      looked at a last time, so no batch can be overlooked.
 *   3. The ring never fills before the memory budget does: a batch holds at least one block.
 */

#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/metrics.h>
#include <sluice/transport.h>

#define RING_SLOTS 4096u /* a power of two */

struct direct {
	struct transport_writer writer;
	struct transport_reader reader;
	atomic_uint halves; /* not freed yet */
	struct metrics *metrics;
	int recv_fd;				/* wakes the consumer */
	_Alignas(64) atomic_uint_fast64_t head; /* batches sent */
	atomic_bool ended;
	_Alignas(64) atomic_uint_fast64_t tail; /* batches received */
	atomic_bool sleeping;
	_Alignas(64) atomic_uint_fast64_t durable;
	struct batch *slots[RING_SLOTS];
};

static struct direct *of_writer(struct transport_writer *t)
{
	return (struct direct *)(void *)((uint8_t *)t - offsetof(struct direct, writer));
}

static struct direct *of_reader(struct transport_reader *t)
{
	return (struct direct *)(void *)((uint8_t *)t - offsetof(struct direct, reader));
}

static void wake_consumer(struct direct *direct)
{
	if (atomic_exchange(&direct->sleeping, false))
		eventfd_write(direct->recv_fd, 1);
}

/* what the stream is at lies in the target alone */
static int direct_open(
	struct transport_writer *t, const char *identity, struct transport_tail *ret, struct error *err)
{
	*ret = (struct transport_tail){ .identity = "" };
	return 0;
}

static int direct_send(struct transport_writer *t, struct batch *batch, struct error *err)
{
	struct direct *direct = of_writer(t);
	uint64_t head = atomic_load_explicit(&direct->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&direct->tail, memory_order_acquire) == RING_SLOTS)
		return TRANSPORT_FULL;
	atomic_fetch_add_explicit(&direct->metrics->queue_bytes, batch->arena.bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&direct->metrics->queue_records, batch->n_records, memory_order_relaxed);
	direct->slots[head % RING_SLOTS] = batch;
	atomic_store(&direct->head, head + 1);
	wake_consumer(direct);
	return 0;
}

static int direct_poll(struct transport_writer *t, struct error *err)
{
	return 0;
}

static void direct_end(struct transport_writer *t)
{
	struct direct *direct = of_writer(t);

	atomic_store(&direct->ended, true);
	wake_consumer(direct);
}

/* takes the oldest batch, NULL = none */
static struct batch *direct_take(struct direct *direct)
{
	uint64_t tail = atomic_load_explicit(&direct->tail, memory_order_relaxed);
	struct batch *batch;

	if (tail == atomic_load(&direct->head))
		return NULL;
	batch = direct->slots[tail % RING_SLOTS];
	atomic_store_explicit(&direct->tail, tail + 1, memory_order_release);
	atomic_fetch_sub_explicit(&direct->metrics->queue_bytes, batch->arena.bytes, memory_order_relaxed);
	atomic_fetch_sub_explicit(&direct->metrics->queue_records, batch->n_records, memory_order_relaxed);
	return batch;
}

static void direct_sleep(struct direct *direct, int timeout_ms)
{
	struct pollfd fd = { .fd = direct->recv_fd, .events = POLLIN };
	eventfd_t n;

	if (poll(&fd, 1, timeout_ms) > 0)
		eventfd_read(direct->recv_fd, &n);
}

static int direct_reader_open(struct transport_reader *t, struct error *err)
{
	return 0;
}

static int direct_recv(struct transport_reader *t, int timeout_ms, struct batch **ret,
	const struct partition **ret_partition, struct error *err)
{
	struct direct *direct = of_reader(t);
	bool ended;

	*ret = direct_take(direct);
	if (!*ret && timeout_ms != 0) {
		atomic_store(&direct->sleeping, true);
		*ret = direct_take(direct);
		if (!*ret && !atomic_load(&direct->ended))
			direct_sleep(direct, timeout_ms);
		atomic_store(&direct->sleeping, false);
		if (!*ret)
			*ret = direct_take(direct);
	}
	if (*ret)
		return 0;
	/* a batch may have been sent just before the end */
	ended = atomic_load(&direct->ended);
	*ret = direct_take(direct);
	if (*ret)
		return 0;
	return ended ? TRANSPORT_END : TRANSPORT_IDLE;
}

/* the ring has one partition that is never taken away */
static int direct_seek(struct transport_reader *t, const struct partition *partition,
	const struct progress *progress, struct error *err)
{
	return error_set(err, ERROR_BUG, "DIRECT", "the transport in process has no partitions");
}

static int direct_drop(struct transport_reader *t, const struct partition *partition, struct error *err)
{
	return error_set(err, ERROR_BUG, "DIRECT", "the transport in process has no partitions");
}

static int direct_ack(struct transport_reader *t, uint64_t seq, struct error *err)
{
	struct direct *direct = of_reader(t);

	atomic_store(&direct->durable, seq);
	eventfd_write(direct->writer.reader_fd, 1);
	return 0;
}

static uint64_t direct_durable(struct transport_writer *t)
{
	return atomic_load(&of_writer(t)->durable);
}

static void direct_wake(struct transport_reader *t)
{
	eventfd_write(of_reader(t)->recv_fd, 1);
}

/* one half less; the ring goes with the last */
static void direct_release(struct direct *direct)
{
	struct batch *batch;

	if (atomic_fetch_sub(&direct->halves, 1) > 1)
		return;
	while ((batch = direct_take(direct)))
		batch_free(batch);
	close(direct->recv_fd);
	free(direct);
}

static void direct_writer_free(struct transport_writer *t)
{
	direct_release(of_writer(t));
}

static void direct_reader_free(struct transport_reader *t)
{
	direct_release(of_reader(t));
}

static const struct transport_writer_ops writer_ops = {
	.open = direct_open,
	.send = direct_send,
	.poll = direct_poll,
	.durable = direct_durable,
	.end = direct_end,
	.free = direct_writer_free,
};

static const struct transport_reader_ops reader_ops = {
	.open = direct_reader_open,
	.recv = direct_recv,
	.seek = direct_seek,
	.drop = direct_drop,
	.ack = direct_ack,
	.wake = direct_wake,
	.free = direct_reader_free,
};

void transport_direct_new(struct metrics *metrics, int reader_fd, struct transport_writer **ret_writer,
	struct transport_reader **ret_reader)
{
	struct direct *direct = aligned_alloc(64, (sizeof(*direct) + 63) & ~(size_t)63);

	if (!direct)
		abort();
	*direct = (struct direct){
		.writer = { .ops = &writer_ops, .reader_fd = reader_fd },
		.reader = { .ops = &reader_ops },
		.halves = 2,
		.metrics = metrics,
		.recv_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (direct->recv_fd < 0)
		abort(); /* no file descriptors left: a restart is the way out */
	*ret_writer = &direct->writer;
	*ret_reader = &direct->reader;
}
