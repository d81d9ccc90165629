/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* MurmurHash2 with 32 bits as Kafka's Java client uses it to spread keys (Utils.murmur2). Thread: any. Blocks: never. */

#include <stddef.h>
#include <stdint.h>

/** murmur2() - of len bytes, seed 0x9747b28c. */
uint32_t murmur2(const void *data, size_t len);
/** murmur2_partition() - 0 ≤ the partition of n that the Java client's default partitioner gives a key. n: at least 1. */
uint32_t murmur2_partition(const void *key, size_t len, uint32_t n);
