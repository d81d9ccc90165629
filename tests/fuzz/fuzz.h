/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the fuzzers of the decoders share. Whatever a decoder accepts has to be whole: it is written again, read again, and
 * written once more, and the two texts must be the same; on the way every byte of every value is read.
 *
 * An input of the codecs:
 *   u8 op | u8 flags | u8 relation, one of a few | u16 length of the header sluice.exact, little-endian, 0 = none |
 *   that header | the message's value
 * Of the binary codec the value comes without its checksum, which no fuzzer would ever find.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/codec.h>

#define FUZZ_HEAD_BYTES 5u
#define FUZZ_CHECK(condition)                                                                                \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                      \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** fuzz_relation() - a relation with a key and columns of the type number i, modulo how many there are; and of its arrays. */
struct relation *fuzz_relation(unsigned i);
/** fuzz_codec() - decodes one input; new_codec makes one for this input alone. */
void fuzz_codec(const uint8_t *data, size_t size, struct codec *(*new_codec)(void));
