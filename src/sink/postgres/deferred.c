/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Deferrable unique and exclusion constraints are checked by internal triggers, and the replica role
 * switches these off: a second equal key would be accepted in silence. So the rows written are noted, and
 * before the commit each such constraint is looked up for them: a row that meets another one by the
 * constraint's own operators is an error, as it would have been at the source.
 *
 * A transaction over several groups checks its tables whole: the keys noted in earlier groups are gone with
 * their memory.
 */

#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "statement.h"

void deferred_note(struct apply *apply, struct target *target, const struct value *key)
{
	if (!target->deferred)
		return;
	if (apply->open || !target->n_keys || !key) {
		target->noted_whole = true;
		return;
	}
	if (target->n_noted == target->cap_noted) {
		target->cap_noted = target->cap_noted ? target->cap_noted * 2 : 64;
		target->noted = realloc(target->noted, target->cap_noted * sizeof(*target->noted));
		if (!target->noted)
			abort();
	}
	target->noted[target->n_noted++] = arena_dup(&apply->arena, key, target->n_keys * sizeof(*key));
}

void deferred_reset(struct apply *apply)
{
	for (struct target *target = apply->tables.targets; target; target = target->next) {
		target->n_noted = 0;
		target->noted_whole = false;
	}
}

/* the rows `a` that meet another row `b`; joined with the noted keys unless the whole table is looked at */
static void put_check(
	struct buf *sql, const struct target *target, const struct target_deferred *def, bool whole)
{
	buf_printf(sql, "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM %s AS a", target->sql_rows);
	if (!whole) {
		buf_puts(sql, ", ");
		statement_put_unnest(sql, target->n_keys);
	}
	buf_puts(sql, " WHERE ");
	for (uint32_t i = 0; !whole && i < target->n_keys; i++) {
		const struct target_column *col = &target->columns[target->to_target[target->keys[i]]];

		buf_puts(sql, "a.");
		pg_put_ident(sql, col->name);
		buf_printf(sql, " %s n.p%u", col->equal, i + 1);
		if (!col->array_oid)
			buf_printf(sql, "::%s", col->type);
		buf_puts(sql, " AND ");
	}
	buf_printf(sql, "EXISTS (SELECT 1 FROM %s AS b WHERE ", target->sql_rows);
	for (uint32_t i = 0; i < def->n_columns; i++) {
		const char *name = target->columns[def->columns[i]].name;

		buf_puts(sql, "b.");
		pg_put_ident(sql, name);
		buf_printf(sql, " %s a.", def->operators[i]);
		pg_put_ident(sql, name);
		buf_puts(sql, " AND ");
	}
	buf_puts(sql, "(b.tableoid, b.ctid) <> (a.tableoid, a.ctid)) LIMIT 1) AS met");
}

static int deferred_check_one(
	struct apply *apply, struct target *target, const struct target_deferred *def, struct error *err)
{
	const struct queue_item item = { .expect = 0,
		.what = "deferred constraint",
		.tag = TAG_DEFERRED,
		.who = def->name,
		.counted = true };
	struct row_set set = { .keys = target->noted, .n = target->n_noted };

	if (def->uncheckable) {
		error_set(err, ERROR_SCHEMA, "PG-DEFERRED",
			"deferrable constraint %s of %s.%s (with expressions or a condition) cannot be checked",
			def->name, target->schema, target->name);
		return error_remedy(err,
			"ALTER TABLE %s ALTER CONSTRAINT … NOT DEFERRABLE, or drop it until the switch",
			target->sql_name);
	}
	apply->check_rows = true;
	buf_clear(&apply->sql);
	put_check(&apply->sql, target, def, target->noted_whole);
	if (target->noted_whole)
		return queue_sql(&apply->sink->queue, buf_str(&apply->sql), &item, err);
	return execute_keys(apply, target, buf_str(&apply->sql), &set, &item, err);
}

int deferred_check(struct apply *apply, struct error *err)
{
	for (struct target *target = apply->tables.targets; target; target = target->next) {
		if (!target->noted_whole && !target->n_noted)
			continue;
		for (const struct target_deferred *def = target->deferred; def; def = def->next)
			if (deferred_check_one(apply, target, def, err) < 0)
				return -1;
	}
	return 0;
}
