/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Children that speak PostgreSQL's archive format, so that we need not. The connection's settings go by the
 * environment (libpq names a variable for each), because a command line can be read by everyone on the machine; the rest
 * of our environment is not inherited, for it may hold the other database's secrets. stdin is a memory file: seekable, as
 * pg_restore likes it, and nothing of the schema ever reaches a disk.
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <sluice/cleanup.h>
#include <sluice/clock.h>
#include <sluice/postgres_tool.h>

#define TICK_MS	      250
#define STDERR_BYTES  4096
#define VERSION_BYTES 4096

struct child {
	pid_t pid;
	int out, err; /* our ends of the pipes; -1 = closed */
};

struct environment {
	char **items;
	size_t n;
};

static void environment_fini(struct environment *env)
{
	for (size_t i = 0; i < env->n; i++)
		free(env->items[i]);
	free(env->items);
}

static void environment_add(struct environment *env, const char *name, const char *value)
{
	if (!value || !(env->items = realloc(env->items, (env->n + 2) * sizeof(char *))))
		return;
	if (asprintf(&env->items[env->n], "%s=%s", name, value) < 0)
		abort();
	env->items[++env->n] = NULL;
}

/* what the program needs of ours, and the session's own settings */
static void environment_init(struct environment *env, const struct pg_tool_run *run)
{
	static const char *const keep[] = { "PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "KRB5CCNAME",
		"KRB5_CONFIG" };
	PQconninfoOption *options = run->like ? PQconninfo(run->like) : NULL;

	for (size_t i = 0; i < sizeof(keep) / sizeof(*keep); i++)
		environment_add(env, keep[i], getenv(keep[i]));
	environment_add(env, "LC_ALL", "C");
	for (PQconninfoOption *o = options; o && o->keyword; o++) {
		if (!o->envvar || !o->val || !*o->val || !strcmp(o->envvar, "PGAPPNAME"))
			continue;
		environment_add(env, o->envvar, o->val);
	}
	environment_add(env, "PGAPPNAME", run->application);
	PQconninfoFree(options);
}

static int memory_file(const struct buf *input)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);
	size_t at = 0;

	while (fd >= 0 && input && at < input->len) {
		ssize_t n = write(fd, input->data + at, input->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return -1;
		}
		at += (size_t)n;
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

/* the child must not inherit our blocked signals: it could not be ended */
static int spawn(const struct pg_tool_run *run, const int fds[3], pid_t *ret_pid)
{
	struct environment env = { 0 };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	environment_init(&env, run);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], i);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn(
		ret_pid, run->argv[0], &actions, &attr, (char *const *)(uintptr_t)run->argv, env.items);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	environment_fini(&env);
	return r;
}

static int child_start(const struct pg_tool_run *run, struct child *child, struct error *err)
{
	_cleanup_(closep) int in = memory_file(run->input);
	int out[2] = { -1, -1 }, errs[2] = { -1, -1 };
	int r;

	if (in < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0) {
		r = errno;
	} else {
		r = spawn(run, (int[3]){ in, out[1], errs[1] }, &child->pid);
	}
	closep(&out[1]);
	closep(&errs[1]);
	if (r != 0) {
		closep(&out[0]);
		closep(&errs[0]);
		return error_set(err, ERROR_TRANSIENT, "PG-TOOL", "%s: cannot be started: %s", run->argv[0],
			strerror(r));
	}
	child->out = out[0];
	child->err = errs[0];
	return 0;
}

/* false = end of file */
static bool drain(int fd, struct buf *to, size_t limit, bool *ret_full)
{
	uint8_t chunk[65536];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	if (to->len + (size_t)n > limit)
		*ret_full = true;
	else
		buf_put(to, chunk, (size_t)n);
	return true;
}

/* reads until both pipes are closed, looking at stop and tick in between */
static int child_read(const struct pg_tool_run *run, struct child *child, struct buf *out, struct buf *errs,
	struct error *err)
{
	struct mono next = mono_add_ms(mono_now(), TICK_MS);

	while (child->out >= 0 || child->err >= 0) {
		struct pollfd fds[2] = {
			{ .fd = child->out, .events = POLLIN },
			{ .fd = child->err, .events = POLLIN },
		};
		bool full = false, cut = false;

		poll(fds, 2, mono_until_ms(next, mono_now()));
		if (fds[0].revents && !drain(child->out, out, run->output_limit_bytes, &full)) {
			close(child->out);
			child->out = -1;
		}
		if (fds[1].revents && !drain(child->err, errs, STDERR_BYTES, &cut)) {
			close(child->err);
			child->err = -1;
		}
		if (full)
			return error_set(err, ERROR_CONFIG, "PG-TOOL-OUTPUT", "%s: writes more than %zu MiB",
				run->argv[0], run->output_limit_bytes >> 20);
		if (run->stop && atomic_load(run->stop))
			return error_set(err, ERROR_TRANSIENT, "STOPPED", "stopped before the end");
		if (mono_until_ms(next, mono_now()) > 0)
			continue;
		next = mono_add_ms(mono_now(), TICK_MS);
		if (run->tick && run->tick(run->arg, err) < 0)
			return -1;
	}
	return 0;
}

/* the lines of stderr that say "error", on one line; the command's text follows them on lines of its own */
static void complaint(struct buf *errs, char *out, size_t size)
{
	char *rest = (char *)(uintptr_t)buf_str(errs), *line;
	size_t n = 0;

	out[0] = '\0';
	while (n + 1 < size && (line = strsep(&rest, "\n"))) {
		const char *at = strstr(line, "error: ");

		if (!at && !(at = strstr(line, "ERROR: ")) && !(at = strstr(line, "detail: ")))
			continue;
		n += (size_t)snprintf(out + n, size - n, "%s%s", n ? "; " : "", at);
	}
	if (n == 0)
		snprintf(out, size, "no message");
}

int pg_tool_run(const struct pg_tool_run *run, struct buf *ret_output, struct error *err)
{
	_cleanup_(buf_freep) struct buf errs = BUF_INIT;
	struct child child = { .out = -1, .err = -1 };
	char why[240];
	int status = 0, r;

	if (child_start(run, &child, err) < 0)
		return -1;
	r = child_read(run, &child, ret_output, &errs, err);
	closep(&child.out);
	closep(&child.err);
	if (r < 0)
		kill(child.pid, SIGTERM);
	while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	complaint(&errs, why, sizeof(why));
	return error_set(err, ERROR_TRANSIENT, "PG-TOOL-FAILED", "%s: %s", run->argv[0], why);
}

int pg_tool_version(const char *text)
{
	const char *at = strstr(text, "(PostgreSQL) ");

	return at ? (int)strtol(at + strlen("(PostgreSQL) "), NULL, 10) : 0;
}

static void consider(const char *path, struct pg_tool *best)
{
	const char *const argv[] = { path, "--version", NULL };
	struct pg_tool_run run = { .argv = argv, .output_limit_bytes = VERSION_BYTES };
	_cleanup_(buf_freep) struct buf out = BUF_INIT;
	struct error ignored;
	int major;

	if (strlen(path) >= sizeof(best->path) || access(path, X_OK) < 0)
		return;
	if (pg_tool_run(&run, &out, &ignored) < 0)
		return;
	major = pg_tool_version(buf_str(&out));
	if (major <= best->major)
		return;
	best->major = major;
	memcpy(best->path, path, strlen(path) + 1);
}

int pg_tool_find(const char *name, int min_major, struct pg_tool *ret, struct error *err)
{
	static const char *const places[] = { "/usr/lib/postgresql/*/bin/", "/usr/pgsql-*/bin/",
		"/usr/libexec/postgresql*/", "/usr/local/pgsql/bin/", "/opt/homebrew/opt/postgresql@*/bin/" };
	_cleanup_(freep) char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
	char *rest = path, *dir, candidate[512];

	*ret = (struct pg_tool){ 0 };
	/* the programs themselves first: what stands in PATH may be a distribution's wrapper */
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		glob_t found = { 0 };

		snprintf(candidate, sizeof(candidate), "%s%s", places[i], name);
		if (glob(candidate, 0, NULL, &found) == 0) {
			for (size_t k = 0; k < found.gl_pathc; k++)
				consider(found.gl_pathv[k], ret);
		}
		globfree(&found);
	}
	while ((dir = strsep(&rest, ":"))) {
		snprintf(candidate, sizeof(candidate), "%s/%s", dir, name);
		consider(candidate, ret);
	}
	if (ret->major >= min_major && ret->major > 0)
		return 0;
	if (ret->major > 0)
		error_set(err, ERROR_CONFIG, "PG-TOOL", "%s is version %d, but a server is version %d", name,
			ret->major, min_major);
	else
		error_set(err, ERROR_CONFIG, "PG-TOOL", "%s was not found in PATH", name);
	return error_remedy(err,
		"install postgresql-client-%d, or make the tables yourself and set snapshot.schema: existing",
		min_major);
}
