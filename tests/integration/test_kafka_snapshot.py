# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The initial copy through the log: reader and applier as two processes, a real broker between them."""

import collections
import json
import os
import signal
import threading

from compare import assert_same
from kafka import in_order
from wait import wait_until

import pytest

READER = ["snapshot.log.schema", "snapshot.log.attempt@2", "snapshot.log.table@2", "snapshot.log.begin@2",
          "snapshot.log.rows@2", "snapshot.log.end@2", "snapshot.log.done", "snapshot.log.start@2", "snapshot.log.sequences",
          "snapshot.log.finished", "state.piece"]
APPLIER = ["snapshot.applier.prepare", "snapshot.schema_pre", "sink.pg.chunk.emptied", "sink.pg.chunk.marks",
           "pipeline.applier.applied", "snapshot.applier.keys", "snapshot.finish"]


@pytest.fixture
def halves(make, kafka_broker, number):
    """Makes `reader` and `applier` of one stream."""
    def factory(verb, **more):
        log = {"bootstrap_servers": kafka_broker.bootstrap, "prefix": f"s{number}", "format": more.pop("format", "json")}
        return make({"transport": {"type": "kafka", "kafka": log}, "snapshot": {"workers": 3, **more}}, verb=verb)
    factory.prefix = f"s{number}"
    return factory


@pytest.fixture
def load(blue):
    """Rows come, change and go until load.end()."""
    stop = threading.Event()

    def work():
        with blue.connect() as c:
            i = 0
            while not stop.wait(0.005):
                i += 1
                c.execute("insert into t(v, w) values (%s, E'l\\t\\\\o')", (i,))
                c.execute("update t set v = v + 1 where id = %s", (i * 7 % 3000,))
                c.execute("delete from t where id = %s", (5000 + i,))

    thread = threading.Thread(target=work)

    def end():
        stop.set()
        if thread.is_alive():
            thread.join()

    thread.end = end
    yield thread
    end()


def shop(db, rows=12000):
    db.sql("create table t(id bigserial primary key, v int, w text)",
           f"insert into t(v, w) select g, repeat('x', 100) || E'\\ttab\\\\' from generate_series(1, {rows}) g",
           "create index t_v on t(v)", "create table child(id int primary key, t bigint references t)",
           f"insert into child select g, g from generate_series(1, {min(rows, 200)}) g",
           "create table nokey(a int, b bytea)", "alter table nokey replica identity full",
           "insert into nokey select g % 3, case when g % 2 = 0 then decode('005c5c780a', 'hex') end from generate_series(1, 50) g",
           "create table empty(id int primary key)", "create sequence free start 77", "select nextval('free')")


def complete(green, *running, timeout=90):
    """The applier has done its last step."""
    def look():
        for half in running:
            half.alive()
        return green.one("select to_regclass('sluice.migration')") and \
            green.one("select count(*) from sluice.migration where key = 'snapshot/complete'")
    wait_until(look, timeout, "the copy is complete")


def indexes(db):
    return db.rows("select indexname from pg_indexes where schemaname = 'public' order by 1")


def foreign(db):
    return db.rows("select conname, convalidated from pg_constraint where contype = 'f'")


def same_schema(blue, green):
    """Where tables were read at different moments, the last keys and indexes come once the stream has passed them all."""
    wait_until(lambda: indexes(blue) == indexes(green) and foreign(blue) == foreign(green), 60,
               "keys and indexes")


def state(broker, prefix):
    """The last value of each key."""
    return {json.loads(key)["key"]: value for _, key, value, _ in broker.messages(f"{prefix}.state")}


def marks(broker, prefix):
    """What an applier makes of the copy: attempt, rows and chunks of each relation."""
    tables, place = {}, None
    for _, _, value, headers in in_order(broker.messages(f"{prefix}.changes")):
        rel = headers.get("sluice.relation")
        if headers["sluice.op"] == "R":
            assert place, "a row outside of chunks"
            place[1] += 1
        if headers["sluice.op"] != "H":
            continue
        mark = json.loads(value)
        if mark["mark"] == "T":
            tables[rel] = {"attempt": mark["attempt"], "rows": 0, "chunks": set(), "done": False}
            place = None
        elif mark["mark"] == "B":
            place = [(rel, mark["no"], mark["attempt"]), 0]
        elif mark["mark"] == "E":
            assert place == [(rel, mark["no"], mark["attempt"]), mark["rows"]]
            assert mark["attempt"] == tables[rel]["attempt"] and mark["no"] not in tables[rel]["chunks"]
            tables[rel]["chunks"].add(mark["no"])
            tables[rel]["rows"] += mark["rows"]
            place = None
        elif mark["mark"] == "D":
            assert tables[rel]["rows"] == mark["rows"]
            tables[rel]["done"] = True
    assert all(t["done"] for t in tables.values()), tables
    return tables


@pytest.mark.parametrize("codec", ["json", "binary"])
def test_copy_through_the_log(blue, green, halves, load, kafka_broker, codec):
    shop(blue, 30000)
    blue.sql('create table "Odd"("A b" int, "c""d" numeric, e text[], f jsonb, g interval, h timestamptz, i float8, j char(5), '
             'k int generated always as ("A b" * 2) stored, primary key ("A b"))',
             "insert into \"Odd\" select g, 'NaN', array['a,b', null, E'\\\\t\"'], '{\"x\": \"\\u00e4\\n\"}', '1 mon -3 days', "
             "'0044-03-15 12:00:00 BC', '-Infinity', 'x' from generate_series(1, 10) g",
             'insert into "Odd" values (11, null, null, null, null, null, null, null), (12, 1.230000, \'{}\', \'null\', \'0\', \'infinity\', 1e-300, \'\')',
             "create table p(id int, d date, primary key (id, d)) partition by range (d)",
             "create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01')",
             "create table p2 partition of p default",
             "insert into p select g, '2020-12-01'::date + g from generate_series(1, 100) g")
    load.start()
    reader, applier = halves("reader", format=codec).start(), halves("applier", format=codec).start()
    complete(green, reader, applier)
    load.end()
    applier.wait_applied()
    assert_same(blue, green)
    same_schema(blue, green)
    assert green.one("select nextval('free')") == 78
    # rows of the copy and of the stream are of one description
    blue.sql("insert into child values (1000, 1)", "insert into nokey values (1, 'x')")
    applier.wait_applied()
    names = [json.loads(key)["relation"] for _, key, _, _ in kafka_broker.messages(f"{halves.prefix}.schemas")]
    assert collections.Counter(names).most_common(1)[0][1] == 1, names
    assert reader.stop() == 0 and applier.stop() == 0


@pytest.mark.parametrize("point", READER)
@pytest.mark.parametrize("how", ["abort", "error"])
def test_reader_ends_within_the_copy(blue, green, halves, load, kafka_broker, point, how):
    shop(blue)
    load.start()
    name, _, hit = point.partition("@")
    fault = {"SLUICE_FAULT": f"{name}:{how}@{hit or 1}"}
    reader, applier = halves("reader").start(env=fault), halves("applier").start()
    if how == "abort":
        assert reader.wait_exit() == -9
        reader.start()
    complete(green, reader, applier)
    load.end()
    applier.wait_applied()
    assert_same(blue, green)
    same_schema(blue, green)
    assert green.one("select nextval('free')") == 78
    assert len(marks(kafka_broker, halves.prefix)) == 4


@pytest.mark.parametrize("point", APPLIER)
@pytest.mark.parametrize("how", ["abort", "error"])
def test_applier_ends_within_the_copy(blue, green, halves, load, point, how):
    shop(blue)
    load.start()
    fault = {"SLUICE_FAULT": f"{point}:{how}"}
    reader, applier = halves("reader").start(), halves("applier").start(env=fault)
    if how == "abort":
        assert applier.wait_exit() == -9
        applier.start()
    complete(green, reader, applier)
    load.end()
    applier.wait_applied()
    assert_same(blue, green)
    same_schema(blue, green)


def test_the_applier_comes_when_the_reader_has_gone(blue, green, halves):
    shop(blue)
    reader = halves("reader").start()
    reader.wait_status(lambda s: "event=streaming" in reader.log(), "the copy in the log")
    blue.sql("update t set v = -v where id % 100 = 0", "delete from child where id = 7")
    lsn = reader.barrier()
    wait_until(lambda: reader.alive() and reader.confirmed_lsn() >= lsn, 60, "all is in the log")
    assert reader.stop() == 0
    applier = halves("applier").start()
    complete(green, applier)
    wait_until(lambda: applier.alive() and applier.stored_lsn() >= lsn, 60, "all is applied")
    assert_same(blue, green)
    same_schema(blue, green)


def test_an_idle_source_is_in_sync(blue, green, halves):
    """Nothing is written to blue's WAL behind the copy: where the stream starts is told all the same."""
    writer = blue.one("select pid from pg_stat_activity where backend_type = 'background writer'")
    # its note of running transactions, every 15 s, would be something behind the copy
    os.kill(writer, signal.SIGSTOP)
    try:
        shop(blue, 100)
        halves("reader").start()
        halves("applier").start().wait_synced(40)
    finally:
        os.kill(writer, signal.SIGCONT)


def test_a_reader_goes_on_after_an_idle_copy(blue, green, halves, kafka_broker):
    """Between the last mark and the first transaction the log holds no resume point of the stream."""
    shop(blue, 1000)
    reader = halves("reader").start()
    reader.wait_status(lambda s: "event=streaming" in reader.log(), "the copy in the log")
    reader.kill9()
    blue.sql("insert into t(v, w) values (1, 'later')")
    reader.start()
    applier = halves("applier").start()
    complete(green, reader, applier)
    applier.wait_applied()
    assert_same(blue, green)
    assert {t["attempt"] for t in marks(kafka_broker, halves.prefix).values()} == {1}


def test_tables_of_different_moments(blue, green, halves):
    """The reader is killed when some tables are done: what they need of the others' rows comes with the stream."""
    shop(blue)
    reader = halves("reader").start(env={"SLUICE_FAULT": "snapshot.log.start:abort@3"})
    assert reader.wait_exit() == -9
    # rows that a table read now and one read before see differently
    blue.sql("insert into t(id, v) values (100000, 1)", "insert into child values (9999, 100000)",
             "delete from child where id = 5", "delete from t where id = 5")
    reader.start()
    applier = halves("applier").start()
    complete(green, reader, applier)
    applier.wait_applied()
    assert_same(blue, green)
    same_schema(blue, green)


def test_tables_that_exist(blue, green, halves, kafka_broker):
    shop(blue, 1000)
    for sql in ("create table t(id bigserial primary key, v int, w text)", "create table child(id int primary key, t bigint)",
                "create table nokey(a int, b bytea)", "create table empty(id int primary key, own text default 'green')"):
        green.sql(sql)
    green.sql("insert into empty values (1)")
    reader = halves("reader", schema="existing").start()
    applier = halves("applier", schema="existing").start()
    # somebody's rows
    assert applier.wait_exit() == 78
    assert "TARGET-NOT-EMPTY" in applier.log()
    green.sql("truncate empty")
    applier.start()
    complete(green, reader, applier)
    applier.wait_applied()
    assert blue.rows("select * from t order by id") == green.rows("select * from t order by id")
    assert "schema/dump" not in state(kafka_broker, halves.prefix)


def test_no_schema_in_the_log(blue, green, halves):
    shop(blue, 1000)
    reader, applier = halves("reader", schema="existing").start(), halves("applier").start()
    assert applier.wait_exit() == 78
    assert "SCHEMA-NONE" in applier.log() and "pg_dump" in applier.log()
    assert reader.stop() == 0


def test_a_chunk_is_given_up_for_others(blue, green, halves, kafka_broker):
    """Somebody wants the table while a chunk of it is read: nothing of the chunk is out yet, and the table need not begin anew."""
    shop(blue)
    # whichever table comes first
    reader = halves("reader").start(env={"SLUICE_FAULT": ",".join(f"snapshot.chunk_mid:sleep=4000@{i}" for i in range(1, 5))})
    applier = halves("applier").start()
    reader.wait_status(lambda s: blue.one("select count(*) from pg_locks l join pg_class c on c.oid = l.relation where c.relname = 't' "
                                          "and mode = 'AccessShareLock'"), "a chunk is open")
    with blue.connect() as c:
        c.execute("begin; set local lock_timeout = '20s'; lock table t in access exclusive mode; commit")
    complete(green, reader, applier)
    applier.wait_applied()
    assert_same(blue, green)
    assert {t["attempt"] for t in marks(kafka_broker, halves.prefix).values()} == {1}
