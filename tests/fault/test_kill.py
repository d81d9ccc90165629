# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""kill -9 everywhere: at every fault point and at random, under transfers between accounts with a constant sum."""

import os
import random

import pytest

from bank import Bank
from compare import assert_same
from servers import Database
from wait import pause, wait_until


@pytest.fixture
def bank(blue, green, number):
    b = Bank(blue, green, number)
    b.create()
    yield b
    b.stop.set()
    for t in b.threads:
        t.join()


def points_passed(s, bank, tmp_path):
    """A whole run under load: every fault point of the stream that it passes. Leaves s stopped, the bank running."""
    listing = tmp_path / "points"
    s.start(env={"SLUICE_FAULT_LIST": str(listing)})
    s.wait_synced()
    bank.check = True
    bank.start()
    s.wait_applied()
    assert s.stop() == 0
    return [p for p in sorted(set(listing.read_text().split())) if not p.startswith("snapshot.")]


def test_O01_A01_kill_at_every_fault_point(bank, blue, green, make, tmp_path):
    s = make()
    points = points_passed(s, bank, tmp_path)
    assert len(points) >= 12, points
    for point in points:
        for hit in (1, 3):
            s.start(env={"SLUICE_FAULT": f"{point}:abort@{hit}"})
            try:
                wait_until(lambda: s.process.poll() is not None, 12, f"{point}@{hit}")
            except AssertionError:
                s.kill9()  # a point that is passed fewer times in a run
            assert s.process.returncode == -9, (point, s.log()[-2000:])
            assert s.confirmed_lsn() <= s.stored_lsn(), point
    s.start()
    bank.end()
    s.wait_applied()
    assert_same(blue, green)
    assert bank.transfers > 50 and bank.looks > 50


def test_error_at_every_fault_point(bank, blue, green, make, tmp_path):
    s = make()
    points = points_passed(s, bank, tmp_path)
    s.start(env={"SLUICE_FAULT": ",".join(f"{p}:error@{3 + i % 5}" for i, p in enumerate(points))})
    wait_until(lambda: s.alive() and (s.metric("retries_total") or 0) >= len(points) // 2, 60, "retries")
    bank.end()
    s.wait_applied()
    assert_same(blue, green)


def test_random_kills_of_sluice(bank, blue, green, make):
    rng = random.Random(int(os.environ.get("SEED", "1")))
    s = make().start()
    s.wait_synced()
    bank.check = True
    bank.start()
    for _ in range(12):
        pause(rng.uniform(0.05, 1.2))
        s.kill9()
        assert s.confirmed_lsn() <= s.stored_lsn()
        s.start()
    bank.end()
    s.wait_applied()
    assert_same(blue, green)
    assert bank.looks > 50


def test_random_kills_during_the_first_copy(bank, blue, green, make):
    rng = random.Random(7)
    blue.sql("create table filler as select g as id, repeat('f', 300) as w from generate_series(1, 40000) g",
             "alter table filler add primary key (id)")
    s = make({"snapshot": {"chunk": "1MiB"}})
    bank.start()
    for _ in range(8):
        s.start()
        pause(rng.uniform(0.1, 0.9))
        s.kill9()
    s.start()
    s.wait_synced()
    bank.check = True
    pause(1)
    bank.end()
    s.wait_applied()
    assert_same(blue, green)


def test_storm_of_both_servers(own_clusters, make, number):
    rng = random.Random(3)
    clusters = own_clusters("stormblue"), own_clusters("stormgreen", "")
    blue, green = Database(clusters[0], "b"), Database(clusters[1], "g")
    bank = Bank(blue, green, number)
    bank.create()
    s = make(blue=blue, green=green).start()
    s.wait_synced()
    bank.check = True
    bank.start()
    try:
        for i in range(6):
            pause(rng.uniform(0.3, 1.0))
            if i % 3 == 2:
                s.kill9()
                s.start()
            else:
                clusters[i % 3].kill9()
                clusters[i % 3].start()
        blue.reconnect()
        green.reconnect()
        pause(1)
    finally:
        bank.stop.set()
    bank.end()
    s.wait_applied()
    assert_same(blue, green)
    blue.conn.close()
    green.conn.close()
