/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Loading a config: what each origin gives, and that everything that is wrong is said at once, in its place,
 * without a secret.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sluice/config_load.h>
#include <sluice/debezium.h>

#define BASE                                                                                                 \
	"name: shop\nsource: {uri: 'postgresql://u:geheim@blue/shop'}\ntarget: {uri: 'host=green password=geheim'}\n"

struct fixture {
	char path[64];
	struct config *cfg;
	struct config_report report;
	unsigned without;
};

static int set_up(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	int fd;

	snprintf(fx->path, sizeof(fx->path), "/tmp/sluice-config-XXXXXX");
	fd = mkstemp(fx->path);
	assert_true(fd >= 0);
	close(fd);
	*state = fx;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fx = *state;

	config_free(fx->cfg);
	config_report_fini(&fx->report);
	unlink(fx->path);
	free(fx);
	return 0;
}

/* loads a text as a file; the name of the file is cut from the errors */
static int load(struct fixture *fx, const char *text, const char *const *sets, size_t n_sets)
{
	struct config_request req = {
		.path = fx->path, .sets = sets, .n_sets = n_sets, .without = fx->without
	};
	FILE *file = fopen(fx->path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	config_report_fini(&fx->report);
	fx->cfg = config_free(fx->cfg);
	return config_load(&req, &fx->cfg, &fx->report);
}

static void assert_error(struct fixture *fx, const char *text, const char *expected)
{
	char want[512];

	assert_int_equal(load(fx, text, NULL, 0), -1);
	snprintf(want, sizeof(want), "%s%s", *expected == ':' ? fx->path : "", expected);
	if (!strstr(buf_str(&fx->report.errors), want))
		fail_msg("%s\nis not in\n%s", want, buf_str(&fx->report.errors));
}

static void test_defaults(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(load(fx, BASE, NULL, 0), 0);
	assert_string_equal(fx->cfg->name, "shop");
	assert_int_equal(fx->cfg->source.type, PEER_POSTGRESQL);
	assert_int_equal(fx->cfg->target.type, PEER_POSTGRESQL);
	assert_string_equal(fx->cfg->source.postgresql.slot, "sluice_shop");
	assert_string_equal(fx->cfg->source.postgresql.publication, "sluice_shop");
	assert_string_equal(fx->cfg->source.user, "");
	assert_int_equal(fx->cfg->source.include.n, 0);
	assert_int_equal(fx->cfg->snapshot.workers, 4);
	assert_int_equal(fx->cfg->snapshot.chunk_bytes, 128 << 20);
	assert_int_equal(fx->cfg->snapshot.slot_wait_ms, 600000);
	assert_int_equal(fx->cfg->apply.conflict, CONFLICT_STOP);
	assert_int_equal(fx->cfg->retry.base_ms, 100);
	assert_true(fx->cfg->retry.factor > 1.99 && fx->cfg->retry.factor < 2.01);
	assert_int_equal(fx->cfg->retry.breaker_failures, 20);
	assert_int_equal(fx->cfg->limits.batch_memory_bytes, 48 << 20);
	assert_int_equal(fx->cfg->cutover.max_lag_ms, 1000);
	assert_true(fx->cfg->cutover.verify);
	assert_int_equal(fx->cfg->cutover.fence.method, FENCE_NONE);
	assert_string_equal(fx->cfg->http.listen, "127.0.0.1:8620");
	assert_int_equal(fx->cfg->log.level, LOG_INFO);
	assert_int_equal(fx->cfg->grace_ms, 25000);
}

static void test_file(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(load(fx,
				 BASE "snapshot: {mode: only, workers: 8, chunk: 2GiB}\n"
				      "apply:\n  on_error: dead_letter\n  ddl: \"ignore\"\n"
				      "on_fatal: hold\nretry: {factor: 1.5, max: 1m30s}\ntransforms: []\n"
				      "cutover: {fence: {method: hook, roles: [app, 'b']},"
				      " hooks: {fence: {argv: [./f, x], timeout: 3s}}, reverse: false}\n"
				      "log:\n",
				 NULL, 0),
		0);
	assert_int_equal(fx->cfg->snapshot.mode, SNAPSHOT_ONLY);
	assert_int_equal(fx->cfg->snapshot.workers, 8);
	assert_int_equal(fx->cfg->snapshot.chunk_bytes, 2ull << 30);
	assert_int_equal(fx->cfg->apply.on_error, ON_ERROR_DEAD_LETTER);
	assert_int_equal(fx->cfg->apply.ddl, DDL_IGNORE);
	assert_int_equal(fx->cfg->on_fatal, ON_FATAL_HOLD);
	assert_int_equal(fx->cfg->retry.max_ms, 90000);
	assert_int_equal(fx->cfg->cutover.fence.method, FENCE_HOOK);
	assert_int_equal(fx->cfg->cutover.fence.roles.n, 2);
	assert_string_equal(fx->cfg->cutover.fence.roles.items[1], "b");
	assert_string_equal(fx->cfg->cutover.hook_fence.argv.items[0], "./f");
	assert_int_equal(fx->cfg->cutover.hook_fence.timeout_ms, 3000);
	assert_int_equal(fx->cfg->cutover.hook_switch.timeout_ms, 10000);
	assert_false(fx->cfg->cutover.reverse);
}

static void test_all_errors_at_once(void **state)
{
	struct fixture *fx = *state;
	const char *text = "name: Shop\n"
			   "source:\n"
			   "  uri: ${SLUICE_TEST_MISSING}\n"
			   "  postgresql: {slott: a}\n"
			   "target: {uri: x://u:geheim@h}\n"
			   "snapshot: {workers: 65}\n"
			   "log: {level: loud}\n";

	assert_error(fx, text, ":1:7: name: must be 1 to 40 of a-z, 0-9 and _\n");
	assert_error(fx, text, ":3:8: source.uri: the variable SLUICE_TEST_MISSING is not set\n");
	assert_error(fx, text,
		":4:16: unknown key source.postgresql.slott, did you mean source.postgresql.slot?\n");
	assert_error(fx, text, ":5:15: target.uri is neither");
	assert_error(fx, text, ":6:21: snapshot.workers: \"65\" must be from 1 to 64\n");
	assert_error(fx, text, ":7:14: log.level: \"loud\" must be one of debug, info, warn, error\n");
	assert_int_equal(fx->report.n_errors, 6);
	assert_null(strstr(buf_str(&fx->report.errors), "geheim"));
}

static void test_wrong_types(void **state)
{
	struct fixture *fx = *state;

	assert_error(
		fx, BASE "snapshot: {workers: [1]}\n", ":4:21: snapshot.workers needs one value, not a list");
	assert_error(fx, BASE "snapshot: {workers: -1}\n", ":4:21: snapshot.workers: \"-1\" must be a whole");
	assert_error(fx, BASE "snapshot: {workers: 4.5}\n", "must be a whole number");
	assert_error(fx, BASE "snapshot: {workers: }\n", "snapshot.workers has no value");
	assert_error(fx, BASE "snapshot: 4\n", ":4:1: snapshot is a section");
	assert_error(fx, BASE "snapshot: {chunk: 128MB}\n", "must be a size");
	assert_error(fx, BASE "snapshot: {slot_wait: 10}\n", "must be a duration");
	assert_error(fx, BASE "cutover: {verify: yes}\n", "cutover.verify: \"yes\" must be true or false");
	assert_error(fx, BASE "log: {level: info}\nlog: {format: json}\n",
		":5:1: log is given twice, first in line 4");
	assert_error(fx, BASE "- x\n", "not valid YAML");
	assert_error(fx, "[a]\n", ":1:1: the file needs to hold keys");
	assert_error(fx, BASE "---\nname: b\n", ":5:1: the file needs to hold one document only");
	assert_error(fx, BASE "&a log: &b {*a : *b}\n", "");
	assert_error(fx, "name: \xff\n", "not valid UTF-8");
}

static void test_later_versions(void **state)
{
	struct fixture *fx = *state;

	assert_error(fx, BASE "transforms: [{rename: a}]\n", ":4:1: transforms is not supported");
	assert_error(fx, "name: a\nsource: {uri: 'mongodb://h/d'}\ntarget: {type: discard}\n",
		":2:15: source.uri: mongodb is not supported");
	assert_error(fx, "name: a\nsource: {uri: 'host=h'}\ntarget: {type: mongodb}\n",
		":3:16: target.type mongodb is not supported");
}

static void test_interpolation(void **state)
{
	struct fixture *fx = *state;
	char secret[] = "/tmp/sluice-secret-XXXXXX", text[512];
	int fd = mkstemp(secret);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "ge${heim}\r\n", 11), 11);
	close(fd);
	setenv("SLUICE_TEST_A", "wert: [1", 1);
	setenv("SLUICE_TEST_EMPTY", "", 1);
	snprintf(text, sizeof(text),
		"name: ${SLUICE_TEST_EMPTY:-shop}\n"
		"source: {uri: 'host=a', password: '${file:%s}', user: '<${SLUICE_TEST_A}>$${x}$'}\n"
		"target: {uri: 'host=b', user: 'x${SLUICE_TEST_EMPTY}y'}\n",
		secret);
	assert_int_equal(load(fx, text, NULL, 0), 0);
	assert_string_equal(fx->cfg->name, "shop");
	assert_string_equal(fx->cfg->source.password, "ge${heim}");
	assert_string_equal(fx->cfg->source.user, "<wert: [1>${x}$");
	assert_string_equal(fx->cfg->target.user, "xy");
	unlink(secret);
	assert_error(fx, text, ":2:35: source.password: file /tmp/sluice-secret-");
	assert_error(fx, BASE "on_fatal: ${x\n", "${ without }");
	assert_error(fx, BASE "on_fatal: ${a b}\n", "${…} holds neither");
	unsetenv("SLUICE_TEST_A");
	unsetenv("SLUICE_TEST_EMPTY");
}

static void test_precedence(void **state)
{
	static const char *const sets[] = { "snapshot.workers=7", "source.include=public.*, app.o?" };
	struct fixture *fx = *state;

	setenv("SLUICE_SNAPSHOT_WORKERS", "6", 1);
	setenv("SLUICE_SNAPSHOT_CHUNK", "1MiB", 1);
	setenv("SLUICE_LOG_LEVEL", "", 1);
	setenv("SLUICE_SOURCE_PASSWORD", "a${b", 1);
	assert_int_equal(load(fx, BASE "snapshot: {workers: 5, chunk: 2MiB, slot_wait: 1m}\n", sets, 2), 0);
	assert_int_equal(fx->cfg->snapshot.workers, 7);
	assert_int_equal(fx->cfg->snapshot.chunk_bytes, 1 << 20);
	assert_int_equal(fx->cfg->snapshot.slot_wait_ms, 60000);
	assert_int_equal(fx->cfg->log.level, LOG_INFO);
	assert_string_equal(fx->cfg->source.password, "a${b");
	assert_int_equal(fx->cfg->source.include.n, 2);
	assert_string_equal(fx->cfg->source.include.items[1], "app.o?");
	setenv("SLUICE_SNAPSHOT_WORKERS", "many", 1);
	assert_int_equal(load(fx, BASE, NULL, 0), -1);
	assert_string_equal(buf_str(&fx->report.errors),
		"SLUICE_SNAPSHOT_WORKERS: snapshot.workers: \"many\" must be a whole number\n");
	unsetenv("SLUICE_SNAPSHOT_WORKERS");
	unsetenv("SLUICE_SNAPSHOT_CHUNK");
	unsetenv("SLUICE_LOG_LEVEL");
	unsetenv("SLUICE_SOURCE_PASSWORD");
}

static void test_set_refused(void **state)
{
	static const char *const sets[] = { "target.uri=postgres://u:geheim@h", "http.token=geheim",
		"snapshot.worker=1", "snapshot=1", "nonsense" };
	struct fixture *fx = *state;

	assert_int_equal(load(fx, BASE, sets, 5), -1);
	assert_int_equal(fx->report.n_errors, 5);
	assert_non_null(strstr(buf_str(&fx->report.errors), "--set target.uri: target.uri is a secret"));
	assert_non_null(strstr(buf_str(&fx->report.errors), "use SLUICE_TARGET_URI"));
	assert_non_null(strstr(buf_str(&fx->report.errors), "did you mean snapshot.workers?"));
	assert_non_null(strstr(buf_str(&fx->report.errors), "snapshot is a section"));
	assert_null(strstr(buf_str(&fx->report.errors), "geheim"));
}

static void test_without_file(void **state)
{
	struct fixture *fx = *state;
	struct config_request req = { .path = "" };

	setenv("SLUICE_NAME", "shop", 1);
	setenv("SLUICE_SOURCE_URI", "postgres://blue/shop", 1);
	setenv("SLUICE_TARGET_TYPE", "discard", 1);
	setenv("SLUICE_SERVICE_HOST", "10.0.0.1", 1);
	setenv("SLUICE_LOG_LEVL", "warn", 1);
	assert_int_equal(config_load(&req, &fx->cfg, &fx->report), 0);
	assert_string_equal(fx->cfg->path, "");
	assert_int_equal(fx->cfg->target.type, PEER_DISCARD);
	assert_string_equal(buf_str(&fx->report.warnings),
		"SLUICE_LOG_LEVL: not a setting, did you mean SLUICE_LOG_LEVEL?\n");
	unsetenv("SLUICE_NAME");
	unsetenv("SLUICE_SOURCE_URI");
	unsetenv("SLUICE_TARGET_TYPE");
	unsetenv("SLUICE_SERVICE_HOST");
	unsetenv("SLUICE_LOG_LEVL");
}

static void test_required(void **state)
{
	struct fixture *fx = *state;

	assert_error(fx, "# nothing\n", ": name is required");
	assert_int_equal(fx->report.n_errors, 3);
	assert_error(fx, "name: ''\n", ":1:7: name is empty");
	assert_error(fx, BASE "source.x: 1\n", ":4:1: unknown key source.x");
	assert_error(fx, "name: a\nsource: {type: generator, uri: 'host=a'}\ntarget: {type: discard}\n",
		"source.uri has no meaning with source.type generator");
	assert_int_equal(
		load(fx, "name: a\nsource: {type: generator}\ntarget: {type: discard}\n", NULL, 0), 0);
	assert_int_equal(fx->cfg->source.type, PEER_GENERATOR);
}

static void test_selected(void **state)
{
	char *includes[] = { (char[]){ "public.*" }, (char[]){ "app.o?ders" } };
	char *excludes[] = { (char[]){ "public.audit_*" }, (char[]){ "*.tmp" } };
	struct config_source src = { 0 };

	assert_true(config_table_selected(&src, "public", "orders"));
	assert_true(config_table_selected(&src, "Other", "weird.name"));
	assert_false(config_table_selected(&src, "pg_catalog", "pg_class"));
	assert_false(config_table_selected(&src, "pg_toast_temp_3", "t"));
	assert_false(config_table_selected(&src, "information_schema", "tables"));
	assert_false(config_table_selected(&src, "sluice", "progress"));
	src.include = (struct string_list){ includes, 2 };
	assert_true(config_table_selected(&src, "public", "orders"));
	assert_true(config_table_selected(&src, "app", "orders"));
	assert_true(config_table_selected(&src, "app", "oäders"));
	assert_false(config_table_selected(&src, "app", "oders"));
	assert_false(config_table_selected(&src, "app", "customers"));
	assert_false(config_table_selected(&src, "publicx", "orders"));
	src.exclude = (struct string_list){ excludes, 2 };
	assert_false(config_table_selected(&src, "public", "audit_2026"));
	assert_true(config_table_selected(&src, "public", "audit"));
	assert_false(config_table_selected(&src, "public", "tmp"));
	includes[0] = (char[]){ "*.*" };
	assert_false(config_table_selected(&src, "pg_catalog", "pg_class"));
	includes[0] = (char[]){ "*a*a*a*a*a*b" };
	assert_false(config_table_selected(&src, "aaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

#define KAFKA BASE "transport:\n  type: kafka\n  kafka:\n    bootstrap_servers: k:9092\n"

static const char *property(const struct property_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->n; i++) {
		if (!strcmp(list->names[i], name))
			return list->values[i];
	}
	return NULL;
}

static void test_kafka(void **state)
{
	static const char *const sets[] = { "transport.kafka.properties.compression.type=zstd",
		"transport.kafka.producer_properties.linger.ms=7" };
	struct fixture *fx = *state;
	struct config_kafka *kafka;

	assert_int_equal(load(fx, KAFKA, NULL, 0), 0);
	kafka = &fx->cfg->transport.kafka;
	assert_int_equal(fx->cfg->transport.type, TRANSPORT_KAFKA);
	assert_string_equal(kafka->prefix, "shop");
	assert_int_equal(kafka->layout, LAYOUT_STREAM);
	assert_int_equal(kafka->replication_factor, -1);
	assert_true(kafka->create_topics);
	assert_true(kafka->retention_ms < 0);
	setenv("WORD", "geheim", 1);
	assert_int_equal(
		load(fx,
			KAFKA
			"    prefix: my.shop\n    replication_factor: 3\n    retention: 7d\n    format: binary\n"
			"    properties: {compression.type: lz4, sasl.password: '${WORD}'}\n",
			sets, 2),
		0);
	kafka = &fx->cfg->transport.kafka;
	assert_string_equal(kafka->prefix, "my.shop");
	assert_int_equal(kafka->replication_factor, 3);
	assert_int_equal(kafka->retention_ms, 7 * 86400000LL);
	assert_int_equal(kafka->format, KAFKA_BINARY);
	assert_string_equal(property(&kafka->properties, "compression.type"), "zstd");
	assert_string_equal(property(&kafka->properties, "sasl.password"), "geheim");
	assert_string_equal(property(&kafka->producer_properties, "linger.ms"), "7");
	assert_int_equal(
		load(fx,
			"name: shop\ntarget: {uri: 'postgresql://g/d'}\ntransport:\n  type: kafka\n  kafka:\n"
			"    bootstrap_servers: k:9092\n    events: debezium\n    topics: [a.b.*]\n"
			"    debezium: {binary_handling_mode: base64-url-safe, start: oldest}\n",
			NULL, 0),
		0);
	kafka = &fx->cfg->transport.kafka;
	assert_true(config_reads_foreign(fx->cfg));
	assert_int_equal(kafka->topics.n, 1);
	assert_int_equal(kafka->debezium.binary, DEBEZIUM_BINARY_BASE64_URL_SAFE);
	assert_int_equal(kafka->debezium.start, DEBEZIUM_START_OLDEST);
	assert_int_equal(kafka->debezium.money_digits, 2);
	assert_string_equal(kafka->debezium.unavailable, "__debezium_unavailable_value");
}

static void test_kafka_refused(void **state)
{
	static const char *const secret[] = { "transport.kafka.properties.sasl.password=geheim" };
	static const char *const guarantees[] = { "acks", "enable.idempotence", "transactional.id",
		"auto.offset.reset", "enable.auto.commit", "delivery.report.only.error", "isolation.level",
		"group.id", "client.id", "check.crcs", "delivery.timeout.ms", "partitioner",
		"queuing.strategy", "max.in.flight.requests.per.connection", "message.send.max.retries" };
	struct fixture *fx = *state;
	char text[512], want[128];

	assert_error(fx, BASE "transport: {type: kafka}\n", "transport.kafka.bootstrap_servers is required");
	for (size_t i = 0; i < sizeof(guarantees) / sizeof(guarantees[0]); i++) {
		snprintf(text, sizeof(text), KAFKA "    properties: {%s: geheim}\n", guarantees[i]);
		snprintf(want, sizeof(want),
			":8:18: transport.kafka.properties: %s may not be set: ", guarantees[i]);
		assert_error(fx, text, want);
		assert_null(strstr(buf_str(&fx->report.errors), "geheim"));
	}
	assert_error(fx, KAFKA "    properties: {no.such: 1}\n",
		"no.such is not a property that librdkafka knows");
	assert_error(fx, KAFKA "    properties: {linger.ms: geheim}\n",
		"linger.ms has a value that librdkafka does not accept");
	assert_null(strstr(buf_str(&fx->report.errors), "geheim"));
	assert_error(fx, KAFKA "    producer_properties: {message.max.bytes: 67108865}\n",
		"message.max.bytes may be at most 67108864");
	assert_error(fx, KAFKA "    properties: [linger.ms]\n",
		"transport.kafka.properties needs names and values");
	assert_error(fx, KAFKA "    retention: seven\n", "transport.kafka.retention: must be unlimited or");
	assert_error(fx, KAFKA "    prefix: a/b\n", "transport.kafka.prefix: must be");
	assert_int_equal(load(fx, KAFKA, secret, 1), -1);
	assert_non_null(strstr(buf_str(&fx->report.errors), "sasl.password is a secret"));
	assert_null(strstr(buf_str(&fx->report.errors), "geheim"));
}

/* a half of the service does not need the other half's database; without Kafka there are no halves */
static void test_kafka_halves(void **state)
{
	static const char applier[] = "name: shop\ntarget: {uri: 'host=green'}\n"
				      "transport: {type: kafka, kafka: {bootstrap_servers: 'k:9092'}}\n";
	struct fixture *fx = *state;

	assert_error(fx, applier, "source.uri is required");
	fx->without = CONFIG_WITHOUT_TARGET;
	assert_error(fx, applier, "source.uri is required");
	fx->without = CONFIG_WITHOUT_SOURCE;
	assert_int_equal(load(fx, applier, NULL, 0), 0);
	assert_string_equal(fx->cfg->source.uri, "");
	assert_error(fx, "name: shop\ntarget: {uri: 'host=green'}\n", "source.uri is required");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_errors_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_types, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_later_versions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_interpolation, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_precedence, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_set_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_required, set_up, tear_down),
		cmocka_unit_test(test_selected),
		cmocka_unit_test_setup_teardown(test_kafka, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kafka_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kafka_halves, set_up, tear_down),
	};

	clearenv(); /* the caller's SLUICE_ variables would count */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
