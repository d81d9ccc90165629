/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The end of a copy that came through a log, at the applier: when it is looked for, and what may take hours then (keys, indexes,
 * statistics). A thread of its own does it, so that the applier's goes on asking the log for news meanwhile and nobody takes it for
 * dead. Nothing is applied then.
 */

#include "attempt.h"

enum builder_step {
	BUILDER_BEHIND, /* snapshot_log_behind() */
	BUILDER_POST,	/* snapshot_post() */
};

struct builder {
	struct attempt *at;
	bool due;	    /* whether a copy has come to its end is to be looked at */
	struct mono due_at; /* not before then */
	uint64_t post_at;   /* not 0: the rest is due once this major is passed */
	struct context ctx; /* the attempt's, with a stop of our own */
	atomic_bool stop, done;
	bool running;
	pthread_t thread;
	enum builder_step step;
	/* of the step; valid once it is done */
	int result;
	uint64_t result_post_at; /* BEHIND: as snapshot_log_behind() gives it */
	bool complete;		 /* the copy is applied, and nothing is left to build */
	struct error err;
};

/** builder_look() - the end of a copy is looked for in the next turn. Thread: the applier's. Blocks: never. */
void builder_look(struct builder *builder, struct attempt *at);
/**
 * builder_turn() - begins what is due and sees to what has ended. at->post_done says whether all is built, at->reached that
 * snapshot.mode: only has come to its end.
 * @may_begin: nothing is open, and the target is ours.
 * @passed: the stream, up to this major.
 * Thread: the applier's. Blocks: never. Return: 1 = at work, nothing may be applied; 0; negative.
 */
int builder_turn(struct builder *builder, bool may_begin, uint64_t passed, struct error *err);
/** builder_is_due() - true when the next turn would begin something. */
bool builder_is_due(const struct builder *builder);
/** builder_stop() - ends what is running. Blocks: about a second. */
void builder_stop(struct builder *builder);
