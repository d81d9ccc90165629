/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Decoder of PostgreSQL's pgoutput logical replication messages, protocol versions 1 to 4.
 *
 *	struct pgoutput_decoder d;
 *	struct pgoutput_message msg;
 *	if (pgoutput_decoder_init(&d, 1, false) < 0)
 *		...
 *	int r = pgoutput_decode(&d, data, len, &msg);        // data: the body of one XLogData message
 *	if (r < 0)
 *		fail("%s at byte %zu", pgoutput_error_to_string(r), d.error_offset);
 *	if (msg.kind == PGOUTPUT_INSERT) {
 *		struct pgoutput_cursor cur = pgoutput_tuple_begin(&msg.row.new);
 *		for (struct pgoutput_column col; pgoutput_tuple_next(&cur, &col);)
 *			...                                   // straight into the caller's own value
 *	}
 *
 * It allocates nothing, copies nothing, keeps no relations: whether the number of columns of a row is that of
 * its relation is the caller's to check. Nothing of it logs; the printed form shows row values and is for
 * tests and debugging.
 */

#include <stddef.h>
#include <stdio.h>

#include <pgoutput/iterate.h>
#include <pgoutput/message.h>
#include <pgoutput/transaction.h>

#define PGOUTPUT_MAX_COLUMNS 1600 /* MaxHeapAttributeNumber: no table has more */

enum pgoutput_error {
	PGOUTPUT_OK = 0,
	PGOUTPUT_ERROR_TRUNCATED = -1,	   /* the message ends inside a field */
	PGOUTPUT_ERROR_TRAILING = -2,	   /* bytes behind the last field */
	PGOUTPUT_ERROR_KIND = -3,	   /* no such message in this protocol version */
	PGOUTPUT_ERROR_SEQUENCE = -4,	   /* not allowed here: inside, or outside, a stream segment */
	PGOUTPUT_ERROR_FLAGS = -5,	   /* a flags byte with bits that mean nothing */
	PGOUTPUT_ERROR_COUNT = -6,	   /* a number of columns or relations that cannot be */
	PGOUTPUT_ERROR_TUPLE_KIND = -7,	   /* not K, O or N where one must stand */
	PGOUTPUT_ERROR_COLUMN_KIND = -8,   /* not n, u, t or b */
	PGOUTPUT_ERROR_IDENTITY = -9,	   /* not d, n, f or i */
	PGOUTPUT_ERROR_UNTERMINATED = -10, /* a string without its NUL */
	PGOUTPUT_ERROR_ZERO = -11,	   /* an LSN or transaction id that must be set is 0 */
	PGOUTPUT_ERROR_SIZE = -12,	   /* longer than a PostgreSQL message can be */
	PGOUTPUT_ERROR_VERSION = -13,	   /* of the decoder: not 1 to 4, or parallel below 4 */
};

struct pgoutput_decoder {    /* one per replication connection; two can be copied and compared freely */
	size_t error_offset; /* of the field that made the last pgoutput_decode() fail */
	uint8_t version;     /* proto_version asked for in START_REPLICATION */
	bool parallel;	     /* streaming 'parallel' was asked for: stream aborts carry LSN and time */
	bool in_stream;	     /* between stream start and stream stop: messages carry a transaction id */
};

struct pgoutput_message {
	enum pgoutput_kind kind;
	uint32_t stream_xid; /* inside a stream segment: the (sub)transaction of this change; else 0 */
	union {
		struct pgoutput_begin begin;
		struct pgoutput_commit commit;
		struct pgoutput_origin origin;
		struct pgoutput_relation relation;
		struct pgoutput_type type;
		struct pgoutput_row row; /* INSERT, UPDATE, DELETE */
		struct pgoutput_truncate truncate;
		struct pgoutput_logical_message message;
		struct pgoutput_stream_start stream_start;
		struct pgoutput_stream_commit stream_commit;
		struct pgoutput_stream_abort stream_abort;
		struct pgoutput_prepare prepare; /* BEGIN_PREPARE, PREPARE, STREAM_PREPARE */
		struct pgoutput_commit_prepared commit_prepared;
		struct pgoutput_rollback_prepared rollback_prepared;
	};
};

/**
 * pgoutput_decoder_init() - begins a connection: no stream is open.
 * @version: proto_version, 1 to 4. @parallel: streaming 'parallel' is asked for (version 4 only).
 * Return: 0 or PGOUTPUT_ERROR_VERSION.
 */
int pgoutput_decoder_init(struct pgoutput_decoder *d, unsigned int version, bool parallel);

/**
 * pgoutput_decode() - checks one message whole and describes it.
 * @data, @len: exactly one message; borrowed, *ret_msg points into it.
 * On an error neither *ret_msg nor the state of the stream changes; d->error_offset says where.
 * Thread: one at a time per decoder. Blocks: never.
 * Return: 0 or an enum pgoutput_error.
 */
int pgoutput_decode(
	struct pgoutput_decoder *d, const void *data, size_t len, struct pgoutput_message *ret_msg);

/**
 * pgoutput_message_print() - the message as text, ASCII only, one line and one more per column, each ending
 * in '\n'.
 * Thread: any. Blocks: as writing to the file does. Errors: ferror(file).
 */
void pgoutput_message_print(const struct pgoutput_message *msg, FILE *file);

/**
 * pgoutput_message_format() - the same text into buf, cut to size and always NUL-terminated where size > 0.
 * Return: the length of the whole text, as snprintf() does: >= size means that it was cut.
 */
size_t pgoutput_message_format(const struct pgoutput_message *msg, char *buf, size_t size);

/* NULL is never returned; what is no member is "unknown" */
const char *pgoutput_error_to_string(int error);
const char *pgoutput_kind_to_string(enum pgoutput_kind kind);
const char *pgoutput_column_kind_to_string(enum pgoutput_column_kind kind);
const char *pgoutput_tuple_kind_to_string(enum pgoutput_tuple_kind kind);
const char *pgoutput_identity_to_string(enum pgoutput_identity identity);
