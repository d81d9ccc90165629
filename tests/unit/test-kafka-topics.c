/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What is wrong with a topic, and the commands that cure it. Which of it stops a reader is decided by the exit code.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport/kafka/topics.h"

static char name[] = "shop", prefix[] = "my.shop", servers[] = "k'1:9092";
static char property[] = "message.max.bytes", value[] = "5000000";
static char *properties[] = { property }, *values[] = { value };

struct fixture {
	struct config cfg;
	struct topic_set set;
	struct topic_facts good;
	struct finding_list found;
};

static int set_up(void **state)
{
	static struct fixture fx;

	memset(&fx, 0, sizeof(fx));
	fx.cfg.name = name;
	fx.cfg.transport.type = TRANSPORT_KAFKA;
	fx.cfg.transport.kafka.prefix = prefix;
	fx.cfg.transport.kafka.bootstrap_servers = servers;
	fx.cfg.transport.kafka.replication_factor = -1;
	fx.cfg.transport.kafka.retention_ms = -1;
	fx.good = (struct topic_facts){
		.partitions = 1,
		.replicas = 3,
		.in_sync = 3,
		.known = true,
		.deletes = true,
		.retention_ms = -1,
		.retention_bytes = -1,
		.max_message_bytes = 1048588,
		.min_in_sync = 2,
	};
	topic_set(&fx.cfg, &fx.set);
	*state = &fx;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fx = *state;

	finding_list_fini(&fx->found);
	return 0;
}

/* the only finding about a topic, NULL = none */
static const struct finding *judge(
	struct fixture *fx, const struct kafka_topic *topic, const struct topic_facts *facts)
{
	finding_list_fini(&fx->found);
	topic_judge(&fx->cfg, topic, facts, &fx->found);
	assert_true(fx->found.n <= 1);
	return fx->found.n ? fx->found.items : NULL;
}

static void assert_finding(const struct finding *f, enum finding_level level, const char *code, int exit_code,
	const char *remedy)
{
	assert_non_null(f);
	assert_int_equal(f->level, level);
	assert_string_equal(f->code, code);
	assert_int_equal(f->exit_code, exit_code);
	if (remedy && !strstr(f->remedy, remedy))
		fail_msg("%s is not in %s", remedy, f->remedy);
}

static void test_good(void **state)
{
	struct fixture *fx = *state;
	struct topic_facts one = fx->good;

	assert_null(judge(fx, &fx->set.items[0], &fx->good));
	one.replicas = one.in_sync = 1;
	one.min_in_sync = 1;
	assert_null(judge(fx, &fx->set.items[0], &one));
	assert_string_equal(fx->set.items[0].name, "my.shop.changes");
	assert_false(fx->set.items[0].compact);
	for (size_t i = 0; i < fx->set.n; i++) {
		struct topic_facts facts = fx->good;

		facts.compacts = fx->set.items[i].compact;
		facts.deletes = !facts.compacts;
		assert_null(judge(fx, &fx->set.items[i], &facts));
	}
}

static void test_K20_forgets(void **state)
{
	struct fixture *fx = *state;
	const struct kafka_topic *changes = &fx->set.items[0], *schemas = &fx->set.items[1];
	struct topic_facts facts = fx->good;

	facts.compacts = true;
	facts.deletes = false;
	assert_finding(judge(fx, changes, &facts), FINDING_FAIL, "KAFKA-COMPACT", EXIT_CONFIG,
		"--entity-name my.shop.changes --add-config cleanup.policy=delete,retention.ms=-1");
	/* compact,delete is worse still on the one, and only right without an end on the other */
	facts.deletes = true;
	assert_finding(judge(fx, changes, &facts), FINDING_FAIL, "KAFKA-COMPACT", EXIT_CONFIG, NULL);
	assert_null(judge(fx, schemas, &facts));
	facts.retention_ms = 1000;
	assert_finding(judge(fx, schemas, &facts), FINDING_FAIL, "KAFKA-RETENTION", EXIT_CONFIG,
		"cleanup.policy=compact");
	facts.compacts = false;
	assert_finding(judge(fx, changes, &facts), FINDING_WARN, "KAFKA-RETENTION", 0, "retention.ms=-1");
	fx->cfg.transport.kafka.retention_ms = 1000;
	assert_null(judge(fx, changes, &facts));
	fx->cfg.transport.kafka.retention_ms = 1001;
	assert_finding(judge(fx, changes, &facts), FINDING_WARN, "KAFKA-RETENTION", 0, "retention.ms=1001");
	facts.retention_ms = -1;
	facts.retention_bytes = 5;
	assert_finding(judge(fx, changes, &facts), FINDING_WARN, "KAFKA-RETENTION", 0, "retention.bytes=-1");
}

static void test_replicas(void **state)
{
	struct fixture *fx = *state;
	const struct kafka_topic *changes = &fx->set.items[0];
	struct topic_facts facts = fx->good;

	facts.min_in_sync = 1;
	assert_finding(judge(fx, changes, &facts), FINDING_FAIL, "KAFKA-MIN-INSYNC", EXIT_CONFIG,
		"min.insync.replicas=2");
	facts.min_in_sync = 4;
	assert_finding(
		judge(fx, changes, &facts), FINDING_FAIL, "KAFKA-MIN-INSYNC", 0, "min.insync.replicas=2");
	facts.min_in_sync = 2;
	facts.in_sync = 1;
	assert_finding(judge(fx, changes, &facts), FINDING_WARN, "KAFKA-IN-SYNC", 0, NULL);
	facts.in_sync = 3;
	facts.unclean = true;
	assert_finding(judge(fx, changes, &facts), FINDING_WARN, "KAFKA-UNCLEAN", 0,
		"unclean.leader.election.enable=false");
	facts = fx->good;
	facts.known = false;
	facts.min_in_sync = 0;
	assert_null(judge(fx, changes, &facts));
}

static void test_K07_size(void **state)
{
	struct fixture *fx = *state;
	struct config_kafka *kafka = &fx->cfg.transport.kafka;

	assert_null(judge(fx, &fx->set.items[0], &fx->good));
	kafka->producer_properties = (struct property_list){ properties, values, 1 };
	assert_finding(judge(fx, &fx->set.items[0], &fx->good), FINDING_FAIL, "KAFKA-MESSAGE-SIZE", 0,
		"max.message.bytes=5000000");
}

static void test_K11_partitions(void **state)
{
	struct fixture *fx = *state;
	struct topic_facts facts = fx->good;

	facts.partitions = 2;
	assert_finding(
		judge(fx, &fx->set.items[0], &facts), FINDING_FAIL, "KAFKA-PARTITIONS", EXIT_CONFIG, "#");
}

static void assert_has(struct buf *buf, const char *what)
{
	if (!strstr(buf_str(buf), what))
		fail_msg("%s\nis not in\n%s", what, buf_str(buf));
}

static void test_commands(void **state)
{
	struct fixture *fx = *state;
	struct config_kafka *kafka = &fx->cfg.transport.kafka;
	_cleanup_(buf_freep) struct buf out = BUF_INIT;

	kafka->create_topics = true;
	transport_kafka_commands(&fx->cfg, NULL, NULL, 1, &out);
	/* quoted as a shell wants it */
	assert_has(&out,
		"kafka-topics.sh ${ADMIN_CONFIG:+--command-config \"$ADMIN_CONFIG\"} --bootstrap-server 'k'\\''1:9092' --create");
	assert_has(&out,
		"--topic my.shop.state --partitions 1 --config cleanup.policy=compact --config retention.ms=-1");
	assert_has(&out, "min.insync.replicas=1\n");
	assert_has(&out, "--operation Create --topic my.shop. --resource-pattern-type prefixed");
	assert_has(&out, "--operation Describe --group sluice-shop --group sluice-shop-notes\n");
	assert_null(strstr(buf_str(&out), "--replication-factor"));
	buf_clear(&out);
	kafka->create_topics = false;
	kafka->replication_factor = 3;
	kafka->retention_ms = 60000;
	transport_kafka_commands(&fx->cfg, NULL, NULL, 3, &out);
	assert_has(&out,
		"--topic my.shop.changes --partitions 1 --replication-factor 3 --config cleanup.policy=delete "
		"--config retention.ms=60000");
	assert_has(&out, "min.insync.replicas=2\n");
	assert_null(strstr(buf_str(&out), "--operation Create"));
}

/* letters, digits, what a topic may have beside them, and what it may not; the last is too long for a topic */
static const char *const odd[] = {
	"a", "A", "_", "__", "x", "_x", "_x5f_", "_x5f_x", "_x20_", "__x20_", " ", "  ", "a.b", "a_b", "a-b",
	"a b", "a\"b", "a'b", "\"; DROP TABLE y;--", "..", ".", "a.", ".a", "\xc3\xa4", "\xc3\x84",
	"a\xcc\x88", "\xe5\x90\x8d", "\xff", "\x01", "\n", "0", "x20", "_X20_", "_xc3_", "$", "a/b", "\\",
	"%s%n", "AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDEEEEEEEEEEFFFFFFFFFFGGG",
	"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg",
	"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
	"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
};
#define N_ODD (sizeof(odd) / sizeof(*odd))

static char topics[N_ODD * N_ODD][TOPIC_MAX];

static int compare_topics(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* no two tables have one topic, and each is one that Kafka takes and that is known as a table's */
static void test_E07_names_of_topics(void **state)
{
	char text[TOPIC_MAX];
	size_t n = 0;

	for (size_t i = 0; i < N_ODD; i++) {
		for (size_t k = 0; k < N_ODD; k++) {
			char *topic = topics[n++];

			topic_name("my-shop", odd[i], odd[k], topic);
			assert_true(strlen(topic) < TOPIC_MAX);
			assert_int_equal(
				strspn(topic,
					"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"),
				strlen(topic));
			assert_true(strlen(topic) > 240 || topic_is_tables("my-shop", topic));
			assert_false(topic_is_tables("my", topic));
		}
	}
	qsort(topics, n, TOPIC_MAX, compare_topics);
	for (size_t i = 1; i < n; i++)
		assert_string_not_equal(topics[i - 1], topics[i]);
	topic_name("shop", "public", "order lines", text);
	assert_string_equal(text, "shop.public.order_x20_lines");
	topic_name("shop", "a.b", "_x20_", text);
	assert_string_equal(text, "shop.a_x2e_b._x5f_x20_");
	assert_false(topic_is_tables("shop", "shop.changes"));
	assert_false(topic_is_tables("shop", "shop.public.t.more"));
	assert_false(topic_is_tables("shop", "shopping.public.t"));
	assert_false(topic_is_tables("shop", "shop..t"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_K20_forgets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replicas, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_K07_size, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_K11_partitions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_commands, set_up, tear_down),
		cmocka_unit_test(test_E07_names_of_topics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
