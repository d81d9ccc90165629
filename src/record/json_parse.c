/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A JSON text to a reader's callbacks, which bound its depth. yajl turns an escaped half of a UTF-16 pair that stands alone into a
 * question mark: a text with one is refused, since no value may change quietly.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json_read.h"

#define END_BYTES 128u /* what follows source and transaction: op and three times */

/* the four digits behind "\u"; < 0 = there are none */
static int escaped(const uint8_t *s, const uint8_t *end)
{
	int code = 0;

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int c = s[i] | 0x20; /* letters to small ones, digits stay */
		int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	return code;
}

static bool has_lone_half(const void *text, size_t len)
{
	const uint8_t *s = text, *end = s + len;

	while (s < end && (s = memchr(s, '\\', (size_t)(end - s)))) {
		int code = escaped(s, end);
		int low = code >= 0xD800 && code < 0xDC00 ? escaped(s + 6, end) : -1;

		if (code >= 0xD800 && code < 0xE000 && (low < 0xDC00 || low >= 0xE000))
			return true;
		s += low >= 0 ? 12 : 2;
	}
	return false;
}

unsigned read_end(const struct message *msg)
{
	const char op[] = { ',', '"', 'o', 'p', '"', ':' };
	const char *end = (const char *)msg->value + msg->value_len, *s = end;
	const char *from = msg->value_len > END_BYTES ? end - END_BYTES : (const char *)msg->value;
	unsigned closed;

	while (s > from && s[-1] == '}')
		s--;
	closed = (unsigned)(end - s);
	for (; s - from >= (ptrdiff_t)sizeof(op); s--) {
		if (s[-1] == '}' || s[-1] == '{' || s[-1] == '[')
			return 0;
		if (s[-1] == ':' && !memcmp(s - sizeof(op), op, sizeof(op)))
			return closed;
	}
	return 0;
}

int read_parse(const struct message *msg, const char *what, const void *text, size_t len,
	const yajl_callbacks *with, void *ctx, struct error *err)
{
	yajl_handle handle = yajl_alloc(with, NULL, ctx);
	yajl_status status;

	if (!handle)
		abort();
	*err = ERROR_INIT;
	status = yajl_parse(handle, text, len);
	if (status == yajl_status_client_canceled && err->class == ERROR_NONE) {
		status = yajl_status_ok;
		len = yajl_get_bytes_consumed(handle);
	} else if (status == yajl_status_ok) {
		status = yajl_complete_parse(handle);
	}
	yajl_free(handle);
	if (status == yajl_status_ok && !has_lone_half(text, len))
		return 0;
	/* a callback that gave up has said why; yajl's own text would show the values */
	return err->class != ERROR_NONE
		       ? -1
		       : error_set(err, ERROR_DATA, "JSON-FORMAT", "offset %" PRId64 ": %s is not valid JSON",
				 msg->offset, what);
}
