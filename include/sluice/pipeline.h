/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service: `sluice run`. The calling thread becomes the supervisor: it makes source, transport and sink,
 * runs them, and is the only place that retries.
 */

#include <sluice/context.h>

struct pipeline_options {
	bool until_synced;  /* end once everything committed at the source at the start is durably applied */
	const char *until;  /* the same for a source position ("0/5A3F120"); NULL = none */
	bool no_standby;    /* exit 81 instead of waiting for the lease */
	int wake_fd;        /* eventfd that the main thread writes together with *ctx->stop; borrowed */
};

/**
 * pipeline_run() - runs until ctx->stop, an end point, or a final error.
 * Thread: one of its own (main keeps signals and HTTP). Blocks: as long as the service lives.
 * Return: the process exit code; *err tells why when it is not 0.
 */
int pipeline_run(struct context *ctx, const struct pipeline_options *opt, struct error *err);

/** snapshot_run() - copies everything the state does not mark done: N workers, schema, sequences. Called by the
 * supervisor between source prepare() and start(). Return: 0, negative. */
struct source;
struct sink;
int snapshot_run(struct context *ctx, struct source *src, struct sink *sink, bool first, struct error *err);
