/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * COPY text as INSERTs, for tables whose row security applies to our role: the server refuses COPY FROM there, but takes
 * INSERT under its policies. Rows arrive whole, one line each: fields parted by tabs, \N for null, backslash escapes
 * as the server writes them (\b \f \n \r \t \v \\). The server writes no octal or hexadecimal ones.
 */

#include <string.h>

#include "load.h"

size_t load_unescape(uint8_t *field, size_t len)
{
	static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = field[i];

		if (c == '\\' && i + 1 < len) {
			const char *at = memchr(from, field[++i], sizeof(from) - 1);

			c = at ? (uint8_t)to[at - from] : field[i];
		}
		field[n++] = c;
	}
	return n;
}

/* one field as a literal the server resolves to the column's type */
static void put_field(struct buf *sql, struct buf *scratch, const uint8_t *field, size_t len)
{
	if (len == 2 && field[0] == '\\' && field[1] == 'N') {
		buf_puts(sql, "NULL");
		return;
	}
	buf_clear(scratch);
	buf_put(scratch, field, len);
	scratch->len = load_unescape(scratch->data, scratch->len);
	pg_put_literal(sql, buf_str(scratch));
}

int64_t load_rows_put(struct buf *sql, const uint8_t *data, size_t len, size_t *at, uint32_t n_columns)
{
	_cleanup_(buf_freep) struct buf scratch = BUF_INIT;
	size_t limit_bytes = (size_t)256 * 1024;
	int64_t rows = 0;

	while (*at < len && sql->len < limit_bytes) {
		const uint8_t *line = data + *at, *end = memchr(line, '\n', len - *at);
		uint32_t n = 0;

		if (!end)
			return -1;
		*at += (size_t)(end - line) + 1;
		buf_puts(sql, rows++ ? ", (" : " (");
		for (; n < n_columns && line <= end; n++) {
			const uint8_t *tab = memchr(line, '\t', (size_t)(end - line));

			if (!tab)
				tab = end;
			if (n)
				buf_puts(sql, ", ");
			put_field(sql, &scratch, line, (size_t)(tab - line));
			line = tab + 1;
		}
		if (n != n_columns || line != end + 1)
			return -1;
		buf_putc(sql, ')');
	}
	return rows;
}
