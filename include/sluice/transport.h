/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A transport carries batches from one reader to the appliers, and news of durability back. It has two halves, which
 * live in one process (direct) or in two (kafka): the reader's, which is written to, and the applier's, which is
 * read from. seq numbers are given by whoever fills the batch: the reader for the first, the transport for the
 * second half; ascending from 1.
 */

#include <sluice/batch.h>
#include <sluice/context.h>
#include <sluice/error.h>
#include <sluice/lookup.h>
#include <sluice/snapshot.h>
#include <sluice/state.h>

struct catalog;
struct transport_writer;
struct transport_reader;
struct progress;

#define TRANSPORT_IDLE	   1 /* recv: nothing within the time */
#define TRANSPORT_END	   2 /* recv: the reader has ended, everything was received (direct only) */
#define TRANSPORT_FULL	   3 /* send: not taken; wait for reader_fd */
#define TRANSPORT_ASSIGNED 4 /* recv: *ret_partition is ours now: claim its progress, then seek() */
#define TRANSPORT_REVOKED                                                                                    \
	5 /* recv: *ret_partition is not ours any more: forget what came from it, then drop() */

/* what the log holds of this stream already: its last accepted record */
struct transport_tail {
	bool exists;
	struct position position; /* records at or below it are dropped by send() */
	struct resume resume;	  /* of the newest END, HEARTBEAT or CONTINUE at or before it */
	const char *identity;	  /* of the source; "" = none; owned by the writer */
};

/* the reader's half */
struct transport_writer_ops {
	/**
	 * open() - connects, takes the log over (fences whoever wrote before) and tells what it holds. Afterwards state and
	 * snapshot are usable. Thread: the supervisor's. Blocks: bounded by the driver's time-outs. Return: 0, negative.
	 */
	int (*open)(struct transport_writer *t, const char *identity, struct transport_tail *ret,
		struct error *err);
	/** send() - hands a batch on; on 0 the transport owns it. Thread: reader's. Blocks: never. */
	int (*send)(struct transport_writer *t, struct batch *batch, struct error *err);
	/** poll() - serves the other side's answers. Called whenever reader_fd was written, and every 200 ms at least.
	 * Thread: reader's. Blocks: never. Return: 0, negative: what was sent is not there, and never will be. */
	int (*poll)(struct transport_writer *t, struct error *err);
	/** durable() - newest seq that is durable downstream, and every one before it. Thread: reader's. Blocks: never. */
	uint64_t (*durable)(struct transport_writer *t);
	/** end() - no more batches will come. Thread: reader's. */
	void (*end)(struct transport_writer *t);
	void (*free)(struct transport_writer *t);
};

struct transport_writer {
	const struct transport_writer_ops *ops;
	int reader_fd; /* an eventfd, written when durable() may have moved or there is room again; the creator's */
	struct state *state; /* the migration's store in the log; NULL: it is the target's (direct) */
	struct snapshot_sink *snapshot; /* takes the copy as records; NULL: it goes to the target (direct) */
	struct lookup *lookup;		/* borrowed, set before open(); NULL: the source cannot be asked */
};

/* the applier's half; all calls but wake() from the applier's thread */
struct transport_reader_ops {
	/** open() - connects. Blocks: bounded by the driver's time-outs. Return: 0, negative. */
	int (*open)(struct transport_reader *t, struct error *err);
	/**
	 * recv() - the next batch, which the caller owns, or news about a partition. Where a partition holds rows without
	 * transactions (layout tables, another program's topics), each batch is framed by a BEGIN and an END of its own: their
	 * positions are those of the first and of the last row, the offset is the last message's, there is no resume point.
	 * Blocks: up to timeout_ms.
	 * Return: 0, TRANSPORT_IDLE, _END, _ASSIGNED, _REVOKED, negative (RESYNC 80: the log lost what follows progress …).
	 */
	int (*recv)(struct transport_reader *t, int timeout_ms, struct batch **ret,
		const struct partition **ret_partition, struct error *err);
	/**
	 * prepare() - a part of what the next recv() would have to do: what has come is decoded, nothing is handed out. What goes
	 * wrong is for a later recv() to say. Blocks: a fraction of a millisecond, or a round trip; longer where a table's
	 * description has to be fetched.
	 * Return: false = there is nothing to do, or no room. NULL: recv() has nothing to prepare.
	 */
	bool (*prepare)(struct transport_reader *t);
	/** seek() - delivers partition from behind what progress says is applied; checks that the log still follows from it.
	 * Return: 0, negative (RESYNC 80, TRANSIENT). */
	int (*seek)(struct transport_reader *t, const struct partition *partition,
		const struct progress *progress, struct error *err);
	/** drop() - answers TRANSPORT_REVOKED once nothing of the partition is in work. */
	int (*drop)(struct transport_reader *t, const struct partition *partition, struct error *err);
	/** ack() - batches up to seq are durably applied. Blocks: never. */
	int (*ack)(struct transport_reader *t, uint64_t seq, struct error *err);
	/** wake() - makes a blocked recv() return TRANSPORT_IDLE. Thread: any. */
	void (*wake)(struct transport_reader *t);
	void (*free)(struct transport_reader *t);
};

struct transport_reader {
	const struct transport_reader_ops *ops;
	/* the target's tables, for a log whose messages do not describe them; NULL = nobody knows; set before open() */
	struct catalog *catalog;
	/* bytes that recv() could give at once but has not yet; for limits and metrics */
	uint64_t waiting_bytes;
	bool spread; /* rows come in many partitions, which several appliers may share */
	/* set by the applier while it cannot take batches for long: recv() brings news of partitions alone then */
	bool hold;
};

/** transport_direct_new() - a ring in process, both halves at once; queue_* gauges are kept in metrics. reader_fd is
 * borrowed. Each half is freed by its own free(); the ring goes with the second. */
struct metrics;
void transport_direct_new(struct metrics *metrics, int reader_fd, struct transport_writer **ret_writer,
	struct transport_reader **ret_reader);

/** transport_kafka_writer_new(), _reader_new() - the halves on Kafka; ctx->cfg->transport.kafka says where. pool bounds the
 * memory of the batches received. reader_fd is borrowed. */
struct transport_writer *transport_kafka_writer_new(const struct context *ctx, int reader_fd);
struct transport_reader *transport_kafka_reader_new(const struct context *ctx, struct block_pool *pool);

/**
 * transport_kafka_letters_new() - the topic of the dead letters; connects with the first letter.
 * @identity: of the target that keeps them, borrowed. @cancel: borrowed; true makes letters_put() come back.
 */
struct letters_topic;
struct dead_letter;
struct letters_topic *transport_kafka_letters_new(
	const struct context *ctx, const char *identity, const atomic_bool *cancel);
/** transport_kafka_letters_max() - longest record that a message has room for, bytes. */
size_t transport_kafka_letters_max(const struct letters_topic *topic);
/**
 * transport_kafka_letters_put() - publishes the letters in this order. done[i]: all in-sync replicas have letter i.
 * Thread: one at a time. Blocks: 10 s for the acks, the first time up to 4 × 10 s more. Return: 0 = done are as many as
 * there was room for, at least one; negative: some may be done.
 */
int transport_kafka_letters_put(struct letters_topic *topic, const struct dead_letter *letters, uint32_t n,
	bool *done, struct error *err);
/** transport_kafka_letters_free() - NULL is allowed; returns NULL. */
struct letters_topic *transport_kafka_letters_free(struct letters_topic *topic);

/** transport_kafka_state_open() - the log's store as it stands now, to be read. Blocks: up to 30 s. Return: 0, negative. */
int transport_kafka_state_open(const struct context *ctx, struct state **ret, struct error *err);
/** transport_kafka_state_close() - NULL is allowed; returns NULL. */
struct state *transport_kafka_state_close(struct state *state);
