# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""kill -9 everywhere: at every fault point and at random, under transfers between accounts with a constant sum."""

import collections
import os
import random

from bank import Bank
from compare import assert_same
from servers import Database
from wait import pause, wait_until


def points_passed(s, bank, tmp_path):
    """How often (three times at most) runs under load pass each fault point of the stream: {point: times in every one of
    two}, the second a start that finds work done, as those to come do. Leaves s stopped, the bank running."""
    passed = []
    for run in range(2):
        listing = tmp_path / f"points{run}"
        s.start(env={"SLUICE_FAULT_LIST": str(listing)})
        s.wait_synced()
        if not run:
            bank.check = True
            bank.start()
        s.wait_applied()
        assert s.stop() == 0
        passed.append(collections.Counter(p for p in listing.read_text().split() if not p.startswith("snapshot.")))
    return {p: min(n, passed[1][p]) for p, n in sorted(passed[0].items())}


def test_O01_A01_kill_at_every_fault_point(bank, blue, green, make, tmp_path):
    s = make()
    points = points_passed(s, bank, tmp_path)
    # what only the first start passes is test_kill_copy's
    points = {p: n for p, n in points.items() if n}
    assert len(points) >= 12, points
    for point, times in points.items():
        for hit in (1, 3) if times == 3 else (1,):
            s.start(env={"SLUICE_FAULT": f"{point}:abort@{hit}"})
            try:
                wait_until(lambda: s.process.poll() is not None, 30, f"{point}@{hit}")
            except AssertionError:
                s.kill9()  # passed fewer times than before
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
