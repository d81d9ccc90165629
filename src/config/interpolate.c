/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A variable that is not set is an error, not an empty text: an empty password or host means something else
 * to libpq. A file's trailing line ends are cut, since editors and `kubectl create secret --from-file` add
 * them.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/cleanup.h>

#include "interpolate.h"

#define FILE_MAX ((size_t)64 * 1024)

static bool name_is_valid(const char *name, size_t len)
{
	if (len == 0 || (name[0] >= '0' && name[0] <= '9'))
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return true;
}

static int put_file(const char *path, struct buf *ret, char *why, size_t size)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t from = ret->len;
	ssize_t n;

	if (fd < 0) {
		snprintf(why, size, "file %s: %s", path, strerror(errno));
		return -1;
	}
	while ((n = read(fd, buf_grow(ret, 4096), 4096)) > 0) {
		ret->len += (size_t)n;
		if (ret->len - from > FILE_MAX) {
			snprintf(why, size, "file %s: larger than 64KiB", path);
			return -1;
		}
	}
	if (n < 0) {
		snprintf(why, size, "file %s: %s", path, strerror(errno));
		return -1;
	}
	while (ret->len > from && (ret->data[ret->len - 1] == '\n' || ret->data[ret->len - 1] == '\r'))
		ret->len--;
	if (memchr(ret->data + from, 0, ret->len - from)) {
		snprintf(why, size, "file %s: holds a zero byte", path);
		return -1;
	}
	return 0;
}

static int put_variable(const char *body, size_t len, struct buf *ret, char *why, size_t size)
{
	const char *fallback = memmem(body, len, ":-", 2), *value;
	size_t name_len = fallback ? (size_t)(fallback - body) : len;
	char name[128];

	if (!name_is_valid(body, name_len) || name_len >= sizeof(name)) {
		snprintf(why, size, "${…} holds neither NAME, NAME:-default nor file:/path");
		return -1;
	}
	memcpy(name, body, name_len);
	name[name_len] = 0;
	value = getenv(name);
	if (fallback && (!value || !*value))
		buf_put(ret, fallback + 2, len - name_len - 2);
	else if (value)
		buf_puts(ret, value);
	else {
		snprintf(why, size, "the variable %s is not set", name);
		return -1;
	}
	return 0;
}

static int put_reference(const char *body, size_t len, struct buf *ret, char *why, size_t size)
{
	char path[512];

	if (len < 5 || memcmp(body, "file:", 5) != 0)
		return put_variable(body, len, ret, why, size);
	if (len - 5 >= sizeof(path) || body[5] != '/') {
		snprintf(why, size, "${file:…} needs an absolute path");
		return -1;
	}
	memcpy(path, body + 5, len - 5);
	path[len - 5] = 0;
	return put_file(path, ret, why, size);
}

int interpolate(const char *text, struct buf *ret, char *why, size_t size)
{
	const char *at;

	buf_clear(ret);
	while ((at = strstr(text, "${"))) {
		const char *end;

		if (at > text && at[-1] == '$') { /* $${ stands for ${ */
			buf_put(ret, text, (size_t)(at - text) - 1);
			buf_puts(ret, "${");
			text = at + 2;
			continue;
		}
		buf_put(ret, text, (size_t)(at - text));
		end = strchr(at, '}');
		if (!end) {
			snprintf(why, size, "${ without }; write $${ for a plain ${");
			return -1;
		}
		if (put_reference(at + 2, (size_t)(end - at) - 2, ret, why, size) < 0)
			return -1;
		text = end + 1;
	}
	buf_puts(ret, text);
	return 0;
}
