/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The file. libyaml makes a tree with line and column of every node; walking it, each mapping's keys are
 * appended to the path so far, and what the path names decides what may stand there: an option's value, a
 * section, or nothing. Everything a file could do to us is bounded: its size by the caller, its depth here
 * (an alias can make a tree without end). Values are taken apart only after ${…} has been put in, so that a
 * password cannot change the structure.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include <sluice/cleanup.h>

#include "bind.h"
#include "interpolate.h"

#define DEPTH_MAX 8
#define ITEMS_MAX 10000

struct walk {
	struct binder *b;
	yaml_document_t *doc;
};

static struct origin origin_of(const yaml_mark_t *mark)
{
	return (struct origin){ ORIGIN_FILE, (unsigned)mark->line + 1, (unsigned)mark->column + 1 };
}

static const char *scalar(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

/* a value that YAML reads as "nothing": an empty plain scalar, ~ or null */
static bool is_null(const yaml_node_t *node)
{
	if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	return !*scalar(node) || !strcmp(scalar(node), "~") || !strcmp(scalar(node), "null");
}

static void secret_fini(struct buf *buf)
{
	if (buf->data)
		explicit_bzero(buf->data, buf->cap);
	buf_fini(buf);
}

/* puts references in; says what is wrong and returns -1 */
static int expand(struct walk *w, int option, const yaml_node_t *node, struct buf *ret)
{
	struct origin origin = origin_of(&node->start_mark);
	const char *key = options_at((size_t)option)->key;
	char why[WHY_BYTES];

	if (strlen(scalar(node)) != node->data.scalar.length) {
		bind_fail(w->b, option, &origin, "%s holds a zero byte", key);
		return -1;
	}
	if (interpolate(scalar(node), ret, why, sizeof(why)) == 0)
		return 0;
	bind_fail(w->b, option, &origin, "%s: %s", key, why);
	return -1;
}

static void walk_text(struct walk *w, const char *key, int option, const yaml_node_t *node)
{
	struct origin origin = origin_of(&node->start_mark);
	_cleanup_(secret_fini) struct buf text = BUF_INIT;

	if (node->type != YAML_SCALAR_NODE)
		bind_fail(w->b, option, &origin, "%s needs one value, not a %s", key,
			node->type == YAML_MAPPING_NODE ? "section" : "list");
	else if (is_null(node))
		bind_fail(w->b, option, &origin, "%s has no value", key);
	else if (expand(w, option, node, &text) == 0)
		bind_text(w->b, option, &origin, buf_str(&text), scalar(node));
}

static int walk_item(struct walk *w, int option, const yaml_node_t *node, char **ret)
{
	_cleanup_(secret_fini) struct buf text = BUF_INIT;

	if (node->type != YAML_SCALAR_NODE || is_null(node)) {
		struct origin origin = origin_of(&node->start_mark);

		bind_fail(w->b, option, &origin, "%s: each entry of the list needs to be a text",
			options_at((size_t)option)->key);
		return -1;
	}
	if (expand(w, option, node, &text) < 0)
		return -1;
	*ret = strdup(buf_str(&text));
	if (!*ret)
		abort();
	return 0;
}

static void walk_list(struct walk *w, const char *key, int option, const yaml_node_t *node)
{
	struct origin origin = origin_of(&node->start_mark);
	size_t n, taken = 0;
	char **items;

	if (node->type != YAML_SEQUENCE_NODE) {
		bind_fail(w->b, option, &origin, "%s needs a list, such as [\"public.*\"]", key);
		return;
	}
	n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (n > ITEMS_MAX) {
		bind_fail(w->b, option, &origin, "%s has more than %d entries", key, ITEMS_MAX);
		return;
	}
	items = calloc(n + 1, sizeof(*items));
	if (!items)
		abort();
	for (size_t i = 0; i < n; i++) {
		const yaml_node_t *item = yaml_document_get_node(w->doc, node->data.sequence.items.start[i]);

		taken += walk_item(w, option, item, &items[taken]) == 0;
	}
	bind_list(w->b, option, &origin, items, taken);
	for (size_t i = 0; i < taken; i++)
		free(items[i]);
	free(items);
}

static void walk_pair(struct walk *w, int option, const yaml_node_t *name, const yaml_node_t *value)
{
	struct origin origin = origin_of(&name->start_mark);
	_cleanup_(secret_fini) struct buf text = BUF_INIT;

	if (name->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE || is_null(value))
		bind_fail(w->b, option, &origin, "%s: each name needs one value",
			options_at((size_t)option)->key);
	else if (expand(w, option, value, &text) == 0)
		bind_pair(w->b, option, &origin, scalar(name), buf_str(&text));
}

/* names with dots in them are no levels here */
static void walk_map(struct walk *w, const char *key, int option, const yaml_node_t *node)
{
	struct origin origin = origin_of(&node->start_mark);

	if (node->type != YAML_MAPPING_NODE) {
		bind_fail(w->b, option, &origin, "%s needs names and values, such as {compression.type: lz4}",
			key);
		return;
	}
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top; pair++)
		walk_pair(w, option, yaml_document_get_node(w->doc, pair->key),
			yaml_document_get_node(w->doc, pair->value));
}

/* sections of later versions may be there as long as nothing is in them: "transforms: []" */
static bool is_empty(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_SEQUENCE_NODE:
		return node->data.sequence.items.start == node->data.sequence.items.top;
	case YAML_MAPPING_NODE:
		return node->data.mapping.pairs.start == node->data.mapping.pairs.top;
	case YAML_SCALAR_NODE:
	case YAML_NO_NODE:
		break;
	}
	return false;
}

static void walk_mapping(struct walk *w, const char *path, const yaml_node_t *node, unsigned depth);

static void walk_value(
	struct walk *w, const char *key, const struct origin *at, const yaml_node_t *node, unsigned depth)
{
	int option = options_find(key);

	if (option >= 0) {
		if (options_at((size_t)option)->type == OPTION_LIST)
			walk_list(w, key, option, node);
		else if (options_at((size_t)option)->type == OPTION_MAP)
			walk_map(w, key, option, node);
		else
			walk_text(w, key, option, node);
	} else if (options_unsupported(key)) {
		if (!is_empty(node))
			bind_unknown(w->b, at, key);
	} else if (!options_is_section(key)) {
		bind_unknown(w->b, at, key);
	} else if (node->type == YAML_MAPPING_NODE) {
		walk_mapping(w, key, node, depth + 1);
	} else if (!is_null(node)) { /* a section whose lines are all commented out is empty */
		bind_problem(w->b, at, key, "%s is a section: it holds keys, not a value", key);
	}
}

/* the pair before this one with the same key, NULL = none */
static const yaml_node_t *earlier(struct walk *w, const yaml_node_t *node, const yaml_node_pair_t *pair)
{
	const yaml_node_t *key = yaml_document_get_node(w->doc, pair->key), *other;

	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < pair; p++) {
		other = yaml_document_get_node(w->doc, p->key);
		if (other->type == YAML_SCALAR_NODE && !strcmp(scalar(other), scalar(key)))
			return other;
	}
	return NULL;
}

static void walk_mapping(struct walk *w, const char *path, const yaml_node_t *node, unsigned depth)
{
	const yaml_node_pair_t *pair;

	for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = yaml_document_get_node(w->doc, pair->key), *twin;
		struct origin at = origin_of(&name->start_mark);
		char key[KEY_BYTES];

		if (name->type != YAML_SCALAR_NODE ||
			(size_t)snprintf(key, sizeof(key), "%s%s%s", path, *path ? "." : "", scalar(name)) >=
				sizeof(key) ||
			depth > DEPTH_MAX) {
			bind_problem(w->b, &at, path, "this cannot be a key");
			continue;
		}
		twin = earlier(w, node, pair);
		if (twin)
			bind_problem(w->b, &at, key, "%s is given twice, first in line %u", key,
				(unsigned)twin->start_mark.line + 1);
		else
			walk_value(w, key, &at, yaml_document_get_node(w->doc, pair->value), depth);
	}
}

static void syntax_problem(struct binder *b, const yaml_parser_t *parser)
{
	struct origin at = origin_of(&parser->problem_mark);

	b->incomplete = true;
	if (parser->error == YAML_READER_ERROR)
		bind_problem(b, &(struct origin){ 0 }, "", "byte %zu: not valid UTF-8 text",
			parser->problem_offset);
	else
		bind_problem(b, &at, "", "not valid YAML: %s%s%s", parser->problem ? parser->problem : "",
			parser->context ? " " : "", parser->context ? parser->context : "");
}

static void walk_root(struct binder *b, yaml_document_t *doc)
{
	const yaml_node_t *root = yaml_document_get_root_node(doc);
	struct walk w = { b, doc };
	struct origin at;

	if (!root || is_null(root))
		return; /* nothing but comments */
	at = origin_of(&root->start_mark);
	if (root->type == YAML_MAPPING_NODE)
		walk_mapping(&w, "", root, 0);
	else
		bind_problem(b, &at, "", "the file needs to hold keys and values, such as name: shop");
}

void yaml_bind(struct binder *b, const char *text, size_t len)
{
	yaml_parser_t parser;
	yaml_document_t doc;

	if (!yaml_parser_initialize(&parser))
		abort();
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		syntax_problem(b, &parser);
		yaml_parser_delete(&parser);
		return;
	}
	walk_root(b, &doc);
	yaml_document_delete(&doc);
	if (!yaml_parser_load(&parser, &doc)) {
		syntax_problem(b, &parser);
	} else {
		const yaml_node_t *second = yaml_document_get_root_node(&doc);

		if (second) {
			struct origin at = origin_of(&second->start_mark);

			bind_problem(b, &at, "", "the file needs to hold one document only");
		}
		yaml_document_delete(&doc);
	}
	yaml_parser_delete(&parser);
}
