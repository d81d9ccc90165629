# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables, the end of a copy with several appliers: one builds keys and indexes, and foreign keys wait for whoever lags."""

import pytest

from compare import assert_same
from test_kafka import halves  # noqa: F401
from test_kafka_snapshot import foreign, indexes
from test_kafka_tables import wait_applied
from wait import wait_until

PARENTS = "insert into parent select g, g % 7, 'p' || g from generate_series({}, {}) g"
WAITING = "select count(*) from pg_locks l join pg_database d on d.oid = l.database " \
          "where d.datname = current_database() and locktype = 'advisory' and not granted"
CHILDREN = "insert into child select g, {1} + {0} - g from generate_series({0}, {1}) g"


def family(db):
    db.sql("create table parent(id int primary key, v int, note text)", PARENTS.format(1, 300),
           "create table child(id int primary key, parent int not null references parent)", CHILDREN.format(1, 300),
           "create index parent_v on parent(v)", "create index parent_note on parent(note)", "create index child_parent on child(parent)")


def slow(points, repeated=None):
    """Each point takes so many ms, the first time; repeated: the first sixteen times."""
    hits = [(point, ms, 1) for point, ms in points.items()]
    hits += [(point, ms, i) for point, ms in (repeated or {}).items() for i in range(1, 17)]
    return {"SLUICE_FAULT": ",".join(f"{point}:sleep={ms}@{i}" for point, ms, i in hits)}


def assert_built(blue, green):
    assert_same(blue, green)
    assert indexes(blue) == indexes(green) and foreign(blue) == foreign(green)
    assert green.one("select count(*) from sluice.migration where key = 'snapshot/complete'") == 1


def test_two_appliers_at_the_end_of_a_copy(blue, green, halves, number):
    """Both come to it while one is at work: the other waits for the lock in the target, then finds all there."""
    family(blue)
    reader, first = halves(layout="tables", partitions=4)
    second = halves(layout="tables", partitions=4)[1]
    reader.start()
    # whoever builds is at work for so long that the other one comes to it, however late it has its partitions
    for applier in (first, second):
        applier.start(env=slow({"snapshot.post": 20000}))
    wait_until(lambda: first.alive() and second.alive() and green.one(WAITING) == 1, 60, "one waits for the other")
    blue.sql("update parent set v = v + 1", "insert into child select g, g - 300 from generate_series(301, 310) g")
    wait_applied(first, second)
    for applier in (first, second):
        applier.wait_synced()
        assert "event=retry " not in applier.log().split("event=assigned", 1)[1], applier.log()[-3000:]
    assert_built(blue, green)


@pytest.mark.parametrize("what", ["an applier joins", "the lock is lost"])
def test_keys_are_built_once(blue, green, halves, what):
    """Who builds gets other partitions meanwhile, and goes on; or loses the lock that keeps others out, and they build beside it."""
    family(blue)
    reader, first = halves(layout="tables", partitions=4)
    second = halves(layout="tables", partitions=4)[1]
    reader.start()
    first.start(env=slow({"snapshot.post": 20000}))
    wait_until(lambda: "event=snapshot-post" in first.log(), 60, "keys are being built")
    second.start()
    wait_until(lambda: first.alive() and second.alive() and green.one(WAITING) == 1, 60, "one waits for the other")
    if what == "the lock is lost":
        green.sql("select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database "
                  "where d.datname = current_database() and locktype = 'advisory' and granted")
    blue.sql("update parent set v = v + 1")
    wait_applied(first, second)
    for applier in (first, second):
        applier.wait_synced()
        begun = applier.log().split("event=assigned", 1)[1]
        assert what == "the lock is lost" or "event=retry " not in begun, begun[-3000:]
        assert "PG-42" not in begun, begun[-3000:]
    assert_built(blue, green)


def test_partitions_that_go_while_keys_are_built(blue, green, halves):
    """Another applier joins in the middle: who builds has no partition for a moment, and does not begin all over for that."""
    family(blue)
    config = {"snapshot": {"workers": 1}}
    quick = {"layout": "tables", "partitions": 2, "consumer_properties": {"heartbeat.interval.ms": 300}}
    reader, first = halves(config, **quick)
    second = halves(config, **quick)[1]
    reader.start()
    # a key or an index is begun every second, so also between the old partitions and the new ones
    first.start(env=slow({}, repeated={"pipeline.applier.assigned": 1500, "snapshot.post": 1000}))
    wait_until(lambda: "event=snapshot-post" in first.log(), 60, "keys are being built")
    second.start()
    wait_until(lambda: "event=snapshot-handed-over" in first.log(), 60, "a step without a partition")
    blue.sql("update parent set v = v + 1")
    wait_applied(first, second)
    for applier in (first, second):
        applier.wait_synced()
        assert "event=retry " not in applier.log().split("event=assigned", 1)[1], applier.log()[-3000:]
    assert_built(blue, green)


def test_a_table_that_another_applier_begins_is_ours(blue, green, halves):
    """Its first rows come while this one looks whether there are any that are somebody's."""
    family(blue)
    reader, first = halves(layout="tables", partitions=4)
    second = halves(layout="tables", partitions=4)[1]
    reader.start()
    # both have partitions and find no tables; one makes them, and looks while the other goes on
    both = {"pipeline.applier.assigned": 4000}
    first.start(env=slow({**both, "snapshot.applier.prepare": 2000, "snapshot.table_check": 3000}))
    second.start(env=slow({**both, "snapshot.applier.prepare": 3000}))
    wait_applied(first, second)
    for applier in (first, second):
        applier.wait_synced()
    assert_built(blue, green)


def test_a_foreign_key_waits_for_rows_that_are_not_applied_yet(blue, green, halves):
    """One applier may have children whose parents stand in partitions of another one that lags. Here the parents come last for sure:
    the source has none when the keys are built."""
    family(blue)
    with blue.connect() as c:
        c.execute("set session_replication_role = replica")
        c.execute(CHILDREN.format(301, 400))
    reader, first = halves(layout="tables", partitions=2)
    second = halves(layout="tables", partitions=2)[1]
    for process in (reader, first, second):
        process.start()
    wait_until(lambda: "event=snapshot-wait" in first.log() + second.log(), 90, "the key cannot be built")
    alarms = [a["code"] for s in (first, second) for a in s.status()["alarms"]]
    assert "SNAPSHOT-FK-WAITS" in alarms and not any(s.status()["ready"]["ready"] for s in (first, second))
    blue.sql(PARENTS.format(301, 400))
    wait_applied(first, second)
    for applier in (first, second):
        applier.wait_synced()
    assert_built(blue, green)
    assert not [a for s in (first, second) for a in s.status()["alarms"]]
