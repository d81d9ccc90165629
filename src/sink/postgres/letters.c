/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Dead letters while applying: written in the transaction that leaves the record out, and the set of keys
 * that they block. Only the applier that has the key's partition adds to its letters, and reads them anew when it takes a
 * partition on; the commands only take away, so an old view of the set
 * blocks too much for a while, never too little. It is read again every RELOAD_MS while there is any.
 *
 * A key is known by a 128-bit hash of its table and values (two FNV-1a sums); two keys that met in it would
 * only block each other. A record that changes the key has two hashes, 32 bytes.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/clock.h>

#include "apply.h"
#include "letter_json.h"

#define RELOAD_MS  5000
#define HASH_BYTES 16

struct blocked {
	uint8_t (*hashes)[HASH_BYTES];
	uint32_t n, cap;
	uint64_t letters; /* pending ones, also those without a key */
	struct mono read;
};

void letters_free(struct blocked *blocked)
{
	if (blocked)
		free(blocked->hashes);
	free(blocked);
}

static void hash_bytes(uint64_t hash[2], const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		hash[0] = (hash[0] ^ p[i]) * UINT64_C(0x100000001b3);
		hash[1] = (hash[1] ^ p[i] ^ 0x5c) * UINT64_C(0x100000001b3);
	}
}

static void hash_key(const struct target *target, const struct value *key, uint8_t out[HASH_BYTES])
{
	uint64_t hash[2] = { UINT64_C(0xcbf29ce484222325), UINT64_C(0x84222325cbf29ce4) };

	hash_bytes(hash, target->schema, strlen(target->schema) + 1);
	hash_bytes(hash, target->name, strlen(target->name) + 1);
	for (uint32_t i = 0; i < target->n_keys; i++) {
		uint32_t len = key[i].state == VALUE_PRESENT ? key[i].len : 0;
		uint8_t head[5] = { key[i].state, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
			(uint8_t)(len >> 8), (uint8_t)len };

		hash_bytes(hash, head, sizeof(head));
		hash_bytes(hash, key[i].data, len);
	}
	memcpy(out, hash, HASH_BYTES);
}

/* one or two hashes of the record's keys; returns how many, 0 = it has no key */
static int hash_record(struct apply *apply, const struct record *rec, const struct target *target,
	uint8_t out[2][HASH_BYTES])
{
	if (!target->n_keys || !apply_key(apply, target, rec))
		return 0;
	hash_key(target, apply->key, out[0]);
	if (rec->op != RECORD_UPDATE)
		return 1;
	for (uint32_t i = 0; i < target->n_keys; i++)
		if (rec->after[target->keys[i]].state != VALUE_ABSENT)
			apply->key[i] = rec->after[target->keys[i]];
	hash_key(target, apply->key, out[1]);
	return memcmp(out[0], out[1], HASH_BYTES) ? 2 : 1;
}

static void blocked_letter(struct apply *apply)
{
	if (!apply->blocked) {
		apply->blocked = calloc(1, sizeof(*apply->blocked));
		if (!apply->blocked)
			abort();
		apply->blocked->read = mono_now();
	}
	apply->blocked->letters++;
	metric_set(&apply->sink->base.ctx->metrics->dead_letters_pending, apply->blocked->letters);
}

static void blocked_add(struct blocked *blocked, const uint8_t hash[HASH_BYTES])
{
	if (blocked->n == blocked->cap) {
		blocked->cap = blocked->cap ? blocked->cap * 2 : 16;
		blocked->hashes = realloc(blocked->hashes, blocked->cap * sizeof(*blocked->hashes));
		if (!blocked->hashes)
			abort();
	}
	memcpy(blocked->hashes[blocked->n++], hash, HASH_BYTES);
}

void letters_doubt(struct apply *apply)
{
	apply->letters_read = false;
}

int letters_load(struct apply *apply, struct error *err)
{
	const char *values[] = { apply->sink->stream };
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (apply->letters_read &&
		(!apply->blocked || mono_diff_us(mono_now(), apply->blocked->read) < RELOAD_MS * 1000))
		return 0;
	if (pg_exec_params(apply->sink->conn,
		    "SELECT coalesce(key_hash, '') FROM sluice.dead_letters WHERE stream = $1"
		    " AND state = 'pending'",
		    1, values, &res, err) < 0)
		return -1;
	letters_free(apply->blocked);
	apply->blocked = NULL;
	apply->letters_read = true;
	metric_set(&apply->sink->base.ctx->metrics->dead_letters_pending, 0);
	for (int i = 0; i < PQntuples(res); i++) {
		size_t len = 0;
		uint8_t *hash = PQunescapeBytea((const unsigned char *)PQgetvalue(res, i, 0), &len);

		if (!hash)
			abort();
		blocked_letter(apply);
		for (size_t from = 0; from + HASH_BYTES <= len; from += HASH_BYTES)
			blocked_add(apply->blocked, hash + from);
		PQfreemem(hash);
	}
	return 0;
}

bool letters_blocks(struct apply *apply, const struct record *rec, const struct target *target)
{
	uint8_t hashes[2][HASH_BYTES];
	int n;

	if (!apply->blocked)
		return false;
	n = hash_record(apply, rec, target, hashes);
	for (uint32_t i = 0; i < apply->blocked->n; i++)
		for (int k = 0; k < n; k++)
			if (!memcmp(apply->blocked->hashes[i], hashes[k], HASH_BYTES))
				return true;
	return false;
}

#define LETTER_SQL                                                                                           \
	"INSERT INTO sluice.dead_letters (stream, position, commit_time, table_name, op, key_hash, record,"  \
	" error_class, error_code, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

enum { OID_BYTEA = 17, OID_TEXT = 25, OID_TIMESTAMPTZ = 1184, OID_JSONB = 3802 };

int letters_put(struct apply *apply, const struct record *rec, const struct error *why, struct error *err)
{
	static const Oid types[] = { OID_TEXT, OID_BYTEA, OID_TIMESTAMPTZ, OID_TEXT, OID_TEXT, OID_BYTEA,
		OID_JSONB, OID_TEXT, OID_TEXT, OID_TEXT };
	static const int formats[] = { 0, 1, 1, 0, 0, 1, 0, 0, 0, 0 };
	const struct queue_item item = { .expect = 1, .what = "dead letter", .tag = TAG_CONTROL };
	struct queue *queue = &apply->sink->queue;
	_cleanup_(buf_freep) struct buf json = BUF_INIT;
	uint8_t hashes[2][HASH_BYTES], position[POSITION_BYTES];
	int64_t commit_us = (int64_t)__builtin_bswap64((uint64_t)pg_time_from_wall(apply->commit_time));
	char table[160];
	struct target *target;
	int n;

	if (target_tables_find(apply, rec->rel, &target, err) < 0)
		return -1;
	n = hash_record(apply, rec, target, hashes);
	position_encode(rec->pos, position);
	snprintf(table, sizeof(table), "%s.%s", rec->rel->schema, rec->rel->name);
	letter_json_put(&json, rec);

	const char *values[] = { apply->sink->stream, (const char *)position,
		apply->commit_time.us ? (const char *)&commit_us : NULL, table, record_op_to_string(rec->op),
		n ? (const char *)hashes : NULL, buf_str(&json), error_class_to_string(why->class), why->code,
		why->message };
	const int lengths[] = { 0, POSITION_BYTES, 8, 0, 0, n * HASH_BYTES, (int)json.len, 0, 0, 0 };

	if (queue_prepare(queue, &(struct queue_statement){ "", LETTER_SQL, 10, types },
		    &(struct queue_item){ .expect = -1, .what = "dead letter", .tag = TAG_CONTROL },
		    err) < 0 ||
		queue_exec(queue, "", &(struct queue_params){ 10, values, lengths, formats }, &item, err) < 0)
		return -1;
	blocked_letter(apply);
	for (int i = 0; i < n; i++)
		blocked_add(apply->blocked, hashes[i]);
	apply->result.dead_letters++;
	apply->check_rows = true;
	return 0;
}
