/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Identifiers, literals, LSNs and times: the texts of PostgreSQL. Pure. */

#include <stdio.h>
#include <string.h>

#include <sluice/postgres.h>

/* microseconds from 1970-01-01 to 2000-01-01 */
#define EPOCH_OFFSET_US INT64_C(946684800000000)

void pg_put_ident(struct buf *buf, const char *name)
{
	buf_putc(buf, '"');
	for (; *name; name++) {
		if (*name == '"')
			buf_putc(buf, '"');
		buf_putc(buf, *name);
	}
	buf_putc(buf, '"');
}

void pg_put_name(struct buf *buf, const char *schema, const char *name)
{
	pg_put_ident(buf, schema);
	buf_putc(buf, '.');
	pg_put_ident(buf, name);
}

void pg_put_literal(struct buf *buf, const char *value)
{
	if (strchr(value, '\\'))
		buf_puts(buf, " E");
	buf_putc(buf, '\'');
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			buf_putc(buf, *value);
		buf_putc(buf, *value);
	}
	buf_putc(buf, '\'');
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static const char *parse_half(const char *s, uint64_t *ret)
{
	int digits = 0;

	*ret = 0;
	for (; hex_digit(*s) >= 0 && digits < 9; s++, digits++)
		*ret = *ret << 4 | (uint64_t)hex_digit(*s);
	return digits >= 1 && digits <= 8 ? s : NULL;
}

bool pg_lsn_parse(const char *s, uint64_t *ret)
{
	uint64_t high, low;

	s = parse_half(s, &high);
	if (!s || *s != '/')
		return false;
	s = parse_half(s + 1, &low);
	if (!s || *s)
		return false;
	*ret = high << 32 | low;
	return true;
}

char *pg_lsn_format(uint64_t lsn, char *buf, size_t size)
{
	snprintf(buf, size, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
	return buf;
}

struct wall pg_time_to_wall(int64_t pg_us)
{
	return (struct wall){ pg_us + EPOCH_OFFSET_US };
}

int64_t pg_time_from_wall(struct wall t)
{
	return t.us - EPOCH_OFFSET_US;
}
