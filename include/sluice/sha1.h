/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-1 (RFC 3174), for UUIDs of version 5, where nothing depends on its strength. */

#include <stddef.h>
#include <stdint.h>

#define SHA1_BYTES 20

/** sha1() - the digest of data. Thread: any. Blocks: never. */
void sha1(const void *data, size_t len, uint8_t out[SHA1_BYTES]);
/** sha1_plain() - the same without the processor's instructions; for tests. */
void sha1_plain(const void *data, size_t len, uint8_t out[SHA1_BYTES]);
