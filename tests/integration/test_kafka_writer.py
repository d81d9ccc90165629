# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The reader's half: how it takes a log over, what it leaves in it when it is killed, and what a broker may refuse."""

import signal
import threading

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from compare import assert_same
from kafka import in_order
from wait import wait_until

NONE = "0" * 32


@pytest.fixture
def halves(make, kafka_broker, number):
    """Makes `reader` and `applier` of one stream; further readers of the same name take it over."""
    def factory(verb, **kafka):
        settings = {"bootstrap_servers": kafka_broker.bootstrap, "prefix": f"w{number}", **kafka}
        return make({"transport": {"type": "kafka", "kafka": settings}}, name=f"w{number}", verb=verb)
    return factory


@pytest.fixture
def load(blue):
    """Transactions of one to 300 rows, until load.end()."""
    stop = threading.Event()
    blue.sql("create table t(id bigint primary key, v int, w text)",
             "insert into t select g, 0, repeat('x', 50) from generate_series(1, 500) g")

    def work():
        with blue.connect() as c:
            i = 1000
            while not stop.wait(0.002):
                i += 1
                with c.transaction():
                    c.execute("insert into t values (%s, 1, repeat('y', %s))", (i, i % 300))
                    c.execute("update t set v = v + 1 where id between %s and %s", (i % 500, i % 500 + i % 3 * 100))
                    if i % 5 == 0:
                        c.execute("delete from t where id = %s", (i - 3,))

    thread = threading.Thread(target=work)

    def end():
        stop.set()
        if thread.is_alive():
            thread.join()

    thread.end = end
    yield thread
    end()


def assert_chain(broker, number):
    """Every record that counts follows from the one before it; no transaction is torn or stands twice."""
    last, ended = NONE, set()
    for offset, _, _, headers in in_order(broker.messages(f"w{number}.changes")):
        if "sluice.position" not in headers:
            continue
        assert headers["sluice.prev"] == last, f"offset {offset}: {headers}, the last position is {last}"
        position = headers["sluice.position"]
        if headers["sluice.op"] == "C":
            assert position not in ended, f"offset {offset}: {position} ended before"
            ended.add(position)
        elif headers["sluice.op"] in "IUDTB":
            assert position > last or (last[:16] == position[:16]), f"offset {offset}"
        last = position
    return len(ended)


def settle(blue, green, reader, applier, load):
    load.end()
    applier.alive()
    reader.alive()
    applier.wait_applied()
    assert_same(blue, green)


POINTS = ["transport.kafka.writer", "transport.kafka.fenced", "transport.kafka.tail", "transport.kafka.continued",
          "transport.kafka.state@1", "transport.kafka.taken", "transport.kafka.relation", "transport.kafka.produce@40",
          "pipeline.reader.send", "pipeline.reader.confirm"]


@pytest.mark.timeout(300)
def test_every_step_of_taking_over_may_be_the_last(blue, green, halves, load, kafka_broker, number):
    reader, applier = halves("reader"), halves("applier")
    reader.start()
    applier.start()
    applier.wait_synced()
    load.start()
    for point in POINTS:
        reader.kill9()
        name, _, hit = point.partition("@")
        reader.start(env={"SLUICE_FAULT": f"{name}:abort@{hit or 1}"})
        assert reader.wait_exit(60) == -9, point
        reader.start(env={"SLUICE_FAULT": f"{name}:error@{hit or 1}"})
        reader.wait_status(lambda s: s["errors"]["last"] and s["state"]["name"] == "running", point)
    settle(blue, green, reader, applier, load)
    assert assert_chain(kafka_broker, number) > 100


@pytest.mark.parametrize("point", ["transport.kafka.fenced", "transport.kafka.continued"])
def test_K29_a_stopped_reader_wakes_behind_the_fence_of_a_dead_one(blue, green, halves, load, kafka_broker, number, point):
    first, applier = halves("reader"), halves("applier")
    first.start()
    applier.start()
    applier.wait_synced()
    load.start()
    wait_until(lambda: kafka_broker.ends(f"w{number}.changes")[1] > 2000, 60, "the log grows")
    first.signal(signal.SIGSTOP)
    blue.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_w{number}/%'")
    second = halves("reader").start(env={"SLUICE_FAULT": f"{point}:abort"})
    assert second.wait_exit(60) == -9
    before = kafka_broker.ends(f"w{number}.changes")[1]
    first.signal(signal.SIGCONT)
    # its connections are gone: it begins anew, as any reader would, after what was in its queue
    wait_until(lambda: kafka_broker.ends(f"w{number}.changes")[1] > before, 60, "the first one writes again")
    first.kill9()
    third = halves("reader").start()
    settle(blue, green, third, applier, load)
    assert_chain(kafka_broker, number)


def limit(broker, number, size):
    resource = ConfigResource(ResourceType.TOPIC, f"w{number}.changes", incremental_configs=[
        ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)])
    broker.admin.incremental_alter_configs([resource])[resource].result(30)


def test_K07_a_broker_that_takes_less_than_the_client(blue, green, halves, kafka_broker, number):
    blue.sql("create table t(id bigint primary key, w text)", "insert into t values (1, 'small')")
    reader, applier = halves("reader"), halves("applier")
    reader.start()
    applier.start()
    applier.wait_synced()

    limit(kafka_broker, number, 20000)
    with blue.connect() as c:
        for i in range(500):
            c.execute("insert into t values (%s, 'small')", (100 + i,))
            if i == 250:
                c.execute("insert into t select 7, string_agg(md5(g::text), '') from generate_series(1, 2000) g")
    assert reader.wait_exit(60) == 65
    assert "max.message.bytes" in reader.log() and "public.t" in reader.log()
    limit(kafka_broker, number, 1048588)
    reader.start()
    applier.wait_applied()
    assert_same(blue, green)
    assert_chain(kafka_broker, number)


def test_K08_a_record_that_the_client_does_not_send(blue, green, halves, kafka_broker, number):
    blue.sql("create table t(id bigint primary key, w text)", "insert into t values (1, 'small')")
    reader, applier = halves("reader"), halves("applier")
    reader.start()
    applier.start()
    applier.wait_synced()
    blue.sql("insert into t values (2, repeat('secret-', 300000))")
    assert reader.wait_exit(60) == 65
    log = reader.log()
    assert "KAFKA-MSG-SIZE-TOO" in log and "public.t, position" in log and "message.max.bytes" in log
    assert "secret-" not in log
    assert applier.running
    # allowed, and larger than what may wait in the reader otherwise
    limit(kafka_broker, number, 64 << 20)
    reader = halves("reader", producer_properties={"message.max.bytes": 48 << 20})
    reader.start()
    applier.wait_applied()
    blue.sql("insert into t select 3, string_agg(md5(g::text), '') from generate_series(1, 1100000) g")
    applier.wait_applied()
    assert_same(blue, green)
    assert_chain(kafka_broker, number)


def test_two_readers_one_log(blue, green, halves, load, kafka_broker, number):
    first, second, applier = halves("reader"), halves("reader"), halves("applier")
    first.start()
    applier.start()
    applier.wait_synced()
    load.start()
    second.start()
    second.wait_state("standby")
    for _ in range(3):
        first.kill9()
        second.wait_state("running")
        first, second = second, first.start()
    settle(blue, green, first, applier, load)
    assert_chain(kafka_broker, number)
