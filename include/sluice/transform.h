/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A transform changes records between transport and sink: in place, in order, one batch at a time, in a chain. It
 * allocates from the batch's arena, never drops BEGIN, END or HEARTBEAT, and never changes a position.
 */

#include <sluice/batch.h>
#include <sluice/error.h>

struct transform;

struct transform_ops {
	/** apply() - changes the batch. Thread: applier's. Blocks: never. Return: 0, negative (DATA). */
	int (*apply)(struct transform *tf, struct batch *batch, struct error *err);
	void (*free)(struct transform *tf);
};

struct transform {
	const struct transform_ops *ops;
	struct transform *next;
};

/** transform_chain_apply() - runs every transform of the chain in order; an empty chain (NULL) is the identity. */
int transform_chain_apply(struct transform *chain, struct batch *batch, struct error *err);
struct transform *transform_chain_free(struct transform *chain);
