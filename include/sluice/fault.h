/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fault points: SLUICE_FAULT_POINT("sink.pg.before_commit") is nothing unless the build has -Dfault_points=true.
 * There, SLUICE_FAULT="name:abort|sleep|error[@N][,…]" acts at the N-th hit (default 1): abort = SIGKILL to
 * ourselves, sleep = 3600 s, sleep=MS = that long, error = the point's condition is true.
 * SLUICE_FAULT_LIST=PATH appends each point's name at each of its first three hits, so that tests can walk every point.
 * SLUICE_PERIOD("source.pg.tables", 30000) is its second argument there, unless SLUICE_PERIOD="name=MS[,…]" says
 * otherwise: what is looked at twice a minute need not be waited for in a test. SLUICE_BOUND("batch.records", 4096) is the
 * same for how many fit.
 */

#include <stdbool.h>

#ifdef SLUICE_FAULT_POINTS
/** fault_hit() - acts as the environment says; true when the caller should fail with a TRANSIENT error. */
bool fault_hit(const char *name);
/** fault_period_ms() - what the environment says of a period, or ms. */
int fault_period_ms(const char *name, int ms);
#define SLUICE_FAULT_POINT(name) fault_hit(name)
#define SLUICE_PERIOD(name, ms)	 fault_period_ms(name, ms)
#define SLUICE_BOUND(name, n)	 ((uint32_t)fault_period_ms(name, (int)(n)))
#else
#define SLUICE_FAULT_POINT(name) false
#define SLUICE_PERIOD(name, ms)	 (ms)
#define SLUICE_BOUND(name, n)	 (n)
#endif
