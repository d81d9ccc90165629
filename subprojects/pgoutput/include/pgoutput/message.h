/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a decoded message is. Nothing here owns memory: every pointer goes into the bytes that were given to
 * pgoutput_decode() and lives as long as they do. Times are microseconds since 2000-01-01 00:00 UTC, as
 * PostgreSQL counts them; an LSN is a plain 64-bit number.
 */

#include <stdbool.h>
#include <stdint.h>

enum pgoutput_kind { /* wire bytes */
	PGOUTPUT_BEGIN = 'B',
	PGOUTPUT_COMMIT = 'C',
	PGOUTPUT_ORIGIN = 'O',
	PGOUTPUT_RELATION = 'R',
	PGOUTPUT_TYPE = 'Y',
	PGOUTPUT_INSERT = 'I',
	PGOUTPUT_UPDATE = 'U',
	PGOUTPUT_DELETE = 'D',
	PGOUTPUT_TRUNCATE = 'T',
	PGOUTPUT_MESSAGE = 'M',
	PGOUTPUT_STREAM_START = 'S',  /* version 2 */
	PGOUTPUT_STREAM_STOP = 'E',   /* version 2, no fields */
	PGOUTPUT_STREAM_COMMIT = 'c', /* version 2 */
	PGOUTPUT_STREAM_ABORT = 'A',  /* version 2 */
	PGOUTPUT_BEGIN_PREPARE = 'b', /* version 3 */
	PGOUTPUT_PREPARE = 'P',
	PGOUTPUT_COMMIT_PREPARED = 'K',
	PGOUTPUT_ROLLBACK_PREPARED = 'r',
	PGOUTPUT_STREAM_PREPARE = 'p',
};

enum pgoutput_column_kind { /* wire bytes */
	PGOUTPUT_COLUMN_NULL = 'n',
	PGOUTPUT_COLUMN_UNCHANGED = 'u', /* a TOASTed value that the update did not touch: not sent */
	PGOUTPUT_COLUMN_TEXT = 't',
	PGOUTPUT_COLUMN_BINARY = 'b',
};

enum pgoutput_tuple_kind { /* wire bytes */
	PGOUTPUT_TUPLE_NONE = 0,
	PGOUTPUT_TUPLE_KEY = 'K', /* replica identity columns; the others are null and mean nothing */
	PGOUTPUT_TUPLE_OLD = 'O', /* the whole old row (REPLICA IDENTITY FULL) */
	PGOUTPUT_TUPLE_NEW = 'N',
};

enum pgoutput_identity { /* wire bytes, pg_class.relreplident */
	PGOUTPUT_IDENTITY_DEFAULT = 'd',
	PGOUTPUT_IDENTITY_NOTHING = 'n',
	PGOUTPUT_IDENTITY_FULL = 'f',
	PGOUTPUT_IDENTITY_INDEX = 'i',
};

struct pgoutput_string {
	const char *data; /* data[len] is the NUL of the wire */
	uint32_t len;
};

struct pgoutput_column {
	const uint8_t *data; /* NULL for null and unchanged; not NUL-terminated */
	uint32_t len;
	uint8_t kind; /* enum pgoutput_column_kind */
};

struct pgoutput_attribute {
	struct pgoutput_string name;
	uint32_t type_oid;
	int32_t type_modifier;
	bool key; /* part of the replica identity */
};

struct pgoutput_tuple {
	const uint8_t *data; /* columns as on the wire; read them with pgoutput_tuple_next() */
	uint32_t len;
	uint16_t n_columns;
	uint8_t kind; /* enum pgoutput_tuple_kind; NONE = there is no such tuple */
};

struct pgoutput_begin {
	uint64_t final_lsn;
	int64_t commit_time_us;
	uint32_t xid;
};

struct pgoutput_commit {
	uint64_t commit_lsn, end_lsn;
	int64_t commit_time_us;
};

struct pgoutput_origin {
	uint64_t lsn;
	struct pgoutput_string name;
};

struct pgoutput_relation {
	uint32_t id;
	struct pgoutput_string schema; /* empty = pg_catalog */
	struct pgoutput_string name;
	const uint8_t *data; /* attributes as on the wire; read them with pgoutput_relation_next() */
	uint32_t len;
	uint16_t n_columns;
	uint8_t identity; /* enum pgoutput_identity */
};

struct pgoutput_type {
	uint32_t id;
	struct pgoutput_string schema; /* empty = pg_catalog */
	struct pgoutput_string name;   /* of the base type where id is a domain */
};

struct pgoutput_row { /* insert: new; delete: old; update: new and, where the server sent it, old */
	uint32_t relation;
	struct pgoutput_tuple old, new;
};

struct pgoutput_truncate {
	const uint8_t *data; /* relation ids as on the wire; read them with pgoutput_truncate_relation() */
	uint32_t n_relations;
	bool cascade, restart_identity;
};

struct pgoutput_logical_message {
	uint64_t lsn;
	struct pgoutput_string prefix;
	const uint8_t *content;
	uint32_t len;
	bool transactional;
};

struct pgoutput_stream_start {
	uint32_t xid;
	bool first_segment;
};
