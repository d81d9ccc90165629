/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One attempt at running the stream: the objects of both ends, the three threads that work on them and what these
 * threads tell each other. Built and torn down whole by the supervisor; after an error nothing of it is kept.
 *
 *   reader   owns the source's stream: reads into batches, sends them, confirms what is durable
 *   applier  owns the sink: groups batches into target transactions, acks
 *   monitor  owns the source's second connection: lag, alarms, barrier, readiness, phase
 *
 * With a log between them reader and applier are two attempts, in one process or two, each with a monitor of its own.
 */

#include <pthread.h>
#include <stdatomic.h>

#include <sluice/arena.h>
#include <sluice/pipeline.h>
#include <sluice/sink.h>
#include <sluice/source.h>
#include <sluice/transform.h>
#include <sluice/transport.h>

struct attempt {
	struct context *ctx;
	const struct pipeline_options *opt;
	enum pipeline_role role; /* what this attempt does; WHOLE: with the transport in process */
	const struct source_format *format;
	struct source *src;		 /* NULL: the applier's half */
	struct transport_writer *writer; /* the same */
	struct sink *sink;		 /* NULL: the reader's half */
	struct transport_reader *reader; /* the same */
	struct transform *transforms;
	struct block_pool *pool;
	int reader_fd;		   /* eventfd: durable moved, memory came back, stop */
	int done_fd;		   /* eventfd: a thread has ended */
	struct progress progress;  /* WHOLE: the target's, as claimed */
	struct source_start start; /* where the stream goes on: what the target, or the log, holds */
	struct resume_box tail;	   /* start.resume, where it is not the target's */

	atomic_bool abort; /* end at once: an error happened */
	atomic_bool drain; /* end in order: deliver, make durable, confirm */
	atomic_bool reader_ended, applier_ended;
	atomic_bool streaming; /* reader and applier run */
	atomic_bool monitor_stop;
	atomic_bool progressed;	      /* something was applied or confirmed: the backoff starts anew */
	atomic_bool post_done;	      /* the snapshot's keys and indexes are in place */
	atomic_uint_fast64_t passed;  /* major of the newest point whose past is applied (END or HEARTBEAT) */
	atomic_uint_fast64_t durable; /* the same, stored and durable in the target */
	atomic_int_fast64_t
		pending_us; /* commit time (wall µs, source's clock) of the oldest unapplied; 0 = none */
	atomic_int_fast64_t clock_offset_us; /* source's clock minus ours */
	atomic_uint_fast64_t sent;	     /* major of the newest transaction handed to the transport */
	/* with a log: news of the source for those behind it, made by the monitor, sent by the reader once a second */
	atomic_uint_fast64_t news_head;
	atomic_int_fast64_t news_at_us, news_clear_us; /* the source's clock */
	atomic_uint_fast32_t
		log_partitions; /* that rows are spread over, as the reader says; 0 = unknown, or one */
	atomic_uint_fast64_t log_major;	     /* of the newest point that it said so of */
	atomic_int_fast64_t passed_clear_us; /* of the last heartbeat applied: all committed until then is */
	atomic_bool
		reached; /* the applier's half has come to its end point, or to the end of snapshot.mode only */
	atomic_uint_fast64_t *until; /* end point of the run (process lifetime); 0 = none or not known yet */

	pthread_mutex_t lock; /* guards what follows */
	struct {
		uint64_t head;
		struct wall at;	  /* the source's clock */
		struct mono when; /* .us 0 = never */
	} heard;		  /* the newest of those news */
	char marked[96];	  /* identity of the source that attempt_mark_source() asked; the monitor's */
	struct error err;
	const char *err_stage; /* NULL = no error yet */
};

/** attempt_fail() - the first error of any thread ends the attempt. Thread: any. Blocks: never. */
void attempt_fail(struct attempt *at, const char *stage, const struct error *err);
/** attempt_wake() - makes reader and applier look at the flags. Thread: any. Blocks: never. */
void attempt_wake(struct attempt *at);
/** attempt_hear() - keeps what the newest heartbeat of a batch says about the source. Thread: the applier's. Blocks: never. */
void attempt_hear(struct attempt *at, const struct batch *batch);
/**
 * attempt_whole() - up to where the target as a whole is applied, when so many partitions are up to major: nothing is said
 * beyond the newest heartbeat, since there may be partitions that nobody has heard of. 0 = unknown. Thread: the applier's.
 */
uint64_t attempt_whole(const struct attempt *at, uint32_t partitions, uint64_t major);
/** attempt_mark_source() - an end point at the source for an applier whose config says where that is; else *ret_major is 0.
 * Thread: the monitor's. Blocks: up to 15 s. Return: 0, negative. */
int attempt_mark_source(struct attempt *at, uint64_t *ret_major, struct error *err);

static inline bool attempt_aborted(const struct attempt *at)
{
	return atomic_load_explicit(&at->abort, memory_order_acquire);
}

static inline bool attempt_draining(const struct attempt *at)
{
	return atomic_load_explicit(&at->drain, memory_order_acquire);
}

enum attempt_outcome {
	ATTEMPT_FAILED,	 /* at->err tells why */
	ATTEMPT_STOPPED, /* ctx->stop: drained */
	ATTEMPT_DONE,	 /* the end point was reached, or there is nothing left to do */
	ATTEMPT_STANDBY, /* another instance holds the lease */
};

/**
 * attempt_run() - one attempt from connecting to the end, everything torn down again before it returns.
 * @at: zeroed but for ctx, opt and until; the error and `progressed` are valid afterwards.
 * Thread: the supervisor's. Blocks: as long as the stream runs.
 */
enum attempt_outcome attempt_run(struct attempt *at);

/* thread bodies; arg is the attempt */
void *reader_main(void *arg);
void *applier_main(void *arg);
void *monitor_main(void *arg);
void *announce_main(void *arg);
