/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One parser per message, each below the table of its wire layout. All integers are in network order; a
 * String is NUL-terminated; [ ] marks what is present only where the text behind it says so. Every message
 * begins with its kind byte, which pgoutput_decode() has read already, and where it is sent within a stream
 * segment (version 2 and above) most of them go on with the id of the transaction that made the change:
 *
 *	R Y I U D T M   within a segment: kind, Int32 xid, body; elsewhere: kind, body
 *	O E             within a segment too without xid
 *	all others      outside segments only
 *
 * What must stay true:
 * 1. A message is accepted only if every byte of it was understood; the iterators rely on that and
 *    check nothing.
 * 2. A failed decode changes neither the message given nor the decoder's stream state.
 * 3. Only the stream state outlives a message.
 * 4. Every loop over a count from the wire consumes at least a byte per turn or ends at the first failure.
 */

#include <pgoutput.h>

#include "cursor.h"

enum {
	KEY_ATTRIBUTE = 1,
	MESSAGE_TRANSACTIONAL = 1,
	TRUNCATE_CASCADE = 1,
	TRUNCATE_RESTART_IDENTITY = 2,
	STREAM_FIRST_SEGMENT = 1,
};

#define MESSAGE_BYTES_MAX 0x3fffffffu /* MaxAllocSize: the server cannot build a longer one */

static uint16_t parse_column_count(struct cursor *cur)
{
	const uint8_t *at = cur->at;
	uint16_t n_columns = cursor_u16(cur);
	if (n_columns > PGOUTPUT_MAX_COLUMNS)
		cursor_fail(cur, PGOUTPUT_ERROR_COUNT, at);
	return n_columns;
}

/*
 *	TupleData
 *	Int16    number of columns
 *	per column:
 *	  Byte1  'n' null | 'u' unchanged TOAST, not sent | 't' text | 'b' binary
 *	  [Int32 length, bytes]                                       for t and b
 *
 * The loop works on a copy of the cursor's position, so that it stays in registers.
 */
static void parse_tuple(struct cursor *cur, uint8_t kind, struct pgoutput_tuple *tuple)
{
	uint16_t n_columns = parse_column_count(cur);
	const uint8_t *start = cur->at, *at = start, *end = cur->end;

	if (cur->error)
		return;
	for (uint16_t i = 0; i < n_columns; i++) {
		if (at == end) {
			cursor_fail(cur, PGOUTPUT_ERROR_TRUNCATED, at);
			return;
		}
		uint8_t column_kind = *at++;
		if (column_kind == PGOUTPUT_COLUMN_TEXT || column_kind == PGOUTPUT_COLUMN_BINARY) {
			if (end - at < 4) {
				cursor_fail(cur, PGOUTPUT_ERROR_TRUNCATED, at);
				return;
			}
			size_t len = pgoutput_u32(at);
			at += 4;
			if ((size_t)(end - at) < len) {
				cursor_fail(cur, PGOUTPUT_ERROR_TRUNCATED, at);
				return;
			}
			at += len;
		} else if (column_kind != PGOUTPUT_COLUMN_NULL && column_kind != PGOUTPUT_COLUMN_UNCHANGED) {
			cursor_fail(cur, PGOUTPUT_ERROR_COLUMN_KIND, at - 1);
			return;
		}
	}
	cur->at = at;
	*tuple = (struct pgoutput_tuple){
		.data = start, .len = (uint32_t)(at - start), .n_columns = n_columns, .kind = kind
	};
}

/*
 *	'I' Insert
 *	Int32      relation
 *	Byte1      'N'
 *	TupleData  new row
 */
static void parse_insert(struct cursor *cur, struct pgoutput_row *row)
{
	row->relation = cursor_u32(cur);
	const uint8_t *at = cur->at;
	uint8_t kind = cursor_u8(cur);
	if (kind != PGOUTPUT_TUPLE_NEW)
		cursor_fail(cur, PGOUTPUT_ERROR_TUPLE_KIND, at);
	parse_tuple(cur, kind, &row->new);
}

/*
 *	'U' Update
 *	Int32        relation
 *	[Byte1       'K' or 'O'        where the identity changed, or is FULL, or held a value out of line
 *	 TupleData   old key or row]
 *	Byte1        'N'
 *	TupleData    new row
 */
static void parse_update(struct cursor *cur, struct pgoutput_row *row)
{
	row->relation = cursor_u32(cur);
	const uint8_t *at = cur->at;
	uint8_t kind = cursor_u8(cur);
	if (kind == PGOUTPUT_TUPLE_KEY || kind == PGOUTPUT_TUPLE_OLD) {
		parse_tuple(cur, kind, &row->old);
		at = cur->at;
		kind = cursor_u8(cur);
	}
	if (kind != PGOUTPUT_TUPLE_NEW)
		cursor_fail(cur, PGOUTPUT_ERROR_TUPLE_KIND, at);
	at = cur->at;
	parse_tuple(cur, kind, &row->new);
	/* both are rows of one relation: who pairs them column by column may rely on it */
	if (row->old.kind != PGOUTPUT_TUPLE_NONE && row->old.n_columns != row->new.n_columns)
		cursor_fail(cur, PGOUTPUT_ERROR_COUNT, at);
}

/*
 *	'D' Delete
 *	Int32      relation
 *	Byte1      'K' or 'O'
 *	TupleData  old key or row
 */
static void parse_delete(struct cursor *cur, struct pgoutput_row *row)
{
	row->relation = cursor_u32(cur);
	const uint8_t *at = cur->at;
	uint8_t kind = cursor_u8(cur);
	if (kind != PGOUTPUT_TUPLE_KEY && kind != PGOUTPUT_TUPLE_OLD)
		cursor_fail(cur, PGOUTPUT_ERROR_TUPLE_KIND, at);
	parse_tuple(cur, kind, &row->old);
}

/*
 *	'T' Truncate
 *	Int32           number of relations
 *	Int8            1 CASCADE | 2 RESTART IDENTITY
 *	Int32 x number  relations
 */
static void parse_truncate(struct cursor *cur, struct pgoutput_truncate *truncate)
{
	const uint8_t *at = cur->at;
	uint32_t n_relations = cursor_u32(cur);
	uint8_t flags = cursor_flags(cur, TRUNCATE_CASCADE | TRUNCATE_RESTART_IDENTITY);
	/* before the product, which could overflow, and so that an absurd count is called by its name */
	if (n_relations > MESSAGE_BYTES_MAX / 4) {
		cursor_fail(cur, PGOUTPUT_ERROR_COUNT, at);
		return;
	}
	truncate->data = cursor_bytes(cur, (size_t)n_relations * 4);
	truncate->n_relations = n_relations;
	truncate->cascade = flags & TRUNCATE_CASCADE;
	truncate->restart_identity = flags & TRUNCATE_RESTART_IDENTITY;
}

static bool is_identity(uint8_t byte)
{
	return byte == PGOUTPUT_IDENTITY_DEFAULT || byte == PGOUTPUT_IDENTITY_NOTHING ||
	       byte == PGOUTPUT_IDENTITY_FULL || byte == PGOUTPUT_IDENTITY_INDEX;
}

/*
 *	'R' Relation
 *	Int32     id
 *	String    schema, empty for pg_catalog
 *	String    name
 *	Int8      replica identity: d n f i
 *	Int16     number of columns
 *	per column:
 *	  Int8    1 = part of the replica identity
 *	  String  name
 *	  Int32   type
 *	  Int32   type modifier
 */
static void parse_relation(struct cursor *cur, struct pgoutput_relation *relation)
{
	relation->id = cursor_u32(cur);
	relation->schema = cursor_string(cur);
	relation->name = cursor_string(cur);
	const uint8_t *at = cur->at;
	relation->identity = cursor_u8(cur);
	if (!is_identity(relation->identity))
		cursor_fail(cur, PGOUTPUT_ERROR_IDENTITY, at);
	relation->n_columns = parse_column_count(cur);
	relation->data = cur->at;
	for (uint16_t i = 0; i < relation->n_columns && !cur->error; i++) {
		cursor_flags(cur, KEY_ATTRIBUTE);
		cursor_string(cur);
		cursor_u32(cur);
		cursor_u32(cur);
	}
	relation->len = (uint32_t)(cur->at - relation->data);
}

/*
 *	'Y' Type
 *	Int32   id
 *	String  schema, empty for pg_catalog
 *	String  name
 */
static void parse_type(struct cursor *cur, struct pgoutput_type *type)
{
	type->id = cursor_u32(cur);
	type->schema = cursor_string(cur);
	type->name = cursor_string(cur);
}

/*
 *	'O' Origin
 *	Int64   LSN of the commit at the origin (0 where the server does not know it yet)
 *	String  name
 */
static void parse_origin(struct cursor *cur, struct pgoutput_origin *origin)
{
	origin->lsn = cursor_u64(cur);
	origin->name = cursor_string(cur);
}

/*
 *	'M' Message
 *	Int8    1 = transactional
 *	Int64   LSN
 *	String  prefix
 *	Int32   length
 *	bytes   content
 */
static void parse_message(struct cursor *cur, struct pgoutput_logical_message *message)
{
	message->transactional = cursor_flags(cur, MESSAGE_TRANSACTIONAL);
	message->lsn = cursor_u64(cur);
	message->prefix = cursor_string(cur);
	message->len = cursor_u32(cur);
	message->content = cursor_bytes(cur, message->len);
}

/*
 *	'B' Begin
 *	Int64  final LSN
 *	Int64  commit time
 *	Int32  xid
 */
static void parse_begin(struct cursor *cur, struct pgoutput_begin *begin)
{
	begin->final_lsn = cursor_lsn(cur);
	begin->commit_time_us = cursor_i64(cur);
	begin->xid = cursor_u32(cur);
}

/*
 *	'C' Commit
 *	Int8   0
 *	Int64  commit LSN
 *	Int64  end LSN
 *	Int64  commit time
 */
static void parse_commit(struct cursor *cur, struct pgoutput_commit *commit)
{
	cursor_flags(cur, 0);
	commit->commit_lsn = cursor_u64(cur);
	commit->end_lsn = cursor_u64(cur);
	commit->commit_time_us = cursor_i64(cur);
}

/*
 *	'S' Stream Start
 *	Int32  xid
 *	Int8   1 = first segment of this transaction
 */
static void parse_stream_start(struct cursor *cur, struct pgoutput_stream_start *start)
{
	start->xid = cursor_xid(cur);
	start->first_segment = cursor_flags(cur, STREAM_FIRST_SEGMENT);
}

/*
 *	'c' Stream Commit
 *	Int32  xid
 *	Int8   0
 *	Int64  commit LSN
 *	Int64  end LSN
 *	Int64  commit time
 */
static void parse_stream_commit(struct cursor *cur, struct pgoutput_stream_commit *commit)
{
	commit->xid = cursor_xid(cur);
	cursor_flags(cur, 0);
	commit->commit_lsn = cursor_u64(cur);
	commit->end_lsn = cursor_u64(cur);
	commit->commit_time_us = cursor_i64(cur);
}

/*
 *	'A' Stream Abort
 *	Int32   xid
 *	Int32   xid of the subtransaction, the same where all is aborted
 *	[Int64  abort LSN      with parallel streaming (version 4)
 *	 Int64  abort time]
 */
static void parse_stream_abort(struct cursor *cur, bool parallel, struct pgoutput_stream_abort *abort)
{
	abort->xid = cursor_xid(cur);
	abort->subxid = cursor_xid(cur);
	abort->has_info = parallel;
	if (parallel) {
		abort->abort_lsn = cursor_u64(cur);
		abort->abort_time_us = cursor_i64(cur);
	}
}

/*
 *	'b' Begin Prepare            'P' Prepare, 'p' Stream Prepare
 *	                             Int8  0
 *	Int64   prepare LSN          the same
 *	Int64   end LSN
 *	Int64   prepare time
 *	Int32   xid
 *	String  gid
 */
static void parse_prepare(struct cursor *cur, enum pgoutput_kind kind, struct pgoutput_prepare *prepare)
{
	if (kind != PGOUTPUT_BEGIN_PREPARE)
		cursor_flags(cur, 0);
	prepare->prepare_lsn = cursor_lsn(cur);
	prepare->end_lsn = cursor_lsn(cur);
	prepare->prepare_time_us = cursor_i64(cur);
	prepare->xid = cursor_xid(cur);
	prepare->gid = cursor_string(cur);
}

/*
 *	'K' Commit Prepared
 *	Int8    0
 *	Int64   commit LSN
 *	Int64   end LSN
 *	Int64   commit time
 *	Int32   xid
 *	String  gid
 */
static void parse_commit_prepared(struct cursor *cur, struct pgoutput_commit_prepared *commit)
{
	cursor_flags(cur, 0);
	commit->commit_lsn = cursor_lsn(cur);
	commit->end_lsn = cursor_lsn(cur);
	commit->commit_time_us = cursor_i64(cur);
	commit->xid = cursor_xid(cur);
	commit->gid = cursor_string(cur);
}

/*
 *	'r' Rollback Prepared
 *	Int8    0
 *	Int64   end LSN of the prepare
 *	Int64   end LSN of the rollback
 *	Int64   prepare time
 *	Int64   rollback time
 *	Int32   xid
 *	String  gid
 */
static void parse_rollback_prepared(struct cursor *cur, struct pgoutput_rollback_prepared *rollback)
{
	cursor_flags(cur, 0);
	rollback->prepare_end_lsn = cursor_lsn(cur);
	rollback->rollback_end_lsn = cursor_lsn(cur);
	rollback->prepare_time_us = cursor_i64(cur);
	rollback->rollback_time_us = cursor_i64(cur);
	rollback->xid = cursor_xid(cur);
	rollback->gid = cursor_string(cur);
}

/* what a kind byte needs around it; version 0 = no such kind */
struct rule {
	uint8_t version; /* the lowest that has it */
	bool within;	 /* allowed within a stream segment */
	bool outside;	 /* allowed outside of one */
	bool xid;	 /* carries a transaction id within one */
};

static const struct rule rules[256] = {
	[PGOUTPUT_INSERT] = { 1, true, true, true },
	[PGOUTPUT_UPDATE] = { 1, true, true, true },
	[PGOUTPUT_DELETE] = { 1, true, true, true },
	[PGOUTPUT_TRUNCATE] = { 1, true, true, true },
	[PGOUTPUT_RELATION] = { 1, true, true, true },
	[PGOUTPUT_TYPE] = { 1, true, true, true },
	[PGOUTPUT_MESSAGE] = { 1, true, true, true },
	[PGOUTPUT_ORIGIN] = { 1, true, true, false },
	[PGOUTPUT_BEGIN] = { 1, false, true, false },
	[PGOUTPUT_COMMIT] = { 1, false, true, false },
	[PGOUTPUT_STREAM_START] = { 2, false, true, false },
	[PGOUTPUT_STREAM_STOP] = { 2, true, false, false },
	[PGOUTPUT_STREAM_COMMIT] = { 2, false, true, false },
	[PGOUTPUT_STREAM_ABORT] = { 2, false, true, false },
	[PGOUTPUT_BEGIN_PREPARE] = { 3, false, true, false },
	[PGOUTPUT_PREPARE] = { 3, false, true, false },
	[PGOUTPUT_COMMIT_PREPARED] = { 3, false, true, false },
	[PGOUTPUT_ROLLBACK_PREPARED] = { 3, false, true, false },
	[PGOUTPUT_STREAM_PREPARE] = { 3, false, true, false },
};

static void parse_body(struct cursor *cur, const struct pgoutput_decoder *d, struct pgoutput_message *msg)
{
	switch (msg->kind) {
	case PGOUTPUT_INSERT:
		parse_insert(cur, &msg->row);
		return;
	case PGOUTPUT_UPDATE:
		parse_update(cur, &msg->row);
		return;
	case PGOUTPUT_DELETE:
		parse_delete(cur, &msg->row);
		return;
	case PGOUTPUT_TRUNCATE:
		parse_truncate(cur, &msg->truncate);
		return;
	case PGOUTPUT_RELATION:
		parse_relation(cur, &msg->relation);
		return;
	case PGOUTPUT_TYPE:
		parse_type(cur, &msg->type);
		return;
	case PGOUTPUT_ORIGIN:
		parse_origin(cur, &msg->origin);
		return;
	case PGOUTPUT_MESSAGE:
		parse_message(cur, &msg->message);
		return;
	case PGOUTPUT_BEGIN:
		parse_begin(cur, &msg->begin);
		return;
	case PGOUTPUT_COMMIT:
		parse_commit(cur, &msg->commit);
		return;
	case PGOUTPUT_STREAM_START:
		parse_stream_start(cur, &msg->stream_start);
		return;
	case PGOUTPUT_STREAM_STOP:
		return;
	case PGOUTPUT_STREAM_COMMIT:
		parse_stream_commit(cur, &msg->stream_commit);
		return;
	case PGOUTPUT_STREAM_ABORT:
		parse_stream_abort(cur, d->parallel, &msg->stream_abort);
		return;
	case PGOUTPUT_BEGIN_PREPARE:
	case PGOUTPUT_PREPARE:
	case PGOUTPUT_STREAM_PREPARE:
		parse_prepare(cur, msg->kind, &msg->prepare);
		return;
	case PGOUTPUT_COMMIT_PREPARED:
		parse_commit_prepared(cur, &msg->commit_prepared);
		return;
	case PGOUTPUT_ROLLBACK_PREPARED:
		parse_rollback_prepared(cur, &msg->rollback_prepared);
		return;
	}
}

int pgoutput_decoder_init(struct pgoutput_decoder *d, unsigned int version, bool parallel)
{
	if (version < 1 || version > 4 || (parallel && version < 4))
		return PGOUTPUT_ERROR_VERSION;
	*d = (struct pgoutput_decoder){ .version = (uint8_t)version, .parallel = parallel };
	return 0;
}

int pgoutput_decode(
	struct pgoutput_decoder *d, const void *data, size_t len, struct pgoutput_message *ret_msg)
{
	if (len == 0 || len > MESSAGE_BYTES_MAX) {
		d->error_offset = 0;
		return len == 0 ? PGOUTPUT_ERROR_TRUNCATED : PGOUTPUT_ERROR_SIZE;
	}

	const uint8_t *bytes = data;
	struct cursor cur = { .base = bytes, .at = bytes + 1, .end = bytes + len };
	struct pgoutput_message msg = { .kind = (enum pgoutput_kind)bytes[0] };
	const struct rule *rule = &rules[bytes[0]];

	if (rule->version == 0 || rule->version > d->version)
		cursor_fail(&cur, PGOUTPUT_ERROR_KIND, bytes);
	else if (d->in_stream ? !rule->within : !rule->outside)
		cursor_fail(&cur, PGOUTPUT_ERROR_SEQUENCE, bytes);
	else {
		if (d->in_stream && rule->xid)
			msg.stream_xid = cursor_xid(&cur);
		parse_body(&cur, d, &msg);
		if (cur.at != cur.end)
			cursor_fail(&cur, PGOUTPUT_ERROR_TRAILING, cur.at);
	}
	if (cur.error) {
		d->error_offset = cur.error_offset;
		return cur.error;
	}
	if (msg.kind == PGOUTPUT_STREAM_START)
		d->in_stream = true;
	else if (msg.kind == PGOUTPUT_STREAM_STOP)
		d->in_stream = false;
	*ret_msg = msg;
	return 0;
}
