/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The settings of the generator.
 */

#include <sluice/config.h>
#include <sluice/option.h>

#define AT(m) offsetof(struct config, source.generator.m)

static const struct option options[] = {
	{ "source.generator.transactions", OPTION_UINT, AT(transactions), "0", 0, 1e15, NULL, 0,
		"How many transactions are made; 0: without end." },
	{ "source.generator.rows_per_transaction", OPTION_UINT, AT(rows_per_transaction), "10", 1, 1e6, NULL,
		0, "Changes in each transaction." },
	{ "source.generator.keys", OPTION_UINT, AT(keys), "100000", 1, 1e12, NULL, 0,
		"How many keys there are: all are inserted, then all updated, then all deleted, and so on." },
	{ "source.generator.seed", OPTION_UINT, AT(seed), "1", 0, 1e15, NULL, 0,
		"The same seed makes the same transactions." },
	{ "source.generator.row_bytes", OPTION_UINT32, AT(row_bytes), "100", 0, 1048576, NULL, 0,
		"Bytes of the column beside the key." },
};

const struct option_table options_source_generator = { "Generator", options,
	sizeof(options) / sizeof(*options) };
