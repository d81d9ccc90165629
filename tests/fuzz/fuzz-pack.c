/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The fuzzer of unpack_next(). An input is a pack without its checksum, which no fuzzer would ever find. What is accepted is
 * packed and read again, and is the same.
 */

#include <sluice/crc32c.h>
#include <sluice/pack.h>

#include "fuzz.h"

static const struct position before = { 100, 6 };

static void begin(struct unpack *unpack, const struct message *msg, struct position last)
{
	const struct stamp stamp = {
		.op = STAMP_PACK, .prev = before, .pos = last, .identity = "7000/shop", .options = ""
	};
	struct error err = ERROR_INIT;

	FUZZ_CHECK(unpack_begin(unpack, msg, &stamp, &err) == 0);
}

static void check_same(struct unpack *a, struct unpack *b)
{
	struct error err = ERROR_INIT;
	struct message from, to;
	struct stamp x, y;

	FUZZ_CHECK(unpack_next(a, &from, &x, &err) == 1 && unpack_next(b, &to, &y, &err) == 1);
	FUZZ_CHECK(x.op == y.op && x.flags == y.flags && x.fingerprint == y.fingerprint);
	FUZZ_CHECK(!position_compare(x.pos, y.pos) && !position_compare(x.prev, y.prev));
	FUZZ_CHECK(x.resume.len == y.resume.len);
	FUZZ_CHECK(!x.resume.len || !memcmp(x.resume.data, y.resume.data, x.resume.len));
	FUZZ_CHECK(!strcmp(x.options, y.options));
	FUZZ_CHECK(from.value_len == to.value_len && !memcmp(from.value, to.value, from.value_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message msg = { 0 }, written = { 0 }, one;
	struct stamp stamp, its;
	struct pack pack = { 0 };
	struct error err = ERROR_INIT;
	struct unpack unpack, again;
	uint32_t crc = crc32c(0, data, size);
	uint8_t *sealed = malloc(size + sizeof(crc));

	FUZZ_CHECK(sealed);
	memcpy(sealed, data, size);
	memcpy(sealed + size, &crc, sizeof(crc));
	msg.value = sealed;
	msg.value_len = size + sizeof(crc);
	if (size > PACK_HEAD_BYTES && data[0] == PACK_MAGIC && data[1] == PACK_VERSION) {
		begin(&unpack, &msg, before);
		while (unpack_next(&unpack, &one, &its, &err) > 0)
			pack_put(&pack, &its, one.value, one.value_len);
		if (pack.n_records) {
			pack_write(&pack, &stamp, &written);
			begin(&unpack, &msg, before);
			begin(&again, &written, pack.last);
			for (uint32_t i = 0; i < pack.n_records; i++)
				check_same(&unpack, &again);
			FUZZ_CHECK(unpack_next(&again, &one, &its, &err) == 0);
		}
	}
	free(sealed);
	pack_fini(&pack);
	return 0;
}
