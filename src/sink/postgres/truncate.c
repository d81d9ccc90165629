/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * TRUNCATE of a table whose rows are spread over several partitions of a log. Each partition has it at its own place, and the
 * appliers of the others may be before or behind it: emptying the table would take rows that they have written since. So each
 * removes those rows whose key belongs to its own partition, which it finds as the reader does: by the hash of the key's JSON.
 *
 * Sequences are left to the end of the migration, where they are set anyway.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/codec.h>
#include <sluice/fault.h>
#include <sluice/murmur2.h>

#include "apply.h"

#define FETCH_ROWS 10000

struct sweep {
	struct apply *apply;
	const struct record_truncate *truncate;
	struct target *target;
	struct codec *codec;
	struct buf key;	   /* of one row */
	struct buf places; /* of rows that go: pairs of table and place, for two arrays */
	struct buf tables;
};

/* the columns that the key consists of, behind the row's place */
static int sweep_begin(struct sweep *sweep, struct error *err)
{
	struct target *target = sweep->target;
	struct buf *sql = &sweep->apply->sql;

	buf_clear(sql);
	buf_puts(sql, "DECLARE sluice_sweep NO SCROLL CURSOR FOR SELECT tableoid::pg_catalog.oid, ctid");
	for (uint32_t i = 0; i < target->rel->n_columns; i++) {
		if (!target->rel->columns[i].key)
			continue;
		if (target->to_target[i] == TARGET_SKIP)
			return error_set(err, ERROR_SCHEMA, "TRUNCATE-KEY",
				"%s: key column %s is not written to the target", target->sql_name,
				target->rel->columns[i].name);
		buf_puts(sql, ", ");
		pg_put_ident(sql, target->columns[target->to_target[i]].name);
	}
	buf_printf(sql, " FROM %s", target->sql_rows);
	return pg_exec(sweep->apply->sink->conn, buf_str(sql), NULL, err);
}

/* does the row's key belong to our partition? */
static int sweep_is_own(
	struct sweep *sweep, const PGresult *res, int row, struct value *values, struct error *err)
{
	const struct relation *rel = sweep->target->rel;
	const struct record rec = {
		.op = RECORD_DELETE, .flags = RECORD_BEFORE_KEY, .rel = sweep->target->rel, .before = values
	};
	struct codec_output out = { .out = &sweep->key };
	int column = 2;

	for (uint32_t i = 0; i < rel->n_columns; i++) {
		values[i] = (struct value){ 0 };
		if (!rel->columns[i].key)
			continue;
		values[i].data = (const uint8_t *)PQgetvalue(res, row, column);
		values[i].len = (uint32_t)PQgetlength(res, row, column);
		values[i].state = PQgetisnull(res, row, column) ? VALUE_NULL : VALUE_PRESENT;
		column++;
	}
	buf_clear(&sweep->key);
	if (sweep->codec->ops->encode(sweep->codec, &rec, NULL, &out, err) < 0)
		return error_where(err, "%s", sweep->target->sql_name);
	return murmur2_partition(sweep->key.data + out.key.at, out.key.len, sweep->truncate->partitions) ==
	       (uint32_t)sweep->apply->row->id;
}

static int sweep_delete(struct sweep *sweep, struct error *err)
{
	struct target *target = sweep->target;
	struct buf *sql = &sweep->apply->sql;
	const char *values[2];

	if (!sweep->places.len)
		return 0;
	buf_puts(&sweep->tables, "}");
	buf_puts(&sweep->places, "}");
	values[0] = buf_str(&sweep->tables);
	values[1] = buf_str(&sweep->places);
	buf_clear(sql);
	if (target->kind == 'p')
		buf_printf(sql,
			"DELETE FROM %s AS t USING ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),"
			" pg_catalog.unnest($2::pg_catalog.tid[])) AS u (o, c)"
			" WHERE t.tableoid OPERATOR(pg_catalog.=) u.o AND t.ctid OPERATOR(pg_catalog.=) u.c",
			target->sql_name);
	else
		buf_printf(sql,
			"DELETE FROM %s WHERE ctid OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.tid[])"
			" AND $1::pg_catalog.oid[] IS NOT NULL",
			target->sql_rows);
	return pg_exec_params(sweep->apply->sink->conn, buf_str(sql), 2, values, NULL, err);
}

/* Return: 1 = there may be more, 0 = done, negative */
static int sweep_fetch(struct sweep *sweep, struct value *values, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	int r = 0;

	if (pg_execf(sweep->apply->sink->conn, &res, err, "FETCH %d FROM sluice_sweep", FETCH_ROWS) < 0)
		return -1;
	buf_clear(&sweep->places);
	buf_clear(&sweep->tables);
	for (int row = 0; r >= 0 && row < PQntuples(res); row++) {
		r = sweep_is_own(sweep, res, row, values, err);
		if (r <= 0)
			continue;
		buf_printf(&sweep->tables, "%c%s", sweep->tables.len ? ',' : '{', PQgetvalue(res, row, 0));
		buf_printf(
			&sweep->places, "%c\"%s\"", sweep->places.len ? ',' : '{', PQgetvalue(res, row, 1));
	}
	if (r < 0 || sweep_delete(sweep, err) < 0)
		return -1;
	return PQntuples(res) == FETCH_ROWS;
}

static struct codec *sweep_codec(const struct sweep *sweep)
{
	return codec_json_new(&(struct codec_json_options){
		.version = "",
		.prefix = sweep->apply->sink->cfg->transport.kafka.prefix,
		.database = "",
		.schemas = sweep->truncate->key_schemas ? JSON_SCHEMAS_INLINE : JSON_SCHEMAS_NONE,
	});
}

int truncate_own(struct apply *apply, const struct record *rec, struct error *err)
{
	struct sweep sweep = { .apply = apply, .truncate = rec->truncate };
	struct value *values;
	int r = target_tables_find(apply, rec->truncate->relations[0], &sweep.target, err);

	if (r < 0 || queue_leave(&apply->sink->queue, err) < 0)
		return -1;
	if (SLUICE_FAULT_POINT("sink.pg.truncate"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.truncate");
	values = calloc(sweep.target->rel->n_columns + 1u, sizeof(*values));
	if (!values)
		abort();
	sweep.codec = sweep_codec(&sweep);
	r = sweep_begin(&sweep, err);
	while (r >= 0 && (r = sweep_fetch(&sweep, values, err)) > 0)
		continue;
	if (r == 0)
		r = pg_exec(apply->sink->conn, "CLOSE sluice_sweep", NULL, err);
	codec_free(sweep.codec);
	free(values);
	buf_fini(&sweep.key);
	buf_fini(&sweep.places);
	buf_fini(&sweep.tables);
	if (r < 0)
		return error_where(err, "truncate %s", sweep.target->sql_name);
	return queue_enter(&apply->sink->queue, err);
}
