/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* JSON as a flat list of nodes; see debezium_parts.h. Depth and number are bounded. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debezium_parts.h"

struct building {
	struct tree *tree;
	struct arena *arena;
	const struct message *msg;
	struct read_text text, key;
	struct error *err;
	unsigned depth;
	uint32_t open[TREE_DEPTH];
};

static int refuse(const struct building *b, const char *what)
{
	error_set(b->err, ERROR_DATA, "DEBEZIUM-FORMAT", "offset %" PRId64 ": %s", b->msg->offset, what);
	return 0;
}

/* strings without escapes are where they were; others live in the parser for the moment only */
static struct read_text keep(const struct building *b, const char *s, size_t len)
{
	if (s >= b->text.s && s + len <= b->text.s + b->text.len)
		return (struct read_text){ s, len };
	return (struct read_text){ arena_dup(b->arena, s, len), len };
}

static int add(struct building *b, enum tree_type type, struct read_text text)
{
	struct tree *tree = b->tree;

	if (tree->n == tree->cap) {
		if (tree->n >= TREE_NODES)
			return refuse(b, "too many values");
		tree->cap = tree->cap ? tree->cap * 2 : 256;
		tree->nodes = realloc(tree->nodes, tree->cap * sizeof(*tree->nodes));
		if (!tree->nodes)
			abort();
	}
	tree->nodes[tree->n] = (struct tree_node){ type, tree->n + 1, b->key, text };
	tree->n++;
	b->key = (struct read_text){ 0 };
	return 1;
}

static int on_null(void *ctx)
{
	return add(ctx, TREE_NULL, (struct read_text){ 0 });
}

static int on_boolean(void *ctx, int truth)
{
	return add(ctx, truth ? TREE_TRUE : TREE_FALSE, (struct read_text){ 0 });
}

static int on_number(void *ctx, const char *s, size_t len)
{
	return add(ctx, TREE_NUMBER, keep(ctx, s, len));
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	return add(ctx, TREE_STRING, keep(ctx, (const char *)s, len));
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
	struct building *b = ctx;

	b->key = keep(b, (const char *)s, len);
	return 1;
}

static int on_open(struct building *b, enum tree_type type)
{
	if (b->depth == TREE_DEPTH)
		return refuse(b, "nested too deeply");
	b->open[b->depth++] = b->tree->n;
	return add(b, type, (struct read_text){ 0 });
}

static int on_map(void *ctx)
{
	return on_open(ctx, TREE_MAP);
}

static int on_array(void *ctx)
{
	return on_open(ctx, TREE_ARRAY);
}

static int on_end(void *ctx)
{
	struct building *b = ctx;

	b->tree->nodes[b->open[--b->depth]].end = b->tree->n;
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_array,
	.yajl_end_array = on_end,
};

int tree_parse(struct tree *tree, const struct message *msg, struct read_text text, struct arena *arena,
	struct error *err)
{
	struct building b = { .tree = tree, .arena = arena, .msg = msg, .text = text, .err = err };

	tree->n = 0;
	if (read_parse(msg, "the message", text.s, text.len, &callbacks, &b, err) < 0)
		return -1;
	if (tree->n)
		return 0;
	refuse(&b, "an empty text");
	return -1;
}

void tree_fini(struct tree *tree)
{
	free(tree->nodes);
	*tree = (struct tree){ 0 };
}

const struct tree_node *tree_member(const struct tree *tree, const struct tree_node *at, const char *name)
{
	size_t len = strlen(name);

	if (!at || at->type != TREE_MAP)
		return NULL;
	TREE_EACH(tree, at, child)
	{
		if (child->key.len == len && !memcmp(child->key.s, name, len))
			return child;
	}
	return NULL;
}

bool tree_i64(const struct tree *tree, const struct tree_node *at, const char *name, int64_t *ret)
{
	const struct tree_node *node = tree_member(tree, at, name);

	return node && node->type == TREE_NUMBER && read_i64(node->text, ret);
}

bool tree_is(const struct tree_node *at, const char *text)
{
	size_t len = strlen(text);

	return at && at->type == TREE_STRING && at->text.len == len && !memcmp(at->text.s, text, len);
}
