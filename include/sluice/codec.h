/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A codec turns a record into the key and the value of a message, and back. Bytes and time come in as arguments; no
 * socket, clock or log inside. Positions, reign and relation travel in the message's stamp (message.h), not here.
 */

#include <sluice/batch.h>
#include <sluice/message.h>

struct codec;

/* the transaction that a row belongs to; rows carry neither its time nor its xid */
struct codec_transaction {
	uint64_t xid;
	struct wall commit_time;
	struct wall now; /* when it is written, for the envelope's ts_ms; 0 = commit_time stands there too */
};

/* a slice of the output buffer; offsets, since the buffer may move while it grows */
struct codec_slice {
	size_t at, len;
	bool null;
};

struct codec_output {
	struct buf *out;		      /* appended to */
	bool keyless;			      /* set by the caller: nobody needs the key, it may stay null */
	struct codec_slice key, value, exact; /* exact: the header sluice.exact, null = not needed */
};

struct codec_ops {
	/**
	 * encode() - writes key and value of rec behind ret->out's end. BEGIN, END, HEARTBEAT, TRUNCATE, MESSAGE, READ, CHUNK
	 * and rows. Thread: the codec's owner. Return: 0; negative: DATA with relation and column (never a value), e.g.
	 * a value that is not what its type says.
	 */
	int (*encode)(struct codec *codec, const struct record *rec, const struct codec_transaction *tx,
		struct codec_output *ret, struct error *err);
	/**
	 * decode() - fills rec (op, flags, pos, rel, offset are set from the stamp) from a message; all it points to goes into
	 * the batch's arena; msg need not outlive the call. Every value comes out byte for byte as it went in.
	 * Return: 0; negative: DATA with offset, relation and column.
	 */
	int (*decode)(struct codec *codec, const struct message *msg, struct batch *batch, struct record *rec,
		struct error *err);
	void (*free)(struct codec *codec);
};

struct codec {
	const struct codec_ops *ops;
};

enum json_schemas { JSON_SCHEMAS_TOPIC, JSON_SCHEMAS_INLINE, JSON_SCHEMAS_NONE };

struct codec_json_options {
	const char *version;	   /* source.version */
	const char *prefix;	   /* topic prefix: source.name and the names of schemas */
	const char *database;	   /* source.db */
	enum json_schemas schemas; /* INLINE: {"schema":…,"payload":…}; else the payload alone */
};

/** codec_json_new() - the Debezium-compatible envelope. Strings are copied. */
struct codec *codec_json_new(const struct codec_json_options *opt);
/** codec_binary_new() - the compact form; binary_format.h documents it byte by byte. */
struct codec *codec_binary_new(void);

static inline struct codec *codec_free(struct codec *codec)
{
	if (codec)
		codec->ops->free(codec);
	return NULL;
}

/*
 * Relations travel in a topic of their own: the same JSON for both codecs, readable and exact (oids, modifiers, key).
 */

/** relation_write_json() - appends the description. */
void relation_write_json(const struct relation *rel, struct buf *out);
/** relation_read_json() - a new relation with one reference; DATA "SCHEMA-FORMAT" when it is not one, or its fingerprint
 * is not what its content says. */
int relation_read_json(const void *data, size_t len, struct relation **ret, struct error *err);
/** relation_write_connect() - the Kafka Connect schema of the relation's envelope as in inline messages. */
void relation_write_connect(const struct relation *rel, const char *prefix, struct buf *out);
