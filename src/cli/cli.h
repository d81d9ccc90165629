/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line. One table (commands.c) holds every command with its options and its manual; parsing,
 * usage errors and --help all come from it. A command gets its options by name, and its operands as
 * argc/argv.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <sluice/config.h>
#include <sluice/context.h>
#include <sluice/error.h>

#define CLI_OPTIONS 12

struct cli_option {
	const char *name;  /* long name without dashes: "until-synced" */
	const char *value; /* what stands behind it in the manual: "POSITION"; NULL = a flag */
	const char *doc;
};

struct cli;

struct command {
	const char *name;
	const char *operands;			/* for the synopsis: "list | show ID"; "" = none allowed */
	const char *summary;			/* one line */
	const char *doc;			/* paragraphs */
	struct cli_option options[CLI_OPTIONS]; /* ends at the first without a name */
	const char *exits;			/* lines "CODE  meaning" */
	const char *examples;			/* lines */
	unsigned without;			/* what a config with Kafka may lack: enum config_without */
	/** run() - argv holds the operands only. Thread: main's. Return: the exit code. */
	int (*run)(struct cli *cli, int argc, char **argv);
};

struct cli {
	const struct command *command;
	const char *config_path; /* -c; NULL = look where it may be */
	const char *log_level;	 /* --log-level; NULL = as configured */
	const char **sets;	 /* --set KEY=VALUE, borrowed from argv */
	size_t n_sets;
	const char *values[CLI_OPTIONS]; /* of command->options; NULL = not given, "" for a flag */
	struct config *cfg;		 /* set by cli_config(); freed by main */
};

/* the commands, in the order of the manual; ends at the first without a name */
extern const struct command commands[];

/** cli_has() - was this option of the command given? cli_value() - its value, NULL = not given. */
bool cli_has(const struct cli *cli, const char *name);
const char *cli_value(const struct cli *cli, const char *name);

/**
 * cli_config() - loads the config into cli->cfg and says everything that is wrong with it on stderr.
 * Return: 0, else the exit code (78).
 */
int cli_config(struct cli *cli);

/**
 * cli_duration() - the value of an option as ms ("10m"); fallback when it was not given.
 * Return: 0; else EXIT_CLI, said on stderr.
 */
int cli_duration(const struct cli *cli, const char *name, int64_t fallback_ms, int64_t *ret_ms);

/** cli_usage() - says what is wrong with the command line, and the right usage, on stderr. Return: EXIT_CLI. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** cli_error() - says an error on stderr, with its code and remedy. Return: its exit code. */
int cli_error(const struct error *err);

/** cli_terminated() - leaves a text where Kubernetes shows it: /dev/termination-log, if it is there. */
void cli_terminated(const char *text);

/* a context with everything it points to, for commands that use drivers */
struct cli_context {
	struct context ctx;
	struct log log;
	struct metrics *metrics;
	struct status *status;
	atomic_bool stop;
};

void cli_context_init(struct cli_context *cc, const struct cli *cli);
void cli_context_fini(struct cli_context *cc);

/**
 * cli_main() - parses the command line and runs the command.
 * Thread: main's. Return: the exit code.
 */
int cli_main(int argc, char **argv);

/* manual.c: --help and --version, to stdout; cli_synopsis() to any stream */
void cli_synopsis(const struct command *command, FILE *out);
void cli_manual(const struct command *command);
void cli_manual_all(void);
void cli_version(void);

/* one per file src/cli/<command>.c; each is a run() of the table */
int init_command(struct cli *cli, int argc, char **argv);
int check_command(struct cli *cli, int argc, char **argv);
int run_command(struct cli *cli, int argc, char **argv);
int reader_command(struct cli *cli, int argc, char **argv);
int applier_command(struct cli *cli, int argc, char **argv);
int status_command(struct cli *cli, int argc, char **argv);
int ready_command(struct cli *cli, int argc, char **argv);
int dead_letters_command(struct cli *cli, int argc, char **argv);
int config_reference_command(struct cli *cli, int argc, char **argv);
