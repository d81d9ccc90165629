# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The initial copy."""

import threading

from compare import assert_same
from servers import Database
from wait import pause, wait_until

import pytest


def load_until(db, stop, counter):
    """Transfers and churn while something else happens."""
    c = db.connect()
    i = 0
    while not stop.wait(0.005):
        i += 1
        c.execute("insert into t(v, w) values (%s, repeat('l', 50))", (i,))
        c.execute("update t set v = v + 1 where id = (select min(id) + %s from t)", (i % 500,))
        if i % 7 == 0:
            c.execute("delete from t where id = (select max(id) - 3 from t)")
        counter[0] = i
    c.close()


@pytest.fixture
def load(blue):
    stop, counter, threads = threading.Event(), [0], []

    def begin(db=None):
        threads.append(threading.Thread(target=load_until, args=(db or blue, stop, counter)))
        threads[-1].start()

    def end():
        stop.set()
        for t in threads:
            t.join()
        return counter[0]

    begin.end = end
    yield begin
    end()


def shop(db, rows=60000):
    db.sql("create table t(id bigserial primary key, v int, w text)",
           f"insert into t(v, w) select g, repeat('x', 100) from generate_series(1, {rows}) g")


FAULTS = {"chunk": "1MiB", "workers": 2}


def test_S01_copy_under_load(blue, green, make, load):
    shop(blue)
    blue.sql("create table nokey(a int, b text)", "alter table nokey replica identity full",
             "insert into nokey select g % 10, 'n' from generate_series(1, 1000) g",
             "create table empty(id int primary key)", "create sequence free start 77")
    blue.sql("select nextval('free')")
    load()
    s = make({"snapshot": FAULTS}).start()
    s.wait_synced()
    assert load.end() > 50
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select nextval('free')") == 78
    assert green.one("select nextval('t_id_seq')") > 60000
    assert green.rows("select indexname from pg_indexes where tablename = 't'") == [("t_pkey",)]


@pytest.mark.parametrize("point", ["snapshot.intent", "snapshot.slot_created", "snapshot.point_stored", "snapshot.chunk_mid@3",
                                   "snapshot.chunk_commit@2", "snapshot.chunk_committed@4", "snapshot.table_done",
                                   "snapshot.post", "snapshot.finish"])
def test_S02_killed_during_copy(blue, green, make, load, point):
    shop(blue, 30000)
    blue.sql("create table nokey(a int)", "alter table nokey replica identity full",
             "insert into nokey select g % 100 from generate_series(1, 5000) g",
             "create table child(id int primary key, t bigint references t)", "insert into child select g, g from generate_series(1, 1000) g")
    s = make({"snapshot": FAULTS})
    name, _, hit = point.partition("@")
    s.start(env={"SLUICE_FAULT": f"{name}:abort" + (f"@{hit}" if hit else "")})
    load()
    assert s.wait_exit() == -9, f"{point} was not reached: {s.log()[-2000:]}"
    blue.sql("update nokey set a = a + 1 where a < 5", "insert into nokey values (7), (7)")
    s.start()
    s.wait_synced()
    load.end()
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select count(*) from pg_constraint where contype = 'f'") == 1


def test_S05_nothing_confirmed_before_the_copy_is_durable(blue, green, make):
    shop(blue)
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:abort@5"})
    assert s.wait_exit() == -9
    point = green.one("select convert_from(value, 'UTF8') from sluice.migration where key = 'slot/point'")
    confirmed = blue.one("select confirmed_flush_lsn::text from pg_replication_slots")
    assert blue.one(f"select '{confirmed}'::pg_lsn <= '{point}'::pg_lsn")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_S09_table_without_key(blue, green, make):
    blue.sql("create table n(a int, b text)", "alter table n replica identity full",
             "insert into n select 1, 'same' from generate_series(1, 3000) g", "insert into n values (null, null), (null, null)")
    s = make().start()
    s.wait_synced()
    assert_same(blue, green)
    assert green.one("select count(*) from n") == 3002


def test_S10_target_not_empty(blue, green, make):
    blue.sql("create table t(id int primary key)", "insert into t values (1)")
    green.sql("create table t(id int primary key)", "insert into t values (99)")
    s = make().start()
    assert s.wait_exit() == 78
    assert "public.t" in s.log()
    assert green.rows("select id from t") == [(99,)]
    done = make().command("check")
    assert done.returncode == 1 and "public.t" in done.stdout, done.stdout


@pytest.mark.parametrize("rewrite", ["vacuum full t", "cluster t using t_pkey", "alter table t alter v type bigint"])
def test_S13_table_rewritten_before_its_chunk(blue, green, make, rewrite):
    shop(blue, 20000)
    blue.sql("create table a(id int primary key)", "insert into a select g from generate_series(1, 100) g")
    s = make({"snapshot": {"chunk": "1MiB", "workers": 1}}).start(env={"SLUICE_FAULT": "snapshot.point_stored:sleep=1500"})
    wait_until(lambda: green_has_point(green), 30, "slot made")
    blue.sql(rewrite, "insert into t(v) values (-5)")
    s.wait_synced()
    s.wait_applied()
    assert green.one("select count(*) from t") == 20001
    if "alter" not in rewrite:
        assert_same(blue, green)


def green_has_point(green):
    try:
        return green.one("select 1 from sluice.migration where key = 'slot/point'")
    except Exception:
        return None


def test_S13_rewritten_between_crash_and_resume(blue, green, make):
    shop(blue, 30000)
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:abort@3"})
    assert s.wait_exit() == -9
    blue.sql("delete from t where id % 2 = 0", "vacuum full t")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_S12_rows_move_between_crash_and_resume(blue, green, make):
    blue.sql("create table t(id int primary key, v int, w text) with (fillfactor = 100)",
             "alter table t alter w set storage external", "insert into t select g, 0, repeat('m', 2500) from generate_series(1, 8000) g")
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_committed:abort@3"})
    assert s.wait_exit() == -9
    for _ in range(3):
        blue.sql("update t set v = v + 1", "update t set w = repeat('n', 2600) where id % 5 = 0")
    blue.sql("vacuum t", "update t set v = v + 1 where id < 4000")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_S15_truncate_during_the_copy(blue, green, make):
    shop(blue, 60000)
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:sleep=2500@4"})
    wait_until(lambda: "copying" in str(s.status()), 30, "copying")
    blue.sql("truncate t", "insert into t(v) select g from generate_series(1, 10) g")
    s.wait_synced()
    s.wait_applied()
    assert_same(blue, green)


def test_S16_blue_crashes_during_a_resumed_copy(own_clusters, green, make):
    cluster = own_clusters("s16")
    db = Database(cluster, "b")
    db.sql("create table t(id bigserial primary key, v int, w text)",
           "insert into t(v, w) select g, repeat('x', 100) from generate_series(1, 30000) g")
    s = make({"snapshot": FAULTS}, blue=db).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:abort@3"})
    assert s.wait_exit() == -9
    c = db.connect()
    c.execute("set synchronous_commit = off")
    for i in range(50):
        c.execute("insert into t(v) values (%s)", (-i,))
    s.start()
    pause(0.4)
    cluster.kill9()
    cluster.start()
    db.reconnect()
    s.wait_applied()
    assert_same(db, green)


def test_S17_no_key_table_restarted_after_a_crash(blue, green, make):
    blue.sql("create table n(a int, w text)", "alter table n replica identity full",
             "insert into n select g, repeat('x', 200) from generate_series(1, 30000) g")
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_committed:abort@2"})
    assert s.wait_exit() == -9
    blue.sql("insert into n select -g, 'between' from generate_series(1, 100) g", "delete from n where a = 5",
             "update n set w = 'changed' where a between 10 and 20")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_S18_truncate_between_crash_and_resume(blue, green, make):
    shop(blue, 30000)
    blue.sql("create table done(id int primary key)", "insert into done values (1)")
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_committed:abort@3"})
    assert s.wait_exit() == -9
    blue.sql("truncate t", "insert into t(v) select g from generate_series(1, 500) g", "truncate done", "insert into done values (2)")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_S22_constraints_after_different_start_points(blue, green, make):
    blue.sql("create table parent(id int primary key, u text unique, w text)",
             "insert into parent select g, 'u' || g, repeat('x', 100) from generate_series(1, 20000) g",
             "create table child(id int primary key, p int references parent, w text)",
             "insert into child select g, g, repeat('y', 50) from generate_series(1, 20000) g")
    s = make({"snapshot": {"chunk": "1MiB", "workers": 1}}).start(env={"SLUICE_FAULT": "snapshot.chunk_committed:abort@3"})
    assert s.wait_exit() == -9
    blue.sql("insert into parent values (90001, 'new')", "insert into child values (90001, 90001)",
             "delete from child where id = 7", "delete from parent where id = 7",
             "update parent set u = 'swap' where id = 1", "update parent set u = 'u1' where id = 2")
    s.start()
    s.wait_synced()
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select count(*) from pg_constraint where contype in ('f', 'u') and connamespace = 'public'::regnamespace") == 2


def test_S23_slot_behind_an_old_transaction(blue, green, make):
    blue.sql("create table t(id int primary key)", "create table other(id int primary key)")
    old = blue.connect()
    old.execute("begin; insert into other values (1)")
    pid = old.info.backend_pid
    s = make({"snapshot": {"slot_wait": "2s"}}).start()
    assert s.wait_exit() == 75
    assert str(pid) in s.log(), s.log()
    assert not blue.rows("select from pg_replication_slots where slot_name = %s", (s.slot,))
    s.config["snapshot"]["slot_wait"] = "60s"
    s.start()
    pause(1.5)
    assert not green.rows("select 1 from pg_stat_activity where application_name like 'sluice_%%' and "
                          "xact_start is not null and datname = current_database()")
    old.execute("commit")
    s.wait_synced()
    assert_same(blue, green)
    old.close()


def test_S03_exporter_dies(blue, green, make):
    shop(blue)
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:sleep=800@2"})
    wait_until(lambda: "copying" in str(s.status()), 30, "copying")
    blue.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_%/snapshot' and "
             "datname = current_database()")
    s.wait_synced()
    s.wait_applied()
    assert_same(blue, green)


def test_S20_server_defaults_end_no_session_of_ours(blue, green, make):
    shop(blue, 30000)
    blue.sql(f"alter database {blue.name} set idle_in_transaction_session_timeout = '300ms'",
             f"alter database {blue.name} set statement_timeout = '500ms'")
    s = make({"snapshot": FAULTS}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:sleep=1200@2"})
    s.wait_synced()
    assert s.metric("retries_total") == 0
    s.wait_applied()
    assert_same(blue, green)


def test_partitions_and_odd_names(blue, green, make):
    blue.sql("create table m(id int, at date, v text, primary key(id, at)) partition by range (at)",
             "create table m1 partition of m for values from ('2024-01-01') to ('2024-07-01')",
             "create table m2 partition of m for values from ('2024-07-01') to ('2025-01-01')",
             "insert into m select g, date '2024-01-01' + g % 366, 'v' from generate_series(1, 2000) g",
             'create schema "Odd ""one""; drop"', 'create table "Odd ""one""; drop"."T.x" ("select" int primary key, "a.b" text, "ä" int)',
             """insert into "Odd ""one""; drop"."T.x" values (1, 'x', 2)""",
             'create table twin(id int primary key)', 'create table "TWIN"(id int primary key)')
    s = make({"snapshot": {"chunk": "1MiB"}}).start()
    s.wait_synced()
    blue.sql("update m set at = '2024-12-01' where id % 100 = 0", "delete from m where id % 101 = 0",
             """update "Odd ""one""; drop"."T.x" set "a.b" = 'changed; drop'""", "insert into twin values (1)",
             'insert into "TWIN" values (2)', "insert into m values (5000, '2024-02-02', 'new')")
    s.wait_applied()
    assert_same(blue, green)


def test_existing_schema_keeps_its_own_columns_and_indexes(blue, green, make):
    blue.sql("create table t(id int primary key, v text)", "insert into t select g, 'v' || g from generate_series(1, 2000) g")
    green.sql("create table t(extra int default 7, v text, id bigint primary key)", "create index own on t(v)")
    s = make({"snapshot": {"schema": "existing"}}).start()
    s.wait_synced()
    blue.sql("insert into t values (3000, 'x')", "update t set v = 'y' where id = 1", "delete from t where id = 2")
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select min(extra) = 7 and max(extra) = 7 from t")
    assert green.one("select 1 from pg_indexes where indexname = 'own'") == 1
