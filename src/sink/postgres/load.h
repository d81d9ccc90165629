/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The target side of the initial copy: load.c (schema decision, tables, sequences), load_table.c (does a table fit),
 * load_writer.c (chunks), load_rows.c (COPY text as INSERTs), restore.c (pg_dump's schema), restore_script.c (its text).
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/buf.h>

#include "sink.h"

struct load {
	struct snapshot_sink base;
	struct sink_postgres *sink;
	PGconn *conn;	    /* tables, sequences; opened when first needed */
	atomic_bool locked; /* the schema, by conn */
};

/* snapshot_table.target */
struct load_target {
	char *name;    /* quoted "schema"."name" */
	char *columns; /* quoted, with commas, in brackets; "" = none */
	bool root;     /* partitioned: ONLY would mean nothing */
	bool rows;     /* row security: COPY is refused, INSERT is not */
	bool referenced;
};

/** load_session() - opens *conn unless it is open. */
int load_session(struct load *load, PGconn **conn, struct error *err);
/** load_exec() - a statement that ends with base.cancel; the failed one's error is filled. */
int load_exec(struct load *load, PGconn *conn, const char *sql, PGresult **ret, struct error *err);
/** load_begin() - BEGIN with our progress rows held FOR KEY SHARE; TRANSIENT "FENCED" when the epoch is another's. */
int load_begin(struct load *load, PGconn *conn, struct error *err);
/** load_lock_key() - appends the key of the stream's advisory lock on what, an expression. */
void load_lock_key(const struct load *load, struct buf *sql, const char *what);
/** load_mark() - appends the statement that stores a state key with the transaction it stands in. */
void load_mark(const struct load *load, struct buf *sql, const char *key);

/** load_table_check() - the table exists and takes the columns; makes table->target. SCHEMA, CONFIG errors name it. */
int load_table_check(struct load *load, struct snapshot_table *table, struct error *err);
void load_table_free(struct snapshot_table *table);

int load_writer_new(struct snapshot_sink *base, struct snapshot_writer **ret, struct error *err);
int load_chunk_begin(struct snapshot_writer *w, const struct snapshot_chunk *chunk, struct error *err);
int load_chunk_write(struct snapshot_writer *w, const struct batch *batch, struct error *err);
int load_chunk_commit(struct snapshot_writer *w, uint64_t *ret_rows, struct error *err);
void load_chunk_abort(struct snapshot_writer *w);
void load_writer_free(struct snapshot_writer *w);
/** load_error_column() - pure: the column that COPY's context line names ("COPY t, line 3, column c: …"), or NULL. */
const char *load_error_column(const struct relation *rel, const char *context);

/** load_rows_put() - pure: appends rows of COPY text to an INSERT … VALUES list, from *at on, until the SQL is about
 * 256 KiB long; moves *at. Return: rows appended; -1 = not COPY text of that many columns. */
int64_t load_rows_put(struct buf *sql, const uint8_t *data, size_t len, size_t *at, uint32_t n_columns);
/** load_unescape() - pure: a COPY text field to its bytes, in place; returns the new length. */
size_t load_unescape(uint8_t *field, size_t len);

/** load_sequence_put() - pure: the statement that sets a sequence, from the source's line (schema, name, last_value,
 * is_called), which it takes apart: afterwards it begins with the schema, ended by NUL. load_sequence_error() - the
 * statement's failure, with the exact GRANT. Returns -1. */
int load_sequence_put(struct buf *sql, uint8_t *line, size_t len, struct error *err);
int load_sequence_error(PGconn *conn, const char *schema, struct error *err);

/* one entry of a schema script; points into the script's text */
struct script_item {
	const char *name, *type, *sql;
	uint32_t name_len, type_len;
	size_t sql_len;
};

struct script {
	struct script_item *items;
	uint32_t n, cap;
};

/** script_parse() - pure: cuts pg_restore's text at its "-- Name: …; Type: …" headers; drops what stands before the first
 * one and psql's own commands at the end. */
void script_parse(struct script *script, const char *text, size_t len);
void script_fini(struct script *script);
bool script_is(const struct script_item *item, const char *type);
/** script_table() - pure: the quoted table that an index or constraint belongs to; 0 = it is none. */
size_t script_table(const struct script_item *item, const char **ret);
/** script_has() - pure: the item's SQL contains the text. */
bool script_has(const struct script_item *item, const char *text);
/** script_put_pre() - pure: appends one entry as it is to be run: an existing schema is no error, comments on what is not
 * ours are left out. */
void script_put_pre(struct buf *sql, const struct script_item *item);

int restore_schema(
	struct snapshot_sink *base, const char *section, const struct buf *dump, struct error *err);
/** restore_claimed() - a progress row was claimed: if we hold the lock on the schema, those who wait for it see that we live.
 * Thread: any. Return: 0, negative. */
int restore_claimed(struct snapshot_sink *base, struct error *err);

/* statements run by several sessions at once */
struct task {
	const char *sql;
	size_t len;
	const char *
		lock; /* tasks with equal locks do not run together unless all are shared; lock_len 0 = none */
	size_t lock_len;
	bool shared;
	bool in_order; /* of all tasks of a run: one session, one after the other */
	bool optional; /* a missing table is no error: said by an alarm */
	char mark[48]; /* state key stored with it; "" = none */
	char what[96]; /* for errors */
	uint8_t state; /* of the runner */
};

/** tasks_run() - runs all with up to snapshot.workers sessions; the first error ends it. Blocks: as they take. */
int tasks_run(struct load *load, struct task *tasks, uint32_t n, struct error *err);
