/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * What is wrong with a topic, and the commands that cure it. Which of it stops a reader is decided by the exit code.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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
	transport_kafka_commands(&fx->cfg, NULL, 1, &out);
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
	transport_kafka_commands(&fx->cfg, NULL, 3, &out);
	assert_has(&out,
		"--topic my.shop.changes --partitions 1 --replication-factor 3 --config cleanup.policy=delete "
		"--config retention.ms=60000");
	assert_has(&out, "min.insync.replicas=2\n");
	assert_null(strstr(buf_str(&out), "--operation Create"));
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
