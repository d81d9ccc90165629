/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether a table of the target takes what the source's table sends, before the first row: it exists, has every column,
 * none of them generated. Types may differ (text then goes through the target's input functions, which refuse what does
 * not fit); the binary form is only used where every type is the same. Columns that only the target has keep their
 * defaults.
 */

#include <stdlib.h>
#include <string.h>

#include "load.h"

/* column, type, generated, relkind, row security applies, is referenced by another table; a row per column */
static int query_table(struct load *load, const struct relation *rel, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	buf_puts(&sql,
		"SELECT a.attname, a.atttypid, a.attgenerated, c.relkind, pg_catalog.row_security_active(c.oid), "
		"EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND "
		"k.conrelid <> c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		"LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE "
		"n.nspname = ");
	pg_put_literal(&sql, rel->schema);
	buf_puts(&sql, " AND c.relname = ");
	pg_put_literal(&sql, rel->name);
	return load_exec(load, load->conn, buf_str(&sql), ret, err);
}

static int find_column(const PGresult *res, const char *name)
{
	for (int i = 0; i < PQntuples(res); i++) {
		if (!PQgetisnull(res, i, 0) && !strcmp(PQgetvalue(res, i, 0), name))
			return i;
	}
	return -1;
}

static int check_columns(const PGresult *res, struct snapshot_table *table, struct error *err)
{
	const struct relation *rel = table->rel;

	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct column *col = &rel->columns[i];
		int at = find_column(res, col->name);

		if (at < 0) {
			error_set(err, ERROR_SCHEMA, "COLUMN-MISSING", "%s.%s on the target has no column %s",
				rel->schema, rel->name, col->name);
			return error_remedy(
				err, "ALTER TABLE … ADD COLUMN \"%s\" … on the target", col->name);
		}
		if (*PQgetvalue(res, at, 2)) {
			error_set(err, ERROR_SCHEMA, "COLUMN-GENERATED",
				"%s.%s on the target generates column %s, which the source sends",
				rel->schema, rel->name, col->name);
			return error_remedy(err,
				"make it a plain column: ALTER TABLE … ALTER COLUMN \"%s\" DROP EXPRESSION",
				col->name);
		}
		if (strtoul(PQgetvalue(res, at, 1), NULL, 10) != col->type_oid)
			table->format = SNAPSHOT_TEXT_COPY;
	}
	return 0;
}

static void put_columns(struct buf *out, const struct relation *rel)
{
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		buf_puts(out, i ? ", " : " (");
		pg_put_ident(out, rel->columns[i].name);
	}
	if (rel->n_columns)
		buf_putc(out, ')');
}

static char *steal(struct buf *buf)
{
	char *s = strdup(buf_str(buf));

	if (!s)
		abort();
	return s;
}

int load_table_check(struct load *load, struct snapshot_table *table, struct error *err)
{
	const struct relation *rel = table->rel;
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf name = BUF_INIT;
	_cleanup_(buf_freep) struct buf columns = BUF_INIT;
	struct load_target *target;

	if (query_table(load, rel, &res, err) < 0)
		return error_where(err, "%s.%s", rel->schema, rel->name);
	if (!PQntuples(res)) {
		error_set(err, ERROR_SCHEMA, "TABLE-MISSING", "the target has no table %s.%s", rel->schema,
			rel->name);
		return error_remedy(err, "make it on the target, or exclude it");
	}
	if (!strchr("rpf", *PQgetvalue(res, 0, 3))) {
		error_set(err, ERROR_SCHEMA, "TABLE-KIND", "%s.%s on the target is not a table", rel->schema,
			rel->name);
		return -1;
	}
	if (check_columns(res, table, err) < 0)
		return -1;
	pg_put_name(&name, rel->schema, rel->name);
	put_columns(&columns, rel);
	load_table_free(table);
	target = calloc(1, sizeof(*target));
	if (!target)
		abort();
	target->name = steal(&name);
	target->columns = steal(&columns);
	target->root = *PQgetvalue(res, 0, 3) == 'p';
	target->rows = *PQgetvalue(res, 0, 4) == 't';
	target->referenced = *PQgetvalue(res, 0, 5) == 't';
	if (target->rows)
		table->format = SNAPSHOT_TEXT_COPY;
	table->target = target;
	return 0;
}

void load_table_free(struct snapshot_table *table)
{
	struct load_target *target = table->target;

	if (!target)
		return;
	free(target->name);
	free(target->columns);
	free(target);
	table->target = NULL;
}
