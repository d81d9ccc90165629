/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two halves of the JSON codec, and the header sluice.exact that makes them exact. Both headers of a row are
 * needed to read it: the envelope is for everyone, sluice.exact says where it is not the whole truth. A JSON object,
 * each member only when needed, columns by name:
 *
 *   "after":{"col":"text",…}    values whose text is not the canonical one of their JSON form (json_types.h); whatever
 *   "before":{"col":"text",…}   the envelope has there (null too), this is the value
 *   "absent":["col",…]          absent columns of after; all others are null or present
 *   "absent_before":["col",…]   the same of before. Without it: with RECORD_BEFORE_KEY exactly the columns outside the
 *                               key are absent, else none
 *   "truncate":{"relations":[R,…],"cascade":bool,"restart_identity":bool}   TRUNCATE; R as relation_write_json()
 *
 * after and before are NULL in a record where the envelope has null. The message's key says nothing new.
 *
 * The other values:
 *   BEGIN      {"status":"BEGIN","id":"<xid>:<major>","event_count":null,"data_collections":null,"ts_ms":n,
 *               "commit_us":n,"xid":n}
 *   END        the same with "END"; event_count is n_records; data_collections [{"data_collection":"s.t",
 *               "event_count":n},…] or null
 *   HEARTBEAT  {"ts_ms":n,"at_us":n,"head":n,"clear_us":n}
 *   MESSAGE    {"op":"m","ts_ms":n,"source":{…},"transaction":{…},"message":{"prefix":s,"content":base64}};
 *              source.txId is null iff the message is not transactional
 *   TRUNCATE   an envelope with op "t", before and after null; source names the first relation
 *   CHUNK      {"mark":"T","no":n,"attempt":n,"rows":n,"start":n,"content":base64 or null}
 *   SCHEMA     as relation_write_json(), its key {"relation":"s.t","fingerprint":"16 hex"}
 *   FENCE and ABORT have neither key nor value.
 * With JSON_SCHEMAS_INLINE keys, rows, TRUNCATE, MESSAGE, BEGIN and END are {"schema":…,"payload":…}.
 */

#include <sluice/codec.h>

struct json_writer;

struct json_codec {
	struct codec base;
	struct json_writer *writer;
	void *reader; /* whatever json_read() keeps between messages, freed by json_read_free(); NULL at first */
};

/* json_write.c */
struct json_writer *json_writer_new(const struct codec_json_options *opt);
struct json_writer *json_writer_free(struct json_writer *writer);
/** json_write() - see codec_ops.encode. */
int json_write(struct codec *codec, const struct record *rec, const struct codec_transaction *tx,
	struct codec_output *ret, struct error *err);
/**
 * json_write_key() - the key of a row alone, behind ret->out's end: other codecs have the same one.
 * ret->key.null when the relation has no key. Values in binary form are written as their text where that is easy
 * (integers, strings, uuid, dates), else as base64 of their bytes. Return: as codec_ops.encode.
 */
int json_write_key(
	struct json_writer *writer, const struct record *rec, struct codec_output *ret, struct error *err);

/* json_read.c */
/** json_read() - see codec_ops.decode. */
int json_read(struct codec *codec, const struct message *msg, struct batch *batch, struct record *rec,
	struct error *err);
/** json_read_free() - frees codec->reader; NULL is allowed. */
void json_read_free(void *reader);
