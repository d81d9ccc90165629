/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Relations live in one allocation: the struct, its columns, their facts, then every name. Nothing changes after
 * relation_new() but the reference count, so any thread may read one it holds a reference to.
 *
 * Of the facts only a column's number is part of the fingerprint: a column that was dropped and made again under its name
 * is another one, while a changed default says nothing of the rows.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/fnv1a.h>
#include <sluice/relation.h>

static uint64_t fingerprint(const struct relation *rel)
{
	uint64_t hash = FNV1A_BASIS;
	uint8_t identity = (uint8_t)rel->identity;

	hash = fnv1a(hash, rel->schema, strlen(rel->schema) + 1);
	hash = fnv1a(hash, rel->name, strlen(rel->name) + 1);
	hash = fnv1a(hash, &identity, 1);
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];
		uint8_t key = column->key;

		hash = fnv1a(hash, column->name, strlen(column->name) + 1);
		hash = fnv1a(hash, &column->type_oid, sizeof(column->type_oid));
		hash = fnv1a(hash, &column->type_modifier, sizeof(column->type_modifier));
		hash = fnv1a(hash, &key, 1);
		if (column->facts)
			hash = fnv1a(hash, &column->facts->number, sizeof(column->facts->number));
	}
	return hash ? hash : 1; /* 0 means "no relation" where a fingerprint stands alone */
}

static const char *put_name(char **at, const char *name)
{
	size_t len = strlen(name) + 1;
	char *copy = *at;

	memcpy(copy, name, len);
	*at += len;
	return copy;
}

#define FACT_TEXTS 6

static void fact_texts(struct column_facts *facts, const char **texts[FACT_TEXTS])
{
	texts[0] = &facts->missing;
	texts[1] = &facts->preset;
	texts[2] = &facts->type_schema;
	texts[3] = &facts->type_name;
	texts[4] = &facts->collation_schema;
	texts[5] = &facts->collation;
}

static size_t facts_bytes(const struct column_facts *from)
{
	struct column_facts facts = *from;
	const char **texts[FACT_TEXTS];
	size_t bytes = 0;

	fact_texts(&facts, texts);
	for (int i = 0; i < FACT_TEXTS; i++)
		bytes += *texts[i] ? strlen(*texts[i]) + 1 : 0;
	return bytes;
}

static void put_facts(char **at, struct column_facts *to, const struct column_facts *from)
{
	const char **texts[FACT_TEXTS];

	*to = *from;
	fact_texts(to, texts);
	for (int i = 0; i < FACT_TEXTS; i++)
		if (*texts[i])
			*texts[i] = put_name(at, *texts[i]);
}

struct relation *relation_new(const struct relation_spec *spec)
{
	size_t bytes = sizeof(struct relation) + spec->n_columns * sizeof(struct column);
	struct column_facts *facts;
	uint32_t n_facts = 0;
	struct relation *rel;
	char *names;

	for (uint32_t i = 0; i < spec->n_columns; i++) {
		bytes += strlen(spec->columns[i].name) + 1;
		if (!spec->columns[i].facts)
			continue;
		bytes += sizeof(*facts) + facts_bytes(spec->columns[i].facts);
		n_facts++;
	}
	bytes += strlen(spec->schema) + strlen(spec->name) + 2;
	rel = calloc(1, bytes);
	if (!rel)
		abort();
	facts = (struct column_facts *)(void *)&rel->columns[spec->n_columns];
	names = (char *)&facts[n_facts];
	atomic_init(&rel->refs, 1);
	rel->id = spec->id;
	rel->schema = put_name(&names, spec->schema);
	rel->name = put_name(&names, spec->name);
	rel->identity = spec->identity;
	rel->file = spec->file;
	rel->behind = spec->behind;
	rel->highest = spec->highest;
	rel->n_columns = spec->n_columns;
	for (uint32_t i = 0; i < spec->n_columns; i++) {
		rel->columns[i] = spec->columns[i];
		rel->columns[i].name = put_name(&names, spec->columns[i].name);
		rel->n_keys += spec->columns[i].key;
		if (!spec->columns[i].facts)
			continue;
		put_facts(&names, facts, spec->columns[i].facts);
		rel->columns[i].facts = facts++;
	}
	rel->fingerprint = fingerprint(rel);
	return rel;
}

struct relation *relation_ref(struct relation *rel)
{
	atomic_fetch_add_explicit(&rel->refs, 1, memory_order_relaxed);
	return rel;
}

struct relation *relation_unref(struct relation *rel)
{
	if (rel && atomic_fetch_sub_explicit(&rel->refs, 1, memory_order_acq_rel) == 1)
		free(rel);
	return NULL;
}

int relation_column(const struct relation *rel, const char *name)
{
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (!strcmp(rel->columns[i].name, name))
			return (int)i;
	}
	return -1;
}
