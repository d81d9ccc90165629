/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A batch is the unit of memory: an arena, its records in source order, references to their relations. It is
 * not a transaction: it may hold many, or a part of one. One thread owns it at a time; the transport hands it
 * on. A snapshot chunk's batch may hold `raw` bytes instead of records (see snapshot.h).
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/arena.h>
#include <sluice/clock.h>
#include <sluice/fault.h>
#include <sluice/partition.h>
#include <sluice/record.h>

#define BATCH_MAX_BYTES	  ((size_t)2 * 1024 * 1024)
#define BATCH_MAX_RECORDS 16000u /* their vector fits one block of 1 MiB */

struct batch {
	struct arena arena;
	struct record *records;
	uint32_t n_records, cap_records;
	struct relation **relations; /* each once, one reference each */
	uint32_t n_relations, cap_relations;
	struct relation **held; /* a hash table of the same, with twice cap_relations slots */
	uint64_t seq;		/* given by the reader, ascending from 1 */
	struct mono filled;	/* when the first record came in */
	/* where it was read from; NULL = no log. All records of a batch are of one partition and one reign, that of its last message */
	const struct partition *partition;
	struct reign reign;
	const char
		*identity;  /* of the source, "" = not known; lives as long as the partition; NULL = no log */
	const uint8_t *raw; /* snapshot pass-through: bytes as the source sent them, in the arena */
	size_t raw_len; /* of a snapshot's records: how many bytes the source sent for them, raw is NULL */
	struct batch *next; /* of whoever owns the batch */
};

/** batch_new() - an empty batch whose arena draws from pool (may be NULL). Thread: any. */
struct batch *batch_new(struct block_pool *pool);
/** batch_free() - gives memory and references back; NULL is allowed; returns NULL. Thread: the owner. */
struct batch *batch_free(struct batch *batch);
/** batch_add() - appends a zeroed record; the pointer is valid until the next batch_add(). */
struct record *batch_add(struct batch *batch);
/** batch_hold() - references rel once for the batch's life; cheap, whatever the number of relations. */
struct relation *batch_hold(struct batch *batch, struct relation *rel);

static inline bool batch_is_full(const struct batch *batch)
{
	return batch->n_records >= SLUICE_BOUND("batch.records", BATCH_MAX_RECORDS) ||
	       batch->arena.bytes >= BATCH_MAX_BYTES;
}
