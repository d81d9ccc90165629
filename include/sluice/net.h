/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The net effect of a group of records per key, for sinks that write in bulk. Pure: no I/O.
 *
 * Input: the row records of a group in order. Output per relation: the rows to delete, to update, to insert,
 * each key at most once, such that writing deletes, then updates, then inserts gives the same end state as
 * replaying the records, whether relation by relation or all deletes before all updates before all inserts.
 * Keys are compared byte by byte on the replica identity's columns. A partial update (absent columns) merges
 * into an earlier insert or update of the same key. What cannot be reduced ends the run: the caller writes
 * the run, applies that record in order, and goes on behind it.
 */

#include <sluice/arena.h>
#include <sluice/batch.h>
#include <sluice/sink.h>

#define NET_BOUNDARY 1

enum net_op { NET_DELETE, NET_UPDATE, NET_INSERT, NET_OPS };

struct net_row {
	/* n_keys values in the order of the key columns; NULL for inserts of a keyless relation */
	struct value *key;
	struct value *row; /* n_columns values; NULL for a delete */
	uint64_t present;  /* names the set of columns that are not absent; 0 = all; equal = one statement */
	const struct record *rec; /* the last record that made it, for error context */
};

struct net_table {
	struct relation *rel;	       /* borrowed from the group's batches */
	struct net_row *rows[NET_OPS]; /* in first-come order; updates of equal `present` stand together */
	uint32_t n_rows[NET_OPS];
	struct net_table *next; /* in the order of first appearance */
};

/* a place in a group */
struct net_at {
	uint32_t span, record; /* index of the span; index of the record in its batch */
};

struct net;

/** net_new() - an empty reducer; its memory is kept between runs. */
struct net *net_new(void);
struct net *net_free(struct net *net);

/** net_at_begin() - the first record of a group. */
struct net_at net_at_begin(const struct apply_group *group);
/** net_at_record() - the record at a place; NULL behind the end. Skips to the next span by itself. */
struct record *net_at_record(const struct apply_group *group, struct net_at *at);

/**
 * net_build() - reduces the records from *at on.
 * @at: in: where to begin; out: behind the last record taken, or at the one that ended the run.
 * @ret_tables: valid until the next net_build(), as long as the group's batches live; NULL = no rows. A table
 * may be without rows.
 * Ends the run (NET_BOUNDARY): a key change, a TRUNCATE, an UPDATE or DELETE of a relation that is found by
 * its whole row, the first row of a relation that was described anew, a record that does not follow from the
 * ones before (an INSERT of a key that is there), a change of a table behind rows of its copy (READ), or the
 * reverse. BEGIN, END, HEARTBEAT, MESSAGE, SCHEMA, CHUNK and the rest are passed over.
 * Thread: the applier's. Blocks: never. Return: 0 = the group's end, NET_BOUNDARY.
 */
int net_build(
	struct net *net, const struct apply_group *group, struct net_at *at, struct net_table **ret_tables);
