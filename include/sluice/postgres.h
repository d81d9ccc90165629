/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the PostgreSQL source and sink share: connections with pinned settings, SQLSTATE classes, identifiers, LSNs.
 * libpq only; nothing here knows of slots or of applying.
 */

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/cleanup.h>
#include <sluice/clock.h>
#include <sluice/config.h>
#include <sluice/error.h>

CLEANUP_DEFINE(PGresult, PQclear)
CLEANUP_DEFINE(PGconn, PQfinish)

enum pg_role {
	PG_SOURCE,	       /* ordinary session on blue: time-outs 0, lock_timeout, TCP keepalives */
	PG_SOURCE_REPLICATION, /* walsender session (replication=database) */
	PG_TARGET, /* session that writes: read committed, idle_in_transaction_session_timeout=60s */
};

struct pg_peer {
	const char *uri, *user, *password; /* user and password: "" = as the URI says */
};

/**
 * pg_connect() - opens a session with everything pinned that could change a value (DateStyle ISO, IntervalStyle
 * postgres, TimeZone UTC, extra_float_digits 3, bytea_output hex, lc_monetary C, xmloption content, search_path '',
 * client_encoding UTF8, row_security off on the source) and refuses plaintext to a host that is not local unless the URI
 * chose sslmode itself.
 * @application: application_name, "sluice_<name>/<part>".
 * Thread: any (the session belongs to the caller). Blocks: up to connect_timeout (10 s unless the URI says otherwise).
 * Return: 0; negative: TRANSIENT (unreachable, starting up, too many connections), CONFIG with exit 77 (password, role,
 * pg_hba) or 78 (URI). No secret is ever in the message.
 */
int pg_connect(const struct pg_peer *peer, enum pg_role role, const char *application, PGconn **ret,
	struct error *err);

/** pg_exec() - runs one statement; 0 with *ret_res (may be NULL) when it succeeded. Blocks: as the server does. */
int pg_exec(PGconn *conn, const char *sql, PGresult **ret_res, struct error *err);
/** pg_execf() - the same with a printf-built statement; use pg_ident/pg_literal for names and values. */
int pg_execf(PGconn *conn, PGresult **ret_res, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** pg_exec_params() - text parameters. */
int pg_exec_params(PGconn *conn, const char *sql, int n, const char *const *values, PGresult **ret_res,
	struct error *err);

/** pg_error() - fills err from a failed result (or a lost connection when res is NULL): class by SQLSTATE, message
 * without DETAIL (which holds row values), code "PG-<sqlstate>"; `what` says what was being done. Returns -1. */
int pg_error(PGconn *conn, const PGresult *res, const char *what, struct error *err);
/** pg_sqlstate_class() - pure: 08xxx 57P0x 53xxx 40xxx 55P03 25006 → TRANSIENT; 22xxx 23xxx → DATA; 42P01 42703 42804 →
 * SCHEMA; 28xxx 42501 → CONFIG (77); … */
enum error_class pg_sqlstate_class(const char *sqlstate);

/** pg_put_ident() - appends a quoted identifier; pg_put_name() "schema"."name"; pg_put_literal() a string literal
 * (E'' when it needs one). */
void pg_put_ident(struct buf *buf, const char *name);
void pg_put_name(struct buf *buf, const char *schema, const char *name);
void pg_put_literal(struct buf *buf, const char *value);

/** LSN text X/X */
bool pg_lsn_parse(const char *s, uint64_t *ret);
char *pg_lsn_format(uint64_t lsn, char *buf, size_t size); /* at least 18 bytes; returns buf */

/** PostgreSQL's epoch is 2000-01-01; the only place that knows. */
struct wall pg_time_to_wall(int64_t pg_us);
int64_t pg_time_from_wall(struct wall t);

/** pg_type_is_builtin() - true when the type's oid is below FirstGenbkiObjectId's user range (16384), so that its binary
 * form is the same on both servers. */
static inline bool pg_type_is_builtin(uint32_t oid)
{
	return oid < 16384;
}

/** pg_redact_uri() - host:port/dbname for people, without user and password. */
void pg_describe_uri(const char *uri, char *buf, size_t size);

/*
 * Statements that take long and can be given up. stop (may be NULL) is looked at twice a second; once it is true they
 * return TRANSIENT "STOPPED", a cancel request has been sent, and the session is good for PQfinish() only.
 */

/** pg_wait() - waits until the session's socket can be read (or written, when write is true). Return: 1 ready, 0 the
 * time has passed, negative. Blocks: up to timeout_ms. */
int pg_wait(PGconn *conn, bool write, int timeout_ms, struct error *err);
/** pg_flush() - sends what PQputCopyData() or PQsend…() left in a non-blocking session's buffer. */
int pg_flush(PGconn *conn, const atomic_bool *stop, struct error *err);
/** pg_result() - the next result of a statement that was sent; *ret NULL = none is left. Failed results are returned too. */
int pg_result(PGconn *conn, const atomic_bool *stop, PGresult **ret, struct error *err);
/** pg_exec_stop() - pg_exec() that can be given up; sql may hold several statements, the last result is returned. */
int pg_exec_stop(
	PGconn *conn, const char *sql, const atomic_bool *stop, PGresult **ret_res, struct error *err);
/** pg_cancel() - asks the server to give up the session's statement. Blocks: for a connection of its own. */
void pg_cancel(PGconn *conn);
/** pg_stopped() - fills err with TRANSIENT "STOPPED"; returns -1. */
int pg_stopped(struct error *err);
