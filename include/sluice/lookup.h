/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Questions about the source's tables as they are now, for whoever publishes their changes: a change record does not say
 * everything. xid: of the transaction that the question comes from, 0 = none; the answer is of a moment when the source shows it.
 * Thread: the reader's, or the supervisor's while no reader runs.
 */

#include <sluice/arena.h>
#include <sluice/error.h>
#include <sluice/relation.h>
#include <sluice/value.h>

#define LOOKUP_GONE 1 /* the table, or the row, is not there any more */

struct lookup;

/* what a table's rows are told apart by */
struct lookup_shape {
	bool *key; /* of each of the relation's columns: part of the primary key, or of the index that is the replica
			  * identity; in the arena */
	uint32_t n_keys; /* 0 = no such key */
	bool tied; /* a unique or exclusion constraint or index beside the key ties rows of different keys together */
	bool loose; /* one of these is deferrable: within a transaction such rows may be in each other's way */
};

struct lookup_ops {
	/** shape() - Blocks: up to 10 s. Return: 0, LOOKUP_GONE, negative. */
	int (*shape)(struct lookup *look, const struct relation *rel, uint64_t xid, struct arena *arena,
		struct lookup_shape *ret, struct error *err);
	/**
	 * complete() - reads the absent columns of a row, whose key columns (rel's) are present, as they are now. Values go to the
	 * arena, in text form. Blocks: up to 10 s. Return: 0, LOOKUP_GONE (row is as it was), negative.
	 */
	int (*complete)(struct lookup *look, const struct relation *rel, uint64_t xid, struct value *row,
		struct arena *arena, struct error *err);
};

struct lookup {
	const struct lookup_ops *ops;
};
