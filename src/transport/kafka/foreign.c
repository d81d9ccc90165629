/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Debezium's messages carry no stamp: no reign, no chain, no transactions. What can be promised of them follows from what
 * Debezium promises: each change at least once, and in one partition in the order of the source, from some earlier point
 * on again after each of its restarts.
 *
 * Invariants:
 *   1. Progress is the offset of the last message, in the target's own transaction; so what is in the topic is applied
 *      exactly once, whatever becomes of the applier.
 *   2. What the topic holds twice is applied twice: an insert and a whole update write the row whether it is there or not, a
 *      delete may find nothing. Behind the last repetition each row is as if it had come once. Nothing is ever left out
 *      because it seems to be known: positions begin anew where a connector moves to another server.
 *   3. An update that lacks a value (unchanged TOAST) and finds no row is a loss, unless its position says that it was
 *      here before: then the row was deleted since, and that delete comes again, too.
 *   4. A TRUNCATE has its place among the rows of its own partition only.
 *   5. A changed key comes as a delete and an insert, which lacks what the source did not send (unchanged TOAST): only the
 *      old row has it. Where a topic has one partition the delete is held until the insert is there, and both are one
 *      update of the key; progress does not pass a held message. Elsewhere such an insert is an update of the new key's
 *      row, which has to be there, so it fails where a value would be lost.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

#define PARTITIONS_MS 60000
#define NEW_KEY	      "__debezium.newkey"
#define OLD_KEY	      "__debezium.oldkey"

/* a table as messages tell of it, and what the target says of that */
struct foreign_table {
	struct buf name; /* schema, table, columns, keys */
	struct relation *rel;
	struct foreign_table *next;
};

struct foreign {
	const struct context *ctx;
	struct catalog *catalog;
	rd_kafka_t *rk;
	struct debezium *dbz;
	struct foreign_table *tables; /* the one that was used last stands first */
	struct buf name;	      /* of the one that is looked for */
	bool asked;		      /* the catalog, for this message */
	struct {
		const struct feed *feed;
		struct mono at;
		uint32_t n;
	} partitions; /* of the topic that was asked about last */
};

static void put_names(struct buf *out, const char *const *names, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_put(out, names[i], strlen(names[i]) + 1);
	buf_putc(out, '\0');
}

static struct foreign_table *table_find(struct foreign *foreign)
{
	for (struct foreign_table **at = &foreign->tables; *at; at = &(*at)->next) {
		struct foreign_table *table = *at;

		if (table->name.len != foreign->name.len ||
			memcmp(table->name.data, foreign->name.data, table->name.len) != 0)
			continue;
		*at = table->next;
		table->next = foreign->tables;
		foreign->tables = table;
		return table;
	}
	return NULL;
}

static void table_drop_first(struct foreign *foreign)
{
	struct foreign_table *table = foreign->tables;

	foreign->tables = table->next;
	relation_unref(table->rel);
	buf_fini(&table->name);
	free(table);
}

static struct relation *foreign_relation(void *ctx, const struct debezium_table *want, struct error *err)
{
	struct foreign *foreign = ctx;
	struct foreign_table *table;
	struct relation *rel = NULL;

	buf_clear(&foreign->name);
	put_names(&foreign->name, (const char *const[]){ want->schema, want->name }, 2);
	put_names(&foreign->name, want->columns, want->n_columns);
	put_names(&foreign->name, want->keys, want->n_keys);
	table = table_find(foreign);
	if (table)
		return table->rel;
	foreign->asked = true;
	if (foreign->catalog->ops->table(foreign->catalog, want, &rel, err) < 0)
		return NULL;
	table = calloc(1, sizeof(*table));
	if (!table)
		abort();
	buf_put(&table->name, foreign->name.data, foreign->name.len);
	table->rel = rel; /* consumed by the list */
	table->next = foreign->tables;
	foreign->tables = table;
	return rel;
}

static void foreign_type(void *ctx, uint32_t oid, struct debezium_type *ret)
{
	struct foreign *foreign = ctx;

	foreign->catalog->ops->type(foreign->catalog, oid, ret);
}

struct foreign *foreign_new(const struct context *ctx, struct catalog *catalog, rd_kafka_t *rk)
{
	const struct config_debezium *cfg = &ctx->cfg->transport.kafka.debezium;
	struct foreign *foreign = calloc(1, sizeof(*foreign));

	if (!foreign)
		abort();
	foreign->ctx = ctx;
	foreign->catalog = catalog;
	foreign->rk = rk;
	foreign->dbz = debezium_new(&(struct debezium_options){
		.time = (enum debezium_time)cfg->time,
		.decimal = (enum debezium_decimal)cfg->decimal,
		.binary = (enum debezium_binary)cfg->binary,
		.interval_string = cfg->interval == DEBEZIUM_INTERVAL_STRING,
		.ignore_columns = ctx->cfg->apply.ddl == DDL_IGNORE,
		.money_digits = cfg->money_digits ? (int32_t)cfg->money_digits : -1,
		.unavailable = cfg->unavailable,
		.relation = foreign_relation,
		.type = foreign_type,
		.ctx = foreign,
	});
	return foreign;
}

struct foreign *foreign_free(struct foreign *foreign)
{
	if (!foreign)
		return NULL;
	debezium_free(foreign->dbz);
	while (foreign->tables)
		table_drop_first(foreign);
	buf_fini(&foreign->name);
	free(foreign);
	return NULL;
}

static int begin_remedy(struct error *err)
{
	return error_remedy(err, "empty the target's tables and let Debezium take a new snapshot into new "
				 "topics, under another name of the migration");
}

static int begin_behind(
	struct feed *feed, const struct progress *progress, int64_t low, int64_t high, struct error *err)
{
	if (progress->offset >= high) {
		feed_resync(feed, err, "KAFKA-LOG-SHORT",
			"offset %" PRId64 " was applied, but the partition ends at %" PRId64
			": it was cut or made anew",
			progress->offset, high);
		return begin_remedy(err);
	}
	if (progress->offset + 1 < low) {
		feed_resync(feed, err, "KAFKA-LOG-GONE",
			"offset %" PRId64 " comes next, but it begins at %" PRId64
			": retention or an operator deleted messages",
			progress->offset + 1, low);
		return begin_remedy(err);
	}
	feed->last = progress->position;
	feed->next = feed->acked = progress->offset + 1;
	return 0;
}

int foreign_begin(struct feed *feed, const struct progress *progress, int64_t low, int64_t high, bool whole,
	struct error *err)
{
	feed->stored = -1;
	feed->high = high;
	feed->last = POSITION_NONE;
	feed->reign = REIGN_NONE;
	feed->committed = true;
	if (progress->exists && progress->offset >= 0)
		return begin_behind(feed, progress, low, high, err);
	if (low > 0 && whole) {
		feed_resync(feed, err, "KAFKA-LOG-GONE",
			"it begins at offset %" PRId64
			": messages before it were deleted, and nothing was applied yet",
			low);
		return error_remedy(err,
			"let Debezium take a new snapshot into new topics; or set transport.kafka.debezium.start: "
			"oldest, if the target has what is missing");
	}
	feed->next = feed->acked = low;
	return 0;
}

/* no change: in an open frame it is passed over, else progress moves by a message that does nothing */
static void pass_over(struct feed *feed, const struct message *msg)
{
	struct record_message *message;
	struct record *rec;

	if (feed->frame.n_records) {
		feed->frame.offset = msg->offset;
		return;
	}
	message = arena_alloc(&feed->batch->arena, sizeof(*message));
	*message = (struct record_message){ .prefix = "", .content = (const uint8_t *)"" };
	fill_row(feed, feed->last, msg->offset, msg->at_ms);
	rec = batch_add(feed->batch);
	rec->op = RECORD_MESSAGE;
	rec->pos = feed->last;
	rec->offset = msg->offset;
	rec->message = message;
}

/* within a partition (commit of the transaction before, position of the change) grows; equal ones are of one statement */
static void set_position(struct feed *feed, struct record *rec, const struct debezium_info *info)
{
	rec->pos = POSITION_NONE;
	if (info->has_lsn)
		rec->pos = info->commit_before ? (struct position){ info->commit_before, info->lsn }
					       : (struct position){ info->lsn, 0 };
	rec->flags |= RECORD_UPSERT;
	if (info->has_lsn && position_compare(rec->pos, feed->last) <= 0)
		rec->flags |= RECORD_AGAIN;
	else if (info->has_lsn)
		feed->last = rec->pos;
}

/* 0 with *ret: does the topic have one partition only? Looked at once a minute */
static int is_single(struct foreign *foreign, const struct feed *feed, bool *ret, struct error *err)
{
	struct mono now = mono_now();

	if (foreign->partitions.feed != feed ||
		mono_diff_us(now, foreign->partitions.at) > PARTITIONS_MS * INT64_C(1000)) {
		if (kafka_partitions(foreign->rk, foreign->ctx, feed->partition.topic, &foreign->partitions.n,
			    err) < 0)
			return -1;
		foreign->partitions.feed = feed;
		foreign->partitions.at = now;
	}
	*ret = foreign->partitions.n == 1;
	return 0;
}

static int refuse_truncate(
	struct foreign *foreign, const struct feed *feed, const struct record *rec, struct error *err)
{
	bool single = false;

	if (is_single(foreign, feed, &single, err) < 0)
		return -1;
	if (single)
		return 0;
	error_set(err, ERROR_DATA, "DEBEZIUM-TRUNCATE",
		"offset %" PRId64
		": a TRUNCATE in a topic with several partitions has no place among the rows of the others",
		rec->offset);
	return error_remedy(err, "set transport.kafka.debezium.truncate: ignore, and skipped.operations=t at "
				 "Debezium; or let the topic have one partition");
}

static int take_record(struct foreign *foreign, struct feed *feed, const struct message *msg,
	struct record *rec, const struct debezium_info *info, struct error *err)
{
	int64_t at_ms = info->commit_time.us ? info->commit_time.us / 1000 : msg->at_ms;

	set_position(feed, rec, info);
	switch ((enum record_op)rec->op) {
	case RECORD_READ: /* rows of a copy that has no marks are ordinary ones */
		rec->op = RECORD_INSERT;
		break;
	case RECORD_TRUNCATE:
		if (foreign->ctx->cfg->transport.kafka.debezium.truncate == DEBEZIUM_TRUNCATE_IGNORE) {
			pass_over(feed, msg);
			return 0;
		}
		if (refuse_truncate(foreign, feed, rec, err) < 0)
			return -1;
		break;
	case RECORD_MESSAGE:
		rec->flags = 0;
		break;
	case RECORD_INSERT:
		if (rec->flags & RECORD_TOAST) {
			rec->op = RECORD_UPDATE;
			rec->flags &= (uint8_t)~RECORD_AGAIN;
		}
		break;
	case RECORD_UPDATE:
	case RECORD_DELETE:
		break;
	case RECORD_BEGIN:
	case RECORD_SCHEMA:
	case RECORD_END:
	case RECORD_ABORT:
	case RECORD_HEARTBEAT:
	case RECORD_FENCE:
	case RECORD_CHUNK:
		return error_set(
			err, ERROR_BUG, "DEBEZIUM", "a record that the decoder does not make: %c", rec->op);
	}
	fill_row(feed, feed->last, msg->offset, at_ms);
	*batch_add(feed->batch) = *rec;
	return 0;
}

static size_t row_bytes(const struct relation *rel, const struct value *values)
{
	size_t bytes = 0;

	for (uint32_t i = 0; values && i < rel->n_columns; i++)
		bytes += values[i].len;
	return bytes;
}

/* the same limit as for a row that the source sends us */
static int check_size(
	const struct foreign *foreign, const struct message *msg, const struct record *rec, struct error *err)
{
	size_t bytes = 0;

	if (rec->rel)
		bytes = row_bytes(rec->rel, rec->before) + row_bytes(rec->rel, rec->after);
	if (bytes <= (size_t)foreign->ctx->cfg->limits.record_bytes)
		return DEBEZIUM_RECORD;
	error_set(err, ERROR_DATA, "RECORD-SIZE",
		"offset %" PRId64 ": a row of %s.%s takes %zu bytes, more than limits.record", msg->offset,
		rec->rel->schema, rec->rel->name, bytes);
	return error_remedy(err, "raise limits.record (and the memory limit) above that size");
}

/* a table that was changed at the target is asked for once more before a message is refused */
static int decode(struct foreign *foreign, struct feed *feed, const struct message *msg, struct record *rec,
	struct debezium_info *info, struct error *err)
{
	int r;

	foreign->asked = false;
	r = debezium_decode(foreign->dbz, msg, feed->batch, rec, info, err);
	if (r < 0 && strcmp(err->code, "DEBEZIUM-VALUE") == 0 && !foreign->asked && foreign->tables) {
		table_drop_first(foreign);
		*rec = (struct record){ 0 };
		r = debezium_decode(foreign->dbz, msg, feed->batch, rec, info, err);
	}
	return r == DEBEZIUM_RECORD ? check_size(foreign, msg, rec, err) : r;
}

static int take_message(
	struct foreign *foreign, struct feed *feed, const struct message *msg, struct error *err)
{
	struct debezium_info info;
	struct record rec = { 0 };
	int r = decode(foreign, feed, msg, &rec, &info, err);

	if (r == DEBEZIUM_RECORD)
		return take_record(foreign, feed, msg, &rec, &info, err);
	if (r > 0)
		pass_over(feed, msg);
	return r < 0 ? r : 0;
}

/* behind a held delete: is it the insert of the same row under its new key, with something missing? */
static int take_behind(
	struct foreign *foreign, struct feed *feed, const struct message *msg, struct error *err)
{
	struct debezium_info info, old_info;
	struct record rec = { 0 }, old = { 0 };
	int r;

	if (!msg->value)
		return 0; /* the delete's tombstone */
	r = message_header(msg, OLD_KEY) ? decode(foreign, feed, msg, &rec, &info, err) : 0;
	if (r == DEBEZIUM_RECORD && rec.op == RECORD_INSERT && (rec.flags & RECORD_TOAST)) {
		r = decode(foreign, feed, &feed->held->msg, &old, &old_info, err);
		if (r < 0)
			return r;
		rec.op = RECORD_UPDATE;
		rec.before = old.before;
		rec.flags |= old.flags | RECORD_KEY_CHANGED;
		r = take_record(foreign, feed, msg, &rec, &info, err);
	} else {
		r = r < 0 ? r : take_message(foreign, feed, &feed->held->msg, err);
		r = r < 0 ? r : take_message(foreign, feed, msg, err);
	}
	if (r == 0)
		feed_hold(feed, NULL);
	return r;
}

static int take_or_hold(
	struct foreign *foreign, struct feed *feed, const struct message *msg, struct error *err)
{
	bool single = false;

	if (feed->held)
		return take_behind(foreign, feed, msg, err);
	if (msg->value && message_header(msg, NEW_KEY) && is_single(foreign, feed, &single, err) < 0)
		return -1;
	if (!single)
		return take_message(foreign, feed, msg, err);
	feed_hold(feed, msg);
	return 0;
}

int foreign_take(struct foreign *foreign, const struct fill *fill, struct feed *feed,
	const struct message *msg, struct error *err)
{
	fill_open(fill, feed);
	if (take_or_hold(foreign, feed, msg, err) < 0)
		return feed_where(feed, err);
	feed->next = msg->offset + 1;
	return 0;
}

uint32_t foreign_topics(const struct config_kafka *cfg)
{
	return cfg->topics.n ? cfg->topics.n : 1;
}

/* entry i as it was given */
static void topic_entry(const struct config_kafka *cfg, uint32_t i, char name[2 * TOPIC_MAX])
{
	if (cfg->topics.n)
		snprintf(name, 2 * TOPIC_MAX, "%s", cfg->topics.items[i]);
	else
		snprintf(name, 2 * TOPIC_MAX, "%s.*.*", cfg->prefix);
}

void foreign_topic(const struct config_kafka *cfg, uint32_t i, char *out, size_t size)
{
	char name[2 * TOPIC_MAX];
	size_t n = 0;

	topic_entry(cfg, i, name);
	if (!strpbrk(name, "*?")) {
		snprintf(out, size, "%s", name);
		return;
	}
	out[n++] = '^';
	for (const char *p = name; *p && n + 8 < size; p++) {
		const char *as = *p == '*' ? "[^.]*" : *p == '?' ? "[^.]" : *p == '.' ? "\\." : NULL;

		if (as)
			n += (size_t)snprintf(out + n, size - n, "%s", as);
		else
			out[n++] = *p;
	}
	snprintf(out + n, size - n, "$");
}

/* the last * is remembered; neither it nor ? stands for a dot */
static bool matches(const char *pattern, const char *name)
{
	const char *star = NULL, *retry = NULL;

	while (*name) {
		if (*pattern == '*') {
			star = pattern++;
			retry = name;
		} else if (*pattern == *name || (*pattern == '?' && *name != '.')) {
			pattern++;
			name++;
		} else if (star && *retry != '.') {
			pattern = star + 1;
			name = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool foreign_matches(const struct config_kafka *cfg, const char *topic)
{
	char name[2 * TOPIC_MAX];

	for (uint32_t i = 0; i < foreign_topics(cfg); i++) {
		topic_entry(cfg, i, name);
		if (matches(name, topic))
			return true;
	}
	return false;
}
