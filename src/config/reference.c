/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The manual of all settings as Markdown, made from the tables that read them: what is documented is what is
 * read.
 */

#include <stdio.h>
#include <string.h>

#include "bind.h"
#include "units.h"

static const char intro[] =
	"# Settings of sluice\n"
	"\n"
	"This page is printed by `sluice config-reference` from the tables that read the settings.\n"
	"\n"
	"Settings come from, the later over the earlier:\n"
	"\n"
	"1. the default;\n"
	"2. a YAML file: `-c FILE`, else `$SLUICE_CONFIG`, else `./sluice.yaml`, else `/etc/sluice/sluice.yaml`;\n"
	"3. the environment: `source.postgresql.slot` is `SLUICE_SOURCE_POSTGRESQL_SLOT`. An empty variable counts as\n"
	"   not given; lists are written with commas; nothing is replaced in these values;\n"
	"4. `--set KEY=VALUE` on the command line; not for secrets, since every user of a host can see command lines.\n"
	"\n"
	"With `SLUICE_NAME` and the URIs in the environment no file is needed. In the file a dot is a level:\n"
	"\n"
	"```yaml\n"
	"source:\n"
	"  postgresql:\n"
	"    slot: sluice_shop\n"
	"```\n"
	"\n"
	"Unknown keys, wrong types, values out of range and missing variables are errors (exit code 78). All of them are\n"
	"printed at once, with line and column, before any connection is made. `sluice check --offline` looks at the\n"
	"settings alone.\n"
	"\n"
	"In values of the file these are replaced:\n"
	"\n"
	"| written | becomes |\n"
	"|---|---|\n"
	"| `${NAME}` | the variable NAME, which has to be set |\n"
	"| `${NAME:-default}` | the variable, or the default when it is not set or empty |\n"
	"| `${file:/path}` | what the file holds, without line ends at its end |\n"
	"| `$${` | a plain `${` |\n"
	"\n"
	"Durations are `250ms`, `30s`, `10m`, `1h`, `2d` or `1m30s`; sizes are `512B`, `64KiB`, `1MiB`, `2GiB`, `1TiB`;\n"
	"booleans are `true` and `false`. A secret is never printed, logged or answered.\n"
	"\n"
	"`source.mongodb` and entries in `transforms` belong to later versions; in this one they are errors.\n";

/* | has a meaning in a table */
static void put_cell(struct buf *ret, const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			buf_putc(ret, '\\');
		buf_putc(ret, *text);
	}
}

static void put_type(struct buf *ret, const struct option *opt)
{
	switch (opt->type) {
	case OPTION_STRING:
		buf_puts(ret, "text");
		break;
	case OPTION_BOOL:
		buf_puts(ret, "`true`, `false`");
		break;
	case OPTION_UINT:
	case OPTION_UINT32:
		buf_puts(ret, "whole number");
		break;
	case OPTION_DOUBLE:
		buf_puts(ret, "number");
		break;
	case OPTION_DURATION:
		buf_puts(ret, "duration");
		break;
	case OPTION_SIZE:
		buf_puts(ret, "size");
		break;
	case OPTION_ENUM:
		for (unsigned i = 0, n = 0; opt->values[i]; i++) {
			if (*opt->values[i])
				buf_printf(ret, "%s`%s`", n++ ? ", " : "", opt->values[i]);
		}
		break;
	case OPTION_LIST:
		buf_puts(ret, "list of texts");
		break;
	case OPTION_INT32:
		buf_puts(ret, "whole number");
		break;
	case OPTION_MAP:
		buf_puts(ret, "names and values");
		break;
	}
}

static void put_option(struct buf *ret, const struct option *opt)
{
	char range[RANGE_BYTES];

	buf_printf(ret, "| `%s` | ", opt->key);
	put_type(ret, opt);
	if (*option_range(opt, range, sizeof(range)))
		buf_printf(ret, ", %s", range);
	if (opt->flags & OPTION_SECRET)
		buf_puts(ret, ", secret");
	buf_puts(ret, " | ");
	if (opt->flags & OPTION_REQUIRED)
		buf_puts(ret, "required");
	else if (opt->default_value)
		buf_printf(ret, "`%s`", opt->default_value);
	else if (opt->type == OPTION_LIST)
		buf_puts(ret, "`[]`");
	else if (opt->type == OPTION_MAP)
		buf_puts(ret, "`{}`");
	buf_puts(ret, " | ");
	put_cell(ret, opt->doc);
	buf_puts(ret, " |\n");
}

void config_reference(struct buf *ret)
{
	size_t n;
	const struct option_table *const *tables = options_tables(&n);

	buf_puts(ret, intro);
	for (size_t t = 0; t < n; t++) {
		buf_printf(ret, "\n## %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
			tables[t]->section);
		for (size_t i = 0; i < tables[t]->n; i++)
			put_option(ret, &tables[t]->options[i]);
	}
}
