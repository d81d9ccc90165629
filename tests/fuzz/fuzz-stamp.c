/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The fuzzer of stamp_read(). An input is a row of headers: u8 number of a name, u8 length, the value. What is accepted is
 * written and read again, and is the same.
 */

#include "fuzz.h"

static const char *const names[] = { "sluice.op", "sluice.reign", "sluice.source", "sluice.position",
	"sluice.prev", "sluice.resume", "sluice.id", "sluice.relation", "sluice.flags", "sluice.options",
	"sluice.exact", "sluice.", "sluice", "traceparent" };

static void check_same(const struct stamp *a, const struct stamp *b)
{
	FUZZ_CHECK(a->op == b->op && a->flags == b->flags && a->has_pos == b->has_pos);
	FUZZ_CHECK(!position_compare(a->pos, b->pos) && !position_compare(a->prev, b->prev));
	FUZZ_CHECK(a->resume.len == b->resume.len);
	FUZZ_CHECK(!a->resume.len || !memcmp(a->resume.data, b->resume.data, a->resume.len));
	FUZZ_CHECK(reign_equal(a->reign, b->reign) && a->fingerprint == b->fingerprint);
	FUZZ_CHECK(!strcmp(a->identity, b->identity) && !strcmp(a->options, b->options));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message msg = { 0 }, written = { 0 };
	struct arena arena = ARENA_INIT(NULL);
	struct error err = ERROR_INIT;
	struct buf text = BUF_INIT;
	struct stamp stamp, back;
	uint8_t *values[MESSAGE_HEADERS];

	while (size >= 2 && msg.n_headers < MESSAGE_HEADERS && data[1] <= size - 2) {
		uint8_t *value = malloc(data[1] ? data[1] : 1);

		FUZZ_CHECK(value);
		memcpy(value, data + 2, data[1]);
		values[msg.n_headers] = value;
		msg.headers[msg.n_headers++] =
			(struct message_header){ names[data[0] % (sizeof(names) / sizeof(*names))], value,
				data[1] };
		size -= 2 + (size_t)data[1];
		data += 2 + (size_t)data[1];
	}
	if (stamp_read(&msg, &arena, &stamp, &err) == 0) {
		stamp_write(&stamp, &text, &written);
		FUZZ_CHECK(stamp_read(&written, &arena, &back, &err) == 0);
		check_same(&stamp, &back);
	}
	for (uint32_t i = 0; i < msg.n_headers; i++)
		free(values[i]);
	arena_reset(&arena);
	buf_fini(&text);
	return 0;
}
