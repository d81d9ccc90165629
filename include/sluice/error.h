/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Errors are values on the caller's stack. A function returns 0, a positive documented condition that the
 * caller must handle, or a negative number with *err filled; negatives are forwarded, never matched.
 * The class alone decides what happens next, and pipeline/supervise is the only place that decides it.
 */

#include <stdbool.h>
#include <stdint.h>

enum error_class {
	ERROR_NONE = 0,
	ERROR_TRANSIENT, /* the other side may come back: reconnect, with backoff */
	ERROR_DATA,	 /* this record cannot be applied: stop or dead letter, by config */
	ERROR_SCHEMA,	 /* the target's tables do not fit: retried, a person has to change a table */
	ERROR_CONFIG,	 /* the configuration or a privilege is wrong */
	ERROR_FATAL,	 /* the process ends: a person decides (exit_code says which kind) */
	ERROR_BUG,	 /* sluice itself is wrong */
};

/* exit codes that an error can ask for; part of the operators' contract */
enum exit_code {
	EXIT_OK = 0,
	EXIT_NO = 1,
	EXIT_CLI = 64,
	EXIT_RECORD = 65,
	EXIT_UNAVAILABLE = 69,
	EXIT_BUG = 70,
	EXIT_TIMEOUT = 75,
	EXIT_PERMISSION = 77,
	EXIT_CONFIG = 78,
	EXIT_RESYNC = 80,
	EXIT_LEASE_LOST = 81,
	EXIT_KILLED = 143,
};

struct error {
	enum error_class class;
	int exit_code;	   /* an enum exit_code; 0 = the default of the class */
	char code[24];	   /* stable, for logs and scripts: "PG-SLOT-LOST" */
	char message[304]; /* what happened and where; never a row value or a secret */
	char remedy[176];  /* what to do: the exact statement where there is one; may be empty */
};

#define ERROR_INIT ((struct error){ .class = ERROR_NONE })

/**
 * error_set() - fills an error and returns -1, so that callers can `return error_set(…)`.
 * @err: filled whole (the remedy is emptied); must not be NULL.
 * @code: stable identifier, at most 23 bytes.
 * The message is cut at 303 bytes, at a UTF-8 boundary.
 * Thread: any. Blocks: never. Return: -1.
 */
int error_set(struct error *err, enum error_class class, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/** error_exit() - sets the exit code that this error asks for; returns -1. */
int error_exit(struct error *err, int exit_code);

/** error_remedy() - sets the remedy (printf); returns -1. */
int error_remedy(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** error_where() - puts "where: " before the message (cutting its tail when full); returns -1. */
int error_where(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** error_exit_code() - the process exit code of an error: its own, else the default of its class
 * (TRANSIENT 69, DATA 65, SCHEMA 65, CONFIG 78, FATAL 70, BUG 70). */
int error_exit_code(const struct error *err);

const char *error_class_to_string(enum error_class class);
