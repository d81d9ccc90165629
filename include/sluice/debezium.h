/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Messages that Debezium's PostgreSQL connector wrote as JSON become records with PostgreSQL's text. A message without an
 * inline schema does not say how its values are encoded: then the table's types and the connector's settings do, which are
 * the options below. Where there is a schema, its names win.
 *
 * What such a message cannot give back: with `connect` times have milliseconds; with decimals as `double` 15 to 17
 * digits; numeric without a scale has lost the zeros at its end; a numeric interval has neither months nor days;
 * a value that was not sent is known by the text that stands for it, or null for types that have none, and
 * a table's text that is exactly this one counts as not sent; TRUNCATE's CASCADE and RESTART IDENTITY are gone.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/batch.h>
#include <sluice/message.h>

struct debezium;

enum debezium_time { /* time.precision.mode */
	DEBEZIUM_TIME_ADAPTIVE,
	DEBEZIUM_TIME_ADAPTIVE_TIME_MICROSECONDS,
	DEBEZIUM_TIME_CONNECT,
	DEBEZIUM_TIME_ISOSTRING,
	DEBEZIUM_TIME_MICROSECONDS,
	DEBEZIUM_TIME_NANOSECONDS,
	DEBEZIUM_TIME_STRUCTURED,
};

enum debezium_decimal { /* decimal.handling.mode; decimal.format is seen from the value */
	DEBEZIUM_DECIMAL_PRECISE,
	DEBEZIUM_DECIMAL_DOUBLE,
	DEBEZIUM_DECIMAL_STRING,
};

enum debezium_binary { /* binary.handling.mode */
	DEBEZIUM_BINARY_BYTES,
	DEBEZIUM_BINARY_BASE64,
	DEBEZIUM_BINARY_BASE64_URL_SAFE,
	DEBEZIUM_BINARY_HEX,
};

/* what a type of the target is, whose oid is not the same in every database */
enum debezium_type_class {
	DEBEZIUM_TYPE_TEXT,   /* enums, citext, ltree and all that is written as its text */
	DEBEZIUM_TYPE_DOMAIN, /* over `oid` with `modifier` */
	DEBEZIUM_TYPE_ARRAY,  /* of `oid` */
	DEBEZIUM_TYPE_HSTORE,
	DEBEZIUM_TYPE_VECTOR,	/* vector, halfvec, sparsevec */
	DEBEZIUM_TYPE_GEOMETRY, /* PostGIS: geometry, geography */
};

struct debezium_type {
	enum debezium_type_class class;
	uint32_t oid;
	int32_t modifier;
};

/* a table as a message tells of it; what it points to lives as long as the call */
struct debezium_table {
	const char *schema, *name;
	const char *const *columns; /* of the row, in its order; n_columns 0: nothing is said (TRUNCATE) */
	const char *const *keys;    /* of the message's key; n_keys 0: it has none */
	uint32_t n_columns, n_keys;
};

struct debezium_options {
	enum debezium_time time;
	enum debezium_decimal decimal;
	enum debezium_binary binary;
	bool interval_string;	 /* interval.handling.mode=string; hstore's mode is seen from the value */
	bool ignore_columns;	 /* those that the relation does not have */
	int32_t money_digits;	 /* money.fraction.digits; 0 = its default, 2; below 0 = none */
	const char *unavailable; /* what stands for unsent values; NULL = Debezium's default; borrowed */
	/**
	 * relation() - the table with the types of the target's: without a key IDENTITY_FULL (`before` is a whole row). Columns
	 * that it lacks are an error, or are left out with ignore_columns.
	 * Return: borrowed for the call; NULL with *err filled.
	 */
	struct relation *(*relation)(void *ctx, const struct debezium_table *table, struct error *err);
	/** type() - says what an oid >= 16384 is; NULL = all are TEXT. */
	void (*type)(void *ctx, uint32_t oid, struct debezium_type *ret);
	void *ctx;
};

enum debezium_condition {
	DEBEZIUM_RECORD = 0,
	DEBEZIUM_TOMBSTONE = 1,	  /* follows a delete; says nothing new */
	DEBEZIUM_TRANSACTION = 2, /* of the topic of transactions: info has status, id and count */
	DEBEZIUM_HEARTBEAT = 3,
};

enum debezium_snapshot { DEBEZIUM_STREAMED, DEBEZIUM_SNAPSHOT, DEBEZIUM_SNAPSHOT_LAST, DEBEZIUM_INCREMENTAL };

struct debezium_info {
	bool has_lsn, has_xid;
	uint64_t lsn, xid;	 /* source.lsn, source.txId */
	uint64_t commit_before;	 /* where the transaction before this one was committed; 0 = unknown */
	struct wall commit_time; /* of the change at the source; 0 = unknown */
	enum debezium_snapshot snapshot;
	const char
		*transaction; /* id, in the batch's arena; NULL = unknown. The part before ':' is the xid */
	int64_t total_order;  /* in the transaction, from 1; 0 = unknown */
	int64_t data_collection_order; /* the same within the table */
	bool key_change;	       /* half of a changed key: the delete or the insert */
	bool is_end;		       /* TRANSACTION: END, else BEGIN */
	int64_t event_count;	       /* TRANSACTION: of END, -1 = unknown */
};

/** debezium_new() - opt is copied, what it points to is borrowed. */
struct debezium *debezium_new(const struct debezium_options *opt);
/** debezium_free() - NULL is allowed; returns NULL. */
struct debezium *debezium_free(struct debezium *dbz);

/**
 * debezium_decode() - one message of the connector.
 * @rec: zeroed; INSERT, UPDATE, DELETE, READ, TRUNCATE or MESSAGE with relation (held by the batch), values, and as pos
 *       (lsn, total_order), which neither orders records nor is unique: their offset does. All is in batch's arena.
 * Thread: the owner. Blocks: as opt.relation does. Return: enum debezium_condition; negative: DATA "DEBEZIUM-FORMAT" or
 * "DEBEZIUM-VALUE" with offset, table and column, never a value; what relation() said.
 */
int debezium_decode(struct debezium *dbz, const struct message *msg, struct batch *batch, struct record *rec,
	struct debezium_info *ret, struct error *err);
