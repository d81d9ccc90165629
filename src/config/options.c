/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The list of all option tables, what can be found in it, and the settings of the log.
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bind.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const formats[] = { "logfmt", "json", NULL };

static const struct option log_options[] = {
	{ "log.level", OPTION_ENUM, offsetof(struct config, log.level), "info", 0, 0, levels, 0,
		"The least important lines that are written. Logs go to standard error." },
	{ "log.format", OPTION_ENUM, offsetof(struct config, log.format), "logfmt", 0, 0, formats, 0,
		"How a line is written." },
};

const struct option_table options_log = { "Log", log_options, N(log_options) };

static const struct option_table *const tables[] = {
	&options_pipeline,
	&options_source,
	&options_source_postgres,
	&options_source_generator,
	&options_target,
	&options_transport,
	&options_kafka,
	&options_snapshot,
	&options_apply,
	&options_cutover,
	&options_http,
	&options_log,
};

/* sections of the operators' contract that a later version has */
static const char *const later[] = { "source.mongodb", "transforms" };

const struct option_table *const *options_tables(size_t *ret_n)
{
	*ret_n = N(tables);
	return tables;
}

const struct option *options_at(size_t i)
{
	size_t index = i;

	for (size_t t = 0; t < N(tables); t++) {
		if (i < tables[t]->n) {
			assert(index < OPTIONS_MAX);
			return &tables[t]->options[i];
		}
		i -= tables[t]->n;
	}
	return NULL;
}

int options_find(const char *key)
{
	const struct option *opt;

	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (!strcmp(opt->key, key))
			return (int)i;
	}
	return -1;
}

/* does key lie below section, or is it the section itself? */
static bool lies_in(const char *key, const char *section, bool itself)
{
	size_t len = strlen(section);

	return !strncmp(key, section, len) && (key[len] == '.' || (itself && !key[len]));
}

bool options_is_section(const char *key)
{
	const struct option *opt;

	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (lies_in(opt->key, key, false))
			return true;
	}
	return false;
}

bool options_unsupported(const char *key)
{
	for (size_t i = 0; i < N(later); i++) {
		if (lies_in(key, later[i], true))
			return true;
	}
	return false;
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Levenshtein's distance of two short words */
static size_t distance(const char *a, const char *b)
{
	size_t len = strlen(b), row[KEY_BYTES];

	if (len >= N(row) || strlen(a) >= N(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			size_t above = row[j];

			row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[len];
}

static const char *last_part(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot ? dot + 1 : key;
}

/* the first `depth` parts of a key, or all of it when it has fewer */
static void first_parts(const char *key, unsigned depth, char *buf, size_t size)
{
	size_t len = 0;

	for (; key[len]; len++) {
		if (key[len] == '.' && --depth == 0)
			break;
	}
	snprintf(buf, size, "%.*s", (int)len, key);
}

const char *options_suggest(const char *key, char *buf, size_t size)
{
	size_t best = SIZE_MAX, limit = strlen(last_part(key)) / 3;
	char candidate[KEY_BYTES];
	const struct option *opt;
	unsigned depth = 1;

	buf[0] = 0;
	limit = limit < 2 ? 2 : limit;
	for (const char *p = key; (p = strchr(p, '.')); p++)
		depth++;
	for (size_t i = 0; (opt = options_at(i)); i++) {
		size_t d;

		first_parts(opt->key, depth, candidate, sizeof(candidate));
		d = distance(key, candidate);
		if (d <= limit && d < best) {
			best = d;
			snprintf(buf, size, "%s", candidate);
		}
	}
	/* the right word in the wrong section */
	for (size_t i = 0; best == SIZE_MAX && (opt = options_at(i)); i++) {
		if (!strcmp(last_part(opt->key), last_part(key))) {
			best = 0;
			snprintf(buf, size, "%s", opt->key);
		}
	}
	return buf;
}
