# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Reader and applier as two processes with a real Kafka broker between them, layout stream."""

import re

import pytest

import test_types
from compare import assert_same
from kafka import in_order
from wait import wait_until


@pytest.fixture
def halves(make, kafka_broker, number):
    """Makes (reader, applier) of one stream; further ones of the same name stand by."""

    def factory(config=None, broker=None, **kafka):
        settings = {"bootstrap_servers": (broker or kafka_broker).bootstrap, **kafka}
        config = {**(config or {}), "transport": {"type": "kafka", "kafka": settings}}
        return make(config, name=f"k{number}", verb="reader"), make(config, name=f"k{number}", verb="applier")

    return factory


def changes(number):
    return f"k{number}.changes"


def shop(db):
    db.sql("create table t(id int primary key, v int, note text)",
           "insert into t select g, g, repeat('x', g % 50) from generate_series(1, 2000) g",
           "create table nokey(a int, b text)", "alter table nokey replica identity full",
           "insert into nokey values (1, 'a'), (1, 'a'), (2, null)",
           "create table big(id int primary key, doc text, n int)", "alter table big alter doc set storage external",
           "insert into big select g, repeat(md5(g::text), 200), 0 from generate_series(1, 20) g")


def work(db):
    """Can be done again and again."""
    db.sql("delete from t where id >= 5000", "update t set v = v + 1 where id % 3 = 0", "delete from t where id % 7 = 0",
           "insert into t values (5000, 1, 'new')", "update t set id = 5001 where id = 5000",
           "delete from nokey where ctid = (select min(ctid) from nokey)", "insert into nokey values (9, 'z')",
           "update big set n = n + 1")


@pytest.mark.parametrize("kind", ["json", "inline", "binary"])
def test_copy_and_stream(blue, green, halves, kind):
    shop(blue)
    reader, applier = halves(format="binary" if kind == "binary" else "json",
                             json_schemas="inline" if kind == "inline" else "topic")
    reader.start()
    applier.start()
    applier.wait_synced()
    assert_same(blue, green)
    work(blue)
    applier.wait_applied()
    assert_same(blue, green)
    blue.sql("truncate t", "insert into t values (1, 1, 'again')",
             "alter table t add column extra text", "insert into t values (2, 2, 'b', 'c')")
    green.sql("alter table t add column extra text")
    applier.wait_applied()
    assert_same(blue, green)
    assert reader.stop() == 0 and applier.stop() == 0
    # each half goes on where it was
    work(blue)
    applier.start()
    reader.start()
    applier.wait_applied()
    assert_same(blue, green)
    wait_until(lambda: applier.status()["lag"]["seconds"] is not None, 60, "the lag is known")


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_every_type_through_the_log(blue, green, halves, kind):
    test_types.build(blue, "blue")
    reader, applier = halves(format=kind)
    reader.start()
    applier.start()
    applier.wait_synced(120)
    assert_same(blue, green)
    test_types.change(blue)
    applier.wait_applied()
    assert_same(blue, green)


def test_both_halves_in_one_process(blue, green, make, kafka_broker, number):
    shop(blue)
    s = make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}, name=f"k{number}")
    s.start()
    s.wait_synced()
    work(blue)
    s.wait_applied()
    assert_same(blue, green)
    assert s.stop() == 0
    work(blue)
    s.until_synced()
    assert_same(blue, green)


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_E02_each_change_once_with_an_id_of_its_own(blue, green, halves, kafka_broker, number, kind):
    shop(blue)
    reader, applier = halves(format=kind)
    reader.start()
    applier.start()
    applier.wait_synced()
    for i in range(4):
        blue.sql("update t set v = v + 1 where id <= 300")
        reader.kill9()
        blue.sql(f"insert into t values ({9000 + i}, 0, '')")
        reader.start()
        applier.wait_applied()
    assert_same(blue, green)
    log = in_order(kafka_broker.messages(changes(number)))
    rows = [m[3] for m in log if m[3]["sluice.op"] in "IUD"]
    # 4 times 300 updates and one insert: the log holds each once, whatever was killed
    assert len(rows) == 4 * 301
    assert len({r["sluice.id"] for r in rows}) == len(rows) == len({r["sluice.position"] for r in rows})
    prev = [(m[3]["sluice.prev"], m[3]["sluice.position"]) for m in log if "sluice.position" in m[3]]
    assert all(a[1] == b[0] for a, b in zip(prev, prev[1:]))


def test_K01_K09_broker_away(blue, green, halves, own_broker):
    broker = own_broker()
    shop(blue)
    reader, applier = halves(broker=broker)
    broker.kill9()
    reader.start()
    applier.start()
    reader.wait_state("retrying")
    assert reader.get("/livez")[0] == 200
    broker.start()
    applier.wait_synced()
    broker.kill9()
    before = reader.confirmed_lsn()
    blue.sql("update t set v = v + 1")
    wait_until(lambda: (s := reader.status()) and (s["transport"]["reader"]["bytes"] or s["state"]["name"] == "retrying"), 60,
               "the reader knows that what it reads does not arrive")
    assert reader.confirmed_lsn() <= before + 16 * 1024 * 1024
    broker.start()
    applier.wait_applied()
    assert_same(blue, green)


def test_K10_no_topics_are_made_when_they_may_not(blue, green, halves):
    reader, _ = halves(create_topics=False)
    reader.start()
    assert reader.wait_exit() == 78
    assert "KAFKA-TOPIC-MISSING" in reader.log()


def test_K18_the_group_s_offsets_mean_nothing(blue, green, halves, kafka_broker):
    from confluent_kafka import Consumer, TopicPartition
    shop(blue)
    reader, applier = halves()
    reader.start()
    applier.start()
    applier.wait_synced()
    topic = f"{applier.name}.changes"
    for offset in (0, None):
        assert applier.stop() == 0
        work(blue)
        consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": f"sluice-{applier.name}"})
        to = kafka_broker.ends(topic)[1] if offset is None else offset
        consumer.commit(offsets=[TopicPartition(topic, 0, to)], asynchronous=False)
        consumer.close()
        applier.start()
        applier.wait_applied()
        assert_same(blue, green)


@pytest.mark.parametrize("how", ["deleted", "emptied", "made anew"])
def test_K19_K26_K27_a_log_that_lost_records_stops_everybody(blue, green, halves, kafka_broker, number, how):
    shop(blue)
    reader, applier = halves()
    reader.start()
    applier.start()
    applier.wait_synced()
    assert applier.stop() == 0
    blue.sql("update t set v = v + 1")
    wait_until(lambda: any(m[3]["sluice.op"] == "U" for m in kafka_broker.messages(changes(number))), 60, "published")
    assert reader.stop() == 0
    end = kafka_broker.ends(changes(number))[1]
    if how == "deleted":
        kafka_broker.delete_records(changes(number), end - 10)
    elif how == "emptied":
        kafka_broker.delete_records(changes(number), end)
    else:
        kafka_broker.delete(changes(number))
        kafka_broker.create(changes(number))
    applier.start()
    assert applier.wait_exit() == 80, applier.log()[-2000:]
    assert re.search(r"code=KAFKA-LOG-\w+ class=fatal", applier.log())
    if how != "deleted":
        reader.start()
        assert reader.wait_exit() == 80, reader.log()[-2000:]


def test_lag_is_end_to_end(blue, green, halves):
    shop(blue)
    reader, applier = halves()
    reader.start()
    applier.start()
    applier.wait_synced()
    # the applier knows the source from the log alone: a reader that has ended shows
    assert reader.stop() == 0
    wait_until(lambda: (applier.status()["lag"]["seconds"] or 0) > 6, 60, "the lag grows")
    reader.start()
    applier.wait_synced()
    assert applier.metric("kafka_consumer_lag_records") is not None
    wait_until(lambda: (reader.metric("kafka_produce_duration_seconds_count") or 0) > 0, 30, "acks are timed")


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_E07_hostile_names(blue, green, halves, kind):
    hostile = 'T."x"; drop table y;--'.replace('"', '""')
    blue.sql("create table y(id int primary key)", f'create schema "Od""d.s"', f'create table "Od""d.s"."{hostile}"'
             '("select" int primary key, "a.b" text, "ä\\" int, "A.B" text)', f'create table "{"n" * 63}"(id int primary key)',
             'create table twin(id int primary key)', 'create table "TWIN"(id int primary key)')
    reader, applier = halves(format=kind)
    reader.start()
    applier.start()
    applier.wait_synced()
    blue.sql(f"""insert into "Od""d.s"."{hostile}" values (1, 'x', 2, 'y')""", f"""update "Od""d.s"."{hostile}" set "a.b" = 'z'""",
             'insert into twin values (1)', 'insert into "TWIN" values (2)', f'insert into "{"n" * 63}" values (3)')
    applier.wait_applied()
    assert_same(blue, green)
    # two that a stream could not tell apart are refused before anything is done
    if kind == "json":
        assert reader.stop() == 0
        blue.sql('create schema "d.a"', 'create table "d.a".b(id int primary key)', "create schema d",
                 'create table d."a.b"(id int primary key)')
        found = reader.command("check")
        assert found.returncode == 1 and "PG-TABLE-NAME" in found.stdout


def test_E09_E10_nothing_for_us_moves_the_position(blue, green, halves, kafka_broker, number):
    """Transactions of other tables, empty and rolled back ones, messages: the slot moves on, the log grows by heartbeats only."""
    blue.sql("create table t(id int primary key)", "create table other(id serial primary key, w text)")
    reader, applier = halves({"source": {"exclude": ["public.other"]}})
    reader.start()
    applier.start()
    applier.wait_synced()
    low = kafka_broker.ends(changes(number))[1]
    blue.sql("insert into other(w) select 'x' from generate_series(1, 5000)", "begin", "insert into t values (9)", "rollback",
             "begin", "select pg_logical_emit_message(false, 'foreign', 'kept')", "rollback", "insert into other(w) values ('y')")
    end = blue.one("select pg_current_wal_lsn()")
    wait_until(lambda: blue.one("select confirmed_flush_lsn >= %s from pg_replication_slots where slot_name = %s",
                                (end, reader.slot)), 60, "the slot moves on")
    # begin and end: of the barriers that we write ourselves
    assert {m[3]["sluice.op"] for m in kafka_broker.messages(changes(number))[low:]} <= {"K", "M", "B", "C"}
    applier.kill9()
    reader.kill9()
    blue.sql("insert into t values (1)")
    reader.start()
    applier.start()
    applier.wait_applied()
    assert green.rows("select id from t") == [(1,)]
