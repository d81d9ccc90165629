/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Taking over the topics of layout tables, each when it is first written under our reign. The log as a whole is ours by then:
 * its root, the topic of heartbeats, says so (take_over.c). What a stopped reader adds to a topic that we have not written yet
 * is what we would have written, in the same order, so it may stay; what it adds behind our FENCE does not count.
 *
 *   1. "topic/<name>" in the state topic gets our reign as the next one;
 *   2. FENCE in every partition, acked;
 *   3. the end of every partition is read back (tail.c): from there on records are written, what is at or below it is left out;
 *   4. CONTINUE in every partition, acked;
 *   5. "topic/<name>" has our reign and the offsets of its FENCEs.
 *
 * A reign that stands alone in "topic/<name>" was the last to write a FENCE there: its last record is the tail, and a look at
 * the end finds it. Where another began to take the topic over and did not finish, the look has to be as wide as for the root.
 *
 * The number of partitions is stored with the first take-over: a key belongs to one of them for ever.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fault.h>

#include "topics.h"
#include "writer.h"

#define ROUTED_MASK (ROUTED - 1)

/* "topic/<name>", or "log/<name>" for a topic without rows: "<partitions> <reign or -> <next reign or -> <offset of its
 * FENCE>…" */
struct stored {
	bool exists, interrupted;
	uint32_t n;
	struct reign reign;
	int64_t *fences; /* of each partition */
};

static int stored_error(const char *topic, struct error *err)
{
	return error_set(err, ERROR_DATA, "KAFKA-STATE",
		"what the state topic holds of topic %s cannot be read", topic);
}

static bool word_take(char **at, char *ret, size_t size)
{
	size_t len;

	*at += strspn(*at, " ");
	len = strcspn(*at, " ");
	if (!len || len >= size)
		return false;
	memcpy(ret, *at, len);
	ret[len] = '\0';
	*at += len;
	return true;
}

static int stored_read(struct writer *w, const char *topic, bool own, struct stored *ret, struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	char word[REIGN_TEXT], *at;
	int r;

	*ret = (struct stored){ 0 };
	buf_printf(&key, own ? "log/%s" : "topic/%s", topic);
	r = state_get(w->base.state, buf_str(&key), &value, err);
	if (r != 0)
		return r < 0 ? r : 0;
	buf_putc(&value, '\0');
	ret->exists = true;
	ret->n = (uint32_t)strtoul((char *)value.data, &at, 10);
	if (!ret->n || !word_take(&at, word, sizeof(word)))
		return stored_error(topic, err);
	if (strcmp(word, "-") && !reign_parse(&ret->reign, word, strlen(word)))
		return stored_error(topic, err);
	if (!word_take(&at, word, sizeof(word)))
		return stored_error(topic, err);
	ret->interrupted = strcmp(word, "-") != 0;
	ret->fences = calloc(ret->n, sizeof(*ret->fences));
	if (!ret->fences)
		abort();
	for (uint32_t i = 0; ret->reign.number && i < ret->n; i++) {
		if (!word_take(&at, word, sizeof(word)))
			return stored_error(topic, err);
		ret->fences[i] = strtoll(word, NULL, 10);
	}
	return 0;
}

static int stored_write(struct writer *w, const struct route *route, const struct stored *stored, bool begin,
	struct error *err)
{
	_cleanup_(buf_freep) struct buf key = BUF_INIT;
	_cleanup_(buf_freep) struct buf value = BUF_INIT;
	char reign[REIGN_TEXT], next[REIGN_TEXT];

	buf_printf(&key, route->own ? "log/%s" : "topic/%s", route->topic);
	buf_printf(&value, "%u %s %s", stored->n,
		stored->reign.number ? reign_format(stored->reign, reign) : "-",
		begin ? reign_format(w->reign, next) : "-");
	for (uint32_t i = 0; stored->reign.number && i < stored->n; i++)
		buf_printf(&value, " %" PRId64, stored->fences[i]);
	return state_set(w->base.state, buf_str(&key), value.data, value.len, err);
}

static struct route *route_find(struct routes *routes, const char *topic)
{
	struct route *route = routes->first;

	while (route && strcmp(route->topic, topic) != 0)
		route = route->next;
	return route;
}

static struct route *route_free(struct route *route)
{
	if (!route)
		return NULL;
	for (uint32_t i = 0; route->packed && i < route->n; i++)
		pack_fini(&route->packed[i].pack);
	free(route->packed);
	if (route->handle)
		rd_kafka_topic_destroy(route->handle);
	free(route);
	return NULL;
}

static void route_freep(struct route **route)
{
	route_free(*route);
}

static int route_gone(const char *topic, struct error *err)
{
	error_set(err, ERROR_FATAL, "KAFKA-LOG-LOST",
		"topic %s does not exist any more: what it held was deleted", topic);
	error_remedy(err,
		"copy anew into an empty target with a new transport.kafka.prefix, or restore the topic");
	return error_exit(err, EXIT_RESYNC);
}

/* a table whose rows depend on each other keeps to one partition */
static int route_tied(const char *topic, uint32_t n, struct error *err)
{
	error_set(err, ERROR_CONFIG, "KAFKA-TIED",
		"topic %s has %u partitions, but its table has a unique or exclusion constraint or index beside the key: rows "
		"that swap such values would be applied in any order",
		topic, n);
	error_remedy(err,
		"drop that constraint on the source, or begin anew with another transport.kafka.prefix: such a table gets "
		"one partition");
	return error_exit(err, EXIT_CONFIG);
}

/* how many partitions it has, or will have */
static int route_count(
	struct writer *w, const char *topic, bool tied, bool own, struct stored *stored, struct error *err)
{
	uint32_t n = 0;
	int r = kafka_partitions(w->rk, w->ctx, topic, &n, err);

	if (r < 0)
		return r;
	if (r == 1 && stored->reign.number)
		return route_gone(topic, err);
	if (!stored->exists) {
		stored->n = r == 0 ? n : tied || own ? 1 : w->ctx->cfg->transport.kafka.partitions;
		stored->fences = calloc(stored->n, sizeof(*stored->fences));
		if (!stored->fences)
			abort();
	}
	return (tied || own) && stored->n != 1 ? route_tied(topic, stored->n, err) : 0;
}

/* a FENCE or CONTINUE in every partition, acked; ret_offsets may be NULL */
static int route_marks(struct writer *w, struct route *route, uint8_t op, struct tail *tails,
	int64_t *ret_offsets, struct error *err)
{
	struct ticket *tickets = calloc(route->n, sizeof(*tickets));
	int r = 0;

	if (!tickets)
		abort();
	for (uint32_t i = 0; r == 0 && i < route->n; i++)
		r = writer_mark(w, route->packed[i].place, op, &tails[i], route->prev[i], &tickets[i], err);
	for (uint32_t i = 0; r == 0 && i < route->n; i++) {
		r = writer_settle(w, &tickets[i], w->ctx->stop, err);
		if (ret_offsets)
			ret_offsets[i] = tickets[i].offset;
	}
	if (r < 0) {
		/* reports of what is still under way would come to freed memory */
		w->failure = *err;
		rd_kafka_purge(w->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
		rd_kafka_flush(w->rk, KAFKA_REQUEST_MS);
	}
	free(tickets);
	return r;
}

static int route_tail(struct writer *w, const struct route *route, uint32_t partition,
	const struct stored *stored, int64_t fence, struct tail *ret, struct error *err)
{
	struct tail_request request = {
		.rk = w->routes.look,
		.topic = route->topic,
		.partition = (int32_t)partition,
		.known = { stored->reign, stored->reign.number ? stored->fences[partition] : -1 },
		.end = fence,
		.rows = true,
		.sole = stored->reign.number && !stored->interrupted,
	};
	int64_t high = 0;
	int r = kafka_bounds(w->rk, w->ctx, route->topic, (int32_t)partition, &request.low, &high, err);

	if (r == 1)
		return route_gone(route->topic, err);
	if (r < 0 || tail_find(w->ctx, &request, ret, err) < 0)
		return -1;
	if (ret->current.number > w->reign.number)
		return error_set(err, ERROR_TRANSIENT, "KAFKA-REIGN",
			"topic %s was taken over by another reader", route->topic);
	if (*ret->identity && strcmp(ret->identity, w->identity) != 0) {
		error_set(err, ERROR_FATAL, "RESYNC-IDENTITY",
			"topic %s holds records of source %s, this source is %s", route->topic, ret->identity,
			w->identity);
		error_remedy(err, "copy anew with a new transport.kafka.prefix");
		return error_exit(err, EXIT_RESYNC);
	}
	return 0;
}

/* steps 2 to 4; fences: the offsets of ours */
static int route_fence(struct writer *w, struct route *route, const struct stored *stored, struct tail *tails,
	int64_t *fences, struct error *err)
{
	int r = route_marks(w, route, RECORD_FENCE, tails, fences, err);

	if (r == 0 && SLUICE_FAULT_POINT("transport.kafka.route.fenced"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.route.fenced");
	if (r == 0 && !w->routes.look)
		r = kafka_reader_client(w->ctx, "tail", &w->routes.look, err);
	for (uint32_t i = 0; r == 0 && i < route->n; i++) {
		r = route_tail(w, route, i, stored, fences[i], &tails[i], err);
		route->prev[i] = tails[i].last;
	}
	return r < 0 ? r : route_marks(w, route, STAMP_CONTINUE, tails, NULL, err);
}

static int route_take(struct writer *w, struct route *route, struct stored *stored, struct error *err)
{
	struct tail *tails = calloc(route->n, sizeof(*tails));
	int64_t *fences = calloc(route->n, sizeof(*fences));
	int r = stored_write(w, route, stored, true, err);

	if (!tails || !fences)
		abort();
	if (r == 0)
		r = route_fence(w, route, stored, tails, fences, err);
	if (r == 0 && SLUICE_FAULT_POINT("transport.kafka.route.continued"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.route.continued");
	if (r == 0) {
		struct stored taken = { .n = route->n, .reign = w->reign, .fences = fences };

		r = stored_write(w, route, &taken, false, err);
	}
	for (uint32_t i = 0; i < route->n; i++)
		tail_fini(&tails[i]);
	free(tails);
	free(fences);
	return r;
}

static int route_open(struct writer *w, const char *topic, bool tied, bool own, struct stored *stored,
	struct route **ret, struct error *err)
{
	_cleanup_(route_freep) struct route *route = NULL;
	struct kafka_topic wanted = { .name = topic };

	if (stored_read(w, topic, own, stored, err) < 0 || route_count(w, topic, tied, own, stored, err) < 0)
		return -1;
	wanted.partitions = stored->n;
	if (kafka_topics_ensure(w->rk, w->ctx, &wanted, 1, err) < 0)
		return -1;
	route = calloc(1, sizeof(*route) + stored->n * sizeof(*route->prev));
	if (!route)
		abort();
	route->packed = calloc(stored->n, sizeof(*route->packed));
	if (!route->packed)
		abort();
	snprintf(route->topic, sizeof(route->topic), "%s", topic);
	route->n = stored->n;
	route->own = own;
	route->handle = rd_kafka_topic_new(w->rk, topic, NULL);
	if (!route->handle)
		return kafka_error(err, rd_kafka_last_error(), "opening topic %s", topic);
	for (uint32_t i = 0; i < route->n; i++)
		route->packed[i].place = (struct place){ route->handle, (int32_t)i };
	if (route_take(w, route, stored, err) < 0)
		return -1;
	if (!own && !stored->exists)
		w->routes.partitions += route->n;
	route->next = w->routes.first;
	*ret = w->routes.first = route;
	route = NULL; /* the list has it */
	return 0;
}

/* tied: its rows may not be spread; own: a topic of ours, with one partition */
static int route_get(
	struct writer *w, const char *topic, bool tied, bool own, struct route **ret, struct error *err)
{
	struct stored stored = { 0 };
	int r;

	*ret = route_find(&w->routes, topic);
	if (*ret)
		return tied && (*ret)->n != 1 ? route_tied(topic, (*ret)->n, err) : 0;
	r = route_open(w, topic, tied, own, &stored, ret, err);
	free(stored.fences);
	return r;
}

int route_named(struct writer *w, const char *suffix, struct route **ret, struct error *err)
{
	char topic[TOPIC_MAX];

	snprintf(topic, sizeof(topic), "%s.%s", w->ctx->cfg->transport.kafka.prefix, suffix);
	return route_get(w, topic, false, true, ret, err);
}

static struct routed *routed_find(struct routes *routes, uint64_t fingerprint)
{
	uint32_t i = (uint32_t)(fingerprint ^ fingerprint >> 32) & ROUTED_MASK;

	while (routes->routed[i].rel && routes->routed[i].rel->fingerprint != fingerprint)
		i = (i + 1) & ROUTED_MASK;
	return &routes->routed[i];
}

static void routed_forget(struct routes *routes)
{
	for (uint32_t i = 0; i < ROUTED; i++) {
		relation_unref(routes->routed[i].rel);
		relation_unref(routes->routed[i].keyed);
		routes->routed[i] = (struct routed){ 0 };
	}
	routes->n_routed = 0;
}

static int routed_no_key(const struct relation *rel, struct error *err)
{
	error_set(err, ERROR_CONFIG, "KAFKA-NO-KEY",
		"%s.%s has no primary key: in layout tables rows are spread and ordered by key", rel->schema,
		rel->name);
	error_remedy(err, "give it a primary key, exclude it, or use transport.kafka.layout: stream");
	return error_exit(err, EXIT_CONFIG);
}

/* the relation with the key that rows are spread by */
static struct relation *routed_keyed(
	const struct relation *rel, const struct lookup_shape *shape, struct arena *arena)
{
	struct column *columns = arena_dup(arena, rel->columns, rel->n_columns * sizeof(*columns));
	struct relation_spec spec = {
		.id = rel->id,
		.schema = rel->schema,
		.name = rel->name,
		.identity = rel->identity == IDENTITY_FULL ? IDENTITY_DEFAULT : rel->identity,
		.n_columns = rel->n_columns,
		.columns = columns,
	};

	for (uint32_t i = 0; i < rel->n_columns; i++)
		columns[i].key = shape->key[i];
	return relation_new(&spec);
}

static int routed_shape(struct writer *w, const struct relation *rel, struct arena *arena,
	struct lookup_shape *ret, struct error *err)
{
	int r = LOOKUP_GONE;

	if (w->base.lookup)
		r = w->base.lookup->ops->shape(w->base.lookup, rel, publish_xid(w), arena, ret, err);
	if (r != LOOKUP_GONE)
		return r;
	/* a table that is not there any more has no rows that could be tied */
	*ret = (struct lookup_shape){ .key = arena_alloc(arena, rel->n_columns + 1u), .n_keys = rel->n_keys };
	for (uint32_t i = 0; i < rel->n_columns; i++)
		ret->key[i] = rel->columns[i].key;
	return 0;
}

static int routed_fill(
	struct writer *w, struct routed *routed, struct relation *rel, struct arena *arena, struct error *err)
{
	struct lookup_shape shape = { 0 };
	char topic[TOPIC_MAX];
	struct route *route;

	if (routed_shape(w, rel, arena, &shape, err) < 0)
		return -1;
	if (!shape.n_keys)
		return routed_no_key(rel, err);
	topic_name(w->ctx->cfg->transport.kafka.prefix, rel->schema, rel->name, topic);
	if (route_get(w, topic, shape.tied, false, &route, err) < 0)
		return -1;
	*routed = (struct routed){
		.rel = relation_ref(rel),
		.keyed = routed_keyed(rel, &shape, arena),
		.route = route,
	};
	route->loose = shape.loose;
	w->routes.n_routed++;
	return 0;
}

int route_of(struct writer *w, struct relation *rel, struct routed **ret, struct error *err)
{
	struct arena scratch = ARENA_INIT(NULL);
	int r;

	*ret = routed_find(&w->routes, rel->fingerprint);
	if ((*ret)->rel)
		return 0;
	if (w->routes.n_routed == ROUTED / 2) {
		routed_forget(&w->routes);
		*ret = routed_find(&w->routes, rel->fingerprint);
	}
	r = routed_fill(w, *ret, rel, &scratch, err);
	arena_reset(&scratch);
	return r;
}

static int routes_count(void *arg, const char *value, struct error *err)
{
	uint32_t *n = arg;

	*n += (uint32_t)strtoul(value, NULL, 10);
	return 0;
}

int routes_begin(struct writer *w, struct error *err)
{
	w->routes.partitions = 0;
	return state_kafka_each(w->base.state, "topic/", routes_count, &w->routes.partitions, err);
}

void routes_fini(struct routes *routes)
{
	struct route *route;

	routed_forget(routes);
	while ((route = routes->first)) {
		routes->first = route->next;
		route_free(route);
	}
	if (routes->look)
		rd_kafka_destroy(routes->look);
	buf_fini(&routes->tombstone.key);
}
