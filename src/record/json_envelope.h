/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the writer keeps so that a row costs copies only: per relation the texts around its values, per transaction the
 * source block and the transaction block, per millisecond the envelope's end.
 */

#include "json.h"
#include "json_write.h"

#define JSON_TABLES	 1024u		   /* slots of the cache, a power of two */
#define JSON_TABLE_BYTES ((size_t)8 << 20) /* what its texts may hold together */

struct json_column {
	uint32_t name_at, name_len; /* in texts: "name": */
	uint32_t unavailable_at, unavailable_len;
	struct json_field field;
};

/* a relation prepared for writing */
struct json_table {
	struct relation *rel;			 /* a reference */
	struct buf texts;			 /* all that the slices below point into */
	struct codec_slice key_head, value_head; /* {"schema":…,"payload": or nothing */
	struct codec_slice source;		 /* "schema","table":"name" of the source block */
	uint64_t transaction, count;		 /* events of the table in the transaction of that number */
	struct json_column columns[];
};

/* the transaction that is being written */
struct json_transaction {
	uint64_t number;	    /* of ours, from 1 on */
	struct position last;	    /* its last event */
	bool counting;		    /* all of its events came this way: orders within a table are known */
	uint64_t messages;	    /* events that are logical messages */
	struct json_table **tables; /* those it touched; room for JSON_TABLES */
	uint32_t n_tables;
};

struct json_writer {
	char *prefix;
	enum json_schemas schemas;
	struct json_table *cache[JSON_TABLES];
	size_t cache_bytes;
	struct json_table *last; /* the table of the row before */
	struct json_transaction tx;
	struct json_scratch scratch;
	struct buf exact_after, exact_before, absent_after, absent_before; /* members of sluice.exact */
	/* texts of the writer: */
	struct buf source_begin;  /* "source":{"version":… up to ts_ms's value */
	struct buf source_middle; /* ,"db":…,"sequence": */
	struct buf message_key_head, message_head, transaction_head; /* schemas, or empty */
	/* texts of the moment: */
	struct codec_transaction texts_tx;
	uint64_t texts_major;
	uint8_t texts_op; /* what they were made for: an op of the same class needs no new ones; 0 = none yet */
	struct buf before_table; /* the source block up to its schema */
	struct buf behind_table; /* from txId up to total_order */
	int64_t texts_now_us;
	struct buf end; /* ,"ts_ms":… of the envelope */
};

/* json_table.c */

/** json_table() - the prepared relation; valid until the next call. */
struct json_table *json_table(struct json_writer *writer, struct relation *rel);
void json_tables_fini(struct json_writer *writer);

/* json_source.c */

/** json_begin_transaction() - events of a transaction begin; all of them will come. */
void json_begin_transaction(struct json_transaction *tx, struct position pos);
/** json_put_context() - appends "source":{…},"transaction":{…} of a record; table NULL = a logical message. */
void json_put_context(struct json_writer *writer, struct json_table *table, const struct record *rec,
	const struct codec_transaction *tx, struct buf *out);
/** json_put_end() - appends ,"ts_ms":…,"ts_us":…,"ts_ns":… of the time of writing. */
void json_put_end(struct json_writer *writer, const struct codec_transaction *tx, struct buf *out);
/** json_put_collections() - appends the counts of the transaction, or null when they are not known to be n_records. */
void json_put_collections(const struct json_writer *writer, uint64_t n_records, struct buf *out);

/* json_marks.c */

/** json_put_mark() - key and value of a record that is no row. Return: as codec_ops.encode. */
int json_put_mark(struct json_writer *writer, const struct record *rec, const struct codec_transaction *tx,
	struct codec_output *ret, struct error *err);
