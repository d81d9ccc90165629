/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Findings of `sluice check`: drivers look at their side and change nothing; the command prints. Codes are stable.
 */

#include <stdint.h>

#include <sluice/buf.h>
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

/* a table of the source whose rows may get a topic of their own */
struct check_table {
	char *schema, *name;
	bool keyed; /* it has a key that rows can be spread by */
	bool tied; /* rows of different keys depend on each other: a unique or exclusion constraint or index beside the key */
};

struct check_tables {
	struct check_table *items; /* heap, as the names are */
	uint32_t n;
};
void check_tables_fini(struct check_tables *tables);
/** source_postgres_list() - the tables that the config selects. Thread: any. Blocks: up to 30 s. Return: 0; negative, *ret is
 * empty then. */
int source_postgres_list(const struct context *ctx, struct check_tables *ret, struct error *err);

/**
 * transport_kafka_check() - the same for brokers, topics and permissions. It writes nothing: whether it might is asked by
 * requests that brokers refuse after they have looked at the permission.
 * @tables: those of the source; NULL = unknown, then in layout tables only topics that exist are looked at.
 * @ret_replicas: how many replicas a topic made now would have; 0 = unknown.
 */
void transport_kafka_check(const struct context *ctx, const struct check_tables *tables,
	struct finding_list *ret, uint32_t *ret_replicas);
/**
 * transport_kafka_commands() - appends the commands of Kafka's tools that make topics and ACLs, for a shell. Pure.
 * @tables: as above.
 * @found: what the check found, whose commands are added; NULL = nothing was looked at.
 */
void transport_kafka_commands(const struct config *cfg, const struct check_tables *tables,
	const struct finding_list *found, uint32_t replicas, struct buf *ret);
