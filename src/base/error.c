/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Error values. Filling one never allocates and never fails; a text that does not fit is cut at a UTF-8
 * boundary, so that what is logged stays valid.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sluice/error.h>

/* takes away a UTF-8 sequence that vsnprintf() has cut in the middle */
static void trim_utf8(char *s)
{
	size_t len = strlen(s), i = len;

	while (i > 0 && len - i < 4 && ((unsigned char)s[i - 1] & 0xC0) == 0x80)
		i--;
	if (i > 0 && (unsigned char)s[i - 1] >= 0xC0) {
		unsigned char lead = (unsigned char)s[i - 1];
		size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;

		if (len - (i - 1) < want)
			s[i - 1] = '\0';
	}
}

static void format_into(char *out, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(out, size, fmt, ap);

	if (n >= (int)size)
		trim_utf8(out);
	/* one line: texts of servers may hold line ends */
	for (char *p = out; *p; p++) {
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
}

int error_set(struct error *err, enum error_class class, const char *code, const char *fmt, ...)
{
	struct error made = { .class = class }; /* code and arguments may point into *err */
	va_list ap;

	snprintf(made.code, sizeof(made.code), "%s", code);
	va_start(ap, fmt);
	format_into(made.message, sizeof(made.message), fmt, ap);
	va_end(ap);
	*err = made;
	return -1;
}

int error_exit(struct error *err, int exit_code)
{
	err->exit_code = exit_code;
	return -1;
}

int error_remedy(struct error *err, const char *fmt, ...)
{
	char remedy[sizeof(err->remedy)];
	va_list ap;

	va_start(ap, fmt);
	format_into(remedy, sizeof(remedy), fmt, ap);
	va_end(ap);
	memcpy(err->remedy, remedy, sizeof(remedy));
	return -1;
}

int error_where(struct error *err, const char *fmt, ...)
{
	char where[sizeof(err->message)];
	char message[sizeof(err->message)];
	va_list ap;

	va_start(ap, fmt);
	format_into(where, sizeof(where), fmt, ap);
	va_end(ap);
	memcpy(message, err->message, sizeof(message));
	if (snprintf(err->message, sizeof(err->message), "%s: %s", where, message) >=
		(int)sizeof(err->message))
		trim_utf8(err->message);
	return -1;
}

int error_exit_code(const struct error *err)
{
	if (err->exit_code)
		return err->exit_code;
	switch (err->class) {
	case ERROR_NONE:
		return EXIT_OK;
	case ERROR_TRANSIENT:
		return EXIT_UNAVAILABLE;
	case ERROR_DATA:
	case ERROR_SCHEMA:
		return EXIT_RECORD;
	case ERROR_CONFIG:
		return EXIT_CONFIG;
	case ERROR_FATAL:
	case ERROR_BUG:
		return EXIT_BUG;
	}
	return EXIT_BUG;
}

const char *error_class_to_string(enum error_class class)
{
	switch (class) {
	case ERROR_NONE:
		return "none";
	case ERROR_TRANSIENT:
		return "transient";
	case ERROR_DATA:
		return "data";
	case ERROR_SCHEMA:
		return "schema";
	case ERROR_CONFIG:
		return "config";
	case ERROR_FATAL:
		return "fatal";
	case ERROR_BUG:
		return "bug";
	}
	return "unknown";
}
