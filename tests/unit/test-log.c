/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include <sluice/log.h>

static char line[8192];

struct fixture {
	struct log log;
	int fds[2];
};

static struct fixture open_log(enum log_format format)
{
	struct fixture f = {
		.log = { .level = LOG_INFO, .format = format, .stream = "shop", .role = "apply" }
	};

	assert_int_equal(pipe(f.fds), 0);
	f.log.fd = f.fds[1];
	return f;
}

/* one line, without its end */
static const char *next_line(const struct fixture *f)
{
	ssize_t n = read(f->fds[0], line, sizeof(line) - 1);

	assert_in_range(n, 1, 2048);
	assert_int_equal(line[n - 1], '\n');
	line[n - 1] = '\0';
	assert_null(strchr(line, '\n'));
	return line;
}

static void close_log(struct fixture *f)
{
	close(f->fds[0]);
	close(f->fds[1]);
}

static void logfmt_pairs_in_order(void **state)
{
	struct fixture f = open_log(LOG_LOGFMT);
	const char *s;

	log_info(&f.log, "apply.done", "a group was applied",
		"s=%s n=%d u=%u l=%ld lu=%lu ll=%lld llu=%llu z=%zu x=%x lx=%lx f=%f f3=%.3f end=%s", "plain",
		-1, 2u, -3L, 4UL, -5LL, 6ULL, (size_t)7, 255u, 4096UL, 1.5, 2.0 / 3, "e");
	s = next_line(&f);
	assert_memory_equal(s, "time=2", 6);
	assert_non_null(
		strstr(s, " level=info msg=\"a group was applied\" stream=shop role=apply direction=\"\" "
			  "event=apply.done s=plain n=-1 u=2 l=-3 lu=4 ll=-5 llu=6 z=7 x=ff lx=1000 "
			  "f=1.500000 f3=0.667 end=e"));
	close_log(&f);
}

static void strings_are_quoted_as_needed(void **state)
{
	struct fixture f = open_log(LOG_LOGFMT);

	log_warn(&f.log, "e", "m", "a=%s b=%s c=%s d=%s", "x y", "k=v", "say \"no\"", "");
	assert_non_null(strstr(next_line(&f), " a=\"x y\" b=\"k=v\" c=\"say \\\"no\\\"\" d=\"\""));
	log_info(&f.log, "e", "m", "a=%s b=%s", "two\nlines", "\xff");
	assert_non_null(strstr(next_line(&f), " a=\"two\\u000alines\" b=\"\\ufffd\""));
	close_log(&f);
}

static void assert_json(const char *s, const char *key, const char *want)
{
	char err[200];
	yajl_val tree = yajl_tree_parse(s, err, sizeof(err)), val;
	const char *path[] = { key, NULL };

	if (!tree)
		fail_msg("%s in: %s", err, s);
	val = yajl_tree_get(tree, path, yajl_t_any);
	assert_non_null(val);
	assert_string_equal(YAJL_IS_STRING(val) ? YAJL_GET_STRING(val) : YAJL_GET_NUMBER(val), want);
	yajl_tree_free(tree);
}

static void json_is_json_whatever_is_logged(void **state)
{
	struct fixture f = open_log(LOG_JSON);

	log_info(&f.log, "e", "m", "x=%x f=%f s=%s n=%llu", 255u, 0.0 / 0.0, "q\"\\\x01\xff", 12ULL);
	assert_json(next_line(&f), "x", "ff");
	assert_json(line, "s", "q\"\\\x01\xef\xbf\xbd");
	assert_json(line, "n", "12");
	assert_json(line, "event", "e");
	close_log(&f);
}

static void too_long_lines_are_cut_cleanly(void **state)
{
	struct fixture f = open_log(LOG_JSON);
	char text[4000];

	/* every length around the limit, with characters of one, two and six bytes in the line */
	for (int len = 1500; len < 2200; len += 3) {
		for (int i = 0; i < len; i++)
			text[i] = i % 7 == 0 ? '\x01' : i % 7 == 1 ? '\xc3' : i % 7 == 2 ? '\xa9' : 'a';
		memcpy(text + len, "z", 2);
		f.log.format = LOG_JSON;
		log_info(&f.log, "e", "m", "a=%s b=%s c=%d", text + len - len / 2, text, 12345);
		assert_json(next_line(&f), "event", "e");
		f.log.format = LOG_LOGFMT;
		log_info(&f.log, "e", "m", "a=%s b=%s c=%d", text + len - len / 2, text, 12345);
		next_line(&f);
		assert_true(strstr(line, "...\"") || strstr(line, "z\" c=12345"));
	}
	memset(text, 'a', sizeof(text));
	text[3999] = '\0';
	log_info(&f.log, "e", text, "c=%d", 1);
	assert_memory_equal(next_line(&f) + strlen(line) - 7, "aaa...\"", 7);
	close_log(&f);
}

static void a_full_pipe_drops_and_counts(void **state)
{
	struct fixture f = open_log(LOG_LOGFMT);
	uint64_t before = log_dropped();

	/* the descriptor is a blocking one: the call must return all the same */
	for (int i = 0; i < 5000; i++)
		log_info(&f.log, "e", "m", "n=%d", i);
	assert_in_range(log_dropped() - before, 1, 4999);
	close_log(&f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f.fds), 0);
	f.log.fd = f.fds[1];
	before = log_dropped();
	log_info(&f.log, "e", "m", "n=%d", 1);
	assert_non_null(strstr(next_line(&f), "n=1"));
	for (int i = 0; i < 20000; i++)
		log_info(&f.log, "e", "m", "n=%d", i);
	assert_in_range(log_dropped() - before, 1, 19999);
	close_log(&f);
}

static void levels_below_the_set_one_are_silent(void **state)
{
	struct fixture f = open_log(LOG_LOGFMT);
	struct error err = ERROR_INIT;
	enum log_level level;

	log_debug(&f.log, "quiet", "m", "n=%d", 1);
	error_set(&err, ERROR_DATA, "22P02", "bad value");
	error_remedy(&err, "change it");
	log_error_value(&f.log, LOG_ERROR, "apply.error", &err);
	assert_non_null(strstr(next_line(&f), "level=error msg=\"bad value\""));
	assert_non_null(strstr(line, "event=apply.error code=22P02 class=data remedy=\"change it\""));
	assert_int_equal(log_level_from_string("warn", &level), 0);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_level_from_string("loud", &level), -1);
	close_log(&f);
}

static void a_limit_counts_what_it_holds_back(void **state)
{
	struct log_limit limit = { 0 };

	assert_true(log_limit_allow(&limit, 60000));
	assert_false(log_limit_allow(&limit, 60000));
	assert_false(log_limit_allow(&limit, 60000));
	assert_int_equal(limit.suppressed, 2);
	limit.next_us = 0;
	assert_true(log_limit_allow(&limit, 60000));
}

static void on_a_terminal_it_goes_over_the_progress(void **state)
{
	struct log log = { .level = LOG_INFO, .format = LOG_LOGFMT, .stream = "shop" };
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ssize_t n;

	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	log.fd = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(log.fd >= 0);
	assert_int_equal(setenv("TERM", "xterm", 1), 0);
	log_info(&log, "a", "b", "c=%d", 1);
	n = read(master, line, sizeof(line) - 1);
	assert_true(n > 8);
	assert_memory_equal(line, "\r\033[Ktime=", 9);
	assert_int_equal(setenv("TERM", "dumb", 1), 0);
	log_info(&log, "a", "b", "c=%d", 1);
	n = read(master, line, sizeof(line) - 1);
	assert_true(n > 5);
	assert_memory_equal(line, "time=", 5);
	close(log.fd);
	close(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logfmt_pairs_in_order),
		cmocka_unit_test(strings_are_quoted_as_needed),
		cmocka_unit_test(json_is_json_whatever_is_logged),
		cmocka_unit_test(too_long_lines_are_cut_cleanly),
		cmocka_unit_test(a_full_pipe_drops_and_counts),
		cmocka_unit_test(levels_below_the_set_one_are_silent),
		cmocka_unit_test(a_limit_counts_what_it_holds_back),
		cmocka_unit_test(on_a_terminal_it_goes_over_the_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
