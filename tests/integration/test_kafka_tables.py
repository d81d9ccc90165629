# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables: a topic for each table, rows spread by key, several appliers side by side."""

import json
import signal

import pytest

from compare import assert_same, differences
from debezium import JdbcSink
from pack import unpacked
from servers import Database, withheld
from test_kafka import halves  # noqa: F401
from wait import wait_until


def shop(db):
    db.sql("create table t(id int primary key, v int, note text)",
           "insert into t select g, g, repeat('x', g % 50) from generate_series(1, 2000) g",
           "create table pair(a int, b text, v int, primary key (a, b))",
           "insert into pair select g, 'k' || g, g from generate_series(1, 500) g",
           "create table whole(id int primary key, v text)", "alter table whole replica identity full",
           "insert into whole select g, 'w' from generate_series(1, 300) g",
           "create table big(id int primary key, doc text not null, n int)", "alter table big alter doc set storage external",
           "insert into big select g, repeat(md5(g::text), 200), 0 from generate_series(1, 20) g")


def work(db):
    """Can be done again and again."""
    db.sql("delete from t where id >= 5000", "update t set v = v + 1 where id % 3 = 0", "delete from t where id % 7 = 0",
           "insert into t values (5000, 1, 'new')", "update t set id = 5001 where id = 5000",
           "update pair set b = 'n' || b where a < 50", "update pair set a = a + 1000 where a < 20",
           "update whole set v = v || '.' where id % 2 = 0", "update whole set id = id + 1000 where id in (3, 1003, 2003)",
           "update big set n = n + 1", "update big set id = id + 100 where id % 5 = 0")


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def wait_applied(*appliers, timeout=90):
    """Everything committed at the source so far has arrived at the target, in every partition of every applier."""
    end = appliers[0].barrier()

    def passed(applier):
        applied = (applier.alive() and applier.status() or {}).get("applied", {}).get("position")
        return applied and lsn(applied) >= end

    wait_until(lambda: all(passed(a) for a in appliers), timeout, f"{end:#x} is applied")


@pytest.mark.parametrize("kind", ["json", "inline", "binary"])
def test_copy_and_stream(blue, green, halves, kafka_broker, number, kind):
    shop(blue)
    reader, applier = halves(layout="tables", partitions=4, format="binary" if kind == "binary" else "json",
                             json_schemas="inline" if kind == "inline" else "topic")
    reader.start()
    applier.start()
    applier.wait_synced()
    assert_same(blue, green)
    work(blue)
    wait_applied(applier)
    assert_same(blue, green)
    assert reader.stop() == 0 and applier.stop() == 0
    work(blue)
    applier.start()
    reader.start()
    wait_applied(applier)
    assert_same(blue, green)
    ops = {m[3].get("sluice.op") for p in range(4) for m in kafka_broker.messages(topic(number, "t"), p)}
    assert {"R", "P" if kind == "binary" else "U"} <= ops and not ops & ({"I", "U", "D", None} if kind == "binary" else {"P"}), ops


def topic(number, table):
    return f"k{number}.public.{table}"


def rows(broker, name):
    """All messages of rows with their headers, partition by partition."""
    return [[m for m in unpacked(broker.messages(name, p)) if m[3].get("sluice.op", "-") in "IUDRT"]
            for p in range(broker.partitions(name))]


def assert_chained(broker, name):
    """In each partition every record is there once and follows from the one before it, whoever wrote."""
    for part in rows(broker, name):
        chained = [m[3] for m in part if "sluice.position" in m[3]]
        assert all(a["sluice.position"] == b["sluice.prev"] for a, b in zip(chained, chained[1:]))
        assert len({m["sluice.id"] for m in chained}) == len(chained)


@pytest.mark.parametrize("settings", [{"json_schemas": "inline"}, {"format": "binary"}], ids=["inline", "binary"])
def test_truncate_takes_the_rows_of_its_own_partition(blue, green, halves, settings):
    shop(blue)
    reader, applier = halves(layout="tables", partitions=4, **settings)
    other = halves(layout="tables", partitions=4, **settings)[1]
    reader.start()
    applier.start()
    other.start()
    wait_synced_one(applier, other)
    for i in range(3):
        blue.sql(f"insert into t select g, g, 'r{i}' from generate_series(10001, 10100) g", "truncate t, pair",
                 f"insert into t select g, g, 'r{i}' from generate_series(1, 300) g",
                 f"insert into pair select g, 'é' || g, {i} from generate_series(1, 50) g")
    wait_applied(applier, other)
    assert_same(blue, green)


def wait_synced_one(*appliers):
    wait_until(lambda: any(a.alive() and (a.status() or {}).get("phase") in ("in-sync", "ready") for a in appliers), 90,
               "one of the appliers is in sync")


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_K16_appliers_share_the_partitions_and_a_stopped_one_does_no_harm(blue, green, halves, kafka_broker, number, kind):
    shop(blue)
    settings = {"layout": "tables", "partitions": 4, "format": kind,
                "consumer_properties": {"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}}
    reader, first = halves(**settings)
    second = halves(**settings)[1]
    reader.start()
    first.start()
    second.start()
    wait_synced_one(first, second)

    def held(applier):
        return applier.metric("kafka_consumer_lag_records") is not None and \
            len([line for line in applier.get("/metrics")[1].splitlines()
                 if line.startswith("sluice_kafka_consumer_lag_records{")])

    wait_until(lambda: held(first) and held(second), 60, "both have partitions")
    work(blue)
    wait_applied(first, second)
    assert_same(blue, green)
    for stopped, left in ((first, second), (second, first)):
        stopped.signal(signal.SIGSTOP)
        work(blue)
        wait_applied(left)
        assert_same(blue, green)
        stopped.signal(signal.SIGCONT)
        work(blue)
        wait_applied(left, stopped)
        assert_same(blue, green)
    for table in ("t", "pair", "whole", "big"):
        assert kafka_broker.partitions(topic(number, table)) == 4
        assert_chained(kafka_broker, topic(number, table))


def test_partitions_that_move_while_the_target_works(blue, green, halves, tmp_path):
    """An applier that waits for the target hears of a rebalance, but lets go of nothing before what is under way has ended."""
    blue.sql("create table t(id int primary key, v int)", "insert into t select g, g from generate_series(1, 500) g")
    reader, first = halves(layout="tables", partitions=4)
    second = halves(layout="tables", partitions=4)[1]
    points = tmp_path / "points"
    points.write_text("")
    reader.start(), first.start(env={"SLUICE_FAULT_LIST": str(points)})
    wait_synced_one(first)
    with green.connect() as c:
        c.execute("begin")
        c.execute("lock table t in exclusive mode")
        blue.sql("update t set v = v + 1")
        wait_until(lambda: green.one("select count(*) from pg_locks where not granted") > 0, 30, "the applier waits for the table")
        blue.sql("update t set v = v + 1 where id % 2 = 0", "delete from t where id % 5 = 0")
        before = points.read_text().count("transport.kafka.revoked\n")
        assert before < 3  # so many are listed of each
        second.start()
        wait_until(lambda: points.read_text().count("transport.kafka.revoked\n") > before, 30, "the applier hears of a rebalance")
        assert "event=revoked" not in first.log() and "event=assigned" not in second.log()
        c.execute("commit")
    wait_until(lambda: "event=assigned" in second.log(), 60, "the other one has partitions")
    blue.sql("update t set v = v + 1 where id % 3 = 0")
    wait_applied(first, second)
    assert_same(blue, green)
    assert "event=retry " not in first.log().split("event=assigned", 1)[1]


def test_K11_a_topic_keeps_its_partitions(blue, green, halves, kafka_broker, number):
    shop(blue)
    reader, applier = halves(layout="tables", partitions=2)
    reader.start()
    applier.start()
    applier.wait_synced()
    assert reader.stop() == 0
    kafka_broker.grow(topic(number, "t"), 3)
    blue.sql("update t set v = v + 1")
    reader.start()
    assert reader.wait_exit() == 78
    assert "has 3 partitions, it has to have 2" in reader.log()


def test_K24_order_holds_per_key_and_transactions_are_told(blue, green, halves, kafka_broker, number):
    blue.sql("create table a(id int primary key, v int)", "create table b(id int primary key, v int)",
             "insert into a select g, 0 from generate_series(1, 40) g", "insert into b select g, 0 from generate_series(1, 40) g")
    reader, applier = halves(layout="tables", partitions=3)
    reader.start()
    applier.start()
    applier.wait_synced()
    for i in range(1, 6):
        with blue.connect() as c, c.transaction():
            c.execute("update a set v = %s", (i,))
            c.execute("update b set v = %s where id <= 10", (i,))
    blue.sql("delete from a where id = 7")
    wait_applied(applier)
    assert_same(blue, green)
    seen = {}
    for part in rows(kafka_broker, topic(number, "a")):
        for _, key, value, headers in part:
            if headers["sluice.op"] == "U":
                seen.setdefault(key, []).append(json.loads(value)["after"]["v"])
    assert len(seen) == 40 and all(values == [1, 2, 3, 4, 5] for values in seen.values())
    ends = [json.loads(m[2]) for m in kafka_broker.messages(f"k{number}.transaction") if m[3].get("sluice.op") == "C"]
    told = [{c["data_collection"]: c["event_count"] for c in e["data_collections"] or []} for e in ends]
    assert told.count({"public.a": 40, "public.b": 10}) == 5
    # behind a delete comes a message of the same key without a value, for compaction
    part = next(p for p in range(3) if any(m[3].get("sluice.op") == "D" for m in kafka_broker.messages(topic(number, "a"), p)))
    log = kafka_broker.messages(topic(number, "a"), part)
    at = next(i for i, m in enumerate(log) if m[3].get("sluice.op") == "D")
    assert log[at + 1][1] == log[at][1] == b'{"id":7}' and log[at + 1][2] is None and not log[at + 1][3]


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_K28_rows_that_swap_a_unique_value_have_one_partition(blue, green, halves, kafka_broker, number, kind):
    blue.sql("create table u(id int primary key, email text not null unique deferrable initially deferred)",
             "insert into u select g, 'm' || g from generate_series(1, 50) g", "create table t(id int primary key, v int)")
    reader, applier = halves(layout="tables", partitions=4, format=kind)
    reader.start()
    applier.start()
    applier.wait_synced()
    assert (kafka_broker.partitions(topic(number, "u")), kafka_broker.partitions(topic(number, "t"))) == (1, 4)
    for i in range(1, 50):
        blue.sql(f"update u set email = case id when {i} then 'm{i + 1}' else 'm{i}' end where id in ({i}, {i + 1})",
                 f"update u set email = 'm' || id where id in ({i}, {i + 1})")
    blue.sql("update u set email = 'm' || (51 - id)")
    wait_applied(applier)
    assert_same(blue, green)
    # a table that is spread already cannot get such a constraint
    assert reader.stop() == 0
    blue.sql("create unique index on t (v)", "insert into t values (1, 1)")
    reader.start()
    assert reader.wait_exit() == 78
    assert "KAFKA-TIED" in reader.log()


def test_K28_a_swap_that_is_told_in_two_parts(blue, green, halves, kafka_broker, number):
    """What a deferrable constraint allows within a transaction is never committed in part at the target, whoever dies in between."""
    blue.sql("create table u(id int primary key, email text not null unique deferrable initially deferred, note text)",
             "insert into u select g, 'm' || g from generate_series(1, 10) g", "create table t(id int primary key, v int)",
             "insert into t values (1, 0)")
    reader, applier = halves(layout="tables")
    reader.start()
    applier.start()
    applier.wait_synced()
    applied = applier.metric("applied_records_total")
    # a pause, then death between both rows of the swap: the second one is the third message of its transaction
    for fault in ("sleep=1500@3", "sleep=1500@3,transport.kafka.produce:abort@3"):
        assert reader.stop() == 0
        blue.sql("update u x set email = y.email from u y where (x.id, y.id) in ((1, 2), (2, 1))", "update t set v = v + 1")
        reader.start(env={"SLUICE_FAULT": f"transport.kafka.produce:{fault}"})
        if "abort" in fault:
            assert reader.wait_exit() == -9
            reader.start()
        wait_applied(applier)
        assert_same(blue, green)
    assert applier.metric("applied_records_total") == applied + 6
    applier.kill9()
    applier.start()
    # a transaction larger than two batches is no longer held together, but arrives
    blue.sql("begin; insert into u select g, 'm' || g, repeat('n', 10000) from generate_series(11, 300) g; "
             "update u set email = 'x' || email; update u set email = 'y' || email, note = repeat('o', 10000); commit")
    wait_applied(applier)
    assert_same(blue, green)
    marks = [m for m in kafka_broker.messages(topic(number, "u")) if m[3].get("sluice.op") == "C"]
    assert len(marks) == 3 and all(m[1] is None and m[2] is None for m in marks)
    assert not [m for m in kafka_broker.messages(topic(number, "t")) if m[3].get("sluice.op") == "C"]


def test_a_table_without_key_is_refused(blue, green, halves):
    blue.sql("create table bare(a int)", "alter table bare replica identity full", "insert into bare values (1)")
    reader, _ = halves(layout="tables")
    reader.start()
    assert reader.wait_exit() == 78
    assert "KAFKA-NO-KEY" in reader.log() and "public.bare" in reader.log()


def test_a_change_of_key_whose_row_is_gone_meanwhile(blue, green, halves):
    blue.sql("create table big(id int primary key, doc text not null, n int)", "alter table big alter doc set storage external",
             "insert into big select g, repeat(md5(g::text), 200), 0 from generate_series(1, 9) g")
    reader, applier = halves(layout="tables", partitions=4)
    reader.start()
    applier.start()
    applier.wait_synced()
    assert reader.stop() == 0
    blue.sql("update big set id = id + 10", "delete from big where id = 13", "update big set id = id + 10 where id = 14",
             "update big set n = 1 where id > 20")
    reader.start()
    wait_applied(applier)
    assert_same(blue, green)


def test_a_change_of_key_that_is_read_before_it_is_seen(own_clusters, green, make, kafka_broker, number):
    """A commit is in the stream before anybody sees it, for as long as a standby is waited for: what the change left out must not
    be read as it was before. One of the rows has another row's former key."""
    db = Database(own_clusters("waits"), "b")
    db.sql("create table big(id int primary key, doc text not null, n int)", "alter table big alter doc set storage external",
           "insert into big select g, repeat(md5(g::text), 200), 0 from generate_series(1, 9) g")
    kafka = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap, "layout": "tables", "partitions": 4}}}
    reader, applier = (make(kafka, blue=db, name=f"k{number}", verb=verb).start() for verb in ("reader", "applier"))
    applier.wait_synced()
    with withheld(db, "update big set id = id + 100 where id > 5", "delete from big where id = 1", "update big set id = 1 where id = 2"):
        wait_until(lambda: "PG-COMMIT-WAITS" in reader.log(), 30, "the reader says what it waits for")
        assert "synchronous_standby_names" in reader.log()
    wait_applied(applier)
    assert_same(db, green)


def test_a_table_with_children(blue, green, halves):
    """A child's row may have a parent's key: they are two tables."""
    blue.sql("create table big(id int primary key, doc text not null)", "alter table big alter doc set storage external",
             "create table small(primary key (id)) inherits (big)", "alter table small alter doc set storage external",
             "insert into big select g, repeat(md5(g::text), 200) from generate_series(1, 9) g",
             "insert into small select g, repeat(md5('s' || g), 200) from generate_series(1, 9) g",
             "create table part(id int primary key, doc text not null) partition by hash (id)",
             *[f"create table part{i} partition of part for values with (modulus 2, remainder {i})" for i in range(2)],
             *[f"alter table part{i} alter doc set storage external" for i in range(2)],
             "insert into part select g, repeat(md5('p' || g), 200) from generate_series(1, 9) g")
    reader, applier = halves(layout="tables", partitions=2)
    reader.start()
    applier.start()
    applier.wait_synced()
    blue.sql("update only big set id = id + 100", "update small set id = id + 100", "update part set id = id + 100 where id % 2 = 0")
    wait_applied(applier)
    assert_same(blue, green)


def test_a_table_that_is_published_later(blue, green, halves, number):
    shop(blue)
    reader, applier = halves(layout="tables", partitions=2)
    reader.start()
    applier.start()
    applier.wait_synced()
    for db in (blue, green):
        db.sql("create table later(id int primary key, v text)")
    blue.sql(f"alter publication sluice_k{number} add table later")
    blue.sql("insert into later select g, 'x' from generate_series(1, 100) g", "update later set v = 'y' where id % 2 = 0")
    wait_applied(applier)
    assert_same(blue, green)


@pytest.mark.parametrize("point", ["transport.kafka.route.fenced", "transport.kafka.route.continued",
                                   "transport.kafka.checkpoint", "sink.pg.passed"])
def test_each_step_may_be_the_last(blue, green, halves, kafka_broker, number, point):
    blue.sql("create table t(id int primary key, v int)", "insert into t select g, 0 from generate_series(1, 100) g")
    reader, applier = halves(layout="tables", partitions=2)
    reader.start()
    applier.start()
    applier.wait_synced()
    target = applier if point.startswith("sink") else reader
    target.kill9()
    blue.sql("update t set v = v + 1", "update t set id = id + 1000 where id % 5 = 0")
    target.start(env={"SLUICE_FAULT": f"{point}:abort@2"})
    assert target.wait_exit() != 0
    target.start()
    wait_applied(applier)
    assert_same(blue, green)
    assert_chained(kafka_broker, topic(number, "t"))


def test_the_sink_of_another_program(blue, green, halves, kafka_broker, number):
    """Debezium's JDBC sink keeps a table from our topic: copy, changes, changes of key, deletes."""
    columns = "(id int primary key, v bigint, note text, price numeric(10,2), at timestamptz, d date, ok boolean, f float8, j jsonb)"
    for db in (blue, green):
        db.sql(f"create table goods{columns}")
    row = "g * 10000000000, 'n' || g, g / 100.0, '2024-05-06 07:08:09.123456+00'::timestamptz + g * interval '1 day', '2024-02-29', " \
          "g % 2 = 0, g / 3.0, '{\"a\": 1}'"
    blue.sql(f"insert into goods select g, {row} from generate_series(1, 200) g")
    reader, _ = halves(layout="tables", partitions=3, json_schemas="inline")
    reader.until_synced()
    sink = JdbcSink(kafka_broker, green, [topic(number, "goods")])
    try:
        sink.start()
        reader.start()
        blue.sql(f"insert into goods select g, {row} from generate_series(201, 260) g", "update goods set note = null where id % 3 = 0",
                 "delete from goods where id % 7 = 0", "update goods set id = id + 1000 where id % 10 = 0", "update goods set v = -v")
        try:
            wait_until(lambda: not differences(blue, green, ["goods"]), 30, "the sink has all")
        except AssertionError:
            raise AssertionError(f"{differences(blue, green, ['goods'])}\n{sink.log()[-3000:]}") from None
    finally:
        sink.destroy()
