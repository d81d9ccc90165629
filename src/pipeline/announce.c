/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The announcer's thread: dead letters from the target's table to the log's topic. It runs beside applying and holds nothing
 * up: a letter is stored with the progress that leaves its record out, so a topic that cannot be written is an alarm, tried
 * again in the next turn, and neither stops the stream nor loses a letter. What goes wrong at the target ends the
 * attempt, as it does with every other session there.
 *
 * Commands resolve letters from other processes, so the table is asked every TURN_MS.
 */

#include <poll.h>

#include <sluice/dead_letter.h>

#include "attempt.h"

#define TURN_MS	     1000
#define STOP_POLL_MS 100
#define SAY_MS	     60000

struct announcer {
	struct attempt *at;
	struct letters_topic *topic;
	struct log_limit limit;
	bool failing;
};

static void announce_failed(struct announcer *an, const struct error *err)
{
	struct context *ctx = an->at->ctx;

	an->failing = true;
	status_alarm_raise(ctx->status, "KAFKA-LETTERS",
		*err->remedy ? err->remedy : "the letters are safe in the target: sluice dead-letters list",
		"dead letters cannot be published: %s", err->message);
	if (log_limit_allow(&an->limit, SAY_MS))
		log_error_value(ctx->log, LOG_WARN, "letters", err);
}

static void announce_publish(void *arg, const struct dead_letter *letters, uint32_t n, bool *done)
{
	struct announcer *an = arg;
	struct error err = ERROR_INIT;

	if (transport_kafka_letters_put(an->topic, letters, n, done, &err) < 0) {
		announce_failed(an, &err);
		return;
	}
	if (an->failing)
		status_alarm_clear(an->at->ctx->status, "KAFKA-LETTERS");
	an->failing = false;
}

static int announce_turn(struct announcer *an, struct error *err)
{
	struct sink *sink = an->at->sink;
	struct announcement to = { .publish = announce_publish, .arg = an };
	int r;

	do {
		to.max_record = transport_kafka_letters_max(an->topic);
		r = sink->ops->announce(sink, &to, err);
	} while (r == SINK_MORE && !atomic_load(&an->at->monitor_stop));
	return r < 0 ? -1 : 0;
}

void *announce_main(void *arg)
{
	struct attempt *at = arg;
	struct announcer an = { .at = at };
	struct error err = ERROR_INIT;
	int r = 0;

	an.topic = transport_kafka_letters_new(at->ctx, at->sink->identity, &at->abort);
	while (r >= 0 && !atomic_load(&at->monitor_stop)) {
		struct mono next = mono_add_ms(mono_now(), TURN_MS);

		r = announce_turn(&an, &err);
		while (r >= 0 && !atomic_load(&at->monitor_stop) && mono_until_ms(next, mono_now()) > 0)
			poll(NULL, 0, STOP_POLL_MS);
	}
	/* what was stored last, when the end is in order and somebody listens */
	if (r >= 0 && !an.failing && !attempt_aborted(at))
		r = announce_turn(&an, &err);
	if (r < 0)
		attempt_fail(at, "sink", &err);
	transport_kafka_letters_free(an.topic);
	return NULL;
}
