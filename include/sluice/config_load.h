/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * From a YAML file, the environment and --set to a struct config. Everything that is wrong is reported at once, and
 * nothing is connected to. A later origin wins: default, file, environment, --set.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/config.h>

/* with transport.type kafka a command may not need both databases: their URIs may be missing then */
enum config_without {
	CONFIG_WITHOUT_SOURCE = 1,
	CONFIG_WITHOUT_TARGET = 2,
};

struct config_request {
	const char *path; /* NULL = $SLUICE_CONFIG, ./sluice.yaml, /etc/sluice/sluice.yaml, else no file */
	const char *const *sets; /* "KEY=VALUE" */
	size_t n_sets;
	unsigned without; /* enum config_without */
};

/* lines "sluice.yaml:12:7: unknown key …", each with a line end; never a secret */
struct config_report {
	struct buf errors, warnings;
	uint32_t n_errors, n_warnings;
};

#define CONFIG_REPORT_INIT ((struct config_report){ 0 })

void config_report_fini(struct config_report *report);

/**
 * config_load() - reads and checks everything.
 * @report: initialised by the caller; filled with all errors, and warnings also on success.
 * Thread: main's, before others run. Blocks: for local files. Return: 0, or -1 when there are errors.
 */
int config_load(const struct config_request *req, struct config **ret, struct config_report *report);

/** config_reference() - appends the manual of all settings, config/reference.md. Pure. */
void config_reference(struct buf *ret);

/** config_parse_duration() - "250ms", "30s", "10m", "1h", "2d", "0". Pure. Return: false when it is none. */
bool config_parse_duration(const char *text, int64_t *ret_ms);
/** config_parse_size() - "512B", "64KiB", "1MiB", "2GiB", "0". Pure. Return: false when it is none. */
bool config_parse_size(const char *text, uint64_t *ret_bytes);

/** config_environment_name() - "source.postgresql.slot" → "SLUICE_SOURCE_POSTGRESQL_SLOT"; returns buf. Pure. */
char *config_environment_name(const char *key, char *buf, size_t size);

static inline void config_freep(struct config **cfg)
{
	config_free(*cfg);
}
