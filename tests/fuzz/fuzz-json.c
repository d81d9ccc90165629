/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The fuzzer of the JSON codec's reader; see fuzz.h. */

#include "fuzz.h"

static struct codec *new_codec(void)
{
	return codec_json_new(&(struct codec_json_options){ "0", "p", "d", JSON_SCHEMAS_TOPIC });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_codec(data, size, new_codec);
	return 0;
}
