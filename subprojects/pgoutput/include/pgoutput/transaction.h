/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages by which a streamed or a prepared transaction ends (protocol versions 2 to 4).
 */

#include <stdbool.h>
#include <stdint.h>

#include <pgoutput/message.h>

struct pgoutput_stream_commit {
	uint64_t commit_lsn, end_lsn;
	int64_t commit_time_us;
	uint32_t xid;
};

struct pgoutput_stream_abort {
	uint64_t abort_lsn;    /* 0 unless has_info */
	int64_t abort_time_us; /* 0 unless has_info */
	uint32_t xid, subxid;  /* equal = the whole transaction */
	bool has_info;	       /* version 4 with parallel streaming */
};

struct pgoutput_prepare {
	uint64_t prepare_lsn, end_lsn;
	int64_t prepare_time_us;
	uint32_t xid;
	struct pgoutput_string gid;
};

struct pgoutput_commit_prepared {
	uint64_t commit_lsn, end_lsn;
	int64_t commit_time_us;
	uint32_t xid;
	struct pgoutput_string gid;
};

struct pgoutput_rollback_prepared {
	uint64_t prepare_end_lsn, rollback_end_lsn;
	int64_t prepare_time_us, rollback_time_us;
	uint32_t xid;
	struct pgoutput_string gid;
};
