/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The relations that records were written with, from the topic <prefix>.schemas: found by fingerprint, kept for the
 * life of the reader. A reader's relation is acked there before the first record that needs it, so one that is not
 * found behind a look at the topic's end does not exist.
 */

#include <sluice/context.h>
#include <sluice/relation.h>

struct schemas;

struct schemas *schemas_new(const struct context *ctx);
/** schemas_free() - NULL is allowed; returns NULL. */
struct schemas *schemas_free(struct schemas *schemas);

/**
 * schemas_load() - reads what the topic got since the last call, to its end. A topic that does not exist yet is empty.
 * Thread: the applier's. Blocks: as long as the topic takes; 30 s without an answer end it. Return: 0, negative (TRANSIENT).
 */
int schemas_load(struct schemas *schemas, struct error *err);

/**
 * schemas_find() - the relation with that fingerprint, borrowed; looks into the topic when it is not known yet.
 * Thread: the applier's. Blocks: as schemas_load(). Return: 0; negative: SCHEMA "KAFKA-SCHEMA" names topic and fingerprint.
 */
int schemas_find(struct schemas *schemas, uint64_t fingerprint, struct relation **ret, struct error *err);

/** schemas_add() - keeps a relation; takes the reference. */
void schemas_add(struct schemas *schemas, struct relation *take_rel);
