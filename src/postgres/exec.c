/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Statements and what their failures mean. The class of a failure comes from its SQLSTATE alone, in one table; the text
 * is the server's primary message: DETAIL and CONTEXT hold row values and are never looked at.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sluice/postgres.h>

static const struct sqlstate_class {
	const char *prefix;
	enum error_class class;
} sqlstate_classes[] = {
	/* longest prefixes first */
	{ "25006", ERROR_TRANSIENT },		    /* read only: a failover is under way */
	{ "25P03", ERROR_TRANSIENT },		    /* idle in transaction time-out */
	{ "28", ERROR_CONFIG },			    /* authorization */
	{ "42501", ERROR_CONFIG },		    /* insufficient privilege */
	{ "42P01", ERROR_SCHEMA },		    /* undefined table */
	{ "42703", ERROR_SCHEMA },		    /* undefined column */
	{ "42804", ERROR_SCHEMA },		    /* datatype mismatch */
	{ "42846", ERROR_SCHEMA },		    /* cannot coerce */
	{ "42883", ERROR_SCHEMA },		    /* undefined function, operator */
	{ "42704", ERROR_SCHEMA },		    /* undefined object: type, collation */
	{ "42809", ERROR_SCHEMA },		    /* wrong object type */
	{ "428C9", ERROR_SCHEMA },		    /* generated always */
	{ "3F000", ERROR_SCHEMA },		    /* invalid schema name */
	{ "0A000", ERROR_FATAL },		    /* feature not supported */
	{ "55P03", ERROR_TRANSIENT },		    /* lock not available */
	{ "55006", ERROR_TRANSIENT },		    /* object in use: an active slot */
	{ "57014", ERROR_TRANSIENT },		    /* canceled, statement time-out */
	{ "57P", ERROR_TRANSIENT },		    /* shutdown, crash, starting up */
	{ "08", ERROR_TRANSIENT },		    /* connection */
	{ "40", ERROR_TRANSIENT },		    /* serialization, deadlock */
	{ "53", ERROR_TRANSIENT },		    /* resources: disk full, out of memory, connections */
	{ "58", ERROR_TRANSIENT },		    /* system error, I/O */
	{ "XX000", ERROR_TRANSIENT },		    /* internal: seen around crashes and dropped objects */
	{ "22", ERROR_DATA },			    /* data exceptions */
	{ "23", ERROR_DATA },			    /* integrity */
	{ "44000", ERROR_DATA },		    /* with check option */
	{ "P0001", ERROR_DATA },		    /* raised by a trigger */
	{ "21", ERROR_DATA }, { "54", ERROR_DATA }, /* program limit exceeded */
};

enum error_class pg_sqlstate_class(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof(sqlstate_classes) / sizeof(sqlstate_classes[0]); i++) {
		if (!strncmp(sqlstate, sqlstate_classes[i].prefix, strlen(sqlstate_classes[i].prefix)))
			return sqlstate_classes[i].class;
	}
	return ERROR_FATAL;
}

int pg_error(PGconn *conn, const PGresult *res, const char *what, struct error *err)
{
	const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *primary = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	char code[24];

	if (!sqlstate || !primary) {
		/* libpq's own text: a lost connection, or a failure before the server saw anything */
		const char *text = conn ? PQerrorMessage(conn) : "";

		if (!*text)
			text = "connection lost";
		return error_set(err, ERROR_TRANSIENT, "PG-CONNECTION", "%s: %.*s", what,
			(int)strcspn(text, "\n"), text);
	}
	/* RAISE: the text is that of somebody's function, and may hold anything */
	if (!strcmp(sqlstate, "P0001"))
		primary =
			"a function on the server has raised an exception (its text is not shown, it may hold values)";
	snprintf(code, sizeof(code), "PG-%s", sqlstate);
	error_set(err, pg_sqlstate_class(sqlstate), code, "%s: %s", what, primary);
	if (err->class == ERROR_CONFIG)
		error_exit(err, EXIT_PERMISSION);
	return -1;
}

/* the beginning of a statement, for messages: never its parameters or literals behind the first words */
static void statement_head(const char *sql, char *buf, size_t size)
{
	size_t n = 0;

	for (int words = 0; sql[n] && n + 1 < size && words < 3; n++) {
		if (sql[n] == ' ')
			words++;
		if (sql[n] == '\'' || sql[n] == '(')
			break;
		buf[n] = sql[n];
	}
	while (n && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}

static int take_result(
	PGconn *conn, const char *sql, PGresult *take_res, PGresult **ret_res, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = take_res;
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN &&
		status != PGRES_COPY_OUT && status != PGRES_COPY_BOTH) {
		char head[48];

		statement_head(sql, head, sizeof(head));
		return pg_error(conn, res, head, err);
	}
	if (ret_res) {
		*ret_res = res;
		res = NULL; /* the caller's now */
	}
	return 0;
}

int pg_exec(PGconn *conn, const char *sql, PGresult **ret_res, struct error *err)
{
	return take_result(conn, sql, PQexec(conn, sql), ret_res, err);
}

int pg_execf(PGconn *conn, PGresult **ret_res, struct error *err, const char *fmt, ...)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	buf_grow(&sql, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf((char *)sql.data, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return pg_exec(conn, (const char *)sql.data, ret_res, err);
}

int pg_exec_params(PGconn *conn, const char *sql, int n, const char *const *values, PGresult **ret_res,
	struct error *err)
{
	return take_result(conn, sql, PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0), ret_res, err);
}
