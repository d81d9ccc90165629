/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader's thread: source → batch → transport, and durability back to the source.
 *
 * Invariants:
 *   1. Only the ack ring decides what is confirmed, and only from what the transport reports durable.
 *   2. The source is served (timers, status updates) also while no memory is free: read() is then called without a
 *      batch, so a blocked target never makes the server think that we are gone.
 *   3. A batch is sent as soon as the server has no more right now and the applier has nothing to do; while the
 *      applier is busy it is filled further. So batches are small when the load is, and grow by themselves.
 */

#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/fault.h>

#include "ack_ring.h"
#include "attempt.h"

/* how long one read may wait: timers of the source are finer, this bounds how late a flag is seen */
#define READ_TIMEOUT_MS 200
/* a batch of fewer records is kept open this long while the applier is busy anyway */
#define SMALL_BATCH_RECORDS 1024
#define SMALL_BATCH_WAIT_MS 2

struct reader {
	struct attempt *at;
	struct batch *batch;
	uint64_t seq;
	struct ack_ring ring;
};

/* counts what a batch holds and returns the resume point of its last END or HEARTBEAT */
static struct resume reader_count(struct metrics *metrics, const struct batch *batch)
{
	uint64_t inserts = 0, updates = 0, deletes = 0, truncates = 0, transactions = 0;
	struct resume resume = { 0 };

	for (uint32_t i = 0; i < batch->n_records; i++) {
		const struct record *rec = &batch->records[i];

		switch ((enum record_op)rec->op) {
		case RECORD_INSERT:
			inserts++;
			break;
		case RECORD_UPDATE:
			updates++;
			break;
		case RECORD_DELETE:
			deletes++;
			break;
		case RECORD_TRUNCATE:
			truncates++;
			break;
		case RECORD_END:
			transactions++;
			resume = rec->end->resume;
			break;
		case RECORD_HEARTBEAT:
			resume = rec->heartbeat->resume;
			break;
		case RECORD_BEGIN:
		case RECORD_READ:
		case RECORD_SCHEMA:
		case RECORD_MESSAGE:
		case RECORD_ABORT:
		case RECORD_FENCE:
			break;
		}
	}
	metric_add(&metrics->read_insert, inserts);
	metric_add(&metrics->read_update, updates);
	metric_add(&metrics->read_delete, deletes);
	metric_add(&metrics->read_truncate, truncates);
	metric_add(&metrics->read_transactions, transactions);
	return resume;
}

static int reader_send(struct reader *rd, struct error *err)
{
	struct transport *transport = rd->at->transport;
	int r;

	rd->batch->seq = rd->seq + 1;
	ack_ring_push(&rd->ring, rd->batch->seq, reader_count(rd->at->ctx->metrics, rd->batch));
	rd->seq++;
	if (SLUICE_FAULT_POINT("pipeline.reader.send"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.reader.send");
	while ((r = transport->ops->send(transport, rd->batch, err)) == TRANSPORT_FULL) {
		if (attempt_aborted(rd->at))
			return 0;
		r = rd->at->src->ops->read(rd->at->src, NULL, READ_TIMEOUT_MS, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	rd->batch = NULL; /* owned by the transport */
	return 0;
}

static int reader_confirm(struct reader *rd, struct error *err)
{
	if (!ack_ring_pop(&rd->ring, rd->at->transport->ops->durable(rd->at->transport)))
		return 0;
	if (SLUICE_FAULT_POINT("pipeline.reader.confirm"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.reader.confirm");
	return rd->at->src->ops->confirm(rd->at->src, resume_box_get(&rd->ring.durable), err);
}

/* one turn: read what is there, send it when it is time */
static int reader_turn(struct reader *rd, struct error *err)
{
	struct attempt *at = rd->at;
	int timeout_ms = READ_TIMEOUT_MS;
	bool hold = false;
	int r;

	if (!rd->batch && block_pool_available(at->pool, BATCH_MAX_BYTES))
		rd->batch = batch_new(at->pool);
	if (rd->batch && rd->batch->n_records) {
		hold = true;
		timeout_ms = SMALL_BATCH_WAIT_MS;
	}
	r = at->src->ops->read(at->src, rd->batch, timeout_ms, err);
	if (r < 0)
		return r;
	/* what was read may all have been filtered: its bytes are in the batch, and no record */
	if (rd->batch && !rd->batch->n_records && batch_is_full(rd->batch))
		rd->batch = batch_free(rd->batch);
	if (!rd->batch || !rd->batch->n_records)
		return 0;
	if (!hold && rd->batch->n_records < SMALL_BATCH_RECORDS && !batch_is_full(rd->batch) &&
		metric_get(&at->ctx->metrics->queue_records) > 0)
		return 0; /* the applier is busy: fill on, once */
	return reader_send(rd, err);
}

/* after the end of reading: wait for the applier, confirm what it made durable */
static int reader_drain(struct reader *rd, struct error *err)
{
	struct attempt *at = rd->at;
	int r = 0;

	if (rd->batch && rd->batch->n_records)
		r = reader_send(rd, err);
	at->transport->ops->end(at->transport);
	while (r >= 0 && !attempt_aborted(at) && !atomic_load(&at->applier_ended)) {
		r = at->src->ops->read(at->src, NULL, READ_TIMEOUT_MS, err);
		if (r >= 0)
			r = reader_confirm(rd, err);
	}
	if (r >= 0 && !attempt_aborted(at))
		r = reader_confirm(rd, err);
	/* a turn without a batch sends the last status update before the connection closes */
	if (r >= 0 && !attempt_aborted(at))
		r = at->src->ops->read(at->src, NULL, READ_TIMEOUT_MS, err);
	return r;
}

void *reader_main(void *arg)
{
	struct attempt *at = arg;
	struct reader rd = { .at = at, .ring = ACK_RING_INIT };
	struct error err = ERROR_INIT;
	int r = 0;

	while (r >= 0 && !attempt_aborted(at) && !attempt_draining(at)) {
		r = reader_turn(&rd, &err);
		if (r >= 0)
			r = reader_confirm(&rd, &err);
	}
	if (r >= 0 && !attempt_aborted(at))
		r = reader_drain(&rd, &err);
	if (r < 0)
		attempt_fail(at, "source", &err);
	batch_free(rd.batch);
	ack_ring_fini(&rd.ring);
	atomic_store(&at->reader_ended, true);
	eventfd_write(at->done_fd, 1);
	return NULL;
}
