/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How far each partition of a log is applied, as part of struct status and under its lock.
 */

#include <sluice/partition.h>
#include <sluice/status.h>

struct log_lag {
	char topic[TOPIC_MAX];
	int32_t partition;
	int64_t offset;	 /* behind what is durable at the target; < 0 = nothing yet */
	int64_t end;	 /* behind the last message; < 0 = unknown */
	int64_t records; /* between both; < 0 = unknown */
	bool held;	 /* this process applies it; else it is known from another one's note */
};

/**
 * log_lag_set() - notes offset, end and held of a partition; lag NULL: it is not ours any more. The lock must be held.
 * Thread: any. Blocks: never.
 */
void log_lag_set(struct status *st, const struct partition *partition, const struct log_lag *lag);
