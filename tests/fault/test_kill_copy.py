# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A whole migration for every fault point that the first start passes: killed there, or failed there, and gone on."""

import threading

import pytest

from compare import assert_same
from servers import Database
from wait import wait_until

SNAPSHOT = {"snapshot": {"chunk": "1MiB", "workers": 2}}


@pytest.fixture
def writes(blue):
    """Changes of every kind while migrations come and go."""
    over = threading.Event()

    def run():
        with blue.connect() as c:
            n = 0
            while not over.wait(0.01):
                n += 1
                with c.transaction():
                    c.execute("insert into t(v, w) values (%s, 'new')", (n,))
                    c.execute("update t set v = v + 1 where id = %s", (1 + n * 37 % 9000,))
                    c.execute("insert into nokey values (%s)", (n % 10,))
                    if n % 5 == 0:
                        c.execute("delete from child where t = %s", (1 + n % 3000,))
                        c.execute("delete from nokey where ctid = (select min(ctid) from nokey)")

    blue.sql("create table t(id bigserial primary key, v int, w text)",
             "insert into t(v, w) select g, repeat('x', 200) from generate_series(1, 12000) g",
             "create table child(id int primary key, t bigint references t)",
             "insert into child select g, g from generate_series(1, 3000) g",
             "create table nokey(a int)", "alter table nokey replica identity full",
             "insert into nokey select g % 10 from generate_series(1, 500) g")
    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


class Migrations:
    """One after the other, each with a name and a target of its own."""

    def __init__(self, blue, cluster, make, number):
        self.blue, self.cluster, self.make, self.number, self.count = blue, cluster, make, number, 0

    def __enter__(self):
        self.count += 1
        self.name = f"k{self.number}x{self.count}"
        self.green = Database(self.cluster, self.name)
        self.sluice = self.make(SNAPSHOT, green=self.green, name=self.name)
        return self.sluice, self.green

    def __exit__(self, *_):
        self.sluice.close()
        wait_until(lambda: not self.blue.rows("select 1 from pg_replication_slots where slot_name like %s and active",
                                              (self.sluice.slot + "%",)), 20, "slot inactive")
        self.blue.sql(f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like '{self.sluice.slot}%'",
                      f"drop publication if exists {self.sluice.slot}")
        self.green.drop()


@pytest.fixture
def migrations(blue, green_cluster, make, number, writes):
    return Migrations(blue, green_cluster, make, number)


def settle(s, blue, green, point):
    """The writer waits behind a lock for a moment: the rest is applied, and both sides are compared."""
    with blue.connect() as c:
        c.execute("begin; lock table t, child, nokey in exclusive mode")
        s.until_synced()
        assert_same(blue, green)
        assert green.one("select count(*) from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace") == 1, point
        c.execute("commit")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", ["abort", "error"])
def test_O01_S02_every_point_of_the_first_start(blue, migrations, tmp_path, action):
    listing = tmp_path / "points"
    with migrations as (s, green):
        s.start(env={"SLUICE_FAULT_LIST": str(listing)})
        s.wait_synced()
        s.wait_applied()
        assert s.stop() == 0
    points = sorted(set(listing.read_text().split()))
    assert len([p for p in points if p.startswith("snapshot.")]) >= 10, points
    for point in points:
        with migrations as (s, green):
            s.start(env={"SLUICE_FAULT": f"{point}:{action}@{2 if point.startswith('snapshot.chunk') else 1}"})
            if action == "abort":
                assert s.wait_exit(30) == -9, point
                s.start()
            else:
                try:
                    s.wait_status(lambda st: st["phase"] in ("in-sync", "ready"), point, 60)
                except AssertionError:
                    assert not s.running and s.process.returncode in (69, 75), f"{point}: {s.log()[-3000:]}"
                    s.start()
            s.wait_synced()
            s.wait_applied()
            assert s.stop() == 0, point
            settle(s, blue, green, point)
