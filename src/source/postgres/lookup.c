/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What the stream does not say of a table, asked on a session of its own, which is opened with the first question: its real
 * key where whole rows are its replica identity, whether rows of different keys depend on each other, and a
 * value that an UPDATE left out because it did not change. Answers are of now, not of the moment of the change, but never of
 * a moment before it (visible.c).
 */

#include <stdlib.h>

#include <sluice/fault.h>

#include "postgres.h"

static struct pg_source *source_of(struct lookup *look)
{
	return (struct pg_source *)(void *)((uint8_t *)look - offsetof(struct pg_source, lookup));
}

static int lookup_open(struct pg_source *src, struct error *err)
{
	if (SLUICE_FAULT_POINT("source.pg.lookup"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.lookup");
	if (src->lookup_conn && PQstatus(src->lookup_conn) == CONNECTION_OK)
		return 0;
	PQfinish(src->lookup_conn);
	src->lookup_conn = NULL;
	if (source_pg_connect(src->base.ctx, PG_SOURCE, "lookup", &src->lookup_conn, err) < 0)
		return -1;
	return pg_exec(src->lookup_conn, "SET statement_timeout = '5s'", NULL, err);
}

/* a session that answers from behind the transaction */
static int lookup_begin(struct pg_source *src, uint64_t xid, struct error *err)
{
	return lookup_open(src, err) < 0 ? -1 : visible_wait(src, src->lookup_conn, xid, err);
}

/* the key that Debezium's users expect is the primary key, also where the whole row identifies a change */
static void shape_key(const struct relation *rel, const PGresult *res, struct lookup_shape *ret)
{
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		ret->key[i] = rel->identity != IDENTITY_FULL && rel->columns[i].key;
		for (int row = 0; rel->identity == IDENTITY_FULL && row < PQntuples(res); row++)
			ret->key[i] = ret->key[i] || !strcmp(PQgetvalue(res, row, 1), rel->columns[i].name);
		ret->n_keys += ret->key[i];
	}
}

/* one row for each column of the primary key, or one with NULL; the table's partitions have indexes of their own */
static int lookup_shape(struct lookup *look, const struct relation *rel, uint64_t xid, struct arena *arena,
	struct lookup_shape *ret, struct error *err)
{
	struct pg_source *src = source_of(look);
	_cleanup_(PQclearp) PGresult *res = NULL;

	*ret = (struct lookup_shape){ .key = arena_alloc(arena, rel->n_columns * sizeof(bool) + 1) };
	if (lookup_begin(src, xid, err) < 0)
		return -1;
	if (pg_execf(src->lookup_conn, &res, err,
		    "WITH member (oid) AS (SELECT %u::pg_catalog.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(%u)) "
		    "SELECT t.tied, a.attname, t.loose FROM (SELECT count(*) > 0 AS tied, count(*) FILTER (WHERE NOT x.indimmediate) > 0 "
		    "AS loose FROM member m JOIN pg_catalog.pg_index x ON x.indrelid = m.oid WHERE x.indislive "
		    "AND (x.indisunique OR x.indisexclusion) AND NOT x.%s) t, pg_catalog.pg_class c LEFT JOIN "
		    "pg_catalog.pg_index p ON p.indrelid = c.oid AND p.indisprimary AND p.indisvalid AND p.indimmediate "
		    "LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (p.indkey) WHERE c.oid = %u",
		    rel->id, rel->id, rel->identity == IDENTITY_INDEX ? "indisreplident" : "indisprimary",
		    rel->id) < 0)
		return error_where(err, "look at %s.%s", rel->schema, rel->name);
	if (!PQntuples(res))
		return LOOKUP_GONE;
	ret->tied = *PQgetvalue(res, 0, 0) == 't';
	ret->loose = *PQgetvalue(res, 0, 2) == 't';
	shape_key(rel, res, ret);
	return 0;
}

/* the statement, and the key's values as its parameters */
static uint32_t complete_sql(const struct relation *rel, const struct value *row, struct arena *arena,
	const char **params, struct buf *sql)
{
	const char *comma = "SELECT ";
	uint32_t n = 0;

	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (row[i].state != VALUE_ABSENT)
			continue;
		buf_puts(sql, comma);
		pg_put_ident(sql, rel->columns[i].name);
		comma = ", ";
	}
	buf_puts(sql, " FROM ");
	pg_put_name(sql, rel->schema, rel->name);
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		char *text;

		if (!rel->columns[i].key)
			continue;
		buf_puts(sql, n ? " AND " : " WHERE ");
		pg_put_ident(sql, rel->columns[i].name);
		text = arena_alloc(arena, row[i].len + 1u);
		memcpy(text, row[i].data, row[i].len);
		text[row[i].len] = '\0';
		params[n++] = text;
		buf_printf(sql, " = $%u", n);
	}
	/* tables that inherit from it are tables of their own; partitions are not */
	buf_printf(sql,
		" AND (tableoid = %u OR EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = %u AND relkind = 'p'))",
		rel->id, rel->id);
	return n;
}

static void complete_take(
	const struct relation *rel, const PGresult *res, struct value *row, struct arena *arena)
{
	int column = 0;

	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (row[i].state != VALUE_ABSENT)
			continue;
		row[i] = (struct value){ .state = VALUE_NULL, .format = VALUE_TEXT };
		if (!PQgetisnull(res, 0, column)) {
			row[i].len = (uint32_t)PQgetlength(res, 0, column);
			row[i].data = arena_dup(arena, PQgetvalue(res, 0, column), row[i].len);
			row[i].state = VALUE_PRESENT;
		}
		column++;
	}
}

static int lookup_complete(struct lookup *look, const struct relation *rel, uint64_t xid, struct value *row,
	struct arena *arena, struct error *err)
{
	struct pg_source *src = source_of(look);
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	const char **params = arena_alloc(arena, (rel->n_keys + 1) * sizeof(*params));
	uint32_t n = complete_sql(rel, row, arena, params, &sql);

	if (lookup_begin(src, xid, err) < 0 ||
		pg_exec_params(src->lookup_conn, buf_str(&sql), (int)n, params, &res, err) < 0)
		return error_where(err, "read a row of %s.%s", rel->schema, rel->name);
	if (PQntuples(res) != 1)
		return LOOKUP_GONE;
	complete_take(rel, res, row, arena);
	return 0;
}

const struct lookup_ops lookup_postgres_ops = {
	.shape = lookup_shape,
	.complete = lookup_complete,
};
