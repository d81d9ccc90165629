/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How far the target is behind: lag_seconds is the age, by the source's clock, of the oldest committed source
 * transaction that is not applied, 0 when there is none. Pure.
 *
 * The oldest unapplied transaction's commit time is known exactly while the applier holds it. While it is still at
 * the source it is bounded by samples of the source's end (what is unapplied was written after the newest sample whose
 * end has been passed) and by the last applied transaction's commit time, whichever is later.
 */

#include <stdint.h>

#include <sluice/clock.h>

#define LAG_SAMPLES 512

struct lag_sample {
	uint64_t head;
	struct wall at; /* the source's clock */
};

struct lag {
	struct lag_sample samples[LAG_SAMPLES]; /* not passed yet, oldest first */
	uint32_t n;
	struct wall clear; /* newest moment up to which all is known to be applied; 0 = unknown */
};

struct lag_input {
	uint64_t head;		 /* the source's end now */
	struct wall server_time; /* its clock then */
	uint64_t passed;	 /* everything before is applied */
	struct wall pending;	 /* commit time of the oldest transaction that the applier holds; 0 = none */
	struct wall applied;	 /* commit time of the last applied transaction; 0 = unknown */
};

/** lag_note() - takes a sample of the source's end, beside those that lag_update() takes: the bound is as close as they are. */
void lag_note(struct lag *lag, uint64_t head, struct wall at);
/** lag_update() - takes a sample. Return: the lag in seconds, negative = unknown yet. */
double lag_update(struct lag *lag, const struct lag_input *in);
