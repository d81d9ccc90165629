/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice dead-letters: list, show, retry, discard. Row values are printed only when asked for by --show-
 * values. Several IDs are worked on in the order given, each in a transaction of its own, and the first that
 * fails does not keep the others from being tried.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/buf.h>
#include <sluice/cleanup.h>
#include <sluice/dead_letter.h>

#include "cli.h"

struct letters {
	struct cli *cli;
	const struct context *ctx;
	bool json, values;
	uint64_t n; /* printed so far */
};

static void print_json(const struct dead_letter *letter, bool values)
{
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct dead_letter shown = *letter;

	shown.record = values ? letter->record : NULL;
	dead_letter_json(&shown, &out);
	fputs(buf_str(&out), stdout);
}

static void list_one(void *arg, const struct dead_letter *letter)
{
	struct letters *lt = arg;

	if (lt->json) {
		fputs(lt->n++ ? "," : "", stdout);
		print_json(letter, false);
		return;
	}
	if (!lt->n++)
		printf("%-8s %-10s %-20.20s %-9s %-32s %-14s %s\n", "ID", "STATE", "AT", "OP", "TABLE",
			"CODE", "MESSAGE");
	printf("%-8lld %-10s %-20.19s %-9s %-32s %-14s %s\n", (long long)letter->id, letter->state,
		letter->at, letter->op, letter->table, letter->error_code, letter->message);
}

static int list_command(struct letters *lt, int argc, char **argv)
{
	struct error err = ERROR_INIT;

	if (argc)
		return cli_usage(lt->cli, "list takes no ID");
	if (lt->json)
		fputs("{\"format_version\":1,\"dead_letters\":[", stdout);
	if (dead_letter_list(lt->ctx, cli_has(lt->cli, "all"), list_one, lt, &err) < 0)
		return cli_error(&err);
	if (lt->json)
		puts("]}");
	else if (!lt->n)
		puts("no dead letters");
	return EXIT_OK;
}

static void show_one(void *arg, const struct dead_letter *letter)
{
	const struct letters *lt = arg;

	if (lt->json) {
		print_json(letter, lt->values);
		putchar('\n');
		return;
	}
	printf("id        %lld\nstate     %s\nat        %s\ntable     %s\nop        %s\n",
		(long long)letter->id, letter->state, letter->at, letter->table, letter->op);
	if (*letter->position)
		printf("position  %s\n", letter->position);
	printf("attempts  %lld\nerror     %s (%s): %s\n", (long long)letter->attempts, letter->error_code,
		letter->error_class, letter->message);
	if (*letter->reason)
		printf("reason    %s\n", letter->reason);
	if (lt->values && letter->record)
		printf("record    %s\n", letter->record);
	else
		puts("record    hidden, see --show-values");
}

/* whole text must be a positive number */
static int64_t parse_id(const char *text)
{
	char *end;
	long long id;

	errno = 0;
	id = strtoll(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno ? id : 0;
}

static int missing(const char *id, const char *what)
{
	fprintf(stderr, "sluice: there is no %s %s\n", what, id);
	return EXIT_NO;
}

static int show_command(struct letters *lt, const char *text)
{
	struct error err = ERROR_INIT;
	int r = dead_letter_show(lt->ctx, parse_id(text), show_one, lt, &err);

	if (r == DEAD_LETTER_MISSING)
		return missing(text, "dead letter");
	return r < 0 ? cli_error(&err) : EXIT_OK;
}

static int retry_one(struct letters *lt, const char *text)
{
	struct error err = ERROR_INIT;
	int r = dead_letter_retry(lt->ctx, parse_id(text), &err);

	switch (r) {
	case 0:
		printf("%s applied\n", text);
		return EXIT_OK;
	case DEAD_LETTER_MISSING:
		return missing(text, "pending dead letter");
	case DEAD_LETTER_FAILED:
		fprintf(stderr, "sluice: %s failed again: %s (%s)\n", text, err.message, err.code);
		return EXIT_NO;
	case DEAD_LETTER_BEHIND:
		fprintf(stderr, "sluice: %s has to wait: an older one of the same row is pending\n", text);
		return EXIT_NO;
	default: /* a number, not an enum: all negatives are errors */
		return cli_error(&err);
	}
}

static int discard_one(struct letters *lt, const char *text)
{
	struct error err = ERROR_INIT;
	int r = dead_letter_discard(lt->ctx, parse_id(text), cli_value(lt->cli, "reason"), &err);

	if (r == DEAD_LETTER_MISSING)
		return missing(text, "pending dead letter");
	if (r < 0)
		return cli_error(&err);
	printf("%s discarded\n", text);
	return EXIT_OK;
}

/* each ID in turn; a server that is away ends it, an answer of no does not */
static int each(struct letters *lt, int argc, char **argv, int (*one)(struct letters *lt, const char *text))
{
	int rc = EXIT_OK;

	for (int i = 0; i < argc; i++) {
		int r = one(lt, argv[i]);

		if (r != EXIT_OK && r != EXIT_NO)
			return r;
		rc = r != EXIT_OK ? r : rc;
	}
	return rc;
}

/* what is wrong with the operands, NULL = nothing; before any config is read */
static const char *wrong(const struct cli *cli, int argc, char **argv)
{
	const char *verb = argc ? argv[0] : "";
	bool several = !strcmp(verb, "retry") || !strcmp(verb, "discard");

	if (strcmp(verb, "list") && strcmp(verb, "show") && !several)
		return "needs one of list, show, retry, discard";
	if (!strcmp(verb, "list") ? argc != 1 : argc < 2 || (!several && argc != 2))
		return !strcmp(verb, "list") ? "list takes no ID" : "which ID? See dead-letters list";
	for (int i = 1; i < argc; i++) {
		if (parse_id(argv[i]) <= 0)
			return "an ID is a number, see dead-letters list";
	}
	if (!strcmp(verb, "discard") && !cli_has(cli, "reason"))
		return "discard needs --reason TEXT";
	return NULL;
}

static int dispatch(struct letters *lt, int argc, char **argv)
{
	if (lt->ctx->cfg->target.type != PEER_POSTGRESQL) {
		fputs("sluice: the target keeps no dead letters: it is no PostgreSQL database\n", stderr);
		return EXIT_CONFIG;
	}
	if (!strcmp(argv[0], "list"))
		return list_command(lt, argc - 1, argv + 1);
	if (!strcmp(argv[0], "show"))
		return show_command(lt, argv[1]);
	return each(lt, argc - 1, argv + 1, !strcmp(argv[0], "retry") ? retry_one : discard_one);
}

int dead_letters_command(struct cli *cli, int argc, char **argv)
{
	const char *problem = wrong(cli, argc, argv);
	struct cli_context cc;
	struct letters lt;
	int rc;

	if (problem)
		return cli_usage(cli, "%s", problem);
	rc = cli_config(cli);
	if (rc != 0)
		return rc;
	cli_context_init(&cc, cli);
	lt = (struct letters){
		.cli = cli,
		.ctx = &cc.ctx,
		.json = cli_has(cli, "json"),
		.values = cli_has(cli, "show-values"),
	};
	rc = dispatch(&lt, argc, argv);
	cli_context_fini(&cc);
	return rc;
}
