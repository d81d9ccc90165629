/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The ring that decides what may be confirmed at the source. Invariants:
 *   1. entries are in the order in which the source delivered their batches;
 *   2. `durable` is the resume point of an entry whose batch, and every batch before it, was reported durable;
 *   3. it never goes back: entries leave the ring only from its old end.
 * Entries are per batch, not per transaction: confirmation is needed a few times a second, transactions come by
 * the hundred thousand. Their boxes are kept when they leave, so a steady stream allocates nothing.
 */

#include <assert.h>
#include <stdlib.h>

#include "ack_ring.h"

struct ack_entry {
	uint64_t seq;
	struct resume_box resume;
};

static void ring_grow(struct ack_ring *ring)
{
	uint32_t cap = ring->cap ? ring->cap * 2 : 64;
	struct ack_entry *entries = calloc(cap, sizeof(*entries));

	if (!entries)
		abort();
	for (uint32_t i = 0; i < ring->cap; i++)
		entries[i] = ring->entries[(ring->first + i) % ring->cap];
	free(ring->entries);
	ring->entries = entries;
	ring->first = 0;
	ring->cap = cap;
}

void ack_ring_push(struct ack_ring *ring, uint64_t seq, struct resume resume)
{
	struct ack_entry *entry;

	assert(seq > ring->last_seq);
	ring->last_seq = seq;
	if (!resume.len)
		return;
	if (ring->n == ring->cap)
		ring_grow(ring);
	entry = &ring->entries[(ring->first + ring->n) % ring->cap];
	entry->seq = seq;
	resume_box_set(&entry->resume, resume);
	ring->n++;
}

bool ack_ring_pop(struct ack_ring *ring, uint64_t seq)
{
	struct ack_entry *newest = NULL;

	assert(seq <= ring->last_seq);
	while (ring->n && ring->entries[ring->first].seq <= seq) {
		newest = &ring->entries[ring->first];
		ring->first = (ring->first + 1) % ring->cap;
		ring->n--;
	}
	if (!newest)
		return false;
	resume_box_set(&ring->durable, resume_box_get(&newest->resume));
	return true;
}

void ack_ring_fini(struct ack_ring *ring)
{
	for (uint32_t i = 0; i < ring->cap; i++)
		resume_box_fini(&ring->entries[i].resume);
	free(ring->entries);
	resume_box_fini(&ring->durable);
	*ring = ACK_RING_INIT;
}
