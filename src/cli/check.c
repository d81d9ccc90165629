/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice check: prints what the drivers find; it decides nothing and changes nothing. The codes stand in one
 * column where the texts allow it, so that a screen of findings can be read downwards.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/buf.h>
#include <sluice/check.h>
#include <sluice/cleanup.h>

#include "cli.h"

#define COLUMN_MAX 60 /* longer texts have their code behind them */

struct side {
	const char *name; /* "source" */
	struct finding_list list;
};

struct totals {
	uint32_t fail, warn;
};

static const char *level_text(enum finding_level level)
{
	switch (level) {
	case FINDING_OK:
		return "ok";
	case FINDING_WARN:
		return "warn";
	case FINDING_FAIL:
		return "FAIL";
	}
	return "";
}

/* characters, not bytes: continuation bytes of UTF-8 take no room */
static int width(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xC0) != 0x80;
	return n;
}

static const char *colour(enum finding_level level)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	if (!isatty(STDOUT_FILENO) || (none && *none) || !term || !strcmp(term, "dumb"))
		return "";
	switch (level) {
	case FINDING_OK:
		return "\033[32m";
	case FINDING_WARN:
		return "\033[33m";
	case FINDING_FAIL:
		return "\033[31m";
	}
	return "";
}

/* a line that is a comment already is not made one again */
static void put_indented(const char *text, const char *indent)
{
	while (*text) {
		int len = (int)strcspn(text, "\n");
		bool twice = !strncmp(indent, "--", 2) && !strncmp(text, "--", 2);

		printf("%s%.*s\n", twice ? "" : indent, len, text);
		text += len;
		text += *text == '\n';
	}
}

static void print_findings(const struct side *side)
{
	int column = 0;

	printf("%-7s %s\n", side->name, side->list.title);
	for (uint32_t i = 0; i < side->list.n; i++) {
		int w = width(side->list.items[i].text);

		if (*side->list.items[i].code && w <= COLUMN_MAX && w > column)
			column = w;
	}
	for (uint32_t i = 0; i < side->list.n; i++) {
		const struct finding *f = &side->list.items[i];
		const char *c = colour(f->level);
		int gap = column - width(f->text);

		printf("  %s%-4s%s  %s", c, level_text(f->level), *c ? "\033[0m" : "", f->text);
		if (*f->code)
			printf("%*s%s", (gap > 0 ? gap : 0) + 2, "", f->code);
		putchar('\n');
		if (f->remedy && f->level != FINDING_OK)
			put_indented(f->remedy, "        ");
	}
}

/* a remedy that can be given to psql: its last line that is no comment ends with a semicolon */
static bool is_sql(const char *remedy)
{
	bool sql = false;

	while (*remedy) {
		size_t len = strcspn(remedy, "\n");

		if (len && strncmp(remedy, "--", 2))
			sql = remedy[len - 1] == ';';
		remedy += len;
		remedy += *remedy == '\n';
	}
	return sql;
}

static void print_remedies(const struct side *side)
{
	for (uint32_t i = 0; i < side->list.n; i++) {
		const struct finding *f = &side->list.items[i];

		if (f->level == FINDING_OK)
			continue;
		printf("-- %s %s: %s\n", level_text(f->level), f->code, f->text);
		if (f->remedy)
			put_indented(f->remedy, f->level == FINDING_FAIL && is_sql(f->remedy) ? "" : "-- ");
	}
}

static void json_text(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "\"%s\":", key);
	if (value && *value)
		buf_json_string(out, value, strlen(value));
	else
		buf_puts(out, "null");
}

static void json_side(struct buf *out, const struct side *side)
{
	buf_printf(out, ",\"%s\":{", side->name);
	json_text(out, "title", side->list.title);
	buf_puts(out, ",\"findings\":[");
	for (uint32_t i = 0; i < side->list.n; i++) {
		const struct finding *f = &side->list.items[i];

		buf_printf(out, "%s{\"level\":\"%s\",", i ? "," : "",
			f->level == FINDING_FAIL ? "fail" : level_text(f->level));
		json_text(out, "code", f->code);
		buf_putc(out, ',');
		json_text(out, "text", f->text);
		buf_putc(out, ',');
		json_text(out, "remedy", f->remedy);
		buf_printf(out, ",\"exit_code\":%d}", f->exit_code);
	}
	buf_puts(out, "]}");
}

static void count(const struct side *side, struct totals *totals)
{
	for (uint32_t i = 0; i < side->list.n; i++) {
		totals->fail += side->list.items[i].level == FINDING_FAIL;
		totals->warn += side->list.items[i].level == FINDING_WARN;
	}
}

static void look_source(const struct context *ctx, struct side *side)
{
	if (ctx->cfg->source.type == PEER_POSTGRESQL) {
		source_postgres_check(ctx, &side->list);
		return;
	}
	snprintf(side->list.title, sizeof(side->list.title), "generator");
	finding_add(&side->list, FINDING_OK, "", NULL, "makes transactions of its own");
}

static void look_target(const struct context *ctx, struct side *side)
{
	if (ctx->cfg->target.type == PEER_POSTGRESQL) {
		sink_postgres_check(ctx, &side->list);
		return;
	}
	snprintf(side->list.title, sizeof(side->list.title), "discard");
	finding_add(&side->list, FINDING_OK, "", NULL, "counts the changes and forgets them");
}

/* what there is to say about a config that was read without an error */
static void look_config(const struct config *cfg, struct side *side)
{
	static const char *const types[] = { "postgresql", "mongodb", "generator", "discard" };

	snprintf(side->list.title, sizeof(side->list.title), "%s",
		*cfg->path ? cfg->path : "no file, from the environment");
	finding_add(&side->list, FINDING_OK, "", NULL, "name %s, %s to %s", cfg->name,
		types[cfg->source.type], types[cfg->target.type]);
}

static int report(const struct cli *cli, const struct side *sides, size_t n)
{
	struct totals totals = { 0 };

	for (size_t i = 0; i < n; i++)
		count(&sides[i], &totals);
	if (cli_has(cli, "json")) {
		_cleanup_(buf_freep) struct buf out = BUF_INIT;

		buf_printf(&out, "{\"format_version\":1,\"ok\":%s,\"fail\":%u,\"warn\":%u",
			totals.fail ? "false" : "true", totals.fail, totals.warn);
		for (size_t i = 0; i < n; i++)
			json_side(&out, &sides[i]);
		buf_puts(&out, "}");
		puts(buf_str(&out));
	} else {
		for (size_t i = 0; i < n; i++)
			print_findings(&sides[i]);
		printf("%u FAIL, %u warn. Nothing was changed.\n", totals.fail, totals.warn);
	}
	return totals.fail ? EXIT_NO : EXIT_OK;
}

static int check_sides(const struct cli *cli, const struct context *ctx, const char *print)
{
	struct side sides[] = { { .name = "source" }, { .name = "target" } };
	int rc = EXIT_OK;

	if (!print || !strcmp(print, "source"))
		look_source(ctx, &sides[0]);
	if (!print || !strcmp(print, "target"))
		look_target(ctx, &sides[1]);
	if (print)
		print_remedies(&sides[!strcmp(print, "target")]);
	else
		rc = report(cli, sides, 2);
	finding_list_fini(&sides[0].list);
	finding_list_fini(&sides[1].list);
	return rc;
}

int check_command(struct cli *cli, int argc, char **argv)
{
	const char *print = cli_value(cli, "print");
	struct cli_context cc;
	int rc;

	if (print && strcmp(print, "source") && strcmp(print, "target"))
		return cli_usage(cli, "--print needs source or target");
	if (print && (cli_has(cli, "json") || cli_has(cli, "offline")))
		return cli_usage(cli, "--print goes with neither --json nor --offline");
	rc = cli_config(cli);
	if (rc != 0)
		return rc;
	if (cli_has(cli, "offline")) {
		struct side side = { .name = "config" };

		look_config(cli->cfg, &side);
		rc = report(cli, &side, 1);
		finding_list_fini(&side.list);
		return rc;
	}
	cli_context_init(&cc, cli);
	rc = check_sides(cli, &cc.ctx, print);
	cli_context_fini(&cc);
	return rc;
}
