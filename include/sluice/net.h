/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The net effect of a group of records per key, for sinks that write in bulk. Pure: no I/O.
 *
 * Input: the row records of one or more transactions in order. Output per relation: the rows to delete, to update,
 * to insert, each key at most once, such that writing deletes, then updates, then inserts gives the same end state as
 * replaying the records. Keys are compared byte by byte on the replica identity's columns. A partial update
 * (absent columns) merges into an earlier insert or update of the same key. What cannot be reduced says so.
 */

#include <sluice/arena.h>
#include <sluice/batch.h>
#include <sluice/sink.h>

enum net_op { NET_DELETE, NET_UPDATE, NET_INSERT };

struct net_row {
	struct value *key; /* n_keys values in the order of rel's key columns: the key to find the row by */
	struct value *row; /* n_columns values; NULL for a delete */
	uint64_t
		present; /* hash of the set of columns that are not absent: rows of equal sets form one statement */
	const struct record *rec; /* the last record that made it, for error context */
};

struct net_table {
	struct relation *rel;
	struct net_row *rows[3]; /* by enum net_op */
	uint32_t n_rows[3];
	struct net_table *next;
};
