/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Notes as metadata of committed offsets. A topic would do, too, but had to be read to its end and emptied; an offset of a group has
 * one value, is written and read with one request, and its offset is a number that people see with Kafka's tools.
 *
 *   group      "sluice-<name>-notes"; it has no members, so whoever may read the group may write
 *   reader's   at partition 0 of <prefix>.state
 *   applier's  at each partition that it has, with the offset behind what is durable at the target
 *
 * Written by the way of consumers, and not by the administrator's requests of librdkafka: 2.0.2 ends the process with an assertion when a
 * broker goes away while one of those is open.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/notes.h>

#include "topics.h"

#define ASK_MS	      1000
#define ENDS_MS	      1000
#define PARTITIONS_MS 5000 /* also: how long their list is good for */

struct transport_notes {
	const struct context *ctx;
	char group[80], state[TOPIC_MAX];
	rd_kafka_t *rk;
	bool putting;		      /* what was told has no answer yet */
	rd_kafka_resp_err_t put;      /* the last answer */
	struct transport_end *places; /* where notes may be, but for the reader's */
	uint32_t n_places;
	struct mono placed; /* the list was made; .us 0 = never */
	struct transport_note *notes;
	uint32_t n;
};

/* Thread: the caller's, inside its poll */
static void on_commit(
	rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	struct transport_notes *notes = opaque;

	for (int i = 0; !code && list && i < list->cnt; i++)
		code = list->elems[i].err;
	notes->putting = false;
	notes->put = code;
}

static int notes_connect(struct transport_notes *notes, struct error *err)
{
	rd_kafka_conf_t *conf;
	char text[200];

	if (notes->rk)
		return 0;
	conf = kafka_conf(notes->ctx, "notes", err);
	if (!conf)
		return -1;
	if (kafka_conf_set(conf, "group.id", notes->group, err) < 0 ||
		kafka_conf_set(conf, "enable.auto.commit", "false", err) < 0 ||
		/* there is no session, but for so long a client that is to end waits with a commit for a coordinator */
		kafka_conf_set(conf, "session.timeout.ms", "1000", err) < 0) {
		rd_kafka_conf_destroy(conf);
		return -1;
	}
	rd_kafka_conf_set_opaque(conf, notes);
	rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
	notes->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	if (!notes->rk) {
		rd_kafka_conf_destroy(conf);
		return error_set(err, ERROR_CONFIG, "KAFKA-CONFIG", "librdkafka: %s", text);
	}
	rd_kafka_poll_set_consumer(notes->rk);
	return 0;
}

/* nothing is subscribed to, so nothing but events comes */
static void notes_serve(struct transport_notes *notes, int timeout_ms)
{
	rd_kafka_message_t *in = rd_kafka_consumer_poll(notes->rk, timeout_ms);

	if (in)
		rd_kafka_message_destroy(in);
}

static void notes_put(struct transport_notes *notes, const struct transport_note *mine, uint32_t n)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);

	for (uint32_t i = 0; i < n; i++) {
		rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_add(
			list, *mine[i].topic ? mine[i].topic : notes->state, mine[i].partition);

		at->offset = mine[i].offset;
		at->metadata = strdup(mine[i].text);
		if (!at->metadata)
			abort();
		at->metadata_size = strlen(mine[i].text);
	}
	notes->putting = rd_kafka_commit(notes->rk, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_topic_partition_list_destroy(list);
}

static void notes_keep(struct transport_notes *notes, const rd_kafka_topic_partition_list_t *list)
{
	notes->n = 0;
	notes->notes = reallocarray(notes->notes, (size_t)list->cnt + 1, sizeof(*notes->notes));
	if (!notes->notes)
		abort();
	for (int i = 0; i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *at = &list->elems[i];
		struct transport_note *note = &notes->notes[notes->n];

		if (at->err || at->offset < 0 || !at->metadata || at->metadata_size >= sizeof(note->text))
			continue;
		snprintf(note->topic, sizeof(note->topic), "%s",
			strcmp(at->topic, notes->state) == 0 ? "" : at->topic);
		note->partition = at->partition;
		note->offset = at->offset;
		memcpy(note->text, at->metadata, at->metadata_size);
		note->text[at->metadata_size] = 0;
		notes->n++;
	}
}

/* where notes may be: topics come while tables do */
static int notes_places(struct transport_notes *notes, struct error *err)
{
	struct mono now = mono_now();
	struct transport_end *places;
	uint32_t n;

	if (notes->placed.us && notes->n_places &&
		mono_diff_us(now, notes->placed) < PARTITIONS_MS * INT64_C(1000))
		return 0;
	if (transport_notes_partitions(notes, &places, &n, err) < 0)
		return -1;
	free(notes->places);
	notes->places = places;
	notes->n_places = n;
	notes->placed = now;
	return 0;
}

/* Return: 1 = all notes are here, negative */
static int notes_ask(struct transport_notes *notes, int timeout_ms, struct error *err)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t code;

	if (notes_places(notes, err) < 0)
		return -1;
	list = rd_kafka_topic_partition_list_new((int)notes->n_places + 1);
	rd_kafka_topic_partition_list_add(list, notes->state, 0);
	for (uint32_t i = 0; i < notes->n_places; i++)
		rd_kafka_topic_partition_list_add(list, notes->places[i].topic, notes->places[i].partition);
	code = rd_kafka_committed(notes->rk, list, timeout_ms);
	if (!code)
		notes_keep(notes, list);
	rd_kafka_topic_partition_list_destroy(list);
	return code ? kafka_error(err, code, "notes of group %s", notes->group) : 1;
}

int transport_notes_turn(struct transport_notes *notes, const struct transport_note *mine, uint32_t n_mine,
	int wait_ms, struct error *err)
{
	if (notes_connect(notes, err) < 0)
		return -1;
	notes_serve(notes, 0);
	if (n_mine && !notes->putting)
		notes_put(notes, mine, n_mine);
	/* before the reader's first start there is no place for its note, and nothing to say */
	if (notes->put && notes->put != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
		rd_kafka_resp_err_t code = notes->put;

		notes->put = RD_KAFKA_RESP_ERR_NO_ERROR;
		return kafka_error(err, code, "leaving a note for group %s", notes->group);
	}
	return notes_ask(notes, wait_ms > ASK_MS ? wait_ms : ASK_MS, err);
}

void transport_notes_settle(struct transport_notes *notes, int wait_ms)
{
	struct mono until = mono_add_ms(mono_now(), wait_ms);

	while (notes->rk && notes->putting && mono_until_ms(until, mono_now()) > 0)
		notes_serve(notes, mono_until_ms(until, mono_now()));
}

const struct transport_note *transport_notes_all(const struct transport_notes *notes, uint32_t *ret_n)
{
	*ret_n = notes->n;
	return notes->notes;
}

/* data topics have one name behind the prefix in layout stream, two in layout tables */
static bool holds_records(const struct config_kafka *cfg, const char *topic)
{
	size_t len = strlen(cfg->prefix);

	if (cfg->layout == LAYOUT_TABLES)
		return topic_is_tables(cfg->prefix, topic);
	return strncmp(topic, cfg->prefix, len) == 0 && strcmp(topic + len, ".changes") == 0;
}

int transport_notes_partitions(
	struct transport_notes *notes, struct transport_end **ret, uint32_t *ret_n, struct error *err)
{
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;
	uint32_t n = 0;

	*ret = NULL;
	*ret_n = 0;
	if (notes_connect(notes, err) < 0)
		return -1;
	code = rd_kafka_metadata(notes->rk, 1, NULL, &meta, ASK_MS);
	if (code)
		return kafka_error(err, code, "asking for topics");
	for (int i = 0; i < meta->topic_cnt; i++) {
		const struct rd_kafka_metadata_topic *topic = &meta->topics[i];

		if (!holds_records(&notes->ctx->cfg->transport.kafka, topic->topic))
			continue;
		*ret = reallocarray(*ret, n + (size_t)topic->partition_cnt + 1, sizeof(**ret));
		if (!*ret)
			abort();
		for (int k = 0; k < topic->partition_cnt; k++) {
			struct transport_end *end = &(*ret)[n++];

			*end = (struct transport_end){ .partition = topic->partitions[k].id, .offset = -1 };
			snprintf(end->topic, sizeof(end->topic), "%s", topic->topic);
		}
	}
	rd_kafka_metadata_destroy(meta);
	*ret_n = n;
	return 0;
}

int transport_notes_ends(
	struct transport_notes *notes, struct transport_end *ends, uint32_t n, struct error *err)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t code;

	if (!n)
		return 0;
	if (notes_connect(notes, err) < 0)
		return -1;
	list = rd_kafka_topic_partition_list_new((int)n);
	for (uint32_t i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, ends[i].topic, ends[i].partition)->offset =
			RD_KAFKA_OFFSET_END;
	code = rd_kafka_offsets_for_times(notes->rk, list, ENDS_MS);
	for (uint32_t i = 0; !code && i < n; i++) {
		const rd_kafka_topic_partition_t *at =
			rd_kafka_topic_partition_list_find(list, ends[i].topic, ends[i].partition);

		ends[i].offset = at && !at->err ? at->offset : -1;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return code ? kafka_error(err, code, "asking for the ends of topics") : 0;
}

struct transport_notes *transport_notes_new(const struct context *ctx)
{
	struct transport_notes *notes = calloc(1, sizeof(*notes));

	if (!notes)
		abort();
	notes->ctx = ctx;
	snprintf(notes->group, sizeof(notes->group), "sluice-%s-notes", ctx->cfg->name);
	snprintf(notes->state, sizeof(notes->state), "%s.state", ctx->cfg->transport.kafka.prefix);
	return notes;
}

struct transport_notes *transport_notes_free(struct transport_notes *notes)
{
	if (!notes)
		return NULL;
	if (notes->rk)
		rd_kafka_destroy_flags(notes->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(notes->places);
	free(notes->notes);
	free(notes);
	return NULL;
}
