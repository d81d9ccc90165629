# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Tables that change while they are moved: by name, from the description of that moment, never by position."""

import pytest

from compare import assert_same
from sluice import TABLES_OFTEN
from wait import wait_until

KV = "create table t(id bigserial primary key, v int, w text)"


def streaming(blue, make, config=None, env=None):
    s = make({"retry": {"breaker": {"pause": "1s"}}, **(config or {})}).start(env=env)
    s.wait_synced()
    return s


def wait_refused(s, what):
    """It ends with an error, or waits for somebody to cure it."""
    wait_until(lambda: s.process.poll() is not None or (s.status() or {"state": {"name": ""}})["state"]["name"] == "retrying", 30, what)


def test_P19_column_added_on_both_sides(blue, green, make):
    blue.sql(KV, "insert into t(v) select g from generate_series(1, 100) g")
    s = streaming(blue, make)
    for db in (green, blue):  # the order the manual asks for
        db.sql("alter table t add column d int default 42", "alter table t add column e text")
    blue.sql("insert into t(v, e) values (1, 'e')", "update t set v = v + 1 where id <= 50", "update t set d = 7 where id = 3")
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select count(*) from t where d = 42") == 100


def test_P19_column_is_missing_on_green(blue, green, make):
    """Nothing is left out in silence: the stream waits, and goes on when the column is there."""
    blue.sql(KV, "insert into t(v) values (1)")
    s = streaming(blue, make, {"apply": {"ddl": "stop"}})
    blue.sql("alter table t add column d int default 42", "insert into t(v, d) values (2, 8)")
    wait_refused(s, "it does not go on")
    assert green.one("select count(*) from t") == 1
    assert "public.t" in s.log() and " d " in s.log().replace('"', " ").replace(",", " ").replace("\\", " ")
    green.sql("alter table t add column d int default 42")
    if not s.running:
        s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_P20_columns_dropped_and_renamed_between_queued_rows(blue, green, make):
    blue.sql("create table t(id int primary key, a text, b text, c text)", "insert into t values (1, 'a', 'b', 'c')")
    s = streaming(blue, make)
    assert s.stop() == 0
    green.sql("alter table t add column z text")
    blue.sql("insert into t values (2, 'a2', 'b2', 'c2')", "alter table t drop column a",
             "insert into t values (3, 'b3', 'c3')", "update t set b = 'b1' where id = 1",
             "alter table t add column z text", "insert into t values (4, 'b4', 'c4', 'z4')", "update t set z = 'z2' where id = 2")
    s.start()
    s.wait_applied()
    assert green.rows("select id, a, b, c, z from t order by id") == [
        (1, "a", "b1", "c", None), (2, "a2", "b2", "c2", "z2"), (3, None, "b3", "c3", None), (4, None, "b4", "c4", "z4")]


def test_P20_column_order_differs(blue, green, make):
    blue.sql("create table t(id int primary key, a text, b text)", "insert into t values (1, 'a', 'b')")
    green.sql("create table t(b text, own int default 5, id int primary key, a text)")
    s = streaming(blue, make, {"snapshot": {"schema": "existing"}})
    blue.sql("insert into t values (2, 'a2', 'b2')", "update t set a = 'A' where id = 1")
    s.wait_applied()
    assert_same(blue, green)
    assert green.one("select count(*) from t where own = 5") == 2


def test_P21_type_changes(blue, green, make):
    blue.sql(KV, "insert into t(v, w) select g, 'w' from generate_series(1, 500) g")
    s = streaming(blue, make)
    for db in (green, blue):
        db.sql("alter table t alter v type bigint", "alter table t alter w type varchar(40)")
    blue.sql("insert into t(v, w) values (9007199254740993, repeat('x', 40))", "update t set v = v * 4000000000 where id = 5")
    s.wait_applied()
    assert_same(blue, green)
    blue.sql("alter table t alter w type text", "insert into t(v, w) values (1, repeat('y', 41))")
    wait_refused(s, "too long for green")
    assert green.one("select count(*) from t where w like 'y%'") == 0, "never cut"
    green.sql("alter table t alter w type text")
    if not s.running:
        s.start()
    s.wait_applied()
    assert_same(blue, green)


@pytest.mark.parametrize("change", ["alter type mood add value 'calm'", "alter type mood rename value 'sad' to 'calm'"])
def test_P22_enum_label_that_green_does_not_know(blue, green, make, change):
    blue.sql("create type mood as enum ('happy', 'sad')", "create table t(id int primary key, m mood)", "insert into t values (1, 'happy')")
    s = streaming(blue, make)
    blue.sql(change)
    blue.sql("insert into t values (2, 'calm')", "insert into t values (3, 'happy')")
    wait_refused(s, "the label is refused")
    assert "mood" in s.log() and green.one("select count(*) from t") == 1
    green.sql(change)
    if not s.running:
        s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_table_is_made_anew(blue, green, make):
    """A published table that is dropped and made again is a new table: not in the publication, reported, never mixed up."""
    blue.sql(KV, "create table other(id int primary key)", "insert into other values (1)")
    s = streaming(blue, make, env=TABLES_OFTEN)
    blue.sql("insert into other values (2)", "drop table other", "create table other(id int primary key, x text)",
             "insert into other values (100, 'new')", "insert into t(v) values (1)")
    s.wait_applied()
    assert green.rows("select id from other order by id") == [(1,), (2,)]
    assert_same(blue, green, ["t"])
    s.wait_status(lambda st: "new_tables" in [r["code"] for r in st["ready"]["reasons"]], "the reason new_tables", 45)


def test_unlogged_and_foreign_objects_are_left_alone(blue, green, make):
    blue.sql(KV, "create unlogged table u(id int primary key)", "create view vw as select * from t",
             "create materialized view mv as select count(*) from t", "create temp table tmp(id int)", "insert into u values (1)")
    s = make()
    done = s.command("check")
    assert done.returncode == 0 and "public.u" in done.stdout, done.stdout
    s.start()
    s.wait_synced()
    blue.sql("insert into t(v) values (1)", "refresh materialized view mv", "insert into u values (2)")
    s.wait_applied()
    assert_same(blue, green, ["t"])
