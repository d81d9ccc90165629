/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One line per event on a file descriptor (stderr), logfmt or JSON, one write(2) each. A write that would
 * block is dropped and counted: logging never stops the pipeline. `event` values are stable names that
 * operators match on; `msg` is for people. The format lists `key=%spec` pairs separated by one blank;
 * supported: %s %d %u %ld %lu %lld %llu %zu %x %f %.Nf. Strings are quoted as needed. Never a row value or
 * a secret.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/error.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log {
	enum log_level level;
	enum log_format format;
	int fd;
	char stream[48];
	char role[16];
	char direction[16];
};

/**
 * log_event() - writes one line: time level msg stream role direction event, then the pairs.
 * Thread: any. Blocks: never (a full pipe drops the line).
 */
void log_event(const struct log *log, enum log_level level, const char *event, const char *msg,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/** log_error_value() - writes an error with its class, code and remedy at the given level. */
void log_error_value(const struct log *log, enum log_level level, const char *event, const struct error *err);

#define log_debug(log, event, msg, ...) log_event((log), LOG_DEBUG, (event), (msg), __VA_ARGS__)
#define log_info(log, event, msg, ...)	log_event((log), LOG_INFO, (event), (msg), __VA_ARGS__)
#define log_warn(log, event, msg, ...)	log_event((log), LOG_WARN, (event), (msg), __VA_ARGS__)

/** log_limit() - true when a message class may be written now: at most one line every interval_ms per
 * caller-owned state; counts the suppressed ones in *suppressed. Thread: the owner of the state. */
struct log_limit {
	int64_t next_us;
	uint64_t suppressed;
};
bool log_limit_allow(struct log_limit *limit, int64_t interval_ms);

/** log_dropped() - lines lost so far because the descriptor did not take them. Thread: any. */
uint64_t log_dropped(void);

int log_level_from_string(const char *s, enum log_level *ret);
