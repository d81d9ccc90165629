/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The common change record. Everything a record points to lives in its batch's arena, but for the relation, which
 * the batch references. BEGIN and END are records, so memory never depends on a transaction's size; an END
 * is the only place where a resume point and a commit time are known for sure.
 */

#include <stdint.h>

#include <sluice/clock.h>
#include <sluice/position.h>
#include <sluice/relation.h>
#include <sluice/value.h>

enum record_op {
	RECORD_BEGIN = 'B',
	RECORD_INSERT = 'I',
	RECORD_UPDATE = 'U',
	RECORD_DELETE = 'D',
	RECORD_TRUNCATE = 'T',
	RECORD_READ = 'R',   /* a row of the snapshot; carries no position */
	RECORD_SCHEMA = 'S', /* a relation described anew */
	RECORD_MESSAGE = 'M',
	RECORD_END = 'C',
	RECORD_ABORT = 'A',
	RECORD_HEARTBEAT = 'K', /* outside transactions: all before its resume point has been delivered */
	RECORD_FENCE = 'F',
	RECORD_CHUNK = 'H', /* a mark of the snapshot on its way through a log */
};

enum record_flags {
	RECORD_BEFORE_KEY = 1,	/* `before` holds the old key only, the other columns are absent */
	RECORD_BEFORE_FULL = 2, /* `before` holds the whole old row */
	RECORD_KEY_CHANGED = 4, /* an UPDATE whose old and new key differ (or may differ) */
	RECORD_TOAST = 8,	/* `after` has at least one absent column */
	/* of another program's log, which tells of each change at least once: its row may be there already, or be gone */
	RECORD_UPSERT = 16,
	RECORD_AGAIN =
		32, /* with UPSERT: certainly told before; a row that it needs and does not find is no loss */
};

struct record_begin {
	struct wall commit_time; /* the source's clock */
	uint64_t xid;
	const char *options; /* what the source was asked for: ordinals depend on it; NULL = nothing to say */
};

struct record_end {
	struct wall commit_time;
	uint64_t xid;
	struct resume resume; /* behind this transaction */
	uint64_t n_records;   /* row, truncate and message events delivered since BEGIN, after filters */
};

struct record_truncate {
	struct relation **relations; /* references held by the batch */
	uint32_t n_relations;
	bool cascade, restart_identity;
	/* above 1: rows are spread by key over so many partitions of a log, and only those of the record's own are meant */
	uint32_t partitions;
	bool key_schemas; /* keys are hashed with their schemas (JSON_SCHEMAS_INLINE) */
};

struct record_message {
	const char *prefix; /* NUL-terminated */
	const uint8_t *content;
	uint32_t content_len;
	bool transactional; /* a message that is not stays outside transactions and progress */
};

struct record_heartbeat {
	struct resume resume;
	struct wall at; /* the source's clock */
	/* news of the reader for whoever is behind a log; 0 = unknown */
	uint64_t head;	     /* the source's end then, comparable to position.major */
	struct wall clear;   /* all that was committed at the source up to then stands before this record */
	uint32_t partitions; /* layout tables: of all topics of rows, at that moment */
};

/* what a snapshot looks like in a log: TABLE, then for each chunk BEGIN, READ…, END, then DONE; FINISHED at last */
enum chunk_mark {
	CHUNK_MARK_TABLE = 'T', /* an attempt at the table begins: rows of earlier attempts go */
	CHUNK_MARK_BEGIN = 'B',
	CHUNK_MARK_END = 'E',
	CHUNK_MARK_DONE = 'D', /* the table is complete */
	/* all tables are; the sequences' values stand in the log's state. In one partition, with rel NULL; where tables have
	 * topics of their own, in every partition of each with its rel */
	CHUNK_MARK_FINISHED = 'F',
};

struct record_chunk {
	enum chunk_mark mark;
	uint32_t
		no; /* BEGIN, END: of the chunk, from 0; TABLE, DONE: partitions that the table's rows go to */
	uint32_t attempt; /* at the table, from 1 */
	uint64_t rows;	  /* END: of the chunk; DONE: of the table */
	uint64_t start; /* TABLE, DONE: start point; FINISHED: the highest of all where they differ, else 0 */
	const uint8_t *content;
	uint32_t content_len;
};

struct record {
	uint8_t op;	      /* enum record_op */
	uint8_t flags;	      /* enum record_flags */
	struct relation *rel; /* rows and SCHEMA; NULL else */
	struct position pos;
	int64_t offset;	      /* of its message in the batch's partition; 0 where there is no log */
	struct value *before; /* rel->n_columns values, or NULL */
	struct value *after;  /* rel->n_columns values, or NULL */
	union {
		const void *ext;
		const struct record_begin *begin;
		const struct record_end *end;
		const struct record_truncate *truncate;
		const struct record_message *message;
		const struct record_heartbeat *heartbeat;
		const struct record_chunk *chunk;
	};
};

const char *record_op_to_string(enum record_op op);
