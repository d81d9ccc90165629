/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the kernel knows about this process, for the standard process_* metrics.
 */

#include <stdint.h>

struct process_usage {
	double cpu_seconds;   /* user and system */
	double start_seconds; /* since the epoch; 0 = unknown */
	uint64_t resident_bytes, virtual_bytes;
	uint64_t open_fds, max_fds;
};

/** process_usage_read() - from /proc/self; what cannot be read is 0. Thread: any. Blocks: never. */
void process_usage_read(struct process_usage *ret);
