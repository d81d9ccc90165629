/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The settings after parsing and checking, immutable for the life of the process. Each section's option table
 * (key, type, unit, range, default, secret, doc) stands in the folder that owns it; src/config binds them.
 * Strings are never NULL ("" = not given). Secrets are never formatted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/backoff.h>
#include <sluice/config_debezium.h>
#include <sluice/config_list.h>
#include <sluice/error.h>
#include <sluice/log.h>

enum peer_type { PEER_POSTGRESQL, PEER_MONGODB, PEER_GENERATOR, PEER_DISCARD };
enum no_identity { NO_IDENTITY_REFUSE, NO_IDENTITY_INSERT_ONLY, NO_IDENTITY_FULL };
enum transport_type { TRANSPORT_DIRECT, TRANSPORT_KAFKA };
enum snapshot_mode { SNAPSHOT_INITIAL, SNAPSHOT_NONE, SNAPSHOT_ONLY };
enum snapshot_schema { SCHEMA_AUTO, SCHEMA_CREATE, SCHEMA_EXISTING };
enum on_error { ON_ERROR_STOP, ON_ERROR_DEAD_LETTER };
enum missing_row { MISSING_ROW_STOP, MISSING_ROW_WARN };
enum conflict { CONFLICT_STOP, CONFLICT_SOURCE_WINS, CONFLICT_TARGET_WINS };
enum on_fatal { ON_FATAL_EXIT, ON_FATAL_HOLD };
enum ddl_policy { DDL_ADDITIVE, DDL_STOP, DDL_IGNORE };
enum kafka_layout { LAYOUT_STREAM, LAYOUT_TABLES };
enum kafka_format { KAFKA_JSON, KAFKA_BINARY };
enum fence_method { FENCE_NONE, FENCE_REVOKE, FENCE_READ_ONLY, FENCE_BLOCK_WRITES, FENCE_HOOK };

struct config_source {
	char *uri; /* secret */
	enum peer_type type;
	char *user;
	char *password; /* secret */
	struct string_list include, exclude;
	struct {
		char *slot, *publication;
		enum no_identity no_identity;
		bool binary;
	} postgresql;
	struct {
		uint64_t transactions, rows_per_transaction,
			keys; /* source/generator; 0 transactions = endless */
		uint64_t seed;
		uint32_t row_bytes;
	} generator;
};

struct config_target {
	char *uri; /* secret */
	enum peer_type type;
	char *user;
	char *password; /* secret */
};

struct config_snapshot {
	enum snapshot_mode mode;
	enum snapshot_schema schema;
	uint32_t workers;
	uint64_t chunk_bytes;
	int64_t slot_wait_ms;
};

struct config_apply {
	enum on_error on_error;
	enum missing_row missing_row;
	enum conflict conflict;
	enum ddl_policy ddl;
};

struct config_hook {
	struct string_list argv; /* empty = not configured */
	int64_t timeout_ms;
};

struct config_kafka {
	char *bootstrap_servers;
	char *prefix; /* default: name */
	enum kafka_layout layout;
	uint32_t partitions;	    /* of each topic that is created (tables) */
	int32_t replication_factor; /* -1 = the broker's default */
	bool create_topics;
	char *retention;      /* as written */
	int64_t retention_ms; /* < 0 = unlimited */
	enum kafka_format format;
	unsigned json_schemas; /* enum json_schemas of codec.h */
	enum kafka_events events;
	struct string_list topics; /* of another program; empty = <prefix>.*.* */
	struct config_debezium debezium;
	struct property_list properties, producer_properties, consumer_properties; /* librdkafka's own */
};

struct config {
	char *path; /* the file, or "" */
	char *name;
	struct config_source source;
	struct config_target target;
	struct {
		enum transport_type type;
		struct config_kafka kafka;
	} transport;
	struct config_snapshot snapshot;
	struct config_apply apply;
	enum on_fatal on_fatal;
	struct backoff_config retry;
	struct {
		uint64_t batch_memory_bytes, record_bytes;
	} limits;
	struct {
		int64_t max_lag_ms, hold_ms;
		uint64_t max_lag_bytes;
		bool verify; /* up to here: what `ready` needs */
		struct {
			enum fence_method method; /* FENCE_NONE = not configured */
			struct string_list roles;
			int64_t timeout_ms;
		} fence;
		struct config_hook hook_fence, hook_unfence, hook_switch;
		bool reverse;
	} cutover;
	struct {
		char *listen;
		char *token; /* secret */
	} http;
	struct {
		enum log_level level;
		enum log_format format;
	} log;
	int64_t grace_ms; /* drain on SIGTERM: run.grace_period, default 25s */
};

struct config *config_free(struct config *cfg);

/** config_table_selected() - true when include matches schema.table and exclude does not. Pure. */
bool config_table_selected(const struct config_source *cfg, const char *schema, const char *table);
