/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The initial copy. The source side plans tables and chunks under one exported snapshot and reads them; the sink
 * side makes tables, writes chunks (rows and mark in one transaction) and finishes (indexes, keys, sequences,
 * ANALYZE). src/pipeline/snapshot.c drives both with N worker threads and knows neither. Every table has a start
 * point (position.major): the stream applies an event iff its position.major is not below it.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/batch.h>
#include <sluice/buf.h>
#include <sluice/error.h>
#include <sluice/relation.h>
#include <sluice/state.h>

struct snapshot_source;
struct snapshot_reader;
struct snapshot_sink;
struct snapshot_writer;

#define SNAPSHOT_CHUNK_END 1 /* reader read: the chunk is complete */
#define SNAPSHOT_TABLE_CHANGED                                                                               \
	2 /* reader open: rewritten or truncated since the snapshot: restart the table */
#define SNAPSHOT_YIELD	       3 /* reader open, read: one waits for us, or we for him: redo the chunk */
#define SNAPSHOT_SCHEMA_WANTED 4 /* sink plan: make the tables first: dump_schema(), schema("pre-data") */

enum snapshot_format { SNAPSHOT_TEXT_COPY, SNAPSHOT_BINARY_COPY, SNAPSHOT_RECORDS };

struct snapshot_table {
	struct relation *rel; /* columns that travel (not generated ones), in the order of the raw bytes */
	uint64_t bytes_estimated;
	int64_t rows_estimated;
	uint64_t start; /* start point, 0 = not read yet */
	uint32_t n_chunks, chunks_done;
	bool done; /* marked complete in the target */
	bool has_key;
	/* set by the sink with chunk_abort(): rows of an unfinished chunk are out, so the table has to be read anew, in the next
	 * round */
	atomic_bool spoilt;
	enum snapshot_format format; /* the source's proposal; table_begin() may ask for another */
	void *driver;		     /* the source driver's own */
	void *target;		     /* the sink driver's own, made by table_begin(), freed by table_free() */
};

struct snapshot_chunk {
	struct snapshot_table *table;
	uint32_t no; /* from 0 */
	uint64_t low,
		high; /* driver's range (PostgreSQL: heap blocks [low, high), high UINT64_MAX = open end) */
	uint64_t partition; /* driver's: oid of the physical table that holds the range */
};

struct snapshot_source_ops {
	/** preview() - what begin() would plan, without a slot or a snapshot (a publication is made when there is none), so
	 * that what cannot work is refused before anything on the source keeps WAL. Before a first begin() only. */
	int (*preview)(struct snapshot_source *snap, struct state *state, struct error *err);
	/**
	 * begin() - takes a snapshot for the tables that state does not mark done, and plans them. A first call
	 * (first = true) makes publication, intent, slot and uses the slot's own exported snapshot; a later one uses a
	 * temporary slot's. The tables and chunks are owned by the snapshot_source until end().
	 */
	int (*begin)(struct snapshot_source *snap, struct state *state, bool first, struct error *err);
	/** watch() - looks whether somebody waits for one of our chunks and ends that chunk (SNAPSHOT_YIELD in its reader).
	 * Called every 250 ms by the thread that called begin(). Blocks: up to 1 s. */
	int (*watch)(struct snapshot_source *snap, struct error *err);
	/** dump_schema() - the schema of the selected tables under the snapshot, opaque bytes for a sink of the same kind. */
	int (*dump_schema)(struct snapshot_source *snap, struct buf *ret, struct error *err);
	int (*reader_new)(struct snapshot_source *snap, struct snapshot_reader **ret, struct error *err);
	/** open() - begins a chunk: 0, SNAPSHOT_TABLE_CHANGED, SNAPSHOT_YIELD, negative. Thread: the worker's. */
	int (*open)(struct snapshot_reader *reader, const struct snapshot_chunk *chunk, struct error *err);
	/** read() - sets batch->raw (valid until the reader's next call) or adds records; nothing in it = nothing came for half
	 * a second. 0, SNAPSHOT_CHUNK_END, SNAPSHOT_YIELD, negative. With SNAPSHOT_CHUNK_END the source holds no lock any more. */
	int (*read)(struct snapshot_reader *reader, struct batch *batch, struct error *err);
	void (*reader_free)(struct snapshot_reader *reader);
	/** finish() - reads what comes last (sequences: schema, name, last_value, is_called, tab-separated lines). */
	int (*finish)(struct snapshot_source *snap, struct buf *ret_sequences, struct error *err);
	/** end() - lets the snapshot go. */
	void (*end)(struct snapshot_source *snap);
};

struct snapshot_source {
	const struct snapshot_source_ops *ops;
	struct snapshot_table *tables; /* after begin() */
	uint32_t n_tables;
	struct snapshot_chunk *chunks; /* large tables first; those of done tables are not listed */
	uint32_t n_chunks;
	uint64_t start;		   /* this snapshot's start point */
	struct resume resume;	   /* where the stream will begin: the slot's consistent point (first) */
	const atomic_bool *cancel; /* set by snapshot_run(): calls that wait end with TRANSIENT "STOPPED" */
	uint64_t chunk_bytes;	   /* set by snapshot_run(): the sink's */
};

struct snapshot_sink_ops {
	/** plan() - who makes the tables (snapshot.schema), and what of it is done: 0 = they are there, SNAPSHOT_SCHEMA_WANTED,
	 * negative (CONFIG, SCHEMA: named). */
	int (*plan)(struct snapshot_sink *snap, const struct snapshot_source *src, struct error *err);
	/** schema() - makes the tables (section "pre-data", from dump; NULL else), the primary keys alone
	 * ("keys") or all the rest ("post-data": keys, indexes, foreign keys, in parallel). The dump is kept in the target until
	 * post-data is done; without one (the tables existed) nothing is done. Resumable at every step. */
	int (*schema)(
		struct snapshot_sink *snap, const char *section, const struct buf *dump, struct error *err);
	/** table_begin() - checks the table: exists, columns fit, empty or only ours; empties an unfinished one of ours.
	 * Refuses (CONFIG, named) one that holds somebody's rows. */
	int (*table_begin)(struct snapshot_sink *snap, struct snapshot_table *table, struct error *err);
	int (*writer_new)(struct snapshot_sink *snap, struct snapshot_writer **ret, struct error *err);
	/** chunk_begin() - opens a transaction that holds the progress row FOR KEY SHARE with our epoch. */
	int (*chunk_begin)(struct snapshot_writer *w, const struct snapshot_chunk *chunk, struct error *err);
	int (*chunk_write)(struct snapshot_writer *w, const struct batch *batch, struct error *err);
	/** chunk_take() - the same for SNAPSHOT_RECORDS: the batch is the sink's from then on. NULL: the sink wants none. */
	int (*chunk_take)(struct snapshot_writer *w, struct batch *take_batch, struct error *err);
	/** chunk_commit() - mark and rows together; *ret_rows what came. chunk_abort() rolls back. */
	int (*chunk_commit)(struct snapshot_writer *w, uint64_t *ret_rows, struct error *err);
	void (*chunk_abort)(struct snapshot_writer *w);
	void (*writer_free)(struct snapshot_writer *w);
	/** table_done() - marks the table complete with its start point, durably. */
	int (*table_done)(struct snapshot_sink *snap, struct snapshot_table *table, struct error *err);
	/** table_free() - frees table->target; NULL is allowed. */
	void (*table_free)(struct snapshot_table *table);
	/** finish() - sequences' values (from the source's finish()), ANALYZE, and the durable mark "snapshot/done". */
	int (*finish)(struct snapshot_sink *snap, const struct snapshot_source *src,
		const struct buf *sequences, struct error *err);
};

struct snapshot_sink {
	const struct snapshot_sink_ops *ops;
	const atomic_bool *cancel; /* as in struct snapshot_source */
	uint64_t chunk_bytes;	   /* no larger chunks, please; 0 = any size is fine */
};
