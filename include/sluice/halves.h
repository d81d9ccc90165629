/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How far each half of a stream is behind when a log joins them: the reader behind the source, the applier behind the log. The seconds
 * of both add up to the lag from end to end. A member of struct status, and under its lock.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/clock.h>
#include <sluice/partition.h>

struct context;
struct error;

struct half {
	double seconds;	 /* < 0 = unknown */
	int64_t bytes;	 /* of the source's log (WAL); < 0 = unknown */
	int64_t records; /* messages that are not durable at the target; < 0 = unknown, and the reader's */
	char position[40];
	struct wall heard; /* by its own clock's count of the source's time; .us 0 = never */
	bool silent;	   /* the other process, and it has not been heard for a while */
};

enum half_behind { BEHIND_UNKNOWN, BEHIND_NONE, BEHIND_READER, BEHIND_APPLIER };

struct halves {
	struct half reader, applier;
	enum half_behind behind;
	char reign[REIGN_TEXT]; /* of the reader that writes, or whose records are applied */
};

/** halves_init() - all unknown. */
void halves_init(struct halves *halves);

/** half_behind_to_string() - "reader", "applier", "none"; "" = unknown. */
const char *half_behind_to_string(enum half_behind behind);

/**
 * halves_judge() - which half is to be looked at. A half that is silent is, if the other one is not; else the one that makes up
 * more of the lag, where both together exceed limit_s. Pure.
 */
enum half_behind halves_judge(const struct halves *halves, double limit_s);

/**
 * halves_look() - fills ctx->status->halves, lag and partitions from what the halves have left with the brokers, for a process that is
 * neither. head, now: the source's end and clock, 0 = unknown.
 * Thread: any without the status lock. Blocks: up to 10 s. Return: 0, negative: nobody answers.
 */
int halves_look(const struct context *ctx, uint64_t head, struct wall now, struct error *err);
