/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice run, reader and applier. The pipeline has a thread of its own; this one keeps signals, progress and the heartbeat of
 * /livez, and so never waits for a server.
 *
 *   first SIGTERM or SIGINT   stop flag and wake fd; what was read is applied within run.grace_period
 *   second one, or too late   _exit(143): progress lies in the target, so nothing is lost
 *   the pipeline ends         its error is said, and the process ends with its code; with on_fatal: hold HTTP
 *                             stays up, in the state that the pipeline has left, until a signal
 *
 * Signals are blocked before any thread exists, so that all threads inherit that and only the signalfd sees
 * them.
 */

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <sluice/config_load.h>
#include <sluice/cleanup.h>
#include <sluice/http.h>
#include <sluice/pipeline.h>
#include <sluice/readiness.h>

#include "cli.h"
#include "progress.h"

#define TURN_MS		 1000
#define TURN_TERMINAL_MS 250
#define LOG_EVERY_MS	 10000
#define ARENAS		 2

struct service {
	struct cli_context cc;
	struct pipeline_options opt;
	struct http_server *http;
	pthread_t thread;
	int signal_fd, wake_fd, done_fd;
	bool terminal; /* somebody looks at stdout */
	bool stopping, ended;
	struct mono deadline; /* of stopping */
	struct mono next_log;
	int exit_code; /* of the pipeline; read after the thread was joined */
	struct error err;
};

static void *pipeline_thread(void *arg)
{
	struct service *svc = arg;

	svc->exit_code = pipeline_run(&svc->cc.ctx, &svc->opt, &svc->err);
	eventfd_write(svc->done_fd, 1);
	return NULL;
}

static int open_fds(struct service *svc, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	svc->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	svc->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	svc->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (svc->signal_fd >= 0 && svc->wake_fd >= 0 && svc->done_fd >= 0)
		return 0;
	return error_set(
		err, ERROR_TRANSIENT, "RUN-FDS", "cannot open event descriptors: %s", strerror(errno));
}

static void say_end(struct service *svc, const char *why)
{
	if (svc->terminal)
		progress_end(stdout);
	log_warn(svc->cc.ctx.log, "killed", why, "exit=%d", EXIT_KILLED);
	_exit(EXIT_KILLED);
}

static void on_signal(struct service *svc)
{
	struct signalfd_siginfo info;
	const struct context *ctx = &svc->cc.ctx;

	while (read(svc->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (svc->stopping)
			say_end(svc, "a second signal: ending at once");
		svc->stopping = true;
		if (svc->terminal)
			progress_end(stdout);
		log_info(ctx->log, "stopping", "stopping: what was read is applied first",
			"signal=%s grace_ms=%lld", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT",
			(long long)ctx->cfg->grace_ms);
		svc->deadline = mono_add_ms(mono_now(), ctx->cfg->grace_ms);
		if (!svc->ended)
			status_state(ctx->status, STATE_DRAINING, "", "", "");
		atomic_store(&svc->cc.stop, true);
		eventfd_write(svc->wake_fd, 1);
	}
}

static void show_progress(struct service *svc)
{
	const struct context *ctx = &svc->cc.ctx;
	struct mono now = mono_now();

	status_lock(ctx->status);
	ctx->status->main_turn = now;
	status_unlock(ctx->status);
	metric_set(&ctx->metrics->log_dropped, log_dropped());
	if (svc->ended)
		return;
	if (svc->terminal) {
		progress_draw(ctx, stdout);
	} else if (mono_diff_us(now, svc->next_log) >= 0) {
		progress_log(ctx);
		svc->next_log = mono_add_ms(now, LOG_EVERY_MS);
	}
}

/* one turn of the main loop, at least once a second */
static void service_turn(struct service *svc)
{
	struct pollfd fds[] = {
		{ .fd = svc->signal_fd, .events = POLLIN },
		{ .fd = svc->ended ? -1 : svc->done_fd, .events = POLLIN },
	};

	int timeout_ms = svc->terminal ? TURN_TERMINAL_MS : TURN_MS;

	if (svc->stopping && mono_until_ms(svc->deadline, mono_now()) < timeout_ms)
		timeout_ms = mono_until_ms(svc->deadline, mono_now());
	poll(fds, 2, timeout_ms);
	if (fds[0].revents)
		on_signal(svc);
	if (fds[1].revents) {
		pthread_join(svc->thread, NULL);
		svc->ended = true;
		if (svc->terminal)
			progress_end(stdout);
	} else if (!svc->ended && svc->stopping && mono_until_ms(svc->deadline, mono_now()) == 0) {
		say_end(svc, "the grace period has passed: ending at once");
	}
	show_progress(svc);
}

/* an error of the pipeline, to the log, to people, and to Kubernetes */
static void say_error(struct service *svc)
{
	char text[640];

	log_error_value(svc->cc.ctx.log, LOG_ERROR, "fatal", &svc->err);
	if (isatty(STDERR_FILENO)) /* elsewhere the log line says it all, and every line has to be one of the log */
		cli_error(&svc->err);
	snprintf(text, sizeof(text), "%s: %s%s%s\n", svc->err.code, svc->err.message,
		*svc->err.remedy ? "; " : "", svc->err.remedy);
	cli_terminated(text);
}

static void swap_text(char **a, char **b)
{
	char *text = *a;

	*a = *b;
	*b = text;
}

/* where the servers are and how to get in, from file and environment as they are now; all else stays */
static void reload(void *arg)
{
	struct cli *cli = arg;
	struct config_request req = { .path = cli->config_path,
		.sets = cli->sets,
		.n_sets = cli->n_sets,
		.without = cli->command->without };
	struct config_report report = CONFIG_REPORT_INIT;
	struct config *cfg = NULL;

	if (config_load(&req, &cfg, &report) == 0) {
		swap_text(&cli->cfg->source.uri, &cfg->source.uri);
		swap_text(&cli->cfg->source.user, &cfg->source.user);
		swap_text(&cli->cfg->source.password, &cfg->source.password);
		swap_text(&cli->cfg->target.uri, &cfg->target.uri);
		swap_text(&cli->cfg->target.user, &cfg->target.user);
		swap_text(&cli->cfg->target.password, &cfg->target.password);
		config_free(cfg);
	}
	config_report_fini(&report);
}

static int service_start(struct service *svc, struct error *err)
{
	int r = open_fds(svc, err);

	if (r == 0)
		r = http_service_start(&svc->cc.ctx, &svc->http, err);
	if (r < 0)
		return r;
	svc->opt.wake_fd = svc->wake_fd;
	svc->opt.ready = readiness_is_ready;
	svc->next_log = mono_add_ms(mono_now(), LOG_EVERY_MS);
	show_progress(svc);
	r = pthread_create(&svc->thread, NULL, pipeline_thread, svc);
	if (r != 0)
		return error_set(
			err, ERROR_TRANSIENT, "RUN-THREAD", "cannot start a thread: %s", strerror(r));
	return 0;
}

static int service_run(struct service *svc)
{
	const struct context *ctx = &svc->cc.ctx;
	int r = service_start(svc, &svc->err);

	if (r < 0) {
		say_error(svc);
		return error_exit_code(&svc->err);
	}
	while (!svc->ended)
		service_turn(svc);
	if (svc->exit_code != EXIT_OK)
		say_error(svc);
	if (svc->exit_code != EXIT_OK && svc->exit_code != EXIT_CLI && ctx->cfg->on_fatal == ON_FATAL_HOLD &&
		!svc->stopping) {
		log_warn(ctx->log, "holding", "on_fatal is hold: HTTP stays up until a signal", "exit=%d",
			svc->exit_code);
		while (!svc->stopping)
			service_turn(svc);
	}
	log_info(ctx->log, "ended", svc->exit_code == EXIT_OK ? "ended" : "ended with an error", "exit=%d",
		svc->exit_code);
	return svc->exit_code;
}

static int service_command(struct cli *cli, enum pipeline_role role)
{
	struct service svc = { .signal_fd = -1, .wake_fd = -1, .done_fd = -1 };
	int rc;

	if (cli_has(cli, "until-synced") && cli_has(cli, "until"))
		return cli_usage(cli, "--until-synced and --until exclude each other");
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a core dump would hold passwords and rows */
	mallopt(M_ARENA_MAX, ARENAS);
	rc = cli_config(cli);
	if (rc != 0)
		return rc;
	if (role != ROLE_WHOLE && cli->cfg->transport.type != TRANSPORT_KAFKA)
		return cli_usage(cli, "without transport.type: kafka there is only `sluice run`");
	if (role != ROLE_APPLIER && config_reads_foreign(cli->cfg)) {
		error_set(&svc.err, ERROR_CONFIG, "DEBEZIUM-READER",
			"transport.kafka.events is debezium: Debezium is the reader, and there is only `sluice applier`");
		cli_error(&svc.err);
		return error_exit_code(&svc.err);
	}
	cli_context_init(&svc.cc, cli);
	svc.opt.role = role;
	svc.terminal = isatty(STDOUT_FILENO);
	svc.opt.until_synced = cli_has(cli, "until-synced");
	svc.opt.until = cli_value(cli, "until");
	svc.opt.no_standby = cli_has(cli, "no-standby");
	svc.opt.reload = reload;
	svc.opt.reload_arg = cli;
	log_info(&svc.cc.log, "started", "sluice " SLUICE_VERSION, "config=%s pid=%d",
		*cli->cfg->path ? cli->cfg->path : "none", (int)getpid());
	rc = service_run(&svc);
	http_server_free(svc.http);
	closep(&svc.signal_fd);
	closep(&svc.wake_fd);
	closep(&svc.done_fd);
	cli_context_fini(&svc.cc);
	return rc;
}

int run_command(struct cli *cli, int argc, char **argv)
{
	return service_command(cli, ROLE_WHOLE);
}

int reader_command(struct cli *cli, int argc, char **argv)
{
	return service_command(cli, ROLE_READER);
}

int applier_command(struct cli *cli, int argc, char **argv)
{
	return service_command(cli, ROLE_APPLIER);
}
