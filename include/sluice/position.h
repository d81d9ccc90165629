/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two things that are never mixed:
 *   position      order key of a record in its source. PostgreSQL: (BEGIN.final_lsn, ordinal); MongoDB:
 *                 (clusterTime, ordinal). Encoded as 16 bytes, big-endian, so memcmp() sorts.
 *   resume point  from where the source can be asked again; opaque to everyone but its driver. PostgreSQL: COMMIT
 *                 end_lsn or a keepalive's walEnd, 8 bytes big-endian; MongoDB: the whole token document.
 * Ordinals count decoded row, truncate and message events before any filter or transform, from 1 on.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct position {
	uint64_t major; /* the transaction: final_lsn, clusterTime */
	uint64_t minor; /* the ordinal in it; POSITION_END = behind its last record */
};

#define POSITION_BYTES 16
#define POSITION_END   UINT64_MAX
#define POSITION_NONE  ((struct position){ 0, 0 })

static inline int position_compare(struct position a, struct position b)
{
	if (a.major != b.major)
		return a.major < b.major ? -1 : 1;
	return a.minor < b.minor ? -1 : a.minor > b.minor;
}

void position_encode(struct position pos, uint8_t out[POSITION_BYTES]);
/** position_decode() - false unless len is POSITION_BYTES. */
bool position_decode(struct position *ret, const void *data, uint32_t len);

struct resume {
	const uint8_t *data; /* borrowed: batch arena or owner's storage; NULL = none */
	uint32_t len;
};

/* a resume point with storage of its own (process lifetime); init with {0} */
struct resume_box {
	uint8_t *data;
	uint32_t len, cap;
};

void resume_box_set(struct resume_box *box, struct resume resume);
void resume_box_fini(struct resume_box *box);

static inline struct resume resume_box_get(const struct resume_box *box)
{
	return (struct resume){ box->len ? box->data : NULL, box->len };
}
