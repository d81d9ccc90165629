/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How far each partition of a log is read and applied here, as part of struct status and under its lock.
 */

#include <sluice/partition.h>
#include <sluice/status.h>

struct log_lag {
	char topic[TOPIC_MAX];
	int32_t partition;
	int64_t records; /* between what is durable at the target and the end of the partition */
};

/**
 * log_lag_set() - notes the lag of a partition; records < 0: it is not ours any more. The lock must be held.
 * Thread: any. Blocks: never.
 */
void log_lag_set(struct status *st, const struct partition *partition, int64_t records);
