/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Records that are no rows: begin and end of transactions as Debezium's transaction topic has them, its truncates and
 * logical messages, and marks of our own. json.h lists their forms.
 */

#include "json_envelope.h"

static void put_member(const char *name, int64_t v, struct buf *out)
{
	buf_puts(out, name);
	json_i64(v, out);
}

static void put_unsigned(const char *name, uint64_t v, struct buf *out)
{
	buf_puts(out, name);
	json_u64(v, out);
}

static int64_t ms_of(struct wall t)
{
	return t.us / 1000 - (t.us % 1000 < 0);
}

static void put_boundary(struct json_writer *writer, const struct record *rec, struct buf *out)
{
	bool end = rec->op == RECORD_END;
	uint64_t xid = end ? rec->end->xid : rec->begin->xid;
	struct wall at = end ? rec->end->commit_time : rec->begin->commit_time;

	buf_put(out, writer->transaction_head.data, writer->transaction_head.len);
	buf_puts(out, end ? "{\"status\":\"END\",\"id\":\"" : "{\"status\":\"BEGIN\",\"id\":\"");
	json_u64(xid, out);
	put_unsigned(":", rec->pos.major, out);
	if (end) {
		put_unsigned("\",\"event_count\":", rec->end->n_records, out);
		buf_puts(out, ",\"data_collections\":");
		json_put_collections(writer, rec->end->n_records, out);
	} else {
		buf_puts(out, "\",\"event_count\":null,\"data_collections\":null");
		json_begin_transaction(&writer->tx, rec->pos);
	}
	put_member(",\"ts_ms\":", ms_of(at), out);
	put_member(",\"commit_us\":", at.us, out);
	put_unsigned(",\"xid\":", xid, out);
	buf_putc(out, '}');
	if (writer->transaction_head.len)
		buf_putc(out, '}');
}

static void put_heartbeat(const struct record_heartbeat *heartbeat, struct buf *out)
{
	put_member("{\"ts_ms\":", ms_of(heartbeat->at), out);
	put_member(",\"at_us\":", heartbeat->at.us, out);
	put_unsigned(",\"head\":", heartbeat->head, out);
	put_member(",\"clear_us\":", heartbeat->clear.us, out);
	buf_putc(out, '}');
}

static void put_chunk(const struct record_chunk *chunk, struct buf *out)
{
	buf_puts(out, "{\"mark\":\"");
	buf_putc(out, (char)chunk->mark);
	put_unsigned("\",\"no\":", chunk->no, out);
	put_unsigned(",\"attempt\":", chunk->attempt, out);
	put_unsigned(",\"rows\":", chunk->rows, out);
	put_unsigned(",\"start\":", chunk->start, out);
	buf_puts(out, ",\"content\":");
	if (chunk->content)
		json_base64(chunk->content, chunk->content_len, out);
	else
		buf_puts(out, "null");
	buf_putc(out, '}');
}

static void put_truncate(struct json_writer *writer, const struct record *rec,
	const struct codec_transaction *tx, struct codec_output *ret)
{
	const struct record_truncate *truncate = rec->truncate;
	struct json_table *table = json_table(writer, truncate->relations[0]);
	struct buf *out = ret->out;

	ret->value.at = out->len;
	buf_put(out, table->texts.data + table->value_head.at, table->value_head.len);
	buf_puts(out, "{\"before\":null,\"after\":null,");
	json_put_context(writer, table, rec, tx, out);
	buf_puts(out, ",\"op\":\"t\"");
	json_put_end(writer, tx, out);
	buf_puts(out, table->value_head.len ? "}}" : "}");
	ret->value.len = out->len - ret->value.at;

	ret->exact = (struct codec_slice){ .at = out->len };
	buf_puts(out, "{\"truncate\":{\"relations\":");
	for (uint32_t i = 0; i < truncate->n_relations; i++) {
		buf_putc(out, i ? ',' : '[');
		relation_write_json(truncate->relations[i], out);
	}
	buf_puts(out, truncate->cascade ? "],\"cascade\":true" : "],\"cascade\":false");
	buf_puts(out, truncate->restart_identity ? ",\"restart_identity\":true}}"
						 : ",\"restart_identity\":false}}");
	ret->exact.len = out->len - ret->exact.at;
}

static int put_message(struct json_writer *writer, const struct record *rec,
	const struct codec_transaction *tx, struct codec_output *ret, struct error *err)
{
	const struct record_message *message = rec->message;
	struct json_text prefix = { (const uint8_t *)message->prefix, strlen(message->prefix) };
	struct codec_transaction now = *tx;
	struct buf *out = ret->out;
	bool wrapped = writer->message_head.len;

	ret->key = (struct codec_slice){ .at = out->len };
	buf_put(out, writer->message_key_head.data, writer->message_key_head.len);
	buf_puts(out, "{\"prefix\":");
	if (json_string(prefix, out) != JSON_EXACT)
		return error_set(
			err, ERROR_DATA, "JSON-UTF8", "a logical message's prefix is not valid UTF-8");
	buf_puts(out, wrapped ? "}}" : "}");
	ret->key.len = out->len - ret->key.at;

	ret->value.at = out->len;
	buf_put(out, writer->message_head.data, writer->message_head.len);
	if (!now.now.us)
		now.now = now.commit_time;
	put_member("{\"op\":\"m\",\"ts_ms\":", ms_of(now.now), out);
	buf_putc(out, ',');
	json_put_context(writer, NULL, rec, tx, out);
	buf_puts(out, ",\"message\":{\"prefix\":");
	json_string(prefix, out);
	buf_puts(out, ",\"content\":");
	json_base64(message->content, message->content_len, out);
	buf_puts(out, wrapped ? "}}}" : "}}");
	ret->value.len = out->len - ret->value.at;
	return 0;
}

int json_put_mark(struct json_writer *writer, const struct record *rec, const struct codec_transaction *tx,
	struct codec_output *ret, struct error *err)
{
	struct buf *out = ret->out;

	ret->value = (struct codec_slice){ .at = out->len };
	switch ((enum record_op)rec->op) {
	case RECORD_BEGIN:
	case RECORD_END:
		put_boundary(writer, rec, out);
		break;
	case RECORD_HEARTBEAT:
		put_heartbeat(rec->heartbeat, out);
		break;
	case RECORD_CHUNK:
		put_chunk(rec->chunk, out);
		break;
	case RECORD_SCHEMA:
		ret->key = (struct codec_slice){ .at = out->len };
		json_relation_key(rec->rel, out);
		ret->key.len = out->len - ret->key.at;
		ret->value.at = out->len;
		relation_write_json(rec->rel, out);
		break;
	case RECORD_TRUNCATE:
		if (!rec->truncate->n_relations)
			return error_set(err, ERROR_BUG, "JSON-TRUNCATE", "a truncate of no table");
		put_truncate(writer, rec, tx, ret);
		return 0;
	case RECORD_MESSAGE:
		return put_message(writer, rec, tx, ret, err);
	case RECORD_ABORT:
	case RECORD_FENCE:
		ret->value.null = true;
		break;
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
	case RECORD_READ:
		return error_set(err, ERROR_BUG, "JSON-MARK", "a row is no mark");
	}
	ret->value.len = out->len - ret->value.at;
	return 0;
}
