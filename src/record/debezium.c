/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The envelope of Debezium's PostgreSQL connector, with its schema around it or without, to a record. What must stay true:
 *  1. Only what the source said is a value: of an old row without REPLICA IDENTITY FULL only the key is, the rest was
 *     filled up by Debezium; what stands for an unsent value is absent.
 *  2. Nothing is dropped: a column that the table does not have, a value that its type does not have, an unknown
 *     operation are errors.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debezium_parts.h"

struct debezium {
	struct debezium_options opt;
	struct tree tree, key, inner;
	struct buf text;
	/* how the last table is read without a schema */
	struct relation *rel; /* a reference */
	struct form *forms;
};

struct decoding {
	struct debezium *dbz;
	const struct message *msg;
	struct batch *batch;
	struct record *rec;
	struct debezium_info *info;
	const struct tree_node *schema, *payload; /* schema: NULL = none */
	const struct tree_node *key;		  /* of the message, in dbz->key; NULL = none */
	struct error *err;
};

static int broken(struct decoding *d, const char *what)
{
	return error_set(
		d->err, ERROR_DATA, "DEBEZIUM-FORMAT", "offset %" PRId64 ": %s", d->msg->offset, what);
}

static int broken_value(struct decoding *d, struct read_text column, const char *what)
{
	const struct relation *rel = d->rec->rel;

	return error_set(d->err, ERROR_DATA, "DEBEZIUM-VALUE",
		"offset %" PRId64 ": table %s.%s column %.*s: %s", d->msg->offset, rel->schema, rel->name,
		(int)(column.len < 64 ? column.len : 64), column.s, what);
}

static const struct tree_node *member(const struct decoding *d, const struct tree_node *at, const char *name)
{
	return tree_member(&d->dbz->tree, at, name);
}

static bool number(const struct decoding *d, const struct tree_node *at, const char *name, int64_t *ret)
{
	return tree_i64(&d->dbz->tree, at, name, ret);
}

/* {"schema":…,"payload":…} or the payload alone */
static const struct tree_node *unwrap(const struct tree *tree, const struct tree_node **ret_schema)
{
	const struct tree_node *root = tree->nodes, *schema = tree_member(tree, root, "schema");
	const struct tree_node *payload = tree_member(tree, root, "payload");

	if (schema && payload && !tree_member(tree, root, "op") && root->end == tree->n &&
		(schema->type == TREE_MAP || schema->type == TREE_NULL)) {
		*ret_schema = schema->type == TREE_MAP ? schema : NULL;
		return payload;
	}
	*ret_schema = NULL;
	return root;
}

/* the schema of a struct's member */
static const struct tree_node *field_schema(
	const struct decoding *d, const struct tree_node *schema, struct read_text name)
{
	const struct tree_node *fields = member(d, schema, "fields");

	if (!fields || fields->type != TREE_ARRAY)
		return NULL;
	TREE_EACH(&d->dbz->tree, fields, field)
	{
		const struct tree_node *its = member(d, field, "field");

		if (its && its->type == TREE_STRING && its->text.len == name.len &&
			!memcmp(its->text.s, name.s, name.len))
			return field;
	}
	return NULL;
}

static char *arena_text(struct arena *arena, struct read_text text)
{
	char *s = arena_alloc(arena, text.len + 1);

	if (text.len)
		memcpy(s, text.s, text.len);
	s[text.len] = '\0';
	return s;
}

static void read_snapshot(struct decoding *d, const struct tree_node *snapshot)
{
	if (!snapshot || snapshot->type == TREE_NULL || snapshot->type == TREE_FALSE ||
		tree_is(snapshot, "false"))
		d->info->snapshot = DEBEZIUM_STREAMED;
	else if (tree_is(snapshot, "incremental"))
		d->info->snapshot = DEBEZIUM_INCREMENTAL;
	else if (tree_is(snapshot, "last"))
		d->info->snapshot = DEBEZIUM_SNAPSHOT_LAST;
	else
		d->info->snapshot = DEBEZIUM_SNAPSHOT;
}

/* ["<commit of the transaction before>","<event>"], either may be null */
static uint64_t read_commit_before(const struct tree_node *sequence)
{
	const char *s, *end;
	int64_t n;

	if (!sequence || sequence->type != TREE_STRING || sequence->text.len < 3 ||
		memcmp(sequence->text.s, "[\"", 2) != 0)
		return 0;
	s = sequence->text.s + 2;
	end = memchr(s, '"', sequence->text.len - 2);
	return end && read_i64((struct read_text){ s, (size_t)(end - s) }, &n) ? (uint64_t)n : 0;
}

static void read_source(struct decoding *d)
{
	const struct tree_node *source = member(d, d->payload, "source");
	const struct tree_node *tx = member(d, d->payload, "transaction");
	const struct tree_node *id = member(d, tx, "id");
	struct debezium_info *info = d->info;
	int64_t n;

	/* a position is Java's signed long */
	info->has_lsn = number(d, source, "lsn", &n);
	info->lsn = info->has_lsn ? (uint64_t)n : 0;
	info->commit_before = read_commit_before(member(d, source, "sequence"));
	info->has_xid = number(d, source, "txId", &n);
	info->xid = info->has_xid ? (uint64_t)n : 0;
	if (number(d, source, "ts_us", &n) ||
		(number(d, source, "ts_ms", &n) && !__builtin_mul_overflow(n, 1000, &n)))
		info->commit_time.us = n;
	read_snapshot(d, member(d, source, "snapshot"));
	if (id && id->type == TREE_STRING)
		info->transaction = arena_text(&d->batch->arena, id->text);
	number(d, tx, "total_order", &info->total_order);
	number(d, tx, "data_collection_order", &info->data_collection_order);
	info->key_change =
		message_header(d->msg, "__debezium.newkey") || message_header(d->msg, "__debezium.oldkey");
	d->rec->pos.major = info->lsn;
	d->rec->pos.minor = info->total_order > 0 ? (uint64_t)info->total_order : 0;
}

static int read_key(struct decoding *d)
{
	const struct tree_node *schema;
	struct read_text text = { d->msg->key, d->msg->key_len };

	d->key = NULL;
	if (!text.s)
		return 0;
	if (tree_parse(&d->dbz->key, d->msg, text, &d->batch->arena, d->err) < 0)
		return -1;
	d->key = unwrap(&d->dbz->key, &schema);
	if (d->key->type == TREE_NULL)
		d->key = NULL;
	else if (d->key->type != TREE_MAP)
		return broken(d, "a key that is no object");
	return 0;
}

/* the names of a struct's members; NULL = none */
static const char *const *member_names(
	struct decoding *d, const struct tree *tree, const struct tree_node *at, uint32_t *ret_n)
{
	const char **names;
	uint32_t n = 0;

	*ret_n = 0;
	if (!at || at->type != TREE_MAP)
		return NULL;
	TREE_EACH(tree, at, child)
	n++;
	names = arena_alloc(&d->batch->arena, (n + 1) * sizeof(*names));
	*ret_n = n;
	n = 0;
	TREE_EACH(tree, at, child)
	names[n++] = arena_text(&d->batch->arena, child->key);
	return names;
}

/* row: that is looked at for the columns; NULL = none */
static int find_relation(struct decoding *d, const struct tree_node *row)
{
	const struct tree_node *source = member(d, d->payload, "source");
	const struct tree_node *schema = member(d, source, "schema"), *name = member(d, source, "table");
	const struct debezium_options *opt = &d->dbz->opt;
	struct arena *arena = &d->batch->arena;
	struct debezium_table table;
	struct relation *rel;

	if (!schema || !name || schema->type != TREE_STRING || name->type != TREE_STRING)
		return broken(d, "no schema and table in source");
	table = (struct debezium_table){ .schema = arena_text(arena, schema->text),
		.name = arena_text(arena, name->text) };
	table.columns = member_names(d, &d->dbz->tree, row, &table.n_columns);
	table.keys = member_names(d, &d->dbz->key, d->key, &table.n_keys);
	rel = opt->relation(opt->ctx, &table, d->err);
	if (!rel)
		return -1;
	d->rec->rel = batch_hold(d->batch, rel);
	return 0;
}

static void prepare_forms(struct debezium *dbz, struct relation *rel)
{
	if (dbz->rel == rel)
		return;
	relation_unref(dbz->rel);
	dbz->rel = relation_ref(rel);
	free(dbz->forms);
	dbz->forms = calloc(rel->n_columns + 1, sizeof(*dbz->forms));
	if (!dbz->forms)
		abort();
	for (uint32_t i = 0; i < rel->n_columns; i++)
		form_of_column(&dbz->opt, &rel->columns[i], &dbz->forms[i]);
}

/* columns mostly come in their order */
static int find_column(const struct relation *rel, struct read_text name, uint32_t next)
{
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		uint32_t at = (next + i) % rel->n_columns;

		if (strlen(rel->columns[at].name) == name.len &&
			!memcmp(rel->columns[at].name, name.s, name.len))
			return (int)at;
	}
	return -1;
}

/* digits behind the point that count */
static int32_t fraction_digits(struct buf *text)
{
	const char *s = buf_str(text), *point = strchr(s, '.'), *end;

	if (!point)
		return 0;
	end = point + 1 + strspn(point + 1, "0123456789");
	while (end > point + 1 && end[-1] == '0')
		end--;
	return (int32_t)(end - point - 1);
}

/* a type of the target that holds fewer digits would round in silence */
static bool fits(const struct json_type *type, struct buf *text)
{
	bool time = type->kind == JSON_TIME || type->kind == JSON_MICRO_TIME ||
		    type->kind == JSON_TIMESTAMP || type->kind == JSON_MICRO_TIMESTAMP ||
		    type->kind == JSON_ZONED_TIME || type->kind == JSON_ZONED_TIMESTAMP;

	if (!time && type->kind != JSON_DECIMAL)
		return true;
	return fraction_digits(text) <= (time ? type->precision : type->scale > 0 ? type->scale : 0);
}

static int read_value(struct decoding *d, const struct tree_node *node, const struct tree_node *schema,
	const struct form *base, struct value *ret)
{
	struct debezium *dbz = d->dbz;
	struct value_context ctx = { &dbz->opt, &dbz->tree, d->msg, &d->batch->arena, &dbz->inner };
	struct form form = *base;

	if (node->type == TREE_NULL) {
		ret->state = VALUE_NULL;
		return 0;
	}
	if (schema)
		form_of_schema(&dbz->opt, &dbz->tree, schema, &form);
	if (debezium_unavailable(&ctx, &form, node))
		return 0;
	buf_clear(&dbz->text);
	if (!debezium_value(&ctx, &form, node, &dbz->text))
		return broken_value(d, node->key, "a value that its type does not have");
	if (!fits(&form.type, &dbz->text))
		return broken_value(d, node->key, "more digits than the target's type holds");
	*ret = (struct value){ .data = arena_dup(&d->batch->arena, dbz->text.data, dbz->text.len),
		.len = (uint32_t)dbz->text.len,
		.state = VALUE_PRESENT,
		.format = VALUE_TEXT };
	return 0;
}

static int read_row(struct decoding *d, const char *name, struct value **ret)
{
	const struct tree_node *row = member(d, d->payload, name);
	const struct tree_node *schema =
		d->schema ? field_schema(d, d->schema, (struct read_text){ name, strlen(name) }) : NULL;
	struct relation *rel = d->rec->rel;
	bool *seen;
	uint32_t next = 0;

	if (!row || row->type == TREE_NULL)
		return 0;
	if (row->type != TREE_MAP)
		return broken(d, "a row that is no object");
	prepare_forms(d->dbz, rel);
	*ret = arena_alloc(&d->batch->arena, rel->n_columns * sizeof(**ret));
	memset(*ret, 0, rel->n_columns * sizeof(**ret));
	seen = arena_alloc(&d->batch->arena, rel->n_columns);
	memset(seen, 0, rel->n_columns);
	TREE_EACH(&d->dbz->tree, row, node)
	{
		int at = find_column(rel, node->key, next);
		const struct tree_node *field = schema ? field_schema(d, schema, node->key) : NULL;

		if (at < 0 && d->dbz->opt.ignore_columns)
			continue;
		if (at < 0)
			return broken_value(d, node->key, "the table does not have it");
		if (seen[at])
			return broken_value(d, node->key, "there twice");
		seen[at] = true;
		next = (uint32_t)at + 1;
		if (read_value(d, node, field, &d->dbz->forms[at], &(*ret)[at]) < 0)
			return -1;
	}
	return 0;
}

/* is the column one of those in the message's key? Without a key the table's count */
static bool in_key(const struct decoding *d, const struct column *column)
{
	return d->key ? tree_member(&d->dbz->key, d->key, column->name) != NULL : column->key;
}

/* what is not of the key was filled up by Debezium, unless the whole old row was sent */
static int keep_key(struct decoding *d)
{
	const struct relation *rel = d->rec->rel;
	bool any = false;

	if (!d->rec->before)
		return 0;
	if (rel->identity == IDENTITY_FULL) {
		d->rec->flags |= RECORD_BEFORE_FULL;
		return 0;
	}
	d->rec->flags |= RECORD_BEFORE_KEY;
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (!in_key(d, &rel->columns[i]))
			d->rec->before[i] = (struct value){ .state = VALUE_ABSENT };
		any = any || d->rec->before[i].state == VALUE_PRESENT;
	}
	return any ? 0 : broken(d, "an old row without a key");
}

static int read_rows(struct decoding *d, char op)
{
	struct record *rec = d->rec;
	const struct tree_node *row = member(d, d->payload, op == 'd' ? "before" : "after");

	rec->op = op == 'c'   ? RECORD_INSERT
		  : op == 'u' ? RECORD_UPDATE
		  : op == 'd' ? RECORD_DELETE
			      : RECORD_READ;
	if (read_key(d) < 0 || find_relation(d, row) < 0)
		return -1;
	if ((rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE) &&
		(read_row(d, "before", &rec->before) < 0 || keep_key(d) < 0))
		return -1;
	if (rec->op != RECORD_DELETE && read_row(d, "after", &rec->after) < 0)
		return -1;
	if (rec->op == RECORD_DELETE ? !rec->before : !rec->after)
		return broken(d, "a row without its values");
	for (uint32_t i = 0; rec->after && i < rec->rel->n_columns; i++) {
		if (rec->after[i].state == VALUE_ABSENT)
			rec->flags |= RECORD_TOAST;
	}
	return 0;
}

static int read_truncate(struct decoding *d)
{
	struct record_truncate *truncate = arena_alloc(&d->batch->arena, sizeof(*truncate));

	if (find_relation(d, NULL) < 0)
		return -1;
	*truncate = (struct record_truncate){ .n_relations = 1 };
	truncate->relations = arena_dup(&d->batch->arena, &d->rec->rel, sizeof(struct relation *));
	d->rec->op = RECORD_TRUNCATE;
	d->rec->rel = NULL;
	d->rec->truncate = truncate;
	return 0;
}

static int read_message(struct decoding *d)
{
	const struct tree_node *at = member(d, d->payload, "message"), *prefix = member(d, at, "prefix");
	const struct tree_node *content = member(d, at, "content"), *schema = NULL;
	struct record_message *message = arena_alloc(&d->batch->arena, sizeof(*message));
	const struct column column = { .type_oid = 17, .type_modifier = -1 };
	struct form form;

	*message = (struct record_message){
		.prefix = "", .content = (const uint8_t *)"", .transactional = d->info->has_xid
	};
	if (!at || at->type != TREE_MAP)
		return broken(d, "a logical message without its content");
	form_of_column(&d->dbz->opt, &column, &form);
	if (d->schema)
		schema = field_schema(
			d, field_schema(d, d->schema, at->key), (struct read_text){ "content", 7 });
	if (schema)
		form_of_schema(&d->dbz->opt, &d->dbz->tree, schema, &form);
	if (prefix && prefix->type == TREE_STRING)
		message->prefix = arena_text(&d->batch->arena, prefix->text);
	if (content && content->type == TREE_STRING) {
		buf_clear(&d->dbz->text);
		if (!debezium_bytes(form.encoding, content->text, &d->dbz->text))
			return broken(d, "a logical message whose content cannot be read");
		message->content = arena_dup(&d->batch->arena, d->dbz->text.data, d->dbz->text.len);
		message->content_len = (uint32_t)d->dbz->text.len;
	}
	d->rec->op = RECORD_MESSAGE;
	d->rec->message = message;
	return 0;
}

/* what has no operation: the topics of transactions and heartbeats */
static int read_other(struct decoding *d)
{
	const struct tree_node *status = member(d, d->payload, "status"), *id = member(d, d->payload, "id");
	struct debezium_info *info = d->info;
	int64_t ms;

	if (number(d, d->payload, "ts_ms", &ms) && !__builtin_mul_overflow(ms, 1000, &ms))
		info->commit_time.us = ms;
	if ((tree_is(status, "BEGIN") || tree_is(status, "END")) && id && id->type == TREE_STRING) {
		info->transaction = arena_text(&d->batch->arena, id->text);
		info->is_end = tree_is(status, "END");
		info->event_count = -1;
		number(d, d->payload, "event_count", &info->event_count);
		return DEBEZIUM_TRANSACTION;
	}
	if (d->payload->type == TREE_MAP && member(d, d->payload, "ts_ms") &&
		d->payload[1].end == d->payload->end)
		return DEBEZIUM_HEARTBEAT;
	return broken(d, "not an event of Debezium's");
}

static int read_payload(struct decoding *d)
{
	const struct tree_node *op = member(d, d->payload, "op");

	if (d->payload->type == TREE_NULL)
		return DEBEZIUM_TOMBSTONE;
	if (!op)
		return read_other(d);
	if (op->type != TREE_STRING || op->text.len != 1)
		return broken(d, "an operation that is none");
	read_source(d);
	switch (*op->text.s) {
	case 'c':
	case 'u':
	case 'd':
	case 'r':
		return read_rows(d, *op->text.s);
	case 't':
		return read_truncate(d);
	case 'm':
		return read_message(d);
	default:
		return broken(d, "an operation that is not known");
	}
}

int debezium_decode(struct debezium *dbz, const struct message *msg, struct batch *batch, struct record *rec,
	struct debezium_info *ret, struct error *err)
{
	struct decoding d = { .dbz = dbz, .msg = msg, .batch = batch, .rec = rec, .info = ret, .err = err };
	struct read_text text = { msg->value, msg->value_len };

	*ret = (struct debezium_info){ 0 };
	if (!msg->value)
		return DEBEZIUM_TOMBSTONE;
	if (tree_parse(&dbz->tree, msg, text, &batch->arena, err) < 0)
		return -1;
	rec->offset = msg->offset;
	d.payload = unwrap(&dbz->tree, &d.schema);
	return read_payload(&d);
}

struct debezium *debezium_new(const struct debezium_options *opt)
{
	struct debezium *dbz = calloc(1, sizeof(*dbz));

	if (!dbz)
		abort();
	dbz->opt = *opt;
	if (!dbz->opt.unavailable || !*dbz->opt.unavailable)
		dbz->opt.unavailable = JSON_UNAVAILABLE;
	return dbz;
}

struct debezium *debezium_free(struct debezium *dbz)
{
	if (!dbz)
		return NULL;
	tree_fini(&dbz->tree);
	tree_fini(&dbz->key);
	tree_fini(&dbz->inner);
	buf_fini(&dbz->text);
	relation_unref(dbz->rel);
	free(dbz->forms);
	free(dbz);
	return NULL;
}
