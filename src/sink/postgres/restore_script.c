/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The text that pg_restore writes, cut into its entries. Each begins with
 *
 *   --
 *   -- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
 *   --
 *
 * where pg_dump has taken line ends out of the names. Nothing here looks into an entry's SQL further than to find the
 * table that it locks, so a text that is cut wrongly would fail at the server, not do something else.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define HEADER "--\n-- Name: "

static const char *find(const char *text, size_t len, const char *what)
{
	return memmem(text, len, what, strlen(what));
}

static const char *find_last(const char *text, size_t len, const char *what)
{
	const char *last = NULL, *at = text, *end = text + len;

	while ((at = find(at, (size_t)(end - at), what))) {
		last = at;
		at++;
	}
	return last;
}

/* at a header's name: fills name and type; returns where the SQL begins, NULL when this is no header */
static const char *parse_header(struct script_item *item, const char *at, const char *end)
{
	const char *line = memchr(at, '\n', (size_t)(end - at)), *schema, *type;

	if (!line || end - line < 4 || memcmp(line, "\n--\n", 4) != 0)
		return NULL;
	if (!(schema = find_last(at, (size_t)(line - at), "; Schema: ")))
		return NULL;
	if (!(type = find_last(at, (size_t)(schema - at), "; Type: ")))
		return NULL;
	item->name = at;
	item->name_len = (uint32_t)(type - at);
	item->type = type + strlen("; Type: ");
	item->type_len = (uint32_t)(schema - item->type);
	return line + 4;
}

/* psql's own commands close the text of newer versions: \unrestrict KEY */
static size_t without_epilogue(const char *text, size_t len)
{
	const char *at = find_last(text, len, "\n\\unrestrict ");

	if (at && !memchr(at + 1, '\n', len - (size_t)(at + 1 - text) - 1) && at + 1 < text + len)
		return (size_t)(at + 1 - text);
	if (at) {
		const char *line = memchr(at + 1, '\n', len - (size_t)(at + 1 - text));

		while (line && line < text + len && isspace((unsigned char)*line))
			line++;
		if (line == text + len)
			return (size_t)(at + 1 - text);
	}
	return len;
}

static struct script_item *script_add(struct script *script)
{
	if (script->n == script->cap) {
		script->cap = script->cap ? script->cap * 2 : 64;
		script->items = realloc(script->items, script->cap * sizeof(*script->items));
		if (!script->items)
			abort();
	}
	script->items[script->n] = (struct script_item){ 0 };
	return &script->items[script->n++];
}

void script_parse(struct script *script, const char *text, size_t len)
{
	const char *end, *at = text;

	*script = (struct script){ 0 };
	len = without_epilogue(text, len);
	end = text + len;
	while ((at = find(at, (size_t)(end - at), HEADER))) {
		struct script_item found = { 0 };
		const char *sql = NULL, *header = at;

		if (header == text || header[-1] == '\n')
			sql = parse_header(&found, at + strlen(HEADER), end);
		at += strlen(HEADER);
		if (!sql)
			continue;
		if (script->n)
			script->items[script->n - 1].sql_len =
				(size_t)(header - script->items[script->n - 1].sql);
		found.sql = sql;
		found.sql_len = (size_t)(end - sql);
		*script_add(script) = found;
		at = sql;
	}
}

void script_fini(struct script *script)
{
	free(script->items);
	*script = (struct script){ 0 };
}

bool script_is(const struct script_item *item, const char *type)
{
	return item->type_len == strlen(type) && memcmp(item->type, type, item->type_len) == 0;
}

bool script_has(const struct script_item *item, const char *text)
{
	return find(item->sql, item->sql_len, text) != NULL;
}

struct scan {
	const char *at, *end;
};

static void scan_space(struct scan *scan)
{
	while (scan->at < scan->end && isspace((unsigned char)*scan->at))
		scan->at++;
}

static bool scan_word(struct scan *scan, const char *word)
{
	size_t n = strlen(word);

	scan_space(scan);
	if ((size_t)(scan->end - scan->at) <= n || memcmp(scan->at, word, n) != 0 ||
		!isspace((unsigned char)scan->at[n]))
		return false;
	scan->at += n;
	return true;
}

/* a name, perhaps quoted, perhaps of several parts */
static size_t scan_name(struct scan *scan, const char **ret)
{
	bool quoted = false;

	scan_space(scan);
	*ret = scan->at;
	for (; scan->at < scan->end; scan->at++) {
		if (*scan->at == '"')
			quoted = !quoted;
		else if (!quoted && (isspace((unsigned char)*scan->at) || strchr("(;,", *scan->at)))
			break;
	}
	return (size_t)(scan->at - *ret);
}

size_t script_table(const struct script_item *item, const char **ret)
{
	struct scan scan = { item->sql, item->sql + item->sql_len };
	const char *index;

	if (scan_word(&scan, "ALTER")) {
		if (!scan_word(&scan, "TABLE"))
			return 0;
		scan_word(&scan, "ONLY");
		return scan_name(&scan, ret);
	}
	if (!scan_word(&scan, "CREATE"))
		return 0;
	scan_word(&scan, "UNIQUE");
	if (!scan_word(&scan, "INDEX") || scan_name(&scan, &index) == 0 || !scan_word(&scan, "ON"))
		return 0;
	scan_word(&scan, "ONLY");
	return scan_name(&scan, ret);
}

static bool name_begins(const struct script_item *item, const char *with)
{
	return item->name_len >= strlen(with) && memcmp(item->name, with, strlen(with)) == 0;
}

void script_put_pre(struct buf *sql, const struct script_item *item)
{
	static const char create[] = "CREATE SCHEMA ";
	const char *at;

	if (script_is(item, "COMMENT") && (name_begins(item, "EXTENSION ") || name_begins(item, "SCHEMA ")))
		return;
	if (script_is(item, "SCHEMA") && (at = find(item->sql, item->sql_len, create))) {
		buf_put(sql, item->sql, (size_t)(at - item->sql));
		buf_puts(sql, "CREATE SCHEMA IF NOT EXISTS ");
		at += strlen(create);
		buf_put(sql, at, item->sql_len - (size_t)(at - item->sql));
		return;
	}
	buf_put(sql, item->sql, item->sql_len);
}
