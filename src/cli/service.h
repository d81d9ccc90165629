/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Commands that ask a running service: `status` and `ready`.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <sluice/config.h>
#include <sluice/error.h>

struct service_options {
	const struct config *cfg; /* NULL: without a config; then the databases cannot be asked */
	const char *url;	  /* NULL or "": SLUICE_URL, else from cfg */
	const char *token_file;	  /* NULL or "": none */
	bool json;
	bool watch;	 /* status: again and again until a signal */
	int64_t wait_ms; /* ready: 0 = one look */
	FILE *out;
};

/** service_url_given() - true when an option or SLUICE_URL says where the service is, so that no config is needed. */
bool service_url_given(const struct service_options *opt);

/**
 * service_status() - prints where the migration stands, from the service, else from the databases.
 * Thread: main's. Blocks: some seconds; with watch for ever. Return: the exit code, *err filled when it is not 0.
 */
int service_status(const struct service_options *opt, struct error *err);

/**
 * service_ready() - prints whether a cutover may begin.
 * Thread: main's. Blocks: up to wait_ms and some seconds. Return: 0 ready; EXIT_NO the reasons are printed (*err is
 * empty); EXIT_TIMEOUT, EXIT_UNAVAILABLE and others with *err filled.
 */
int service_ready(const struct service_options *opt, struct error *err);
