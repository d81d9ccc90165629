# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""An applier that is killed, or fails, at every point of the target's driver, while it loads a copy and while it follows."""

import pytest

from compare import assert_same
from servers import Database
from wait import wait_until


class Streams:
    """A stream of its own, with an empty target, as often as it is asked for."""

    def __init__(self, blue, green_cluster, make, broker, number):
        self.blue, self.cluster, self.make, self.broker, self.number, self.n = blue, green_cluster, make, broker, number, 0

    def __enter__(self):
        self.n += 1
        self.green = Database(self.cluster, f"gs{self.number}_{self.n}")
        kafka = {"bootstrap_servers": self.broker.bootstrap}
        self.halves = [self.make({"transport": {"type": "kafka", "kafka": kafka}}, green=self.green, verb=verb,
                                 name=f"fs{self.number}_{self.n}") for verb in ("reader", "applier")]
        return *self.halves, self.green

    def __exit__(self, *_):
        slot = self.halves[0].slot
        for half in self.halves:
            half.close()
        wait_until(lambda: not self.blue.rows("select 1 from pg_replication_slots where slot_name = %s and active",
                                              (slot,)), 20, "slot inactive")
        self.blue.sql(f"select pg_drop_replication_slot('{slot}')", f"drop publication if exists {slot}")
        self.green.drop()


def follow(blue, green, halves):
    """Copied, then changed, then equal."""
    def same():
        assert halves[0].running, halves[0].log()[-2000:]
        return green.one("select to_regclass('public.part')") and all(
            blue.rows(f"select count(*), sum(hashtext(x::text)) from {t} x") ==
            green.rows(f"select count(*), sum(hashtext(x::text)) from {t} x") for t in ("item", "part"))
    wait_until(same, 60, "copied")
    blue.sql("update item set v = v + 1", "delete from part where id % 9 = 0",
             "insert into part select coalesce(max(id), 0) + 1, 'new' from part")
    wait_until(same, 60, "the changes have come")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", ["abort", "error"])
def test_A01_every_point_of_an_applier(blue, green_cluster, make, kafka_broker, number, tmp_path, action):
    blue.sql("create table item(id int primary key, v int, note text)", "create table part(id int primary key, note text)",
             "insert into item select g, g, repeat('z', 2000) from generate_series(1, 5000) g",
             "insert into part select g, 'p' from generate_series(1, 50) g")
    streams = Streams(blue, green_cluster, make, kafka_broker, number)
    listing = tmp_path / "points"
    with streams as (reader, applier, green):
        reader.start(), applier.start(env={"SLUICE_FAULT_LIST": str(listing)})
        follow(blue, green, (reader, applier))
    points = [p for p in sorted(set(listing.read_text().split())) if p.startswith("sink.pg.")]
    assert {"sink.pg.chunk.emptied", "sink.pg.chunk.marks", "sink.pg.before_commit"} <= set(points), points
    for point in points:
        with streams as (reader, applier, green):
            parts = blue.one("select count(*) from part")
            reader.start(), applier.start(env={"SLUICE_FAULT": f"{point}:{action}"})
            if action == "abort":
                assert applier.wait_exit(60) == -9, point
                applier.start()
            follow(blue, green, (reader, applier))
            assert green.rows("select table_name, sum(rows) from sluice.snapshot_chunks group by 1 order by 1") == [
                ("public.item", 5000), ("public.part", parts)], point
            assert applier.stop() == 0
            assert_same(blue, green)

