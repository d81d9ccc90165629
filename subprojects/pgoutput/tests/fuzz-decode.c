/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The fuzzer's target. The input is a capture of any bytes. Each message is decoded from an allocation of
 * exactly its length, so that the address sanitizer sees the first byte read beyond it, and then:
 *
 * 1. accepted: everything in it points into the input, the iterators consume exactly the bytes that belong to
 *    them, and no byte at the end could have been left out;
 * 2. refused: the message given, and the stream state, are as they were, and the offset lies within
 *    the input;
 * 3. both printed forms agree, in a buffer that is large enough, too small, and none.
 *
 * Each message is tried as well by a decoder in the other stream state, so that the fuzzer reaches both
 * without having to find a stream start first.
 */

#include "fuzz-decode.h"

#include "capture.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                      \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

struct input {
	const uint8_t *data, *end;
};

static void check_bytes(const struct input *in, const void *data, size_t len)
{
	const uint8_t *at = data;
	CHECK(at >= in->data && at <= in->end && (size_t)(in->end - at) >= len);
}

static void check_string(const struct input *in, const struct pgoutput_string *string)
{
	check_bytes(in, string->data, (size_t)string->len + 1);
	CHECK(strlen(string->data) == string->len);
}

static void check_tuple(const struct input *in, const struct pgoutput_tuple *tuple)
{
	struct pgoutput_cursor cur = pgoutput_tuple_begin(tuple);
	uint32_t n = 0;

	if (tuple->kind == PGOUTPUT_TUPLE_NONE) {
		CHECK(!tuple->data && tuple->len == 0 && tuple->n_columns == 0);
		return;
	}
	CHECK(tuple->n_columns <= PGOUTPUT_MAX_COLUMNS);
	check_bytes(in, tuple->data, tuple->len);
	for (struct pgoutput_column column; pgoutput_tuple_next(&cur, &column); n++) {
		CHECK(cur.at <= tuple->data + tuple->len);
		if (column.kind == PGOUTPUT_COLUMN_TEXT || column.kind == PGOUTPUT_COLUMN_BINARY)
			check_bytes(in, column.data, column.len);
		else
			CHECK(!column.data && column.len == 0);
	}
	CHECK(n == tuple->n_columns && cur.at == tuple->data + tuple->len);
}

static void check_relation(const struct input *in, const struct pgoutput_relation *relation)
{
	struct pgoutput_cursor cur = pgoutput_relation_begin(relation);
	uint32_t n = 0;

	check_string(in, &relation->schema);
	check_string(in, &relation->name);
	check_bytes(in, relation->data, relation->len);
	for (struct pgoutput_attribute attribute; pgoutput_relation_next(&cur, &attribute); n++)
		check_string(in, &attribute.name);
	CHECK(n == relation->n_columns && cur.at == relation->data + relation->len);
}

static void check_truncate(const struct input *in, const struct pgoutput_truncate *truncate)
{
	uint32_t sum = 0;
	check_bytes(in, truncate->data, (size_t)truncate->n_relations * 4);
	for (uint32_t i = 0; i < truncate->n_relations; i++)
		sum += pgoutput_truncate_relation(truncate, i); /* read each: the sanitizers judge */
	CHECK(truncate->n_relations > 0 || sum == 0);
}

static void check_message(const struct input *in, const struct pgoutput_message *msg)
{
	CHECK((uint8_t)msg->kind == in->data[0]);
	switch (msg->kind) {
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		CHECK((msg->kind == PGOUTPUT_DELETE) == (msg->row.new.kind == PGOUTPUT_TUPLE_NONE));
		CHECK(msg->kind != PGOUTPUT_INSERT || msg->row.old.kind == PGOUTPUT_TUPLE_NONE);
		CHECK(msg->kind != PGOUTPUT_DELETE || msg->row.old.kind != PGOUTPUT_TUPLE_NONE);
		check_tuple(in, &msg->row.old);
		check_tuple(in, &msg->row.new);
		return;
	case PGOUTPUT_RELATION:
		check_relation(in, &msg->relation);
		return;
	case PGOUTPUT_TYPE:
		check_string(in, &msg->type.schema);
		check_string(in, &msg->type.name);
		return;
	case PGOUTPUT_TRUNCATE:
		check_truncate(in, &msg->truncate);
		return;
	case PGOUTPUT_ORIGIN:
		check_string(in, &msg->origin.name);
		return;
	case PGOUTPUT_MESSAGE:
		check_string(in, &msg->message.prefix);
		check_bytes(in, msg->message.content, msg->message.len);
		return;
	case PGOUTPUT_BEGIN_PREPARE:
	case PGOUTPUT_PREPARE:
	case PGOUTPUT_STREAM_PREPARE:
		check_string(in, &msg->prepare.gid);
		return;
	case PGOUTPUT_COMMIT_PREPARED:
		check_string(in, &msg->commit_prepared.gid);
		return;
	case PGOUTPUT_ROLLBACK_PREPARED:
		check_string(in, &msg->rollback_prepared.gid);
		return;
	case PGOUTPUT_BEGIN:
	case PGOUTPUT_COMMIT:
	case PGOUTPUT_STREAM_START:
	case PGOUTPUT_STREAM_STOP:
	case PGOUTPUT_STREAM_COMMIT:
	case PGOUTPUT_STREAM_ABORT:
		return;
	}
	CHECK(!"a kind that is none");
}

static void check_printing(const struct pgoutput_message *msg)
{
	char few[24], *all = NULL, *printed = NULL;
	size_t printed_len, len = pgoutput_message_format(msg, NULL, 0);

	FILE *file = open_memstream(&printed, &printed_len);
	CHECK(file);
	pgoutput_message_print(msg, file);
	CHECK(fclose(file) == 0 && printed_len == len);

	CHECK((all = malloc(len + 1)));
	CHECK(pgoutput_message_format(msg, all, len + 1) == len && strlen(all) == len);
	CHECK(memcmp(all, printed, len) == 0 && all[len - 1] == '\n');
	CHECK(pgoutput_message_format(msg, few, sizeof(few)) == len);
	CHECK(strlen(few) == (len < sizeof(few) ? len : sizeof(few) - 1) && !memcmp(few, all, strlen(few)));
	free(all);
	free(printed);
}

static void check_decode(struct pgoutput_decoder *d, const uint8_t *data, size_t len)
{
	struct pgoutput_decoder before = *d;
	struct pgoutput_message msg, untouched;
	struct input in = { .data = data, .end = data + len };

	memset(&msg, 0xa5, sizeof(msg));
	memset(&untouched, 0xa5, sizeof(untouched));
	int r = pgoutput_decode(d, data, len, &msg);
	if (r == 0) {
		check_message(&in, &msg);
		check_printing(&msg);
		CHECK(d->in_stream == (msg.kind == PGOUTPUT_STREAM_START ||
					      (before.in_stream && msg.kind != PGOUTPUT_STREAM_STOP)));
		CHECK(pgoutput_decode(&before, data, len - 1, &untouched) < 0);
	} else {
		CHECK(r < 0 && strcmp(pgoutput_error_to_string(r), "unknown") != 0);
		CHECK(memcmp(&msg, &untouched, sizeof(msg)) == 0);
		CHECK(d->in_stream == before.in_stream && d->error_offset <= len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct pgoutput_decoder d;
	size_t pos = 0, message_len;

	if (!capture_decoder(data, len, &d))
		return 0;
	for (const uint8_t *bytes; capture_next(data, len, &pos, &bytes, &message_len);) {
		uint8_t *exact = malloc(message_len ? message_len : 1);
		struct pgoutput_decoder other = d;

		CHECK(exact);
		memcpy(exact, bytes, message_len);
		other.in_stream = !d.in_stream;
		check_decode(&other, exact, message_len);
		check_decode(&d, exact, message_len);
		free(exact);
	}
	return 0;
}
