/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * One row of COPY TO STDOUT in text: fields parted by tabs, a newline at the end, \N for null, and where a value holds a
 * backslash or one of six control characters, an escape of two bytes (\\ \b \f \n \r \t \v). The server writes no others,
 * so any other is broken input and refused, like a row with another number of fields; a value is never guessed.
 *
 * Most bytes mean themselves, so eight of them are looked at together: a byte below 0x0E (tab, newline and the other
 * controls that have an escape) or a backslash ends the run. A field without escapes stays where it is. One whose only
 * escape is its first byte (every bytea: "\\x…") begins one byte later instead of moving; the others close up.
 */

#include <string.h>

#include "copy_text.h"

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u
#define LOW   0x0E /* the first byte that needs no look */

/* the high bit of the first byte that has to be looked at, and perhaps of some behind it; 0 = of none */
static inline uint64_t marks(const uint8_t *at)
{
	uint64_t word, slash;

	memcpy(&word, at, sizeof(word));
	slash = word ^ (ONES * '\\');
	return (((word - ONES * LOW) & ~word) | ((slash - ONES) & ~slash)) & HIGHS;
}

/* the first byte from `at` on that has to be looked at; there is one: the newline */
static inline uint8_t *run_end(uint8_t *at)
{
	uint64_t found;

	while (!(found = marks(at)))
		at += sizeof(found);
	return at + (__builtin_ctzll(found) >> 3);
}

/* what the byte behind a backslash stands for; -1 = nothing that a server writes */
static int escaped(uint8_t c)
{
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'v':
		return '\v';
	case '\\':
		return '\\';
	default:
		return -1;
	}
}

/* a field whose bytes move: [start, to) is done, the rest of it begins at *at */
struct moving {
	uint8_t *start, *to;
};

/* undoes the escape at *at; false = it is none */
static bool take_escape(struct moving *field, uint8_t **at)
{
	int c = escaped((*at)[1]);

	if (c < 0)
		return false;
	if (*at == field->start) {
		field->start++;
		field->to = field->start;
	}
	*field->to++ = (uint8_t)c;
	*at += 2;
	return true;
}

/*
 * One field from `at` on, its end (the tab or the newline) in *ret_end; last: the row's newline.
 * Return: false = broken.
 */
static bool take_field(uint8_t *at, const uint8_t *last, struct value *value, uint8_t **ret_end)
{
	struct moving field = { .start = at, .to = NULL };

	for (;;) {
		uint8_t *end = run_end(at);

		/* controls without an escape are plain bytes */
		while (end < last && *end != '\t' && *end != '\\' && *end != '\n')
			end = run_end(end + 1);
		if (field.to && field.to != at)
			memmove(field.to, at, (size_t)(end - at));
		if (field.to)
			field.to += end - at;
		at = end;
		if (at == last || *at == '\t')
			break;
		if (*at == '\n')
			return false;
		if (at == field.start && at[1] == 'N' && (at + 2 == last || at[2] == '\t')) {
			*value = (struct value){ .state = VALUE_NULL };
			*ret_end = at + 2;
			return true;
		}
		if (!field.to)
			field.to = at;
		if (!take_escape(&field, &at))
			return false;
	}
	if (!field.to)
		field.to = at;
	*value = (struct value){
		.data = field.start,
		.len = (uint32_t)(field.to - field.start),
		.state = VALUE_PRESENT,
		.format = VALUE_TEXT,
	};
	*ret_end = at;
	return true;
}

static int broken(const struct relation *rel, uint32_t column, struct error *err)
{
	return error_set(err, ERROR_DATA, "COPY-TEXT",
		"%s.%s, column %s: what the source sent is not COPY text", rel->schema, rel->name,
		rel->columns[column].name);
}

static int miscounted(const struct relation *rel, struct error *err)
{
	return error_set(err, ERROR_DATA, "COPY-TEXT",
		"%s.%s: a row of COPY text has another number of columns than the table's %u", rel->schema,
		rel->name, rel->n_columns);
}

int copy_text_row(struct batch *batch, struct relation *rel, uint8_t *line, size_t len, struct error *err)
{
	struct value *values;
	struct record *rec;
	uint8_t *at = line, *last;
	uint32_t n = 0;
	bool ended;

	if (!len || line[len - 1] != '\n' || len > UINT32_MAX)
		return error_set(err, ERROR_DATA, "COPY-TEXT", "%s.%s: a row of COPY text has no end",
			rel->schema, rel->name);
	last = line + len - 1;
	values = arena_alloc(&batch->arena, rel->n_columns * sizeof(*values));
	ended = rel->n_columns == 0 && at == last;
	while (n < rel->n_columns && !ended) {
		if (!take_field(at, last, &values[n], &at))
			return broken(rel, n, err);
		n++;
		ended = at++ == last;
	}
	if (n != rel->n_columns || !ended)
		return miscounted(rel, err);
	rec = batch_add(batch);
	rec->op = RECORD_READ;
	rec->rel = batch_hold(batch, rel);
	rec->after = values;
	return 0;
}
