/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The target's catalog, read once per relation, and the mapping of the source's columns to it by name.
 *
 * How a row is found: by the replica identity's columns when the source sends a key; for identity FULL by a
 * unique key of the target whose columns are NOT NULL and all come from the source; else by comparing whole
 * rows.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"
#include "sink.h"

#define COLUMNS_SQL                                                                                          \
	"SELECT c.oid, c.relkind, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, -1), a.atttypid,"  \
	" a.atttypmod, t.typarray, t.typdelim, b.typtype, b.oid, a.attgenerated <> '', a.attidentity = 'a'," \
	" a.attnotnull,"                                                                                     \
	" CASE WHEN b.typtype = 'b' AND b.typelem = 0 AND bn.nspname <> 'pg_catalog'"                        \
	" AND EXISTS (SELECT 1 FROM pg_catalog.pg_operator o WHERE o.oprname = '=' AND o.oprleft = b.oid"    \
	" AND o.oprright = b.oid AND o.oprnamespace = bn.oid)"                                               \
	" THEN pg_catalog.format('OPERATOR(%I.=)', bn.nspname) ELSE 'OPERATOR(pg_catalog.=)' END"            \
	" FROM pg_catalog.pg_class c"                                                                        \
	" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                          \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"      \
	" JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"                                                   \
	" CROSS JOIN LATERAL (WITH RECURSIVE d AS (SELECT t.oid, t.typtype, t.typbasetype"                   \
	" UNION ALL SELECT y.oid, y.typtype, y.typbasetype FROM d JOIN pg_catalog.pg_type y"                 \
	" ON y.oid = d.typbasetype AND d.typtype = 'd')"                                                     \
	" SELECT y.* FROM d JOIN pg_catalog.pg_type y ON y.oid = d.oid WHERE d.typtype <> 'd') b"            \
	" JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace"                                        \
	" WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') ORDER BY a.attnum"

/* one row per key column of every unique or exclusion index, the primary key first */
#define INDEXES_SQL                                                                                           \
	"SELECT i.indexrelid, ci.relname, i.indisunique, i.indimmediate,"                                     \
	" i.indpred IS NOT NULL OR i.indexprs IS NOT NULL, k.number,"                                         \
	" pg_catalog.format('OPERATOR(%I.%s)', op.nspname, o.oprname), ao.amopopr IS NOT NULL"                \
	" FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ci ON ci.oid = i.indexrelid"                    \
	" LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = i.indexrelid"                              \
	" AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')"                                   \
	" CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, position)"                 \
	" JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[k.position::int - 1]"                          \
	" LEFT JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype" \
	" AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3 AND ao.amopmethod = 403"                \
	" LEFT JOIN pg_catalog.pg_operator o ON o.oid = coalesce(con.conexclop[k.position::int], ao.amopopr)" \
	" LEFT JOIN pg_catalog.pg_namespace op ON op.oid = o.oprnamespace"                                    \
	" WHERE i.indrelid = $1 AND k.position <= i.indnkeyatts AND i.indisvalid"                             \
	" AND (i.indisunique OR i.indisexclusion)"                                                            \
	" ORDER BY i.indisprimary DESC, i.indexrelid, k.position"

/* what acts on its own when rows are written: in the table and in its partitions */
#define ACTING_SQL                                                                                                  \
	"WITH p AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::oid::regclass))" \
	" SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g JOIN p ON p.oid = g.tgrelid"                         \
	" WHERE NOT g.tgisinternal AND g.tgenabled IN ($2, 'A'))"                                                   \
	" OR EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r JOIN p ON p.oid = r.ev_class"                            \
	" WHERE r.ev_type <> '1' AND r.ev_enabled IN ($2, 'A')),"                                                   \
	" pg_catalog.row_security_active($1::oid)"

static void *target_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static char *target_dup(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		abort();
	return copy;
}

static uint32_t field_u32(const PGresult *res, int row, int column)
{
	return (uint32_t)strtoul(PQgetvalue(res, row, column), NULL, 10);
}

static bool field_bool(const PGresult *res, int row, int column)
{
	return *PQgetvalue(res, row, column) == 't';
}

static void target_read_column(struct target_column *col, const PGresult *res, int row)
{
	bool is_enum;

	col->number = (int16_t)field_u32(res, row, 2);
	col->name = target_dup(PQgetvalue(res, row, 3));
	col->type = target_dup(PQgetvalue(res, row, 4));
	col->type_oid = field_u32(res, row, 5);
	col->type_modifier = (int32_t)strtol(PQgetvalue(res, row, 6), NULL, 10);
	col->array_oid = field_u32(res, row, 7);
	col->delimiter = *PQgetvalue(res, row, 8);
	is_enum = *PQgetvalue(res, row, 9) == 'e';
	col->base_oid = field_u32(res, row, 10);
	col->generated = field_bool(res, row, 11);
	col->identity_always = field_bool(res, row, 12);
	col->not_null = field_bool(res, row, 13);
	col->equal = target_dup(PQgetvalue(res, row, 14));
	col->enum_type = is_enum;
	col->encoding = is_enum ? PARAMS_BYTES : params_encoding_of(col->base_oid);
	if (*PQgetvalue(res, row, 9) == 'c')
		col->array_oid = 0; /* unnest() would spread a composite over several columns */
	if (!col->array_oid) {
		col->encoding = PARAMS_BYTES; /* elements of a text[] */
		col->delimiter = ',';
	}
}

/* index of the target's column by name, TARGET_SKIP = none */
static uint32_t target_find_column(const struct target *target, const char *name)
{
	for (uint32_t i = 0; i < target->n_columns; i++)
		if (!strcmp(target->columns[i].name, name))
			return i;
	return TARGET_SKIP;
}

bool target_has_column(const struct target *target, const char *name)
{
	return target_find_column(target, name) != TARGET_SKIP;
}

static uint32_t target_find_number(const struct target *target, int16_t number)
{
	for (uint32_t i = 0; i < target->n_columns; i++)
		if (target->columns[i].number == number)
			return i;
	return TARGET_SKIP;
}

/* rel column that is written to the target's column, TARGET_SKIP = none */
static uint32_t target_find_source(const struct target *target, uint32_t column)
{
	for (uint32_t i = 0; i < target->rel->n_columns; i++)
		if (target->to_target[i] == column)
			return i;
	return TARGET_SKIP;
}

static void target_break(struct target *target, const struct error *err)
{
	target->broken = true;
	target->error = *err;
}

/* the name of the source's column type, when the target's server knows it too */
static int target_type_name(
	PGconn *conn, const struct column *column, char *buf, size_t size, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char oid[16], modifier[16];
	const char *values[] = { oid, modifier };

	snprintf(buf, size, "<type>");
	if (!pg_type_is_builtin(column->type_oid))
		return 0;
	snprintf(oid, sizeof(oid), "%u", column->type_oid);
	snprintf(modifier, sizeof(modifier), "%d", column->type_modifier);
	if (pg_exec_params(conn, "SELECT pg_catalog.format_type($1::oid, $2::int)", 2, values, &res, err) < 0)
		return -1;
	snprintf(buf, size, "%s", PQgetvalue(res, 0, 0));
	return 0;
}

static int target_missing_column(
	PGconn *conn, struct target *target, const struct column *column, struct error *err)
{
	struct error missing = ERROR_INIT;
	char type[80];

	if (target_type_name(conn, column, type, sizeof(type), err) < 0)
		return -1;
	error_set(&missing, ERROR_SCHEMA, "PG-COLUMN-MISSING",
		"column %s of source table %s.%s does not exist in the target's table", column->name,
		target->schema, target->name);
	error_remedy(&missing,
		"ALTER TABLE %s ADD COLUMN \"%s\" %s; -- with the DEFAULT it has at the source",
		target->sql_name, column->name, type);
	target_break(target, &missing);
	return 0;
}

static int target_narrow_column(PGconn *conn, struct target *target, const struct column *column,
	const struct target_column *to, const char *why, struct error *err)
{
	struct error narrow = ERROR_INIT;
	char type[80];

	if (target_type_name(conn, column, type, sizeof(type), err) < 0)
		return -1;
	error_set(&narrow, ERROR_SCHEMA, "PG-COLUMN-NARROW",
		"column %s of %s.%s: the target's type would change values of %s in silence: %s",
		column->name, target->schema, target->name, type, why);
	error_remedy(
		&narrow, "ALTER TABLE %s ALTER COLUMN \"%s\" TYPE %s;", target->sql_name, to->name, type);
	target_break(target, &narrow);
	return 0;
}

static int target_map(PGconn *conn, struct target *target, bool add_missing, struct error *err)
{
	const struct relation *rel = target->rel;

	target->to_target = target_alloc(rel->n_columns, sizeof(uint32_t));
	target->insert_columns = target_alloc(rel->n_columns, sizeof(uint32_t));
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *column = &rel->columns[i];
		uint32_t to = target_find_column(target, column->name);
		const char *why = NULL;

		target->to_target[i] = TARGET_SKIP;
		if (to == TARGET_SKIP) {
			if (target->ignore_missing && !column->key)
				continue;
			if (!target->broken && target_missing_column(conn, target, column, err) < 0)
				return -1;
			target->lacks = add_missing;
			continue;
		}
		if (target->columns[to].generated)
			continue;
		if (column->type_oid && pg_type_is_builtin(column->type_oid))
			why = target_narrows(column->type_oid, column->type_modifier,
				target->columns[to].base_oid, target->columns[to].type_modifier);
		if (why && !target->broken &&
			target_narrow_column(conn, target, column, &target->columns[to], why, err) < 0)
			return -1;
		target->to_target[i] = to;
		target->insert_columns[target->n_insert++] = i;
	}
	return 0;
}

static int target_read_columns(PGconn *conn, struct target *target, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[] = { target->schema, target->name };
	struct error missing = ERROR_INIT;

	if (pg_exec_params(conn, COLUMNS_SQL, 2, values, &res, err) < 0)
		return -1;
	target->n_columns = (uint32_t)PQntuples(res);
	if (!target->n_columns) {
		error_set(&missing, ERROR_SCHEMA, "PG-TABLE-MISSING",
			"table %s.%s does not exist in the target", target->schema, target->name);
		error_remedy(&missing,
			"create it: pg_dump --schema-only --table='%s' <source> | psql <target>",
			target->sql_name);
		target_break(target, &missing);
		return 0;
	}
	target->oid = field_u32(res, 0, 0);
	target->kind = *PQgetvalue(res, 0, 1);
	target->columns = target_alloc(target->n_columns, sizeof(*target->columns));
	for (uint32_t i = 0; i < target->n_columns; i++)
		target_read_column(&target->columns[i], res, (int)i);
	return 0;
}

/* rows [from, to) of INDEXES_SQL belong to one index; may it find rows of identity FULL? */
static bool target_index_finds(const struct target *target, const PGresult *res, int from, int to)
{
	if (!field_bool(res, from, 2) || !field_bool(res, from, 3) || field_bool(res, from, 4) ||
		!field_bool(res, to - 1, 7))
		return false;
	for (int i = from; i < to; i++) {
		uint32_t column =
			target_find_number(target, (int16_t)strtol(PQgetvalue(res, i, 5), NULL, 10));

		if (column == TARGET_SKIP || !target->columns[column].not_null ||
			target_find_source(target, column) == TARGET_SKIP)
			return false;
	}
	return true;
}

static void target_add_deferred(struct target *target, const PGresult *res, int from, int to)
{
	struct target_deferred *def = target_alloc(1, sizeof(*def));

	def->name = target_dup(PQgetvalue(res, from, 1));
	def->uncheckable = field_bool(res, from, 4);
	def->columns = target_alloc((size_t)(to - from), sizeof(uint32_t));
	def->operators = target_alloc((size_t)(to - from), sizeof(char *));
	for (int i = from; i < to; i++) {
		uint32_t column =
			target_find_number(target, (int16_t)strtol(PQgetvalue(res, i, 5), NULL, 10));

		if (column == TARGET_SKIP || PQgetisnull(res, i, 6))
			def->uncheckable = true;
		def->columns[def->n_columns] = column;
		def->operators[def->n_columns++] = target_dup(PQgetvalue(res, i, 6));
	}
	def->next = target->deferred;
	target->deferred = def;
}

/* the operator of the index is the one that can use it */
static void target_take_operators(struct target *target, const PGresult *res, int from, int to)
{
	/* a temporal key is unique, but its index is no B-tree: its operator && finds more than the equal row */
	if (!field_bool(res, from, 2) || field_bool(res, from, 4) || !field_bool(res, to - 1, 7))
		return;
	for (int i = from; i < to; i++) {
		uint32_t column =
			target_find_number(target, (int16_t)strtol(PQgetvalue(res, i, 5), NULL, 10));

		if (column == TARGET_SKIP || PQgetisnull(res, i, 6))
			continue;
		free(target->columns[column].equal);
		target->columns[column].equal = target_dup(PQgetvalue(res, i, 6));
	}
}

static int target_read_indexes(PGconn *conn, struct target *target, bool replica_role, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char oid[16];
	const char *values[] = { oid };
	bool full = target->rel->identity == IDENTITY_FULL;

	snprintf(oid, sizeof(oid), "%u", target->oid);
	if (pg_exec_params(conn, INDEXES_SQL, 1, values, &res, err) < 0)
		return -1;
	target->keys = target_alloc(target->n_columns + target->rel->n_columns, sizeof(uint32_t));
	for (int from = 0, to; from < PQntuples(res); from = to) {
		to = from + 1;
		while (to < PQntuples(res) && field_u32(res, to, 0) == field_u32(res, from, 0))
			to++;
		target_take_operators(target, res, from, to);
		if (replica_role && !field_bool(res, from, 3))
			target_add_deferred(target, res, from, to);
		if (!full || target->n_keys || !target_index_finds(target, res, from, to))
			continue;
		for (int i = from; i < to; i++)
			target->keys[target->n_keys++] = target_find_source(target,
				target_find_number(target, (int16_t)strtol(PQgetvalue(res, i, 5), NULL, 10)));
	}
	return 0;
}

/* the replica identity's columns, when all of them exist at the target */
static void target_take_identity(struct target *target)
{
	const struct relation *rel = target->rel;

	if (rel->identity == IDENTITY_FULL)
		return;
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		struct error err = ERROR_INIT;

		if (!rel->columns[i].key || target->to_target[i] != TARGET_SKIP)
			continue;
		error_set(&err, ERROR_SCHEMA, "PG-KEY-GENERATED",
			"key column %s of %s.%s is not an ordinary column in the target: rows cannot be found by it",
			rel->columns[i].name, rel->schema, rel->name);
		if (!target->broken)
			target_break(target, &err);
		return;
	}
	for (uint32_t i = 0; i < rel->n_columns; i++)
		if (rel->columns[i].key)
			target->keys[target->n_keys++] = i;
}

static void target_mark_identity(struct target *target)
{
	for (uint32_t i = 0; i < target->n_insert; i++) {
		uint32_t column = target->insert_columns[i];
		bool key = false;

		if (!target->columns[target->to_target[column]].identity_always)
			continue;
		for (uint32_t k = 0; k < target->n_keys; k++)
			key |= target->keys[k] == column;
		target->always_key |= key;
		target->always_other |= !key;
	}
}

static int target_read_acting(PGconn *conn, struct target *target, bool replica_role, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char oid[16];
	const char *values[] = { oid, replica_role ? "R" : "O" };

	snprintf(oid, sizeof(oid), "%u", target->oid);
	if (pg_exec_params(conn, ACTING_SQL, 2, values, &res, err) < 0)
		return -1;
	target->triggers = field_bool(res, 0, 0);
	target->copy = !field_bool(res, 0, 1);
	return 0;
}

int target_load(PGconn *conn, struct relation *rel, const struct target_options *opt, struct target **ret,
	struct error *err)
{
	struct target *target = target_alloc(1, sizeof(*target));
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	int r;

	target->rel = relation_ref(rel);
	target->ignore_missing = opt->ignore_missing;
	target->schema = rel->schema;
	target->name = rel->name;
	pg_put_name(&name, rel->schema, rel->name);
	target->sql_name = target_dup(buf_str(&name));
	r = target_read_columns(conn, target, err);
	buf_clear(&name);
	buf_printf(&name, "%s%s", target->kind == 'p' ? "" : "ONLY ", target->sql_name);
	target->sql_rows = target_dup(buf_str(&name));
	if (r == 0 && target->n_columns)
		r = target_map(conn, target, opt->add_missing, err);
	if (r == 0 && target->n_columns)
		r = target_read_indexes(conn, target, opt->replica_role, err);
	if (r == 0 && target->n_columns) {
		target_take_identity(target);
		target_mark_identity(target);
		r = target_read_acting(conn, target, opt->replica_role, err);
	}
	if (r < 0) {
		target_free(target);
		return r;
	}
	*ret = target;
	return 0;
}

static void target_free_deferred(struct target *target)
{
	while (target->deferred) {
		struct target_deferred *def = target->deferred;

		target->deferred = def->next;
		for (uint32_t i = 0; i < def->n_columns; i++)
			free(def->operators[i]);
		free(def->operators);
		free(def->columns);
		free(def->name);
		free(def);
	}
}

struct target *target_free(struct target *target)
{
	if (!target)
		return NULL;
	target_free_deferred(target);
	for (uint32_t i = 0; target->columns && i < target->n_columns; i++) {
		free(target->columns[i].name);
		free(target->columns[i].type);
		free(target->columns[i].equal);
	}
	free(target->columns);
	free(target->sql_name);
	free(target->sql_rows);
	free(target->to_target);
	free(target->keys);
	free(target->insert_columns);
	free(target->noted);
	relation_unref(target->rel);
	free(target);
	return NULL;
}
