/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What applying needs, and its parts: the tables (tables.c), prepared statements and COPY (execute.c),
 * groups in one transaction (apply.c), what of a group is applied (group.c), its net effect (reduced.c), records one by one
 * in source order (ordered.c), a copy's marks (chunks.h), constraints that the replica role switches off (deferred.c), dead
 * letters (letters.c).
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/arena.h>

#include "chunks.h"
#include "group.h"
#include "sink.h"
#include "statement.h"
#include "tables.h"
#include "target.h"

#define APPLY_AGAIN 1 /* the reduced form failed: roll back and go record by record */
#define APPLY_LACKS 2 /* a target lacks columns */

/* where a parameter's values come from */
struct statement_source {
	const struct target_column *column;
	uint32_t type_oid; /* at the source */
	uint32_t index;	   /* in the key array or the row array */
	bool from_key;
};

struct statement {
	enum statement_kind kind;
	char name[16];
	bool prepared;	   /* the server has confirmed it */
	uint64_t round;	   /* of the queue, in which it was sent */
	uint64_t *present; /* bits of the columns that the rows have; made for these */
	uint32_t n_params;
	struct statement_source *params;
	struct statement *next;
};

/* rows for one statement: keys[i] has target->n_keys values (WHOLE: the old row), rows[i] has rel->n_columns */
struct row_set {
	const struct value *const *keys, *const *rows;
	uint32_t n;
	const struct record *rec; /* the only, or the last one, for errors */
};

struct blocked; /* keys with a pending dead letter; letters.c */

struct net;

struct apply {
	struct sink_postgres *sink;
	struct progress_row *row; /* of the partition whose group is or was applied */
	struct tables tables;
	struct net *net;
	struct buf sql, copy;
	struct buf *params; /* one per parameter */
	const char **values;
	int *lengths, *formats;
	uint32_t cap_params;
	const struct value **keys, **rows; /* scratch of one statement */
	uint32_t cap_rows;
	struct value *key; /* scratch of one record */
	uint32_t cap_key;
	uint64_t n_statements;
	const struct record *rec; /* the one being queued, for errors */

	bool open;		   /* a transaction over several groups is open */
	bool check_rows;	   /* something in the queue has an expectation: read it before COMMIT */
	struct progress_next next; /* what progress moves to; resume points into the group's batch */
	struct apply_result result;
	struct group_scan scan;
	struct chunk_table *chunk_tables; /* of the group, in the arena */
	struct chunk_at chunk;		  /* where the partition is behind the group */
	struct wall commit_time;	  /* of the transaction that the records being applied belong to */
	struct arena arena;		  /* of one group: noted keys */
	struct blocked *blocked;	  /* NULL = none */
	bool letters_read;		  /* and nothing has been written since that blocked does not know */
};

/** apply_key() - the key that finds the record's row, in target->keys' order, in apply->key.
 * Return: false when the source did not send it whole. */
bool apply_key(struct apply *apply, const struct target *target, const struct record *rec);

struct apply *apply_new(struct sink_postgres *sink);
struct apply *apply_free(struct apply *apply);
/** apply_group() - see sink_ops.apply. */
int apply_group(
	struct apply *apply, const struct apply_group *group, struct apply_result *ret, struct error *err);
int apply_idle(struct apply *apply, struct error *err);
/** apply_release() - rolls back what is open of the row's partition, and forgets the row. Session in ordinary mode after. */
int apply_release(struct apply *apply, const struct progress_row *row, struct error *err);
/** apply_sql() - queues a statement. apply_wait() - the answers of what is on its way: 0, APPLY_AGAIN, negative.
 * apply_failed() - the same of a failure that was read already. */
int apply_sql(struct apply *apply, const char *sql, struct error *err);
int apply_wait(struct apply *apply, struct error *err);
int apply_failed(struct apply *apply, struct error *err);

/* execute.c */
struct statement *statement_free(struct statement *st); /* returns NULL */
/** execute_rows() - queues the rows as one or more array statements of `kind`; all rows have the same columns present.
 * @expect: true = every row has to be touched exactly once. */
int execute_rows(struct apply *apply, struct target *target, enum statement_kind kind,
	const struct row_set *set, bool expect, struct error *err);
/** execute_copy() - writes inserts by COPY; the queue must have been waited for. Return: 0, QUEUE_FAILED, negative;
 * EXECUTE_NO_COPY: these rows cannot go by COPY (nothing was sent). */
#define EXECUTE_NO_COPY 8
int execute_copy(struct apply *apply, struct target *target, const struct row_set *set, struct error *err);
/** execute_keys() - queues a statement of the caller's whose parameters are the keys of a set. */
int execute_keys(struct apply *apply, struct target *target, const char *sql, const struct row_set *set,
	const struct queue_item *item, struct error *err);
int execute_truncate(struct apply *apply, const struct record *rec, struct error *err);
/** truncate_own() - removes the rows of one partition. Nothing may be on its way. Blocks: as the table is large. Return: 0,
 * negative. */
int truncate_own(struct apply *apply, const struct record *rec, struct error *err);

/* ordered.c */
/** ordered_queue() - queues one record's statements, rows expected; the caller waits. */
int ordered_queue(struct apply *apply, const struct record *rec, struct error *err);
/** ordered_single() - one record, waited for. Return: 0, QUEUE_FAILED (*err names why; the transaction is aborted),
 * negative. */
int ordered_single(struct apply *apply, const struct record *rec, struct error *err);
/** ordered_group() - a whole group record by record, with the policies for errors, missing rows and conflicts.
 * Return: 0, negative with the record named. */
int ordered_group(struct apply *apply, const struct apply_group *group, struct error *err);
/** ordered_error() - the queue's failure as an error of its record: class, code, where. Returns -1. */
int ordered_error(struct apply *apply, struct error *err);

/* deferred.c */
/** deferred_note() - remembers the row for deferred_check(); does nothing for a table without deferred constraints. */
void deferred_note(struct apply *apply, struct target *target, const struct value *key);
/** deferred_check() - queues the checks of constraints that the replica role switched off, for the rows noted (in a
 * transaction over several groups: whole tables). deferred_reset() forgets them. */
int deferred_check(struct apply *apply, struct error *err);
void deferred_reset(struct apply *apply);

/* letters.c */
/** letters_load() - reads the keys that have a pending dead letter. Session in ordinary mode. */
int letters_load(struct apply *apply, struct error *err);
/** letters_doubt() - another may have written some, or ours were rolled back: the next letters_load() reads them. */
void letters_doubt(struct apply *apply);
/** letters_blocks() - true when an earlier record of the record's key is a pending dead letter. */
bool letters_blocks(struct apply *apply, const struct record *rec, const struct target *target);
/** letters_put() - queues the record as a dead letter, with its error. The caller waits. */
int letters_put(struct apply *apply, const struct record *rec, const struct error *why, struct error *err);
void letters_free(struct blocked *blocked);
