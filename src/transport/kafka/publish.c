/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records as messages, and what of the stream is in the log already.
 *
 * Invariants:
 *   1. A relation's description is acked in the schemas topic before the first record that needs it is produced.
 *   2. A record at or below the tail is in the log and is left out. A transaction that the tail stands in goes on where it was,
 *      closed by its END alone; when the source counts its ordinals otherwise now (other options), or does not send
 *      it any more, it is aborted, and what is left of it is written again whole.
 *   3. What stands outside of transactions (heartbeats, messages) never comes to stand inside one: until the source has
 *      reached the transaction of the tail, it is left out, since the log has it already.
 */

#include <inttypes.h>
#include <string.h>

#include <sluice/fault.h>

#include "writer.h"

#define SLOTS_MASK (PUBLISHED - 1)

static struct relation **slot_of(struct writer *w, uint64_t fingerprint)
{
	uint32_t i = (uint32_t)(fingerprint ^ fingerprint >> 32) & SLOTS_MASK;

	while (w->published[i] && w->published[i]->fingerprint != fingerprint)
		i = (i + 1) & SLOTS_MASK;
	return &w->published[i];
}

void publish_forget(struct writer *w)
{
	for (uint32_t i = 0; i < PUBLISHED; i++)
		w->published[i] = relation_unref(w->published[i]);
	w->n_published = 0;
}

static void note_published(struct writer *w, struct relation *rel)
{
	/* forgetting costs a message more, which compaction removes */
	if (w->n_published == PUBLISHED / 2)
		publish_forget(w);
	*slot_of(w, rel->fingerprint) = relation_ref(rel);
	w->n_published++;
}

static void describe(struct writer *w, const struct relation *rel, struct message *msg)
{
	struct stamp stamp = {
		.op = RECORD_SCHEMA,
		.reign = w->reign,
		.identity = w->identity,
		.options = "",
		.fingerprint = rel->fingerprint,
	};
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	size_t key_len;

	buf_printf(&name, "%s.%s", rel->schema, rel->name);
	buf_clear(&w->output);
	buf_puts(&w->output, "{\"relation\":");
	buf_json_string(&w->output, (const char *)name.data, name.len);
	buf_printf(&w->output, ",\"fingerprint\":\"%016" PRIx64 "\"}", rel->fingerprint);
	key_len = w->output.len;
	relation_write_json(rel, &w->output);
	*msg = (struct message){
		.key = w->output.data,
		.key_len = key_len,
		.value = w->output.data + key_len,
		.value_len = w->output.len - key_len,
	};
	buf_clear(&w->text);
	stamp_write(&stamp, &w->text, msg);
}

int publish_relation(struct writer *w, struct relation *rel, struct error *err)
{
	struct message msg;
	int r;

	if (w->schema.pending)
		return TRANSPORT_FULL;
	if (*slot_of(w, rel->fingerprint))
		return 0;
	describe(w, rel, &msg);
	if (SLUICE_FAULT_POINT("transport.kafka.relation"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.relation");
	w->schema.sent.us = 0;
	r = writer_produce(w, (struct place){ w->schemas, 0 }, &msg, &w->schema, err);
	if (r != 0)
		return r;
	note_published(w, rel);
	return TRANSPORT_FULL;
}

static int put_relations(struct writer *w, const struct record *rec, struct error *err)
{
	int r = rec->rel ? publish_relation(w, rec->rel, err) : 0;

	if (rec->op != RECORD_TRUNCATE)
		return r;
	for (uint32_t i = 0; r == 0 && i < rec->truncate->n_relations; i++)
		r = publish_relation(w, rec->truncate->relations[i], err);
	return r;
}

bool publish_in_transaction(const struct record *rec)
{
	switch ((enum record_op)rec->op) {
	case RECORD_BEGIN:
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_TRUNCATE:
	case RECORD_END:
	case RECORD_ABORT:
		return true;
	case RECORD_MESSAGE:
		return rec->message->transactional;
	case RECORD_READ:
	case RECORD_SCHEMA:
	case RECORD_HEARTBEAT:
	case RECORD_FENCE:
	case RECORD_CHUNK:
		return false;
	}
	return false;
}

struct stamp publish_stamp(const struct writer *w, const struct record *rec, const struct publish_at *at)
{
	struct stamp stamp = {
		.op = rec->op,
		.flags = rec->flags,
		.has_pos = rec->op != RECORD_READ && rec->op != RECORD_CHUNK,
		.pos = at->pos,
		.prev = at->prev,
		.reign = w->reign,
		.identity = w->identity,
		.options = at->options ? at->options : "",
		.fingerprint = rec->rel ? rec->rel->fingerprint : 0,
	};

	if (rec->op == RECORD_END)
		stamp.resume = rec->end->resume;
	if (rec->op == RECORD_HEARTBEAT)
		stamp.resume = rec->heartbeat->resume;
	if (rec->op == RECORD_BEGIN && rec->begin->options)
		stamp.options = rec->begin->options;
	return stamp;
}

int publish_encode(struct writer *w, const struct record *rec, struct codec_output *ret, struct error *err)
{
	const struct codec_transaction *tx = w->in_tx ? &w->tx : NULL;
	struct codec_transaction read = { 0 };

	/* a copied row is of no transaction: its time is that of reading it */
	if (!tx && rec->op == RECORD_READ) {
		read.commit_time = wall_now();
		tx = &read;
	}
	buf_clear(&w->output);
	*ret = (struct codec_output){ .out = &w->output, .keyless = w->packs.on && !w->tables };
	return w->codec->ops->encode(w->codec, rec, tx, ret, err);
}

/* Kafka Connect takes JSON in a header apart, and fails where it has no schema for it; behind a # it is text to it */
static struct codec_slice header_text(struct writer *w, const struct codec_slice *slice)
{
	struct codec_slice text = { .at = w->output.len, .len = slice->len + 1, .null = slice->null };

	if (slice->null)
		return text;
	buf_grow(&w->output, text.len);
	buf_putc(&w->output, '#');
	buf_put(&w->output, w->output.data + slice->at, slice->len);
	return text;
}

static void header_put(
	const struct writer *w, struct message *msg, const char *name, const struct codec_slice *slice)
{
	if (!slice->null)
		msg->headers[msg->n_headers++] =
			(struct message_header){ name, w->output.data + slice->at, slice->len };
}

void publish_message(struct writer *w, const struct record *rec, const struct codec_output *out,
	const struct publish_at *at, struct message *ret)
{
	struct stamp stamp = publish_stamp(w, rec, at);
	struct codec_slice exact = header_text(w, &out->exact), body = { .null = true };

	if (at->mark)
		body = header_text(w, &out->value);
	buf_clear(&w->text);
	*ret = (struct message){ 0 };
	stamp_write(&stamp, &w->text, ret);
	if (!out->key.null) {
		ret->key = w->output.data + out->key.at;
		ret->key_len = out->key.len;
	}
	if (!at->mark && !out->value.null) {
		ret->value = w->output.data + out->value.at;
		ret->value_len = out->value.len;
	}
	header_put(w, ret, "sluice.body", &body);
	header_put(w, ret, "sluice.exact", &exact);
}

static int encode(struct writer *w, const struct record *rec, struct message *msg, struct error *err)
{
	/* what stands outside of transactions keeps the place of what came before it */
	struct publish_at at = { .pos = publish_in_transaction(rec) ? rec->pos : w->prev, .prev = w->prev };
	struct codec_output out;

	if (publish_encode(w, rec, &out, err) < 0)
		return -1;
	publish_message(w, rec, &out, &at, msg);
	return 0;
}

static int where(const struct relation *rel, struct position pos, struct error *err)
{
	return error_where(err, "%s%s%s%sposition %" PRIX64 "/%" PRIX64 ":%" PRIu64, rel ? rel->schema : "",
		rel ? "." : "", rel ? rel->name : "", rel ? ", " : "", pos.major >> 32,
		pos.major & UINT32_MAX, pos.minor);
}

int publish_where(const struct writer *w, const struct message *msg, struct error *err)
{
	struct arena scratch = ARENA_INIT(NULL);
	struct error ignored = ERROR_INIT;
	struct unpack unpack;
	struct message first;
	struct stamp stamp;

	if (stamp_read(msg, &scratch, &stamp, &ignored) == 0) {
		/* of a pack its first record: what is too large is there alone */
		if (stamp.op == STAMP_PACK && unpack_begin(&unpack, msg, &stamp, &ignored) == 0)
			unpack_next(&unpack, &first, &stamp, &ignored);
		where(stamp.fingerprint ? *slot_of((struct writer *)(uintptr_t)w, stamp.fingerprint) : NULL,
			stamp.pos, err);
	}
	arena_reset(&scratch);
	return -1;
}

int publish_fails(const struct record *rec, struct error *err)
{
	return rec->rel ? where(rec->rel, rec->pos, err) : -1;
}

static int put_packed(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	const struct publish_at at = { .pos = rec->pos, .prev = w->prev };
	struct codec_output out;
	int r;

	if (publish_encode(w, rec, &out, err) < 0)
		return publish_fails(rec, err);
	r = packs_put(w, &w->packed, rec, &at, &out, ticket, err);
	if (r == 0)
		w->prev = rec->pos;
	return r;
}

int publish_put(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	struct message msg;
	int r;

	if (w->tables)
		return tables_put(w, rec, ticket, err);
	r = put_relations(w, rec, err);
	if (r != 0 || rec->op == RECORD_SCHEMA) /* it has its topic, and nothing to say in this one */
		return r;
	if (w->packs.on && publish_in_transaction(rec) && rec->op != RECORD_ABORT)
		return put_packed(w, rec, ticket, err);
	r = packs_send(w, &w->packed, err);
	if (r != 0)
		return r;
	if (encode(w, rec, &msg, err) < 0)
		return publish_fails(rec, err);
	if (SLUICE_FAULT_POINT("transport.kafka.produce"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.produce");
	r = writer_produce(w, (struct place){ w->root, 0 }, &msg, ticket, err);
	if (r < 0)
		return where(rec->rel, rec->pos, err);
	if (r == 0 && publish_in_transaction(rec))
		w->prev = rec->pos;
	return r;
}

/* the transaction that the tail stands in ends here: what was written of it does not count */
static int put_abort(struct writer *w, struct ticket *ticket, struct error *err)
{
	const struct record rec = { .op = RECORD_ABORT, .pos = w->prev };
	int r = publish_put(w, &rec, ticket, err);

	if (r != 0)
		return r;
	w->tail.aborted = true;
	w->behind = false;
	return 0;
}

/* a transaction begins: is it, or comes it behind, the one that the tail stands in? */
static int meet_tail(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	const struct tail *tail = &w->tail;
	const char *options = rec->begin->options ? rec->begin->options : "";

	if (!w->behind || rec->pos.major < tail->last.major)
		return 0;
	if (rec->pos.major > tail->last.major || tail->begun != tail->last.major ||
		strncmp(options, tail->options, sizeof(tail->options) - 1) != 0)
		return put_abort(w, ticket, err);
	w->behind = false;
	return 0;
}

static bool is_written(const struct writer *w, const struct record *rec)
{
	const struct tail *tail = &w->tail;

	if (!publish_in_transaction(rec))
		return w->behind;
	if (tail->aborted && rec->pos.major == tail->last.major)
		return false;
	return position_compare(rec->pos, tail->last) <= 0;
}

void publish_begin(struct writer *w, const struct record *rec)
{
	w->tx = (struct codec_transaction){
		.xid = rec->begin->xid,
		.commit_time = rec->begin->commit_time,
		.now = wall_now(),
	};
	w->in_tx = true;
}

int publish_next(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	int r = 0;

	if (w->tables)
		return tables_next(w, rec, ticket, err);
	if (rec->op == RECORD_BEGIN) {
		r = meet_tail(w, rec, ticket, err);
		if (r != 0)
			return r;
		publish_begin(w, rec);
	}
	if (!is_written(w, rec))
		r = publish_put(w, rec, ticket, err);
	if (r == 0 && rec->op == RECORD_END)
		w->in_tx = false;
	return r;
}
