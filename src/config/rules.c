/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What no single option can say: what a name may look like, what type a URI means, what is required when, and
 * which choices this version does not support. The place of the setting at fault stands in front of each
 * error.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/postgres.h>

#include "bind.h"

#define NAME_MAX_BYTES	 40
#define SLOT_MAX_BYTES	 63
#define PREFIX_MAX_BYTES 100

static const char *const type_names[] = { "postgresql", "mongodb", "generator", "discard" };

static bool is_name(const char *s, size_t max)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len <= max && !s[len];
}

/* nothing was given where something is required; said once, and not when the file is known in part only */
static void rule_required(struct binder *b, const char *key, const char *hint)
{
	const struct origin *origin = bind_given(b, key);
	char name[KEY_BYTES];

	if (origin->kind != ORIGIN_DEFAULT)
		bind_problem(b, origin, key, "%s is empty", key);
	else if (!b->incomplete)
		bind_problem(b, origin, key, "%s is required: %s (or %s in the environment)", key, hint,
			config_environment_name(key, name, sizeof(name)));
}

static void rule_name(struct binder *b)
{
	if (bind_failed(b, "name"))
		return;
	if (!*b->cfg->name)
		rule_required(b, "name", "what this migration is called, such as shop");
	else if (!is_name(b->cfg->name, NAME_MAX_BYTES))
		bind_fail(b, options_find("name"), bind_given(b, "name"),
			"name: must be 1 to %d of a-z, 0-9 and _", NAME_MAX_BYTES);
}

/* "sluice_<name>" in a default, once the name is known; an empty text counts as not given */
static void rule_named(struct binder *b, const char *key, char **value)
{
	char text[SLOT_MAX_BYTES + 1];

	if (**value && strcmp(*value, "sluice_<name>"))
		return;
	snprintf(text, sizeof(text), "sluice_%.40s", b->cfg->name);
	free(*value);
	*value = strdup(text);
	if (!*value)
		abort();
}

static void rule_postgres(struct binder *b)
{
	struct config_source *src = &b->cfg->source;

	rule_named(b, "source.postgresql.slot", &src->postgresql.slot);
	rule_named(b, "source.postgresql.publication", &src->postgresql.publication);
	if (bind_given(b, "source.postgresql.slot")->kind != ORIGIN_DEFAULT &&
		!is_name(src->postgresql.slot, SLOT_MAX_BYTES))
		bind_problem(b, bind_given(b, "source.postgresql.slot"), "source.postgresql.slot",
			"source.postgresql.slot: must be 1 to %d of a-z, 0-9 and _", SLOT_MAX_BYTES);
	if (strlen(src->postgresql.publication) > SLOT_MAX_BYTES)
		bind_problem(b, bind_given(b, "source.postgresql.publication"),
			"source.postgresql.publication",
			"source.postgresql.publication: longer than %d bytes", SLOT_MAX_BYTES);
}

/* the type that a connection string stands for; false = none that is known */
static bool uri_type(const char *uri, enum peer_type *ret)
{
	if (!strncmp(uri, "mongodb://", 10) || !strncmp(uri, "mongodb+srv://", 14))
		*ret = PEER_MONGODB;
	else if (!strncmp(uri, "postgres://", 11) || !strncmp(uri, "postgresql://", 13) ||
		 (!strstr(uri, "://") && strchr(uri, '=')))
		*ret = PEER_POSTGRESQL;
	else
		return false;
	return true;
}

struct peer {
	const char *name; /* "source" */
	const char *uri_key, *type_key;
	const char *uri;
	enum peer_type *type;
	enum peer_type without_uri;  /* the type that needs no URI */
	enum config_without without; /* of this peer */
};

/* libpq's own text about a URI quotes it, with its password: it is never shown */
static void rule_conninfo(struct binder *b, const struct peer *peer)
{
	char *why = NULL;
	PQconninfoOption *options = PQconninfoParse(peer->uri, &why);

	PQfreemem(why);
	if (!options)
		bind_problem(b, bind_given(b, peer->uri_key), peer->uri_key,
			"%s is not a valid PostgreSQL URI or conninfo string", peer->uri_key);
	PQconninfoFree(options);
}

static void rule_peer(struct binder *b, const struct peer *peer)
{
	bool typed = bind_given(b, peer->type_key)->kind != ORIGIN_DEFAULT;
	const struct origin *uri_origin = bind_given(b, peer->uri_key);
	enum peer_type from_uri = PEER_POSTGRESQL;

	if (typed && *peer->type == peer->without_uri) {
		if (*peer->uri)
			bind_problem(b, uri_origin, peer->uri_key, "%s has no meaning with %s %s",
				peer->uri_key, peer->type_key, type_names[peer->without_uri]);
		return;
	}
	if (typed && *peer->type == PEER_MONGODB) {
		bind_problem(b, bind_given(b, peer->type_key), peer->type_key,
			"%s mongodb is not supported by this version", peer->type_key);
		return;
	}
	if (bind_failed(b, peer->uri_key) || bind_failed(b, peer->type_key))
		return;
	if (!*peer->uri && b->cfg->transport.type == TRANSPORT_KAFKA && (b->without & peer->without))
		return;
	/* whose changes they are is Debezium's business */
	if (!*peer->uri && config_reads_foreign(b->cfg) && peer->without == CONFIG_WITHOUT_SOURCE)
		return;
	if (!*peer->uri) {
		rule_required(b, peer->uri_key, "postgresql://USER@HOST/DATABASE");
		return;
	}
	if (!uri_type(peer->uri, &from_uri)) {
		bind_problem(b, uri_origin, peer->uri_key,
			"%s is neither a postgresql:// URI nor a conninfo string (host=… dbname=…)",
			peer->uri_key);
		return;
	}
	if (from_uri == PEER_POSTGRESQL)
		rule_conninfo(b, peer);
	else
		bind_problem(b, uri_origin, peer->uri_key, "%s: mongodb is not supported by this version",
			peer->uri_key);
	*peer->type = from_uri;
}

static void rule_patterns(struct binder *b, const char *key, const struct string_list *list)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (!strchr(list->items[i], '.'))
			bind_problem(b, bind_given(b, key), key,
				"%s: entry %u is no pattern of the form schema.table, such as public.*", key,
				i + 1);
	}
}

static void rule_listen(struct binder *b)
{
	const char *listen = b->cfg->http.listen, *colon = strrchr(listen, ':');

	if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
		bind_problem(b, bind_given(b, "http.listen"), "http.listen",
			"http.listen: must be ADDRESS:PORT, such as 127.0.0.1:8620 or [::]:8620");
}

/* a token goes into a header: anything but printable characters could forge one */
static void rule_token(struct binder *b)
{
	for (const char *p = b->cfg->http.token; *p; p++) {
		if (*p <= ' ' || *p > '~') {
			bind_problem(b, bind_given(b, "http.token"), "http.token",
				"http.token: must be printable ASCII without blanks");
			return;
		}
	}
}

static void rule_fence(struct binder *b)
{
	const struct origin *origin = bind_given(b, "cutover.fence.method");

	if (b->cfg->cutover.fence.method == FENCE_REVOKE && !b->cfg->cutover.fence.roles.n)
		bind_problem(b, origin, "cutover.fence.method",
			"cutover.fence.method revoke needs cutover.fence.roles");
	if (b->cfg->cutover.fence.method == FENCE_HOOK && !b->cfg->cutover.hook_fence.argv.n)
		bind_problem(b, origin, "cutover.fence.method",
			"cutover.fence.method hook needs cutover.hooks.fence.argv");
}

static bool is_topic(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return len > 0 && len <= PREFIX_MAX_BYTES && !s[len];
}

static void rule_kafka(struct binder *b)
{
	struct config_kafka *kafka = &b->cfg->transport.kafka;

	if (!strcmp(kafka->prefix, "<name>") || !*kafka->prefix) {
		free(kafka->prefix);
		kafka->prefix = strdup(b->cfg->name);
		if (!kafka->prefix)
			abort();
	} else if (!is_topic(kafka->prefix)) {
		bind_problem(b, bind_given(b, "transport.kafka.prefix"), "transport.kafka.prefix",
			"transport.kafka.prefix: must be 1 to %d of a-z, A-Z, 0-9, ., _ and -",
			PREFIX_MAX_BYTES);
	}
	kafka->retention_ms = -1;
	if (strcmp(kafka->retention, "unlimited") &&
		!config_parse_duration(kafka->retention, &kafka->retention_ms))
		bind_problem(b, bind_given(b, "transport.kafka.retention"), "transport.kafka.retention",
			"transport.kafka.retention: must be unlimited or a duration, such as 7d");
	if (b->cfg->transport.type != TRANSPORT_KAFKA)
		return;
	if (!*kafka->bootstrap_servers)
		rule_required(b, "transport.kafka.bootstrap_servers", "HOST:PORT of the brokers");
	if (b->cfg->source.type == PEER_POSTGRESQL && b->cfg->source.postgresql.binary &&
		kafka->format == KAFKA_JSON)
		bind_problem(b, bind_given(b, "source.postgresql.binary"), "source.postgresql.binary",
			"source.postgresql.binary needs transport.kafka.format: binary");
	if (kafka->layout != LAYOUT_TABLES)
		return;
	if (b->cfg->source.type == PEER_POSTGRESQL && b->cfg->source.postgresql.binary)
		bind_problem(b, bind_given(b, "source.postgresql.binary"), "source.postgresql.binary",
			"source.postgresql.binary cannot be used with transport.kafka.layout: tables");
	/* appliers find the topics by their names' form */
	if (strchr(kafka->prefix, '.'))
		bind_problem(b, bind_given(b, "transport.kafka.prefix"), "transport.kafka.prefix",
			"transport.kafka.prefix: may not contain a . with transport.kafka.layout: tables");
}

void rules_apply(struct binder *b)
{
	struct config *cfg = b->cfg;

	rule_name(b);
	rule_peer(b, &(struct peer){ "source", "source.uri", "source.type", cfg->source.uri,
			     &cfg->source.type, PEER_GENERATOR, CONFIG_WITHOUT_SOURCE });
	rule_peer(b, &(struct peer){ "target", "target.uri", "target.type", cfg->target.uri,
			     &cfg->target.type, PEER_DISCARD, CONFIG_WITHOUT_TARGET });
	rule_postgres(b);
	rule_patterns(b, "source.include", &cfg->source.include);
	rule_patterns(b, "source.exclude", &cfg->source.exclude);
	rule_kafka(b);
	if (cfg->retry.max_ms < cfg->retry.base_ms && !bind_failed(b, "retry.max") &&
		!bind_failed(b, "retry.base"))
		bind_problem(b, bind_given(b, "retry.max"), "retry.max", "retry.max is below retry.base");
	rule_listen(b);
	rule_token(b);
	rule_fence(b);
}
