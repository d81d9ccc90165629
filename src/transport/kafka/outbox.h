/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Messages that are ready and wait until the client has few under way: the next request, put together while the last one
 * is with the broker. See outbox.c for why.
 */

#include "kafka.h"

/* one message for the client; key and value: NULL = none */
struct parcel {
	rd_kafka_topic_t *topic; /* borrowed */
	int32_t partition;
	const void *key, *value;
	size_t key_len, value_len;
	rd_kafka_headers_t *headers; /* owned until the client has it */
	void *opaque;
};

struct outbox {
	size_t max_bytes;
	uint32_t max_messages;
	size_t large_bytes; /* a message of so many goes alone */
	struct parcel *parcels;
	size_t *at;	       /* where the key of each is in bytes, its value behind it */
	uint32_t n, next, cap; /* next: the first that the client has not got */
	struct buf bytes;
};

/** outbox_init() - message_bytes: the largest message that the client takes. partitions: that messages are spread over. */
void outbox_init(struct outbox *box, int64_t message_bytes, uint32_t partitions);
void outbox_fini(struct outbox *box);

static inline bool outbox_is_empty(const struct outbox *box)
{
	return !box->n;
}

/** outbox_takes() - whether one more message of so many bytes may wait here. Pure. */
bool outbox_takes(const struct outbox *box, size_t bytes);

/** outbox_put() - keeps a message; key and value are copied, the headers taken. Thread: the writer's. Blocks: never. */
void outbox_put(struct outbox *box, const struct parcel *parcel);

/** outbox_first() - the oldest message, which stays; there must be one. */
struct parcel outbox_first(const struct outbox *box);
/** outbox_drop() - forgets the oldest message; its headers are the caller's. */
void outbox_drop(struct outbox *box);
