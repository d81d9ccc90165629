/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The text form: stable, ASCII only, one line per message and one more, indented, per column. Text is quoted,
 * and whatever is not printable ASCII is \xNN in it; binary values are hex. The numbers and names are what
 * the wire holds, with nothing translated, so that two texts are equal exactly where the decoded messages
 * are.
 */

#include <pgoutput.h>

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

struct text { /* goes to file, or to buf where file is NULL */
	FILE *file;
	char *buf;
	size_t size, len; /* len: of the whole text, also of what did not fit */
};

static void text_bytes(struct text *text, const char *data, size_t len)
{
	if (text->file)
		fwrite(data, 1, len, text->file);
	else if (text->len < text->size) {
		size_t room = text->size - text->len;
		memcpy(text->buf + text->len, data, len < room ? len : room);
	}
	text->len += len;
}

__attribute__((format(printf, 2, 3))) static void text_printf(struct text *text, const char *format, ...)
{
	char line[256]; /* every caller formats a few numbers and names of enums */
	va_list args;

	va_start(args, format);
	int n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n > 0)
		text_bytes(text, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void text_hex(struct text *text, const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++)
		text_bytes(text, (const char[]){ digits[data[i] >> 4], digits[data[i] & 15] }, 2);
}

static void text_quoted(struct text *text, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t start = 0; /* of the run of plain characters that is not yet written */

	text_bytes(text, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = bytes[i];
		if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
			continue;
		text_bytes(text, (const char *)bytes + start, i - start);
		start = i + 1;
		if (c == '"' || c == '\\')
			text_bytes(text, (const char[]){ '\\', (char)c }, 2);
		else
			text_printf(text, "\\x%02x", c);
	}
	text_bytes(text, (const char *)bytes + start, len - start);
	text_bytes(text, "\"", 1);
}

static void text_string(struct text *text, const char *name, const struct pgoutput_string *string)
{
	text_printf(text, " %s=", name);
	text_quoted(text, string->data, string->len);
}

static void text_lsn(struct text *text, const char *name, uint64_t lsn)
{
	text_printf(text, " %s=%" PRIX32 "/%" PRIX32, name, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

static void text_tuple(struct text *text, const struct pgoutput_tuple *tuple)
{
	const char *tuple_kind = pgoutput_tuple_kind_to_string((enum pgoutput_tuple_kind)tuple->kind);
	struct pgoutput_cursor cur = pgoutput_tuple_begin(tuple);

	for (struct pgoutput_column column; pgoutput_tuple_next(&cur, &column);) {
		enum pgoutput_column_kind kind = (enum pgoutput_column_kind)column.kind;
		text_printf(text, "\n  %s %s", tuple_kind, pgoutput_column_kind_to_string(kind));
		if (kind == PGOUTPUT_COLUMN_TEXT) {
			text_bytes(text, " ", 1);
			text_quoted(text, column.data, column.len);
		} else if (kind == PGOUTPUT_COLUMN_BINARY) {
			text_bytes(text, " ", 1);
			text_hex(text, column.data, column.len);
		}
	}
}

static void text_row(struct text *text, const struct pgoutput_row *row)
{
	text_printf(text, " relation=%" PRIu32, row->relation);
	if (row->old.kind != PGOUTPUT_TUPLE_NONE)
		text_printf(text, " old=%c/%u", row->old.kind, row->old.n_columns);
	if (row->new.kind != PGOUTPUT_TUPLE_NONE)
		text_printf(text, " new=%c/%u", row->new.kind, row->new.n_columns);
	text_tuple(text, &row->old);
	text_tuple(text, &row->new);
}

static void text_relation(struct text *text, const struct pgoutput_relation *relation)
{
	struct pgoutput_cursor cur = pgoutput_relation_begin(relation);

	text_printf(text, " id=%" PRIu32, relation->id);
	text_string(text, "schema", &relation->schema);
	text_string(text, "name", &relation->name);
	text_printf(text, " identity=%s columns=%u",
		pgoutput_identity_to_string((enum pgoutput_identity)relation->identity), relation->n_columns);
	for (struct pgoutput_attribute attribute; pgoutput_relation_next(&cur, &attribute);) {
		text_bytes(text, "\n  column", 9);
		text_string(text, "name", &attribute.name);
		text_printf(text, " type=%" PRIu32 " modifier=%" PRId32 "%s", attribute.type_oid,
			attribute.type_modifier, attribute.key ? " key" : "");
	}
}

static void text_truncate(struct text *text, const struct pgoutput_truncate *truncate)
{
	text_printf(text, " relations=%" PRIu32 "%s%s", truncate->n_relations,
		truncate->cascade ? " cascade" : "", truncate->restart_identity ? " restart-identity" : "");
	for (uint32_t i = 0; i < truncate->n_relations; i++)
		text_printf(text, "\n  relation %" PRIu32, pgoutput_truncate_relation(truncate, i));
}

static void text_prepare(struct text *text, const struct pgoutput_prepare *prepare)
{
	text_lsn(text, "prepare_lsn", prepare->prepare_lsn);
	text_lsn(text, "end_lsn", prepare->end_lsn);
	text_printf(
		text, " prepare_time_us=%" PRId64 " xid=%" PRIu32, prepare->prepare_time_us, prepare->xid);
	text_string(text, "gid", &prepare->gid);
}

static void text_commit_prepared(struct text *text, const struct pgoutput_commit_prepared *commit)
{
	text_lsn(text, "commit_lsn", commit->commit_lsn);
	text_lsn(text, "end_lsn", commit->end_lsn);
	text_printf(text, " commit_time_us=%" PRId64 " xid=%" PRIu32, commit->commit_time_us, commit->xid);
	text_string(text, "gid", &commit->gid);
}

static void text_rollback_prepared(struct text *text, const struct pgoutput_rollback_prepared *rollback)
{
	text_lsn(text, "prepare_end_lsn", rollback->prepare_end_lsn);
	text_lsn(text, "rollback_end_lsn", rollback->rollback_end_lsn);
	text_printf(text, " prepare_time_us=%" PRId64 " rollback_time_us=%" PRId64 " xid=%" PRIu32,
		rollback->prepare_time_us, rollback->rollback_time_us, rollback->xid);
	text_string(text, "gid", &rollback->gid);
}

static void text_stream_abort(struct text *text, const struct pgoutput_stream_abort *abort)
{
	text_printf(text, " xid=%" PRIu32 " subxid=%" PRIu32, abort->xid, abort->subxid);
	if (abort->has_info) {
		text_lsn(text, "abort_lsn", abort->abort_lsn);
		text_printf(text, " abort_time_us=%" PRId64, abort->abort_time_us);
	}
}

static void text_logical_message(struct text *text, const struct pgoutput_logical_message *message)
{
	text_printf(text, " %s", message->transactional ? "transactional" : "immediate");
	text_lsn(text, "lsn", message->lsn);
	text_string(text, "prefix", &message->prefix);
	text_bytes(text, " content=", 9);
	text_quoted(text, message->content, message->len);
}

static void text_body(struct text *text, const struct pgoutput_message *msg)
{
	switch (msg->kind) {
	case PGOUTPUT_BEGIN:
		text_lsn(text, "final_lsn", msg->begin.final_lsn);
		text_printf(text, " commit_time_us=%" PRId64 " xid=%" PRIu32, msg->begin.commit_time_us,
			msg->begin.xid);
		return;
	case PGOUTPUT_COMMIT:
		text_lsn(text, "commit_lsn", msg->commit.commit_lsn);
		text_lsn(text, "end_lsn", msg->commit.end_lsn);
		text_printf(text, " commit_time_us=%" PRId64, msg->commit.commit_time_us);
		return;
	case PGOUTPUT_ORIGIN:
		text_lsn(text, "lsn", msg->origin.lsn);
		text_string(text, "name", &msg->origin.name);
		return;
	case PGOUTPUT_RELATION:
		text_relation(text, &msg->relation);
		return;
	case PGOUTPUT_TYPE:
		text_printf(text, " id=%" PRIu32, msg->type.id);
		text_string(text, "schema", &msg->type.schema);
		text_string(text, "name", &msg->type.name);
		return;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		text_row(text, &msg->row);
		return;
	case PGOUTPUT_TRUNCATE:
		text_truncate(text, &msg->truncate);
		return;
	case PGOUTPUT_MESSAGE:
		text_logical_message(text, &msg->message);
		return;
	case PGOUTPUT_STREAM_START:
		text_printf(text, " xid=%" PRIu32 "%s", msg->stream_start.xid,
			msg->stream_start.first_segment ? " first" : "");
		return;
	case PGOUTPUT_STREAM_STOP:
		return;
	case PGOUTPUT_STREAM_COMMIT:
		text_printf(text, " xid=%" PRIu32, msg->stream_commit.xid);
		text_lsn(text, "commit_lsn", msg->stream_commit.commit_lsn);
		text_lsn(text, "end_lsn", msg->stream_commit.end_lsn);
		text_printf(text, " commit_time_us=%" PRId64, msg->stream_commit.commit_time_us);
		return;
	case PGOUTPUT_STREAM_ABORT:
		text_stream_abort(text, &msg->stream_abort);
		return;
	case PGOUTPUT_BEGIN_PREPARE:
	case PGOUTPUT_PREPARE:
	case PGOUTPUT_STREAM_PREPARE:
		text_prepare(text, &msg->prepare);
		return;
	case PGOUTPUT_COMMIT_PREPARED:
		text_commit_prepared(text, &msg->commit_prepared);
		return;
	case PGOUTPUT_ROLLBACK_PREPARED:
		text_rollback_prepared(text, &msg->rollback_prepared);
		return;
	}
}

static void text_message(struct text *text, const struct pgoutput_message *msg)
{
	text_printf(text, "%s", pgoutput_kind_to_string(msg->kind));
	if (msg->stream_xid != 0)
		text_printf(text, " stream_xid=%" PRIu32, msg->stream_xid);
	text_body(text, msg);
	text_bytes(text, "\n", 1);
}

void pgoutput_message_print(const struct pgoutput_message *msg, FILE *file)
{
	struct text text = { .file = file };
	text_message(&text, msg);
}

size_t pgoutput_message_format(const struct pgoutput_message *msg, char *buf, size_t size)
{
	struct text text = { .buf = buf, .size = size };
	text_message(&text, msg);
	if (size > 0)
		buf[text.len < size ? text.len : size - 1] = '\0';
	return text.len;
}
