/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader's thread: source → batch → transport, and durability back to the source.
 *
 * Invariants:
 *   1. Only the ack ring decides what is confirmed, and only from what the transport reports durable.
 *   2. The source is served (timers, status updates) also while no memory is free: read() is then called without a
 *      batch, so a blocked target never makes the server think that we are gone.
 *   3. With a log, whoever is behind it knows the source only from us: once a second, or sooner, a heartbeat carries where the
 *      source's end is and up to when everything has been sent.
 *   4. A batch is sent as soon as the server has no more right now and the applier has nothing to do; while the
 *      applier is busy it is filled further. So batches are small when the load is, and grow by themselves.
 *   5. With a log, a batch of news that are old already is filled for a fiftieth of their age: nobody can tell the
 *      difference, and few large requests cost everybody much less than many small ones.
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
#define NEWS_MS		    1000
#define NEWS_SOON_MS	    200
#define PATIENCE	    50 /* parts of their age that news may wait */
#define PATIENCE_MAX_US	    20000

struct reader {
	struct attempt *at;
	struct batch *batch;
	uint64_t seq;
	struct ack_ring ring;
	bool in_transaction;   /* behind the last record of the batch */
	struct position last;  /* of the last END sent */
	struct mono last_news; /* a heartbeat with news was sent */
	uint64_t last_head;    /* its */
	bool resumed;	       /* a resume point was sent */
	uint32_t looked;       /* records of the batch that reader_patience() has seen */
	struct wall newest;    /* when the last transaction that they are of was committed */
};

/* only this thread writes it */
static void reader_sent(struct reader *rd, uint64_t major)
{
	if (major > atomic_load(&rd->at->sent))
		atomic_store(&rd->at->sent, major);
}

/* whether a transaction goes on behind a batch, and which one has ended last */
static void reader_follow(struct reader *rd)
{
	const struct batch *batch = rd->batch;

	for (uint32_t i = batch->n_records; i > 0; i--) {
		const struct record *rec = &batch->records[i - 1];

		if (rec->op == RECORD_END || rec->op == RECORD_ABORT || rec->op == RECORD_BEGIN) {
			rd->in_transaction = rec->op == RECORD_BEGIN;
			break;
		}
		if (rec->op != RECORD_HEARTBEAT && rec->op != RECORD_MESSAGE && rec->op != RECORD_SCHEMA)
			rd->in_transaction = true; /* a row: its BEGIN came before */
	}
	for (uint32_t i = batch->n_records; i > 0; i--) {
		const struct record *rec = &batch->records[i - 1];

		if (rec->op == RECORD_HEARTBEAT && rec->heartbeat->resume.len)
			reader_sent(rd, rd->at->format->major(rec->heartbeat->resume));
		if (rec->op != RECORD_END)
			continue;
		rd->last = rec->pos;
		reader_sent(rd, rec->pos.major);
		return;
	}
}

/* what the monitor has seen goes with the log, between two transactions */
static void reader_news(struct reader *rd)
{
	struct attempt *at = rd->at;
	uint64_t head = atomic_load(&at->news_head);
	struct mono now = mono_now();
	/* appliers that share partitions hear of them beside the rows, and lag behind by how seldom they do */
	bool soon = at->ctx->cfg->transport.kafka.layout == LAYOUT_TABLES && head != rd->last_head;
	struct record_heartbeat *beat;
	struct record *rec;

	if (at->role != ROLE_READER || !rd->batch || !head ||
		mono_diff_us(now, rd->last_news) < (soon ? NEWS_SOON_MS : NEWS_MS) * 1000)
		return;
	reader_follow(rd);
	if (rd->in_transaction)
		return;
	rd->last_news = now;
	rd->last_head = head;
	beat = arena_alloc(&rd->batch->arena, sizeof(*beat));
	*beat = (struct record_heartbeat){
		.at = { atomic_load(&at->news_at_us) },
		.head = head,
		.clear = { atomic_load(&at->news_clear_us) },
	};
	/* an idle source may be silent for long: where the stream began is known, and whoever is behind the log wants to know */
	if (!rd->resumed)
		beat->resume = at->start.resume;
	rec = batch_add(rd->batch);
	rec->op = RECORD_HEARTBEAT;
	rec->heartbeat = beat;
	rec->pos = rd->last;
}

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
			if (rec->heartbeat->resume.len)
				resume = rec->heartbeat->resume;
			break;
		case RECORD_BEGIN:
		case RECORD_READ:
		case RECORD_SCHEMA:
		case RECORD_MESSAGE:
		case RECORD_ABORT:
		case RECORD_FENCE:
		case RECORD_CHUNK:
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

static int reader_confirm(struct reader *rd, struct error *err)
{
	struct attempt *at = rd->at;

	if (at->writer->ops->poll(at->writer, err) < 0)
		return -1;
	if (!ack_ring_pop(&rd->ring, at->writer->ops->durable(at->writer)))
		return 0;
	if (SLUICE_FAULT_POINT("pipeline.reader.confirm"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.reader.confirm");
	if (at->role == ROLE_READER) {
		atomic_store(&at->durable, at->format->major(resume_box_get(&rd->ring.durable)));
		atomic_store(&at->progressed, true);
	}
	return at->src->ops->confirm(at->src, resume_box_get(&rd->ring.durable), err);
}

static int reader_send(struct reader *rd, struct error *err)
{
	struct transport_writer *out = rd->at->writer;
	struct resume resume;
	int r;

	reader_follow(rd);
	rd->batch->seq = rd->seq + 1;
	resume = reader_count(rd->at->ctx->metrics, rd->batch);
	ack_ring_push(&rd->ring, rd->batch->seq, resume);
	rd->resumed = rd->resumed || resume.len;
	rd->seq++;
	if (SLUICE_FAULT_POINT("pipeline.reader.send"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point pipeline.reader.send");
	while ((r = out->ops->send(out, rd->batch, err)) == TRANSPORT_FULL) {
		if (attempt_aborted(rd->at))
			return 0;
		r = rd->at->src->ops->read(rd->at->src, NULL, READ_TIMEOUT_MS, err);
		if (r >= 0)
			r = reader_confirm(rd, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	rd->batch = NULL; /* owned by the transport */
	rd->looked = 0;
	return 0;
}

/* how long the batch may still be filled, in µs; see invariant 5 */
static int64_t reader_patience(struct reader *rd)
{
	const struct attempt *at = rd->at;
	const struct batch *batch = rd->batch;
	int64_t age_us, us;

	if (at->role != ROLE_READER || batch_is_full(batch))
		return 0;
	for (; rd->looked < batch->n_records; rd->looked++) {
		const struct record *rec = &batch->records[rd->looked];

		if (rec->op == RECORD_BEGIN)
			rd->newest = rec->begin->commit_time;
	}
	age_us = wall_now().us + atomic_load(&at->clock_offset_us) - rd->newest.us;
	us = age_us / PATIENCE < PATIENCE_MAX_US ? age_us / PATIENCE : PATIENCE_MAX_US;
	return us - mono_diff_us(mono_now(), batch->filled);
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
		int64_t us = reader_patience(rd);

		hold = true;
		timeout_ms = us > SMALL_BATCH_WAIT_MS * 1000 ? (int)(us / 1000) : SMALL_BATCH_WAIT_MS;
	}
	r = at->src->ops->read(at->src, rd->batch, timeout_ms, err);
	if (r < 0)
		return r;
	/* what was read may all have been filtered: its bytes are in the batch, and no record */
	if (rd->batch && !rd->batch->n_records && batch_is_full(rd->batch))
		rd->batch = batch_free(rd->batch);
	reader_news(rd);
	if (!rd->batch || !rd->batch->n_records)
		return 0;
	if (!hold && rd->batch->n_records < SMALL_BATCH_RECORDS && !batch_is_full(rd->batch) &&
		metric_get(&at->ctx->metrics->queue_records) > 0)
		return 0; /* the applier is busy: fill on, once */
	if (reader_patience(rd) >= 1000)
		return 0;
	return reader_send(rd, err);
}

/* everything sent has arrived where it has to */
static bool reader_delivered(const struct reader *rd)
{
	const struct attempt *at = rd->at;

	return at->role == ROLE_READER ? at->writer->ops->durable(at->writer) >= rd->seq
				       : atomic_load(&at->applier_ended);
}

/* after the end of reading: wait for the applier, confirm what it made durable */
static int reader_drain(struct reader *rd, struct error *err)
{
	struct attempt *at = rd->at;
	int r = 0;

	if (rd->batch && rd->batch->n_records)
		r = reader_send(rd, err);
	at->writer->ops->end(at->writer);
	while (r >= 0 && !attempt_aborted(at) && !reader_delivered(rd)) {
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
