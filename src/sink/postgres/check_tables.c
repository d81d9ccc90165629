/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The tables that the source selects, against those of the target: who makes them, whether they fit column
 * by column, whether they are empty or ours, and which rights are missing.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/postgres_tool.h>

#include "check.h"
#include "target.h"

#define MAX_COLUMNS 1664

/* one row per column; key: part of the replica identity; FULL counts as none here: the target's own key is taken */
#define SOURCE_SQL                                                                                           \
	"SELECT n.nspname, c.relname, c.oid, c.relreplident, a.attname, a.atttypid, a.atttypmod,"            \
	" coalesce(a.attnum = ANY (i.indkey::int2[]), false)"                                                \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"               \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"      \
	" AND a.attgenerated = ''"                                                                           \
	" LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND"                                         \
	" CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END"    \
	" WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'"                 \
	" AND n.nspname NOT IN ('sluice', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'"             \
	" ORDER BY n.nspname, c.relname, a.attnum"

static PGresult *check_source_columns(struct check *check)
{
	const struct config_source *source = &check->ctx->cfg->source;
	struct pg_peer peer = { .uri = source->uri, .user = source->user, .password = source->password };
	char application[APPLICATION_MAX];
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	struct error ignored = ERROR_INIT;
	PGresult *res = NULL;

	/* that the source cannot be reached is said by its own check */
	session_application(check->ctx->cfg->name, "check", application);
	if (source->type != PEER_POSTGRESQL || pg_connect(&peer, PG_SOURCE, application, &conn, &ignored) < 0)
		return NULL;
	check->source_major = PQserverVersion(conn) / 10000;
	if (pg_exec(conn, SOURCE_SQL, &res, &ignored) < 0)
		return NULL;
	return res;
}

/* rows [from, to) describe one table */
static struct relation *check_relation(const PGresult *res, int from, int to)
{
	struct column *columns = calloc((size_t)(to - from), sizeof(*columns));
	struct relation_spec spec = {
		.id = (uint32_t)strtoul(PQgetvalue(res, from, 2), NULL, 10),
		.schema = PQgetvalue(res, from, 0),
		.name = PQgetvalue(res, from, 1),
		.identity = (enum relation_identity) * PQgetvalue(res, from, 3),
		.n_columns = (uint32_t)(to - from),
		.columns = columns,
	};
	struct relation *rel;

	if (!columns)
		abort();
	for (int i = from; i < to; i++)
		columns[i - from] = (struct column){
			.name = PQgetvalue(res, i, 4),
			.type_oid = (uint32_t)strtoul(PQgetvalue(res, i, 5), NULL, 10),
			.type_modifier = (int32_t)strtol(PQgetvalue(res, i, 6), NULL, 10),
			.key = *PQgetvalue(res, i, 7) == 't',
		};
	rel = relation_new(&spec);
	free(columns);
	return rel;
}

struct tally {
	uint32_t there, missing;
	struct buf missing_names; /* the first few */
	struct buf grants;
	uint32_t n_grants;
};

static void check_rights(struct check *check, const struct target *target, struct tally *tally)
{
	static const char *const rights[] = { "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE" };
	_cleanup_(buf_freep) struct buf missing = BUF_INIT;
	char oid[16];
	struct error err = ERROR_INIT;

	snprintf(oid, sizeof(oid), "%u", target->oid);
	for (size_t i = 0; i < sizeof(rights) / sizeof(*rights); i++) {
		const char *values[] = { oid, rights[i] };
		_cleanup_(PQclearp) PGresult *res = NULL;

		if (pg_exec_params(check->conn,
			    "SELECT pg_catalog.has_table_privilege($1::oid, $2) AND pg_catalog.has_schema_privilege("
			    "(SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = $1::oid), 'USAGE')",
			    2, values, &res, &err) < 0) {
			check_add_error(check, &err);
			return;
		}
		if (*PQgetvalue(res, 0, 0) != 't') {
			buf_puts(&missing, missing.len ? ", " : "");
			buf_puts(&missing, rights[i]);
		}
	}
	if (!missing.len)
		return;
	tally->n_grants++;
	buf_puts(&tally->grants, tally->grants.len ? "\nGRANT USAGE ON SCHEMA " : "GRANT USAGE ON SCHEMA ");
	pg_put_ident(&tally->grants, target->schema);
	buf_puts(&tally->grants, " TO ");
	pg_put_ident(&tally->grants, check->role);
	buf_printf(&tally->grants, ";\nGRANT %s ON %s TO ", buf_str(&missing), target->sql_name);
	pg_put_ident(&tally->grants, check->role);
	buf_putc(&tally->grants, ';');
}

static void check_empty(struct check *check, const struct target *target)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf remedy = BUF_INIT;
	struct error ignored = ERROR_INIT;

	if (check->ours || check->ctx->cfg->snapshot.mode == SNAPSHOT_NONE)
		return;
	/* a right that is missing is another finding */
	if (pg_execf(check->conn, &res, &ignored, "SELECT EXISTS (SELECT 1 FROM %s)", target->sql_rows) < 0 ||
		*PQgetvalue(res, 0, 0) != 't')
		return;
	buf_printf(&remedy, "-- if its rows may go: TRUNCATE %s;", target->sql_name);
	check_fail(check, EXIT_CONFIG, "PG-TARGET-NOT-EMPTY", buf_str(&remedy),
		"%s.%s in the target holds rows that are not ours", target->schema, target->name);
}

/* does a unique index serve the lookups? */
static void check_key(struct check *check, const struct target *target)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct error ignored = ERROR_INIT;

	if (!target->n_keys) {
		if (target->rel->identity == IDENTITY_FULL)
			finding_add(check->list, FINDING_WARN, "PG-NO-KEY", NULL,
				"%s.%s has no unique key: each UPDATE and DELETE reads the whole table",
				target->schema, target->name);
		return;
	}
	buf_printf(&sql,
		"SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = %u AND i.indisunique AND i.indisvalid"
		" AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indkey::int2[] <@ ARRAY[",
		target->oid);
	for (uint32_t i = 0; i < target->n_keys; i++)
		buf_printf(&sql, "%s%d", i ? ", " : "",
			target->columns[target->to_target[target->keys[i]]].number);
	buf_puts(&sql, "]::int2[] LIMIT 1");
	if (pg_exec(check->conn, buf_str(&sql), &res, &ignored) < 0 || PQntuples(res))
		return;
	buf_clear(&sql);
	buf_printf(&sql, "CREATE UNIQUE INDEX ON %s (", target->sql_name);
	for (uint32_t i = 0; i < target->n_keys; i++) {
		buf_puts(&sql, i ? ", " : "");
		pg_put_ident(&sql, target->columns[target->to_target[target->keys[i]]].name);
	}
	buf_puts(&sql, ");");
	finding_add(check->list, FINDING_WARN, "PG-KEY-INDEX", buf_str(&sql),
		"%s.%s has no unique index on the source's key: applying reads the whole table",
		target->schema, target->name);
}

static void check_table(struct check *check, struct relation *rel, struct tally *tally)
{
	const struct target_options opt = {
		.replica_role = check->replica_role,
		.ignore_missing = check->ctx->cfg->apply.ddl == DDL_IGNORE,
		.add_missing = check->ctx->cfg->apply.ddl == DDL_ADDITIVE && check->ours,
	};
	struct target *target = NULL;
	struct error err = ERROR_INIT;

	if (target_load(check->conn, rel, &opt, &target, &err) < 0) {
		check_add_error(check, &err);
		return;
	}
	if (!target->n_columns) {
		tally->missing++;
		if (tally->missing <= 4)
			buf_printf(&tally->missing_names, "%s%s.%s", tally->missing > 1 ? ", " : "",
				rel->schema, rel->name);
	} else {
		tally->there++;
		if (target->lacks)
			finding_add(check->list, FINDING_WARN, target->error.code, NULL,
				"%s; the stream makes it if that can be done exactly (apply.ddl: additive)",
				target->error.message);
		else if (target->broken)
			check_add_error(check, &target->error);
		else
			check_key(check, target);
		check_rights(check, target, tally);
		check_empty(check, target);
	}
	target_free(target);
}

/* the schema is to be made: the programs that do it, and the right to */
static void check_creation(struct check *check)
{
	int major = PQserverVersion(check->conn) / 10000;
	struct pg_tool dump, restore;
	struct error err = ERROR_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	_cleanup_(buf_freep) struct buf grant = BUF_INIT;

	if (check->source_major > major)
		major = check->source_major;
	if (pg_tool_find("pg_dump", major, &dump, &err) < 0 ||
		pg_tool_find("pg_restore", major, &restore, &err) < 0) {
		check_fail(check, error_exit_code(&err), "PG-DUMP-MISSING", *err.remedy ? err.remedy : NULL,
			"the schema cannot be made: pg_dump and pg_restore %d or newer are needed", major);
	} else {
		finding_add(check->list, FINDING_OK, "", NULL, "schema will be created with pg_dump %d",
			dump.major);
	}
	if (pg_exec(check->conn, "SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE')",
		    &res, &err) < 0 ||
		*PQgetvalue(res, 0, 0) == 't')
		return;
	buf_puts(&grant, "GRANT CREATE ON DATABASE ");
	pg_put_ident(&grant, check->database);
	buf_puts(&grant, " TO ");
	pg_put_ident(&grant, check->role);
	buf_puts(&grant, ";\nGRANT CREATE, USAGE ON SCHEMA public TO ");
	pg_put_ident(&grant, check->role);
	buf_putc(&grant, ';');
	check_fail(check, EXIT_PERMISSION, "PG-GRANT-CREATE", buf_str(&grant),
		"role %s may not create the schema", check->role);
}

static void check_presence(struct check *check, struct tally *tally)
{
	enum snapshot_schema mode = check->ctx->cfg->snapshot.schema;

	if (tally->n_grants)
		check_fail(check, EXIT_PERMISSION, "PG-GRANT", buf_str(&tally->grants),
			"role %s may not write %u of the tables", check->role, tally->n_grants);
	if (mode == SCHEMA_CREATE && tally->there && !check->ours)
		check_fail(check, EXIT_CONFIG, "PG-SCHEMA-EXISTS", NULL,
			"snapshot.schema is create, but %u of the tables exist", tally->there);
	else if (tally->missing && (mode == SCHEMA_EXISTING || tally->there))
		check_fail(check, EXIT_CONFIG, "PG-TABLE-MISSING", NULL,
			"the target lacks %u of the tables: %.160s%s", tally->missing,
			buf_str(&tally->missing_names), tally->missing > 4 ? ", …" : "");
	else if (tally->missing)
		check_creation(check);
	else if (tally->there)
		finding_add(check->list, FINDING_OK, "", NULL, "%u table%s there%s", tally->there,
			tally->there == 1 ? " is" : "s are", check->ours ? ", written by this stream" : "");
}

void check_tables(struct check *check)
{
	_cleanup_(PQclearp) PGresult *res = check_source_columns(check);
	struct tally tally = { 0 };

	for (int from = 0, to; res && from < PQntuples(res); from = to) {
		const char *schema = PQgetvalue(res, from, 0), *name = PQgetvalue(res, from, 1);
		struct relation *rel;

		for (to = from + 1; to < PQntuples(res); to++)
			if (strcmp(PQgetvalue(res, to, 0), schema) != 0 ||
				strcmp(PQgetvalue(res, to, 1), name) != 0)
				break;
		if (to - from > MAX_COLUMNS || !config_table_selected(&check->ctx->cfg->source, schema, name))
			continue;
		rel = check_relation(res, from, to);
		check_table(check, rel, &tally);
		relation_unref(rel);
	}
	check_presence(check, &tally);
	buf_fini(&tally.missing_names);
	buf_fini(&tally.grants);
}
