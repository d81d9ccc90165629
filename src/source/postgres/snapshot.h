/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The source side of the initial copy, split over snapshot.c (begin to end), snapshot_export.c (slot and snapshot),
 * snapshot_plan.c (tables and chunks), snapshot_reader.c (COPY), copy_text.c (its text as records), snapshot_watch.c (whom
 * we are in the way of) and dump.c.
 */

#include <pthread.h>

#include <sluice/context.h>
#include <sluice/postgres.h>
#include <sluice/snapshot.h>

/* a physical table: the table itself, or one partition of it */
struct plan_leaf {
	uint32_t oid;
	char *schema, *name;
	uint64_t heap_bytes, table_bytes; /* without and with TOAST */
};

/* snapshot_table.driver */
struct plan_table {
	struct plan_leaf *leaves;
	uint32_t n_leaves;
	char *columns; /* quoted, with commas; "" = none */
	char *filter;  /* the publication's row filter; NULL = none */
	bool numbered; /* the columns' numbers are asked for */
};

struct snapshot_reader {
	struct pg_snapshot *snap;
	struct snapshot_reader *next; /* of snap->readers */
	PGconn *conn;		      /* NULL: opened by the next open() */
	int pid;		      /* of the server's process; guarded by snap->lock */
	atomic_bool yield;	      /* the watch has ended our statement */
	bool importing;		      /* a failure may mean that the snapshot has gone */
	struct buf piece;	      /* what read() hands out */
	const struct snapshot_chunk *chunk;
};

struct pg_snapshot {
	struct snapshot_source base;
	const struct context *ctx;
	PGconn *sql;	/* looks things up: catalogs, who waits, sequences */
	PGconn *keeper; /* idle in the transaction that holds the snapshot */
	char id[72];	/* the keeper's exported snapshot */
	uint8_t resume[8];
	char application[64];
	pthread_mutex_t lock; /* guards the list and its pids */
	struct snapshot_reader *readers;
	int ended[64]; /* pids whose statement the last watch() has cancelled */
	uint32_t n_ended;
};

/** snapshot_postgres_new() - the source driver's base.snapshot; connects to nothing yet. Thread: any. */
struct snapshot_source *snapshot_postgres_new(const struct context *ctx);
/** snapshot_postgres_free() - NULL is allowed; returns NULL. */
struct snapshot_source *snapshot_postgres_free(struct snapshot_source *base);

/** export_slot() - makes the slot (or a temporary one), waits at most snapshot.slot_wait for older transactions, and leaves
 * its snapshot with the keeper. *ret_point: the slot's consistent point. Return: 0; negative: FATAL 75 "PG-SLOT-WAIT". */
int export_slot(struct pg_snapshot *snap, bool temporary, uint64_t *ret_point, struct error *err);

/** plan_make() - tables and chunks of the publication as conn's snapshot shows them; done ones by state. */
int plan_make(struct pg_snapshot *snap, PGconn *conn, struct state *state, uint64_t start, struct error *err);
/** snapshot_publications() - appends our publications' names as literals, with commas. */
void snapshot_publications(const struct pg_snapshot *snap, struct buf *sql);
void plan_free(struct snapshot_source *base);
/** plan_chunks() - pure: into how many chunks a heap goes. plan_range() - pure: blocks of chunk i of n. */
uint32_t plan_chunks(uint64_t heap_bytes, uint64_t table_bytes, uint64_t chunk_bytes);
void plan_range(uint64_t heap_bytes, uint32_t n, uint32_t i, uint64_t *ret_low, uint64_t *ret_high);
/** plan_binary_type() - pure: the type's binary form means the same on every server. */
bool plan_binary_type(uint32_t oid);
/** plan_copy_sql() - pure: the COPY that reads a chunk. */
void plan_copy_sql(struct buf *sql, const struct snapshot_chunk *chunk, const struct plan_leaf *leaf);

int reader_new(struct snapshot_source *base, struct snapshot_reader **ret, struct error *err);
int reader_open(struct snapshot_reader *reader, const struct snapshot_chunk *chunk, struct error *err);
int reader_read(struct snapshot_reader *reader, struct batch *batch, struct error *err);
void reader_free(struct snapshot_reader *reader);

int watch_blocked(struct snapshot_source *base, struct error *err);
int dump_schema(struct snapshot_source *base, struct buf *ret, struct error *err);

static inline struct pg_peer snapshot_peer(const struct pg_snapshot *snap)
{
	const struct config_source *cfg = &snap->ctx->cfg->source;

	return (struct pg_peer){ cfg->uri, cfg->user, cfg->password };
}
