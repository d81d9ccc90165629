/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Every command with its options and its manual.
 */

#include <sluice/config_load.h>

#include "cli.h"

#define URL_OPTION                                                                                                \
	{                                                                                                         \
		"url", "URL",                                                                                     \
			"Where the service answers, such as http://127.0.0.1:8620. Without it: SLUICE_URL, else " \
			"http.listen of the config."                                                              \
	}
#define TOKEN_OPTION                                                                                         \
	{                                                                                                    \
		"token-file", "FILE", "Holds the bearer token of the service."                               \
	}
#define JSON_OPTION                                                                                          \
	{                                                                                                    \
		"json", NULL, "Prints JSON for programs."                                                    \
	}
#define EXIT_CONFIG_LINES "64   wrong command line\n78   the config is wrong; all errors are printed"

#define EXITS_SERVICE                                                                                        \
	"64   wrong command line\n"                                                                          \
	"65   a record cannot be applied, and apply.on_error is stop\n"                                      \
	"69   a server could not be reached at the end\n"                                                    \
	"70   a bug in sluice, please report it\n"                                                           \
	"77   a permission is missing or a password wrong; the message holds the remedy\n"                   \
	"78   the config is wrong, or the target's layout is newer than this binary\n"                       \
	"80   a new copy is needed: the source, or the log, no longer has what follows\n"                    \
	"81   another instance is at work (--no-standby)\n"                                                  \
	"143  a second signal, or the grace period has passed; nothing is lost"

const struct command commands[] = {
	{
		.name = "init",
		.operands = "",
		.summary = "writes a small config to standard output",
		.doc = "Makes a config from the environment: SLUICE_SOURCE_URI and SLUICE_TARGET_URI. The URIs themselves "
		       "are not written, since they may hold passwords: the config refers to the variables. The "
		       "migration is named after the source's database.",
		.exits = "0    written\n64   wrong command line\n78   a variable is missing or is no PostgreSQL URI",
		.examples = "export SLUICE_SOURCE_URI=postgresql://sluice@blue/shop\n"
			    "export SLUICE_TARGET_URI=postgresql://sluice@green/shop\n"
			    "sluice init > sluice.yaml",
		.run = init_command,
	},
	{
		.name = "check",
		.operands = "",
		.summary = "looks for everything that would stop a migration",
		.doc = "Reads the config, connects to both databases, and to Kafka where it is used, and prints every finding: ok, warn "
		       "or FAIL with a stable code and the remedy, as the exact statement where there is one. It changes nothing.",
		.options = {
			{ "offline", NULL, "Looks at the config only and connects to nothing." },
			{ "print", "source|target|kafka",
				"Prints only the remedies of this side, as SQL that can be piped into psql. Those of "
				"warnings, and those that are no SQL, are comments. The exit code is 0 then. kafka: the "
				"commands that make topics and ACLs, to be piped into sh; --offline goes with it." },
			JSON_OPTION,
		},
		.exits = "0    no FAIL\n1    at least one FAIL\n" EXIT_CONFIG_LINES,
		.examples = "sluice check\n"
			    "sluice check --print source | psql -h blue -U postgres shop\n"
			    "sluice -c sluice.yaml check --offline",
		.without = CONFIG_WITHOUT_SOURCE | CONFIG_WITHOUT_TARGET,
		.run = check_command,
	},
	{
		.name = "run",
		.operands = "",
		.summary = "copies the tables, then applies every change, until told to stop",
		.doc = "The service. The first run makes publication and slot, creates the target's tables, copies the rows "
		       "and follows the changes; every later one goes on where the last one stopped. It can be killed at any "
		       "time without harm.\n\n"
		       "SIGTERM and SIGINT end it: what was read is applied, within run.grace_period. A second one ends it at "
		       "once; that is safe too. While another instance of the same name is at work it waits (standby).\n\n"
		       "With transport.type: kafka it is reader and applier in one process, joined by the log.\n\n"
		       "Status, readiness and metrics are served at http.listen. Logs go to standard error. On a terminal a line "
		       "shows the progress.",
		.options = {
			{ "until-synced", NULL,
				"Ends once everything that was committed at the source when it started is applied "
				"and durable." },
			{ "until", "POSITION", "The same for a position of the source, such as 0/5A3F120." },
			{ "no-standby", NULL,
				"Ends with 81 instead of waiting when another instance is at work." },
		},
		.exits = "0    stopped by a signal, or the end point was reached\n" EXITS_SERVICE,
		.examples = "sluice run\n"
			    "sluice run --until-synced\n"
			    "sluice --set snapshot.workers=8 run --until 0/5A3F120",
		.run = run_command,
	},
	{
		.name = "reader",
		.operands = "",
		.summary = "copies the tables and publishes every change into the log",
		.doc = "The half of the service at the source, with transport.type: kafka. It can be started, killed and upgraded "
		       "without the applier; only one of a name publishes at a time. What has been acknowledged by all in-sync "
		       "replicas is confirmed at the source.\n\n"
		       "Its status shows the lag from source to target, as the applier's does, and how much of it is this half's; what it "
		       "cannot know it does not show: before an applier has begun there is no lag to tell.",
		.options = {
			{ "until-synced", NULL,
				"Ends once everything that was committed at the source when it started is in the "
				"log." },
			{ "until", "POSITION", "The same for a position of the source, such as 0/5A3F120." },
			{ "no-standby", NULL,
				"Ends with 81 instead of waiting when another instance is at work." },
		},
		.exits = "0    stopped by a signal, or the end point was reached\n" EXITS_SERVICE,
		.examples = "sluice reader\nsluice reader --until-synced",
		.without = CONFIG_WITHOUT_TARGET,
		.run = reader_command,
	},
	{
		.name = "applier",
		.operands = "",
		.summary = "applies what the log holds to the target",
		.doc = "The half of the service at the target, with transport.type: kafka. Several of a name share the partitions of "
		       "layout tables; with layout stream one works and the others stand by. Where each partition stands is kept "
		       "in the target, in the same transaction as the rows.\n\n"
		       "With snapshot.mode: only it ends once the copy is applied, its keys and indexes built.",
		.options = {
			{ "until-synced", NULL,
				"Ends once everything that was committed at the source when it started is applied and "
				"durable: where source.uri is configured, for which the reader has to run; else "
				"everything that was in the log." },
			{ "until", "POSITION", "The same for a position of the source, such as 0/5A3F120." },
		},
		.exits = "0    stopped by a signal, or the end point was reached\n" EXITS_SERVICE,
		.examples = "sluice applier\nsluice applier --until-synced",
		.without = CONFIG_WITHOUT_SOURCE,
		.run = applier_command,
	},
	{
		.name = "status",
		.operands = "",
		.summary = "tells where the migration stands",
		.doc = "Asks the running service; when it does not answer, the two databases. Phase, state, lag, slot, the "
		       "snapshot's progress, and why a cutover may not begin.",
		.options = {
			JSON_OPTION,
			{ "watch", NULL, "Again every second, until interrupted." },
			URL_OPTION,
			TOKEN_OPTION,
		},
		.exits = "0    printed\n64   wrong command line\n69   neither service nor databases answer\n"
			 "78   the config is wrong; all errors are printed",
		.examples = "sluice status\nsluice status --watch\nsluice status --json --url http://10.0.0.7:8620",
		.without = CONFIG_WITHOUT_SOURCE | CONFIG_WITHOUT_TARGET,
		.run = status_command,
	},
	{
		.name = "ready",
		.operands = "",
		.summary = "tells whether a cutover may begin",
		.doc = "Asks the running service. Ready means: in sync for cutover.hold within cutover.max_lag and "
		       "cutover.max_lag_bytes, nothing pending that would be lost or wrong. Otherwise every reason is printed with "
		       "its remedy.",
		.options = {
			{ "wait", "TIME",
				"Waits up to this long, such as 10m; returns at once for a reason that time cannot "
				"cure." },
			JSON_OPTION,
			URL_OPTION,
			TOKEN_OPTION,
		},
		.exits = "0    ready\n1    not ready, the reasons are printed\n64   wrong command line\n"
			 "69   the service does not answer\n75   not ready within the time\n"
			 "78   the config is wrong; all errors are printed",
		.examples = "sluice ready\nsluice ready --wait 10m && echo go",
		.without = CONFIG_WITHOUT_SOURCE | CONFIG_WITHOUT_TARGET,
		.run = ready_command,
	},
	{
		.name = "dead-letters",
		.operands = "list | show ID | retry ID... | discard ID...",
		.summary = "records that could not be applied",
		.doc = "With apply.on_error: dead_letter a record that cannot be applied is kept whole in the target, in "
		       "sluice.dead_letters, and the stream goes on without it. As long as one is pending, later changes of the same "
		       "row follow it, so that nothing is applied out of order.\n\n"
		       "list prints the pending ones, oldest first. show prints one. retry applies records again, in the order "
		       "given, after their cause was cured. discard gives them up, which is written to sluice.audit.",
		.options = {
			{ "all", NULL, "list: resolved ones too." },
			{ "show-values", NULL, "show: the record with its values, which may be confidential." },
			{ "reason", "TEXT", "discard: why; required." },
			JSON_OPTION,
		},
		.exits = "0    done\n1    at least one could not be retried, or does not exist; the text says which\n"
			 "64   wrong command line\n69   the target could not be reached\n"
			 "77   a permission is missing or a password wrong\n78   the config is wrong; all errors are printed",
		.examples = "sluice dead-letters list\nsluice dead-letters show 17 --show-values\n"
			    "sluice dead-letters retry 17 18\n"
			    "sluice dead-letters discard 19 --reason 'test row, see ticket'",
		.without = CONFIG_WITHOUT_SOURCE,
		.run = dead_letters_command,
	},
	{
		.name = "config-reference",
		.operands = "",
		.summary = "prints the manual of all settings, as Markdown",
		.doc = "Every key with its type, range, default and meaning, and how files, environment and command line work "
		       "together. No config is read.",
		.exits = "0    printed\n64   wrong command line",
		.examples = "sluice config-reference | less",
		.run = config_reference_command,
	},
	{ .name = NULL },
};
