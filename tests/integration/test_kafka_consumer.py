# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""What an applier takes from the log and what it refuses, with a real broker: rows K16 to K27 of the fault matrix."""

import signal

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from compare import assert_same
from wait import wait_until

KV = "create table t(id bigserial primary key, v int, w text)"
PUT = "insert into t(v, w) select g, md5(g::text) from generate_series(1, 200) g"


@pytest.fixture
def halves(make, number, kafka_broker):
    """halves(verb) makes a reader or an applier of one stream."""

    def factory(verb, config=None):
        base = {"transport": {"type": "kafka", "kafka": {
            "bootstrap_servers": kafka_broker.bootstrap, "prefix": f"p{number}"}}}
        return make({**base, **(config or {})}, name=f"k{number}", verb=verb)

    factory.changes = f"p{number}.changes"
    factory.group = f"sluice-k{number}"
    return factory


def progress(green):
    rows = green.rows('select topic, "offset", epoch, reign from sluice.progress where topic <> %s', ("",))
    return rows[0] if rows else None


def arrived(blue, green, halves):
    """Everything that blue has is on green."""
    def same():
        for half in halves:
            half.alive()
        return blue.rows("select count(*), sum(hashtext(t::text)) from t") == \
            green.rows("select count(*), sum(hashtext(t::text)) from t")
    wait_until(same, 60, "green has what blue has")


def stream(blue, green, halves, config=None):
    """A reader and an applier in the middle of their work."""
    blue.sql(KV, PUT)
    reader = halves("reader", config).start()
    applier = halves("applier", config).start()
    wait_until(lambda: reader.alive() and applier.alive() and table_is_there(green), 60, "the table on green")
    arrived(blue, green, [reader, applier])
    blue.sql(PUT)
    arrived(blue, green, [reader, applier])
    return reader, applier


def table_is_there(green):
    return green.one("select to_regclass('public.t')") is not None


def test_K16_a_stopped_applier_does_no_harm(blue, green, halves):
    reader, first = stream(blue, green, halves)
    first.signal(signal.SIGSTOP)
    epoch = progress(green)[2]
    second = halves("applier").start()
    blue.sql(PUT)
    wait_until(lambda: progress(green)[2] > epoch, 60, "the successor has the partition")
    arrived(blue, green, [reader, second])
    first.signal(signal.SIGCONT)
    blue.sql(PUT, "update t set v = v + 1 where id % 3 = 0")
    arrived(blue, green, [reader, second])
    assert_same(blue, green)


def test_K17_two_appliers_with_one_group_instance_id(blue, green, halves, kafka_broker):
    reader, first = stream(blue, green, halves)
    first.stop()
    fixed = {"transport": {"type": "kafka", "kafka": {
        "bootstrap_servers": kafka_broker.bootstrap, "prefix": halves.changes.split(".")[0],
        "consumer_properties": {"group.instance.id": "a"}}}}
    one = halves("applier", fixed).start()
    blue.sql(PUT)
    arrived(blue, green, [reader, one])
    two = halves("applier", fixed).start()
    assert one.wait_exit(90) == 81, one.log()[-3000:]
    assert "KAFKA-FENCED" in one.log()
    blue.sql(PUT)
    arrived(blue, green, [reader, two])
    assert_same(blue, green)


@pytest.mark.parametrize("to", ["beginning", "end"])
def test_K18_offsets_of_the_group_reset(blue, green, halves, kafka_broker, to):
    reader, applier = stream(blue, green, halves)
    applier.stop()
    blue.sql(PUT)
    wait_until(lambda: kafka_broker.ends(halves.changes)[1] > progress(green)[1] + 100, 30, "the log has more")
    low, high = kafka_broker.ends(halves.changes)
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": halves.group})
    consumer.commit(offsets=[TopicPartition(halves.changes, 0, low if to == "beginning" else high)],
                    asynchronous=False)
    consumer.close()
    applier.start()
    arrived(blue, green, [reader, applier])
    assert_same(blue, green)


def test_K19_records_deleted_beyond_progress(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    applier.stop()
    blue.sql(PUT, PUT)
    wait_until(lambda: kafka_broker.ends(halves.changes)[1] > progress(green)[1] + 300, 30, "the log has more")
    kafka_broker.delete_records(halves.changes, progress(green)[1] + 50)
    applier.start()
    assert applier.wait_exit() == 80
    assert "KAFKA-LOG-" in applier.log() and halves.changes in applier.log()


def test_K19_records_deleted_up_to_progress(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    applier.stop()
    blue.sql(PUT)
    wait_until(lambda: kafka_broker.ends(halves.changes)[1] > progress(green)[1] + 100, 30, "the log has more")
    kafka_broker.delete_records(halves.changes, progress(green)[1] + 1)
    applier.start()
    arrived(blue, green, [reader, applier])
    assert_same(blue, green)


def test_K21_another_log_at_the_same_offsets(blue, green, halves, kafka_broker):
    """What stands at the stored offset is not what was applied from there: an unclean election, a topic made anew."""
    reader, applier = stream(blue, green, halves)
    reader.stop()
    applier.stop()
    offset = progress(green)[1]
    kept = kafka_broker.messages(halves.changes)
    kafka_broker.delete(halves.changes)
    kafka_broker.create(halves.changes)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    # the log without one of its records; where the applier stands there is an earlier one, whatever news came in between
    earlier = next(m for m in kept if m[3]["sluice.op"] == "I")
    for _, key, value, headers in kept[:10] + kept[11:offset] + 3 * [earlier]:
        producer.produce(halves.changes, key=key, value=value, headers=list(headers.items()))
    producer.flush()
    assert kafka_broker.ends(halves.changes)[1] > offset
    applier.start()
    assert applier.wait_exit() == 80
    assert "KAFKA-LOG-CHANGED" in applier.log()


def test_K22_a_strangers_message_in_the_stream(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    producer.produce(halves.changes, value=b"who are you, secret")
    producer.flush()
    assert applier.wait_exit() == 65
    assert "KAFKA-STRANGER" in applier.log() and "secret" not in applier.log()


def test_what_comes_while_the_target_works(blue, green, halves, kafka_broker, tmp_path):
    """Messages are decoded while the target makes the applier wait; a bad one among them is told behind what was under way."""
    reader, applier = stream(blue, green, halves)
    assert applier.stop() == 0
    points = tmp_path / "points"
    points.write_text("")
    with green.connect() as c:
        c.execute("begin")
        c.execute("lock table t in exclusive mode")
        applier.start(env={"SLUICE_FAULT_LIST": str(points)})
        blue.sql("update t set v = -1 where id = 1")
        wait_until(lambda: green.one("select count(*) from pg_locks where not granted") > 0, 30, "the applier waits for the table")
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
        producer.produce(halves.changes, value=b"who are you, secret")
        producer.flush()
        wait_until(lambda: applier.alive() and "transport.kafka.prepare\n" in points.read_text(), 30, "it is looked at")
        c.execute("commit")
    assert applier.wait_exit() == 65
    assert "KAFKA-STRANGER" in applier.log() and "secret" not in applier.log()
    assert green.one("select v from t where id = 1") == -1


def test_K23_broker_gone_and_back(blue, green, halves, own_broker):
    broker = own_broker()
    prefix = halves.changes.split(".")[0]
    there = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": broker.bootstrap, "prefix": prefix}}}
    reader, applier = stream(blue, green, halves, there)
    broker.kill9()
    blue.sql(PUT)
    wait_until(lambda: applier.alive() and "KAFKA-" in applier.log(), 60, "the applier notices")
    broker.start()
    arrived(blue, green, [reader, applier])
    assert_same(blue, green)


def test_K25_a_stopped_reader_wakes_up(blue, green, halves):
    reader, applier = stream(blue, green, halves)
    reader.signal(signal.SIGSTOP)
    blue.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_%'")
    second = halves("reader").start()
    blue.sql(PUT)
    arrived(blue, green, [applier, second])
    reader.signal(signal.SIGCONT)
    blue.sql(PUT, "update t set v = v + 1 where id % 3 = 0", "delete from t where id % 7 = 0")
    arrived(blue, green, [applier, second])
    assert_same(blue, green)


def test_K26_retention_emptied_the_topic(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    reader.stop()
    applier.stop()
    kafka_broker.delete_records(halves.changes, -1)
    low, high = kafka_broker.ends(halves.changes)
    assert low == high > 0
    applier.start()
    assert applier.wait_exit() == 80
    assert "KAFKA-LOG-EMPTY" in applier.log()


def test_K26_no_fresh_start_from_an_emptied_topic(blue, green, halves, kafka_broker):
    blue.sql(KV, PUT)
    reader = halves("reader").start()
    wait_until(lambda: reader.alive() and halves.changes in kafka_broker.admin.list_topics(timeout=5).topics, 30,
               "the topic is there")
    wait_until(lambda: kafka_broker.ends(halves.changes)[1] > 100, 30, "the log holds something")
    reader.stop()
    kafka_broker.delete_records(halves.changes, -1)
    applier = halves("applier").start()
    assert applier.wait_exit() == 80
    assert "KAFKA-LOG-EMPTY" in applier.log()


def test_K27_topic_deleted_and_made_again(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    reader.stop()
    kafka_broker.delete(halves.changes)
    kafka_broker.create(halves.changes)
    assert applier.wait_exit(90) == 80
    applier.start()
    assert applier.wait_exit() == 80
    assert "KAFKA-LOG-" in applier.log()


def test_lag_of_the_consumer(blue, green, halves, kafka_broker):
    reader, applier = stream(blue, green, halves)
    wait_until(lambda: applier.metric("kafka_consumer_lag_records") == 0, 30, "nothing is behind")
    applier.signal(signal.SIGSTOP)
    blue.sql(PUT)
    applier.signal(signal.SIGCONT)
    arrived(blue, green, [reader, applier])
    answer = applier.get("/metrics")[1]
    assert f'topic="{halves.changes}",partition="0"' in answer
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": halves.group})
    end = kafka_broker.ends(halves.changes)[1]
    wait_until(lambda: consumer.committed([TopicPartition(halves.changes, 0)], timeout=10)[0].offset >= end - 50, 30,
               "the group was told")
    consumer.close()


@pytest.mark.parametrize("where", ["segment", "payload"])
def test_K22_a_flipped_byte(blue, green, halves, kafka_broker, where):
    """In the broker's file the fetch's checksum finds it; in a message that was written so, the codec's own one."""
    binary = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap, "format": "binary",
                                                       "prefix": halves.changes.split(".")[0],
                                                       "properties": {"compression.type": "none"}}}}
    reader, applier = stream(blue, green, halves, binary)
    applier.stop()
    before, count = progress(green)[1], green.one("select count(*) from t")
    blue.sql("insert into t(v, w) values (1, 'needle-in-the-log')")
    wait_until(lambda: any(b"needle-in-the-log" in (m[2] or b"") for m in kafka_broker.messages(halves.changes)), 30, "it is there")
    assert reader.stop() == 0
    if where == "segment":
        segment, = (kafka_broker.base / "data" / f"{halves.changes}-0").glob("*.log")
        content = segment.read_bytes()
        at = content.rindex(b"needle-in-the-log")
        with open(segment, "r+b") as file:
            file.seek(at)
            file.write(b"N")
    else:
        kept = kafka_broker.messages(halves.changes)
        kafka_broker.delete(halves.changes)
        kafka_broker.create(halves.changes, retention_ms=-1)
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
        for _, key, value, headers in kept:
            producer.produce(halves.changes, key=key, headers=list(headers.items()),
                             value=value and value.replace(b"needle-in", b"Needle-in"))
        producer.flush()
    applier.start()
    assert applier.wait_exit() == 65, applier.log()[-2000:]
    assert ("KAFKA-CORRUPT" if where == "segment" else "BINARY-CHECKSUM") in applier.log() and halves.changes in applier.log()
    assert "eedle" not in applier.log()
    # nothing of that transaction
    assert green.one("select count(*) from t") == count and progress(green)[1] >= before
