/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The list that the drivers' checks fill.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/check.h>

void finding_add(struct finding_list *list, enum finding_level level, const char *code, const char *remedy,
	const char *fmt, ...)
{
	struct finding *item;
	va_list ap;

	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->items = reallocarray(list->items, list->cap, sizeof(*list->items));
		if (!list->items)
			abort();
	}
	item = &list->items[list->n++];
	memset(item, 0, sizeof(*item));
	item->level = level;
	snprintf(item->code, sizeof(item->code), "%s", code ? code : "");
	if (remedy && *remedy) {
		item->remedy = strdup(remedy);
		if (!item->remedy)
			abort();
	}
	va_start(ap, fmt);
	vsnprintf(item->text, sizeof(item->text), fmt, ap);
	va_end(ap);
}

void finding_list_fini(struct finding_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		free(list->items[i].remedy);
	free(list->items);
	*list = (struct finding_list){ 0 };
}

void check_tables_fini(struct check_tables *tables)
{
	for (uint32_t i = 0; i < tables->n; i++) {
		free(tables->items[i].schema);
		free(tables->items[i].name);
	}
	free(tables->items);
	*tables = (struct check_tables){ 0 };
}
