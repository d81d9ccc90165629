/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Stamps; see message.h. Written: one growth of the buffer for all of a message's headers, then digits by table, since
 * this is done for every record. Read: every header that sluice knows is checked whole, for its form, its number and
 * its presence; one that is not known is of a newer version or of somebody else, and is skipped (as are unknown bits
 * of sluice.flags).
 *
 * Ids. A record's id is uuid5(uuid5(NAMESPACE, sluice.source), sluice.position), the position as its 32 digits: any
 * program can compute it. What has no position of its own has no id: a message outside transactions stands at the END
 * before it, and the same id would make it a repetition. The namespace of the source is kept per thread, because it
 * costs as much as the id itself and hardly ever changes.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include <sluice/hex.h>
#include <sluice/message.h>
#include <sluice/sha1.h>

#define UUID_BYTES	16u
#define POSITION_DIGITS (2 * POSITION_BYTES)

static const char own_prefix[] = "sluice.";
static const uint8_t namespace[UUID_BYTES] = { 0xb6, 0x65, 0x03, 0x81, 0x4a, 0x9f, 0x4f, 0x7a, 0xa9, 0x42,
	0x9d, 0x2f, 0x0f, 0xdb, 0x04, 0xc2 };

/* the namespace of the source whose id was asked for last */
static _Thread_local struct {
	char identity[192]; /* "" = none yet */
	uint8_t uuid[UUID_BYTES];
} source;

/* what a message of an op carries */
struct carried {
	bool known, position, relation, id;
};

static struct carried carried_by(uint8_t op)
{
	switch ((enum record_op)op) {
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
		return (struct carried){ .known = true, .position = true, .relation = true, .id = true };
	case RECORD_BEGIN:
	case RECORD_END:
	case RECORD_TRUNCATE:
	case RECORD_MESSAGE:
		return (struct carried){ .known = true, .position = true, .id = true };
	case RECORD_READ:
		return (struct carried){ .known = true, .relation = true };
	case RECORD_SCHEMA:
		return (struct carried){ .known = true, .relation = true };
	case RECORD_CHUNK:
		return (struct carried){ .known = true };
	case RECORD_ABORT:
	case RECORD_HEARTBEAT:
	case RECORD_FENCE:
		return (struct carried){ .known = true, .position = true };
	}
	return (struct carried){
		.known = op == STAMP_CONTINUE || op == STAMP_PACK,
		.position = true,
	};
}

/* SHA-1 of the namespace and name, shortened, with version and variant; name: at most 192 bytes */
static void uuid5(const uint8_t within[UUID_BYTES], const char *name, size_t len, uint8_t out[UUID_BYTES])
{
	uint8_t text[UUID_BYTES + sizeof(source.identity)], digest[SHA1_BYTES];

	assert(len <= sizeof(source.identity));
	memcpy(text, within, UUID_BYTES);
	memcpy(text + UUID_BYTES, name, len);
	sha1(text, UUID_BYTES + len, digest);
	memcpy(out, digest, UUID_BYTES);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x50);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static const uint8_t *source_namespace(const char *identity)
{
	size_t len = strlen(identity);

	if (len >= sizeof(source.identity))
		len = sizeof(source.identity) -
		      1; /* a system's number and a database's name are 84 bytes at most */
	if (!len || strncmp(source.identity, identity, len) || source.identity[len]) {
		memcpy(source.identity, identity, len);
		source.identity[len] = '\0';
		uuid5(namespace, identity, len, source.uuid);
	}
	return source.uuid;
}

static char *put_position(char *at, struct position pos)
{
	return hex_put_u64(hex_put_u64(at, pos.major), pos.minor);
}

/* 36 characters, no NUL */
static char *put_id(char *at, const char *identity, const char *position)
{
	static const uint8_t groups[] = { 4, 2, 2, 2, 6 };
	uint8_t id[UUID_BYTES];
	const uint8_t *from = id;

	uuid5(source_namespace(identity), position, POSITION_DIGITS, id);
	for (size_t i = 0; i < sizeof(groups); i++) {
		if (i)
			*at++ = '-';
		at = hex_put(at, from, groups[i]);
		from += groups[i];
	}
	return at;
}

void stamp_id(const char *identity, struct position pos, char out[37])
{
	char position[POSITION_DIGITS];

	put_position(position, pos);
	*put_id(out, identity, position) = '\0';
}

/* takes what was written from text's end up to `end` as a header's value; returns end */
static char *header_add(struct message *msg, const char *name, struct buf *text, char *end)
{
	uint8_t *start = text->data + text->len;
	size_t len = (size_t)((uint8_t *)end - start);

	assert(msg->n_headers < MESSAGE_HEADERS);
	msg->headers[msg->n_headers++] = (struct message_header){ name, start, len };
	text->len += len;
	return end;
}

static char *header_copy(
	struct message *msg, const char *name, struct buf *text, const char *value, size_t len)
{
	char *at = (char *)text->data + text->len;

	memcpy(at, value, len);
	return header_add(msg, name, text, at + len);
}

static bool has_id(const struct stamp *stamp, struct carried carried)
{
	if (stamp->op == RECORD_MESSAGE && (stamp->pos.minor == POSITION_END || !stamp->pos.minor))
		return false;
	return carried.id;
}

void stamp_write(const struct stamp *stamp, struct buf *text, struct message *msg)
{
	struct carried carried = carried_by(stamp->op);
	const char *identity = stamp->identity ? stamp->identity : "", *options = stamp->options;
	size_t identity_len = strlen(identity), options_len = options ? strlen(options) : 0;
	size_t room = 256 + identity_len + options_len + 2 * (size_t)stamp->resume.len;
	char *at = (char *)buf_grow(text, room);
	char reign[REIGN_TEXT];
	char *position = NULL;

	*at = (char)stamp->op;
	header_add(msg, "sluice.op", text, at + 1);
	reign_format(stamp->reign, reign);
	header_copy(msg, "sluice.reign", text, reign, strlen(reign));
	at = header_copy(msg, "sluice.source", text, identity, identity_len);
	if (stamp->has_pos) {
		position = at;
		at = header_add(msg, "sluice.position", text, put_position(at, stamp->pos));
		at = header_add(msg, "sluice.prev", text, put_position(at, stamp->prev));
		if (has_id(stamp, carried))
			at = header_add(msg, "sluice.id", text, put_id(at, identity, position));
	}
	if (stamp->resume.len)
		at = header_add(
			msg, "sluice.resume", text, hex_put(at, stamp->resume.data, stamp->resume.len));
	if (stamp->fingerprint)
		at = header_add(msg, "sluice.relation", text, hex_put_u64(at, stamp->fingerprint));
	if (stamp->flags)
		header_add(msg, "sluice.flags", text, hex_put_short(at, stamp->flags));
	if (options_len)
		header_copy(msg, "sluice.options", text, options, options_len);
}

const struct message_header *message_header(const struct message *msg, const char *name)
{
	for (uint32_t i = 0; i < msg->n_headers; i++) {
		if (!strcmp(msg->headers[i].name, name))
			return &msg->headers[i];
	}
	return NULL;
}

/* reading: one header at a time, each by its name */

enum header {
	HEADER_OP,
	HEADER_REIGN,
	HEADER_SOURCE,
	HEADER_POSITION,
	HEADER_PREV,
	HEADER_RESUME,
	HEADER_RELATION,
	HEADER_FLAGS,
	HEADER_OPTIONS,
	HEADER_OTHER, /* sluice.id and sluice.exact too: nothing to keep of them here */
};

static const char *const header_names[] = { "op", "reign", "source", "position", "prev", "resume", "relation",
	"flags", "options" };

static enum header header_of(const char *name)
{
	for (unsigned i = 0; i < HEADER_OTHER; i++) {
		if (*header_names[i] == *name && !strcmp(header_names[i], name))
			return (enum header)i;
	}
	return HEADER_OTHER;
}

static bool read_position(struct position *ret, const char *s, size_t len)
{
	return len == POSITION_DIGITS && hex_get_u64(&ret->major, s, 16) &&
	       hex_get_u64(&ret->minor, s + 16, 16);
}

static bool read_flags(uint8_t *ret, const char *s, size_t len)
{
	char digits[2] = { '0', '0' };
	uint8_t flags;

	if (!len || len > 2)
		return false;
	memcpy(digits + 2 - len, s, len);
	if (!hex_get(&flags, digits, 2))
		return false;
	*ret = flags & STAMP_FLAGS;
	return true;
}

static bool read_resume(struct arena *arena, struct resume *ret, const char *s, size_t len)
{
	uint8_t *data;

	if (!len || len % 2 || len / 2 > UINT32_MAX)
		return false;
	data = arena_alloc(arena, len / 2);
	if (!hex_get(data, s, len))
		return false;
	*ret = (struct resume){ data, (uint32_t)(len / 2) };
	return true;
}

static bool read_text(struct arena *arena, const char **ret, const char *s, size_t len)
{
	char *copy;

	if (!len || memchr(s, '\0', len))
		return false;
	copy = arena_alloc(arena, len + 1);
	memcpy(copy, s, len);
	copy[len] = '\0';
	*ret = copy;
	return true;
}

static bool read_header(
	enum header header, const struct message_header *from, struct arena *arena, struct stamp *ret)
{
	const char *s = from->value;
	size_t len = s ? from->len : 0;

	switch (header) {
	case HEADER_OP:
		ret->op = len == 1 ? (uint8_t)*s : 0;
		return carried_by(ret->op).known;
	case HEADER_REIGN:
		return len && reign_parse(&ret->reign, s, len);
	case HEADER_SOURCE:
		return read_text(arena, &ret->identity, s, len);
	case HEADER_POSITION:
		ret->has_pos = read_position(&ret->pos, s, len);
		return ret->has_pos;
	case HEADER_PREV:
		return read_position(&ret->prev, s, len);
	case HEADER_RESUME:
		return read_resume(arena, &ret->resume, s, len);
	case HEADER_RELATION:
		return hex_get_u64(&ret->fingerprint, s, len) && ret->fingerprint;
	case HEADER_FLAGS:
		return read_flags(&ret->flags, s, len);
	case HEADER_OPTIONS:
		return read_text(arena, &ret->options, s, len);
	case HEADER_OTHER:
		break;
	}
	return true;
}

static int header_error(const struct message *msg, enum header header, const char *what, struct error *err)
{
	return error_set(err, ERROR_DATA, "KAFKA-HEADER",
		"header sluice.%s of the message at offset %" PRId64 " %s", header_names[header], msg->offset,
		what);
}

/* are all there that a message of its op carries? */
static int check_presence(
	const struct message *msg, const struct stamp *stamp, unsigned seen, struct error *err)
{
	struct carried carried = carried_by(stamp->op);
	unsigned needed = 1u << HEADER_OP | 1u << HEADER_REIGN | 1u << HEADER_SOURCE;

	if (carried.position || seen & (1u << HEADER_POSITION | 1u << HEADER_PREV))
		needed |= 1u << HEADER_POSITION | 1u << HEADER_PREV;
	if (carried.relation)
		needed |= 1u << HEADER_RELATION;
	for (unsigned i = 0; i < HEADER_OTHER; i++) {
		if ((needed & ~seen) >> i & 1)
			return header_error(msg, (enum header)i, "is missing", err);
	}
	return 0;
}

int stamp_read(const struct message *msg, struct arena *arena, struct stamp *ret, struct error *err)
{
	struct stamp stamp = { .identity = "", .options = "" };
	unsigned seen = 0;
	bool own = false;

	for (uint32_t i = 0; i < msg->n_headers; i++) {
		const struct message_header *from = &msg->headers[i];
		enum header header;

		if (strncmp(from->name, own_prefix, sizeof(own_prefix) - 1))
			continue;
		own = true;
		header = header_of(from->name + sizeof(own_prefix) - 1);
		if (header == HEADER_OTHER)
			continue;
		if (seen & 1u << header)
			return header_error(msg, header, "is there twice", err);
		seen |= 1u << header;
		if (!read_header(header, from, arena, &stamp))
			return header_error(msg, header, "is not what sluice writes there", err);
	}
	if (!own)
		return 1;
	if (check_presence(msg, &stamp, seen, err) < 0)
		return -1;
	*ret = stamp;
	return 0;
}
