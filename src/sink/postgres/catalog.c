/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The target's tables for a transport that carries another program's messages. A session of its own, since the applier's
 * may be in the middle of a transaction.
 *
 * Invariants:
 *   1. A relation says what the message says: its columns in its order, its key. Only types are the target's.
 *   2. Such messages tell of a change at least once. A key that no unique constraint covers would turn the second time
 *      into a second row, so it is refused.
 */

#include <stdlib.h>
#include <string.h>

#include "sink.h"

#define TABLE_SQL                                                                                            \
	"SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"   \
	" WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')"

#define COLUMNS_SQL                                                                                          \
	"SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute"                                   \
	" WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum"

/* the key columns of each unique index that ON CONFLICT can use */
#define UNIQUE_SQL                                                                                                \
	"SELECT i.indexrelid, a.attname FROM pg_catalog.pg_index i"                                               \
	" CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, position)"                     \
	" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"                 \
	" WHERE i.indrelid = $1::oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL" \
	" AND i.indexprs IS NULL AND k.position <= i.indnkeyatts ORDER BY 1"

/* users' types, down to what domains and arrays are made of */
#define TYPES_SQL                                                                                            \
	"WITH RECURSIVE t AS (SELECT atttypid AS oid FROM pg_catalog.pg_attribute"                           \
	" WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped"                                      \
	" UNION SELECT CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.typelem END"                      \
	" FROM t JOIN pg_catalog.pg_type y ON y.oid = t.oid"                                                 \
	" WHERE y.typtype = 'd' OR (y.typcategory = 'A' AND y.typelem <> 0))"                                \
	" SELECT y.oid, y.typname, y.typtype = 'd', y.typbasetype, y.typtypmod,"                             \
	" CASE WHEN y.typcategory = 'A' THEN y.typelem ELSE 0 END"                                           \
	" FROM t JOIN pg_catalog.pg_type y ON y.oid = t.oid WHERE y.oid >= 16384"

struct known_type {
	uint32_t oid;
	struct debezium_type type;
};

struct catalog_postgres {
	struct catalog base;
	const struct sink_postgres *sink;
	PGconn *conn; /* made by the first question */
	struct known_type *types;
	uint32_t n_types;
};

/* one question about a table */
struct question {
	struct catalog_postgres *catalog;
	const struct debezium_table *want;
	char oid[16]; /* of the table */
	struct column *columns;
	uint32_t n_columns;
};

static struct catalog_postgres *catalog_of(struct catalog *base)
{
	return (struct catalog_postgres *)base;
}

static uint32_t field_u32(const PGresult *res, int row, int column)
{
	return (uint32_t)strtoul(PQgetvalue(res, row, column), NULL, 10);
}

static int ask(const struct question *q, const char *sql, PGresult **ret, struct error *err)
{
	const char *values[] = { q->oid };

	return pg_exec_params(q->catalog->conn, sql, 1, values, ret, err);
}

static int ask_table(struct question *q, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const char *values[] = { q->want->schema, q->want->name };

	if (pg_exec_params(q->catalog->conn, TABLE_SQL, 2, values, &res, err) < 0)
		return -1;
	if (PQntuples(res) == 1) {
		snprintf(q->oid, sizeof(q->oid), "%s", PQgetvalue(res, 0, 0));
		return 0;
	}
	error_set(err, ERROR_SCHEMA, "PG-TABLE-MISSING", "table %s.%s does not exist in the target",
		q->want->schema, q->want->name);
	return error_remedy(
		err, "create it with the columns, the types and the key that it has at the source");
}

static bool in_list(const char *const *names, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!strcmp(names[i], name))
			return true;
	}
	return false;
}

static void add_column(struct question *q, const PGresult *res, int row)
{
	q->columns[q->n_columns++] = (struct column){
		.name = PQgetvalue(res, row, 0),
		.type_oid = field_u32(res, row, 1),
		.type_modifier = (int32_t)strtol(PQgetvalue(res, row, 2), NULL, 10),
		.key = in_list(q->want->keys, q->want->n_keys, PQgetvalue(res, row, 0)),
	};
}

static int find_row(const PGresult *res, const char *name)
{
	for (int row = 0; row < PQntuples(res); row++) {
		if (!strcmp(PQgetvalue(res, row, 0), name))
			return row;
	}
	return -1;
}

static int missing_column(const struct question *q, const char *name, struct error *err)
{
	error_set(err, ERROR_SCHEMA, "PG-COLUMN-MISSING",
		"column %s of source table %s.%s does not exist in the target's table", name, q->want->schema,
		q->want->name);
	return error_remedy(err,
		"ALTER TABLE \"%s\".\"%s\" ADD COLUMN \"%s\" …; with the type and DEFAULT that it has at the source",
		q->want->schema, q->want->name, name);
}

/* what is wanted and there; names point into res */
static int pick_columns(struct question *q, const PGresult *res, struct error *err)
{
	const struct debezium_table *want = q->want;
	bool ignore = q->catalog->sink->cfg->apply.ddl == DDL_IGNORE;
	uint32_t room = want->n_columns ? want->n_columns : (uint32_t)PQntuples(res);

	q->columns = calloc(room + 1, sizeof(*q->columns));
	if (!q->columns)
		abort();
	for (int row = 0; !want->n_columns && row < PQntuples(res); row++)
		add_column(q, res, row);
	for (uint32_t i = 0; i < want->n_columns; i++) {
		int row = find_row(res, want->columns[i]);

		if (row >= 0)
			add_column(q, res, row);
		else if (!ignore || in_list(want->keys, want->n_keys, want->columns[i]))
			return missing_column(q, want->columns[i], err);
	}
	return 0;
}

/* a unique index over these columns and no others? */
static int check_key(const struct question *q, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	const struct debezium_table *want = q->want;

	if (!want->n_keys)
		return 0;
	if (ask(q, UNIQUE_SQL, &res, err) < 0)
		return -1;
	for (int row = 0, next; row < PQntuples(res); row = next) {
		uint32_t n = 0;
		bool all = true;

		for (next = row;
			next < PQntuples(res) && !strcmp(PQgetvalue(res, next, 0), PQgetvalue(res, row, 0));
			next++, n++)
			all = all && in_list(want->keys, want->n_keys, PQgetvalue(res, next, 1));
		if (all && n == want->n_keys)
			return 0;
	}
	error_set(err, ERROR_SCHEMA, "PG-KEY-MISSING",
		"table %s.%s has no unique constraint over the key that its messages have: a change that is told twice "
		"would be two rows",
		want->schema, want->name);
	return error_remedy(err, "ALTER TABLE \"%s\".\"%s\" ADD PRIMARY KEY (\"%s\"%s);", want->schema,
		want->name, want->keys[0], want->n_keys > 1 ? ", …" : "");
}

static struct debezium_type type_of(const PGresult *res, int row)
{
	static const char *const vectors[] = { "vector", "halfvec", "sparsevec" };
	static const char *const geometries[] = { "geometry", "geography" };
	const char *name = PQgetvalue(res, row, 1);
	struct debezium_type type = { .class = DEBEZIUM_TYPE_TEXT, .modifier = -1 };

	if (*PQgetvalue(res, row, 2) == 't') {
		type.class = DEBEZIUM_TYPE_DOMAIN;
		type.oid = field_u32(res, row, 3);
		type.modifier = (int32_t)strtol(PQgetvalue(res, row, 4), NULL, 10);
	} else if ((type.oid = field_u32(res, row, 5))) {
		type.class = DEBEZIUM_TYPE_ARRAY;
	} else if (!strcmp(name, "hstore")) {
		type.class = DEBEZIUM_TYPE_HSTORE;
	} else if (in_list(vectors, 3, name)) {
		type.class = DEBEZIUM_TYPE_VECTOR;
	} else if (in_list(geometries, 2, name)) {
		type.class = DEBEZIUM_TYPE_GEOMETRY;
	}
	return type;
}

static struct known_type *known_type(const struct catalog_postgres *catalog, uint32_t oid)
{
	for (uint32_t i = 0; i < catalog->n_types; i++) {
		if (catalog->types[i].oid == oid)
			return &catalog->types[i];
	}
	return NULL;
}

static int learn_types(struct question *q, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct catalog_postgres *catalog = q->catalog;
	uint32_t n;

	if (ask(q, TYPES_SQL, &res, err) < 0)
		return -1;
	n = catalog->n_types + (uint32_t)PQntuples(res);
	catalog->types = realloc(catalog->types, (n + 1) * sizeof(*catalog->types));
	if (!catalog->types)
		abort();
	for (int row = 0; row < PQntuples(res); row++) {
		uint32_t oid = field_u32(res, row, 0);
		struct known_type *known = known_type(catalog, oid);

		if (!known)
			known = &catalog->types[catalog->n_types++];
		*known = (struct known_type){ oid, type_of(res, row) };
	}
	return 0;
}

static int answer(struct question *q, struct relation **ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	int r = ask_table(q, err);

	if (r == 0)
		r = ask(q, COLUMNS_SQL, &res, err);
	if (r == 0)
		r = pick_columns(q, res, err);
	if (r == 0)
		r = check_key(q, err);
	if (r == 0)
		r = learn_types(q, err);
	if (r == 0)
		*ret = relation_new(&(struct relation_spec){ (uint32_t)strtoul(q->oid, NULL, 10),
			q->want->schema, q->want->name, q->want->n_keys ? IDENTITY_DEFAULT : IDENTITY_FULL,
			q->n_columns, q->columns });
	free(q->columns);
	return r;
}

static int catalog_table(
	struct catalog *base, const struct debezium_table *want, struct relation **ret, struct error *err)
{
	struct catalog_postgres *catalog = catalog_of(base);
	struct question q = { .catalog = catalog, .want = want };

	if (!catalog->conn && session_open(catalog->sink, "catalog", &catalog->conn, NULL, err) < 0)
		return -1;
	return answer(&q, ret, err);
}

static void catalog_type(struct catalog *base, uint32_t oid, struct debezium_type *ret)
{
	const struct known_type *known = known_type(catalog_of(base), oid);

	*ret = known ? known->type : (struct debezium_type){ .class = DEBEZIUM_TYPE_TEXT };
}

static const struct catalog_ops catalog_ops = { .table = catalog_table, .type = catalog_type };

struct catalog *catalog_new(const struct sink_postgres *sink)
{
	struct catalog_postgres *catalog = calloc(1, sizeof(*catalog));

	if (!catalog)
		abort();
	catalog->base.ops = &catalog_ops;
	catalog->sink = sink;
	return &catalog->base;
}

struct catalog *catalog_free(struct catalog *base)
{
	struct catalog_postgres *catalog;

	if (!base)
		return NULL;
	catalog = catalog_of(base);
	if (catalog->conn)
		PQfinish(catalog->conn);
	free(catalog->types);
	free(catalog);
	return NULL;
}
