/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The description of a table or collection at one moment: immutable once built, reference-counted, replaced as a
 * whole when the source describes it anew; batches in flight keep the one they were decoded with.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum relation_identity { /* wire bytes of pgoutput's Relation message */
	IDENTITY_DEFAULT = 'd',
	IDENTITY_NOTHING = 'n',
	IDENTITY_FULL = 'f',
	IDENTITY_INDEX = 'i',
};

struct column {
	const char *name; /* NUL-terminated, owned by the relation */
	uint32_t type_oid;
	int32_t type_modifier;
	bool key; /* part of the replica identity */
};

struct relation {
	atomic_uint refs;
	uint32_t id; /* the source's id (PostgreSQL: oid) */
	const char *schema, *name;
	enum relation_identity identity;
	uint32_t n_columns, n_keys;
	uint64_t fingerprint; /* of names, types, keys: equal = same description; never 0 */
	struct column columns[];
};

/* builder: names are copied; the fingerprint is computed by relation_new() */
struct relation_spec {
	uint32_t id;
	const char *schema, *name;
	enum relation_identity identity;
	uint32_t n_columns;
	const struct column *columns;
};

/** relation_new() - copies spec into one allocation with one reference. Thread: any. Blocks: never. */
struct relation *relation_new(const struct relation_spec *spec);
struct relation *relation_ref(struct relation *rel);
/** relation_unref() - NULL is allowed; returns NULL. Thread: any. */
struct relation *relation_unref(struct relation *rel);
/** relation_column() - index of a column by name, or -1. */
int relation_column(const struct relation *rel, const char *name);
