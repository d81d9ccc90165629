/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What a failed statement means for the stream: the class decides whether it is tried again, waits for a
 * person, or ends. The classes by SQLSTATE are pg_error()'s; the sink adds what only a writer knows. Never
 * DETAIL: it holds values.
 */

#include <stdbool.h>
#include <string.h>

#include "sink.h"

/* what stands in quotes is a value in class 22 (invalid input syntax for type integer: "…"): it is left out */
static void hide_values(struct error *err)
{
	struct error whole = *err;
	char safe[2 * sizeof(whole.message)];
	size_t n = 0;
	bool inside = false;

	for (const char *s = whole.message; *s && n + 4 < sizeof(safe); s++) {
		if (*s == '"') {
			if (inside) {
				memcpy(safe + n, "...", 3);
				n += 3;
			}
			inside = !inside;
			safe[n++] = '"';
		} else if (!inside) {
			safe[n++] = *s;
		}
	}
	safe[n] = '\0';
	error_set(err, whole.class, whole.code, "%s", safe);
	error_exit(err, whole.exit_code);
}

int sink_error(PGconn *conn, const PGresult *res, const char *what, struct error *err)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *table = res ? PQresultErrorField(res, PG_DIAG_TABLE_NAME) : NULL;

	pg_error(conn, res, what, err);
	if (!state)
		return -1;
	if (!strncmp(state, "22", 2))
		hide_values(err);
	if (!strcmp(state, "42501")) {
		err->class = ERROR_CONFIG;
		error_exit(err, EXIT_PERMISSION);
		error_remedy(err, "GRANT ALL ON %s TO \"%s\"; -- see sluice check",
			table ? table : "the object named", PQuser(conn));
	} else if (!strcmp(state, "0A000") && strstr(what, "truncate")) {
		/* a foreign key of a table outside the stream: emptying that one too would lose its rows */
		err->class = ERROR_DATA;
		error_remedy(err, "drop the foreign key on the target, or replicate the table that holds it");
	}
	return -1;
}
