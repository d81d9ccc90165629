/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#pragma once

/*
 * From pgoutput messages to records. Pure but for the batch it fills and describe(): no connection, clock or log.
 */

#include <pgoutput.h>
#include <sluice/batch.h>
#include <sluice/error.h>

/* a relation as the stream described it last */
struct decode_relation {
	uint32_t oid;
	struct relation *rel; /* our reference */
	uint64_t start;	      /* events of transactions below it are in the snapshot already */
};

/* start point of one table, loaded from the migration's state */
struct decode_start {
	char *schema, *name;
	uint64_t start;
};

struct decode {
	struct pgoutput_decoder wire;
	uint64_t skip_below;   /* transactions with a lower final_lsn are not delivered: they are applied */
	uint64_t record_bytes; /* larger messages are refused */
	struct decode_start *starts;
	uint32_t n_starts;
	uint64_t start_max;
	struct decode_relation *relations;	   /* sorted by oid */
	uint32_t n_relations, cap_relations, last; /* last = index found last */
	bool in_transaction, skipping;
	uint64_t final_lsn, ordinal, n_records;
	struct wall commit_time;
	uint32_t xid;
	uint64_t resume; /* end_lsn of the last COMMIT seen */
	/* makes the relation of a Relation message, with more than that says; NULL = that is enough */
	int (*describe)(
		void *arg, const struct relation_spec *spec, struct relation **ret, struct error *err);
	void *describe_arg;
};

/** decode_init() - begins a connection. @skip_below: the stored resume point, 0 = none. */
void decode_init(struct decode *dec, uint64_t skip_below, uint64_t record_bytes);
void decode_fini(struct decode *dec);

/** decode_wants() - false for a message that need not be copied: a row of a transaction that is skipped. */
bool decode_wants(const struct decode *dec, const uint8_t *data, size_t len);

/** decode_refuses() - true for a row that decode_message() will refuse for its size. */
bool decode_refuses(const struct decode *dec, const uint8_t *data, size_t len);

/**
 * decode_message() - adds what one message says to the batch.
 * @data: the message, in the batch's arena: the records point into it.
 * Return: 0; negative: DATA (too large, named), FATAL (bytes that are not pgoutput, a row of an unknown relation).
 */
int decode_message(
	struct decode *dec, struct batch *batch, const uint8_t *data, size_t len, struct error *err);
