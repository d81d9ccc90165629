/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Statements run by several sessions at once, each a transaction of its own together with its mark: after a crash
 * what has a mark is there and the rest is not. Two statements on one table run side by side only when both merely share
 * it (CREATE INDEX); anything else would wait inside the server, or deadlock. Deadlocks that remain (foreign keys lock two
 * tables; the applier may be at work) are tried again: nothing of the statement has happened.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/fault.h>

#include "load.h"

#define DEADLOCK_TRIES 20
#define WAIT_MS	       200

enum task_state { TASK_WAITING, TASK_RUNNING, TASK_DONE };

struct tasks {
	struct load *load;
	struct task *items;
	uint32_t n, n_left; /* n_left: not yet begun */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool failed;
	struct error err;
};

static bool same_lock(const struct task *a, const struct task *b)
{
	return a->lock_len && a->lock_len == b->lock_len && memcmp(a->lock, b->lock, a->lock_len) == 0;
}

static bool runnable(const struct tasks *tasks, const struct task *task)
{
	for (uint32_t i = 0; i < tasks->n; i++) {
		const struct task *other = &tasks->items[i];

		if (other->state == TASK_RUNNING && same_lock(task, other) &&
			!(task->shared && other->shared))
			return false;
	}
	return true;
}

/* the lock is held; NULL = nothing can begin right now */
static struct task *next_task(struct tasks *tasks)
{
	for (uint32_t i = 0; i < tasks->n; i++) {
		if (tasks->items[i].state == TASK_WAITING && runnable(tasks, &tasks->items[i]))
			return &tasks->items[i];
	}
	return NULL;
}

static void wait_changed(struct tasks *tasks)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)WAIT_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&tasks->changed, &tasks->lock, &until);
}

/* Whoever lost the lock on the schema may still be at work, so several appliers may come to one task: one runs it, the others
 * wait for its end and find its mark, or the one of all that remains at the end. Return: 1 = it was done, 0 = ours, negative */
static int task_begin(struct load *load, PGconn *conn, const struct task *task, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (load_begin(load, conn, err) < 0)
		return -1;
	if (!*task->mark)
		return 0;
	buf_puts(&sql, "SELECT pg_catalog.pg_advisory_xact_lock(");
	load_lock_key(load, &sql, task->mark);
	buf_puts(&sql, "); SELECT FROM sluice.migration WHERE stream = ");
	pg_put_literal(&sql, load->sink->stream);
	buf_printf(&sql, " AND key IN ('%s', '" STATE_SNAPSHOT_POST "')", task->mark);
	if (load_exec(load, conn, buf_str(&sql), &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

static int run_once(
	struct load *load, PGconn *conn, const struct task *task, bool only_mark, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	int r = task_begin(load, conn, task, err);

	if (r > 0)
		return load_exec(load, conn, "ROLLBACK", NULL, err);
	if (r == 0) {
		if (!only_mark)
			buf_put(&sql, task->sql, task->len);
		if (*task->mark)
			load_mark(load, &sql, task->mark);
		buf_puts(&sql, "; COMMIT");
		r = load_exec(load, conn, buf_str(&sql), NULL, err);
	}
	if (r < 0 && strcmp(err->code, "STOPPED") != 0 && PQstatus(conn) == CONNECTION_OK)
		PQclear(PQexec(conn, "ROLLBACK"));
	return r;
}

static int run_task(struct load *load, PGconn *conn, const struct task *task, struct error *err)
{
	int r = -1;

	if (SLUICE_FAULT_POINT("snapshot.post"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point snapshot.post");
	for (int i = 0; r < 0 && i < DEADLOCK_TRIES; i++) {
		r = run_once(load, conn, task, false, err);
		if (r < 0 && strcmp(err->code, "PG-40P01") != 0)
			break;
	}
	if (r < 0 && task->optional && !strcmp(err->code, "PG-42P01")) {
		status_alarm_raise(load->sink->base.ctx->status, "SNAPSHOT-FK",
			"add the constraint by hand, or include the table",
			"%s was left out: it refers to a table that is not copied", task->what);
		return run_once(load, conn, task, true, err);
	}
	if (r < 0 && strcmp(err->code, "STOPPED") != 0)
		error_where(err, "%s", task->what);
	return r;
}

static void *tasks_main(void *arg)
{
	struct tasks *tasks = arg;
	_cleanup_(PQfinishp) PGconn *conn = NULL;
	struct error err = ERROR_INIT;
	int r = load_session(tasks->load, &conn, &err);

	pthread_mutex_lock(&tasks->lock);
	while (r == 0 && !tasks->failed && tasks->n_left) {
		struct task *task = next_task(tasks);

		if (!task) {
			wait_changed(tasks);
			continue;
		}
		task->state = TASK_RUNNING;
		tasks->n_left--;
		pthread_mutex_unlock(&tasks->lock);
		r = run_task(tasks->load, conn, task, &err);
		pthread_mutex_lock(&tasks->lock);
		task->state = TASK_DONE;
		pthread_cond_broadcast(&tasks->changed);
	}
	if (r < 0 && !tasks->failed) {
		tasks->failed = true;
		tasks->err = err;
	}
	pthread_cond_broadcast(&tasks->changed);
	pthread_mutex_unlock(&tasks->lock);
	return NULL;
}

int tasks_run(struct load *load, struct task *items, uint32_t n, struct error *err)
{
	struct tasks tasks = { .load = load, .items = items, .n = n, .n_left = n };
	uint32_t n_threads = load->sink->cfg->snapshot.workers;
	pthread_condattr_t attr;
	pthread_t *threads;

	if (!n)
		return 0;
	if (n_threads > n)
		n_threads = n;
	if (!n_threads || items[0].in_order)
		n_threads = 1;
	threads = calloc(n_threads, sizeof(*threads));
	if (!threads)
		abort();
	pthread_mutex_init(&tasks.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&tasks.changed, &attr);
	for (uint32_t i = 0; i < n_threads; i++) {
		if (pthread_create(&threads[i], NULL, tasks_main, &tasks) != 0)
			abort();
	}
	for (uint32_t i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&tasks.changed);
	pthread_condattr_destroy(&attr);
	pthread_mutex_destroy(&tasks.lock);
	free(threads);
	if (tasks.failed)
		*err = tasks.err;
	return tasks.failed ? -1 : 0;
}
