/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Sessions. Everything that could change a value's text, or how the server reads one, is pinned by start-up options,
 * so that no role or database default gets in between; time-outs that a server's default could set are pinned too.
 * A session to a host that is not local is encrypted and verified unless the URI chose sslmode itself.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sluice/fault.h>
#include <sluice/postgres.h>

#define MAX_PARAMS 64

/* what pins values; -c NAME=VALUE with blanks escaped by a backslash */
#define PIN_VALUES                                                                                           \
	"-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC -c extra_float_digits=3 "                \
	"-c bytea_output=hex -c lc_monetary=C -c xmloption=content -c search_path= "                         \
	"-c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off "           \
	"-c standard_conforming_strings=on -c array_nulls=on -c client_min_messages=warning "

static const char *role_options(enum pg_role role)
{
	switch (role) {
	case PG_SOURCE:
		return PIN_VALUES
			"-c row_security=off -c default_transaction_read_only=off "
			"-c statement_timeout=0 -c lock_timeout=5s "
			"-c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 "
			"-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4";
	case PG_SOURCE_REPLICATION:
		return PIN_VALUES
			"-c statement_timeout=0 -c lock_timeout=0 "
			"-c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 "
			"-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4";
	case PG_TARGET:
		return PIN_VALUES
			"-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 "
			"-c idle_in_transaction_session_timeout=60s -c idle_session_timeout=0 "
			"-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4";
	}
	return "";
}

struct params {
	const char *keys[MAX_PARAMS + 1], *values[MAX_PARAMS + 1];
	int n;
};

static void params_set(struct params *params, const char *key, const char *value)
{
	for (int i = 0; i < params->n; i++) {
		if (!strcmp(params->keys[i], key)) {
			params->values[i] = value;
			return;
		}
	}
	if (params->n < MAX_PARAMS) {
		params->keys[params->n] = key;
		params->values[params->n] = value;
		params->n++;
	}
}

static const char *params_get(const struct params *params, const char *key)
{
	for (int i = 0; i < params->n; i++) {
		if (!strcmp(params->keys[i], key))
			return params->values[i];
	}
	return NULL;
}

/* one of a URI's hosts, len bytes long: a socket directory or a loopback address */
static bool host_is_local(const char *host, size_t len)
{
	if (len == 0 || *host == '/' || *host == '@')
		return true;
	if (len > 4 && !strncmp(host, "127.", 4))
		return strspn(host, "0123456789.") >= len;
	return (len == 9 && !strncmp(host, "localhost", 9)) || (len == 3 && !strncmp(host, "::1", 3));
}

/* a list "a,b,c" is local only when each of its hosts is */
static bool hosts_are_local(const char *hosts)
{
	for (size_t len; hosts; hosts += len + (hosts[len] == ',')) {
		len = strcspn(hosts, ",");
		if (!host_is_local(hosts, len))
			return false;
		if (!hosts[len])
			break;
	}
	return true;
}

static void optionsp(PQconninfoOption **options)
{
	PQconninfoFree(*options);
}

/* what the URI says, with the defaults of ours where it says nothing */
static void params_fill(struct params *params, PQconninfoOption *options, const struct pg_peer *peer)
{
	for (PQconninfoOption *o = options; o->keyword; o++) {
		if (o->val && *o->val)
			params_set(params, o->keyword, o->val);
	}
	if (peer->user && *peer->user)
		params_set(params, "user", peer->user);
	if (peer->password && *peer->password)
		params_set(params, "password", peer->password);
	if (!params_get(params, "connect_timeout"))
		params_set(params, "connect_timeout", "10");
	if (!params_get(params, "sslmode") && !getenv("PGSSLMODE")) {
		const char *host = params_get(params, "hostaddr");

		if (!host)
			host = params_get(params, "host");
		if (!host)
			host = getenv("PGHOST");
		if (!hosts_are_local(host))
			params_set(params, "sslmode", "verify-full");
	}
	params_set(params, "keepalives", "1");
	params_set(params, "keepalives_idle", "20");
	params_set(params, "keepalives_interval", "5");
	params_set(params, "keepalives_count", "4");
	params_set(params, "tcp_user_timeout", "60000");
	params_set(params, "client_encoding", "UTF8");
}

/* what a person has to set right, told by the text: libpq 15 gives no SQLSTATE for a connection that failed */
static const struct connect_cause {
	const char *text, *code;
	int exit_code;
	const char *remedy;
} connect_causes[] = {
	{ "root certificate file", "PG-TLS", EXIT_CONFIG,
		"add sslrootcert=FILE with the server's CA to the URI (or choose sslmode there yourself)" },
	{ "server does not support SSL", "PG-TLS", EXIT_CONFIG,
		"switch ssl on at the server, or add sslmode=disable to the URI: everything then travels readable" },
	{ "certificate verify failed", "PG-TLS", EXIT_CONFIG,
		"the server's certificate is not of the CA in sslrootcert: give the right CA" },
	{ "server certificate for", "PG-TLS", EXIT_CONFIG,
		"connect by the name that stands in the server's certificate" },
	{ "unrecognized configuration parameter", "PG-VERSION", EXIT_CONFIG,
		"PostgreSQL 14 or newer is needed" },
	{ "unsupported startup parameter", "PG-POOLER", EXIT_CONFIG,
		"this is a connection pooler: connect to the server itself" },
	{ "authentication failed", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "no pg_hba.conf entry", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "pg_hba.conf rejects", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "\" does not exist", "PG-AUTH", EXIT_PERMISSION, NULL }, /* role "x", database "x" */
	{ "not permitted to log in", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "permission denied", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "no password supplied", "PG-AUTH", EXIT_PERMISSION, NULL },
	{ "must be superuser or replication role", "PG-ROLE", EXIT_PERMISSION, NULL },
};

static const struct connect_cause *connect_cause(const char *text)
{
	for (size_t i = 0; i < sizeof(connect_causes) / sizeof(connect_causes[0]); i++) {
		if (strstr(text, connect_causes[i].text))
			return &connect_causes[i];
	}
	return NULL;
}

/* the server's or libpq's text without line ends; libpq never puts a password into it */
static int connect_error(PGconn *conn, struct error *err)
{
	const char *text = PQerrorMessage(conn);
	const struct connect_cause *cause = connect_cause(text);
	const char *host = PQhost(conn), *user = PQuser(conn), *db = PQdb(conn);
	int len = (int)strcspn(text, "\n");

	len = len > 180 ? 180 : len;
	if (!cause)
		return error_set(err, ERROR_TRANSIENT, "PG-CONNECT", "cannot connect to %s:%s/%s: %.*s",
			host ? host : "", PQport(conn), db ? db : "", len, text);
	error_set(err, ERROR_CONFIG, cause->code, "%s:%s/%s refuses role %s: %.*s", host ? host : "",
		PQport(conn), db ? db : "", user ? user : "", len, text);
	if (!strcmp(cause->code, "PG-ROLE"))
		error_remedy(err, "ALTER ROLE \"%s\" REPLICATION;", user ? user : "");
	else if (!cause->remedy)
		error_remedy(err,
			"check user, password and database of the URI, the role's LOGIN right, and the "
			"server's pg_hba.conf");
	else
		error_remedy(err, "%s", cause->remedy);
	return error_exit(err, cause->exit_code);
}

/* a list with commas, one for each host; an empty one is the default */
static bool ports_are_numbers(const char *ports)
{
	while (ports && *ports) {
		char *end;
		unsigned long port = strtoul(ports, &end, 10);

		if (end == ports ? *ports != ',' : port < 1 || port > 65535 || (*end && *end != ','))
			return false;
		ports = *end == ',' ? end + 1 : end;
	}
	return true;
}

int pg_connect(const struct pg_peer *peer, enum pg_role role, const char *application, PGconn **ret,
	struct error *err)
{
	_cleanup_(optionsp) PQconninfoOption *options = NULL;
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	_cleanup_(buf_freep) struct buf session = BUF_INIT;
	struct params params = { 0 };
	char *why = NULL;

	if (SLUICE_FAULT_POINT("postgres.connect"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point postgres.connect");
	options = PQconninfoParse(peer->uri, &why);
	if (!options) {
		/* libpq's text may quote a part of the URI, and so a password */
		PQfreemem(why);
		return error_set(
			err, ERROR_CONFIG, "PG-URI", "the URI is not a valid PostgreSQL connection string");
	}
	params_fill(&params, options, peer);
	if (!ports_are_numbers(params_get(&params, "port")))
		return error_set(
			err, ERROR_CONFIG, "PG-URI", "the URI's port is not a number from 1 to 65535");
	if (params_get(&params, "options"))
		buf_printf(&session, "%s ", params_get(&params, "options"));
	buf_puts(&session, role_options(role));
	params_set(&params, "options", buf_str(&session));
	params_set(&params, "application_name", application);
	if (role == PG_SOURCE_REPLICATION)
		params_set(&params, "replication", "database");
	conn = PQconnectdbParams(params.keys, params.values, 0);
	if (!conn)
		abort();
	if (PQstatus(conn) != CONNECTION_OK)
		return connect_error(conn, err);
	/* a setting that older servers do not know cannot be a start-up option */
	if (role != PG_TARGET && PQserverVersion(conn) >= 170000 &&
		pg_exec(conn, "SET transaction_timeout = 0", NULL, err) < 0)
		return -1;
	*ret = conn;
	conn = NULL; /* the caller's now */
	return 0;
}

void pg_describe_uri(const char *uri, char *buf, size_t size)
{
	_cleanup_(optionsp) PQconninfoOption *options = PQconninfoParse(uri, NULL);
	const char *host = "", *port = "5432", *db = "";

	for (PQconninfoOption *o = options; o && o->keyword; o++) {
		if (!o->val || !*o->val)
			continue;
		if (!strcmp(o->keyword, "host") || (!strcmp(o->keyword, "hostaddr") && !*host))
			host = o->val;
		else if (!strcmp(o->keyword, "port"))
			port = o->val;
		else if (!strcmp(o->keyword, "dbname"))
			db = o->val;
	}
	snprintf(buf, size, "%s:%s/%s", *host ? host : "local", port, db);
}
