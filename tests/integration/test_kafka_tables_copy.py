# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables, the end of a copy with several appliers: one builds keys and indexes, and foreign keys wait for whoever lags."""

from compare import assert_same
from test_kafka import halves  # noqa: F401
from test_kafka_snapshot import foreign, indexes
from test_kafka_tables import wait_applied
from wait import wait_until

PARENTS = "insert into parent select g, g % 7, 'p' || g from generate_series({}, {}) g"
CHILDREN = "insert into child select g, {1} + {0} - g from generate_series({0}, {1}) g"


def family(db):
    db.sql("create table parent(id int primary key, v int, note text)", PARENTS.format(1, 300),
           "create table child(id int primary key, parent int not null references parent)", CHILDREN.format(1, 300),
           "create index parent_v on parent(v)", "create index parent_note on parent(note)", "create index child_parent on child(parent)")


def slow(points, hits=1):
    """Each point takes so many ms, the first times."""
    return {"SLUICE_FAULT": ",".join(f"{point}:sleep={ms}@{i}" for point, ms in points.items() for i in range(1, hits + 1))}


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
    for applier in (first, second):
        applier.start(env=slow({"snapshot.post": 1500}, 4))
    waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database " \
              "where d.datname = current_database() and locktype = 'advisory' and not granted"
    wait_until(lambda: first.alive() and second.alive() and green.one(waiting) == 1, 60, "one waits for the other")
    blue.sql("update parent set v = v + 1", "insert into child select g, g - 300 from generate_series(301, 310) g")
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
