/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One line per setting: METRIC-like option tables stand in the folder that owns the setting; src/config binds YAML,
 * the environment (SLUICE_SECTION_KEY) and --set to them and prints the manual (config-reference) from them.
 */

#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_STRING,
	OPTION_BOOL,
	OPTION_UINT,   /* uint64_t */
	OPTION_UINT32, /* uint32_t */
	OPTION_DOUBLE,
	OPTION_DURATION, /* int64_t ms */
	OPTION_SIZE,	 /* uint64_t bytes */
	OPTION_ENUM,	 /* int-sized enum; values = NULL-terminated names in the enum's order */
	OPTION_LIST,	 /* struct string_list */
	OPTION_INT32,	 /* int32_t */
	OPTION_MAP,	 /* struct property_list: librdkafka's own names and values */
};

enum option_flags {
	OPTION_SECRET = 1, /* never printed, not settable by --set */
	OPTION_REQUIRED = 2,
};

struct option {
	const char *key; /* "source.postgresql.slot" */
	enum option_type type;
	size_t offset;		   /* in struct config */
	const char *default_value; /* as it would be written in the file; NULL = none */
	double min, max;	   /* numbers, durations (ms), sizes (bytes); both 0 = no range */
	const char *const *values; /* OPTION_ENUM */
	unsigned flags;
	const char *doc; /* one or two sentences for the manual */
};

struct option_table {
	const char *section; /* heading in the manual */
	const struct option *options;
	size_t n;
};

/* the tables, one per owning folder */
extern const struct option_table options_source, options_source_postgres, options_source_generator;
extern const struct option_table options_target, options_transport, options_kafka, options_snapshot;
extern const struct option_table options_apply;
extern const struct option_table options_pipeline, options_cutover, options_http, options_log;
