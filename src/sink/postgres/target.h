/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A relation of the source and the table of the target that it is written to: which column goes where, how
 * a row is found, what has to be written with care. Read from the target's catalog once per relation;
 * everything is dropped when a relation is described anew.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/postgres.h>
#include <sluice/relation.h>

#include "params.h"

#define TARGET_SKIP UINT32_MAX /* a source column that is not written: generated at the target */

struct target_column {
	char *name;
	char *type;		     /* name for casts, without modifier */
	char *equal;		     /* "OPERATOR(pg_catalog.=)": equality of the type's B-tree */
	uint32_t type_oid, base_oid; /* base: of a domain; else equal */
	int32_t type_modifier;
	uint32_t array_oid; /* 0 = none, an array itself, or a composite: goes as text[] and is cast */
	enum params_encoding encoding;
	char delimiter;
	int16_t number; /* pg_attribute.attnum */
	bool enum_type, generated, identity_always, not_null;
};

/* a unique or exclusion constraint whose check the replica role switches off: checked by us before commit */
struct target_deferred {
	char *name;	   /* of the constraint */
	uint32_t *columns; /* indexes of target columns */
	char **operators;  /* per column: "OPERATOR(…)" */
	uint32_t n_columns;
	bool uncheckable; /* with expressions or a predicate */
	struct target_deferred *next;
};

struct statement; /* prepared; see apply.h */

struct target {
	const char *schema, *name; /* of the table */
	char *sql_name;		   /* quoted */
	char *sql_rows; /* the same for what reads or changes rows: those of tables that inherit from it are not its own */
	uint32_t oid;
	char kind; /* pg_class.relkind */
	struct target_column *columns;
	uint32_t n_columns;

	struct relation *rel; /* referenced */
	uint32_t *to_target;  /* rel column → index in columns, or TARGET_SKIP */
	uint32_t *keys;	      /* rel columns that find a row, in rel's order; none = compare whole rows */
	uint32_t n_keys;
	uint32_t *insert_columns; /* rel columns that are written */
	uint32_t n_insert;
	bool always_key;     /* a key column is GENERATED ALWAYS AS IDENTITY: takes no UPDATE */
	bool always_other;   /* another written column is */
	bool ignore_missing; /* columns that the target lacks are left out */
	bool lacks;	     /* columns that may be made; broken until they are */
	bool triggers;	     /* triggers or rules act for us: source order only */
	bool copy;	     /* COPY may be used: no row security */
	struct target_deferred *deferred;
	const struct value **noted; /* keys written in this group, for deferred; see deferred.c */
	uint32_t n_noted, cap_noted;
	bool noted_whole; /* check all rows */
	struct statement *statements;

	bool broken; /* cannot be written: error says why; raised at its first record */
	struct error error;
	struct target *next;
};

struct target_options {
	bool replica_role;   /* of the session that writes */
	bool ignore_missing; /* a column that the target lacks is left out (but for the key) */
	bool add_missing;    /* or may be made */
};

/**
 * target_load() - reads the table's catalog and maps the relation to it. A table or column that is missing
 * makes a broken target, not an error. Thread: the session's owner. Blocks: a few round trips. Return: 0
 * with *ret, negative.
 */
int target_load(PGconn *conn, struct relation *rel, const struct target_options *opt, struct target **ret,
	struct error *err);
struct target *target_free(struct target *target);

/** target_has_column() - by name. Pure. */
bool target_has_column(const struct target *target, const char *name);

/** target_narrows() - why values of the source column could change in silence when written to this column, NULL when
 * they cannot. Pure. */
const char *target_narrows(uint32_t source_oid, int32_t source_modifier, uint32_t base_oid, int32_t modifier);

/** target_must_be_ordered() - its records are applied one by one, in source order. (So are updates and deletes of a
 * relation without key or with identity FULL; net_build() sees to that.) */
static inline bool target_must_be_ordered(const struct target *target)
{
	return target->triggers || target->always_other;
}
