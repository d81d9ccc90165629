/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A transport carries batches from one reader to one applier (direct: in process) and news of durability back.
 * seq numbers are given by the reader, one per batch, ascending; `durable` is the newest seq whose batch, and
 * every one before it, is durable downstream.
 */

#include <sluice/batch.h>
#include <sluice/error.h>

struct transport;

#define TRANSPORT_IDLE 1 /* recv: nothing within the time */
#define TRANSPORT_END  2 /* recv: the reader has ended, everything was received */
#define TRANSPORT_FULL 3 /* send: not taken; wait for reader_fd */

struct transport_ops {
	/** send() - hands a batch on; on 0 the transport owns it. Thread: reader's. Blocks: never. */
	int (*send)(struct transport *t, struct batch *batch, struct error *err);
	/** end() - no more batches will come. Thread: reader's. */
	void (*end)(struct transport *t);
	/** recv() - the next batch; the caller owns it. Thread: applier's. Blocks: up to timeout_ms. */
	int (*recv)(struct transport *t, int timeout_ms, struct batch **ret, struct error *err);
	/** ack() - batches up to seq need not be sent again. Thread: applier's. Blocks: never. */
	int (*ack)(struct transport *t, uint64_t seq, struct error *err);
	/** durable() - newest seq acked. Thread: reader's. Blocks: never. */
	uint64_t (*durable)(struct transport *t);
	/** wake() - makes a blocked recv() return TRANSPORT_IDLE. Thread: any. */
	void (*wake)(struct transport *t);
	void (*free)(struct transport *t);
};

struct transport {
	const struct transport_ops *ops;
	int reader_fd; /* an eventfd, written when durable() has moved or memory came back; owned by the creator */
};

/** transport_direct_new() - a ring in process; queue_* gauges are kept in metrics. reader_fd is borrowed. */
struct metrics;
struct transport *transport_direct_new(struct metrics *metrics, int reader_fd);
