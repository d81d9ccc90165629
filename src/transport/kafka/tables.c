/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records as messages in layout tables: rows go to their table's topic, to the partition of their key, as the Java client
 * spreads keys; the boundaries of transactions, which hold nothing together here, to a topic of their own.
 *
 * Invariants:
 *   1. Each partition has a chain of its own. A record at or below the last one of its partition is in the log and is left out,
 *      so a record that needs several messages is put again from the start when the producer was full in between.
 *   2. A change of a row's key is a delete of the old key and an insert of the new one, in the partition of each. So that
 *      both have a place and an id, ordinals are doubled here: 2n, and 2n + 1 for the second half.
 *   3. An insert has all its columns: what an UPDATE left out is read from the source. When the row is gone from there, its end
 *      follows in the stream, and a value that its type allows stands in until then.
 *   4. What is not for everyone (marks of the copy and of a transaction's end, TRUNCATE beyond the first partition) has a null
 *      value.
 *   5. Binary rows travel in packs of their partition, without a key and without a tombstone: nobody else reads them.
 *   6. Where a deferrable constraint ties rows together only whole transactions fit the target: their rows say OPEN, and behind the
 *      last one stands a mark, also where a reader that died had written the rows.
 */

#include <stdio.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/murmur2.h>

#include "writer.h"

#define OPEN "open" /* see fill.c */

/* positions of this layout; see invariant 2 */
static struct position place_of(struct position pos, unsigned half)
{
	if (pos.minor == POSITION_END)
		return pos;
	return (struct position){ pos.major, 2 * pos.minor + half };
}

static int fault(struct error *err)
{
	return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.produce");
}

/* the delete's second message: for compaction, and for consumers that keep a table by key */
static int put_tombstone(struct writer *w, struct ticket *ticket, struct error *err)
{
	struct routes *routes = &w->routes;
	struct message msg = { .key = routes->tombstone.key.data, .key_len = routes->tombstone.key.len };
	int r;

	if (!routes->tombstone.place.topic)
		return 0;
	r = writer_produce(w, routes->tombstone.place, &msg, ticket, err);
	if (r == 0)
		routes->tombstone.place.topic = NULL;
	return r;
}

static void tombstone_due(struct writer *w, struct place place, const struct message *msg)
{
	w->routes.tombstone.place = place;
	buf_clear(&w->routes.tombstone.key);
	buf_put(&w->routes.tombstone.key, msg->key, msg->key_len);
}

/* invariant 6 */
static void note_open(struct writer *w, struct route *route, const struct record *rec)
{
	if (!route->loose || route->open || rec->op == RECORD_READ)
		return;
	route->open = true;
	w->routes.n_open++;
}

/* a message of its own, behind what is packed for its partition */
static int put_alone(struct writer *w, struct packed *packed, const struct record *rec,
	const struct codec_output *out, const struct publish_at *at, struct ticket *ticket, struct error *err)
{
	struct message msg;
	int r = packs_send(w, packed, err);

	if (r != 0)
		return r;
	publish_message(w, rec, out, at, &msg);
	if (SLUICE_FAULT_POINT("transport.kafka.produce"))
		return fault(err);
	r = writer_produce(w, packed->place, &msg, ticket, err);
	if (r != 0)
		return r < 0 ? publish_fails(rec, err) : r;
	if (rec->op == RECORD_DELETE)
		tombstone_due(w, packed->place, &msg);
	r = put_tombstone(w, ticket, err);
	return r == TRANSPORT_FULL ? 0 : r; /* it goes before the next record */
}

/* the transaction has ended in every topic that waits for that */
static int put_ends(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	const struct record_end end = { .n_records = 0 };
	const struct record mark = { .op = RECORD_END, .pos = rec->pos, .end = &end };
	const struct codec_output none = { .key.null = true, .value.null = true, .exact.null = true };
	int r = w->routes.n_open ? put_tombstone(w, ticket, err) : 0;

	for (struct route *route = w->routes.first; r == 0 && w->routes.n_open && route;
		route = route->next) {
		const struct publish_at at = { .pos = rec->pos, .prev = route->prev[0], .mark = true };

		if (!route->open)
			continue;
		if (position_compare(at.pos, at.prev) > 0) {
			r = put_alone(w, route->packed, &mark, &none, &at, ticket, err);
			if (r != 0)
				return r;
			route->prev[0] = at.pos;
		}
		route->open = false;
		w->routes.n_open--;
	}
	return r;
}

/* a row or one half of it, where the log does not have it yet */
static int put_one(struct writer *w, struct route *route, const struct record *rec, unsigned half,
	struct ticket *ticket, struct error *err)
{
	bool read = rec->op == RECORD_READ;
	struct publish_at at = { .options = route->loose && !read ? OPEN : NULL };
	struct codec_output out;
	struct packed *packed;
	uint32_t partition;
	int r = put_tombstone(w, ticket, err);

	if (r != 0)
		return r;
	note_open(w, route, rec);
	if (publish_encode(w, rec, &out, err) < 0)
		return publish_fails(rec, err);
	partition = murmur2_partition(w->output.data + out.key.at, out.key.len, route->n);
	packed = &route->packed[partition];
	at.prev = route->prev[partition];
	if (read)
		return put_alone(w, packed, rec, &out, &at, ticket, err);
	at.pos = place_of(rec->pos, half);
	if (position_compare(at.pos, at.prev) <= 0)
		return 0;
	if (w->packs.on)
		r = packs_put(w, packed, rec, &at, &out, ticket, err);
	else
		r = put_alone(w, packed, rec, &out, &at, ticket, err);
	if (r == 0)
		route->prev[partition] = at.pos;
	return r;
}

static bool key_changed(const struct relation *rel, const struct record *rec)
{
	if (rec->op != RECORD_UPDATE || !rec->before)
		return false;
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (rel->columns[i].key && rec->after[i].state != VALUE_ABSENT &&
			!value_equal(&rec->before[i], &rec->after[i]))
			return true;
	}
	return false;
}

/* a value that any row may have for a moment; only types whose values can be left out of an UPDATE need one */
static const char *stand_in(uint32_t type_oid)
{
	switch (type_oid) {
	case 17: /* bytea */
		return "\\x";
	case 25:   /* text */
	case 1042: /* char */
	case 1043: /* varchar */
	case 142:  /* xml */
		return "";
	case 114:  /* json */
	case 3802: /* jsonb */
		return "null";
	case 1700: /* numeric */
		return "0";
	default: /* most others that are stored apart are arrays */
		return "{}";
	}
}

/* invariant 3; rec->after is a copy in scratch */
static int complete(struct writer *w, const struct relation *rel, struct record *rec, struct arena *scratch,
	struct error *err)
{
	int r = LOOKUP_GONE;

	if (!(rec->flags & RECORD_TOAST))
		return 0;
	if (w->base.lookup)
		r = w->base.lookup->ops->complete(
			w->base.lookup, rel, publish_xid(w), rec->after, scratch, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; r == LOOKUP_GONE && i < rel->n_columns; i++) {
		const char *value = stand_in(rel->columns[i].type_oid);

		if (rec->after[i].state == VALUE_ABSENT)
			rec->after[i] = (struct value){ .data = (const uint8_t *)value,
				.len = (uint32_t)strlen(value),
				.state = VALUE_PRESENT };
	}
	rec->flags = 0;
	return 0;
}

static int put_halves(struct writer *w, struct route *route, const struct record *rec, struct ticket *ticket,
	struct error *err)
{
	struct arena scratch = ARENA_INIT(NULL);
	const struct relation *rel = rec->rel;
	struct record old = *rec, new = *rec;
	int r;

	old.op = RECORD_DELETE;
	old.after = NULL;
	old.flags = rec->flags & (RECORD_BEFORE_KEY | RECORD_BEFORE_FULL);
	new.op = RECORD_INSERT;
	new.before = NULL;
	new.flags = rec->flags &RECORD_TOAST;
	new.after = arena_dup(&scratch, rec->after, rel->n_columns * sizeof(*new.after));
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (rel->columns[i].key && new.after[i].state == VALUE_ABSENT)
			new.after[i] = rec->before[i];
	}
	r = put_one(w, route, &old, 0, ticket, err);
	if (r == 0)
		r = complete(w, rel, &new, &scratch, err);
	if (r == 0)
		r = put_one(w, route, &new, 1, ticket, err);
	arena_reset(&scratch);
	return r;
}

static int put_row(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	struct routed *routed;
	struct record keyed = *rec;
	int r = route_of(w, rec->rel, &routed, err);

	if (r == 0)
		r = publish_relation(w, routed->keyed, err);
	if (r != 0)
		return r;
	keyed.rel = routed->keyed;
	if (key_changed(routed->keyed, rec))
		return put_halves(w, routed->route, &keyed, ticket, err);
	keyed.flags &= (uint8_t)~RECORD_KEY_CHANGED;
	return put_one(w, routed->route, &keyed, 0, ticket, err);
}

/* the same in every partition of a topic. open: the first has a value that others may read, if the log has not got it already */
static int put_all(struct writer *w, struct route *route, const struct record *rec, bool open,
	struct ticket *ticket, struct error *err)
{
	const struct config_kafka *cfg = &w->ctx->cfg->transport.kafka;
	uint32_t *i = &w->routes.spread;
	char options[48] = "";
	struct codec_output out;
	int r = put_tombstone(w, ticket, err);

	if (r != 0)
		return r;
	if (publish_encode(w, rec, &out, err) < 0)
		return publish_fails(rec, err);
	if (open && route->n > 1)
		snprintf(options, sizeof(options), "partitions=%u%s", route->n,
			cfg->format == KAFKA_JSON && cfg->json_schemas == JSON_SCHEMAS_INLINE ? " schemas"
											      : "");
	for (; *i < route->n; (*i)++) {
		struct publish_at at = { .prev = route->prev[*i], .options = options, .mark = !open || *i };

		if (open) {
			at.pos = place_of(rec->pos, 0);
			if (position_compare(at.pos, at.prev) <= 0)
				continue;
		}
		r = put_alone(w, &route->packed[*i], rec, &out, &at, ticket, err);
		if (r != 0)
			return r;
		if (open)
			route->prev[*i] = at.pos;
	}
	*i = 0;
	return 0;
}

/* each table's own, in each of its partitions */
static int put_truncate(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	for (uint32_t i = 0; i < rec->truncate->n_relations; i++) {
		struct record_truncate one = *rec->truncate;
		struct record keyed = *rec;
		struct routed *routed;
		int r = route_of(w, rec->truncate->relations[i], &routed, err);

		if (r == 0)
			r = publish_relation(w, routed->keyed, err);
		if (r != 0)
			return r;
		/* a table that has it in all partitions is passed over when this is done again */
		one.relations = &routed->keyed;
		one.n_relations = 1;
		keyed.truncate = &one;
		r = put_all(w, routed->route, &keyed, true, ticket, err);
		if (r != 0)
			return r;
	}
	return 0;
}

static int put_mark(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	struct record keyed = *rec;
	struct routed *routed;
	int r;

	if (!rec->rel)
		return error_set(err, ERROR_BUG, "KAFKA-MARK", "a mark of the copy names no table");
	r = route_of(w, rec->rel, &routed, err);
	if (r == 0)
		r = publish_relation(w, routed->keyed, err);
	if (r != 0)
		return r;
	keyed.rel = routed->keyed;
	return put_all(w, routed->route, &keyed, false, ticket, err);
}

/* boundaries and messages, in topics of their own with one partition */
static int put_named(struct writer *w, struct route **route, const char *suffix, const struct record *rec,
	struct ticket *ticket, struct error *err)
{
	struct publish_at at = { .pos = rec->pos };
	struct codec_output out;
	int r = *route ? 0 : route_named(w, suffix, route, err);

	if (r == 0)
		r = put_tombstone(w, ticket, err);
	if (r != 0)
		return r;
	at.prev = (*route)->prev[0];
	if (!publish_in_transaction(rec))
		at.pos = at.prev;
	else if (position_compare(at.pos, at.prev) <= 0)
		return 0;
	if (publish_encode(w, rec, &out, err) < 0)
		return -1;
	if (w->packs.on && publish_in_transaction(rec))
		r = packs_put(w, (*route)->packed, rec, &at, &out, ticket, err);
	else
		r = put_alone(w, (*route)->packed, rec, &out, &at, ticket, err);
	if (r == 0)
		(*route)->prev[0] = at.pos;
	return r;
}

int tables_put(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	struct routed *routed;
	int r;

	switch ((enum record_op)rec->op) {
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_READ:
		return put_row(w, rec, ticket, err);
	case RECORD_TRUNCATE:
		return put_truncate(w, rec, ticket, err);
	case RECORD_CHUNK:
		return put_mark(w, rec, ticket, err);
	case RECORD_END:
		r = put_ends(w, rec, ticket, err);
		if (r != 0)
			return r;
		return put_named(w, &w->routes.transactions, "transaction", rec, ticket, err);
	case RECORD_BEGIN:
		return put_named(w, &w->routes.transactions, "transaction", rec, ticket, err);
	case RECORD_MESSAGE:
		return put_named(w, &w->routes.messages, "message", rec, ticket, err);
	case RECORD_SCHEMA:
		r = route_of(w, rec->rel, &routed, err);
		return r == 0 ? publish_relation(w, routed->keyed, err) : r;
	case RECORD_HEARTBEAT: /* checkpoint.c */
	case RECORD_ABORT:
	case RECORD_FENCE:
		break;
	}
	return 0;
}

int tables_next(struct writer *w, const struct record *rec, struct ticket *ticket, struct error *err)
{
	int r;

	if (rec->op == RECORD_BEGIN)
		publish_begin(w, rec);
	r = tables_put(w, rec, ticket, err);
	if (r == 0 && rec->op == RECORD_END)
		w->in_tx = false;
	return r;
}

int tables_partitions(struct writer *w, struct relation *rel, struct error *err)
{
	struct routed *routed;

	return route_of(w, rel, &routed, err) < 0 ? -1 : (int)routed->route->n;
}
