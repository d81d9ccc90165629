/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice init: a first config. The URIs are looked at only to see whether they are ones, and for the
 * database's name; what is written refers to the variables, so it holds no secret and can be committed.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/postgres.h>

#include "cli.h"

#define NAME_MAX_BYTES 40

static const char config_text[] =
	"# Every setting: sluice config-reference. Next: sluice check, then sluice run.\n"
	"name: %s  # names slot, publication and progress; a-z, 0-9, _\n"
	"source:\n"
	"  uri: ${SLUICE_SOURCE_URI}\n"
	"  # include: [\"public.*\"]  # default: all tables of the database\n"
	"  # exclude: [\"public.audit_*\"]\n"
	"target:\n"
	"  uri: ${SLUICE_TARGET_URI}\n"
	"snapshot:\n"
	"  workers: 4              # tables copied at the same time\n"
	"apply:\n"
	"  on_error: stop          # or dead_letter: keep the record aside and go on\n"
	"http:\n"
	"  listen: 127.0.0.1:8620  # status, readiness, metrics\n";

/* returns -1 unless the variable holds a PostgreSQL connection string; *ret_name: the database, else the role */
static int look(const char *variable, char *ret_name, size_t size)
{
	const char *uri = getenv(variable), *database = NULL, *user = NULL;
	PQconninfoOption *options;
	char *why = NULL;

	if (!uri || !*uri) {
		fprintf(stderr, "sluice: %s is not set: export %s=postgresql://USER@HOST/DATABASE\n",
			variable, variable);
		return -1;
	}
	options = PQconninfoParse(uri, &why);
	PQfreemem(why); /* it quotes the URI, and so a password */
	if (!options) {
		fprintf(stderr, "sluice: %s is not a valid PostgreSQL URI or conninfo string\n", variable);
		return -1;
	}
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (o->val && *o->val && !strcmp(o->keyword, "dbname"))
			database = o->val;
		else if (o->val && *o->val && !strcmp(o->keyword, "user"))
			user = o->val;
	}
	snprintf(ret_name, size, "%s", database ? database : user ? user : "migration");
	PQconninfoFree(options);
	return 0;
}

static void make_name(char *name)
{
	for (char *p = name; *p; p++) {
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
		else if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')))
			*p = '_';
	}
}

int init_command(struct cli *cli, int argc, char **argv)
{
	char name[NAME_MAX_BYTES + 1] = "", unused[NAME_MAX_BYTES + 1];
	int source = look("SLUICE_SOURCE_URI", name, sizeof(name));
	int target = look("SLUICE_TARGET_URI", unused, sizeof(unused));

	if (source < 0 || target < 0)
		return EXIT_CONFIG;
	make_name(name);
	printf(config_text, name);
	return EXIT_OK;
}
