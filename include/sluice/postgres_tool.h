/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * PostgreSQL's own programs (pg_dump, pg_restore) as children: found by version, started without a shell, secrets in
 * the environment only, input and output in memory, nothing on disk.
 */

#include <libpq-fe.h>
#include <stdatomic.h>

#include <sluice/buf.h>
#include <sluice/error.h>

struct pg_tool {
	char path[256];
	int major;
};

/**
 * pg_tool_find() - the newest program of this name in PATH and the places where packages put them.
 * @min_major: the server's major version that it has to know. Blocks: as long as `NAME --version` takes.
 * Return: 0; negative CONFIG "PG-TOOL" when none is new enough (the remedy names the package).
 */
int pg_tool_find(const char *name, int min_major, struct pg_tool *ret, struct error *err);

struct pg_tool_run {
	const char *const *argv; /* NULL-terminated, argv[0] = the path */
	PGconn *like; /* the child connects as this session does, by its environment; NULL: it does not connect */
	const char *application; /* application_name of the child's session */
	const struct buf *input; /* stdin; NULL = empty */
	size_t output_limit_bytes;
	const atomic_bool *stop; /* may be NULL */
	int (*tick)(void *arg,
		struct error *err); /* called four times a second; may be NULL; negative ends the child */
	void *arg;
};

/**
 * pg_tool_run() - runs the program to its end, its stdout appended to ret_output.
 * Thread: any. Blocks: as long as the child runs. Return: 0; negative: TRANSIENT "STOPPED"; "PG-TOOL-FAILED" with the
 * first error lines of its stderr (schema names, never rows).
 */
int pg_tool_run(const struct pg_tool_run *run, struct buf *ret_output, struct error *err);

/** pg_tool_version() - pure: the major version in "pg_dump (PostgreSQL) 15.8 (Debian …)", 0 = none. */
int pg_tool_version(const char *text);
