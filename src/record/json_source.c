/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Where a record comes from: the source block and the transaction block. Most of both is the same for all rows of a
 * transaction, so their texts are made once and copied.
 *
 * total_order is the record's ordinal. data_collection_order counts the records of a table as they are written, as long
 * as the whole transaction comes this way; when its begin did not (a reader went on in the middle of it, or went back),
 * the ordinal stands there: it is never below the count, so the order within a table holds either way.
 */

#include "json_envelope.h"

static int64_t ms_of(int64_t us)
{
	return us / 1000 - (us % 1000 < 0);
}

/* ,"ts_us":…,"ts_ns":… */
static void put_fine_times(int64_t us, struct buf *out)
{
	int64_t ns;

	buf_puts(out, ",\"ts_us\":");
	json_i64(us, out);
	buf_puts(out, ",\"ts_ns\":");
	if (__builtin_mul_overflow(us, 1000, &ns))
		buf_puts(out, "null");
	else
		json_i64(ns, out);
}

/* a logical message outside transactions has no transaction, nor has a row of the snapshot */
static uint8_t class_of(const struct record *rec)
{
	if (rec->op == RECORD_MESSAGE && !rec->message->transactional)
		return RECORD_MESSAGE;
	return rec->op == RECORD_READ ? RECORD_READ : RECORD_INSERT;
}

static void make_texts(
	struct json_writer *writer, uint64_t major, const struct codec_transaction *tx, uint8_t class)
{
	struct buf *out = &writer->before_table;

	buf_clear(out);
	buf_put(out, writer->source_begin.data, writer->source_begin.len);
	json_i64(ms_of(tx->commit_time.us), out);
	buf_puts(out, class == RECORD_READ ? ",\"snapshot\":\"true\"" : ",\"snapshot\":\"false\"");
	buf_put(out, writer->source_middle.data, writer->source_middle.len);
	if (major) {
		buf_puts(out, "\"[\\\"");
		json_u64(major, out);
		buf_puts(out, "\\\",\\\"");
		json_u64(major, out);
		buf_puts(out, "\\\"]\"");
	} else {
		buf_puts(out, "null");
	}
	put_fine_times(tx->commit_time.us, out);
	buf_puts(out, ",\"schema\":");

	out = &writer->behind_table;
	buf_clear(out);
	buf_puts(out, ",\"txId\":");
	if (class == RECORD_INSERT || (class == RECORD_READ && tx->xid))
		json_u64(tx->xid, out);
	else
		buf_puts(out, "null");
	buf_puts(out, ",\"lsn\":");
	if (major)
		json_i64((int64_t)major, out);
	else
		buf_puts(out, "null");
	buf_puts(out, ",\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":");
	if (class == RECORD_INSERT) {
		buf_puts(out, "{\"id\":\"");
		json_u64(tx->xid, out);
		buf_putc(out, ':');
		json_u64(major, out);
		buf_puts(out, "\",\"total_order\":");
	} else {
		buf_puts(out, "null");
	}
	writer->texts_tx = *tx;
	writer->texts_major = major;
	writer->texts_op = class;
}

void json_begin_transaction(struct json_transaction *tx, struct position pos)
{
	tx->number++;
	tx->last = (struct position){ pos.major, 0 };
	tx->counting = true;
	tx->messages = 0;
	tx->n_tables = 0;
}

/* another description of the same table: it was altered within the transaction */
static struct json_table **same_table(struct json_transaction *tx, const struct relation *rel)
{
	for (uint32_t i = 0; i < tx->n_tables; i++) {
		const struct relation *other = tx->tables[i]->rel;

		if (!strcmp(other->schema, rel->schema) && !strcmp(other->name, rel->name))
			return &tx->tables[i];
	}
	return NULL;
}

static void touch(struct json_transaction *tx, struct json_table *table)
{
	struct json_table **other;

	if (table->transaction == tx->number)
		return;
	table->transaction = tx->number;
	table->count = 0;
	other = same_table(tx, table->rel);
	if (other) {
		table->count = (*other)->count;
		*other = table;
	} else {
		tx->tables[tx->n_tables++] = table;
	}
}

/* the record's order in its table; counts it */
static uint64_t order_of(struct json_transaction *tx, struct json_table *table, struct position pos)
{
	if (pos.major != tx->last.major || pos.minor <= tx->last.minor) {
		/* its begin went another way, or it is told again from somewhere in the middle */
		if (tx->counting || pos.major != tx->last.major)
			json_begin_transaction(tx, pos);
		tx->counting = false;
	}
	tx->last = pos;
	if (!tx->counting)
		return pos.minor;
	if (!table)
		return ++tx->messages;
	touch(tx, table);
	return ++table->count;
}

void json_put_context(struct json_writer *writer, struct json_table *table, const struct record *rec,
	const struct codec_transaction *tx, struct buf *out)
{
	uint8_t class = class_of(rec);

	if (writer->texts_op != class || writer->texts_major != rec->pos.major ||
		writer->texts_tx.xid != tx->xid || writer->texts_tx.commit_time.us != tx->commit_time.us)
		make_texts(writer, rec->pos.major, tx, class);
	buf_put(out, writer->before_table.data, writer->before_table.len);
	if (table)
		buf_put(out, table->texts.data + table->source.at, table->source.len);
	else
		buf_puts(out, "\"\",\"table\":\"\"");
	buf_put(out, writer->behind_table.data, writer->behind_table.len);
	if (class != RECORD_INSERT)
		return;
	json_u64(rec->pos.minor, out);
	buf_puts(out, ",\"data_collection_order\":");
	json_u64(order_of(&writer->tx, table, rec->pos), out);
	buf_putc(out, '}');
}

void json_put_end(struct json_writer *writer, const struct codec_transaction *tx, struct buf *out)
{
	int64_t us = tx->now.us ? tx->now.us : tx->commit_time.us;

	if (!writer->end.len || writer->texts_now_us != us) {
		buf_clear(&writer->end);
		buf_puts(&writer->end, ",\"ts_ms\":");
		json_i64(ms_of(us), &writer->end);
		put_fine_times(us, &writer->end);
		writer->texts_now_us = us;
	}
	buf_put(out, writer->end.data, writer->end.len);
}

void json_put_collections(const struct json_writer *writer, uint64_t n_records, struct buf *out)
{
	const struct json_transaction *tx = &writer->tx;
	uint64_t sum = tx->messages;
	const char *comma = "[";

	for (uint32_t i = 0; i < tx->n_tables; i++)
		sum += tx->tables[i]->count;
	if (!tx->counting || sum != n_records) {
		buf_puts(out, "null");
		return;
	}
	for (uint32_t i = 0; i < tx->n_tables; i++) {
		const struct relation *rel = tx->tables[i]->rel;

		buf_printf(out, "%s{\"data_collection\":", comma);
		json_name(rel, NULL, "", out);
		buf_puts(out, ",\"event_count\":");
		json_u64(tx->tables[i]->count, out);
		buf_putc(out, '}');
		comma = ",";
	}
	if (tx->messages) {
		buf_printf(
			out, "%s{\"data_collection\":\"LOGICAL_DECODING_MESSAGE\",\"event_count\":", comma);
		json_u64(tx->messages, out);
		buf_putc(out, '}');
		comma = ",";
	}
	buf_puts(out, *comma == '[' ? "[]" : "]");
}
