/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The log line builder. The format string is walked pair by pair, each value taken from the argument list by its
 * conversion, so that strings can be quoted for logfmt or escaped for JSON without the callers doing anything.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sluice/buf.h>
#include <sluice/clock.h>
#include <sluice/log.h>

#define LINE_BYTES 2048

static atomic_uint_fast64_t dropped_lines;

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
			(unsigned char)*s == 0x7F)
			return true;
	}
	return false;
}

static void put_pair(struct buf *line, enum log_format format, const char *key, size_t key_len,
	const char *value, bool number)
{
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
	if (number || (format == LOG_LOGFMT && !needs_quotes(value)))
		buf_puts(line, value);
	else
		buf_json_string(line, value, strlen(value));
}

static void put_string(struct buf *line, enum log_format format, const char *key, const char *value)
{
	put_pair(line, format, key, strlen(key), value, false);
}

/* one conversion: takes its argument from ap and writes it; returns what follows the conversion */
static const char *take_value(const char *spec, va_list *ap, char *out, size_t size, const char **ret_string)
{
	const char *p = spec + 1;
	int precision = 6, longs = 0;
	bool is_size = false;

	*ret_string = NULL;
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
		*ret_string = va_arg(*ap, const char *);
		if (!*ret_string)
			*ret_string = "";
		break;
	case 'd':
		snprintf(out, size, "%lld",
			longs > 1 ? va_arg(*ap, long long)
			: longs	  ? va_arg(*ap, long)
				  : (long long)va_arg(*ap, int));
		break;
	case 'u':
	case 'x':
		snprintf(out, size, *p == 'u' ? "%llu" : "%llx",
			is_size	    ? (unsigned long long)va_arg(*ap, size_t)
			: longs > 1 ? va_arg(*ap, unsigned long long)
			: longs	    ? va_arg(*ap, unsigned long)
				    : (unsigned long long)va_arg(*ap, unsigned));
		break;
	case 'f':
		snprintf(out, size, "%.*f", precision, va_arg(*ap, double));
		break;
	default: /* a character, not an enum: anything else ends the line's pairs */
		return "";
	}
	return p + 1;
}

static void put_pairs(struct buf *line, enum log_format format, const char *fmt, va_list *ap)
{
	while (*fmt) {
		const char *eq = strchr(fmt, '='), *string;
		char number[64] = "";

		if (!eq || eq[1] != '%')
			return;
		size_t key_len = (size_t)(eq - fmt);
		const char *next = take_value(eq + 1, ap, number, sizeof(number), &string);

		put_pair(line, format, fmt, key_len, string ? string : number, !string);
		fmt = next;
		while (*fmt == ' ')
			fmt++;
	}
}

static const char *level_name(enum log_level level)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	return names[level];
}

static void write_line(const struct log *log, struct buf *line)
{
	size_t max = LINE_BYTES - 8;

	if (line->len > max) {
		line->len = max;
		while (line->len && (line->data[line->len] & 0xC0) == 0x80)
			line->len--;
		if (log->format == LOG_JSON)
			buf_puts(line, "\"");
	}
	buf_puts(line, log->format == LOG_JSON ? "}\n" : "\n");
	if (write(log->fd, line->data, line->len) != (ssize_t)line->len)
		atomic_fetch_add_explicit(&dropped_lines, 1, memory_order_relaxed);
}

void log_event(
	const struct log *log, enum log_level level, const char *event, const char *msg, const char *fmt, ...)
{
	struct buf line = BUF_INIT;
	char time[40];
	va_list ap;

	if (level < log->level)
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
	write_line(log, &line);
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
