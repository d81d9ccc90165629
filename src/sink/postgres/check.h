/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * `sluice check` at the target: the server and the role (check.c), the tables (check_tables.c).
 */

#include <sluice/check.h>

#include "sink.h"

struct check {
	const struct context *ctx;
	struct finding_list *list;
	struct sink_postgres sink; /* config and name only, for session_application() */
	PGconn *conn;
	char role[72], database[72];
	int source_major; /* 0 = not known */
	bool ours;	  /* the stream has progress or state in this target */
	bool replica_role;
};

/** check_add_error() - an error as a finding, with its exit code. */
void check_add_error(struct check *check, const struct error *err);
/** check_fail() - a FAIL with its exit code; remedy may be NULL. */
void check_fail(struct check *check, int exit_code, const char *code, const char *remedy, const char *fmt,
	...) __attribute__((format(printf, 5, 6)));
/** check_tables() - what the source selects against what the target has. */
void check_tables(struct check *check);
