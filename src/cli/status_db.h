/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the migration stands when no service answers: read from the two databases.
 */

#include <sluice/buf.h>
#include <sluice/config.h>
#include <sluice/error.h>

/**
 * status_databases() - appends the JSON of /status, with from "databases": the target's progress and phase, the
 * source's slot. A side that cannot be reached is an alarm in it.
 * Thread: any. Blocks: up to the connect time-outs of both sides.
 * Return: 0; negative when neither side could be read (the target's error).
 */
int status_databases(const struct config *cfg, struct buf *ret, struct error *err);
