/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Several records of a partition in one message: the binary form, whose records nobody but sluice reads. A message costs
 * the producer, the broker and the consumer more than a row in it does. It has the stamp of message.h with the op STAMP_PACK;
 * its position is that of its last record, its prev that before its first; it has no key. This is its value, version 1:
 *
 *   u8 magic 0xd6 | u8 version 1 | records | u32 CRC32C of all bytes before it
 *   record = u8 what | position | parts | varint length, value
 *
 *   what   0x01 flags           part: u8, enum record_flags
 *          0x02 relation        it belongs to one; without 0x04 that of the record before it
 *          0x04 new relation    part: u64 fingerprint
 *          0x08 resume          part: varint length, resume point
 *          0x10 options         part: varint length, text that ends with a zero byte
 *          0x20 end             its minor is POSITION_END
 *   position = varint major, less that of the record before it (of the first: of the message's prev) | but for 0x20:
 *          varint minor; where the major is the same, less that of the record before it. Both modulo 2^64: a transaction
 *          that was aborted is written again from its beginning
 *   parts  in the order of their bits
 *   value  as binary_format.h has it; its op is the record's
 *
 * Only what has a place in a transaction stands in a pack: begin, insert, update, delete, truncate, message, end. u64, u32
 * and varint are as there. A reader refuses another version, and bits of `what` that it does not know.
 */

#include <sluice/message.h>

#define PACK_MAGIC	0xd6
#define PACK_VERSION	1
#define PACK_HEAD_BYTES 2u

enum pack_what {
	PACK_FLAGS = 1,
	PACK_RELATION = 2,
	PACK_NEW_RELATION = 4,
	PACK_RESUME = 8,
	PACK_OPTIONS = 16,
	PACK_END = 32,
};

/* one that is being filled; init with {0} */
struct pack {
	struct buf bytes;
	uint32_t n_records;
	struct position prev; /* before the first */
	struct position last;
	uint64_t fingerprint; /* of the last relation */
};

void pack_fini(struct pack *pack);
static inline void pack_clear(struct pack *pack)
{
	pack->n_records = 0;
}
/** pack_takes() - whether a value of len bytes may join the others without making the pack larger than limit bytes. */
bool pack_takes(const struct pack *pack, const struct stamp *stamp, size_t len, size_t limit);
/** pack_put() - appends a record: op, flags, pos, prev, resume, options and fingerprint of the stamp. Its prev is the position
 * of the record before it. */
void pack_put(struct pack *pack, const struct stamp *stamp, const void *value, size_t len);
/** pack_write() - the message's value, borrowed until the next pack_put(), and op, position and prev of its stamp. */
void pack_write(struct pack *pack, struct stamp *stamp, struct message *msg);

/* one that is being read */
struct unpack {
	const struct message *msg;
	const uint8_t *at, *end;
	struct stamp stamp; /* of the record before; at first that of the message */
	struct position last;
	uint64_t fingerprint;
};

/** unpack_begin() - stamp: of the message. Borrows both. Return: 0; negative: DATA "BINARY-…". */
int unpack_begin(
	struct unpack *unpack, const struct message *msg, const struct stamp *stamp, struct error *err);
/**
 * unpack_next() - the next record as if it had come in a message of its own: value, offset and time; stamp->more says whether
 * another one follows. Borrows from the message.
 * Return: 1; 0 = there are no more; negative: DATA "BINARY-…".
 */
int unpack_next(struct unpack *unpack, struct message *ret, struct stamp *stamp, struct error *err);
