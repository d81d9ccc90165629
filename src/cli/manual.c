/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * --help in the shape of a manual page, from the table of commands, and --version.
 */

#include <libpq-fe.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_version.h>
#include <yaml.h>

#include "cli.h"

#define WIDTH  80
#define INDENT 7

static const struct cli_option globals[] = {
	{ "-c, --config FILE", NULL,
		"The config. Without it: $SLUICE_CONFIG, ./sluice.yaml, /etc/sluice/sluice.yaml; none is needed when the "
		"environment gives what is required." },
	{ "--set KEY=VALUE", NULL,
		"Sets one key, such as snapshot.workers=8; over file and environment; may be repeated. Not for secrets." },
	{ "--log-level LEVEL", NULL, "debug, info, warn or error; instead of log.level." },
	{ "-h, --help", NULL, "This text." },
	{ "-V, --version", NULL, "The version, with those of the libraries." },
};

static const char environment[] =
	"Every key of the config can be given as SLUICE_ and its name in capitals with _ for . "
	"(SLUICE_SOURCE_URI, SLUICE_LOG_LEVEL); see 'sluice config-reference'. SLUICE_CONFIG names the config, SLUICE_URL "
	"the running service.";

/* words of a text between two columns; a line end in it stays one */
static void put_wrapped(const char *text, int indent)
{
	int column = 0;

	while (*text) {
		int len = (int)strcspn(text, " \n");

		if (column && column + 1 + len > WIDTH) {
			putchar('\n');
			column = 0;
		}
		if (!column && len)
			column = printf("%*s", indent, "");
		else if (len)
			column += printf(" ");
		column += printf("%.*s", len, text);
		text += len;
		if (*text == '\n') {
			putchar('\n');
			column = 0;
		}
		text += *text != 0;
	}
	putchar('\n');
}

/* lines as they are */
static void put_lines(const char *text)
{
	while (*text) {
		int len = (int)strcspn(text, "\n");

		printf("%*s%.*s\n", INDENT, "", len, text);
		text += len;
		text += *text == '\n';
	}
}

static void put_options(const struct cli_option *options, size_t n)
{
	for (size_t i = 0; i < n && options[i].name; i++) {
		if (options[i].name[0] == '-')
			printf("%*s%s\n", INDENT, "", options[i].name);
		else
			printf("%*s--%s%s%s\n", INDENT, "", options[i].name, options[i].value ? " " : "",
				options[i].value ? options[i].value : "");
		put_wrapped(options[i].doc, INDENT + 7);
	}
}

void cli_synopsis(const struct command *command, FILE *out)
{
	fprintf(out, "sluice [-c FILE] [--set KEY=VALUE]... [--log-level LEVEL] %s",
		command ? command->name : "COMMAND [options]");
	for (int i = 0; command && i < CLI_OPTIONS && command->options[i].name; i++)
		fprintf(out, " [--%s%s%s]", command->options[i].name, command->options[i].value ? " " : "",
			command->options[i].value ? command->options[i].value : "");
	if (command && *command->operands)
		fprintf(out, " %s", command->operands);
	fputc('\n', out);
}

void cli_manual(const struct command *command)
{
	printf("NAME\n%*ssluice %s - %s\n\nSYNOPSIS\n%*s", INDENT, "", command->name, command->summary,
		INDENT, "");
	cli_synopsis(command, stdout);
	puts("\nDESCRIPTION");
	put_wrapped(command->doc, INDENT);
	puts("\nOPTIONS");
	put_options(command->options, CLI_OPTIONS);
	put_options(globals, sizeof(globals) / sizeof(*globals));
	puts("\nEXIT STATUS");
	put_lines(command->exits);
	puts("\nENVIRONMENT");
	put_wrapped(environment, INDENT);
	puts("\nEXAMPLES");
	put_lines(command->examples);
}

void cli_manual_all(void)
{
	printf("NAME\n%*ssluice - moves a live PostgreSQL database to another one without downtime\n\nSYNOPSIS\n%*s",
		INDENT, "", INDENT, "");
	cli_synopsis(NULL, stdout);
	puts("\nDESCRIPTION");
	put_wrapped(
		"Copies the tables of the source (blue) to the target (green), then applies every change to them, exactly "
		"once, until an operator moves the application.\n\n"
		"The way: init writes a config, check says what is missing, run does the work, status and ready tell "
		"where it stands.",
		INDENT);
	puts("\nCOMMANDS");
	for (const struct command *command = commands; command->name; command++)
		printf("%*s%-18s%s\n", INDENT, "", command->name, command->summary);
	printf("\n%*s'sluice COMMAND --help' is the manual of one command.\n", INDENT, "");
	puts("\nOPTIONS");
	put_options(globals, sizeof(globals) / sizeof(*globals));
	puts("\nEXIT STATUS");
	put_lines("0    done, or stopped cleanly by SIGTERM or SIGINT (by a second one: 143)\n"
		  "1    the answer is no: not ready, a FAIL in check; nothing changed\n"
		  "64   wrong command line\n"
		  "65   a record cannot be applied, and the policy is to stop\n"
		  "69   a server could not be reached in time\n"
		  "70   a bug in sluice\n"
		  "75   a time limit passed, nothing is half done\n"
		  "77   a permission is missing, or a password is wrong\n"
		  "78   the config is wrong, or the target's layout is newer than this binary\n"
		  "80   a new copy is needed: the source no longer has what follows\n"
		  "81   another instance of the same name is at work");
	puts("\nENVIRONMENT");
	put_wrapped(environment, INDENT);
	puts("\nEXAMPLES");
	put_lines("export SLUICE_SOURCE_URI=postgresql://sluice@blue/shop\n"
		  "export SLUICE_TARGET_URI=postgresql://sluice@green/shop\n"
		  "sluice init > sluice.yaml\n"
		  "sluice check\n"
		  "sluice run");
}

void cli_version(void)
{
	int pq = PQlibVersion();

	printf("sluice %s\nlibpq %d.%d\nlibyaml %s\nlibmicrohttpd %s\nyajl %d.%d.%d\n", SLUICE_VERSION,
		pq / 10000, pq % 10000, yaml_get_version_string(), MHD_get_version(), yajl_version() / 10000,
		yajl_version() / 100 % 100, yajl_version() % 100);
}
