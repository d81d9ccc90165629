/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#pragma once

/*
 * The selected tables as the source's catalog describes them (catalog.c), and the publications that carry them
 * (publication.c).
 */

#include <sluice/context.h>
#include <sluice/postgres.h>

/* a table that the config selects; a partitioned one stands for all its partitions */
struct source_table {
	uint32_t oid;
	char *schema, *name;
	char *no_identity; /* oids of members (the table, its partitions) without replica identity: "16390,16395" or NULL */
	char *unreadable; /* oids of members that our role may not read, or NULL */
	bool identity;	  /* UPDATE and DELETE can be published, by the server's own rule */
	bool partition_root, is_owner, row_security;
	/* every column's type is built in and has an array type: the sink takes binary values as elements of arrays, and
	 * arrays themselves have none */
	bool builtin_types;
	bool published, inserts_published; /* set by publication_differs() */
};

struct source_tables {
	struct source_table *items; /* sorted by schema, name (bytes) */
	uint32_t n;
};

/** tables_read() - every user table that the config selects; partitions only through their root. Free with tables_fini(). */
int tables_read(PGconn *conn, const struct config_source *cfg, struct source_tables *ret, struct error *err);
void tables_fini(struct source_tables *tables);
/** tables_distinct() - 0; negative (CONFIG) where a stream could not tell two of them apart. Pure. */
int tables_distinct(const struct source_tables *tables, struct error *err);
struct source_table *tables_find(const struct source_tables *tables, const char *schema, const char *name);
/** table_identity_statements(), table_grant_statements() - one statement per row, for those members that need it. */
int table_identity_statements(
	PGconn *conn, const struct source_table *table, PGresult **ret, struct error *err);
int table_grant_statements(PGconn *conn, const struct source_table *table, PGresult **ret, struct error *err);
/** table_set_identity() - REPLICA IDENTITY FULL for those members. Blocks: up to 1 s for each one's lock. */
int table_set_identity(PGconn *conn, struct source_table *table, struct error *err);

/** publication_ensure() - makes the publication(s) of the selected tables, or compares those that are there with the
 * selection. Never publishes updates of a table without replica identity. Return: 0; negative: CONFIG (with the difference or
 * the ALTERs), TRANSIENT. */
int publication_ensure(const struct context *ctx, PGconn *conn, struct error *err);
/** publication_exists() - 1 when it does, 0 when not, negative. */
int publication_exists(PGconn *conn, const char *name, struct error *err);
/** publication_differs() - names what is selected and not published, or the other way round; "" = nothing. */
int publication_differs(const struct context *ctx, PGconn *conn, struct source_tables *tables,
	struct buf *ret, uint64_t *ret_missing, struct error *err);
/** publication_insert_name() - of the second publication, for tables without replica identity. */
void publication_insert_name(const char *publication, char *buf, size_t size);
/** publication_sql() - pure: the CREATE PUBLICATION of the tables with (or without) a replica identity. */
void publication_sql(struct buf *sql, const char *name, const struct source_tables *tables, bool identity);
