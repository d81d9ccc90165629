/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Parsing by option type. An error never ends the work: all of them are wanted. A value is quoted in an error
 * only as the file has it (before variables and files are put in), never for a secret, and never when it
 * looks like one.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/cleanup.h>
#include <sluice/kafka_properties.h>

#include "bind.h"
#include "units.h"

#define SHOWN_MAX 48

void config_report_fini(struct config_report *report)
{
	buf_fini(&report->errors);
	buf_fini(&report->warnings);
	*report = CONFIG_REPORT_INIT;
}

char *config_environment_name(const char *key, char *buf, size_t size)
{
	int n = snprintf(buf, size, "SLUICE_%s", key);

	for (int i = 0; i < n && (size_t)i < size; i++) {
		if (buf[i] == '.')
			buf[i] = '_';
		else if (buf[i] >= 'a' && buf[i] <= 'z')
			buf[i] = (char)(buf[i] - 'a' + 'A');
	}
	return buf;
}

static char *copy(const char *s)
{
	char *ret = strdup(s);

	if (!ret)
		abort();
	return ret;
}

__attribute__((format(printf, 4, 0))) static void problem_add(
	struct binder *b, const struct origin *origin, const char *key, const char *fmt, va_list ap)
{
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	char name[KEY_BYTES], text[512];
	struct problem *problem;

	switch (origin->kind) {
	case ORIGIN_DEFAULT:
		buf_puts(&out, *b->file ? b->file : "config");
		break;
	case ORIGIN_FILE:
		buf_printf(&out, "%s:%u:%u", b->file, origin->line, origin->column);
		break;
	case ORIGIN_ENVIRONMENT:
		buf_puts(&out, config_environment_name(key, name, sizeof(name)));
		break;
	case ORIGIN_SET:
		buf_printf(&out, "--set %s", key);
		break;
	}
	vsnprintf(text, sizeof(text), fmt, ap);
	buf_printf(&out, ": %s\n", text);
	b->problems = reallocarray(b->problems, b->n_problems + 1, sizeof(*b->problems));
	if (!b->problems)
		abort();
	problem = &b->problems[b->n_problems];
	*problem = (struct problem){ .origin = *origin, .order = b->n_problems, .text = copy(buf_str(&out)) };
	b->n_problems++;
}

void bind_problem(struct binder *b, const struct origin *origin, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	problem_add(b, origin, key, fmt, ap);
	va_end(ap);
}

void bind_fail(struct binder *b, int option, const struct origin *origin, const char *fmt, ...)
{
	va_list ap;

	b->origins[option] = *origin;
	b->failed[option] = true;
	va_start(ap, fmt);
	problem_add(b, origin, options_at((size_t)option)->key, fmt, ap);
	va_end(ap);
}

bool bind_failed(const struct binder *b, const char *key)
{
	return b->failed[options_find(key)];
}

/* the file by line and column, then what has no line, in the order found */
static int problem_compare(const void *left, const void *right)
{
	const struct problem *a = left, *b = right;
	unsigned la = a->origin.line ? a->origin.line : ~0u, lb = b->origin.line ? b->origin.line : ~0u;

	if (la != lb)
		return la < lb ? -1 : 1;
	if (a->origin.column != b->origin.column)
		return a->origin.column < b->origin.column ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

void bind_report(struct binder *b)
{
	if (b->n_problems)
		qsort(b->problems, b->n_problems, sizeof(*b->problems), problem_compare);
	for (size_t i = 0; i < b->n_problems; i++) {
		buf_puts(&b->report->errors, b->problems[i].text);
		free(b->problems[i].text);
	}
	b->report->n_errors += (uint32_t)b->n_problems;
	free(b->problems);
	b->problems = NULL;
	b->n_problems = 0;
}

void bind_unknown(struct binder *b, const struct origin *origin, const char *key)
{
	char suggestion[KEY_BYTES];

	if (options_unsupported(key))
		bind_problem(b, origin, key, "%s is not supported by this version", key);
	else if (*options_suggest(key, suggestion, sizeof(suggestion)))
		bind_problem(b, origin, key, "unknown key %s, did you mean %s?", key, suggestion);
	else
		bind_problem(b, origin, key, "unknown key %s", key);
}

const struct origin *bind_given(const struct binder *b, const char *key)
{
	return &b->origins[options_find(key)];
}

static void *member(struct config *cfg, const struct option *opt)
{
	return (char *)cfg + opt->offset;
}

static void string_free(const struct option *opt, char *s)
{
	if (s && (opt->flags & OPTION_SECRET))
		explicit_bzero(s, strlen(s));
	free(s);
}

static void list_free(struct string_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct string_list){ 0 };
}

static void map_free(struct property_list *map)
{
	for (uint32_t i = 0; i < map->n; i++) {
		explicit_bzero(map->values[i], strlen(map->values[i]));
		free(map->names[i]);
		free(map->values[i]);
	}
	free(map->names);
	free(map->values);
	*map = (struct property_list){ 0 };
}

struct config *config_free(struct config *cfg)
{
	const struct option *opt;

	if (!cfg)
		return NULL;
	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (opt->type == OPTION_STRING)
			string_free(opt, *(char **)member(cfg, opt));
		else if (opt->type == OPTION_LIST)
			list_free(member(cfg, opt));
		else if (opt->type == OPTION_MAP)
			map_free(member(cfg, opt));
	}
	free(cfg->path);
	free(cfg);
	return NULL;
}

const char *option_range(const struct option *opt, char *buf, size_t size)
{
	char min[32], max[32];

	buf[0] = 0;
	if (opt->min == 0 && opt->max == 0)
		return buf;
	if (opt->type == OPTION_DURATION) {
		units_format_duration(opt->min, min, sizeof(min));
		units_format_duration(opt->max, max, sizeof(max));
	} else if (opt->type == OPTION_SIZE) {
		units_format_size(opt->min, min, sizeof(min));
		units_format_size(opt->max, max, sizeof(max));
	} else {
		snprintf(min, sizeof(min), "%.0f", opt->min);
		snprintf(max, sizeof(max), "%.0f", opt->max);
	}
	snprintf(buf, size, "%s to %s", min, max);
	return buf;
}

static int check_range(const struct option *opt, double value, char *why)
{
	char range[RANGE_BYTES];

	if ((opt->min == 0 && opt->max == 0) || (value >= opt->min && value <= opt->max))
		return 0;
	snprintf(why, WHY_BYTES, "must be from %s", option_range(opt, range, sizeof(range)));
	return -1;
}

static int store_number(const struct option *opt, void *to, const char *text, char *why)
{
	uint64_t n = 0;
	double d = 0;

	if (opt->type == OPTION_DOUBLE ? !units_parse_double(text, &d) : !units_parse_uint(text, &n)) {
		snprintf(why, WHY_BYTES, "must be a %s",
			opt->type == OPTION_DOUBLE ? "number" : "whole number");
		return -1;
	}
	if (check_range(opt, opt->type == OPTION_DOUBLE ? d : (double)n, why) < 0)
		return -1;
	if (opt->type == OPTION_DOUBLE) {
		memcpy(to, &d, sizeof(d));
	} else if (opt->type == OPTION_UINT) {
		memcpy(to, &n, sizeof(n));
	} else {
		uint32_t small = (uint32_t)n;

		memcpy(to, &small, sizeof(small));
	}
	return 0;
}

static int store_int32(const struct option *opt, void *to, const char *text, char *why)
{
	bool negative = *text == '-';
	uint64_t n = 0;
	int32_t value;

	if (!units_parse_uint(text + negative, &n) || n > INT32_MAX) {
		snprintf(why, WHY_BYTES, "must be a whole number");
		return -1;
	}
	value = negative ? -(int32_t)n : (int32_t)n;
	if (check_range(opt, value, why) < 0)
		return -1;
	memcpy(to, &value, sizeof(value));
	return 0;
}

static int store_duration(const struct option *opt, void *to, const char *text, char *why)
{
	int64_t ms;

	if (!config_parse_duration(text, &ms)) {
		snprintf(why, WHY_BYTES, "must be a duration, such as 250ms, 30s, 10m or 1h");
		return -1;
	}
	if (check_range(opt, (double)ms, why) < 0)
		return -1;
	memcpy(to, &ms, sizeof(ms));
	return 0;
}

static int store_size(const struct option *opt, void *to, const char *text, char *why)
{
	uint64_t bytes;

	if (!config_parse_size(text, &bytes)) {
		snprintf(why, WHY_BYTES, "must be a size, such as 64KiB, 1MiB or 2GiB");
		return -1;
	}
	if (check_range(opt, (double)bytes, why) < 0)
		return -1;
	memcpy(to, &bytes, sizeof(bytes));
	return 0;
}

static int store_enum(const struct option *opt, void *to, const char *text, char *why)
{
	size_t len;

	for (unsigned i = 0; opt->values[i]; i++) {
		if (*text && !strcmp(opt->values[i], text)) {
			memcpy(to, &i, sizeof(i));
			return 0;
		}
	}
	len = (size_t)snprintf(why, WHY_BYTES, "must be one of");
	for (unsigned i = 0, n = 0; opt->values[i] && len < WHY_BYTES; i++) {
		if (*opt->values[i])
			len += (size_t)snprintf(
				why + len, WHY_BYTES - len, "%s %s", n++ ? "," : "", opt->values[i]);
	}
	return -1;
}

static int store_bool(void *to, const char *text, char *why)
{
	bool yes = !strcmp(text, "true");

	if (!yes && strcmp(text, "false")) {
		snprintf(why, WHY_BYTES, "must be true or false");
		return -1;
	}
	memcpy(to, &yes, sizeof(yes));
	return 0;
}

static int store(const struct option *opt, struct config *cfg, const char *text, char *why)
{
	void *to = member(cfg, opt);

	switch (opt->type) {
	case OPTION_STRING:
		string_free(opt, *(char **)to);
		*(char **)to = copy(text);
		return 0;
	case OPTION_BOOL:
		return store_bool(to, text, why);
	case OPTION_UINT:
	case OPTION_UINT32:
	case OPTION_DOUBLE:
		return store_number(opt, to, text, why);
	case OPTION_DURATION:
		return store_duration(opt, to, text, why);
	case OPTION_SIZE:
		return store_size(opt, to, text, why);
	case OPTION_ENUM:
		return store_enum(opt, to, text, why);
	case OPTION_INT32:
		return store_int32(opt, to, text, why);
	case OPTION_LIST:
		break;
	case OPTION_MAP:
		snprintf(why, WHY_BYTES, "must hold names and values");
		return -1;
	}
	snprintf(why, WHY_BYTES, "must be a list");
	return -1;
}

/* a connection string that was put behind the wrong key is a secret all the same */
static bool looks_secret(const char *text)
{
	return strstr(text, "://") || strcasestr(text, "password") || strlen(text) > SHOWN_MAX;
}

void bind_text(struct binder *b, int option, const struct origin *origin, const char *text, const char *shown)
{
	const struct option *opt = options_at((size_t)option);
	char why[WHY_BYTES] = "";

	b->origins[option] = *origin;
	b->failed[option] = false;
	if (store(opt, b->cfg, text, why) == 0)
		return;
	if (shown && !(opt->flags & OPTION_SECRET) && !looks_secret(shown))
		bind_fail(b, option, origin, "%s: \"%s\" %s", opt->key, shown, why);
	else
		bind_fail(b, option, origin, "%s %s", opt->key, why);
}

void bind_list(struct binder *b, int option, const struct origin *origin, char *const *items, size_t n)
{
	struct string_list *list = member(b->cfg, options_at((size_t)option));

	b->origins[option] = *origin;
	list_free(list);
	if (!n)
		return;
	list->items = calloc(n, sizeof(*list->items));
	if (!list->items)
		abort();
	for (; list->n < n; list->n++)
		list->items[list->n] = copy(items[list->n]);
}

void bind_pair(struct binder *b, int option, const struct origin *origin, const char *name, const char *value)
{
	const struct option *opt = options_at((size_t)option);
	struct property_list *map = member(b->cfg, opt);
	char why[WHY_BYTES] = "";
	uint32_t i = 0;

	b->origins[option] = *origin;
	if (!kafka_property_check(name, value, why, sizeof(why))) {
		bind_fail(b, option, origin, "%s: %s %s", opt->key, name, why);
		return;
	}
	while (i < map->n && strcmp(map->names[i], name))
		i++;
	if (i == map->n) {
		map->names = reallocarray(map->names, map->n + 1, sizeof(*map->names));
		map->values = reallocarray(map->values, map->n + 1, sizeof(*map->values));
		if (!map->names || !map->values)
			abort();
		map->names[map->n++] = copy(name);
	} else {
		free(map->values[i]);
	}
	map->values[i] = copy(value);
}

void bind_defaults(struct binder *b)
{
	const struct option *opt;
	char why[WHY_BYTES];

	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (opt->type == OPTION_STRING)
			*(char **)member(b->cfg, opt) = copy(opt->default_value ? opt->default_value : "");
		else if (opt->default_value && store(opt, b->cfg, opt->default_value, why) < 0)
			abort(); /* a table of ours is wrong */
	}
}
