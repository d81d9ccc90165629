/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The log line builder. The format string is walked pair by pair, each value taken from the argument list by
 * its conversion, so that strings can be quoted for logfmt or escaped for JSON without the callers doing
 * anything.
 *
 * Invariants:
 *   1. One line is one write of at most LINE_BYTES (below PIPE_BUF, so lines of several processes never mix).
 *      What does not fit is cut inside a string's value, at a character, and marked with "..."; pairs that do
 *      not fit at all are left out: a line stays valid logfmt or JSON.
 *   2. Nothing here waits for the reader of the log: the descriptor is asked first whether it takes the line.
 */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/buf.h>
#include <sluice/clock.h>
#include <sluice/log.h>

#define LINE_BYTES 2048
#define LINE_ROOM  (LINE_BYTES - 2) /* "}\n" */

static atomic_uint_fast64_t dropped_lines;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER; /* between asking and writing */

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&dropped_lines, memory_order_relaxed);
}

static bool needs_quotes(const char *s)
{
	if (!*s)
		return true;
	for (; *s; s++) {
		if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' ||
			(unsigned char)*s >= 0x7F)
			return true;
	}
	return false;
}

/* a string in quotes, at most room bytes; cut at a character */
static void put_quoted(struct buf *line, const char *value, size_t room)
{
	size_t from = line->len, len = strlen(value);

	if (len > LINE_BYTES)
		len = LINE_BYTES;
	while (len && ((unsigned char)value[len] & 0xC0) == 0x80)
		len--;
	buf_json_string(line, value, len);
	if (!value[len] && line->len - from <= room)
		return;
	while (len && line->len - from + 3 > room) {
		/* a byte becomes at most six */
		size_t less = (line->len - from + 3 - room + 5) / 6;

		len -= less < len ? less : len;
		while (len && ((unsigned char)value[len] & 0xC0) == 0x80)
			len--;
		line->len = from;
		buf_json_string(line, value, len);
	}
	line->len--;
	buf_puts(line, "...\"");
}

static void put_pair(struct buf *line, enum log_format format, const char *key, size_t key_len,
	const char *value, bool number)
{
	size_t from = line->len, head = key_len + 4, value_len = strlen(value);
	bool bare = number || (format == LOG_LOGFMT && !needs_quotes(value));

	/* a cut value is quoted, and needs room for `"..."` at least */
	if (line->len + head + (bare && value_len < 5 ? value_len : 5) > LINE_ROOM)
		return;
	if (format == LOG_JSON) {
		buf_puts(line, line->len > 1 ? ",\"" : "\"");
		buf_put(line, key, key_len);
		buf_puts(line, "\":");
	} else {
		if (line->len)
			buf_putc(line, ' ');
		buf_put(line, key, key_len);
		buf_putc(line, '=');
	}
	if (bare && line->len + value_len <= LINE_ROOM)
		buf_put(line, value, value_len);
	else if (number)
		line->len = from;
	else
		put_quoted(line, value, LINE_ROOM - line->len);
}

static void put_string(struct buf *line, enum log_format format, const char *key, const char *value)
{
	put_pair(line, format, key, strlen(key), value, false);
}

/* what a conversion has given */
struct taken {
	const char *string; /* NULL = number */
	char number[64];
};

/* one conversion: takes its argument from ap; returns what follows the conversion */
static const char *take_value(const char *spec, va_list *ap, struct taken *ret)
{
	const char *p = spec + 1;
	int precision = 6, longs = 0;
	bool is_size = false;
	double number;

	*ret = (struct taken){ 0 };
	if (*p == '.') {
		precision = 0;
		for (p++; *p >= '0' && *p <= '9'; p++)
			precision = precision * 10 + (*p - '0');
	}
	for (; *p == 'l' || *p == 'z'; p++) {
		longs += *p == 'l';
		is_size = is_size || *p == 'z';
	}
	switch (*p) {
	case 's':
		ret->string = va_arg(*ap, const char *);
		if (!ret->string)
			ret->string = "";
		break;
	case 'd':
		snprintf(ret->number, sizeof(ret->number), "%lld",
			longs > 1 ? va_arg(*ap, long long)
			: longs	  ? va_arg(*ap, long)
				  : (long long)va_arg(*ap, int));
		break;
	case 'u':
	case 'x':
		snprintf(ret->number, sizeof(ret->number), *p == 'u' ? "%llu" : "%llx",
			is_size	    ? (unsigned long long)va_arg(*ap, size_t)
			: longs > 1 ? va_arg(*ap, unsigned long long)
			: longs	    ? va_arg(*ap, unsigned long)
				    : (unsigned long long)va_arg(*ap, unsigned));
		if (*p == 'x')
			ret->string = ret->number; /* JSON has no such numbers */
		break;
	case 'f':
		number = va_arg(*ap, double);
		snprintf(ret->number, sizeof(ret->number), "%.*f", precision, number);
		if (!isfinite(number))
			ret->string = ret->number;
		break;
	default: /* a character, not an enum: anything else ends the line's pairs */
		return NULL;
	}
	return p + 1;
}

static void put_pairs(struct buf *line, enum log_format format, const char *fmt, va_list *ap)
{
	while (fmt && *fmt) {
		const char *eq = strchr(fmt, '='), *key = fmt;
		struct taken taken;

		if (!eq || eq[1] != '%')
			return;
		fmt = take_value(eq + 1, ap, &taken);
		if (!fmt)
			return;
		put_pair(line, format, key, (size_t)(eq - key), taken.string ? taken.string : taken.number,
			!taken.string);
		while (*fmt == ' ')
			fmt++;
	}
}

static const char *level_name(enum log_level level)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	return names[level];
}

/* on a terminal somebody may be drawing a line of progress: the log's line goes over it */
static void over_progress(struct buf *line, int fd)
{
	static const char erase[] = "\r\033[K";
	const char *term = isatty(fd) ? getenv("TERM") : NULL;
	size_t len = line->len;

	if (!term || !*term || !strcmp(term, "dumb"))
		return;
	buf_put(line, erase, sizeof(erase) - 1);
	memmove(line->data + sizeof(erase) - 1, line->data, len);
	memcpy(line->data, erase, sizeof(erase) - 1);
}

/* sockets take the line or not; all others are asked first: a pipe that takes anything takes PIPE_BUF */
static bool write_line(int fd, const struct buf *line)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };
	ssize_t n = send(fd, line->data, line->len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK) {
		pthread_mutex_lock(&write_lock);
		n = poll(&poller, 1, 0) == 1 ? write(fd, line->data, line->len) : -1;
		pthread_mutex_unlock(&write_lock);
	}
	return n == (ssize_t)line->len;
}

void log_event(
	const struct log *log, enum log_level level, const char *event, const char *msg, const char *fmt, ...)
{
	struct buf line = BUF_INIT;
	char time[40];
	va_list ap;

	if (level < log->level || log->fd < 0)
		return;
	if (log->format == LOG_JSON)
		buf_putc(&line, '{');
	put_string(&line, log->format, "time", wall_format(wall_now(), time, sizeof(time)));
	put_string(&line, log->format, "level", level_name(level));
	put_string(&line, log->format, "msg", msg);
	put_string(&line, log->format, "stream", log->stream);
	put_string(&line, log->format, "role", log->role);
	put_string(&line, log->format, "direction", log->direction);
	put_string(&line, log->format, "event", event);
	va_start(ap, fmt);
	put_pairs(&line, log->format, fmt, &ap);
	va_end(ap);
	buf_puts(&line, log->format == LOG_JSON ? "}\n" : "\n");
	over_progress(&line, log->fd);
	if (!write_line(log->fd, &line))
		atomic_fetch_add_explicit(&dropped_lines, 1, memory_order_relaxed);
	buf_fini(&line);
}

void log_error_value(const struct log *log, enum log_level level, const char *event, const struct error *err)
{
	log_event(log, level, event, err->message, "code=%s class=%s remedy=%s", err->code,
		error_class_to_string(err->class), err->remedy);
}

bool log_limit_allow(struct log_limit *limit, int64_t interval_ms)
{
	int64_t now_us = mono_now().us;

	if (now_us < limit->next_us) {
		limit->suppressed++;
		return false;
	}
	limit->next_us = now_us + interval_ms * 1000;
	return true;
}

int log_level_from_string(const char *s, enum log_level *ret)
{
	for (int i = LOG_DEBUG; i <= (int)LOG_ERROR; i++) {
		if (!strcmp(s, level_name((enum log_level)i))) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}
