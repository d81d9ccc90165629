/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which resume point may be confirmed. The reader pushes, for every batch it hands to the transport, the resume
 * point that holds once the whole batch is durable (that of its last END or HEARTBEAT; none when it has none); the
 * transport reports the newest durable batch; popping gives the newest resume point up to there. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/position.h>

struct ack_ring {
	struct ack_entry *entries; /* ring of cap entries, oldest at `first` */
	uint32_t first, n, cap;
	uint64_t last_seq;	   /* newest pushed, ascending */
	struct resume_box durable; /* newest resume point that may be confirmed */
};

#define ACK_RING_INIT ((struct ack_ring){ 0 })

/**
 * ack_ring_push() - notes a batch about to be sent.
 * @seq: greater than every one before.
 * @resume: copied; none when the batch ends no transaction: it then costs no entry.
 * Thread: reader's. Blocks: never.
 */
void ack_ring_push(struct ack_ring *ring, uint64_t seq, struct resume resume);

/**
 * ack_ring_pop() - everything up to seq is durable.
 * Return: true when a newer resume point may be confirmed now: ring->durable holds it.
 */
bool ack_ring_pop(struct ack_ring *ring, uint64_t seq);

void ack_ring_fini(struct ack_ring *ring);
