/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a long-running command shows while it works: one line that is redrawn on a terminal, or a log line now and then
 * where there is none.
 */

#include <stdbool.h>
#include <stdio.h>

#include <sluice/buf.h>
#include <sluice/context.h>

/**
 * progress_draw() - redraws the line, at most four times a second; cheap when it is too early.
 * Thread: main's, always the same. Blocks: for the status lock and the terminal.
 */
void progress_draw(const struct context *ctx, FILE *out);
/** progress_end() - ends a line that was drawn, so that what follows begins on its own. Thread: main's. */
void progress_end(FILE *out);
/** progress_log() - the same as a log line; the caller calls it every 10 s. Thread: any. */
void progress_log(const struct context *ctx);

/** progress_bar() - "[########------]"; ratio from 0 to 1; buf at least 17 bytes; returns buf. Pure. */
char *progress_bar(double ratio, char *buf, size_t size);

/**
 * progress_line() - appends the line without control characters but for colours.
 * @st: its lock is held, or it is a copy.
 * @columns: what fits; parts are left out from the right.
 * Pure.
 */
void progress_line(const struct status *st, struct mono now, unsigned columns, bool colour, struct buf *ret);
