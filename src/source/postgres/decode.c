/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * pgoutput → records, in one pass: a row's values are written straight into the array that the record keeps, and point
 * into the message's bytes.
 *
 * Invariants:
 *   1. Ordinals count every decoded row, truncate and transactional message, before any filter, so a position means
 *      the same event whatever is filtered.
 *   2. A transaction is skipped iff its final_lsn is below the stored resume point (strictly, as the server itself
 *      decides); a row is dropped iff the transaction's final_lsn is below its relation's start point.
 *   3. A Relation message always replaces what was known; batches in flight keep the old one by reference.
 *   4. In a key tuple the other columns are null on the wire and mean nothing: they become absent.
 */

#include <stdlib.h>

#include <sluice/postgres.h>

#include "decode.h"

void decode_init(struct decode *dec, uint64_t skip_below, uint64_t record_bytes)
{
	*dec = (struct decode){ .skip_below = skip_below, .record_bytes = record_bytes };
	pgoutput_decoder_init(&dec->wire, 1, false);
}

void decode_fini(struct decode *dec)
{
	for (uint32_t i = 0; i < dec->n_relations; i++)
		relation_unref(dec->relations[i].rel);
	free(dec->relations);
	for (uint32_t i = 0; i < dec->n_starts; i++) {
		free(dec->starts[i].schema);
		free(dec->starts[i].name);
	}
	free(dec->starts);
	*dec = (struct decode){ 0 };
}

bool decode_wants(const struct decode *dec, const uint8_t *data, size_t len)
{
	return !dec->skipping || len == 0 || data[0] == PGOUTPUT_BEGIN || data[0] == PGOUTPUT_COMMIT ||
	       data[0] == PGOUTPUT_RELATION;
}

bool decode_refuses(const struct decode *dec, const uint8_t *data, size_t len)
{
	return dec->record_bytes && len > dec->record_bytes &&
	       (data[0] == PGOUTPUT_INSERT || data[0] == PGOUTPUT_UPDATE || data[0] == PGOUTPUT_DELETE);
}

/* index of oid, or where it would stand */
static uint32_t relation_index(const struct decode *dec, uint32_t oid)
{
	uint32_t low = 0, high = dec->n_relations;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (dec->relations[mid].oid < oid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct decode_relation *relation_find(struct decode *dec, uint32_t oid)
{
	uint32_t i = dec->last;

	if (i < dec->n_relations && dec->relations[i].oid == oid)
		return &dec->relations[i];
	i = relation_index(dec, oid);
	if (i == dec->n_relations || dec->relations[i].oid != oid)
		return NULL;
	dec->last = i;
	return &dec->relations[i];
}

static uint64_t start_of(const struct decode *dec, const char *schema, const char *name)
{
	for (uint32_t i = 0; i < dec->n_starts; i++) {
		if (!strcmp(dec->starts[i].name, name) && !strcmp(dec->starts[i].schema, schema))
			return dec->starts[i].start;
	}
	return 0;
}

static void relation_put(struct decode *dec, uint32_t oid, struct relation *take_rel)
{
	uint32_t i = relation_index(dec, oid);

	if (i == dec->n_relations || dec->relations[i].oid != oid) {
		if (dec->n_relations == dec->cap_relations) {
			dec->cap_relations = dec->cap_relations ? dec->cap_relations * 2 : 64;
			dec->relations =
				realloc(dec->relations, dec->cap_relations * sizeof(*dec->relations));
			if (!dec->relations)
				abort();
		}
		memmove(&dec->relations[i + 1], &dec->relations[i],
			(dec->n_relations - i) * sizeof(*dec->relations));
		dec->n_relations++;
		dec->relations[i] = (struct decode_relation){ .oid = oid };
	}
	relation_unref(dec->relations[i].rel);
	dec->relations[i].rel = take_rel;
	dec->relations[i].start = start_of(dec, take_rel->schema, take_rel->name);
}

static int take_relation(
	struct decode *dec, struct batch *batch, const struct pgoutput_relation *msg, struct error *err)
{
	struct column *columns = arena_alloc(&batch->arena, (msg->n_columns + 1u) * sizeof(*columns));
	struct relation_spec spec = {
		.id = msg->id,
		.schema = msg->schema.len ? msg->schema.data : "pg_catalog",
		.name = msg->name.data,
		.identity = (enum relation_identity)msg->identity,
		.columns = columns,
	};
	struct pgoutput_cursor cur = pgoutput_relation_begin(msg);
	struct pgoutput_attribute attribute = { 0 };
	struct relation *rel;
	struct record *rec;

	while (pgoutput_relation_next(&cur, &attribute)) {
		columns[spec.n_columns++] = (struct column){
			.name = attribute.name.data,
			.type_oid = attribute.type_oid,
			.type_modifier = attribute.type_modifier,
			.key = attribute.key,
		};
	}
	/* also while transactions are skipped: a row that is not may come without another description */
	if (!dec->describe)
		rel = relation_new(&spec);
	else if (dec->describe(dec->describe_arg, &spec, &rel, err) < 0)
		return -1;
	relation_put(dec, msg->id, rel);
	if (dec->skipping)
		return 0;
	rec = batch_add(batch);
	rec->op = RECORD_SCHEMA;
	rec->rel = batch_hold(batch, rel);
	rec->pos = (struct position){ dec->final_lsn, dec->ordinal };
	return 0;
}

/* a tuple into a value array; returns true when a column is absent */
static bool take_tuple(const struct relation *rel, const struct pgoutput_tuple *tuple, struct value *values)
{
	struct pgoutput_cursor cur = pgoutput_tuple_begin(tuple);
	struct pgoutput_column column;
	bool key_only = tuple->kind == PGOUTPUT_TUPLE_KEY, absent = false;

	for (uint32_t i = 0; pgoutput_tuple_next(&cur, &column); i++) {
		struct value *value = &values[i];

		value->data = column.data;
		value->len = column.len;
		value->subtype = 0;
		value->format = column.kind == PGOUTPUT_COLUMN_BINARY ? VALUE_BINARY : VALUE_TEXT;
		if (column.kind == PGOUTPUT_COLUMN_UNCHANGED || (key_only && !rel->columns[i].key)) {
			value->state = VALUE_ABSENT;
			absent = true;
		} else {
			value->state = column.data ? VALUE_PRESENT : VALUE_NULL;
		}
	}
	return absent;
}

/* what an old tuple tells beside itself: did the key change, and the values that the new one leaves out */
static void compare_tuples(struct record *rec, bool *absent)
{
	const struct relation *rel = rec->rel;
	bool full = rec->flags & RECORD_BEFORE_FULL;

	if (full && *absent) {
		*absent = false;
		for (uint32_t i = 0; i < rel->n_columns; i++) {
			if (rec->after[i].state == VALUE_ABSENT)
				rec->after[i] = rec->before[i];
			*absent = *absent || rec->after[i].state == VALUE_ABSENT;
		}
	}
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		/* an absent key column of the new row was not touched */
		if (rel->columns[i].key && rec->after[i].state != VALUE_ABSENT &&
			!value_equal(&rec->before[i], &rec->after[i])) {
			rec->flags |= RECORD_KEY_CHANGED;
			return;
		}
	}
}

static int bad_row(const struct decode *dec, const struct relation *rel, struct error *err)
{
	char lsn[20];

	return error_set(err, ERROR_FATAL, "PGOUTPUT",
		"transaction at %s: a row of %s.%s has another number of columns than its relation",
		pg_lsn_format(dec->final_lsn, lsn, sizeof(lsn)), rel->schema, rel->name);
}

static int take_row(struct decode *dec, struct batch *batch, enum record_op op,
	const struct pgoutput_row *row, struct error *err)
{
	struct decode_relation *entry = relation_find(dec, row->relation);
	struct relation *rel = entry ? entry->rel : NULL;
	struct record *rec;
	bool absent = false;

	dec->ordinal++;
	if (!rel)
		return error_set(err, ERROR_FATAL, "PGOUTPUT", "a row of relation %u that was not described",
			row->relation);
	if (dec->final_lsn < entry->start)
		return 0;
	if ((row->old.kind && row->old.n_columns != rel->n_columns) ||
		(row->new.kind && row->new.n_columns != rel->n_columns))
		return bad_row(dec, rel, err);
	rec = batch_add(batch);
	rec->op = (uint8_t)op;
	rec->rel = batch_hold(batch, rel);
	rec->pos = (struct position){ dec->final_lsn, dec->ordinal };
	if (row->old.kind) {
		rec->before = arena_alloc(&batch->arena, rel->n_columns * sizeof(struct value));
		take_tuple(rel, &row->old, rec->before);
		rec->flags |= row->old.kind == PGOUTPUT_TUPLE_OLD ? RECORD_BEFORE_FULL : RECORD_BEFORE_KEY;
	}
	if (row->new.kind) {
		rec->after = arena_alloc(&batch->arena, rel->n_columns * sizeof(struct value));
		absent = take_tuple(rel, &row->new, rec->after);
	}
	if (rec->before && rec->after)
		compare_tuples(rec, &absent);
	if (absent)
		rec->flags |= RECORD_TOAST;
	dec->n_records++;
	return 0;
}

static int take_truncate(
	struct decode *dec, struct batch *batch, const struct pgoutput_truncate *msg, struct error *err)
{
	struct record_truncate *truncate = arena_alloc(&batch->arena, sizeof(*truncate));
	struct record *rec;

	dec->ordinal++;
	*truncate = (struct record_truncate){
		.relations = arena_alloc(&batch->arena, msg->n_relations * sizeof(struct relation *)),
		.cascade = msg->cascade,
		.restart_identity = msg->restart_identity,
	};
	for (uint32_t i = 0; i < msg->n_relations; i++) {
		uint32_t oid = pgoutput_truncate_relation(msg, i);
		struct decode_relation *entry = relation_find(dec, oid);

		if (!entry)
			return error_set(err, ERROR_FATAL, "PGOUTPUT",
				"a TRUNCATE of relation %u that was not described", oid);
		if (dec->final_lsn >= entry->start)
			truncate->relations[truncate->n_relations++] = batch_hold(batch, entry->rel);
	}
	if (!truncate->n_relations)
		return 0;
	rec = batch_add(batch);
	rec->op = RECORD_TRUNCATE;
	rec->pos = (struct position){ dec->final_lsn, dec->ordinal };
	rec->truncate = truncate;
	dec->n_records++;
	return 0;
}

static void take_message(struct decode *dec, struct batch *batch, const struct pgoutput_logical_message *msg)
{
	struct record_message *message = arena_alloc(&batch->arena, sizeof(*message));
	struct record *rec = batch_add(batch);

	*message = (struct record_message){
		.prefix = msg->prefix.data,
		.content = msg->content,
		.content_len = msg->len,
		.transactional = msg->transactional,
	};
	rec->op = RECORD_MESSAGE;
	rec->message = message;
	rec->pos = (struct position){ msg->lsn, 0 };
	if (msg->transactional) {
		dec->ordinal++;
		dec->n_records++;
		rec->pos = (struct position){ dec->final_lsn, dec->ordinal };
	}
}

static void take_begin(struct decode *dec, struct batch *batch, const struct pgoutput_begin *msg)
{
	struct record_begin *begin;
	struct record *rec;

	dec->in_transaction = true;
	dec->skipping = msg->final_lsn < dec->skip_below;
	dec->final_lsn = msg->final_lsn;
	dec->commit_time = pg_time_to_wall(msg->commit_time_us);
	dec->xid = msg->xid;
	dec->ordinal = dec->n_records = 0;
	if (dec->skipping)
		return;
	begin = arena_alloc(&batch->arena, sizeof(*begin));
	*begin = (struct record_begin){ .commit_time = dec->commit_time, .xid = msg->xid };
	rec = batch_add(batch);
	rec->op = RECORD_BEGIN;
	rec->pos = (struct position){ dec->final_lsn, 0 };
	rec->begin = begin;
}

static void take_commit(struct decode *dec, struct batch *batch, const struct pgoutput_commit *msg)
{
	bool skipped = dec->skipping;
	struct record_end *end;
	struct record *rec;
	uint64_t resume = __builtin_bswap64(msg->end_lsn);

	dec->in_transaction = dec->skipping = false;
	if (skipped)
		return;
	end = arena_alloc(&batch->arena, sizeof(*end));
	*end = (struct record_end){
		.commit_time = pg_time_to_wall(msg->commit_time_us),
		.xid = dec->xid,
		.resume = { arena_dup(&batch->arena, &resume, sizeof(resume)), sizeof(resume) },
		.n_records = dec->n_records,
	};
	rec = batch_add(batch);
	rec->op = RECORD_END;
	rec->pos = (struct position){ dec->final_lsn, POSITION_END };
	rec->end = end;
	dec->resume = msg->end_lsn;
}

static int too_large(struct decode *dec, const struct pgoutput_message *msg, size_t len, struct error *err)
{
	struct decode_relation *entry = relation_find(dec, msg->row.relation);
	char lsn[20];

	error_set(err, ERROR_DATA, "RECORD-SIZE",
		"transaction at %s, event %llu: a row of %s.%s takes %zu bytes, more than limits.record",
		pg_lsn_format(dec->final_lsn, lsn, sizeof(lsn)), (unsigned long long)dec->ordinal + 1,
		entry ? entry->rel->schema : "?", entry ? entry->rel->name : "?", len);
	return error_remedy(err, "raise limits.record (and the memory limit) above that size");
}

static int take_change(struct decode *dec, struct batch *batch, const struct pgoutput_message *msg,
	const uint8_t *data, size_t len, struct error *err)
{
	enum record_op op = msg->kind == PGOUTPUT_INSERT   ? RECORD_INSERT
			    : msg->kind == PGOUTPUT_UPDATE ? RECORD_UPDATE
							   : RECORD_DELETE;

	if (dec->skipping)
		return 0;
	if (decode_refuses(dec, data, len))
		return too_large(dec, msg, len, err);
	return take_row(dec, batch, op, &msg->row, err);
}

int decode_message(
	struct decode *dec, struct batch *batch, const uint8_t *data, size_t len, struct error *err)
{
	struct pgoutput_message msg;
	int r = pgoutput_decode(&dec->wire, data, len, &msg);
	char lsn[20];

	if (r < 0)
		return error_set(err, ERROR_FATAL, "PGOUTPUT",
			"after %s: a message of %zu bytes cannot be read: %s at byte %zu",
			pg_lsn_format(dec->final_lsn, lsn, sizeof(lsn)), len, pgoutput_error_to_string(r),
			dec->wire.error_offset);
	switch (msg.kind) {
	case PGOUTPUT_BEGIN:
		take_begin(dec, batch, &msg.begin);
		return 0;
	case PGOUTPUT_COMMIT:
		take_commit(dec, batch, &msg.commit);
		return 0;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		return take_change(dec, batch, &msg, data, len, err);
	case PGOUTPUT_TRUNCATE:
		return dec->skipping ? 0 : take_truncate(dec, batch, &msg.truncate, err);
	case PGOUTPUT_RELATION:
		return take_relation(dec, batch, &msg.relation, err);
	case PGOUTPUT_MESSAGE:
		if (!dec->skipping)
			take_message(dec, batch, &msg.message);
		return 0;
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE:
		return 0;
	case PGOUTPUT_STREAM_START:
	case PGOUTPUT_STREAM_STOP:
	case PGOUTPUT_STREAM_COMMIT:
	case PGOUTPUT_STREAM_ABORT:
	case PGOUTPUT_BEGIN_PREPARE:
	case PGOUTPUT_PREPARE:
	case PGOUTPUT_COMMIT_PREPARED:
	case PGOUTPUT_ROLLBACK_PREPARED:
	case PGOUTPUT_STREAM_PREPARE:
		break; /* not asked for in START_REPLICATION */
	}
	return error_set(err, ERROR_FATAL, "PGOUTPUT", "a message of kind %s was not asked for",
		pgoutput_kind_to_string(msg.kind));
}
