/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows to statements: makes the prepared statement for a table, kind and set of present columns when it is
 * first needed, fills the array parameters column by column, and queues executions of bounded size. Buffers
 * are kept and reused, so in the steady state nothing is allocated per row or per statement.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "apply.h"
#include "copy.h"

#define STATEMENT_MAX_BYTES ((size_t)1024 * 1024)
#define STATEMENT_MAX_ROWS  10000u
#define COPY_CHUNK_BYTES    ((size_t)128 * 1024)
#define KEEP_BYTES	    ((size_t)4 * 1024 * 1024)

enum { OID_TEXT = 25, OID_TEXT_ARRAY = 1009 };

static bool kind_has_row(enum statement_kind kind)
{
	return kind != STATEMENT_DELETE && kind != STATEMENT_DELETE_WHOLE;
}

static bool kind_has_key(enum statement_kind kind)
{
	return kind != STATEMENT_INSERT && kind != STATEMENT_INSERT_OVERWRITE &&
	       kind != STATEMENT_INSERT_KEEP;
}

static bool kind_is_whole(enum statement_kind kind)
{
	return kind == STATEMENT_UPDATE_WHOLE || kind == STATEMENT_DELETE_WHOLE;
}

static bool is_key(const struct target *target, uint32_t column)
{
	for (uint32_t i = 0; i < target->n_keys; i++)
		if (target->keys[i] == column)
			return true;
	return false;
}

static bool is_present(const uint64_t *present, uint32_t column)
{
	return present[column / 64] >> (column % 64) & 1;
}

static uint32_t present_words(const struct target *target)
{
	return (target->rel->n_columns + 63) / 64;
}

/* one statement while it is made */
struct draft {
	struct target *target;
	struct statement *st;
	struct statement_param *params;
};

static struct statement_param *draft_add(struct draft *draft, uint32_t column, bool from_key, uint32_t index)
{
	struct target *target = draft->target;
	const struct target_column *to = &target->columns[target->to_target[column]];
	uint32_t n = draft->st->n_params++;

	draft->st->params[n] = (struct statement_source){
		.column = to,
		.type_oid = target->rel->columns[column].type_oid,
		.index = index,
		.from_key = from_key,
	};
	draft->params[n] = (struct statement_param){
		.column = to->name,
		.type = to->type,
		.equal = to->equal,
		.text = !to->array_oid,
	};
	return &draft->params[n];
}

static void draft_keys(struct draft *draft)
{
	struct target *target = draft->target;

	if (kind_is_whole(draft->st->kind)) {
		for (uint32_t i = 0; i < target->n_insert; i++)
			draft_add(draft, target->insert_columns[i], true, target->insert_columns[i])->key =
				true;
		return;
	}
	for (uint32_t i = 0; i < target->n_keys; i++)
		draft_add(draft, target->keys[i], true, i)->key = true;
}

/* how a column that was sent takes part */
static void draft_column(struct draft *draft, uint32_t column)
{
	struct target *target = draft->target;
	bool always = target->columns[target->to_target[column]].identity_always;
	bool key = is_key(target, column);
	struct statement_param *param;

	switch (draft->st->kind) {
	case STATEMENT_DELETE:
	case STATEMENT_DELETE_WHOLE:
		return;
	case STATEMENT_INSERT:
		draft_add(draft, column, false, column)->set = true;
		return;
	case STATEMENT_INSERT_OVERWRITE:
	case STATEMENT_INSERT_KEEP:
		param = draft_add(draft, column, false, column);
		param->set = true;
		param->key = key;
		return;
	case STATEMENT_UPDATE:
		if (key)
			return;
		draft_add(draft, column, false, column)->set = true;
		return;
	case STATEMENT_UPDATE_KEY:
		draft_add(draft, column, false, column)->set = true;
		return;
	case STATEMENT_REPLACE:
		param = draft_add(draft, column, false, column);
		param->guard = always && !key;
		param->set = !param->guard;
		return;
	case STATEMENT_UPDATE_WHOLE:
		if (!always)
			draft_add(draft, column, false, column)->set = true;
		return;
	}
}

/* REPLACE: what the source did not send, or does not know, comes from the old row */
static uint32_t draft_kept(const struct draft *draft, const char **names)
{
	const struct target *target = draft->target;
	uint32_t n = 0;

	for (uint32_t i = 0; i < target->n_columns; i++) {
		bool sent = target->columns[i].generated;

		for (uint32_t j = 0; !sent && j < draft->st->n_params; j++)
			sent = draft->params[j].column == target->columns[i].name &&
			       (draft->params[j].set || draft->params[j].guard);
		if (!sent)
			names[n++] = target->columns[i].name;
	}
	return n;
}

static void statement_prepared(void *arg, const PGresult *res)
{
	struct statement *st = arg;

	(void)res;
	st->prepared = true;
}

static int draft_prepare(struct apply *apply, struct draft *draft, struct error *err)
{
	struct statement *st = draft->st;
	struct target *target = draft->target;
	const char **names = calloc(target->n_columns + target->n_keys + 1, sizeof(*names));
	Oid *types = calloc(st->n_params + 1, sizeof(*types));
	struct statement_spec spec = {
		.kind = st->kind,
		.table = target->sql_name,
		.rows = target->sql_rows,
		.params = draft->params,
		.n_params = st->n_params,
	};
	const struct queue_item item = {
		.expect = -1,
		.what = "prepare",
		.tag = TAG_DATA,
		.who = apply->rec,
		.result = statement_prepared,
		.arg = st,
	};
	int r;

	if (!names || !types)
		abort();
	for (uint32_t i = 0; i < st->n_params; i++)
		types[i] = st->params[i].column->array_oid ? st->params[i].column->array_oid : OID_TEXT_ARRAY;
	if (st->kind == STATEMENT_REPLACE) {
		spec.kept_columns = names;
		spec.n_kept_columns = draft_kept(draft, names);
	} else if (st->kind == STATEMENT_INSERT_OVERWRITE || st->kind == STATEMENT_INSERT_KEEP) {
		for (uint32_t i = 0; i < target->n_keys; i++)
			names[i] = target->columns[target->to_target[target->keys[i]]].name;
		spec.conflict_columns = names;
		spec.n_conflict_columns = target->n_keys;
	}
	buf_clear(&apply->sql);
	statement_put(&apply->sql, &spec);
	snprintf(st->name, sizeof(st->name), "s%llu", (unsigned long long)++apply->n_statements);
	r = queue_prepare(&apply->sink->queue,
		&(struct queue_statement){ st->name, buf_str(&apply->sql), (int)st->n_params, types }, &item,
		err);
	free(names);
	free(types);
	return r;
}

static int statement_make(struct apply *apply, struct target *target, enum statement_kind kind,
	const uint64_t *present, struct statement **ret, struct error *err)
{
	size_t bytes = present_words(target) * sizeof(uint64_t);
	uint32_t most = target->rel->n_columns * 2 + target->n_keys + 1;
	struct statement *st = calloc(1, sizeof(*st));
	struct draft draft = { target, st, calloc(most, sizeof(*draft.params)) };
	int r;

	if (!st || !draft.params)
		abort();
	st->kind = kind;
	st->round = apply->sink->queue.round;
	st->present = malloc(bytes + 1);
	st->params = calloc(most, sizeof(*st->params));
	if (!st->present || !st->params)
		abort();
	memcpy(st->present, present, bytes);
	if (kind_has_key(kind))
		draft_keys(&draft);
	for (uint32_t i = 0; kind_has_row(kind) && i < target->n_insert; i++)
		if (is_present(present, target->insert_columns[i]))
			draft_column(&draft, target->insert_columns[i]);
	r = draft_prepare(apply, &draft, err);
	free(draft.params);
	st->next = target->statements;
	target->statements = st;
	*ret = st;
	return r;
}

struct statement *statement_free(struct statement *st)
{
	free(st->present);
	free(st->params);
	free(st);
	return NULL;
}

/* the statement for a set of present columns; one whose PREPARE was lost behind a failure is made again */
static int statement_get(struct apply *apply, struct target *target, enum statement_kind kind,
	const uint64_t *present, struct statement **ret, struct error *err)
{
	size_t bytes = present_words(target) * sizeof(uint64_t);

	for (struct statement **at = &target->statements; *at; at = &(*at)->next) {
		struct statement *st = *at;

		if (st->kind != kind || memcmp(st->present, present, bytes) != 0)
			continue;
		if (st->prepared || st->round == apply->sink->queue.round) {
			*ret = st;
			return 0;
		}
		*at = st->next;
		statement_free(st);
		break;
	}
	return statement_make(apply, target, kind, present, ret, err);
}

static void apply_reserve(struct apply *apply, uint32_t n_params)
{
	if (n_params <= apply->cap_params)
		return;
	apply->params = realloc(apply->params, n_params * sizeof(*apply->params));
	apply->values = realloc(apply->values, n_params * sizeof(*apply->values));
	apply->lengths = realloc(apply->lengths, n_params * sizeof(*apply->lengths));
	apply->formats = realloc(apply->formats, n_params * sizeof(*apply->formats));
	if (!apply->params || !apply->values || !apply->lengths || !apply->formats)
		abort();
	memset(apply->params + apply->cap_params, 0, (n_params - apply->cap_params) * sizeof(*apply->params));
	apply->cap_params = n_params;
}

static bool value_is_binary(const struct params_column *col)
{
	for (uint32_t i = 0; i < col->n_rows; i++)
		if (col->rows[i][col->column].state == VALUE_PRESENT)
			return col->rows[i][col->column].format == VALUE_BINARY;
	return false;
}

/* one array parameter; false = the values came in a form that this column cannot take */
static bool put_param(struct buf *out, const struct statement_source *from, const struct params_column *col,
	int *ret_format)
{
	const struct target_column *to = from->column;
	uint32_t element = to->array_oid ? to->type_oid : OID_TEXT;
	bool raw = to->array_oid && ((from->type_oid == to->type_oid && pg_type_is_builtin(to->type_oid)) ||
					    (to->enum_type && from->type_oid >= 16384));

	buf_clear(out);
	*ret_format = 1;
	if ((to->encoding != PARAMS_LITERAL || (raw && value_is_binary(col))) &&
		params_put_binary(out, to->encoding, element, raw, col))
		return true;
	*ret_format = 0;
	return params_put_literal(out, to->delimiter, col);
}

static int execute_statement(struct apply *apply, const struct statement *st, const struct row_set *set,
	const struct queue_item *item, struct error *err)
{
	apply_reserve(apply, st->n_params);
	for (uint32_t i = 0; i < st->n_params; i++) {
		const struct statement_source *from = &st->params[i];
		struct params_column col = { from->from_key ? set->keys : set->rows, set->n, from->index };

		if (!put_param(&apply->params[i], from, &col, &apply->formats[i])) {
			error_set(err, ERROR_SCHEMA, "PG-BINARY",
				"column %s arrives in binary form, which the target's type %s cannot take",
				from->column->name, from->column->type);
			return error_remedy(err, "set source.postgresql.binary: false");
		}
		apply->values[i] = (const char *)apply->params[i].data;
		apply->lengths[i] = (int)apply->params[i].len;
	}
	return queue_exec(&apply->sink->queue, st->name,
		&(struct queue_params){ (int)st->n_params, apply->values, apply->lengths, apply->formats },
		item, err);
}

static size_t row_bytes(const struct target *target, const struct value *row)
{
	size_t bytes = 16;

	for (uint32_t i = 0; i < target->n_insert; i++)
		bytes += row[target->insert_columns[i]].len;
	return bytes;
}

/* how many rows from `from` on make one statement */
static uint32_t rows_that_fit(const struct target *target, const struct row_set *set, uint32_t from)
{
	uint32_t n = 0;
	size_t bytes = 0;

	while (from + n < set->n && n < STATEMENT_MAX_ROWS && (bytes < STATEMENT_MAX_BYTES || !n)) {
		if (set->rows)
			bytes += row_bytes(target, set->rows[from + n]);
		n++;
	}
	return n;
}

static const char *kind_what(enum statement_kind kind)
{
	switch (kind) {
	case STATEMENT_INSERT:
	case STATEMENT_INSERT_OVERWRITE:
	case STATEMENT_INSERT_KEEP:
		return "insert";
	case STATEMENT_UPDATE:
	case STATEMENT_UPDATE_KEY:
	case STATEMENT_REPLACE:
	case STATEMENT_UPDATE_WHOLE:
		return "update";
	case STATEMENT_DELETE:
	case STATEMENT_DELETE_WHOLE:
		return "delete";
	}
	return "?";
}

/* the columns that a row has and that are written; false = an UPDATE with nothing to write */
static bool row_present(
	const struct target *target, enum statement_kind kind, const struct value *row, uint64_t *present)
{
	bool any = false;

	memset(present, 0, present_words(target) * sizeof(uint64_t));
	for (uint32_t i = 0; row && i < target->n_insert; i++) {
		uint32_t column = target->insert_columns[i];

		if (row[column].state == VALUE_ABSENT)
			continue;
		present[column / 64] |= UINT64_C(1) << (column % 64);
		any |= kind != STATEMENT_UPDATE || !is_key(target, column);
	}
	return any || !kind_has_row(kind);
}

static void execute_met(void *arg, const PGresult *res)
{
	struct apply *apply = arg;

	apply->result.conflicts += strtoull(PQgetvalue(res, 0, 1), NULL, 10);
}

#define PRESENT_WORDS 26 /* 1664 columns, more than a table can have */

int execute_rows(struct apply *apply, struct target *target, enum statement_kind kind,
	const struct row_set *set, bool expect, struct error *err)
{
	bool counted = kind == STATEMENT_REPLACE || kind == STATEMENT_INSERT_OVERWRITE ||
		       kind == STATEMENT_INSERT_KEEP;
	uint64_t present[PRESENT_WORDS];
	struct statement *st;

	if (present_words(target) > PRESENT_WORDS)
		return error_set(err, ERROR_SCHEMA, "PG-COLUMNS", "table %s.%s has too many columns",
			target->schema, target->name);
	apply->rec = set->rec;
	if (!row_present(target, kind, kind_has_row(kind) ? set->rows[0] : NULL, present))
		return 0;
	if (statement_get(apply, target, kind, present, &st, err) < 0)
		return -1;
	apply->check_rows |= expect;
	for (uint32_t from = 0, n; from < set->n; from += n) {
		struct row_set part = { set->keys ? set->keys + from : NULL,
			set->rows ? set->rows + from : NULL, 0, set->rec };
		struct queue_item item = {
			.what = kind_what(kind), .tag = TAG_DATA, .who = set->rec, .counted = counted
		};

		/* a row that another program's log tells of again is no conflict */
		if ((kind == STATEMENT_INSERT_OVERWRITE || kind == STATEMENT_INSERT_KEEP) &&
			!(set->rec->flags & RECORD_UPSERT)) {
			item.result = execute_met;
			item.arg = apply;
		}
		n = part.n = rows_that_fit(target, set, from);
		item.expect = expect ? (int64_t)n : -1;
		if (execute_statement(apply, st, &part, &item, err) < 0)
			return -1;
	}
	return 0;
}

int execute_keys(struct apply *apply, struct target *target, const char *sql, const struct row_set *set,
	const struct queue_item *item, struct error *err)
{
	static const struct queue_item prepare = { .expect = -1, .what = "prepare", .tag = TAG_CONTROL };
	struct statement st = { .kind = STATEMENT_DELETE };
	struct draft draft = { target, &st, calloc(target->n_keys + 1, sizeof(*draft.params)) };
	Oid *types = calloc(target->n_keys + 1, sizeof(*types));
	int r;

	st.params = calloc(target->n_keys + 1, sizeof(*st.params));
	if (!draft.params || !types || !st.params)
		abort();
	draft_keys(&draft);
	for (uint32_t i = 0; i < st.n_params; i++)
		types[i] = st.params[i].column->array_oid ? st.params[i].column->array_oid : OID_TEXT_ARRAY;
	/* the unnamed statement: used once */
	r = queue_prepare(&apply->sink->queue, &(struct queue_statement){ "", sql, (int)st.n_params, types },
		&prepare, err);
	if (r == 0)
		r = execute_statement(apply, &st, set, item, err);
	free(draft.params);
	free(types);
	free(st.params);
	return r;
}

/* the first value decides; copy_is_possible() looks at the others */
static bool copy_is_binary(const struct target *target, const struct row_set *set)
{
	for (uint32_t i = 0; i < target->n_insert; i++) {
		uint32_t column = target->insert_columns[i];
		uint32_t oid = target->rel->columns[column].type_oid;

		if (oid != target->columns[target->to_target[column]].type_oid || !pg_type_is_builtin(oid))
			return false;
	}
	for (uint32_t i = 0; i < target->n_insert; i++)
		if (set->rows[0][target->insert_columns[i]].state == VALUE_PRESENT)
			return set->rows[0][target->insert_columns[i]].format == VALUE_BINARY;
	return false;
}

static bool copy_is_possible(const struct target *target, const struct row_set *set, bool binary)
{
	enum value_format format = binary ? VALUE_BINARY : VALUE_TEXT;

	if (!target->copy || !target->n_insert)
		return false;
	for (uint32_t i = 0; i < set->n; i++) {
		for (uint32_t j = 0; j < target->n_insert; j++) {
			const struct value *v = &set->rows[i][target->insert_columns[j]];

			if (v->state == VALUE_ABSENT || (v->state == VALUE_PRESENT && v->format != format))
				return false;
		}
	}
	return true;
}

static void copy_sql(struct buf *sql, const struct target *target, bool binary)
{
	buf_clear(sql);
	buf_printf(sql, "COPY %s (", target->sql_name);
	for (uint32_t i = 0; i < target->n_insert; i++) {
		buf_puts(sql, i ? ", " : "");
		pg_put_ident(sql, target->columns[target->to_target[target->insert_columns[i]]].name);
	}
	buf_puts(sql, binary ? ") FROM STDIN (FORMAT binary)" : ") FROM STDIN");
}

int execute_copy(struct apply *apply, struct target *target, const struct row_set *set, struct error *err)
{
	const struct queue_item item = { .expect = -1, .what = "insert", .tag = TAG_DATA, .who = set->rec };
	struct queue *queue = &apply->sink->queue;
	bool binary = copy_is_binary(target, set);
	int r;

	if (!copy_is_possible(target, set, binary))
		return EXECUTE_NO_COPY;
	if (SLUICE_FAULT_POINT("sink.pg.copy"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.copy");
	copy_sql(&apply->sql, target, binary);
	r = queue_copy_begin(queue, buf_str(&apply->sql), &item, err);
	if (r != 0)
		return r;
	buf_clear(&apply->copy);
	if (binary)
		copy_put_binary_header(&apply->copy);
	for (uint32_t i = 0; i < set->n; i++) {
		if (binary)
			copy_put_binary(&apply->copy, set->rows[i], target->insert_columns, target->n_insert);
		else
			copy_put_text(&apply->copy, set->rows[i], target->insert_columns, target->n_insert);
		if (apply->copy.len < COPY_CHUNK_BYTES)
			continue;
		if (queue_copy_put(queue, apply->copy.data, apply->copy.len, err) < 0)
			return -1;
		buf_shrink(&apply->copy, KEEP_BYTES);
	}
	if (binary)
		copy_put_binary_trailer(&apply->copy);
	if (apply->copy.len && queue_copy_put(queue, apply->copy.data, apply->copy.len, err) < 0)
		return -1;
	return queue_copy_end(queue, err);
}

/* never CASCADE: the record names every table that the source emptied */
int execute_truncate(struct apply *apply, const struct record *rec, struct error *err)
{
	const struct queue_item item = { .expect = -1, .what = "truncate", .tag = TAG_DATA, .who = rec };
	const struct record_truncate *truncate = rec->truncate;

	buf_clear(&apply->sql);
	buf_puts(&apply->sql, "TRUNCATE ");
	for (uint32_t i = 0; i < truncate->n_relations; i++) {
		struct target *target;

		if (target_tables_find(apply, truncate->relations[i], &target, err) < 0)
			return -1;
		buf_printf(&apply->sql, "%s%s", i ? ", " : "", target->sql_rows);
	}
	if (truncate->restart_identity)
		buf_puts(&apply->sql, " RESTART IDENTITY");
	return truncate->n_relations ? queue_sql(&apply->sink->queue, buf_str(&apply->sql), &item, err) : 0;
}
