/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The fuzzer of the binary codec's reader; see fuzz.h. Each input is tried as it is, and with a checksum that fits. */

#include <sluice/crc32c.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *sealed;
	uint32_t crc;
	size_t at;

	if (size < FUZZ_HEAD_BYTES)
		return 0;
	fuzz_codec(data, size, codec_binary_new);
	sealed = malloc(size + sizeof(crc));
	FUZZ_CHECK(sealed);
	memcpy(sealed, data, size);
	at = FUZZ_HEAD_BYTES + ((size_t)data[3] | (size_t)data[4] << 8);
	if (at <= size) {
		crc = crc32c(0, data + at, size - at);
		memcpy(sealed + size, &crc, sizeof(crc));
		fuzz_codec(sealed, size + sizeof(crc), codec_binary_new);
	}
	free(sealed);
	return 0;
}
