/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One message of a log, as it goes over the wire, and its stamp: what is the same whatever the codec, in headers, as
 * readable text, so that programs in any language see it.
 *
 *   header            value                                        on
 *   sluice.op         one letter, enum record_op, or X = CONTINUE, every message
 *                     P = several records, see pack.h
 *   sluice.reign      "12-00a1b2c3d4e5f607"                        every message
 *   sluice.source     identity of the source ("system/database")   every message
 *   sluice.position   32 hex digits                                all but READ, CHUNK and SCHEMA
 *   sluice.prev       position of the message before it in this    wherever sluice.position is
 *                     partition, 32 hex digits; of a FENCE and a CONTINUE: the tail
 *   sluice.resume     hex                                          END, HEARTBEAT, CONTINUE
 *   sluice.id         UUIDv5 of source and position                rows, TRUNCATE, BEGIN, END, MESSAGE in a transaction
 *   sluice.relation   16 hex digits, fingerprint of the relation   rows, READ, CHUNK, SCHEMA
 *   sluice.flags      hex, enum record_flags, when not 0           rows
 *   sluice.options    START_REPLICATION's options; "partitions=4"  BEGIN; TRUNCATE and HEARTBEAT in layout tables
 *   sluice.body       what a mark has instead of a value           marks in layout tables
 *   sluice.exact      values that the envelope cannot hold         rows, JSON only (see json.h)
 *
 * On the wire a # stands before the JSON of sluice.exact and sluice.body: it is text, to whatever looks into headers.
 *
 * In layout tables the minor half of a position is twice the ordinal, and one more for the insert that a change of a key
 * ends with.
 */

#include <sluice/arena.h>
#include <sluice/buf.h>
#include <sluice/error.h>
#include <sluice/partition.h>
#include <sluice/record.h>

#define MESSAGE_HEADERS 12
#define STAMP_CONTINUE	'X'
#define STAMP_PACK	'P'
#define STAMP_FLAGS                                                                                          \
	(RECORD_BEFORE_KEY | RECORD_BEFORE_FULL | RECORD_KEY_CHANGED | RECORD_TOAST) /* that travel */

struct message_header {
	const char *name; /* NUL-terminated */
	const void *value;
	size_t len;
};

/* everything borrowed */
struct message {
	const void *key; /* NULL = none */
	size_t key_len;
	const void *value; /* NULL = null value: a marker or a tombstone */
	size_t value_len;
	uint32_t n_headers;
	struct message_header headers[MESSAGE_HEADERS];
	int64_t offset; /* received ones */
	int64_t at_ms;	/* the message's timestamp: when it was produced, Unix time */
};

struct stamp {
	uint8_t op; /* enum record_op, STAMP_CONTINUE or STAMP_PACK */
	uint8_t flags;
	struct position pos, prev;
	bool has_pos;
	bool more; /* another record of the same message follows; never on the wire */
	struct resume resume;
	struct reign reign;
	const char *identity; /* NUL-terminated */
	const char *options;  /* NUL-terminated; "" = none */
	uint64_t fingerprint; /* of the relation; 0 = none */
};

/**
 * stamp_write() - appends the stamp's headers to msg; their bytes go to text.
 * @text: cleared by the caller per message; must not change until the message was produced. Room is made first, so that
 *        pointers into it stay valid.
 * Thread: any. Blocks: never.
 */
void stamp_write(const struct stamp *stamp, struct buf *text, struct message *msg);

/**
 * stamp_read() - reads the headers of a received message.
 * Copies what it keeps into arena. Return: 0; 1 = no sluice.* header at all (another program's message); negative: DATA
 * "KAFKA-HEADER" names header and offset.
 */
int stamp_read(const struct message *msg, struct arena *arena, struct stamp *ret, struct error *err);

/** message_header() - the header of that name, NULL = none. */
const struct message_header *message_header(const struct message *msg, const char *name);

/** stamp_id() - the UUIDv5 text (36 characters and NUL) of source and position; the same bytes in every replay. */
void stamp_id(const char *identity, struct position pos, char out[37]);
