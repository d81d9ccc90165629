/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tables that records are written to, found by the address of their relation.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/batch.h>
#include <sluice/error.h>

#include "target.h"

struct apply;

struct target_alias { /* which target a relation, by its address, goes to */
	struct relation *rel;
	struct target *target;
	struct target_alias *next;
};

#define TABLES_BUCKETS 256u
#define TABLES_ALIASES 512u

struct tables {
	struct target_alias *buckets[TABLES_BUCKETS];
	struct target *targets;
	uint32_t n_aliases;
	bool special; /* a table must be written in source order */
	bool stale;   /* a relation was replaced: forget everything before the next transaction */
	bool lacking; /* a target lacks columns that may be made */
	bool altered; /* the open transaction has made some */
};

int tables_resolve(struct apply *apply, const struct batch *batch, struct error *err);
/** target_tables_find() - the target of a resolved relation; negative when it cannot be written. */
int target_tables_find(
	struct apply *apply, const struct relation *rel, struct target **ret, struct error *err);
/** target_tables_peek() - the same, also when it cannot be written; NULL = not resolved. */
struct target *target_tables_peek(const struct apply *apply, const struct relation *rel);
/** target_tables_reload() - reads the target's catalog again, in place. Session in ordinary mode. Return: 0, negative. */
int target_tables_reload(struct apply *apply, struct target *target, struct error *err);
int tables_forget(struct apply *apply, struct error *err);
void target_tables_fini(struct tables *tables);
