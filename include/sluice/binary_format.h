/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The compact codec's messages, byte by byte. Position, reign, relation and flags are in a message's headers (message.h), or
 * in the pack that it is part of (pack.h). This is its value. Version 1:
 *
 *   u8 magic 0xd5 | u8 version 1 | u8 op, an enum record_op | fields | u32 CRC32C of all bytes before it
 *   field = u8 tag | varint length | content of that length
 *
 *   u32, i64   little-endian
 *   varint     unsigned, 7 bits per byte, the lowest first, the high bit set in all bytes but the last; at most 10
 *
 *   op                                   fields
 *   insert I, update U, delete D, read R AFTER and BEFORE, those that the record has
 *   begin B, end C                       TRANSACTION
 *   truncate T                           TRUNCATE
 *   message M                            MESSAGE
 *   heartbeat K                          HEARTBEAT
 *   chunk H                              CHUNK
 *
 *   tag               content
 *   0x01 AFTER        varint number of columns, then a value for each of the relation's columns
 *   0x02 BEFORE       the same
 *   0x03 TRANSACTION  i64 commit time (µs, Unix) | varint xid | END only: varint number of records
 *   0x04 TRUNCATE     u8 options (1 cascade, 2 restart identity) | varint number of relations | for each: varint length,
 *                     its description as relation_write_json() writes it
 *   0x05 MESSAGE      u8 1 = transactional | varint length, prefix | the content up to the field's end
 *   0x06 HEARTBEAT    i64 time | varint head | i64 clear (times in µs, Unix)
 *   0x07 CHUNK        u8 mark | varint number | varint attempt | varint rows | varint start | u8 1 = a content follows |
 *                     varint length, content
 *
 *   value = varint (length << 3 | kind) | BSON only: u8 BSON type | the bytes
 *   kind: 0 absent, 1 null, 2 text, 3 binary, 4 BSON; absent and null have length 0. An empty text is 2 with length 0.
 *
 * FENCE, CONTINUE and ABORT have no value; SCHEMA's is relation_write_json() alone, as in the topic of schemas.
 *
 * What may change. A reader refuses another version, and a tag below 0x80 that it does not know (BINARY-VERSION); it
 * skips unknown tags from 0x80 on, and, but for AFTER and BEFORE, what stands behind the parts it knows of a field. A field
 * comes at most once.
 * So a new field that can be done without is a tag from 0x80 on or the end of an old one, in the same version.
 */

#define BINARY_MAGIC	  0xd5
#define BINARY_VERSION	  1
#define BINARY_HEAD_BYTES 3u
#define BINARY_CRC_BYTES  4u
#define BINARY_OPTIONAL	  0x80 /* tags from here on may be skipped */

enum binary_tag {
	BINARY_AFTER = 1,
	BINARY_BEFORE = 2,
	BINARY_TRANSACTION = 3,
	BINARY_TRUNCATE = 4,
	BINARY_MESSAGE = 5,
	BINARY_HEARTBEAT = 6,
	BINARY_CHUNK = 7,
};

enum binary_kind {
	BINARY_ABSENT = 0,
	BINARY_NULL = 1,
	BINARY_TEXT = 2,
	BINARY_BINARY = 3,
	BINARY_BSON = 4,
};
