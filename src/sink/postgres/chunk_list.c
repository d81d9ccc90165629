/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A copy's marks in a group, without a server: which tables they name, and which records an attempt makes void.
 *
 * A table of N partitions has its marks in each of them, and their appliers do not wait for each other: one may load the
 * second attempt while another still reads rows of the first. So an attempt is a fact of the target, not of a partition:
 * whoever meets a higher one first empties the table, and rows of a lower one are dropped by everyone from then on.
 */

#include <stdio.h>
#include <string.h>

#include <sluice/net.h>

#include "apply.h"

const char *chunk_name(const struct relation *rel, char buf[CHUNK_NAME_MAX])
{
	snprintf(buf, CHUNK_NAME_MAX, "%s.%s", rel->schema, rel->name);
	return buf;
}

static struct chunk_table *list_find(struct chunk_table *tables, const char *name)
{
	while (tables && strcmp(tables->name, name) != 0)
		tables = tables->next;
	return tables;
}

static struct chunk_table *list_get(struct arena *arena, struct chunk_table **tables, const char *name)
{
	struct chunk_table *table = list_find(*tables, name), **at = tables;

	if (table)
		return table;
	table = arena_alloc(arena, sizeof(*table));
	*table = (struct chunk_table){ 0 };
	snprintf(table->name, sizeof(table->name), "%s", name);
	while (*at)
		at = &(*at)->next;
	return *at = table;
}

static bool is_table_mark(const struct record *rec)
{
	return rec->op == RECORD_CHUNK && rec->rel && rec->chunk->mark != CHUNK_MARK_FINISHED;
}

struct chunk_table *chunks_list(
	struct arena *arena, const struct apply_group *group, const struct chunk_at *at)
{
	struct net_at where = net_at_begin(group);
	struct chunk_table *tables = NULL, *table;
	const struct record *rec;
	char name[CHUNK_NAME_MAX];
	bool begun = at->open;

	if (at->open)
		list_get(arena, &tables, at->table)->wanted = at->attempt;
	for (; (rec = net_at_record(group, &where)); where.record++) {
		if (begun && rec->op == RECORD_READ) {
			tables->rel = rec->rel;
			begun = false;
		}
		if (!is_table_mark(rec))
			continue;
		begun = false;
		table = list_get(arena, &tables, chunk_name(rec->rel, name));
		table->rel = rec->rel;
		table->exclusive |=
			rec->chunk->mark == CHUNK_MARK_TABLE || rec->chunk->mark == CHUNK_MARK_DONE;
		if (rec->chunk->attempt > table->wanted) {
			table->wanted = rec->chunk->attempt;
			table->start = 0;
		}
		if (rec->chunk->attempt == table->wanted && rec->chunk->start)
			table->start = rec->chunk->start;
	}
	return tables;
}

static bool is_row(const struct record *rec)
{
	return rec->op == RECORD_READ || rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE ||
	       rec->op == RECORD_DELETE;
}

/* rows before the mark of the attempt that empties their table */
static void drop_emptied(
	struct group_cut *cut, const struct apply_group *group, const struct chunk_table *table)
{
	struct net_at where = net_at_begin(group);
	const struct record *rec;
	uint32_t i = 0;

	for (; (rec = net_at_record(group, &where)); where.record++, i++) {
		if (!rec->rel || strcmp(rec->rel->name, table->rel->name) != 0 ||
			strcmp(rec->rel->schema, table->rel->schema) != 0)
			continue;
		if (rec->op == RECORD_CHUNK && rec->chunk->attempt == table->attempt)
			return;
		if (is_row(rec))
			cut->dropped[i] = 1;
	}
}

void chunks_drop(struct group_cut *cut, const struct apply_group *group, const struct chunk_at *at,
	const struct chunk_table *tables)
{
	struct net_at where = net_at_begin(group);
	const struct record *rec;
	char name[CHUNK_NAME_MAX];
	bool stale = false;
	uint32_t i = 0;

	for (const struct chunk_table *table = tables; table; table = table->next) {
		stale = stale ||
			(at->open && !strcmp(table->name, at->table) && at->attempt < table->attempt);
		if (table->emptied && table->rel)
			drop_emptied(cut, group, table);
	}
	for (; (rec = net_at_record(group, &where)); where.record++, i++) {
		if (rec->op == RECORD_CHUNK) {
			stale = false;
			for (const struct chunk_table *table = tables;
				rec->chunk->mark == CHUNK_MARK_BEGIN && rec->rel && table;
				table = table->next)
				stale = stale || (!strcmp(table->name, chunk_name(rec->rel, name)) &&
							 rec->chunk->attempt < table->attempt);
		}
		if (stale && rec->op == RECORD_READ)
			cut->dropped[i] = 1;
	}
}
