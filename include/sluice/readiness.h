/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a cutover may begin, and if not, why: each reason with a stable code, what is so, what it should be, what
 * to do, and for all of them together when time alone will have cured them.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/context.h>
#include <sluice/status.h>

#define READINESS_REASONS 16

struct readiness_reason {
	char code[24];
	char message[200];
	char value[24], limit[24]; /* exact numbers as text; "" = null */
	char remedy[176];	   /* "" = null */
};

struct readiness {
	bool ready;
	bool limits_met;    /* lag is known, fresh and within cutover.max_lag and max_lag_bytes */
	double eta_seconds; /* 0 when ready; < 0 = unknown, or time alone does not cure it */
	uint32_t n_reasons;
	struct readiness_reason reasons[READINESS_REASONS];
};

struct readiness_input {
	const struct config *cfg;
	const struct status *st; /* its lock is held, or it is a copy */
	uint64_t dead_letters;	 /* pending */
	struct mono now;
};

/** readiness_judge() - the decision alone. Pure. */
void readiness_judge(const struct readiness_input *in, struct readiness *ret);

/**
 * readiness_evaluate() - readiness_judge() over what the process knows now.
 * Thread: any that does not hold the status lock. Blocks: for the status lock.
 */
void readiness_evaluate(const struct context *ctx, struct readiness *ret);

/** readiness_is_ready() - the answer alone, for pipeline_options.ready. Thread, Blocks: as readiness_evaluate(). */
bool readiness_is_ready(const struct context *ctx);

/** readiness_cured_by_time() - false for a reason that stays until a person does something. Pure. */
bool readiness_cured_by_time(const char *code);
