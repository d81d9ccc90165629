# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Three brokers: leaders move, replicas are missing."""

import pytest

from compare import assert_same
from kafka import Brokers
from wait import wait_until


@pytest.fixture(scope="module")
def brokers():
    made = Brokers(**{"default.replication.factor": 1})
    yield made
    made.destroy()


@pytest.fixture
def halves(make, brokers, number):
    def factory(**kafka):
        config = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": brokers.bootstrap, **kafka}}}
        return make(config, name=f"b{number}", verb="reader"), make(config, name=f"b{number}", verb="applier")

    return factory


def wait_known(brokers, topic):
    wait_until(lambda: all(topic in n.admin.list_topics(timeout=5).topics for n in brokers.nodes), 60, "every node knows it")


def test_default_of_one_replica_stays_writable(blue, green, halves, brokers, number):
    blue.sql("create table t(id int primary key)", "insert into t values (1)")
    reader, _ = halves()
    reader.until_synced()
    assert len(brokers.partition(f"b{number}.changes").replicas) == 1
    assert brokers.nodes[0].config(f"b{number}.changes")["min.insync.replicas"] == "1"


def test_min_insync_replicas_is_demanded(blue, green, halves, brokers, number):
    blue.sql("create table t(id int primary key)")
    brokers.nodes[0].create(f"b{number}.changes", replicas=3, retention_ms=-1, min_insync_replicas=1)
    wait_known(brokers, f"b{number}.changes")
    reader, _ = halves(replication_factor=3)
    found = reader.command("check")
    assert found.returncode == 1 and "KAFKA-MIN-INSYNC" in found.stdout
    assert reader.start().wait_exit(60) == 78
    assert "KAFKA-MIN-INSYNC" in reader.log()
    lines = reader.command("check", "--print", "kafka").stdout.splitlines()
    command = next(line for line in lines if line.startswith("kafka-configs.sh"))
    assert brokers.nodes[0].run_script(command).returncode == 0
    # each node learns of it in its own time
    wait_until(lambda: all(n.config(f"b{number}.changes")["min.insync.replicas"] == "2" for n in brokers.nodes), 30, "it is 2")
    reader.until_synced()


def test_K05_leaders_die_one_after_the_other(blue, green, halves, brokers, number):
    blue.sql("create table t(id int primary key, v int)", "insert into t select g, 0 from generate_series(1, 500) g")
    changes = f"b{number}.changes"
    reader, applier = halves(replication_factor=3)
    reader.start()
    wait_known(brokers, changes)
    applier.start()
    applier.wait_synced()
    assert brokers.nodes[0].config(changes)["min.insync.replicas"] == "2"
    for i in range(3):
        brokers.wait_in_sync(changes, 3)
        gone = brokers.leader(changes)
        for j in range(20):
            blue.sql(f"update t set v = v + 1 where id % 20 = {j}")
            if j == 10:
                gone.kill9()
        blue.sql(f"insert into t values ({1000 + i}, {i})")
        applier.wait_applied(120)
        assert brokers.leader(changes).node != gone.node
        gone.start()
    assert_same(blue, green)
    assert reader.stop() == 0 and applier.stop() == 0
    # the cluster is for the next test, too: whole, with the group's own topic
    for topic in (changes, "__consumer_offsets"):
        brokers.wait_in_sync(topic, 3)


def test_K06_nothing_is_confirmed_while_replicas_are_missing(blue, green, halves, brokers, number):
    blue.sql("create table t(id int primary key, v int)", "insert into t values (1, 0)")
    changes = f"b{number}.changes"
    reader, applier = halves(replication_factor=3)
    reader.start()
    wait_known(brokers, changes)
    applier.start()
    applier.wait_synced()
    brokers.wait_in_sync(changes, 3)
    leader = brokers.leader(changes)
    # two of three controllers stay awake, so that the cluster itself lives: the third replica is a paused node
    others = [node for node in brokers.nodes if node is not leader]
    leader.run_script(f"kafka-configs.sh --bootstrap-server {leader.bootstrap} --alter --entity-type topics "
                      f"--entity-name {changes} --add-config min.insync.replicas=3")
    others[0].kill9()
    brokers.wait_in_sync(changes, 2)
    blue.sql("update t set v = 1")
    written = blue.one("select pg_current_wal_lsn()")
    # no ack comes, of this or of what was sent before it: neither applied nor confirmed
    wait_until(lambda: (reader.status() or {"lag": {}})["lag"].get("bytes"), 60, "the reader is behind")
    for _ in range(50):
        reader.status()
        assert not blue.one("select confirmed_flush_lsn >= %s from pg_replication_slots where slot_name = %s",
                            (written, reader.slot))
    others[0].start()
    applier.wait_applied(120)
    assert_same(blue, green)
