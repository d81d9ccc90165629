/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a reader has put into packs and not produced yet: the binary form's way to send many records in few messages. Belongs
 * to whoever has the writer.
 *
 * Invariants:
 *   1. A partition's pack is produced before whatever comes behind it there.
 *   2. All packs are of one batch, and are produced before it ends, with its ticket.
 */

#include <sluice/pack.h>

#include "kafka.h"

#define PACKS_SPARE 16u

struct writer;
struct ticket;
struct publish_at;

/* of one partition */
struct packed {
	struct pack pack;
	struct place place;
	struct packed *next;
	bool listed;
};

struct packs {
	bool on;
	size_t bytes;	       /* a pack has no more, but for a record that is larger alone */
	struct packed *first;  /* those that may hold something */
	struct ticket *ticket; /* of their batch */
	/* memory of packs that were produced; partitions may be many, those of a batch are few */
	struct buf spare[PACKS_SPARE];
	uint32_t n_spare;
};

/** packs_init() - message_bytes: the largest message that the client takes. */
void packs_init(struct packs *packs, bool on, int64_t message_bytes);
void packs_fini(struct packs *packs);

/**
 * packs_put() - appends what was encoded last to a partition's pack; a pack that has no room for it is produced first.
 * Thread: the writer's. Blocks: never. Return: 0; TRANSPORT_FULL: nothing was appended, again later; negative.
 */
int packs_put(struct writer *w, struct packed *packed, const struct record *rec, const struct publish_at *at,
	const struct codec_output *out, struct ticket *ticket, struct error *err);
/** packs_send() - produces a partition's pack, if there is something in it. Changes w->text. Return: as packs_put(). */
int packs_send(struct writer *w, struct packed *packed, struct error *err);
/** packs_send_all() - produces all. Return: 0 = there are none left; TRANSPORT_FULL; negative. */
int packs_send_all(struct writer *w, struct error *err);
