/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which table a relation goes to: found by the relation's address in the hot path. A relation that is
 * described again with the same content gets another address and shares the target; another content under
 * the same name makes the cache stale, and everything is read anew before the next transaction, prepared
 * statements included.
 */

#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "ddl.h"

static uint32_t tables_bucket(const struct relation *rel)
{
	return (uint32_t)(((uintptr_t)rel >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % TABLES_BUCKETS;
}

static struct target_alias *tables_alias(const struct tables *tables, const struct relation *rel)
{
	struct target_alias *alias = tables->buckets[tables_bucket(rel)];

	while (alias && alias->rel != rel)
		alias = alias->next;
	return alias;
}

static void tables_bind(struct tables *tables, struct relation *rel, struct target *target)
{
	struct target_alias *alias = calloc(1, sizeof(*alias));
	uint32_t bucket = tables_bucket(rel);

	if (!alias)
		abort();
	alias->rel = relation_ref(rel);
	alias->target = target;
	alias->next = tables->buckets[bucket];
	tables->buckets[bucket] = alias;
	tables->n_aliases++;
}

static struct target_options tables_options(const struct apply *apply)
{
	return (struct target_options){
		.replica_role = apply->sink->replica_role,
		.ignore_missing = apply->sink->cfg->apply.ddl == DDL_IGNORE,
		.add_missing = apply->sink->cfg->apply.ddl == DDL_ADDITIVE,
	};
}

/* the same description, but the source's table was written anew: remembered */
static int tables_describe(
	struct apply *apply, struct target *target, struct relation *rel, struct error *err)
{
	if (target->broken || target->rel->file == rel->file)
		return 0;
	/* the old one stays alive with its alias */
	relation_unref(target->rel);
	target->rel = relation_ref(rel);
	target->schema = rel->schema;
	target->name = rel->name;
	return queue_leave(&apply->sink->queue, err) < 0 ? -1 : ddl_note(apply, target, err);
}

/* apply.ddl ignore: said aloud, once for each description of a table */
static void tables_ignored(struct apply *apply, const struct target *target)
{
	_cleanup_(buf_freep) struct buf names = BUF_INIT;
	const struct context *ctx = apply->sink->base.ctx;

	for (uint32_t i = 0; target->n_columns && i < target->rel->n_columns; i++)
		if (!target_has_column(target, target->rel->columns[i].name))
			buf_printf(&names, "%s%s", names.len ? ", " : "", target->rel->columns[i].name);
	if (!names.len)
		return;
	log_warn(ctx->log, "columns-ignored", "the target lacks columns: their values are dropped",
		"table=%s columns=%s", target->sql_name, buf_str(&names));
	if (ctx->status)
		status_alarm_raise(ctx->status, "PG-COLUMN-IGNORED",
			"add them to the target's table, and copy it anew; or apply.ddl: additive from the beginning",
			"values are dropped that %s.%s has no column for: %s", target->schema, target->name,
			buf_str(&names));
}

static int tables_add(struct apply *apply, struct relation *rel, struct error *err)
{
	struct tables *tables = &apply->tables;
	const struct target_options opt = tables_options(apply);
	struct target *target;

	for (target = tables->targets; target; target = target->next) {
		if (strcmp(target->name, rel->name) != 0 || strcmp(target->schema, rel->schema) != 0)
			continue;
		if (target->rel->fingerprint == rel->fingerprint &&
			target->rel->n_columns == rel->n_columns) {
			tables_bind(tables, rel, target);
			return tables_describe(apply, target, rel, err);
		}
		tables->stale = true;
	}
	if (queue_leave(&apply->sink->queue, err) < 0 ||
		target_load(apply->sink->conn, rel, &opt, &target, err) < 0)
		return -1;
	target->next = tables->targets;
	tables->targets = target;
	tables->special |= target_must_be_ordered(target);
	tables_bind(tables, rel, target);
	if (opt.ignore_missing)
		tables_ignored(apply, target);
	if (ddl_note(apply, target, err) < 0)
		return -1;
	tables->lacking |= target->lacks;
	return 0;
}

int tables_resolve(struct apply *apply, const struct batch *batch, struct error *err)
{
	for (uint32_t i = 0; i < batch->n_relations; i++)
		if (!tables_alias(&apply->tables, batch->relations[i]) &&
			tables_add(apply, batch->relations[i], err) < 0)
			return -1;
	return 0;
}

int target_tables_find(
	struct apply *apply, const struct relation *rel, struct target **ret, struct error *err)
{
	struct target_alias *alias = tables_alias(&apply->tables, rel);

	if (!alias)
		return error_set(err, ERROR_BUG, "RELATION", "relation %s.%s is not held by its batch",
			rel->schema, rel->name);
	if (alias->target->broken) {
		*err = alias->target->error;
		return -1;
	}
	*ret = alias->target;
	return 0;
}

struct target *target_tables_peek(const struct apply *apply, const struct relation *rel)
{
	const struct target_alias *alias = tables_alias(&apply->tables, rel);

	return alias ? alias->target : NULL;
}

static void tables_free_statements(struct target *target)
{
	while (target->statements) {
		struct statement *st = target->statements;

		target->statements = st->next;
		statement_free(st);
	}
}

int target_tables_reload(struct apply *apply, struct target *target, struct error *err)
{
	const struct target_options opt = tables_options(apply);
	struct target *fresh = NULL, old = *target;

	if (target_load(apply->sink->conn, target->rel, &opt, &fresh, err) < 0)
		return -1;
	tables_free_statements(&old);
	*target = *fresh;
	target->next = old.next;
	*fresh = old;
	fresh->statements = NULL;
	target_free(fresh);
	apply->tables.special |= target_must_be_ordered(target);
	return 0;
}

void target_tables_fini(struct tables *tables)
{
	for (uint32_t i = 0; i < TABLES_BUCKETS; i++) {
		while (tables->buckets[i]) {
			struct target_alias *alias = tables->buckets[i];

			tables->buckets[i] = alias->next;
			relation_unref(alias->rel);
			free(alias);
		}
	}
	while (tables->targets) {
		struct target *target = tables->targets;

		tables->targets = target->next;
		tables_free_statements(target);
		target_free(target);
	}
	*tables = (struct tables){ 0 };
}

int tables_forget(struct apply *apply, struct error *err)
{
	target_tables_fini(&apply->tables);
	if (queue_leave(&apply->sink->queue, err) < 0 ||
		pg_exec(apply->sink->conn, "DEALLOCATE ALL", NULL, err) < 0)
		return -1;
	return progress_prepare(apply->sink, err);
}
