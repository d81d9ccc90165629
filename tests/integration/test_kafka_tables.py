# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables: a topic for each table, rows spread by key, several appliers side by side."""

import pytest

from compare import assert_same
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
