/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of one process share, with nothing in it. For one test file: each has its own. */

#include <sluice/context.h>

static struct config cfg;
static struct log log_sink;
static struct metrics counters;
static struct status status;
static atomic_bool stop;
static const struct context ctx = {
	.cfg = &cfg,
	.log = &log_sink,
	.metrics = &counters,
	.status = &status,
	.stop = &stop,
};
