/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records one by one, in source order: what cannot be reduced, and the second try of what failed when it
 * was. Here the exact record of a failure is known, and here the policies act: missing rows, conflicts,
 * dead letters.
 *
 * Statements of several records are on their way together; with dead letters each record has a savepoint,
 * so that a failing one is taken back alone and written down in the same transaction.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/net.h>

#include "apply.h"

#define ORDERED_WAIT 256u /* statements on their way before their answers are read */

bool apply_key(struct apply *apply, const struct target *target, const struct record *rec)
{
	uint32_t n = target->n_keys;

	if (apply->cap_key < n) {
		apply->key = realloc(apply->key, n * sizeof(*apply->key));
		if (!apply->key)
			abort();
		apply->cap_key = n;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t column = target->keys[i];
		const struct value *v = rec->before ? &rec->before[column] : NULL;

		if ((!v || v->state == VALUE_ABSENT) && rec->after)
			v = &rec->after[column];
		if (!v || v->state == VALUE_ABSENT)
			return false;
		apply->key[i] = *v;
	}
	return true;
}

/* does the record give the row another key than apply->key? */
static bool key_changes(const struct apply *apply, const struct target *target, const struct record *rec)
{
	for (uint32_t i = 0; i < target->n_keys; i++) {
		const struct value *v = &rec->after[target->keys[i]];

		if (v->state != VALUE_ABSENT && !value_equal(v, &apply->key[i]))
			return true;
	}
	return false;
}

/* may a row that is not there be passed over? Of another program's log a delete that was told before may come again, and so
 * may an update of a row that was deleted later; what is new and finds no row is somebody's loss */
static bool may_miss(const struct target *target, enum statement_kind kind, const struct record *rec)
{
	if (!(rec->flags & RECORD_UPSERT))
		return false;
	return rec->flags & RECORD_AGAIN || (target->n_keys && kind == STATEMENT_DELETE);
}

static int ordered_rows(struct apply *apply, struct target *target, enum statement_kind kind,
	const struct record *rec, const struct value *key, struct error *err)
{
	const struct value *row = rec->after;
	struct row_set set = { .keys = key ? &key : NULL, .rows = row ? &row : NULL, .n = 1, .rec = rec };
	bool expect = kind != STATEMENT_INSERT && kind != STATEMENT_INSERT_OVERWRITE &&
		      kind != STATEMENT_INSERT_KEEP && !may_miss(target, kind, rec);

	return execute_rows(apply, target, kind, &set, expect, err);
}

/* the key that the row has afterwards */
static void ordered_note(struct apply *apply, struct target *target, const struct record *rec)
{
	if (!target->deferred)
		return;
	for (uint32_t i = 0; i < target->n_keys; i++)
		if (rec->after[target->keys[i]].state != VALUE_ABSENT)
			apply->key[i] = rec->after[target->keys[i]];
	deferred_note(apply, target, target->n_keys ? apply->key : NULL);
}

static int ordered_insert(
	struct apply *apply, struct target *target, const struct record *rec, struct error *err)
{
	enum statement_kind kind = STATEMENT_INSERT;

	if (target->n_keys && apply_key(apply, target, rec)) {
		switch (apply->sink->cfg->apply.conflict) {
		case CONFLICT_STOP:
			break;
		case CONFLICT_SOURCE_WINS:
			kind = STATEMENT_INSERT_OVERWRITE;
			break;
		case CONFLICT_TARGET_WINS:
			kind = STATEMENT_INSERT_KEEP;
			break;
		}
		if (rec->flags & RECORD_UPSERT)
			kind = STATEMENT_INSERT_OVERWRITE;
		/* an identity column beside the key cannot be overwritten: the whole row gives way */
		if (kind == STATEMENT_INSERT_OVERWRITE && target->always_other) {
			const struct value *key = apply->key;
			struct row_set set = { .keys = &key, .n = 1, .rec = rec };

			if (execute_rows(apply, target, STATEMENT_DELETE, &set, false, err) < 0)
				return -1;
			kind = STATEMENT_INSERT;
		}
	}
	if (ordered_rows(apply, target, kind, rec, NULL, err) < 0)
		return -1;
	ordered_note(apply, target, rec);
	return 0;
}

static int ordered_no_key(const struct record *rec, struct error *err)
{
	error_set(err, ERROR_DATA, "NO-KEY", "%s of %s.%s came without the values to find its row by",
		record_op_to_string(rec->op), rec->rel->schema, rec->rel->name);
	return error_remedy(err, "ALTER TABLE \"%s\".\"%s\" REPLICA IDENTITY FULL; on the source",
		rec->rel->schema, rec->rel->name);
}

/* without a key: the old row, compared whole; an identity column that changes makes it a delete and an insert */
static int ordered_whole(
	struct apply *apply, struct target *target, const struct record *rec, struct error *err)
{
	const struct value *old = rec->before;
	bool replace = false;

	if (!(rec->flags & RECORD_BEFORE_FULL) || !old)
		return ordered_no_key(rec, err);
	if (rec->op == RECORD_DELETE)
		return ordered_rows(apply, target, STATEMENT_DELETE_WHOLE, rec, old, err);
	for (uint32_t i = 0; target->always_other && i < target->n_insert; i++) {
		uint32_t column = target->insert_columns[i];

		replace |= target->columns[target->to_target[column]].identity_always &&
			   !value_equal(&old[column], &rec->after[column]);
	}
	if (!replace)
		return ordered_rows(apply, target, STATEMENT_UPDATE_WHOLE, rec, old, err);
	if (ordered_rows(apply, target, STATEMENT_DELETE_WHOLE, rec, old, err) < 0)
		return -1;
	return ordered_rows(apply, target, STATEMENT_INSERT, rec, NULL, err);
}

static int ordered_update(
	struct apply *apply, struct target *target, const struct record *rec, struct error *err)
{
	enum statement_kind kind = STATEMENT_UPDATE;
	bool changes;

	if (!target->n_keys) {
		if (ordered_whole(apply, target, rec, err) < 0)
			return -1;
		deferred_note(apply, target, NULL);
		return 0;
	}
	if (!apply_key(apply, target, rec))
		return ordered_no_key(rec, err);
	changes = key_changes(apply, target, rec);
	/* the whole row: whether it is there or not */
	if ((rec->flags & RECORD_UPSERT) && !(rec->flags & RECORD_TOAST) && !changes)
		return ordered_insert(apply, target, rec, err);
	if (target->always_other || (changes && target->always_key))
		kind = STATEMENT_REPLACE;
	else if (changes)
		kind = STATEMENT_UPDATE_KEY;
	if (ordered_rows(apply, target, kind, rec, apply->key, err) < 0)
		return -1;
	ordered_note(apply, target, rec);
	return 0;
}

static int ordered_delete(
	struct apply *apply, struct target *target, const struct record *rec, struct error *err)
{
	if (!target->n_keys)
		return ordered_whole(apply, target, rec, err);
	if (!apply_key(apply, target, rec))
		return ordered_no_key(rec, err);
	return ordered_rows(apply, target, STATEMENT_DELETE, rec, apply->key, err);
}

/* answers of all statements on their way: 0, QUEUE_FAILED (ordered_error() says which), negative */
static int ordered_settle(struct apply *apply, struct error *err)
{
	struct queue *queue = &apply->sink->queue;
	bool warn = apply->sink->cfg->apply.missing_row == MISSING_ROW_WARN;
	int r = queue_wait(queue, err);

	if (r == QUEUE_FAILED || r < 0)
		return r;
	for (uint32_t i = 0; i < queue->n; i++) {
		const struct queue_item *item = &queue->items[i];

		if (item->expect < 0 || item->rows == item->expect)
			continue;
		queue->failed = i;
		if (item->rows || !warn || item->tag != TAG_DATA)
			return QUEUE_FAILED;
		apply->result.missing_rows++;
	}
	queue_clear(queue);
	return 0;
}

static int ordered_truncate(struct apply *apply, const struct record *rec, struct error *err)
{
	int r;

	if (rec->truncate->partitions <= 1)
		return execute_truncate(apply, rec, err);
	r = ordered_settle(apply, err);
	return r ? r : truncate_own(apply, rec, err);
}

int ordered_queue(struct apply *apply, const struct record *rec, struct error *err)
{
	struct target *target;

	if (rec->op == RECORD_TRUNCATE)
		return ordered_truncate(apply, rec, err);
	if (rec->op != RECORD_INSERT && rec->op != RECORD_READ && rec->op != RECORD_UPDATE &&
		rec->op != RECORD_DELETE)
		return 0;
	if (target_tables_find(apply, rec->rel, &target, err) < 0)
		return -1;
	if (rec->op == RECORD_UPDATE)
		return ordered_update(apply, target, rec, err);
	if (rec->op == RECORD_DELETE)
		return ordered_delete(apply, target, rec, err);
	return ordered_insert(apply, target, rec, err);
}

static int ordered_mismatch(const struct queue_item *item, struct error *err)
{
	if (item->tag == TAG_DEFERRED)
		return error_set(err, ERROR_DATA, "PG-23505",
			"deferred constraint %s: another row has the same values", (const char *)item->who);
	if (item->rows > 1)
		return error_set(err, ERROR_DATA, "KEY-NOT-UNIQUE",
			"%s touched %lld rows: the key is not unique in the target", item->what,
			(long long)item->rows);
	return error_set(err, ERROR_DATA, "ROW-MISSING", "%s found no row", item->what);
}

/* NOT NULL at the target, and no value for it; a column that the source has no more is no fault of the row */
static void ordered_not_null(
	const struct apply *apply, const struct queue *queue, const struct relation *rel, struct error *err)
{
	bool letters = apply->sink->cfg->apply.on_error == ON_ERROR_DEAD_LETTER;

	if (strcmp(queue->sqlstate, "23502") != 0 || !*queue->column)
		return;
	/* who wants dead letters gets the row there, whole */
	if (!letters && relation_column(rel, queue->column) < 0)
		error_set(err, ERROR_SCHEMA, "PG-COLUMN-DROPPED",
			"column %s of %s.%s is NOT NULL in the target, and the source does not have it",
			queue->column, rel->schema, rel->name);
	error_remedy(err, "ALTER TABLE \"%s\".\"%s\" ALTER COLUMN \"%s\" DROP NOT NULL;", rel->schema,
		rel->name, queue->column);
}

int ordered_error(struct apply *apply, struct error *err)
{
	struct queue *queue = &apply->sink->queue;
	const struct queue_item *item = queue->failed < queue->n ? &queue->items[queue->failed] : NULL;
	const struct record *rec = item && item->tag == TAG_DATA ? item->who : NULL;

	if (!item)
		return error_set(err, ERROR_BUG, "QUEUE", "a failure without a statement");
	if (item->tag == TAG_PROGRESS && !strcmp(queue->sqlstate, "22012"))
		return progress_fenced(err);
	if (queue->error_seen)
		*err = queue->error;
	else
		ordered_mismatch(item, err);
	if (queue->error_seen && rec && rec->rel)
		ordered_not_null(apply, queue, rec->rel, err);
	if (rec && rec->rel)
		error_where(err, "%s.%s %s at %" PRIX64 "/%" PRIX64 " (%" PRIu64 ")", rec->rel->schema,
			rec->rel->name, record_op_to_string(rec->op), rec->pos.major >> 32,
			rec->pos.major & UINT32_MAX, rec->pos.minor);
	else if (rec)
		error_where(err, "%s at %" PRIX64 "/%" PRIX64, record_op_to_string(rec->op),
			rec->pos.major >> 32, rec->pos.major & UINT32_MAX);
	if (rec && rec->rel && err->exit_code == EXIT_PERMISSION)
		error_remedy(err,
			"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA \"%s\" TO \"%s\";",
			rec->rel->schema, PQuser(queue->conn));
	if (!queue->error_seen && !strcmp(err->code, "ROW-MISSING"))
		error_remedy(err, "restore the row, or set apply.missing_row: warn");
	return -1;
}

static int ordered_sql(struct apply *apply, const char *sql, struct error *err)
{
	const struct queue_item item = { .expect = -1, .what = sql, .tag = TAG_CONTROL };

	return queue_sql(&apply->sink->queue, sql, &item, err);
}

/* takes the failed record back alone and writes it down; what cannot be a dead letter stops the stream */
static int ordered_letter(
	struct apply *apply, const struct record *rec, const struct error *why, struct error *err)
{
	int r;

	if (why->class != ERROR_DATA || !rec->rel) {
		*err = *why;
		return -1;
	}
	queue_clear(&apply->sink->queue);
	if (ordered_sql(apply, "ROLLBACK TO SAVEPOINT sluice_record", err) < 0 ||
		ordered_sql(apply, "RELEASE SAVEPOINT sluice_record", err) < 0 ||
		letters_put(apply, rec, why, err) < 0)
		return -1;
	r = ordered_settle(apply, err);
	if (r == QUEUE_FAILED) {
		ordered_error(apply, err);
		error_where(err, "the dead letter could not be written");
	}
	return r ? -1 : 0;
}

/* one record under a savepoint */
static int ordered_tolerant(struct apply *apply, const struct record *rec, struct error *err)
{
	struct error why = ERROR_INIT;
	struct target *target = NULL;
	int r;

	if (rec->rel && target_tables_find(apply, rec->rel, &target, err) < 0)
		return -1;
	if (target && letters_blocks(apply, rec, target)) {
		error_set(&why, ERROR_DATA, "BLOCKED", "an earlier record of this key is a dead letter");
		return letters_put(apply, rec, &why, err);
	}
	if (ordered_sql(apply, "SAVEPOINT sluice_record", err) < 0)
		return -1;
	r = ordered_queue(apply, rec, &why);
	if (r < 0) {
		/* refused before it was sent; a lost connection is not a record's fault */
		r = why.class == ERROR_DATA ? queue_wait(&apply->sink->queue, err) : -1;
		if (r < 0 && why.class != ERROR_DATA)
			*err = why;
		return r < 0 ? r : ordered_letter(apply, rec, &why, err);
	}
	r = ordered_settle(apply, err);
	if (r == 0)
		return ordered_sql(apply, "RELEASE SAVEPOINT sluice_record", err);
	if (r != QUEUE_FAILED)
		return r;
	ordered_error(apply, &why);
	return ordered_letter(apply, rec, &why, err);
}

int ordered_single(struct apply *apply, const struct record *rec, struct error *err)
{
	int r = ordered_queue(apply, rec, err);

	if (r == 0)
		r = deferred_check(apply, err);
	if (r < 0)
		return r;
	if (r == 0)
		r = ordered_settle(apply, err);
	return r == QUEUE_FAILED ? (ordered_error(apply, err), QUEUE_FAILED) : r;
}

static bool is_row(const struct record *rec)
{
	return rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
	       rec->op == RECORD_READ;
}

int ordered_group(struct apply *apply, const struct apply_group *group, struct error *err)
{
	bool tolerant = apply->sink->cfg->apply.on_error == ON_ERROR_DEAD_LETTER;
	struct net_at at = net_at_begin(group);
	const struct record *rec;
	int r = ordered_settle(apply, err);

	for (; r == 0 && (rec = net_at_record(group, &at)); at.record++) {
		if (rec->op == RECORD_BEGIN)
			apply->commit_time = rec->begin->commit_time;
		if (tolerant && is_row(rec))
			r = ordered_tolerant(apply, rec, err);
		else
			r = ordered_queue(apply, rec, err);
		if (r == 0 && apply->sink->queue.n >= ORDERED_WAIT)
			r = ordered_settle(apply, err);
	}
	if (r == 0)
		r = deferred_check(apply, err);
	if (r == 0)
		r = ordered_settle(apply, err);
	return r == QUEUE_FAILED ? ordered_error(apply, err) : r;
}
