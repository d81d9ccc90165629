/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The copy that comes through a log: what its CHUNK marks mean in the target.
 */

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/arena.h>
#include <sluice/error.h>
#include <sluice/sink.h>

#include "group.h"
#include "progress.h"

#define CHUNK_KEY_MAX (TOPIC_MAX + 32)

enum chunk_lock { CHUNK_READ, CHUNK_SHARE, CHUNK_WRITE };

struct apply;
struct sink_postgres;

/* a table whose marks or rows stand in the group */
struct chunk_table {
	char name[CHUNK_NAME_MAX];  /* schema.name */
	const struct relation *rel; /* NULL: only rows of a chunk that began before this group */
	uint32_t attempt;	    /* at the table, as the target knows it now */
	uint32_t wanted;	    /* highest of this group's marks */
	uint64_t start;		    /* of that attempt */
	uint64_t rows;		    /* copied by this group */
	bool exclusive;		    /* the attempt's row is written */
	bool emptied, done;
	struct chunk_table *next;
};

/** chunk_name() - "schema.name" in buf; returns buf. */
const char *chunk_name(const struct relation *rel, char buf[CHUNK_NAME_MAX]);
/** chunks_list() - pure: the group's tables, in the arena; `at` is what the partition was in the middle of. */
struct chunk_table *chunks_list(
	struct arena *arena, const struct apply_group *group, const struct chunk_at *at);
/** chunks_drop() - pure: marks the records that an attempt at their table has made void. */
void chunks_drop(struct group_cut *cut, const struct apply_group *group, const struct chunk_at *at,
	const struct chunk_table *tables);

/** chunks_load() - in claim's transaction: the chunk that the partition is in the middle of. */
int chunks_load(struct sink_postgres *sink, struct progress_row *row, struct error *err);
/**
 * chunks_begin() - before the group's rows, in its transaction: holds each table's attempt, empties tables whose new attempt
 * begins, drops what is void. Nothing for a group without copy. Blocks: while another applier is at the table.
 * Return: 0, negative: CONFIG "TARGET-NOT-EMPTY" (78), SCHEMA "TABLE-MISSING", …
 */
int chunks_begin(
	struct apply *apply, const struct apply_group *group, struct group_cut *cut, struct error *err);
/** chunks_end() - behind the rows: chunks' and tables' marks, sequences. */
int chunks_end(
	struct apply *apply, const struct apply_group *group, const struct group_cut *cut, struct error *err);
/** chunks_settle() - after the commit: status, metrics. */
void chunks_settle(struct apply *apply);

/* chunk_table.c; the session is in ordinary mode, a transaction is open */
/** chunk_key() - "table/<table>/<what>". chunk_get(), chunk_set() - a key of sluice.migration in the transaction. */
void chunk_key(char buf[CHUNK_KEY_MAX], const char *table, const char *what);
int chunk_get(
	struct sink_postgres *sink, const char *key, enum chunk_lock lock, PGresult **ret, struct error *err);
int chunk_set(struct sink_postgres *sink, const char *key, const char *value, struct error *err);
/** chunk_table_hold() - locks the table's attempt; begins the wanted one when it is higher. */
int chunk_table_hold(struct apply *apply, struct chunk_table *table, struct error *err);
/** chunk_table_done() - the table is complete in this partition; table->done when it is in all. */
int chunk_table_done(
	struct apply *apply, struct chunk_table *table, const struct record_chunk *chunk, struct error *err);
