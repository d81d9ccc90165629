/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Binding texts to members of struct config by the option tables, and collecting what is wrong. Whatever the
 * origin of a text is (file, environment, --set), it comes through here.
 */

#include <stdbool.h>
#include <stddef.h>

#include <sluice/config_load.h>
#include <sluice/option.h>

#define WHY_BYTES   320
#define KEY_BYTES   128
#define OPTIONS_MAX 128
#define RANGE_BYTES 80

enum origin_kind { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_SET };

/* where a value came from, for messages */
struct origin {
	enum origin_kind kind;
	unsigned line, column; /* from 1; ORIGIN_FILE */
};

struct problem {
	struct origin origin;
	size_t order; /* in which it was found */
	char *text;
};

struct binder {
	struct config *cfg;
	struct config_report *report;
	const char *file;	  /* as messages name it; "" = none */
	struct problem *problems; /* in the order found */
	size_t n_problems;
	unsigned without;	  /* of the request */
	bool incomplete;	  /* the file could not be read to its end: what is missing may be there */
	bool failed[OPTIONS_MAX]; /* the option's value is wrong, and that was said */
	struct origin origins[OPTIONS_MAX]; /* by the option's index */
};

/** options_at() - an option of the tables, in the order of the manual; NULL behind the last. */
const struct option *options_at(size_t i);
const struct option_table *const *options_tables(size_t *ret_n);
/** options_find() - its index, or -1. */
int options_find(const char *key);
/** options_is_section() - true when options lie below this key ("source.postgresql"). */
bool options_is_section(const char *key);
/** options_unsupported() - true when a later version has this key or a section above it ("transport.kafka"). */
bool options_unsupported(const char *key);
/** options_suggest() - the known key that looks most like this one, "" = none does. */
const char *options_suggest(const char *key, char *buf, size_t size);

/** option_range() - "1s to 1h", "" = none; buf at least RANGE_BYTES; returns buf. */
const char *option_range(const struct option *opt, char *buf, size_t size);

/** bind_problem() - adds an error with its place in front. key: for the places that have no line. */
void bind_problem(struct binder *b, const struct origin *origin, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** bind_report() - writes all problems into the report, those of the file by line, and frees them. */
void bind_report(struct binder *b);
/** bind_fail() - bind_problem() for the value of an option: the rules then say nothing more about it. */
void bind_fail(struct binder *b, int option, const struct origin *origin, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** bind_failed() - was there one? */
bool bind_failed(const struct binder *b, const char *key);
/** bind_unknown() - the error for a key that is none, or one of a later version. */
void bind_unknown(struct binder *b, const struct origin *origin, const char *key);
/** bind_given() - the origin of a key's value; kind ORIGIN_DEFAULT when nobody gave one. */
const struct origin *bind_given(const struct binder *b, const char *key);

/**
 * bind_text() - parses a text and stores it (not for lists).
 * @shown: what an error may quote of it; NULL = nothing.
 */
void bind_text(
	struct binder *b, int option, const struct origin *origin, const char *text, const char *shown);
/** bind_list() - stores a list; the items are copied. */
void bind_list(struct binder *b, int option, const struct origin *origin, char *const *items, size_t n);
/** bind_pair() - adds a pair to a map, or replaces its value; says what is wrong with it. */
void bind_pair(
	struct binder *b, int option, const struct origin *origin, const char *name, const char *value);
/** bind_defaults() - stores every default. */
void bind_defaults(struct binder *b);

/** yaml_bind() - reads the file's text and binds it. */
void yaml_bind(struct binder *b, const char *text, size_t len);
/** rules_apply() - what follows from several settings together: types, names, what is required. */
void rules_apply(struct binder *b);
