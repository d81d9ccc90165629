/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a log holds already, as a reader that starts has to know it: the last record that counts, and what is needed to go on
 * behind it.
 */

#include "kafka.h"

/* the newest reign that is known to have won, and the offset of its FENCE; from the state topic */
struct reign_known {
	struct reign reign; /* number 0 = none */
	int64_t fence;
};

struct tail {
	struct reign known;	/* as given to tail_init() */
	bool sole;		/* as in struct tail_request */
	uint64_t known_records; /* seen of it, and their bytes; see tail_whole() */
	uint64_t known_bytes;
	struct reign current;	  /* at the end of what was read; number 0 = nobody has written yet */
	bool torn;		  /* a record of a reign whose FENCE was not seen */
	bool started;		  /* a record or CONTINUE that counts was seen */
	bool found;		  /* a record that counts stands in the log */
	struct position last;	  /* of the last one that counts */
	struct resume_box resume; /* newest up to there */
	char identity[96];	  /* of the source; "" = not known */
	uint64_t begun;		  /* major of the newest BEGIN that counts; 0 = none seen */
	bool aborted;		  /* what began there was aborted */
	char options[256];	  /* that it was read with */
};

void tail_init(struct tail *tail, struct reign known);
void tail_fini(struct tail *tail);

/**
 * tail_take() - one message, in the order of the log: decides whether it counts. Pure.
 * Return: 0, negative (DATA: its headers are broken; RESYNC: it contradicts what counted before).
 */
int tail_take(struct tail *tail, const struct message *msg, struct arena *arena, struct error *err);

/** tail_inside() - true when the last record that counts stands in a transaction that has not ended. Pure. */
bool tail_inside(const struct tail *tail);

/** tail_whole() - true when everything that a new reader has to know was found, and nothing further back can change it. Pure. */
bool tail_whole(const struct tail *tail);

struct tail_request {
	rd_kafka_t *rk; /* to read with; NULL = one is made for this */
	const char *topic;
	int32_t partition;
	struct reign_known known;
	int64_t low, end; /* start of the partition; the offset of our own FENCE */
	bool rows;	  /* a partition of rows, in layout tables: there is no resume point in it */
	bool sole;	  /* nobody but us has written a FENCE since known.reign did */
};
/**
 * tail_find() - reads back from request->end until the tail is known.
 * Blocks: as long as it takes. Return: 0, negative (RESYNC 80: the log has lost what has to be there; TRANSIENT).
 */
int tail_find(
	const struct context *ctx, const struct tail_request *request, struct tail *ret, struct error *err);
