/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The fuzzer of relation_read_json(): what it accepts is written and read again, and is the same. */

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relation *rel = NULL, *back = NULL;
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct error err = ERROR_INIT;

	if (relation_read_json(data, size, &rel, &err) < 0) {
		FUZZ_CHECK(err.class == ERROR_DATA && !rel);
		return 0;
	}
	relation_write_json(rel, &first);
	FUZZ_CHECK(relation_read_json(first.data, first.len, &back, &err) == 0);
	FUZZ_CHECK(back->fingerprint == rel->fingerprint);
	relation_write_json(back, &second);
	FUZZ_CHECK(first.len == second.len && !memcmp(first.data, second.data, first.len));
	relation_unref(rel);
	relation_unref(back);
	buf_fini(&first);
	buf_fini(&second);
	return 0;
}
