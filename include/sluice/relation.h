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

/*
 * What the source's catalog said of a column when the stream described its relation, for a target that lacks it. The
 * catalog is younger than the stream: see source/postgres/columns.c for what can be told from it and what can not.
 */
struct column_facts {
	int16_t number; /* of the column in its table, never used twice; 0 = there is no such column any more */
	int16_t gap;	/* highest lower number that no column of the relation has; 0 = none */
	bool not_null;
	bool computed; /* generated or identity: the source makes values for the rows that exist */
	bool retyped;  /* its type is another one by now */
	/* text, NULL = none: the value that rows from before the column have; the expression of its default; schema and name
	 * of its type when that is not built in, and of its collation when that is not the type's */
	const char *missing, *preset, *type_schema, *type_name, *collation_schema, *collation;
};

struct column {
	const char *name; /* NUL-terminated, owned by the relation */
	uint32_t type_oid;
	int32_t type_modifier;
	bool key;			  /* part of the replica identity */
	const struct column_facts *facts; /* NULL = not asked for; owned by the relation */
};

struct relation {
	atomic_uint refs;
	uint32_t id; /* the source's id (PostgreSQL: oid) */
	const char *schema, *name;
	enum relation_identity identity;
	uint32_t n_columns, n_keys;
	uint64_t fingerprint; /* of names, types, keys, numbers: equal = same description; never 0 */
	uint32_t file;	      /* of the table at the source, when its catalog was asked; 0 = unknown */
	bool behind;	      /* it had other columns than these by then */
	int16_t highest; /* number of a column that was there, known to be sent or not; 0 = those sent say it */
	struct column columns[];
};

/* builder: names and facts are copied; the fingerprint is computed by relation_new() */
struct relation_spec {
	uint32_t id;
	const char *schema, *name;
	enum relation_identity identity;
	uint32_t n_columns;
	const struct column *columns;
	uint32_t file;
	bool behind;
	int16_t highest;
};

/** relation_new() - copies spec into one allocation with one reference. Thread: any. Blocks: never. */
struct relation *relation_new(const struct relation_spec *spec);
struct relation *relation_ref(struct relation *rel);
/** relation_unref() - NULL is allowed; returns NULL. Thread: any. */
struct relation *relation_unref(struct relation *rel);
/** relation_column() - index of a column by name, or -1. */
int relation_column(const struct relation *rel, const char *name);
