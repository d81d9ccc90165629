/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The settings that concern every driver: the two ends, the way between them, the copy, applying, and the
 * process. Each line is the setting, its manual and its checks in one.
 */

#include <sluice/config.h>
#include <sluice/option.h>

#define KIB	1024.0
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)
#define SECOND	1000.0
#define MINUTE	(60 * SECOND)
#define HOUR	(60 * MINUTE)
#define AT(m)	offsetof(struct config, m)
#define N(list) (sizeof(list) / sizeof(*(list)))

static const char *const source_types[] = { "postgresql", "mongodb", "generator", NULL };
/* in the order of enum peer_type; "" = not a target */
static const char *const target_types[] = { "postgresql", "mongodb", "", "discard", NULL };
static const char *const transport_types[] = { "direct", "kafka", NULL };
static const char *const snapshot_modes[] = { "initial", "none", "only", NULL };
static const char *const snapshot_schemas[] = { "auto", "create", "existing", NULL };
static const char *const on_errors[] = { "stop", "dead_letter", NULL };
static const char *const missing_rows[] = { "stop", "warn", NULL };
static const char *const conflicts[] = { "stop", "source_wins", "target_wins", NULL };
static const char *const ddl_policies[] = { "additive", "stop", "ignore", NULL };
static const char *const on_fatals[] = { "exit", "hold", NULL };

static const struct option source_options[] = {
	{ "source.uri", OPTION_STRING, AT(source.uri), NULL, 0, 0, NULL, OPTION_SECRET,
		"The database in use now (blue): a PostgreSQL URI or conninfo string. Required unless `source.type` is "
		"`generator`. A connection to a host that is not local uses TLS with verification unless the URI sets "
		"`sslmode` itself." },
	{ "source.type", OPTION_ENUM, AT(source.type), NULL, 0, 0, source_types, 0,
		"What the source is. Follows from the scheme of `source.uri`. `generator` makes transactions of its own, "
		"for trying out and measuring. `mongodb` is not supported by this version." },
	{ "source.user", OPTION_STRING, AT(source.user), NULL, 0, 0, NULL, 0,
		"Role to connect as, instead of the one in the URI." },
	{ "source.password", OPTION_STRING, AT(source.password), NULL, 0, 0, NULL, OPTION_SECRET,
		"Password, instead of the one in the URI." },
	{ "source.include", OPTION_LIST, AT(source.include), NULL, 0, 0, NULL, 0,
		"Tables to move, as `schema.table` with `*` and `?`. By default all but those of the server and of sluice "
		"itself, which are never moved." },
	{ "source.exclude", OPTION_LIST, AT(source.exclude), NULL, 0, 0, NULL, 0,
		"Tables to leave out; wins over `source.include`." },
};

static const struct option target_options[] = {
	{ "target.uri", OPTION_STRING, AT(target.uri), NULL, 0, 0, NULL, OPTION_SECRET,
		"The database to move to (green). Required unless `target.type` is `discard`. TLS as for `source.uri`." },
	{ "target.type", OPTION_ENUM, AT(target.type), NULL, 0, 0, target_types, 0,
		"What the target is. Follows from the scheme of `target.uri`. `discard` counts the changes and forgets "
		"them. `mongodb` is not supported by this version." },
	{ "target.user", OPTION_STRING, AT(target.user), NULL, 0, 0, NULL, 0,
		"Role to connect as, instead of the one in the URI." },
	{ "target.password", OPTION_STRING, AT(target.password), NULL, 0, 0, NULL, OPTION_SECRET,
		"Password, instead of the one in the URI." },
};

static const struct option transport_options[] = {
	{ "transport.type", OPTION_ENUM, AT(transport.type), "direct", 0, 0, transport_types, 0,
		"How changes get from the reader to the applier. `direct`: within the process, nothing is kept on disk. "
		"`kafka`: through a log, so that `sluice reader` and `sluice applier` can run on different machines." },
};

static const char *const kafka_layouts[] = { "stream", "tables", NULL };
static const char *const kafka_formats[] = { "json", "binary", NULL };
static const char *const kafka_schemas[] = { "topic", "inline", "none", NULL };

/* in the order of the enums of debezium.h */
static const char *const kafka_events[] = { "sluice", "debezium", NULL };
static const char *const debezium_times[] = { "adaptive", "adaptive_time_microseconds", "connect",
	"isostring", "microseconds", "nanoseconds", "structured", NULL };
static const char *const debezium_decimals[] = { "precise", "double", "string", NULL };
static const char *const debezium_binaries[] = { "bytes", "base64", "base64-url-safe", "hex", NULL };
static const char *const debezium_intervals[] = { "numeric", "string", NULL };
static const char *const debezium_truncates[] = { "apply", "ignore", NULL };
static const char *const debezium_starts[] = { "whole", "oldest", NULL };

#define KAFKA(m) AT(transport.kafka.m)
static const struct option kafka_options[] = {
	{ "transport.kafka.bootstrap_servers", OPTION_STRING, KAFKA(bootstrap_servers), NULL, 0, 0, NULL, 0,
		"Brokers to begin with, HOST:PORT, with commas between them. Required with `transport.type: kafka`." },
	{ "transport.kafka.prefix", OPTION_STRING, KAFKA(prefix), "<name>", 0, 0, NULL, 0,
		"What the names of all topics begin with." },
	{ "transport.kafka.layout", OPTION_ENUM, KAFKA(layout), "stream", 0, 0, kafka_layouts, 0,
		"`stream`: one topic with one partition, whole transactions in the order of the source. `tables`: a topic for each "
		"table, rows spread over its partitions by key: order per key, several appliers side by side." },
	{ "transport.kafka.partitions", OPTION_UINT32, KAFKA(partitions), "1", 1, 1000, NULL, 0,
		"Of each table's topic that sluice makes, with layout `tables`. A topic keeps the number it was made with." },
	{ "transport.kafka.replication_factor", OPTION_INT32, KAFKA(replication_factor), "-1", -1, 100, NULL,
		0, "Of the topics that sluice makes; -1 is the broker's default." },
	{ "transport.kafka.create_topics", OPTION_BOOL, KAFKA(create_topics), "true", 0, 0, NULL, 0,
		"Whether missing topics are made. `sluice check --print kafka` prints the commands that make them." },
	{ "transport.kafka.retention", OPTION_STRING, KAFKA(retention), "unlimited", 0, 0, NULL, 0,
		"How long the topic of changes keeps its records when sluice makes it: `unlimited`, or a duration. An applier that "
		"is behind by more than that needs a new copy." },
	{ "transport.kafka.format", OPTION_ENUM, KAFKA(format), "json", 0, 0, kafka_formats, 0,
		"`json`: the change-event envelope of Debezium, which other programs read; `binary`: compact and faster, for sluice alone." },
	{ "transport.kafka.json_schemas", OPTION_ENUM, KAFKA(json_schemas), "topic", 0, 0, kafka_schemas, 0,
		"Where the types of a record are: in the topic of schemas, in each message (Kafka Connect's schema and payload), or "
		"nowhere." },
	{ "transport.kafka.events", OPTION_ENUM, KAFKA(events), "sluice", 0, 0, kafka_events, 0,
		"Who wrote the topics: `sluice reader`, or Debezium's PostgreSQL connector. With `debezium` there is `sluice applier` "
		"alone, and the settings that follow count." },
	{ "transport.kafka.topics", OPTION_LIST, KAFKA(topics), NULL, 0, 0, NULL, 0,
		"Topics that another program wrote, with `*` and `?`, which do not stand for a dot. By default `<prefix>.*.*`, as "
		"Debezium names them, `<prefix>` being its `topic.prefix`." },
	{ "transport.kafka.debezium.time_precision_mode", OPTION_ENUM, KAFKA(debezium.time), "adaptive", 0, 0,
		debezium_times, 0,
		"The connector's `time.precision.mode`. This one and those that follow have to be what the connector has where "
		"messages carry no schema; where they do, the schema counts." },
	{ "transport.kafka.debezium.decimal_handling_mode", OPTION_ENUM, KAFKA(debezium.decimal), "precise",
		0, 0, debezium_decimals, 0, "The connector's `decimal.handling.mode`." },
	{ "transport.kafka.debezium.binary_handling_mode", OPTION_ENUM, KAFKA(debezium.binary), "bytes", 0, 0,
		debezium_binaries, 0,
		"The connector's `binary.handling.mode`. No schema says it: it has to be right with schemas, too." },
	{ "transport.kafka.debezium.interval_handling_mode", OPTION_ENUM, KAFKA(debezium.interval), "numeric",
		0, 0, debezium_intervals, 0, "The connector's `interval.handling.mode`." },
	{ "transport.kafka.debezium.money_fraction_digits", OPTION_UINT32, KAFKA(debezium.money_digits), "2",
		0, 100, NULL, 0, "The connector's `money.fraction.digits`." },
	{ "transport.kafka.debezium.unavailable_value", OPTION_STRING, KAFKA(debezium.unavailable),
		"__debezium_unavailable_value", 0, 0, NULL, 0,
		"The text that the connector writes where a value was not sent (unchanged TOAST), if it is not its own default." },
	{ "transport.kafka.debezium.truncate", OPTION_ENUM, KAFKA(debezium.truncate), "apply", 0, 0,
		debezium_truncates, 0,
		"What happens with a TRUNCATE. Only in a topic with one partition it can be applied." },
	{ "transport.kafka.debezium.start", OPTION_ENUM, KAFKA(debezium.start), "whole", 0, 0,
		debezium_starts, 0,
		"Where to begin in a topic of which nothing was applied yet. `whole`: at its first message, and if that was deleted "
		"the applier ends with exit code 80; `oldest`: at the oldest message that is there." },
	{ "transport.kafka.properties", OPTION_MAP, KAFKA(properties), NULL, 0, 0, NULL, 0,
		"Properties for librdkafka, for producers and consumers, such as `security.protocol`. Those that would break a "
		"guarantee are refused." },
	{ "transport.kafka.producer_properties", OPTION_MAP, KAFKA(producer_properties), NULL, 0, 0, NULL, 0,
		"The same for producers alone, such as `compression.type`." },
	{ "transport.kafka.consumer_properties", OPTION_MAP, KAFKA(consumer_properties), NULL, 0, 0, NULL, 0,
		"The same for consumers alone." },
};

static const struct option snapshot_options[] = {
	{ "snapshot.mode", OPTION_ENUM, AT(snapshot.mode), "initial", 0, 0, snapshot_modes, 0,
		"`initial` copies the tables before following the changes; `none` copies nothing and follows the existing "
		"slot; `only` copies and ends." },
	{ "snapshot.schema", OPTION_ENUM, AT(snapshot.schema), "auto", 0, 0, snapshot_schemas, 0,
		"Who makes the target's tables. `create`: sluice, from the source's schema; `existing`: they are there; "
		"`auto`: sluice makes them when the target has none of them." },
	{ "snapshot.workers", OPTION_UINT32, AT(snapshot.workers), "4", 1, 64, NULL, 0,
		"Tables, or parts of large ones, that are copied at the same time. Each uses one connection on either "
		"side." },
	{ "snapshot.chunk", OPTION_SIZE, AT(snapshot.chunk_bytes), "128MiB", MIB, 1024 * GIB, NULL, 0,
		"Size of the parts into which large tables are cut. One part is one transaction." },
	{ "snapshot.slot_wait", OPTION_DURATION, AT(snapshot.slot_wait_ms), "10m", SECOND, 24 * HOUR, NULL, 0,
		"How long creating the slot may wait for older transactions on the source before it is given up, naming "
		"them." },
};

static const struct option apply_options[] = {
	{ "apply.on_error", OPTION_ENUM, AT(apply.on_error), "stop", 0, 0, on_errors, 0,
		"What happens with a change that cannot be applied: `stop` ends with exit code 65, `dead_letter` keeps it "
		"in `sluice.dead_letters` and goes on." },
	{ "apply.missing_row", OPTION_ENUM, AT(apply.missing_row), "stop", 0, 0, missing_rows, 0,
		"What happens with an UPDATE or DELETE that finds no row in the target." },
	{ "apply.conflict", OPTION_ENUM, AT(apply.conflict), "stop", 0, 0, conflicts, 0,
		"What happens with a row of the target that somebody else has written." },
	{ "apply.ddl", OPTION_ENUM, AT(apply.ddl), "additive", 0, 0, ddl_policies, 0,
		"What happens when the source gets a column that the target lacks. `additive` makes it, in the transaction of the "
		"first row that needs it, when the values of the rows that exist are known (README.md says for which change); what "
		"cannot be known, and with `stop` everything, stops with the exact ALTER TABLE; `ignore` goes on with the columns that "
		"both have, and raises an alarm. With Kafka the reader has to have `additive` too: it asks the source's catalog." },
};

static const struct option pipeline_options[] = {
	{ "name", OPTION_STRING, AT(name), NULL, 0, 0, NULL, OPTION_REQUIRED,
		"Name of the migration: 1 to 40 of a-z, 0-9 and _. It names the slot, the publication, the progress in the "
		"target, and the lease." },
	{ "on_fatal", OPTION_ENUM, AT(on_fatal), "exit", 0, 0, on_fatals, 0,
		"What the service does when it cannot go on: `exit` ends it with the error's exit code; `hold` closes the "
		"connections and keeps HTTP up in state `blocked` until it gets a signal." },
	{ "retry.base", OPTION_DURATION, AT(retry.base_ms), "100ms", 1, MINUTE, NULL, 0,
		"Upper bound of the first wait before another attempt. Every wait is random between 0 and its bound." },
	{ "retry.factor", OPTION_DOUBLE, AT(retry.factor), "2", 1, 10, NULL, 0,
		"By how much the bound grows with every failure in a row." },
	{ "retry.max", OPTION_DURATION, AT(retry.max_ms), "30s", 10, HOUR, NULL, 0,
		"The bound grows no further than this." },
	{ "retry.breaker.failures", OPTION_UINT32, AT(retry.breaker_failures), "20", 0, 1000000, NULL, 0,
		"After so many failures in a row there is a pause; 0: never." },
	{ "retry.breaker.pause", OPTION_DURATION, AT(retry.breaker_pause_ms), "1m", SECOND, 24 * HOUR, NULL,
		0, "How long that pause is." },
	{ "limits.batch_memory", OPTION_SIZE, AT(limits.batch_memory_bytes), "48MiB", 8 * MIB, 64 * GIB, NULL,
		0,
		"Memory for changes on their way from the source to the target. A transaction may be larger." },
	{ "limits.record", OPTION_SIZE, AT(limits.record_bytes), "64MiB", 64 * KIB, 1 * GIB, NULL, 0,
		"The largest row. A larger one cannot be applied: see `apply.on_error`." },
	{ "run.grace_period", OPTION_DURATION, AT(grace_ms), "25s", SECOND, HOUR, NULL, 0,
		"After SIGTERM: how long what was read may take to be applied before the process ends anyway (exit code "
		"143, nothing is lost). Keep it below the orchestrator's own limit, 30 s in Kubernetes." },
};

const struct option_table options_source = { "Source", source_options, N(source_options) };
const struct option_table options_target = { "Target", target_options, N(target_options) };
const struct option_table options_transport = { "Transport", transport_options, N(transport_options) };
const struct option_table options_kafka = { "Kafka", kafka_options, N(kafka_options) };
const struct option_table options_snapshot = { "Snapshot", snapshot_options, N(snapshot_options) };
const struct option_table options_apply = { "Applying", apply_options, N(apply_options) };
const struct option_table options_pipeline = { "Process", pipeline_options, N(pipeline_options) };
