/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What is to be copied, and in which pieces: three catalog queries under the snapshot, whatever the number of tables.
 *
 *   tables    those of the publications, with row filter and column list where the server has them (15+)
 *   columns   that travel: not dropped, not generated; in the order of the COPY's column list and of the relation
 *   leaves    the physical tables of each: itself, or every partition that hung on it when the snapshot was taken
 *
 * A leaf's heap is cut into equal ranges of blocks, so many that one is about snapshot.chunk large counting its TOAST;
 * the last range has no end, for the file may have grown before the snapshot but after this look at its size (a row
 * that the snapshot does not show is not copied anyway). Chunks of large tables come first, so that the last worker does
 * not sit alone over the largest one.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

#define BLOCK_BYTES	8192
#define CHUNK_MIN_BYTES ((uint64_t)8 << 20)
#define CHUNKS_MAX	100000
#define OID_STABLE	10000 /* below: hand-assigned in the catalogs, equal on every server */

uint32_t plan_chunks(uint64_t heap_bytes, uint64_t table_bytes, uint64_t chunk_bytes)
{
	uint64_t blocks = heap_bytes / BLOCK_BYTES, n;

	if (table_bytes < heap_bytes)
		table_bytes = heap_bytes;
	n = chunk_bytes ? (table_bytes + chunk_bytes - 1) / chunk_bytes : 1;
	if (n > blocks)
		n = blocks;
	if (n > CHUNKS_MAX)
		n = CHUNKS_MAX;
	return n ? (uint32_t)n : 1;
}

void plan_range(uint64_t heap_bytes, uint32_t n, uint32_t i, uint64_t *ret_low, uint64_t *ret_high)
{
	uint64_t blocks = heap_bytes / BLOCK_BYTES;

	*ret_low = blocks * i / n;
	*ret_high = i + 1 == n ? UINT64_MAX : blocks * (i + 1) / n;
}

bool plan_binary_type(uint32_t oid)
{
	/* these carry oids of the one database, or have no binary form */
	static const uint16_t local[] = { 24, 26, 2202, 2203, 2204, 2205, 2206, 4096, 4089, 3734, 3769, 4191,
		1033, 1008, 1028, 2207, 2208, 2209, 2210, 2211, 4097, 4090, 3735, 3770, 4192, 1034 };

	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++) {
		if (oid == local[i])
			return false;
	}
	return oid < OID_STABLE;
}

void plan_copy_sql(struct buf *sql, const struct snapshot_chunk *chunk, const struct plan_leaf *leaf)
{
	const struct plan_table *table = chunk->table->driver;
	bool whole = chunk->low == 0 && chunk->high == UINT64_MAX;
	const char *glue = " WHERE ";

	if (whole && !table->filter && *table->columns) {
		buf_puts(sql, "COPY ");
		pg_put_name(sql, leaf->schema, leaf->name);
		buf_printf(sql, " (%s)", table->columns);
	} else {
		buf_printf(sql, "COPY (SELECT %s FROM ONLY ", table->columns);
		pg_put_name(sql, leaf->schema, leaf->name);
		if (chunk->low > 0) {
			buf_printf(sql, "%sctid OPERATOR(pg_catalog.>=) '(%llu,0)'", glue,
				(unsigned long long)chunk->low);
			glue = " AND ";
		}
		if (chunk->high != UINT64_MAX) {
			buf_printf(sql, "%sctid OPERATOR(pg_catalog.<) '(%llu,0)'", glue,
				(unsigned long long)chunk->high);
			glue = " AND ";
		}
		if (table->filter)
			buf_printf(sql, "%s(%s)", glue, table->filter);
		buf_puts(sql, ")");
	}
	buf_puts(sql,
		chunk->table->format == SNAPSHOT_BINARY_COPY ? " TO STDOUT (FORMAT binary)" : " TO STDOUT");
}

static char *duplicate(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		abort();
	return copy;
}

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static uint32_t oid_at(const PGresult *res, int row, int col)
{
	return (uint32_t)strtoul(PQgetvalue(res, row, col), NULL, 10);
}

static uint64_t number_at(const PGresult *res, int row, int col)
{
	return strtoull(PQgetvalue(res, row, col), NULL, 10);
}

/* the publications' tables: oid, schema, name, relreplident, filter, column list, file, highest number; sorted by oid */
static int query_tables(struct pg_snapshot *snap, PGconn *conn, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	bool filters = PQserverVersion(conn) >= 150000;

	buf_puts(&sql, "SELECT c.oid, n.nspname, c.relname, c.relreplident, ");
	if (filters)
		buf_puts(&sql,
			"CASE WHEN pg_catalog.bool_and(p.rowfilter IS NOT NULL) THEN pg_catalog.string_agg('(' || "
			"p.rowfilter || ')', ' OR ') END, pg_catalog.min(p.attnames::text), c.relfilenode, c.relnatts ");
	else
		buf_puts(&sql, "NULL, NULL, c.relfilenode, c.relnatts ");
	buf_puts(&sql,
		"FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname JOIN "
		"pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname IN (");
	snapshot_publications(snap, &sql);
	buf_puts(&sql,
		") GROUP BY c.oid, n.nspname, c.relname, c.relreplident, c.relfilenode, c.relnatts ORDER BY c.oid");
	return pg_exec_stop(conn, buf_str(&sql), snap->base.cancel, ret, err);
}

/* oid, column, type, modifier, part of the replica identity, number; sorted by oid, number */
static int query_columns(
	struct pg_snapshot *snap, PGconn *conn, const char *oids, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	buf_printf(&sql,
		"SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, c.relreplident = 'f' OR EXISTS (SELECT FROM "
		"pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND CASE c.relreplident WHEN 'd' THEN "
		"i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END AND a.attnum = ANY "
		"((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])), a.attnum FROM pg_catalog.pg_attribute a JOIN "
		"pg_catalog.pg_class c ON c.oid = a.attrelid WHERE a.attrelid = ANY ('{%s}'::pg_catalog.oid[]) AND a.attnum > 0 "
		"AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attrelid, a.attnum",
		oids);
	return pg_exec_stop(conn, buf_str(&sql), snap->base.cancel, ret, err);
}

/* root oid, leaf oid, schema, name, heap bytes, table bytes, estimated rows, may read, row security; sorted by root */
static int query_leaves(
	struct pg_snapshot *snap, PGconn *conn, const char *oids, PGresult **ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;

	buf_printf(&sql,
		"WITH RECURSIVE tree (root, oid) AS (SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY "
		"('{%s}'::pg_catalog.oid[]) UNION ALL SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_class p ON p.oid "
		"= t.oid AND p.relkind = 'p' JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending) "
		"SELECT t.root, l.oid, n.nspname, l.relname, COALESCE(pg_catalog.pg_relation_size(l.oid), 0), "
		"COALESCE(pg_catalog.pg_table_size(l.oid), 0), CASE WHEN l.reltuples > 0 AND l.relpages > 0 THEN "
		"(l.reltuples / l.relpages * (pg_catalog.pg_relation_size(l.oid) / 8192))::pg_catalog.int8 ELSE "
		"pg_catalog.pg_relation_size(l.oid) / 100 END, "
		"COALESCE(pg_catalog.has_any_column_privilege(l.oid, 'SELECT'), true), "
		"pg_catalog.row_security_active(l.oid) "
		"FROM tree t JOIN pg_catalog.pg_class l ON l.oid = t.oid AND l.relkind = 'r' JOIN pg_catalog.pg_namespace n ON "
		"n.oid = l.relnamespace ORDER BY t.root, l.oid",
		oids);
	return pg_exec_stop(conn, buf_str(&sql), snap->base.cancel, ret, err);
}

/* {a,"b c"}: is the column in the publication's list (as text, an array literal of names)? */
static bool listed(const char *list, const char *column)
{
	_cleanup_(buf_freep) struct buf quoted = BUF_INIT;
	const char *at = list + 1;

	while (*at && *at != '}') {
		buf_clear(&quoted);
		if (*at == '"') {
			for (at++; *at && *at != '"'; at++) {
				if (*at == '\\' && at[1])
					at++;
				buf_putc(&quoted, *at);
			}
			at += *at == '"';
		} else {
			while (*at && *at != ',' && *at != '}')
				buf_putc(&quoted, *at++);
		}
		if (!strcmp(buf_str(&quoted), column))
			return true;
		at += *at == ',';
	}
	return false;
}

/* builds the relation from rows [from, to) of the columns' result */
static struct relation *make_relation(const PGresult *tables, int t, const PGresult *cols, int from,
	struct plan_table *plan, enum snapshot_format *format)
{
	_cleanup_(buf_freep) struct buf names = BUF_INIT;
	_cleanup_(freep) struct column *columns = NULL;
	_cleanup_(freep) struct column_facts *facts = NULL;
	const char *list = PQgetisnull(tables, t, 5) ? NULL : PQgetvalue(tables, t, 5);
	struct relation_spec spec = {
		.id = oid_at(tables, t, 0),
		.schema = PQgetvalue(tables, t, 1),
		.name = PQgetvalue(tables, t, 2),
		.identity = (enum relation_identity) * PQgetvalue(tables, t, 3),
		.file = oid_at(tables, t, 6),
		.highest = (int16_t)strtol(PQgetvalue(tables, t, 7), NULL, 10),
	};
	int to = from;

	while (to < PQntuples(cols) && oid_at(cols, to, 0) == spec.id)
		to++;
	columns = zeroed((size_t)(to - from), sizeof(*columns));
	facts = zeroed((size_t)(to - from), sizeof(*facts));
	*format = SNAPSHOT_BINARY_COPY;
	for (int i = from; i < to; i++) {
		struct column *col = &columns[spec.n_columns];

		col->name = PQgetvalue(cols, i, 1);
		if (list && !listed(list, col->name))
			continue;
		col->type_oid = oid_at(cols, i, 2);
		col->type_modifier = (int32_t)strtol(PQgetvalue(cols, i, 3), NULL, 10);
		col->key = *PQgetvalue(cols, i, 4) == 't';
		/* what the stream's description says too; the target remembers it (sink/postgres/ddl.h) */
		facts[i - from].number = (int16_t)strtol(PQgetvalue(cols, i, 5), NULL, 10);
		col->facts = plan->numbered ? &facts[i - from] : NULL;
		if (!plan_binary_type(col->type_oid))
			*format = SNAPSHOT_TEXT_COPY;
		if (spec.n_columns++)
			buf_puts(&names, ", ");
		pg_put_ident(&names, col->name);
	}
	spec.columns = columns;
	plan->columns = duplicate(buf_str(&names));
	if (!PQgetisnull(tables, t, 4))
		plan->filter = duplicate(PQgetvalue(tables, t, 4));
	return relation_new(&spec);
}

/* takes the leaves of one table from rows [from, …) of the leaves' result */
static void make_leaves(const PGresult *res, int from, struct snapshot_table *table)
{
	struct plan_table *plan = table->driver;
	int to = from;

	while (to < PQntuples(res) && oid_at(res, to, 0) == table->rel->id)
		to++;
	plan->leaves = zeroed((size_t)(to - from), sizeof(*plan->leaves));
	for (int i = from; i < to; i++) {
		struct plan_leaf *leaf = &plan->leaves[plan->n_leaves++];

		leaf->oid = oid_at(res, i, 1);
		leaf->schema = duplicate(PQgetvalue(res, i, 2));
		leaf->name = duplicate(PQgetvalue(res, i, 3));
		leaf->heap_bytes = number_at(res, i, 4);
		leaf->table_bytes = number_at(res, i, 5);
		table->bytes_estimated += leaf->table_bytes;
		table->rows_estimated += (int64_t)number_at(res, i, 6);
	}
}

/* the statement that cures it, for the tables themselves or, where these are many, for their schemas */
static void grant_remedy(const PGresult *leaves, const char *tables, const char *role, struct error *err)
{
	_cleanup_(buf_freep) struct buf schemas = BUF_INIT;
	const char *last = "";

	if (strlen(tables) < 110) {
		error_remedy(err, "GRANT SELECT ON %s TO %s;", tables, role);
		return;
	}
	for (int i = 0; i < PQntuples(leaves); i++) {
		const char *schema = PQgetvalue(leaves, i, 2);
		_cleanup_(buf_freep) struct buf name = BUF_INIT;

		pg_put_ident(&name, schema);
		if (*PQgetvalue(leaves, i, 7) == 't' || !strcmp(schema, last) ||
			strstr(buf_str(&schemas), buf_str(&name)))
			continue;
		buf_printf(&schemas, "%s%s", schemas.len ? ", " : "", buf_str(&name));
		last = schema;
	}
	error_remedy(err, "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;", buf_str(&schemas), role);
}

/* what COPY would fail with later, all at once and with the remedy */
static int check_rights(PGconn *conn, const PGresult *leaves, struct error *err)
{
	_cleanup_(buf_freep) struct buf closed = BUF_INIT;
	_cleanup_(buf_freep) struct buf rules = BUF_INIT;
	const char *role = PQuser(conn);
	int n_closed = 0, n_rules = 0;

	for (int i = 0; i < PQntuples(leaves); i++) {
		bool readable = *PQgetvalue(leaves, i, 7) == 't', filtered = *PQgetvalue(leaves, i, 8) == 't';
		struct buf *list = !readable ? &closed : &rules;

		if (readable && !filtered)
			continue;
		if ((readable ? n_rules++ : n_closed++) > 0)
			buf_puts(list, ", ");
		pg_put_name(list, PQgetvalue(leaves, i, 2), PQgetvalue(leaves, i, 3));
	}
	if (n_closed) {
		error_set(err, ERROR_CONFIG, "PG-SELECT", "role %s may not read %d table%s: %s", role,
			n_closed, n_closed > 1 ? "s" : "", buf_str(&closed));
		grant_remedy(leaves, buf_str(&closed), role, err);
		return error_exit(err, EXIT_PERMISSION);
	}
	if (n_rules) {
		error_set(err, ERROR_CONFIG, "PG-RLS",
			"row security would hide rows of %d table%s from role %s: %s", n_rules,
			n_rules > 1 ? "s" : "", role, buf_str(&rules));
		error_remedy(err, "ALTER ROLE %s BYPASSRLS;", role);
		return error_exit(err, EXIT_PERMISSION);
	}
	return 0;
}

/* a done table keeps the start point it was read with */
static int table_state(struct state *state, struct snapshot_table *table, struct error *err)
{
	const struct relation *rel = table->rel;
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	int r;

	buf_printf(&key, "table/%s.%s/done", rel->schema, rel->name);
	r = state_get(state, buf_str(&key), &value, err);
	if (r != 0)
		return r < 0 ? r : 0;
	table->done = true;
	buf_clear(&key);
	buf_printf(&key, "table/%s.%s/start", rel->schema, rel->name);
	r = state_get(state, buf_str(&key), &value, err);
	if (r < 0)
		return r;
	if (r == STATE_MISSING || !pg_lsn_parse(buf_str(&value), &table->start))
		return error_set(err, ERROR_BUG, "SNAPSHOT-START",
			"%s.%s is marked done without a start point", rel->schema, rel->name);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const struct snapshot_chunk *x = a, *y = b;
	uint64_t p = x->table->bytes_estimated, q = y->table->bytes_estimated;

	if (p != q)
		return p > q ? -1 : 1;
	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->no < y->no ? -1 : x->no > y->no;
}

/* chunks small enough that every worker gets several, and for whoever takes them */
static uint64_t chunk_bytes(const struct pg_snapshot *snap)
{
	const struct config_snapshot *cfg = &snap->ctx->cfg->snapshot;
	uint64_t total = 0, bytes, most = cfg->chunk_bytes;

	for (uint32_t i = 0; i < snap->base.n_tables; i++) {
		if (!snap->base.tables[i].done)
			total += snap->base.tables[i].bytes_estimated;
	}
	bytes = total / ((uint64_t)(cfg->workers ? cfg->workers : 1) * 4);
	if (bytes < CHUNK_MIN_BYTES)
		bytes = CHUNK_MIN_BYTES;
	if (snap->base.chunk_bytes && snap->base.chunk_bytes < most)
		most = snap->base.chunk_bytes;
	return bytes > most ? most : bytes;
}

static void make_chunks(struct pg_snapshot *snap)
{
	struct snapshot_source *base = &snap->base;
	uint64_t bytes = chunk_bytes(snap);
	uint32_t total = 0, at = 0;

	for (uint32_t i = 0; i < base->n_tables; i++) {
		struct snapshot_table *table = &base->tables[i];
		const struct plan_table *plan = table->driver;

		for (uint32_t k = 0; k < plan->n_leaves && !table->done; k++)
			table->n_chunks +=
				plan_chunks(plan->leaves[k].heap_bytes, plan->leaves[k].table_bytes, bytes);
		total += table->n_chunks;
	}
	base->chunks = zeroed(total, sizeof(*base->chunks));
	for (uint32_t i = 0; i < base->n_tables; i++) {
		struct snapshot_table *table = &base->tables[i];
		const struct plan_table *plan = table->driver;
		uint32_t no = 0;

		for (uint32_t k = 0; k < plan->n_leaves && !table->done; k++) {
			const struct plan_leaf *leaf = &plan->leaves[k];
			uint32_t n = plan_chunks(leaf->heap_bytes, leaf->table_bytes, bytes);

			for (uint32_t c = 0; c < n; c++) {
				struct snapshot_chunk *chunk = &base->chunks[at++];

				*chunk = (struct snapshot_chunk){
					.table = table, .no = no++, .partition = leaf->oid
				};
				plan_range(leaf->heap_bytes, n, c, &chunk->low, &chunk->high);
			}
		}
	}
	base->n_chunks = total;
	qsort(base->chunks, total, sizeof(*base->chunks), by_size);
}

static int make_tables(struct pg_snapshot *snap, PGresult *const res[3], struct state *state, uint64_t start,
	struct error *err)
{
	struct snapshot_source *base = &snap->base;
	int col = 0, leaf = 0;

	base->tables = zeroed((size_t)PQntuples(res[0]), sizeof(*base->tables));
	for (int i = 0; i < PQntuples(res[0]); i++) {
		struct snapshot_table *table = &base->tables[base->n_tables++];
		struct plan_table *plan;
		uint32_t oid = oid_at(res[0], i, 0);

		while (col < PQntuples(res[1]) && oid_at(res[1], col, 0) < oid)
			col++;
		while (leaf < PQntuples(res[2]) && oid_at(res[2], leaf, 0) < oid)
			leaf++;
		plan = zeroed(1, sizeof(*plan));
		plan->numbered = snap->ctx->cfg->apply.ddl == DDL_ADDITIVE;
		table->driver = plan;
		table->rel = make_relation(res[0], i, res[1], col, table->driver, &table->format);
		table->has_key = table->rel->n_keys > 0;
		table->start = start;
		make_leaves(res[2], leaf, table);
		if (table_state(state, table, err) < 0)
			return -1;
	}
	make_chunks(snap);
	return 0;
}

int plan_make(struct pg_snapshot *snap, PGconn *conn, struct state *state, uint64_t start, struct error *err)
{
	_cleanup_(PQclearp) PGresult *tables = NULL;
	_cleanup_(PQclearp) PGresult *columns = NULL;
	_cleanup_(PQclearp) PGresult *leaves = NULL;
	_cleanup_(buf_freep) struct buf oids = BUF_INIT;

	plan_free(&snap->base);
	if (query_tables(snap, conn, &tables, err) < 0)
		return error_where(err, "plan the snapshot");
	for (int i = 0; i < PQntuples(tables); i++)
		buf_printf(&oids, "%s%s", i ? "," : "", PQgetvalue(tables, i, 0));
	if (query_columns(snap, conn, buf_str(&oids), &columns, err) < 0 ||
		query_leaves(snap, conn, buf_str(&oids), &leaves, err) < 0)
		return error_where(err, "plan the snapshot");
	if (check_rights(conn, leaves, err) < 0)
		return -1;
	return make_tables(snap, (PGresult *const[3]){ tables, columns, leaves }, state, start, err);
}

void plan_free(struct snapshot_source *base)
{
	for (uint32_t i = 0; i < base->n_tables; i++) {
		struct plan_table *plan = base->tables[i].driver;

		for (uint32_t k = 0; k < plan->n_leaves; k++) {
			free(plan->leaves[k].schema);
			free(plan->leaves[k].name);
		}
		free(plan->leaves);
		free(plan->columns);
		free(plan->filter);
		free(plan);
		relation_unref(base->tables[i].rel);
	}
	free(base->tables);
	free(base->chunks);
	base->tables = NULL;
	base->chunks = NULL;
	base->n_tables = base->n_chunks = 0;
}
