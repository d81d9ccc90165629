/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Findings of `sluice check`: drivers look at their side and change nothing; the command prints. Codes are stable.
 */

#include <stdint.h>

#include <sluice/context.h>

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct finding {
	enum finding_level level;
	char code[24];	/* "PG-ROLE"; empty for ok lines */
	char text[256]; /* what is so */
	char *remedy; /* exact SQL or setting, complete statements, may be several lines; NULL = none; heap */
	int exit_code; /* what `run` would end with because of it; 0 = none */
};

struct finding_list {
	char title[256]; /* "blue/shop PostgreSQL 15.8, 41 tables, 18 GB" */
	struct finding *items;
	uint32_t n, cap;
};

/** finding_add() - appends one; remedy (may be NULL) is copied. */
void finding_add(struct finding_list *list, enum finding_level level, const char *code, const char *remedy,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void finding_list_fini(struct finding_list *list);

/**
 * source_postgres_check(), sink_postgres_check() - connect and look; every problem is a finding, also a failed
 * connection. The sink's check is told what the source needs. Thread: any. Blocks: up to 30 s.
 */
void source_postgres_check(const struct context *ctx, struct finding_list *ret);
void sink_postgres_check(const struct context *ctx, struct finding_list *ret);
