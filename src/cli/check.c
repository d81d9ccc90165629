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

/* with Kafka a machine may know one database only */
static bool is_elsewhere(const char *uri, enum peer_type type, struct side *side)
{
	if (*uri || type != PEER_POSTGRESQL)
		return false;
	snprintf(side->list.title, sizeof(side->list.title), "not looked at: this config has no %s.uri",
		side->name);
	return true;
}

static void look_source(const struct context *ctx, struct side *side)
{
	if (is_elsewhere(ctx->cfg->source.uri, ctx->cfg->source.type, side))
		return;
	if (ctx->cfg->source.type == PEER_POSTGRESQL) {
		source_postgres_check(ctx, &side->list);
		return;
	}
	snprintf(side->list.title, sizeof(side->list.title), "generator");
	finding_add(&side->list, FINDING_OK, "", NULL, "makes transactions of its own");
}

static void look_target(const struct context *ctx, struct side *side)
{
	if (is_elsewhere(ctx->cfg->target.uri, ctx->cfg->target.type, side))
		return;
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

/* whose rows get topics of their own; NULL = nobody here can say */
static const struct check_tables *list_tables(const struct context *ctx, struct check_tables *tables)
{
	const struct config *cfg = ctx->cfg;
	struct error ignored = ERROR_INIT; /* look_source() tells it */

	*tables = (struct check_tables){ 0 };
	if (cfg->transport.type != TRANSPORT_KAFKA || cfg->transport.kafka.layout != LAYOUT_TABLES ||
		config_reads_foreign(cfg) || cfg->source.type != PEER_POSTGRESQL || !*cfg->source.uri)
		return NULL;
	return source_postgres_list(ctx, tables, &ignored) < 0 ? NULL : tables;
}

/* looked: NULL = the brokers are not asked */
static void print_kafka(const struct config *cfg, const struct context *looked)
{
	struct check_tables listed = { 0 };
	const struct check_tables *tables = looked ? list_tables(looked, &listed) : NULL;
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct finding_list found = { 0 };
	uint32_t replicas = 0;

	if (looked)
		transport_kafka_check(looked, tables, &found, &replicas);
	transport_kafka_commands(cfg, tables, looked ? &found : NULL, replicas, &out);
	fputs(buf_str(&out), stdout);
	check_tables_fini(&listed);
	finding_list_fini(&found);
}

/* the log stands last: a config without one has two sides */
static int check_all(const struct cli *cli, const struct context *ctx)
{
	struct side sides[] = { { .name = "source" }, { .name = "target" }, { .name = "kafka" } };
	bool log = ctx->cfg->transport.type == TRANSPORT_KAFKA;
	/* whose changes are Debezium's has no source of ours */
	bool foreign = config_reads_foreign(ctx->cfg);
	struct check_tables listed = { 0 };
	uint32_t replicas;
	int rc;

	if (!foreign)
		look_source(ctx, &sides[0]);
	look_target(ctx, &sides[1]);
	if (log)
		transport_kafka_check(ctx, list_tables(ctx, &listed), &sides[2].list, &replicas);
	check_tables_fini(&listed);
	rc = report(cli, sides + foreign, (log ? 3 : 2) - (size_t)foreign);
	for (size_t i = 0; i < 3; i++)
		finding_list_fini(&sides[i].list);
	return rc;
}

static void print_side(const struct context *ctx, const char *name)
{
	struct side side = { .name = name };

	if (!strcmp(name, "kafka")) {
		print_kafka(ctx->cfg, ctx);
		return;
	}
	if (!strcmp(name, "source"))
		look_source(ctx, &side);
	else
		look_target(ctx, &side);
	print_remedies(&side);
	finding_list_fini(&side.list);
}

int check_command(struct cli *cli, int argc, char **argv)
{
	const char *print = cli_value(cli, "print");
	struct cli_context cc;
	int rc;

	if (print && strcmp(print, "source") && strcmp(print, "target") && strcmp(print, "kafka"))
		return cli_usage(cli, "--print needs source, target or kafka");
	if (print && cli_has(cli, "json"))
		return cli_usage(cli, "--print does not go with --json");
	if (print && cli_has(cli, "offline") && strcmp(print, "kafka"))
		return cli_usage(cli, "--print %s does not go with --offline", print);
	rc = cli_config(cli);
	if (rc != 0)
		return rc;
	if (print && !strcmp(print, "kafka") && cli->cfg->transport.type != TRANSPORT_KAFKA)
		return cli_usage(cli, "--print kafka needs transport.type: kafka");
	if (print && !strcmp(print, "source") && config_reads_foreign(cli->cfg))
		return cli_usage(cli, "--print source: with transport.kafka.events: debezium there is none");
	if (print && cli_has(cli, "offline")) {
		print_kafka(cli->cfg, NULL);
		return EXIT_OK;
	}
	if (cli_has(cli, "offline")) {
		struct side side = { .name = "config" };

		look_config(cli->cfg, &side);
		rc = report(cli, &side, 1);
		finding_list_fini(&side.list);
		return rc;
	}
	cli_context_init(&cc, cli);
	if (print)
		print_side(&cc.ctx, print);
	else
		rc = check_all(cli, &cc.ctx);
	cli_context_fini(&cc);
	return rc;
}
