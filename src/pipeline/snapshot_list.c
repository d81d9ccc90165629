/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which chunk comes next. Chunks are taken in the plan's order (large tables first); one that was given up for somebody on
 * the source comes again after a pause, while the others go on; those of a table that has changed are dropped, since the
 * table is read again whole under another snapshot.
 */

#include <stdlib.h>

#include "snapshot_work.h"

#define YIELD_BASE_MS 200
#define YIELD_MAX_MS  5000

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

void chunk_list_init(struct chunk_list *list, const struct snapshot_source *src)
{
	*list = (struct chunk_list){ .n_chunks = src->n_chunks, .n_tables = src->n_tables };
	list->chunks = zeroed(src->n_chunks, sizeof(*list->chunks));
	list->tables = zeroed(src->n_tables, sizeof(*list->tables));
	for (uint32_t i = 0; i < src->n_tables; i++)
		list->tables[i].table = &src->tables[i];
	for (uint32_t i = 0; i < src->n_chunks; i++) {
		list->chunks[i].chunk = &src->chunks[i];
		list->chunks[i].table = (uint32_t)(src->chunks[i].table - src->tables);
		list->tables[list->chunks[i].table].left++;
	}
}

void chunk_list_fini(struct chunk_list *list)
{
	free(list->chunks);
	free(list->tables);
	*list = (struct chunk_list){ 0 };
}

uint32_t chunk_list_take(struct chunk_list *list, struct mono now, bool *ret_end)
{
	bool waiting = false;

	while (list->first < list->n_chunks && (list->chunks[list->first].state == CHUNK_DONE ||
						       list->tables[list->chunks[list->first].table].changed))
		list->first++;
	for (uint32_t i = list->first; i < list->n_chunks; i++) {
		struct chunk_entry *entry = &list->chunks[i];

		if (entry->state != CHUNK_WAITING || list->tables[entry->table].changed)
			continue;
		if (mono_diff_us(entry->not_before, now) > 0) {
			waiting = true;
			continue;
		}
		entry->state = CHUNK_RUNNING;
		list->running++;
		*ret_end = false;
		return i;
	}
	*ret_end = !waiting && list->running == 0;
	return CHUNK_NONE;
}

void chunk_list_done(struct chunk_list *list, uint32_t i, uint64_t rows)
{
	struct table_entry *table = &list->tables[list->chunks[i].table];

	list->chunks[i].state = CHUNK_DONE;
	list->running--;
	table->left--;
	table->rows += rows;
}

void chunk_list_yield(struct chunk_list *list, uint32_t i, struct mono now)
{
	struct chunk_entry *entry = &list->chunks[i];
	int64_t wait_ms = (int64_t)YIELD_BASE_MS << (entry->yields < 8 ? entry->yields : 8);

	entry->state = CHUNK_WAITING;
	entry->yields++;
	entry->not_before = mono_add_ms(now, wait_ms < YIELD_MAX_MS ? wait_ms : YIELD_MAX_MS);
	list->running--;
}

void chunk_list_changed(struct chunk_list *list, uint32_t i)
{
	list->chunks[i].state = CHUNK_DONE;
	list->tables[list->chunks[i].table].changed = true;
	list->running--;
}
