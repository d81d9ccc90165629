/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * News between the halves of a stream that a log joins: ours go out, the other's come in, and status is made of both. Once a second,
 * by the monitor.
 */

#include <sluice/halves.h>
#include <sluice/notes.h>
#include <sluice/source.h>

#include "note.h"

/* a half speaks once a second and is heard up to two later; after this long it counts as silent */
#define NEWS_LATE_MS 5000

enum exchange_side { EXCHANGE_READER, EXCHANGE_APPLIER, EXCHANGE_LOOKER };

/* The source's clock, as somebody knows it who only hears from others what it showed a while ago: it shows at least that plus the
 * time since. The best of the last one to two minutes counts. Pure. */
struct source_clock {
	int64_t offset_us[2]; /* to the monotonic clock; this minute's and the last one's best */
	struct mono minute;   /* began; .us 0 = nothing was heard */
};
void source_clock_hear(struct source_clock *clock, struct mono now, struct wall at);
/** source_clock_now() - .us 0 = unknown. */
struct wall source_clock_now(const struct source_clock *clock, struct mono now);

struct heard {
	struct note note;  /* .at.us 0 = never */
	struct mono since; /* that one came first */
};

struct exchange {
	const struct context *ctx;
	enum exchange_side side;
	const struct source_format *format;
	struct transport_notes *notes; /* NULL: there is no log */
	bool alone;	/* the other half is another process, or there is none: we show for both */
	bool stands_by; /* an applier whose partition another has: that one's notes tell, as if we were none */
	struct heard reader;
	struct heard applier;	    /* of all partitions together: that of the slowest */
	struct transport_end *ends; /* of the partitions with a note, in their order */
	uint32_t n_ends;
};

void exchange_init(struct exchange *ex, const struct context *ctx, enum exchange_side side);
void exchange_fini(struct exchange *ex);

/** exchange_turn() - tells mine (NULL = nothing yet) and takes what was heard. What goes wrong is an alarm at most.
 * Thread: the monitor's. Blocks: up to 1 s while brokers do not answer. */
void exchange_turn(struct exchange *ex, const struct note *mine);
/** exchange_ask() - asks once and waits for the answer. Blocks: up to 10 s. Return: 0, negative. */
int exchange_ask(struct exchange *ex, struct error *err);

/**
 * note_lag() - how old the oldest is that a half has not passed, when the source ends at head. Pure.
 * head: 0 = unknown. now: the source's clock. aged: the half does not run any more, however lately it has spoken.
 * Return: seconds, < 0 = unknown.
 */
double note_lag(const struct note *note, uint64_t head, struct wall now, bool aged);
bool note_is_late(const struct note *note, struct wall now);

/* Who shows takes what it knows itself, and the rest from the notes. All: without the status lock. */

/* one moment, as the half that knows it saw it */
struct sight {
	uint64_t head;	 /* the source's end */
	struct wall now; /* its clock */
	uint64_t passed; /* of our half */
	double seconds;	 /* the reader's: behind the source; the applier's: from end to end; < 0 = unknown */
	bool silent;	 /* the applier's: nothing is heard of the reader */
};
void exchange_show_reader(struct exchange *ex, const struct sight *sight);
void exchange_show_applier(struct exchange *ex, const struct sight *sight);
/** exchange_show_silent() - neither half is here. */
void exchange_show_silent(struct exchange *ex, uint64_t head, struct wall now);
/** exchange_show_standby() - an applier is here that stands by. sight: head, now and silent. */
void exchange_show_standby(struct exchange *ex, const struct sight *sight);
/** exchange_phase() - what the applier that works says of the phase; one that is silent says nothing better than catching-up.
 * now: the source's clock. otherwise: nobody ever said anything. */
enum phase exchange_phase(const struct exchange *ex, struct wall now, enum phase otherwise);

/** exchange_passed() - whether every partition is durable up to major (not 0), or else up to ends. held_major: of ours. */
bool exchange_passed(const struct exchange *ex, uint64_t major, uint64_t held_major,
	const struct transport_end *ends, uint32_t n_ends);
