/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* CRC32C (Castagnoli) as in iSCSI (RFC 3720, appendix B.4), ext4 and Kafka. Thread: any. Blocks: never. */

#include <stddef.h>
#include <stdint.h>

/** crc32c() - the checksum of what `crc` is of (0 = of nothing yet) followed by data; by the processor's instruction where
 * it has one. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/** crc32c_table() - the same without the instruction; for tests. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);
