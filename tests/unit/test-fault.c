/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sluice/fault.h>

#ifdef SLUICE_FAULT_POINTS

static void error_acts_at_its_hit_only(void **state)
{
	setenv("SLUICE_FAULT", "a.one:error,a.two:error@3,a.on:error@100", 1);
	assert_true(SLUICE_FAULT_POINT("a.one"));
	assert_false(SLUICE_FAULT_POINT("a.one"));
	assert_false(SLUICE_FAULT_POINT("a.two"));
	assert_false(SLUICE_FAULT_POINT("a.two"));
	assert_true(SLUICE_FAULT_POINT("a.two"));
	assert_false(SLUICE_FAULT_POINT("a.two"));
	assert_false(SLUICE_FAULT_POINT("a.on"));
	setenv("SLUICE_FAULT", "a.wait:sleep=1@1,a.none", 1);
	assert_false(SLUICE_FAULT_POINT("a.wait"));
	assert_false(SLUICE_FAULT_POINT("a.none"));
}

static void abort_kills(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setenv("SLUICE_FAULT", "b.kill:abort@2", 1);
		if (!SLUICE_FAULT_POINT("b.kill") && !SLUICE_FAULT_POINT("b.kill"))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void each_point_is_listed_up_to_three_times(void **state)
{
	char path[64], text[200] = "";
	int fd;

	snprintf(path, sizeof(path), "/tmp/test-fault-%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	setenv("SLUICE_FAULT_LIST", path, 1);
	unsetenv("SLUICE_FAULT");
	for (int i = 0; i < 5; i++)
		assert_false(SLUICE_FAULT_POINT("c.first"));
	for (int i = 0; i < 2; i++)
		assert_false(SLUICE_FAULT_POINT("c.second"));
	unsetenv("SLUICE_FAULT_LIST");
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "c.first\nc.first\nc.first\nc.second\nc.second\n");
	close(fd);
	unlink(path);
}

static void a_period_is_what_the_environment_says(void **state)
{
	assert_int_equal(SLUICE_PERIOD("d.one", 7), 7);
	setenv("SLUICE_PERIOD", "d.onemore=1,d.one=20,d.two=3", 1);
	assert_int_equal(SLUICE_PERIOD("d.one", 7), 20);
	assert_int_equal(SLUICE_PERIOD("d.two", 7), 3);
	assert_int_equal(SLUICE_PERIOD("d.t", 7), 7);
	unsetenv("SLUICE_PERIOD");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_acts_at_its_hit_only),
		cmocka_unit_test(abort_kills),
		cmocka_unit_test(each_point_is_listed_up_to_three_times),
		cmocka_unit_test(a_period_is_what_the_environment_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* compiled out: the environment has no say */
static void a_point_is_nothing(void **state)
{
	setenv("SLUICE_FAULT", "a.one:error", 1);
	assert_false(SLUICE_FAULT_POINT("a.one"));
}

static void a_period_is_its_own(void **state)
{
	setenv("SLUICE_PERIOD", "d.one=20", 1);
	assert_int_equal(SLUICE_PERIOD("d.one", 7), 7);
	unsetenv("SLUICE_PERIOD");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_point_is_nothing),
		cmocka_unit_test(a_period_is_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
