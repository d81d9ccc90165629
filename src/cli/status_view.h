/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The JSON of /status and /cutover/ready as text for people. What came over the network is printed without control
 * characters. Pure.
 */

#include <stdbool.h>

#include <sluice/buf.h>
#include <sluice/error.h>

struct view_options {
	bool colour;
	bool bars; /* a progress bar for the snapshot */
};

/** status_view() - appends the lines of `sluice status`. Return: 0; negative (TRANSIENT, 69) when json is no status. */
int status_view(const char *json, const struct view_options *opt, struct buf *ret, struct error *err);

struct ready_answer {
	bool ready;
	bool cured_by_time; /* every reason is */
	char codes[256];    /* "lag_seconds, hold" */
};

/** ready_view() - appends the lines of `sluice ready` and reads the answer. Return: as status_view(). */
int ready_view(const char *json, const struct view_options *opt, struct buf *ret, struct ready_answer *answer,
	struct error *err);
