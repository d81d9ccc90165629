/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The group's side of the consumer. The group decides who reads a partition; where it is read from is never the group's
 * business but the target's.
 *
 * Invariants:
 *   1. An assignment is answered to the client only when the applier has claimed the progress of every partition in it, so
 *      not one message is fetched before. A revocation is answered when the applier has let go of all of them: the
 *      client does not join the next round before, and nothing of them is delivered in between.
 *   2. Whoever misses a revocation (stopped, cut off) does no harm: the successor's claim has ended its rule in the target.
 *   3. Offsets are committed to the group for people who look at it with Kafka's tools; nothing ever reads them.
 */

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>
#include <sluice/log_lag.h>

#include "consumer.h"
#include "topics.h"

#define COMMIT_MS     5000
#define CHORES_MS     1000
#define HEARD_WAIT_MS 1000
#define LOOK_MS	      500
#define GONE_MS	      5000 /* the group has named it, but a broker that starts may not know it yet */
#define HANDED_FIRST  64u

struct feed *group_feed(const struct consumer *c, const char *topic, int32_t id)
{
	struct feed *feed = c->feeds;

	while (feed && (feed->partition.id != id || strcmp(feed->partition.topic, topic) != 0))
		feed = feed->next_feed;
	return feed;
}

static struct feed *feed_of(const struct consumer *c, const struct partition *partition)
{
	struct feed *feed = c->feeds;

	while (feed && &feed->partition != partition)
		feed = feed->next_feed;
	return feed;
}

static struct feed *feed_get(struct consumer *c, const char *topic, int32_t id)
{
	struct feed *feed = group_feed(c, topic, id);

	if (!feed) {
		feed = feed_new(topic, id);
		feed->next_feed = c->feeds;
		c->feeds = feed;
	}
	return feed;
}

static bool any_in(const struct consumer *c, enum feed_state from, enum feed_state to)
{
	for (const struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state >= from && feed->state <= to)
			return true;
	}
	return false;
}

/* nothing of the feed will be handed out any more */
static void feed_stop(struct consumer *c, struct feed *feed)
{
	bool told = feed->state != FEED_NEW && feed->state != FEED_GONE;

	ready_forget(c, feed);
	feed_reset(feed);
	feed->state = told ? FEED_LOST : FEED_GONE;
}

static void stop_all(struct consumer *c)
{
	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state != FEED_LOST && feed->state != FEED_LEAVING)
			feed_stop(c, feed);
		feed->again = false;
	}
	c->found.feed = NULL;
}

/* An assignment that was not answered yet may be followed by another one without being revoked: what the applier was told of
 * the first has to be let go of. */
static void on_assign(struct consumer *c, const rd_kafka_topic_partition_list_t *list)
{
	stop_all(c);
	for (int i = 0; i < list->cnt; i++) {
		struct feed *feed = feed_get(c, list->elems[i].topic, list->elems[i].partition);

		if (feed->state == FEED_GONE)
			feed->state = FEED_NEW;
		else
			feed->again = true;
	}
	c->assigning = true;
}

static void on_revoke(struct consumer *c)
{
	stop_all(c);
	c->assigning = false;
	c->leaving = true;
	if (SLUICE_FAULT_POINT("transport.kafka.revoked"))
		error_set(&c->failure, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.revoked");
}

/* Thread: the applier's, inside its poll */
static void on_rebalance(
	rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	struct consumer *c = opaque;

	if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !c->closing) {
		on_assign(c, list);
		return;
	}
	if (c->closing)
		rd_kafka_assign(rk, NULL);
	else
		on_revoke(c);
}

void group_failed(struct consumer *c, rd_kafka_resp_err_t code)
{
	char text[128];

	if (c->failure.class)
		return;
	if (code == RD_KAFKA_RESP_ERR__FATAL)
		code = rd_kafka_fatal_error(c->rk, text, sizeof(text));
	if (code != RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID && code != RD_KAFKA_RESP_ERR__FENCED) {
		kafka_error(&c->failure, code, "the consumer");
		return;
	}
	error_set(&c->failure, ERROR_FATAL, "KAFKA-FENCED",
		"another instance joined the group with the same group.instance.id");
	error_exit(&c->failure, EXIT_LEASE_LOST);
	error_remedy(&c->failure, "give each instance a group.instance.id of its own");
}

/* Thread: the applier's, inside its poll */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct consumer *c = opaque;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__RESOLVE) {
		if (!c->down_since.us)
			c->down_since = mono_now();
	} else if (code != RD_KAFKA_RESP_ERR__TRANSPORT) {
		group_failed(c, (rd_kafka_resp_err_t)code);
	}
}

/* what the client may not be asked otherwise; config refuses them by name */
static const char *const properties[][2] = {
	{ "enable.auto.commit", "false" }, { "enable.auto.offset.store", "false" },
	{ "auto.offset.reset", "error" }, /* never begin anywhere but where the target stands */
	{ "check.crcs", "true" }, { "enable.partition.eof", "true" },
	{ "partition.assignment.strategy",
		"range" }, /* eager: every partition is let go before it is another's */
};

/* what may be overridden */
static const char *const defaults[][2] = {
	{ "session.timeout.ms", "10000" },
	{ "max.poll.interval.ms", "1800000" }, /* one commit at the target may take minutes */
	{ "topic.metadata.refresh.interval.ms", "10000" },
	{ "queued.min.messages", "50000" },
	{ "queued.max.messages.kbytes", "16384" },
};

static bool is_given(const struct property_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (strcmp(list->names[i], name) == 0)
			return true;
	}
	return false;
}

static int group_conf(struct consumer *c, rd_kafka_conf_t *conf, struct error *err)
{
	const struct config_kafka *cfg = &c->ctx->cfg->transport.kafka;
	char group[128];

	for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++) {
		if (!is_given(&cfg->properties, defaults[i][0]) &&
			!is_given(&cfg->consumer_properties, defaults[i][0]) &&
			kafka_conf_set(conf, defaults[i][0], defaults[i][1], err) < 0)
			return -1;
	}
	if (kafka_conf_list(conf, &cfg->consumer_properties, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(properties) / sizeof(*properties); i++) {
		if (kafka_conf_set(conf, properties[i][0], properties[i][1], err) < 0)
			return -1;
	}
	snprintf(group, sizeof(group), "sluice-%s", c->ctx->cfg->name);
	if (kafka_conf_set(conf, "group.id", group, err) < 0)
		return -1;
	rd_kafka_conf_set_opaque(conf, c);
	rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
	rd_kafka_conf_set_error_cb(conf, on_error);
	return 0;
}

/* in the stream's layout there is one topic with one partition, made by the reader */
static int group_check_topic(struct consumer *c, struct error *err)
{
	char name[TOPIC_MAX];
	uint32_t n = 0;
	int r;

	snprintf(name, sizeof(name), "%s.changes", c->ctx->cfg->transport.kafka.prefix);
	r = kafka_partitions(c->rk, c->ctx, name, &n, err);
	if (r > 0) {
		error_set(err, ERROR_TRANSIENT, "KAFKA-TOPIC", "topic %s does not exist", name);
		return error_remedy(err, "start the reader, which makes it");
	}
	if (r < 0)
		return r;
	if (n != 1)
		return error_set(err, ERROR_CONFIG, "KAFKA-PARTITIONS",
			"topic %s has %u partitions; in layout stream it has one", name, n);
	return 0;
}

int group_connect(struct consumer *c, struct error *err)
{
	char text[200];
	rd_kafka_conf_t *conf = kafka_conf(c->ctx, "applier", err);

	if (!conf)
		return -1;
	if (group_conf(c, conf, err) < 0) {
		rd_kafka_conf_destroy(conf);
		return -1;
	}
	c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	if (!c->rk) {
		rd_kafka_conf_destroy(conf);
		return error_set(err, ERROR_CONFIG, "KAFKA-CONFIG", "librdkafka: %s", text);
	}
	rd_kafka_poll_set_consumer(c->rk);
	if (c->ctx->cfg->transport.kafka.events == EVENTS_DEBEZIUM)
		return 0;
	return c->ctx->cfg->transport.kafka.layout == LAYOUT_STREAM ? group_check_topic(c, err) : 0;
}

/* all data topics of the prefix: two more names behind it, while those for ourselves have one */
static void tables_pattern(const char *prefix, char *out, size_t size)
{
	size_t n = 0;

	out[n++] = '^';
	for (; *prefix && n + 32 < size; prefix++) {
		if (*prefix == '.')
			out[n++] = '\\';
		out[n++] = *prefix;
	}
	snprintf(out + n, size - n, "\\.[^.]+\\.[^.]+$");
}

/* the i-th of what is subscribed to: a name, or a pattern */
static void group_topic(const struct config_kafka *cfg, uint32_t i, char *out, size_t size)
{
	if (cfg->events == EVENTS_DEBEZIUM)
		foreign_topic(cfg, i, out, size);
	else if (cfg->layout == LAYOUT_STREAM)
		snprintf(out, size, "%s.changes", cfg->prefix);
	else
		tables_pattern(cfg->prefix, out, size);
}

int group_subscribe(struct consumer *c, struct error *err)
{
	const struct config_kafka *cfg = &c->ctx->cfg->transport.kafka;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	uint32_t n = cfg->events == EVENTS_DEBEZIUM ? foreign_topics(cfg) : 1;
	char topic[FOREIGN_TOPIC_BYTES];
	rd_kafka_resp_err_t code;

	for (uint32_t i = 0; i < n; i++) {
		group_topic(cfg, i, topic, sizeof(topic));
		rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
	}
	code = rd_kafka_subscribe(c->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	return code ? kafka_error(err, code, "subscribing to %s", topic) : 0;
}

/* the client keeps a partition paused while it is not ours: what was paused is resumed when it comes back, and nothing else */
static rd_kafka_resp_err_t group_switch(struct consumer *c, bool pause)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state != FEED_RUNNING || feed->paused == pause)
			continue;
		rd_kafka_topic_partition_list_add(list, feed->partition.topic, feed->partition.id);
		feed->paused = pause;
	}
	if (list->cnt)
		code = pause ? rd_kafka_pause_partitions(c->rk, list)
			     : rd_kafka_resume_partitions(c->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	c->paused = pause;
	return code;
}

/* every partition of the assignment knows where it begins: now they may be fetched */
static int group_assign(struct consumer *c, struct error *err)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	rd_kafka_resp_err_t code;

	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state == FEED_READY) {
			rd_kafka_topic_partition_list_add(list, feed->partition.topic, feed->partition.id)
				->offset = feed->next;
			feed->state = FEED_RUNNING;
		}
	}
	code = rd_kafka_assign(c->rk, list);
	/* paused anew where that still has to be */
	if (!code)
		code = group_switch(c, false);
	rd_kafka_topic_partition_list_destroy(list);
	c->assigning = false;
	return code ? kafka_error(err, code, "taking partitions over") : 0;
}

int group_news(struct consumer *c, const struct partition **ret, struct error *err)
{
	for (struct feed *feed = c->feeds; feed && (c->leaving || c->assigning); feed = feed->next_feed) {
		if (feed->state != FEED_LOST && feed->state != FEED_NEW)
			continue;
		*ret = &feed->partition;
		if (feed->state == FEED_LOST) {
			feed->state = FEED_LEAVING;
			return TRANSPORT_REVOKED;
		}
		feed->state = FEED_TOLD;
		return TRANSPORT_ASSIGNED;
	}
	if (c->leaving && !any_in(c, FEED_LOST, FEED_LEAVING)) {
		rd_kafka_resp_err_t code = rd_kafka_assign(c->rk, NULL);

		c->leaving = false;
		if (code)
			return kafka_error(err, code, "giving partitions back");
	}
	if (c->assigning && !any_in(c, FEED_NEW, FEED_TOLD) && !any_in(c, FEED_LOST, FEED_LEAVING))
		return group_assign(c, err);
	return 0;
}

int group_seek(struct consumer *c, const struct partition *partition, const struct progress *progress,
	struct error *err)
{
	struct feed *feed = feed_of(c, partition);
	struct mono began = mono_now();
	int64_t low = 0, high = 0;
	int r;

	if (!feed || feed->state != FEED_TOLD)
		return error_set(err, ERROR_BUG, "KAFKA-SEEK", "a partition that is not assigned");
	if (SLUICE_FAULT_POINT("transport.kafka.seek"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.seek");
	while ((r = kafka_bounds(c->rk, c->ctx, partition->topic, partition->id, &low, &high, err)) > 0) {
		if (mono_diff_us(mono_now(), began) > GONE_MS * 1000)
			return feed_resync(feed, err, "KAFKA-LOG-GONE", "it does not exist any more");
		poll(NULL, 0, LOOK_MS);
	}
	if (r < 0)
		return r;
	if (c->foreign)
		r = foreign_begin(feed, progress, low, high,
			c->ctx->cfg->transport.kafka.debezium.start == DEBEZIUM_START_WHOLE, err);
	else
		r = feed_begin(feed, progress, low, high, err);
	if (r < 0)
		return -1;
	feed->state = FEED_READY;
	return 0;
}

int group_drop(struct consumer *c, const struct partition *partition, struct error *err)
{
	struct feed *feed = feed_of(c, partition);

	if (!feed || feed->state != FEED_LEAVING)
		return error_set(err, ERROR_BUG, "KAFKA-DROP", "a partition that is not being revoked");
	feed->state = feed->again ? FEED_NEW : FEED_GONE;
	feed->again = false;
	return 0;
}

void group_heard(struct consumer *c, rd_kafka_t *rk)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (const struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state == FEED_RUNNING && feed->beat.due < 0 && feed->beat.no != c->beats.no)
			rd_kafka_topic_partition_list_add(list, feed->partition.topic, feed->partition.id)
				->offset = RD_KAFKA_OFFSET_END;
	}
	if (list->cnt)
		code = rd_kafka_offsets_for_times(rk, list, HEARD_WAIT_MS);
	for (int i = 0; !code && i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *end = &list->elems[i];
		struct feed *feed = group_feed(c, end->topic, end->partition);

		if (feed && !end->err && end->offset >= 0) {
			feed->beat.due = end->offset;
			feed->beat.no = c->beats.no;
			/* a later one may have come before this end is reached, and says more than that */
			feed->beat.what = c->beats.newest;
			resume_box_set(&feed->beat.resume, c->beats.newest.resume);
			feed->high = end->offset;
		}
	}
	rd_kafka_topic_partition_list_destroy(list);
}

void group_seek_topics(struct consumer *c)
{
	const struct rd_kafka_metadata *meta = NULL;
	struct mono now = mono_now();
	uint32_t wanted = c->beats.newest.partitions;

	if (!c->fill.frames || (wanted && c->seen_partitions >= wanted) ||
		mono_diff_us(now, c->last_look) < LOOK_MS * 1000)
		return;
	c->last_look = now;
	/* the answer makes the client compare all topics with what we have subscribed to */
	if (rd_kafka_metadata(c->rk, 1, NULL, &meta, HEARD_WAIT_MS))
		return;
	c->seen_partitions = 0;
	for (int i = 0; i < meta->topic_cnt; i++) {
		if (topic_is_tables(c->ctx->cfg->transport.kafka.prefix, meta->topics[i].topic))
			c->seen_partitions += (uint32_t)meta->topics[i].partition_cnt;
	}
	rd_kafka_metadata_destroy(meta);
}

void group_handed(struct consumer *c, const struct batch *batch)
{
	struct feed *feed = feed_of(c, batch->partition);

	if (c->n_handed == c->cap_handed) {
		uint32_t cap = c->cap_handed ? c->cap_handed * 2 : HANDED_FIRST;
		struct handed *handed = calloc(cap, sizeof(*handed));

		if (!handed)
			abort();
		for (uint32_t i = 0; i < c->n_handed; i++)
			handed[i] = c->handed[(c->handed_from + i) % c->cap_handed];
		free(c->handed);
		c->handed = handed;
		c->cap_handed = cap;
		c->handed_from = 0;
	}
	feed->handed = batch->records[batch->n_records - 1].offset + 1;
	c->handed[(c->handed_from + c->n_handed++) % c->cap_handed] = (struct handed){
		.seq = batch->seq,
		.feed = feed,
		.rule = feed->rule,
		.offset = feed->handed,
	};
}

void group_acked(struct consumer *c, uint64_t seq)
{
	while (c->n_handed && c->handed[c->handed_from].seq <= seq) {
		const struct handed *handed = &c->handed[c->handed_from];

		/* what was handed out before a revocation says nothing of what came after it */
		if (handed->feed->rule == handed->rule && handed->offset > handed->feed->acked) {
			handed->feed->acked = handed->offset;
			handed->feed->committed = false;
		}
		c->handed_from = (c->handed_from + 1) % c->cap_handed;
		c->n_handed--;
	}
}

static void group_commit(struct consumer *c)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state != FEED_RUNNING || feed->committed)
			continue;
		rd_kafka_topic_partition_list_add(list, feed->partition.topic, feed->partition.id)->offset =
			feed->acked;
		feed->committed = true;
	}
	if (list->cnt)
		rd_kafka_commit(c->rk, list, 1);
	rd_kafka_topic_partition_list_destroy(list);
}

static bool is_outstanding(const struct consumer *c, const struct feed *feed)
{
	for (const struct batch *batch = c->ready; batch; batch = batch->next) {
		if (batch->partition == &feed->partition)
			return true;
	}
	for (uint32_t i = 0; i < c->n_handed; i++) {
		if (c->handed[(c->handed_from + i) % c->cap_handed].feed == feed)
			return true;
	}
	return feed->batch;
}

/* marks of readers and what dead reigns wrote are nobody's to apply: they count as done with what came before them */
static void group_pass(struct consumer *c)
{
	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		if (feed->state == FEED_RUNNING && feed->next > feed->acked && !is_outstanding(c, feed)) {
			feed->acked = feed->next;
			feed->committed = false;
		}
	}
}

/* how far behind each partition is */
static void group_lags(struct consumer *c)
{
	struct status *st = c->ctx->status;

	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		int64_t low = 0, high = 0;

		if (feed->state == FEED_RUNNING &&
			!rd_kafka_get_watermark_offsets(
				c->rk, feed->partition.topic, feed->partition.id, &low, &high) &&
			high > feed->high)
			feed->high = high;
	}
	status_lock(st);
	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed) {
		struct log_lag lag = { .offset = feed->acked, .end = feed->high, .held = true };

		if (feed->state == FEED_RUNNING && feed->reign.number)
			reign_format(feed->reign, st->halves.reign);
		log_lag_set(st, &feed->partition, feed->state == FEED_RUNNING ? &lag : NULL);
	}
	status_unlock(st);
}

void group_chores(struct consumer *c)
{
	struct mono now = mono_now();

	if (mono_diff_us(now, c->last_chores) < CHORES_MS * 1000)
		return;
	c->last_chores = now;
	group_pass(c);
	group_lags(c);
	if (mono_diff_us(now, c->last_commit) >= COMMIT_MS * 1000) {
		c->last_commit = now;
		group_commit(c);
	}
}

int group_pause(struct consumer *c, bool pause, struct error *err)
{
	rd_kafka_resp_err_t code = c->paused == pause ? RD_KAFKA_RESP_ERR_NO_ERROR : group_switch(c, pause);

	return code ? kafka_error(err, code, pause ? "pausing partitions" : "resuming partitions") : 0;
}

void group_leave(struct consumer *c)
{
	c->closing = true;
	group_commit(c);
	if (c->leaving || c->assigning)
		rd_kafka_assign(c->rk, NULL);
	rd_kafka_consumer_close(c->rk);
	for (struct feed *feed = c->feeds; feed; feed = feed->next_feed)
		feed->state = FEED_GONE;
	group_lags(c);
}
