/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Statements on their way to the server: libpq's pipeline mode with a list of what is expected of each.
 * Statements are sent as they are added; queue_wait() reads all results and says which statement failed
 * first, or touched another number of rows than expected.
 */

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/error.h>
#include <sluice/meanwhile.h>

#define QUEUE_FAILED                                                                                         \
	1 /* queue_wait(): a statement failed: queue->failed, queue->error; the queue is usable again */
#define QUEUE_MISMATCH 2 /* queue_wait(): all succeeded, one touched another number of rows: queue->failed */
#define QUEUE_NONE     UINT32_MAX

struct queue_item {
	int64_t expect;	  /* rows it has to touch; < 0: any */
	int64_t rows;	  /* it touched; valid after queue_wait() */
	const void *who;  /* the caller's: what it was made from */
	const char *what; /* static text for errors: "insert" */
	uint32_t tag;	  /* the caller's */
	bool counted;	  /* the number of rows is the first value of its result, not its command tag */
	/* looks at a successful result; NULL = nothing to see */
	void (*result)(void *arg, const PGresult *res);
	void *arg;
};

struct queue {
	PGconn *conn;
	const struct meanwhile *meanwhile; /* borrowed */
	struct queue_item *items;	   /* since the last queue_clear() */
	uint32_t n, cap, done;		   /* done: results read */
	uint64_t round;			   /* counts queue_clear() */
	uint32_t failed;		   /* index of the first item that failed or mismatched; QUEUE_NONE */
	bool error_seen;
	char sqlstate[6];    /* of the failure */
	char constraint[64]; /* of the failure, "" = none */
	char column[64];     /* of the failure, "" = none */
	struct error error;  /* of the failure, without the caller's context */
};

/** queue_init() - binds the queue to a session in ordinary mode. @meanwhile: borrowed; done while the server works. */
void queue_init(struct queue *queue, PGconn *conn, const struct meanwhile *meanwhile);
void queue_fini(struct queue *queue);

/** queue_enter() - pipeline mode on (no traffic); the session must be idle. queue_leave() - off; nothing may be
 * outstanding. Return: 0, negative (TRANSIENT). */
int queue_enter(struct queue *queue, struct error *err);
int queue_leave(struct queue *queue, struct error *err);

/** queue_sql() - adds a statement without parameters. Blocks: while the server takes no more. Return: 0, negative. */
int queue_sql(struct queue *queue, const char *sql, const struct queue_item *item, struct error *err);
/** queue_prepare() - adds a PREPARE; the name is the caller's. */
struct queue_statement {
	const char *name, *sql;
	int n_params;
	const Oid *types;
};
int queue_prepare(struct queue *queue, const struct queue_statement *st, const struct queue_item *item,
	struct error *err);
/** queue_exec() - adds an execution of a prepared statement; values are copied. */
struct queue_params {
	int n;
	const char *const *values;
	const int *lengths, *formats; /* lengths of text values too; these end with NUL as well */
};
int queue_exec(struct queue *queue, const char *name, const struct queue_params *params,
	const struct queue_item *item, struct error *err);

/**
 * queue_wait() - reads every outstanding result. Transactions stay as they are: after QUEUE_FAILED the
 * transaction is aborted at the server and has to be rolled back. Blocks: as long as the server works.
 * Return: 0, QUEUE_FAILED, QUEUE_MISMATCH, negative (connection lost).
 */
int queue_wait(struct queue *queue, struct error *err);

/** queue_clear() - forgets the items that queue_wait() has answered. */
void queue_clear(struct queue *queue);

/**
 * queue_copy_begin() - leaves pipeline mode and starts COPY … FROM STDIN; everything before has been waited
 * for. queue_copy_put() - sends data; the server's refusal is seen at the end. queue_copy_end() - ends the
 * data, waits for the answer and goes back to pipeline mode. Blocks: as long as the server works. Return:
 * 0, QUEUE_FAILED (begin, end), negative.
 */
int queue_copy_begin(struct queue *queue, const char *sql, const struct queue_item *item, struct error *err);
int queue_copy_put(struct queue *queue, const void *data, size_t len, struct error *err);
int queue_copy_end(struct queue *queue, struct error *err);
