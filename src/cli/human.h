/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Numbers for people, into the caller's buffer (at least HUMAN_BYTES); each returns the buffer. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#define HUMAN_BYTES 32

/** human_size() - "38 MiB", "1.5 GiB", "512 B". */
char *human_size(double bytes, char *buf, size_t size);
/** human_disk() - decimal units, as disks and networks are sold: "1.8 GB", "96 MB". */
char *human_disk(double bytes, char *buf, size_t size);
/** human_count() - "950", "81k", "1.2M". */
char *human_count(double n, char *buf, size_t size);
/** human_duration() - "0.2 s", "47 s", "1m14s", "3h05m", "2d04h". */
char *human_duration(double seconds, char *buf, size_t size);
