/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Packs; see pack.h. Reading proves the checksum first and believes nothing all the same: a record's values are only found
 * here, and read by the codec.
 */

#include <inttypes.h>

#include <sluice/crc32c.h>
#include <sluice/pack.h>

#include "binary.h"
#include "cursor.h"
#include "varint.h"

#define WHAT_KNOWN (PACK_FLAGS | PACK_RELATION | PACK_NEW_RELATION | PACK_RESUME | PACK_OPTIONS | PACK_END)

void pack_fini(struct pack *pack)
{
	buf_fini(&pack->bytes);
}

/* what a record takes at most */
static size_t room_of(const struct stamp *stamp, size_t len)
{
	return 1 + 2 * VARINT_BYTES + 1 + sizeof(stamp->fingerprint) + 2 * VARINT_BYTES + stamp->resume.len +
	       strlen(stamp->options) + 1 + VARINT_BYTES + len;
}

bool pack_takes(const struct pack *pack, const struct stamp *stamp, size_t len, size_t limit)
{
	return !pack->n_records || pack->bytes.len + room_of(stamp, len) + BINARY_CRC_BYTES <= limit;
}

static unsigned what_of(const struct pack *pack, const struct stamp *stamp)
{
	unsigned what = stamp->pos.minor == POSITION_END ? PACK_END : 0;

	if (stamp->flags)
		what |= PACK_FLAGS;
	if (stamp->fingerprint)
		what |= PACK_RELATION;
	if (stamp->fingerprint && stamp->fingerprint != pack->fingerprint)
		what |= PACK_NEW_RELATION;
	if (stamp->resume.len)
		what |= PACK_RESUME;
	if (*stamp->options)
		what |= PACK_OPTIONS;
	return what;
}

static uint8_t *put_part(uint8_t *at, const void *data, size_t len)
{
	at = put_varint(at, len);
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put_parts(uint8_t *at, unsigned what, const struct stamp *stamp)
{
	if (what & PACK_FLAGS)
		*at++ = stamp->flags;
	if (what & PACK_NEW_RELATION) {
		memcpy(at, &stamp->fingerprint, sizeof(stamp->fingerprint));
		at += sizeof(stamp->fingerprint);
	}
	if (what & PACK_RESUME)
		at = put_part(at, stamp->resume.data, stamp->resume.len);
	if (what & PACK_OPTIONS)
		at = put_part(at, stamp->options, strlen(stamp->options) + 1);
	return at;
}

static void pack_begin(struct pack *pack, struct position prev)
{
	const uint8_t head[PACK_HEAD_BYTES] = { PACK_MAGIC, PACK_VERSION };

	buf_clear(&pack->bytes);
	buf_put(&pack->bytes, head, sizeof(head));
	pack->prev = pack->last = prev;
	pack->fingerprint = 0;
}

void pack_put(struct pack *pack, const struct stamp *stamp, const void *value, size_t len)
{
	uint8_t *at;
	unsigned what;

	if (!pack->n_records)
		pack_begin(pack, stamp->prev);
	what = what_of(pack, stamp);
	at = buf_grow(&pack->bytes, room_of(stamp, len));
	*at++ = (uint8_t)what;
	at = put_varint(at, stamp->pos.major - pack->last.major);
	if (!(what & PACK_END))
		at = put_varint(at, stamp->pos.major == pack->last.major ? stamp->pos.minor - pack->last.minor
									 : stamp->pos.minor);
	at = put_part(put_parts(at, what, stamp), value, len);
	pack->bytes.len = (size_t)(at - pack->bytes.data);
	pack->last = stamp->pos;
	if (what & PACK_RELATION)
		pack->fingerprint = stamp->fingerprint;
	pack->n_records++;
}

void pack_write(struct pack *pack, struct stamp *stamp, struct message *msg)
{
	uint32_t crc = crc32c(0, pack->bytes.data, pack->bytes.len);

	/* behind the content, which may still grow */
	memcpy(buf_grow(&pack->bytes, BINARY_CRC_BYTES), &crc, BINARY_CRC_BYTES);
	msg->value = pack->bytes.data;
	msg->value_len = pack->bytes.len + BINARY_CRC_BYTES;
	stamp->op = STAMP_PACK;
	stamp->has_pos = true;
	stamp->pos = pack->last;
	stamp->prev = pack->prev;
}

/* reading */

int unpack_begin(
	struct unpack *unpack, const struct message *msg, const struct stamp *stamp, struct error *err)
{
	const uint8_t *value = msg->value;

	if (binary_check_frame(msg, PACK_MAGIC, PACK_VERSION, err) < 0)
		return -1;
	*unpack = (struct unpack){
		.msg = msg,
		.at = value + PACK_HEAD_BYTES,
		.end = value + msg->value_len - BINARY_CRC_BYTES,
		.stamp = *stamp,
		.last = stamp->prev,
	};
	return 0;
}

/* a record's place: behind that of the record before it, but where a transaction that was aborted is written again */
static struct position read_position(struct cursor *cur, unsigned what, struct position last, bool first)
{
	const uint8_t *at = cur->at;
	uint64_t major = cursor_varint(cur), minor = POSITION_END;
	struct position pos;

	if (!(what & PACK_END))
		minor = cursor_varint(cur);
	pos.major = last.major + major;
	pos.minor = major || what & PACK_END ? minor : last.minor + minor;
	if ((!first && position_compare(pos, last) <= 0) ||
		(pos.minor == POSITION_END) != !!(what & PACK_END))
		cursor_fail(cur, at, "a position is not behind the one before it");
	return pos;
}

static void read_relation(struct cursor *cur, unsigned what, struct unpack *unpack, struct stamp *ret)
{
	const uint8_t *at = cur->at;

	if (what & PACK_NEW_RELATION) {
		const uint8_t *from = cursor_bytes(cur, sizeof(unpack->fingerprint));

		if (!cur->failed)
			memcpy(&unpack->fingerprint, from, sizeof(unpack->fingerprint));
	}
	if (what & PACK_RELATION)
		ret->fingerprint = unpack->fingerprint;
	if ((what & PACK_NEW_RELATION && !(what & PACK_RELATION)) ||
		(what & PACK_RELATION && !ret->fingerprint))
		cursor_fail(cur, at, "it is not said which relation it belongs to");
}

static void read_parts(struct cursor *cur, unsigned what, struct unpack *unpack, struct stamp *ret)
{
	const uint8_t *at = cur->at;
	uint64_t len;

	if (what & PACK_FLAGS)
		ret->flags = cursor_u8(cur) & STAMP_FLAGS;
	read_relation(cur, what, unpack, ret);
	if (what & PACK_RESUME) {
		len = cursor_varint(cur);
		ret->resume = (struct resume){ cursor_bytes(cur, len), (uint32_t)len };
		if (!len || len > UINT32_MAX)
			cursor_fail(cur, at, "a resume point is not one");
	}
	if (what & PACK_OPTIONS) {
		len = cursor_varint(cur);
		ret->options = (const char *)cursor_bytes(cur, len);
		if (!cur->failed && (!len || memchr(ret->options, 0, len) != ret->options + len - 1))
			cursor_fail(cur, at, "a text does not end where it should");
	}
}

static bool is_packed(uint8_t op)
{
	return op && strchr("BIUDTMC", op);
}

static int unpack_error(const struct unpack *unpack, const struct cursor *cur, struct error *err)
{
	return error_set(err, ERROR_DATA, "BINARY-FORMAT",
		"offset %" PRId64 ": the pack cannot be read at its byte %zu: %s", unpack->msg->offset,
		(size_t)(cur->failed_at - cur->base), cur->failed);
}

/* the pack is read to its end: does it end where its message says? */
static int unpack_end(const struct unpack *unpack, struct error *err)
{
	if (position_compare(unpack->last, unpack->stamp.pos) == 0)
		return 0;
	return error_set(err, ERROR_DATA, "BINARY-FORMAT",
		"offset %" PRId64 ": the pack does not end at the position of its message",
		unpack->msg->offset);
}

int unpack_next(struct unpack *unpack, struct message *ret, struct stamp *stamp, struct error *err)
{
	struct cursor cur = { .base = unpack->msg->value, .at = unpack->at, .end = unpack->end };
	const uint8_t *start = cur.at, *value;
	uint64_t len;
	unsigned what;

	if (unpack->at == unpack->end)
		return unpack_end(unpack, err);
	*stamp = (struct stamp){
		.prev = unpack->last,
		.has_pos = true,
		.reign = unpack->stamp.reign,
		.identity = unpack->stamp.identity,
		.options = "",
	};
	what = cursor_u8(&cur);
	if (what & ~(unsigned)WHAT_KNOWN)
		cursor_fail(&cur, start, "a newer version of sluice wrote it");
	stamp->pos = read_position(&cur, what, unpack->last, start == cur.base + PACK_HEAD_BYTES);
	read_parts(&cur, what, unpack, stamp);
	len = cursor_varint(&cur);
	value = cursor_bytes(&cur, len);
	if (!cur.failed && (len < BINARY_HEAD_BYTES || !is_packed(value[2])))
		cursor_fail(&cur, value, "it holds what does not belong into a pack");
	if (cur.failed)
		return unpack_error(unpack, &cur, err);
	stamp->op = value[2];
	unpack->at = cur.at;
	unpack->last = stamp->pos;
	stamp->more = unpack->at != unpack->end;
	*ret = (struct message){
		.value = value,
		.value_len = len,
		.offset = unpack->msg->offset,
		.at_ms = unpack->msg->at_ms,
	};
	return 1;
}
