/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fault points: SLUICE_FAULT_POINT("sink.pg.before_commit") is nothing unless the build has -Dfault_points=true.
 * There, SLUICE_FAULT="name:abort|sleep|error[@N][,…]" acts at the N-th hit (default 1): abort = SIGKILL to
 * ourselves, sleep = 3600 s, sleep=MS = that long, error = the point's condition is true.
 * SLUICE_FAULT_LIST=PATH appends each point's name at its first hit, so that tests can walk every point.
 */

#include <stdbool.h>

#ifdef SLUICE_FAULT_POINTS
/** fault_hit() - acts as the environment says; true when the caller should fail with a TRANSIENT error. */
bool fault_hit(const char *name);
#define SLUICE_FAULT_POINT(name) fault_hit(name)
#else
#define SLUICE_FAULT_POINT(name) false
#endif
