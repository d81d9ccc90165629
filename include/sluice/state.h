/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small durable key-value store of the migration: intents, start points, marks, phase. It lives in the target
 * (direct) or in a compacted topic (kafka); a source driver uses it without knowing which. Keys are paths
 * ("slot/intent", "table/public.orders/start"); values are short texts.
 */

#include <sluice/buf.h>
#include <sluice/error.h>

struct state;

struct state_ops {
	/** get() - copies the value into ret (cleared first). Return: 0, STATE_MISSING, negative. */
	int (*get)(struct state *state, const char *key, struct buf *ret, struct error *err);
	/** set() - durable when it returns 0; refused (ERROR_TRANSIENT "FENCED") when the epoch is another's. */
	int (*set)(struct state *state, const char *key, const void *value, size_t len, struct error *err);
	/** remove() - removes every key that begins with prefix, durably. */
	int (*remove)(struct state *state, const char *prefix, struct error *err);
};

#define STATE_MISSING 1

/* keys that more than one part knows */
#define STATE_SNAPSHOT_PRE  "snapshot/pre"  /* the tables are there */
#define STATE_SNAPSHOT_DUMP "snapshot/dump" /* what remains to be made behind the rows */
#define STATE_SNAPSHOT_POST "snapshot/post" /* that, too, is there */
#define STATE_SNAPSHOT_DONE "snapshot/done"

struct state {
	const struct state_ops *ops;
};

static inline int state_get(struct state *state, const char *key, struct buf *ret, struct error *err)
{
	return state->ops->get(state, key, ret, err);
}

static inline int state_set(
	struct state *state, const char *key, const void *value, size_t len, struct error *err)
{
	return state->ops->set(state, key, value, len, err);
}

static inline int state_remove(struct state *state, const char *prefix, struct error *err)
{
	return state->ops->remove(state, prefix, err);
}

/**
 * state_set_large() - the same for values of any size: stored in pieces under key/0, key/1 …, then the head under key. Until
 * the head is stored the old value is gone, or damaged as state_get_large() sees.
 * Thread: any. Blocks: as the store does. Return: 0, negative.
 */
int state_set_large(struct state *state, const char *key, const void *value, size_t len, struct error *err);
/** state_get_large() - copies it into ret. Return: 0; STATE_MISSING: none, or not all of it is there (yet); negative. */
int state_get_large(struct state *state, const char *key, struct buf *ret, struct error *err);
