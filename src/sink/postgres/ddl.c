/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether a column can be made at the target so that the rows that exist have the values that they have at the source, which
 * are not in the stream. Invariants:
 *   1. A column is made only when those values are known: the source's missing value; or NULL, because the source's table
 *      was not written anew since it had fewer columns (its file is the one of then, or the one it was made with), so
 *      nothing can have put values there; or there are no rows. Everything else is refused, with the reason.
 *   2. It is the column that the stream means: its number is higher than all that were ever seen, and no number between
 *      is gone, which might have had its name before. A number that was seen under another name is a renamed column.
 *   3. A column that the source no longer has (dropped while the stream was behind) is made too, without a default: rows
 *      of the stream have values for it, and none of them is lost; what the older rows had is gone from the source.
 *   4. No text of a message becomes a part of a statement unless it is quoted, or plain by ddl_default_is_plain().
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ddl.h"

#define KNOWN_VERSION 1u

struct ddl_known *ddl_known_free(struct ddl_known *known)
{
	if (!known)
		return NULL;
	for (uint32_t i = 0; i < known->n_columns; i++)
		free(known->columns[i].name);
	free(known->columns);
	free(known);
	return NULL;
}

/* a decimal number and the byte behind it */
static bool take_number(const char **at, const char *end, char stop, uint64_t *ret)
{
	uint64_t v = 0;
	const char *p = *at;

	for (; p < end && *p >= '0' && *p <= '9' && v <= UINT32_MAX; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	if (p == *at || p == end || *p != stop || v > UINT32_MAX)
		return false;
	*at = p + 1;
	*ret = v;
	return true;
}

/* "number at length name\n" */
static bool take_column(const char **at, const char *end, struct ddl_column *ret)
{
	uint64_t number, target, len;

	if (!take_number(at, end, ' ', &number) || !take_number(at, end, ' ', &target) ||
		!take_number(at, end, ' ', &len) || number > INT16_MAX || target > INT16_MAX ||
		len >= (uint64_t)(end - *at) || (*at)[len] != '\n')
		return false;
	ret->number = (int16_t)number;
	ret->at = (int16_t)target;
	ret->name = strndup(*at, len);
	if (!ret->name)
		abort();
	*at += len + 1;
	return true;
}

struct ddl_known *ddl_known_parse(const void *text, size_t len)
{
	const char *at = text, *end = at + len;
	struct ddl_known *known = calloc(1, sizeof(*known));
	uint64_t version = 0, id = 0, file = 0, highest = 0, n = 0;

	if (!known)
		abort();
	if (!take_number(&at, end, ' ', &version) || version != KNOWN_VERSION ||
		!take_number(&at, end, ' ', &id) || !take_number(&at, end, ' ', &file) ||
		!take_number(&at, end, ' ', &highest) || highest > INT16_MAX ||
		!take_number(&at, end, '\n', &n) || n > len)
		return ddl_known_free(known);
	known->id = (uint32_t)id;
	known->file = (uint32_t)file;
	known->highest = (int16_t)highest;
	known->columns = calloc(n + 1, sizeof(*known->columns));
	if (!known->columns)
		abort();
	for (; known->n_columns < n; known->n_columns++)
		if (!take_column(&at, end, &known->columns[known->n_columns]))
			return ddl_known_free(known);
	return known;
}

static const struct ddl_column *known_by_name(const struct ddl_known *known, const char *name)
{
	for (uint32_t i = 0; known && i < known->n_columns; i++)
		if (!strcmp(known->columns[i].name, name))
			return &known->columns[i];
	return NULL;
}

static const struct ddl_column *known_by_number(const struct ddl_known *known, int16_t number)
{
	for (uint32_t i = 0; known && i < known->n_columns; i++)
		if (known->columns[i].number == number)
			return &known->columns[i];
	return NULL;
}

static const struct target_column *find_target(const struct target *target, const char *name)
{
	for (uint32_t i = 0; i < target->n_columns; i++)
		if (!strcmp(target->columns[i].name, name))
			return &target->columns[i];
	return NULL;
}

static int16_t number_of(const struct column *column)
{
	return column->facts ? column->facts->number : 0;
}

/* what is known of the relation's table; another table of the same name is none */
static const struct ddl_known *same_table(const struct ddl_known *known, const struct target *target)
{
	return known && known->id == target->rel->id ? known : NULL;
}

static uint32_t put_column(struct buf *out, int16_t number, int16_t at, const char *name)
{
	buf_printf(out, "%d %d %zu %s\n", number, at, strlen(name), name);
	return 1;
}

/* the columns of now, and those that the source dropped and the target still has */
void ddl_known_put(struct buf *out, const struct ddl_known *old, const struct target *target)
{
	const struct relation *rel = target->rel;
	_cleanup_(buf_freep) struct buf columns = BUF_INIT;
	int16_t highest = 0;
	uint32_t n = 0;

	old = same_table(old, target);
	highest = old && old->highest > rel->highest ? old->highest : rel->highest;
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		const struct target_column *to = find_target(target, rel->columns[i].name);
		int16_t number = number_of(&rel->columns[i]);

		if (number > highest)
			highest = number;
		if (number && to)
			n += put_column(&columns, number, to->number, to->name);
	}
	for (uint32_t i = 0; old && i < old->n_columns; i++) {
		const struct ddl_column *column = &old->columns[i];
		const struct target_column *to = find_target(target, column->name);
		int at = relation_column(rel, column->name);

		if (to && to->number == column->at && (at < 0 || !number_of(&rel->columns[at])))
			n += put_column(&columns, column->number, column->at, column->name);
	}
	buf_printf(out, "%u %" PRIu32 " %" PRIu32 " %d %" PRIu32 "\n%s", KNOWN_VERSION, rel->id,
		!rel->behind ? rel->file
		: old	     ? old->file
			     : 0,
		highest, n, buf_str(&columns));
}

static bool mistaken_anew(const struct target *target, const char *name, struct error *err)
{
	error_set(err, ERROR_SCHEMA, "PG-COLUMN-ANEW",
		"column %s of %s.%s was dropped at the source and made anew: the target's holds the old one's values",
		name, target->schema, target->name);
	error_remedy(err,
		"ALTER TABLE %s DROP COLUMN \"%s\"; -- if no change of the old one is on its way; else copy the table anew",
		target->sql_name, name);
	return true;
}

static bool mistaken_renamed(
	const struct target *target, const char *from, const char *name, struct error *err)
{
	error_set(err, ERROR_SCHEMA, "PG-COLUMN-RENAMED",
		"column %s of %s.%s was renamed to %s at the source", from, target->schema, target->name,
		name);
	error_remedy(err, "ALTER TABLE %s RENAME COLUMN \"%s\" TO \"%s\";", target->sql_name, from, name);
	return true;
}

bool ddl_mistaken(const struct ddl_known *known, const struct target *target, struct error *err)
{
	const struct relation *rel = target->rel;

	known = same_table(known, target);
	for (uint32_t i = 0; known && i < rel->n_columns; i++) {
		const char *name = rel->columns[i].name;
		const struct target_column *to = find_target(target, name), *from;
		const struct ddl_column *before = known_by_name(known, name), *other;
		int16_t number = number_of(&rel->columns[i]);

		if (!number || !to)
			continue;
		other = known_by_number(known, number);
		from = other && strcmp(other->name, name) != 0 ? find_target(target, other->name) : NULL;
		if (from && from->number == other->at)
			return mistaken_renamed(target, from->name, name, err);
		/* the target's was made anew too when its own number is another */
		if (before && before->number != number && before->at == to->number)
			return mistaken_anew(target, name, err);
	}
	return false;
}

/* nothing can have written values into the rows of a table whose file is still the one of before */
static bool is_rewritten(const struct ddl_known *known, const struct relation *rel)
{
	return !rel->file || (rel->file != rel->id && known->file != rel->file);
}

/* is it the column that the stream means, and a new one? */
static const char *refuses_number(
	const struct ddl_known *known, const struct column_facts *facts, const char **ret_renamed)
{
	const struct ddl_column *before;

	if (facts->number <= known->highest) {
		before = known_by_number(known, facts->number);
		*ret_renamed = before ? before->name : NULL;
		return before ? "it had another name before" : "it was there before, and not sent";
	}
	if (facts->gap > known->highest)
		return "a column was dropped at the source meanwhile, which may have had its name before";
	return NULL;
}

const char *ddl_refuses(const struct ddl_known *known, const struct target *target, uint32_t column,
	bool empty, const char **ret_renamed)
{
	const struct column_facts *facts = target->rel->columns[column].facts;
	const char *why;

	known = same_table(known, target);
	*ret_renamed = NULL;
	if (!facts)
		return "the source's catalog was not asked for it";
	if (target->rel->columns[column].key && target->rel->identity != IDENTITY_FULL)
		return "it is a part of the key";
	if (!known)
		return "nothing is known of the table's columns before: it may have been there all the time";
	if (!facts->number)
		return NULL;
	if (facts->computed)
		return "the source has computed values for the rows that exist (generated, or identity)";
	if (facts->retyped)
		return "its type was changed at the source meanwhile";
	why = refuses_number(known, facts, ret_renamed);
	if (why || facts->missing || empty || !is_rewritten(known, target->rel))
		return why;
	if (facts->preset)
		return "its default was computed for each row that exists, or was set later: not in the stream";
	if (facts->not_null)
		return "it is NOT NULL: the rows that exist were given values that are not in the stream";
	return "the source's table was written anew meanwhile: its rows may have been given values";
}

static bool is_plain_type(const char *s)
{
	/* "timestamp without time zone", "numeric(10,2)", "public.mood[]": nothing that ends or nests */
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ .,()[]") ==
			     strlen(s);
}

bool ddl_default_is_plain(const char *s)
{
	static const char *const words[] = { "true", "false", "now()", "CURRENT_TIMESTAMP", "CURRENT_DATE",
		"LOCALTIMESTAMP", "clock_timestamp()", "statement_timestamp()", "transaction_timestamp()",
		"gen_random_uuid()" };
	size_t digits;

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcmp(s, words[i]))
			return true;
	digits = strspn(s, "0123456789.");
	if (digits && !s[digits])
		return true;
	if (!strncmp(s, "NULL::", 6))
		return is_plain_type(s + 6);
	if (*s++ != '\'')
		return false;
	/* a backslash is one: standard_conforming_strings is pinned on either side */
	while (*s && (*s != '\'' || s[1] == '\''))
		s += *s == '\'' ? 2 : 1;
	if (*s++ != '\'')
		return false;
	return !*s || (!strncmp(s, "::", 2) && is_plain_type(s + 2));
}

static bool gone(const struct ddl_add *add)
{
	return !add->column->facts || !add->column->facts->number;
}

void ddl_put_add(struct buf *sql, const struct ddl_add *add)
{
	const struct column_facts *facts = add->column->facts;

	buf_printf(sql, "ALTER TABLE %s ADD COLUMN ", add->table);
	pg_put_ident(sql, add->column->name);
	buf_printf(sql, " %s", add->type);
	if (gone(add))
		return;
	if (facts->collation && facts->collation_schema) {
		buf_puts(sql, " COLLATE ");
		pg_put_name(sql, facts->collation_schema, facts->collation);
	}
	if (facts->missing) {
		buf_puts(sql, " DEFAULT ");
		pg_put_literal(sql, facts->missing);
	}
	if (facts->not_null && (facts->missing || add->empty))
		buf_puts(sql, " NOT NULL");
}

bool ddl_put_default(struct buf *sql, const struct ddl_add *add)
{
	const struct column_facts *facts = add->column->facts;

	if (gone(add) || (!facts->missing && !facts->preset))
		return false;
	buf_printf(sql, "ALTER TABLE %s ALTER COLUMN ", add->table);
	pg_put_ident(sql, add->column->name);
	if (facts->preset)
		buf_printf(sql, " SET DEFAULT %s", facts->preset);
	else
		buf_puts(sql, " DROP DEFAULT");
	return true;
}
