/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * An idempotent client of librdkafka has one request for a partition under way, and while more messages than that wait
 * in its queue its thread polls without a pause: a core is spent on waiting. So under load the client gets one request at a time, and
 * what is encoded meanwhile waits here. When few messages are under way nothing waits: they go at once.
 *
 * Invariants:
 *   1. Messages leave in the order in which they came; while any waits here no other one may be produced.
 *   2. All that waits fits one request for each partition that messages go to, so the client holds two for each at most.
 */

#include <stdlib.h>

#include <sluice/buf.h>

#include "outbox.h"

/* of a request: librdkafka's batch.size is 1,000,000: with a header of 70 bytes, and stamps, this stays below it */
#define OUTBOX_BYTES	((size_t)900 * 1000)
#define OUTBOX_MESSAGES 4096u
#define LARGE_BYTES	((int64_t)100 * 1000)
#define MESSAGE_AROUND	256 /* bytes of stamp and framing, about */

void outbox_init(struct outbox *box, int64_t message_bytes, uint32_t partitions)
{
	*box = (struct outbox){
		.max_bytes = partitions * OUTBOX_BYTES,
		.max_messages = partitions * OUTBOX_MESSAGES,
		.large_bytes = (size_t)(message_bytes / 2 < LARGE_BYTES ? message_bytes / 2 : LARGE_BYTES),
	};
}

bool outbox_takes(const struct outbox *box, size_t bytes)
{
	return bytes < box->large_bytes && box->n < box->max_messages &&
	       box->bytes.len + bytes + (size_t)(box->n + 1) * MESSAGE_AROUND < box->max_bytes;
}

static void outbox_grow(struct outbox *box)
{
	box->cap = box->cap ? box->cap * 2 : 256;
	box->parcels = realloc(box->parcels, box->cap * sizeof(*box->parcels));
	box->at = realloc(box->at, box->cap * sizeof(*box->at));
	if (!box->parcels || !box->at)
		abort();
}

void outbox_put(struct outbox *box, const struct parcel *parcel)
{
	if (box->n == box->cap)
		outbox_grow(box);
	box->at[box->n] = box->bytes.len;
	box->parcels[box->n++] = *parcel;
	buf_put(&box->bytes, parcel->key, parcel->key_len);
	buf_put(&box->bytes, parcel->value, parcel->value_len);
}

struct parcel outbox_first(const struct outbox *box)
{
	struct parcel parcel = box->parcels[box->next];
	const uint8_t *key = box->bytes.data + box->at[box->next];

	/* both NULL and empty have no bytes, and are not the same */
	if (parcel.key)
		parcel.key = key;
	if (parcel.value)
		parcel.value = key + parcel.key_len;
	return parcel;
}

void outbox_drop(struct outbox *box)
{
	if (++box->next < box->n)
		return;
	box->n = box->next = 0;
	buf_clear(&box->bytes);
}

void outbox_fini(struct outbox *box)
{
	for (uint32_t i = box->next; i < box->n; i++)
		rd_kafka_headers_destroy(box->parcels[i].headers);
	free(box->parcels);
	free(box->at);
	buf_fini(&box->bytes);
	*box = (struct outbox){ 0 };
}
