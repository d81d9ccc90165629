/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Which tables are moved. Patterns know * and ? only, over the whole text schema.table. The server's own
 * schemas and ours are never moved, whatever a pattern says: their rows mean something else on another
 * server.
 */

#include <stdio.h>
#include <string.h>

#include <sluice/config.h>

/* the last * is remembered, so that the time is at most the product of both lengths */
static bool matches(const char *pattern, const char *text)
{
	const char *star = NULL, *retry = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			retry = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			/* ? stands for one character, not for one byte of it */
			if (pattern[-1] == '?')
				while (((unsigned char)text[1] & 0xC0) == 0x80)
					text++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static bool matches_any(const struct string_list *list, const char *text)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (matches(list->items[i], text))
			return true;
	}
	return false;
}

bool config_table_selected(const struct config_source *cfg, const char *schema, const char *table)
{
	char name[264]; /* two identifiers of at most 127 bytes */

	if (!strncmp(schema, "pg_", 3) || !strcmp(schema, "information_schema") || !strcmp(schema, "sluice"))
		return false;
	if ((size_t)snprintf(name, sizeof(name), "%s.%s", schema, table) >= sizeof(name))
		return false;
	if (cfg->include.n && !matches_any(&cfg->include, name))
		return false;
	return !matches_any(&cfg->exclude, name);
}

bool config_reads_foreign(const struct config *cfg)
{
	return cfg->transport.type == TRANSPORT_KAFKA && cfg->transport.kafka.events == EVENTS_DEBEZIUM;
}
