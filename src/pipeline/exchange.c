/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What each half knows and the other does not: the reader the source's end and what is in the log, the applier what is applied. From
 * both comes, on either side, the lag from end to end and the half that makes it.
 *
 *   source's end ── reader's seconds ── log ── applier's seconds ── target
 *
 * Invariants:
 *   1. A half that is silent gets older: what it had not passed when it spoke last counts as not passed still, and as that much
 *      older. What was passed by everybody up to the source's end is no lag, whoever is silent.
 *   2. Where several appliers share the partitions, the slowest speaks for all.
 *   3. Nothing here ends an attempt: who cannot speak or hear knows less, and says so.
 */

#include <stdlib.h>
#include <string.h>

#include <sluice/log_lag.h>

#include "exchange.h"

#define MINUTE_US INT64_C(60000000)
#define ASK_MS	  5000
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

void source_clock_hear(struct source_clock *clock, struct mono now, struct wall at)
{
	int64_t offset_us = at.us - now.us;

	if (!clock->minute.us)
		*clock = (struct source_clock){ { offset_us, offset_us }, now };
	if (mono_diff_us(now, clock->minute) >= MINUTE_US) {
		clock->offset_us[1] = clock->offset_us[0];
		clock->offset_us[0] = offset_us;
		clock->minute = now;
	}
	clock->offset_us[0] = MAX(clock->offset_us[0], offset_us);
}

struct wall source_clock_now(const struct source_clock *clock, struct mono now)
{
	if (!clock->minute.us)
		return (struct wall){ 0 };
	return (struct wall){ now.us + MAX(clock->offset_us[0], clock->offset_us[1]) };
}

bool note_is_late(const struct note *note, struct wall now)
{
	return now.us - note->at.us > NEWS_LATE_MS * INT64_C(1000);
}

double note_lag(const struct note *note, uint64_t head, struct wall now, bool aged)
{
	int64_t since_us = now.us - note->at.us;

	if (head && note->passed >= head)
		return 0;
	if (note->lag_us < 0)
		return -1;
	return (double)(note->lag_us + (aged || note_is_late(note, now) ? MAX(since_us, 0) : 0)) / 1e6;
}

static int64_t distance(uint64_t from, uint64_t to)
{
	uint64_t n = to > from ? to - from : 0;

	return n < INT64_MAX ? (int64_t)n : INT64_MAX;
}

void exchange_init(struct exchange *ex, const struct context *ctx, enum exchange_side side)
{
	*ex = (struct exchange){ .ctx = ctx, .side = side };
	ex->format =
		ctx->cfg->source.type == PEER_GENERATOR ? &source_generator_format : &source_postgres_format;
	ex->alone = side == EXCHANGE_LOOKER;
	if (ctx->cfg->transport.type == TRANSPORT_KAFKA)
		ex->notes = transport_notes_new(ctx);
}

void exchange_fini(struct exchange *ex)
{
	ex->notes = transport_notes_free(ex->notes);
	free(ex->ends);
	ex->ends = NULL;
	ex->n_ends = 0;
}

/* ours to tell: the applier's goes to each partition that it has */
static struct transport_note *tell(const struct exchange *ex, const struct note *mine, uint32_t *ret_n)
{
	struct status *st = ex->ctx->status;
	struct transport_note *out;
	char text[NOTE_TEXT];
	uint32_t n = 0;

	*ret_n = 0;
	if (!mine || !note_write(mine, text, sizeof(text)))
		return NULL;
	status_lock(st);
	out = calloc(st->n_log_lags + 1u, sizeof(*out));
	if (!out)
		abort();
	if (ex->side == EXCHANGE_READER)
		memcpy(out[n++].text, text, sizeof(text));
	for (uint32_t i = 0; ex->side == EXCHANGE_APPLIER && i < st->n_log_lags; i++) {
		const struct log_lag *lag = &st->log_lags[i];

		if (!lag->held)
			continue;
		memcpy(out[n].topic, lag->topic, sizeof(out[n].topic));
		out[n].partition = lag->partition;
		out[n].offset = lag->offset;
		memcpy(out[n++].text, text, sizeof(text));
	}
	status_unlock(st);
	*ret_n = n;
	return out;
}

static void heard_take(struct heard *heard, const struct note *note)
{
	if (heard->note.at.us != note->at.us)
		heard->since = mono_now();
	heard->note = *note;
}

/* the slowest of several */
static void note_join(struct note *all, const struct note *note)
{
	if (!all->at.us) {
		*all = *note;
		return;
	}
	all->at.us = MIN(all->at.us, note->at.us);
	all->passed = MIN(all->passed, note->passed);
	all->durable = MIN(all->durable, note->durable);
	all->lag_us = all->lag_us < 0 || note->lag_us < 0 ? -1 : MAX(all->lag_us, note->lag_us);
	all->phase = MIN(all->phase, note->phase);
}

/* where the partitions end that somebody has; what cannot be known now stays as it was */
static void take_ends(struct exchange *ex, const struct transport_note *notes, uint32_t n)
{
	struct error ignored = ERROR_INIT;
	uint32_t k = 0;

	ex->ends = reallocarray(ex->ends, n + 1u, sizeof(*ex->ends));
	if (!ex->ends)
		abort();
	for (uint32_t i = 0; i < n; i++) {
		struct transport_end *end = &ex->ends[k];

		if (!*notes[i].topic)
			continue;
		if (k >= ex->n_ends || end->partition != notes[i].partition ||
			strcmp(end->topic, notes[i].topic) != 0)
			end->offset = -1;
		memcpy(end->topic, notes[i].topic, sizeof(end->topic));
		end->partition = notes[i].partition;
		k++;
	}
	ex->n_ends = k;
	transport_notes_ends(ex->notes, ex->ends, k, &ignored);
}

static void take(struct exchange *ex)
{
	struct note applier = { 0 };
	uint32_t n;
	const struct transport_note *notes = transport_notes_all(ex->notes, &n);

	for (uint32_t i = 0; i < n; i++) {
		struct note note;

		if (!note_read(notes[i].text, &note))
			continue;
		if (!*notes[i].topic)
			heard_take(&ex->reader, &note);
		else
			note_join(&applier, &note);
	}
	if (applier.at.us)
		heard_take(&ex->applier, &applier);
	if (ex->alone && (ex->side != EXCHANGE_APPLIER || ex->stands_by))
		take_ends(ex, notes, n);
}

void exchange_turn(struct exchange *ex, const struct note *mine)
{
	struct status *st = ex->ctx->status;
	struct error err = ERROR_INIT;
	struct transport_note *out;
	uint32_t n;
	int r;

	if (!ex->notes)
		return;
	out = tell(ex, mine, &n);
	r = transport_notes_turn(ex->notes, out, n, 0, &err);
	free(out);
	if (r == 1)
		take(ex);
	if (r < 0 && error_exit_code(&err) == EXIT_PERMISSION)
		status_alarm_raise(st, "KAFKA-NOTES", err.remedy,
			"%s: neither half knows how far the other one is", err.message);
	if (r == 1)
		status_alarm_clear(st, "KAFKA-NOTES");
}

int exchange_ask(struct exchange *ex, struct error *err)
{
	int r;

	if (!ex->notes)
		return error_set(err, ERROR_CONFIG, "NOTES", "there is no log");
	r = transport_notes_turn(ex->notes, NULL, 0, ASK_MS, err);
	if (r > 0)
		take(ex);
	return r < 0 ? r : 0;
}

static void show_position(const struct exchange *ex, struct half *half, uint64_t major)
{
	if (major)
		ex->format->position((struct position){ major, 0 }, half->position, sizeof(half->position));
}

/* the partitions as their appliers have left them. The lock is held */
static int64_t show_partitions(const struct exchange *ex)
{
	struct status *st = ex->ctx->status;
	uint32_t n, k = 0;
	const struct transport_note *notes = transport_notes_all(ex->notes, &n);
	int64_t records = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct transport_end *end;
		struct partition partition;

		if (!*notes[i].topic)
			continue;
		/* notes are older than our standing by */
		if (k == ex->n_ends)
			return -1;
		end = &ex->ends[k++];
		partition = (struct partition){ .topic = end->topic, .id = end->partition };
		log_lag_set(
			st, &partition, &(struct log_lag){ .offset = notes[i].offset, .end = end->offset });
		if (records >= 0)
			records = end->offset < 0 ? -1 : records + MAX(end->offset - notes[i].offset, 0);
	}
	return n ? records : -1;
}

static void show_judged(const struct exchange *ex)
{
	struct halves *halves = &ex->ctx->status->halves;

	halves->behind = halves_judge(halves, (double)ex->ctx->cfg->cutover.max_lag_ms / 1000);
}

/* the applier's half and the lag of all, by who is not the applier. The lock is held */
static void show_far_applier(struct exchange *ex, const struct sight *sight)
{
	struct status *st = ex->ctx->status;
	struct half *half = &st->halves.applier;
	const struct note *note = &ex->applier.note;
	double lag;

	if (!note->at.us)
		return;
	lag = note_lag(note, sight->head, sight->now, ex->side == EXCHANGE_LOOKER);
	half->silent = note_is_late(note, sight->now);
	half->heard = note->at;
	half->records = show_partitions(ex);
	half->bytes = distance(note->passed, sight->passed);
	half->seconds = lag < 0 || sight->seconds < 0 ? -1 : MAX(lag - sight->seconds, 0);
	if (note->passed >= sight->passed && note->passed)
		half->seconds = 0;
	show_position(ex, half, note->passed);
	st->lag_seconds = lag;
	st->lag_bytes = sight->head && note->passed ? distance(note->passed, sight->head) : -1;
	st->lag_measured = mono_now();
}

void exchange_show_reader(struct exchange *ex, const struct sight *sight)
{
	struct status *st = ex->ctx->status;
	struct half *half = &st->halves.reader;

	status_lock(st);
	half->seconds = sight->seconds;
	half->bytes = sight->passed ? distance(sight->passed, sight->head) : -1;
	half->heard = sight->now;
	half->silent = false;
	show_position(ex, half, sight->passed);
	if (ex->alone)
		show_far_applier(ex, sight);
	show_judged(ex);
	status_unlock(st);
}

/* the reader's half, by who is not the reader. The lock is held */
static double show_far_reader(struct exchange *ex, uint64_t head, struct wall now, bool silent)
{
	struct half *half = &ex->ctx->status->halves.reader;
	const struct note *note = &ex->reader.note;

	if (!note->at.us)
		return -1;
	half->silent = silent;
	half->heard = note->at;
	half->seconds = note_lag(note, silent ? 0 : head, now, ex->side == EXCHANGE_LOOKER);
	half->bytes = distance(note->passed, MAX(head, note->head));
	show_position(ex, half, note->passed);
	return half->seconds;
}

void exchange_show_applier(struct exchange *ex, const struct sight *sight)
{
	struct status *st = ex->ctx->status;
	struct half *half = &st->halves.applier;
	uint64_t logged = ex->reader.note.passed;
	int64_t records = 0;
	double behind;

	status_lock(st);
	behind = ex->alone ? show_far_reader(ex, sight->head, sight->now, sight->silent)
			   : st->halves.reader.seconds;
	for (uint32_t i = 0; i < st->n_log_lags; i++)
		records += st->log_lags[i].held ? st->log_lags[i].records : 0;
	half->records = records;
	half->bytes = logged ? distance(sight->passed, logged) : -1;
	half->seconds = sight->seconds < 0 || behind < 0 ? -1 : MAX(sight->seconds - behind, 0);
	if (logged && sight->passed >= logged)
		half->seconds = 0;
	half->heard = sight->now;
	half->silent = false;
	show_position(ex, half, sight->passed);
	show_judged(ex);
	status_unlock(st);
}

void exchange_show_silent(struct exchange *ex, uint64_t head, struct wall now)
{
	struct status *st = ex->ctx->status;
	const struct note *note = &ex->reader.note;
	struct sight sight = { .head = MAX(head, note->head), .now = now, .passed = note->passed };

	status_lock(st);
	/* where the source itself says that it ends where the log does, silence is no lag */
	sight.seconds = show_far_reader(ex, head, now, note->at.us && note_is_late(note, now));
	if (head && note->at.us && note->passed >= head)
		sight.seconds = st->halves.reader.seconds = 0;
	show_far_applier(ex, &sight);
	show_judged(ex);
	status_unlock(st);
}

void exchange_show_standby(struct exchange *ex, const struct sight *sight)
{
	struct status *st = ex->ctx->status;
	struct sight far = *sight;

	status_lock(st);
	far.passed = ex->reader.note.passed;
	far.seconds =
		ex->alone ? show_far_reader(ex, far.head, far.now, far.silent) : st->halves.reader.seconds;
	show_far_applier(ex, &far);
	show_judged(ex);
	status_unlock(st);
}

enum phase exchange_phase(const struct exchange *ex, struct wall now, enum phase otherwise)
{
	const struct note *note = &ex->applier.note;

	if (!note->at.us || note->phase == PHASE_PREPARE)
		return otherwise;
	return note_is_late(note, now) ? MIN(note->phase, PHASE_CATCHING_UP) : note->phase;
}

static const struct transport_note *note_of(
	const struct transport_note *notes, uint32_t n, const char *topic, int32_t partition)
{
	for (uint32_t i = 0; i < n; i++) {
		if (notes[i].partition == partition && strcmp(notes[i].topic, topic) == 0)
			return &notes[i];
	}
	return NULL;
}

static int64_t held_offset(const struct status *st, const char *topic, int32_t partition)
{
	for (uint32_t i = 0; i < st->n_log_lags; i++) {
		const struct log_lag *lag = &st->log_lags[i];

		if (lag->held && lag->partition == partition && strcmp(lag->topic, topic) == 0)
			return lag->offset;
	}
	return -1;
}

bool exchange_passed(const struct exchange *ex, uint64_t major, uint64_t held_major,
	const struct transport_end *ends, uint32_t n_ends)
{
	struct status *st = ex->ctx->status;
	uint32_t n;
	const struct transport_note *notes = transport_notes_all(ex->notes, &n);
	bool passed = n_ends > 0;

	status_lock(st);
	for (uint32_t i = 0; passed && i < n_ends; i++) {
		const struct transport_note *other = note_of(notes, n, ends[i].topic, ends[i].partition);
		int64_t held = held_offset(st, ends[i].topic, ends[i].partition);
		struct note note;

		if (ends[i].offset == 0 && !major)
			continue; /* nothing stood in it */
		if (held >= 0)
			passed = major ? held_major >= major : held >= ends[i].offset;
		else if (other && note_read(other->text, &note))
			passed = major ? note.durable >= major : other->offset >= ends[i].offset;
		else
			passed = false;
	}
	status_unlock(st);
	return passed;
}
