/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the target's tables look like, for a transport whose messages do not say it: those of another program. A sink has
 * one; driver structs start with `struct catalog base`.
 */

#include <sluice/debezium.h>
#include <sluice/error.h>
#include <sluice/relation.h>

struct catalog;

struct catalog_ops {
	/**
	 * table() - the table as it is now, with the columns that `want` names (all of them, when it names none) in that order
	 * and the types of the target. Its key is what `want` says; without one it is IDENTITY_FULL.
	 * Thread: the applier's. Blocks: a few round trips; the first call connects. Return: 0 with the caller's reference;
	 * negative: SCHEMA "PG-TABLE-MISSING", "PG-COLUMN-MISSING" (unless apply.ddl is ignore), "PG-KEY-MISSING": no unique
	 * constraint over the key, so nobody could tell a repeated row from a new one; TRANSIENT.
	 */
	int (*table)(struct catalog *catalog, const struct debezium_table *want, struct relation **ret,
		struct error *err);
	/** type() - what an oid >= 16384 in such a relation stands for. Blocks: never. */
	void (*type)(struct catalog *catalog, uint32_t oid, struct debezium_type *ret);
};

struct catalog {
	const struct catalog_ops *ops;
};
