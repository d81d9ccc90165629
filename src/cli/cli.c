/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Parsing by the table of commands. Options that every command has may stand before or behind its name, those
 * of the command behind it. A command line that is not understood whole does nothing: exit code 64 and the
 * right usage.
 */

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/config_load.h>

#include "cli.h"

struct parse {
	struct cli *cli;
	int argc, at; /* at: the argument that is looked at */
	char **argv;
	char **operands;
	int n_operands;
	bool help, version;
};

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
	const char *name = cli->command ? cli->command->name : NULL;
	va_list ap;

	fprintf(stderr, "sluice%s%s: ", name ? " " : "", name ? name : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\n\nusage: ", stderr);
	cli_synopsis(cli->command, stderr);
	fprintf(stderr, "\n'sluice %s%s--help' says more.\n", name ? name : "", name ? " " : "");
	return EXIT_CLI;
}

int cli_error(const struct error *err)
{
	fprintf(stderr, "sluice: %s (%s)\n", err->message, err->code);
	if (*err->remedy)
		fprintf(stderr, "        %s\n", err->remedy);
	return error_exit_code(err);
}

void cli_terminated(const char *text)
{
	_cleanup_(closep) int fd = open("/dev/termination-log", O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return; /* nobody will read it then */
}

static int option_index(const struct command *command, const char *name, size_t len)
{
	for (int i = 0; command && i < CLI_OPTIONS && command->options[i].name; i++) {
		if (strlen(command->options[i].name) == len && !strncmp(command->options[i].name, name, len))
			return i;
	}
	return -1;
}

bool cli_has(const struct cli *cli, const char *name)
{
	return cli_value(cli, name) != NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
	int i = option_index(cli->command, name, strlen(name));

	return i < 0 ? NULL : cli->values[i];
}

int cli_duration(const struct cli *cli, const char *name, int64_t fallback_ms, int64_t *ret_ms)
{
	const char *text = cli_value(cli, name);

	*ret_ms = fallback_ms;
	if (!text || config_parse_duration(text, ret_ms))
		return 0;
	return cli_usage(cli, "--%s: \"%s\" is not a duration, such as 30s or 10m", name, text);
}

int cli_config(struct cli *cli)
{
	struct config_report report = CONFIG_REPORT_INIT;
	struct config_request req = { .path = cli->config_path,
		.sets = cli->sets,
		.n_sets = cli->n_sets,
		.without = cli->command->without };
	int r = config_load(&req, &cli->cfg, &report);

	if (report.n_warnings)
		fputs(buf_str(&report.warnings), stderr);
	if (r < 0) {
		fputs(buf_str(&report.errors), stderr);
		fprintf(stderr, "sluice: %u error%s in the config, nothing was started\n", report.n_errors,
			report.n_errors == 1 ? "" : "s");
		cli_terminated(buf_str(&report.errors));
	}
	config_report_fini(&report);
	return r < 0 ? EXIT_CONFIG : 0;
}

void cli_context_init(struct cli_context *cc, const struct cli *cli)
{
	*cc = (struct cli_context){ 0 };
	cc->metrics = calloc(1, sizeof(*cc->metrics));
	cc->status = calloc(1, sizeof(*cc->status));
	if (!cc->metrics || !cc->status)
		abort();
	status_init(cc->status);
	cc->log = (struct log){
		.level = cli->cfg->log.level,
		.format = cli->cfg->log.format,
		.fd = STDERR_FILENO,
	};
	snprintf(cc->log.stream, sizeof(cc->log.stream), "%s", cli->cfg->name);
	snprintf(cc->log.role, sizeof(cc->log.role), "%s", cli->command->name);
	snprintf(cc->log.direction, sizeof(cc->log.direction), "forward");
	cc->ctx = (struct context){
		.cfg = cli->cfg,
		.log = &cc->log,
		.metrics = cc->metrics,
		.status = cc->status,
		.stop = &cc->stop,
	};
}

void cli_context_fini(struct cli_context *cc)
{
	status_fini(cc->status);
	free(cc->status);
	free(cc->metrics);
}

/* the value behind an option: after its =, or the next argument; NULL when there is none */
static const char *take_value(struct parse *ps, const char *after)
{
	if (*after == '=')
		return after + 1;
	if (*after || ps->at + 1 >= ps->argc)
		return NULL;
	return ps->argv[++ps->at];
}

static bool is_option(const char *arg, const char *name, const char **ret_after)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) || (arg[len] && arg[len] != '='))
		return false;
	*ret_after = arg + len;
	return true;
}

static void add_set(struct cli *cli, const char *set)
{
	cli->sets = reallocarray(cli->sets, cli->n_sets + 1, sizeof(*cli->sets));
	if (!cli->sets)
		abort();
	cli->sets[cli->n_sets++] = set;
}

/* an option of every command; returns 1 = it is none of these */
static int parse_global(struct parse *ps, const char *arg)
{
	struct cli *cli = ps->cli;
	const char *after = "", *value;
	enum log_level level;

	if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
		ps->help = true;
		return 0;
	}
	if (!strcmp(arg, "--version") || !strcmp(arg, "-V")) {
		ps->version = true;
		return 0;
	}
	if (!strncmp(arg, "-c", 2) || is_option(arg, "--config", &after)) {
		if (arg[1] == 'c')
			value = arg[2] ? arg + 2 : take_value(ps, "");
		else
			value = take_value(ps, after);
		cli->config_path = value;
		return value && *value ? 0 : cli_usage(cli, "-c needs a FILE");
	}
	if (is_option(arg, "--set", &after)) {
		value = take_value(ps, after);
		if (!value || !strchr(value, '='))
			return cli_usage(cli, "--set needs KEY=VALUE");
		add_set(cli, value);
		return 0;
	}
	if (is_option(arg, "--log-level", &after)) {
		cli->log_level = take_value(ps, after);
		if (!cli->log_level || log_level_from_string(cli->log_level, &level) < 0)
			return cli_usage(cli, "--log-level needs one of debug, info, warn, error");
		return 0;
	}
	return 1;
}

static int parse_option(struct parse *ps, const char *arg)
{
	struct cli *cli = ps->cli;
	int r = parse_global(ps, arg), i;
	size_t len;

	if (r != 1)
		return r;
	if (!cli->command)
		return cli_usage(cli, "unknown option %s (options of a command stand behind its name)", arg);
	len = strncmp(arg, "--", 2) ? 0 : strcspn(arg + 2, "=");
	i = len ? option_index(cli->command, arg + 2, len) : -1;
	if (i < 0)
		return cli_usage(cli, "unknown option %.*s", (int)(len ? len + 2 : strlen(arg)), arg);
	if (cli->command->options[i].value) {
		cli->values[i] = take_value(ps, arg + 2 + len);
		if (!cli->values[i] || !*cli->values[i])
			return cli_usage(cli, "--%s needs %s", cli->command->options[i].name,
				cli->command->options[i].value);
	} else if (arg[2 + len]) {
		return cli_usage(cli, "--%s takes no value", cli->command->options[i].name);
	} else {
		cli->values[i] = "";
	}
	return 0;
}

static int parse_word(struct parse *ps, char *arg)
{
	struct cli *cli = ps->cli;

	if (cli->command) {
		ps->operands[ps->n_operands++] = arg;
		return 0;
	}
	for (const struct command *command = commands; command->name; command++) {
		if (!strcmp(command->name, arg)) {
			cli->command = command;
			return 0;
		}
	}
	return cli_usage(cli, "there is no command %s", arg);
}

static int parse_all(struct parse *ps)
{
	bool words = false;

	for (ps->at = 1; ps->at < ps->argc; ps->at++) {
		char *arg = ps->argv[ps->at];
		int rc;

		if (!words && !strcmp(arg, "--")) {
			words = true;
			continue;
		}
		rc = !words && arg[0] == '-' && arg[1] ? parse_option(ps, arg) : parse_word(ps, arg);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int dispatch(struct parse *ps)
{
	struct cli *cli = ps->cli;
	_cleanup_(freep) char *level = NULL;
	int rc = parse_all(ps);

	if (rc != 0)
		return rc;
	if (ps->version) {
		cli_version();
		return EXIT_OK;
	}
	if (ps->help) {
		if (cli->command)
			cli_manual(cli->command);
		else
			cli_manual_all();
		return EXIT_OK;
	}
	if (!cli->command)
		return cli_usage(cli, "a command is needed");
	if (!*cli->command->operands && ps->n_operands)
		return cli_usage(cli, "\"%s\" is one word too many", ps->operands[0]);
	if (cli->log_level) {
		if (asprintf(&level, "log.level=%s", cli->log_level) < 0)
			abort();
		add_set(cli, level); /* the last one wins */
	}
	return cli->command->run(cli, ps->n_operands, ps->operands);
}

int cli_main(int argc, char **argv)
{
	_cleanup_(freep) char **operands = calloc((size_t)argc + 1, sizeof(*operands));
	struct cli cli = { 0 };
	struct parse ps = { .cli = &cli, .argc = argc, .argv = argv, .operands = operands };
	int rc;

	if (!operands)
		abort();
	rc = dispatch(&ps);
	config_free(cli.cfg);
	free(cli.sets);
	if (fflush(stdout) != 0 && rc == EXIT_OK)
		rc = EXIT_NO; /* what was asked for did not arrive */
	return rc;
}
