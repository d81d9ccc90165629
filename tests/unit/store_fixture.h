/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A store in memory, in place of the target's or the log's. Thread: any. */

#include <pthread.h>
#include <string.h>

#include <sluice/state.h>

#define STORE_KEYS 64

struct store {
	struct state base;
	struct buf keys[STORE_KEYS], values[STORE_KEYS];
	uint32_t n;
	pthread_mutex_t lock;
	/* called with the lock held, for each that is set; NULL = nobody */
	void (*seen)(void *arg, const char *key, const void *value, size_t len);
	void *arg;
};

static inline int store_find(struct store *store, const char *key)
{
	for (uint32_t i = 0; i < store->n; i++) {
		if (!strcmp(buf_str(&store->keys[i]), key))
			return (int)i;
	}
	return -1;
}

static inline int store_get(struct state *base, const char *key, struct buf *ret, struct error *err)
{
	struct store *store = (struct store *)base;
	int i;

	(void)err;
	buf_clear(ret);
	pthread_mutex_lock(&store->lock);
	i = store_find(store, key);
	if (i >= 0)
		buf_put(ret, store->values[i].data, store->values[i].len);
	pthread_mutex_unlock(&store->lock);
	return i < 0 ? STATE_MISSING : 0;
}

static inline int store_set(
	struct state *base, const char *key, const void *value, size_t len, struct error *err)
{
	struct store *store = (struct store *)base;
	int i;

	(void)err;
	pthread_mutex_lock(&store->lock);
	i = store_find(store, key);
	if (i < 0) {
		i = (int)store->n++;
		buf_puts(&store->keys[i], key);
	}
	buf_clear(&store->values[i]);
	buf_put(&store->values[i], value, len);
	if (store->seen)
		store->seen(store->arg, key, value, len);
	pthread_mutex_unlock(&store->lock);
	return 0;
}

/* what is removed by its prefix is nothing that these tests look for */
static inline int store_remove(struct state *base, const char *prefix, struct error *err)
{
	(void)base;
	(void)prefix;
	(void)err;
	return 0;
}

static inline void store_init(struct store *store)
{
	static const struct state_ops ops = { .get = store_get, .set = store_set, .remove = store_remove };

	*store = (struct store){ .base.ops = &ops };
	pthread_mutex_init(&store->lock, NULL);
}

static inline void store_fini(struct store *store)
{
	for (uint32_t i = 0; i < store->n; i++) {
		buf_fini(&store->keys[i]);
		buf_fini(&store->values[i]);
	}
	pthread_mutex_destroy(&store->lock);
}
