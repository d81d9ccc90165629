/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The settings of the PostgreSQL source.
 */

#include <sluice/config.h>
#include <sluice/option.h>

static const char *const no_identities[] = { "refuse", "insert_only", "full", NULL };

static const struct option options[] = {
	{ "source.postgresql.slot", OPTION_STRING, offsetof(struct config, source.postgresql.slot),
		"sluice_<name>", 0, 0, NULL, 0,
		"Name of the replication slot: 1 to 63 of a-z, 0-9 and _. Created by the first `run`; with "
		"`snapshot.mode: none` it has to be there." },
	{ "source.postgresql.publication", OPTION_STRING,
		offsetof(struct config, source.postgresql.publication), "sluice_<name>", 0, 0, NULL, 0,
		"Name of the publication. Created unless it is there; one that differs from `source.include` fails "
		"`check`." },
	{ "source.postgresql.no_identity", OPTION_ENUM,
		offsetof(struct config, source.postgresql.no_identity), "refuse", 0, 0, no_identities, 0,
		"Tables without a replica identity. `refuse`: `check` fails and `run` does not start; `insert_only`: their "
		"inserts are published, their updates and deletes are not; `full`: they get REPLICA IDENTITY FULL." },
	{ "source.postgresql.binary", OPTION_BOOL, offsetof(struct config, source.postgresql.binary), "false",
		0, 0, NULL, 0,
		"Lets the server send values in binary form, where every published column has a built-in type other than an "
		"array. Saves time with bytea." },
};

const struct option_table options_source_postgres = { "PostgreSQL source", options,
	sizeof(options) / sizeof(*options) };
