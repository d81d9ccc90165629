/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The supervisor: the only place that retries. An attempt ends with an error value; its class alone decides:
 *
 *   TRANSIENT          again, after a backoff with full jitter, without limit; a breaker pauses after many in a row
 *   SCHEMA, exit 77    a person has to change a table, a grant or a password: at the first start that person is
 *                      there and gets the error; a service that ran before keeps trying, and says so
 *   all others         final: the process ends with the error's exit code
 *
 * An attempt that got something done starts the backoff anew.
 */

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "attempt.h"

#define STANDBY_POLL_MS 1000

struct supervisor {
	struct context *ctx;
	const struct pipeline_options *opt;
	enum pipeline_role role; /* of its attempts */
	struct backoff backoff;
	bool ran; /* an attempt has got as far as moving data */
	bool standby;
	atomic_uint_fast64_t *until; /* shared by both halves of one process */
	struct error err;
	pthread_t thread;
};

/* waits unless a stop comes first */
static void supervisor_wait(struct supervisor *sv, int64_t ms)
{
	struct mono end = mono_add_ms(mono_now(), ms);

	while (!context_stopping(sv->ctx) && mono_until_ms(end, mono_now()) > 0) {
		struct pollfd fd = { .fd = sv->opt->wake_fd, .events = POLLIN };

		if (poll(&fd, 1, mono_until_ms(end, mono_now())) > 0)
			break; /* written together with the stop flag, and only then */
	}
}

static enum metric_stage stage_of(const char *name)
{
	if (!strcmp(name, "sink"))
		return STAGE_SINK;
	if (!strcmp(name, "snapshot"))
		return STAGE_SNAPSHOT;
	if (!strcmp(name, "transport"))
		return STAGE_TRANSPORT;
	return STAGE_SOURCE;
}

static bool supervisor_retries(const struct supervisor *sv, const struct error *err)
{
	switch (err->class) {
	case ERROR_TRANSIENT:
		return true;
	case ERROR_SCHEMA:
		return sv->ran;
	case ERROR_CONFIG:
		return sv->ran && error_exit_code(err) == EXIT_PERMISSION;
	case ERROR_NONE:
	case ERROR_DATA:
	case ERROR_FATAL:
	case ERROR_BUG:
		return false;
	}
	return false;
}

static void supervisor_retry(struct supervisor *sv, const struct attempt *at)
{
	struct status *st = sv->ctx->status;
	enum metric_stage stage = stage_of(at->err_stage);
	int64_t ms;

	if (atomic_load(&at->progressed))
		backoff_success(&sv->backoff);
	ms = backoff_next_ms(&sv->backoff);
	metric_add(&sv->ctx->metrics->retries[stage][at->err.class], 1);
	if (sv->backoff.open)
		metric_set(&sv->ctx->metrics->breaker_open, 1);
	status_state(st, STATE_RETRYING, at->err.code, at->err.message, at->err.remedy);
	status_lock(st);
	st->next_retry_at = (struct wall){ wall_now().us + ms * 1000 };
	status_unlock(st);
	log_error_value(sv->ctx->log, LOG_WARN, "retry", &at->err);
	log_info(sv->ctx->log, "retry-wait", "next attempt after a pause",
		"stage=%s wait_ms=%lld failures=%u", at->err_stage, (long long)ms, sv->backoff.failures);
	supervisor_wait(sv, ms);
	/* one attempt in each pause tells whether it closes */
	if (sv->backoff.open)
		metric_set(&sv->ctx->metrics->breaker_open, 0);
	if (error_exit_code(&at->err) == EXIT_PERMISSION && sv->opt->reload)
		sv->opt->reload(sv->opt->reload_arg);
}

static void supervisor_standby(struct supervisor *sv)
{
	if (!sv->standby)
		log_info(sv->ctx->log, "standby", "another instance holds the lease, waiting for it",
			"name=%s", sv->ctx->cfg->name);
	sv->standby = true;
	status_state(
		sv->ctx->status, STATE_STANDBY, "LEASE", "another instance of this name holds the lease", "");
	supervisor_wait(sv, STANDBY_POLL_MS);
}

/* one attempt and what follows from it; returns true when the process is to end */
static bool supervisor_turn(struct supervisor *sv, struct error *err)
{
	struct attempt at = {
		.ctx = sv->ctx,
		.opt = sv->opt,
		.role = sv->role,
		.until = sv->until,
	};
	enum attempt_outcome outcome;

	if (!sv->standby)
		status_state(sv->ctx->status, STATE_STARTING, "", "", "");
	outcome = attempt_run(&at);
	sv->ran = sv->ran || atomic_load(&at.progressed);
	switch (outcome) {
	case ATTEMPT_STOPPED:
	case ATTEMPT_DONE:
		return true;
	case ATTEMPT_STANDBY:
		if (sv->opt->no_standby) {
			error_set(err, ERROR_FATAL, "LEASE", "another instance of this name holds the lease");
			error_exit(err, EXIT_LEASE_LOST);
			return true;
		}
		supervisor_standby(sv);
		return false;
	case ATTEMPT_FAILED:
		break;
	}
	sv->standby = false;
	if (context_stopping(sv->ctx) && at.err.class == ERROR_TRANSIENT)
		return true; /* stopping anyway: what was not applied will be read again */
	metric_add(&sv->ctx->metrics->errors[stage_of(at.err_stage)][at.err.class], 1);
	status_error(sv->ctx->status, &at.err, at.err_stage);
	if (!supervisor_retries(sv, &at.err)) {
		*err = at.err;
		return true;
	}
	supervisor_retry(sv, &at);
	return false;
}

static int supervisor_until(struct supervisor *sv, struct error *err)
{
	uint64_t major = 0;
	const struct source_format *format;
	bool ok;

	if (!sv->opt->until)
		return 0;
	format = sv->ctx->cfg->source.type == PEER_GENERATOR ? &source_generator_format
							     : &source_postgres_format;
	ok = format->parse && format->parse(sv->opt->until, &major) && major;
	if (!ok) {
		error_set(err, ERROR_CONFIG, "UNTIL", "--until: %s is not a position of this source",
			sv->opt->until);
		return error_exit(err, EXIT_CLI);
	}
	atomic_store(sv->until, major);
	return 0;
}

/* until a stop, an end point or a final error, which ends the other half, too */
static void supervisor_run(struct supervisor *sv)
{
	while (!context_stopping(sv->ctx)) {
		if (supervisor_turn(sv, &sv->err))
			break;
	}
	if (sv->err.class != ERROR_NONE) {
		status_state(sv->ctx->status, STATE_BLOCKED, sv->err.code, sv->err.message, sv->err.remedy);
		if (sv->role != sv->opt->role) {
			atomic_store(sv->ctx->stop, true);
			eventfd_write(sv->opt->wake_fd, 1);
		}
	}
}

static void *supervisor_main(void *arg)
{
	supervisor_run(arg);
	return NULL;
}

static struct supervisor supervisor_make(
	struct context *ctx, const struct pipeline_options *opt, atomic_uint_fast64_t *until)
{
	struct supervisor sv = {
		.ctx = ctx, .opt = opt, .role = opt->role, .until = until, .err = ERROR_INIT
	};

	backoff_init(&sv.backoff, &ctx->cfg->retry, (uint64_t)mono_now().us ^ ((uint64_t)getpid() << 32));
	return sv;
}

int pipeline_run(struct context *ctx, const struct pipeline_options *opt, struct error *err)
{
	atomic_uint_fast64_t until = 0;
	struct supervisor sv = supervisor_make(ctx, opt, &until);
	struct supervisor applier = supervisor_make(ctx, opt, &until);
	bool both = opt->role == ROLE_WHOLE && ctx->cfg->transport.type == TRANSPORT_KAFKA;

	*err = ERROR_INIT;
	if (supervisor_until(&sv, err) < 0)
		return error_exit_code(err);
	if (both) {
		sv.role = ROLE_READER;
		applier.role = ROLE_APPLIER;
		if (pthread_create(&applier.thread, NULL, supervisor_main, &applier))
			abort();
	}
	supervisor_run(&sv);
	if (both)
		pthread_join(applier.thread, NULL);
	*err = sv.err.class != ERROR_NONE ? sv.err : applier.err;
	if (err->class != ERROR_NONE)
		return error_exit_code(err);
	status_state(ctx->status, STATE_FINISHED, "", "", "");
	return EXIT_OK;
}
