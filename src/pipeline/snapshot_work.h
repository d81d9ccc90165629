/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The workers of the initial copy and the list of chunks they share. The list is pure: time comes in as an argument.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <sluice/clock.h>
#include <sluice/context.h>
#include <sluice/snapshot.h>

enum chunk_state { CHUNK_WAITING, CHUNK_RUNNING, CHUNK_DONE };

struct chunk_entry {
	const struct snapshot_chunk *chunk;
	uint32_t table;	 /* index into tables */
	uint32_t yields; /* how often it was given up for somebody on the source */
	struct mono not_before;
	uint8_t state; /* enum chunk_state */
};

struct table_entry {
	struct snapshot_table *table;
	uint32_t left; /* chunks that are not done */
	uint64_t rows;
	bool changed;  /* rewritten under us: restarts in the next round */
	bool reported; /* table_done() was called */
};

struct chunk_list {
	struct chunk_entry *chunks;
	struct table_entry *tables;
	uint32_t n_chunks, n_tables;
	uint32_t first;	  /* all chunks before it are done or dropped */
	uint32_t running; /* chunks in work */
};

#define CHUNK_NONE UINT32_MAX

void chunk_list_init(struct chunk_list *list, const struct snapshot_source *src);
void chunk_list_fini(struct chunk_list *list);
/** chunk_list_take() - the next chunk to copy, marked running; CHUNK_NONE when none may begin now (*ret_end: none ever will). */
uint32_t chunk_list_take(struct chunk_list *list, struct mono now, bool *ret_end);
/** chunk_list_done(), _yield(), _changed() - what became of a taken chunk. A yielded one waits 200 ms, then longer, up to 5 s. */
void chunk_list_done(struct chunk_list *list, uint32_t i, uint64_t rows);
void chunk_list_yield(struct chunk_list *list, uint32_t i, struct mono now);
void chunk_list_changed(struct chunk_list *list, uint32_t i);

/* one round of copying under one snapshot */
struct snapshot_work {
	struct context *ctx;
	struct snapshot_source *src;
	struct snapshot_sink *sink;
	struct chunk_list list; /* guarded by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t alive;	    /* workers */
	atomic_bool cancel; /* everybody ends */
	bool failed;
	struct error err;
};

/** snapshot_work_run() - copies every chunk of the source's plan; marks tables done. Blocks: as long as it takes; ctx->stop
 * ends it. Return: 0 (tables that changed are not done), SNAPSHOT_STOPPED, negative. */
int snapshot_work_run(
	struct context *ctx, struct snapshot_source *src, struct snapshot_sink *sink, struct error *err);
