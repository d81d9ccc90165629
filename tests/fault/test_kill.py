# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""kill -9 everywhere: at every fault point and at random, under transfers between accounts with a constant sum."""

import os
import random
import threading

import pytest

from compare import assert_same
from servers import Database
from wait import pause, wait_until

ACCOUNTS = 60
SUM = ACCOUNTS * 1000


class Bank:
    """Transfers on blue, looks at green: the sum is the same in every look."""

    def __init__(self, blue, green, seed):
        self.blue, self.green, self.seed = blue, green, seed
        self.stop = threading.Event()
        self.threads, self.bad, self.transfers, self.looks = [], [], 0, 0
        self.check = False

    def create(self):
        self.blue.sql("create table account(id int primary key, amount int not null, note text)",
                      f"insert into account select g, 1000, repeat('n', 50) from generate_series(1, {ACCOUNTS}) g",
                      "create table history(n bigserial primary key, a int, b int, amount int)",
                      "create table log(x int)", "alter table log replica identity full")

    def run(self, work):
        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def start(self):
        self.run(self.transfer)
        self.run(self.look)
        return self

    def transfer(self):
        rng = random.Random(self.seed)
        c = None
        while not self.stop.is_set():
            try:
                c = c or self.blue.connect()
                a, b = rng.sample(range(1, ACCOUNTS + 1), 2)
                amount = rng.randint(1, 50)
                with c.transaction():
                    c.execute("update account set amount = amount - %s where id = %s", (amount, a))
                    c.execute("update account set amount = amount + %s where id = %s", (amount, b))
                    c.execute("insert into history(a, b, amount) values (%s, %s, %s)", (a, b, amount))
                    if rng.random() < 0.1:
                        c.execute("insert into log values (%s)", (amount,))
                    if rng.random() < 0.05:
                        c.execute("update account set id = id + 1000 where id = %s", (a,))
                        c.execute("update account set id = id - 1000 where id = %s", (a + 1000,))
                    if rng.random() < 0.05:
                        c.execute("delete from log where ctid = (select min(ctid) from log)")
                self.transfers += 1
            except Exception:
                c = None
                pause(0.05)

    def look(self):
        c = None
        while not self.stop.is_set():
            try:
                c = c or self.green.connect()
                total, n, doubled = c.execute(
                    "select (select sum(amount) from account), (select count(*) from account), "
                    "(select count(*) - count(distinct n) from history)").fetchone()
                if self.check:
                    self.looks += 1
                    if total != SUM or n != ACCOUNTS or doubled:
                        self.bad.append((total, n, doubled))
            except Exception:
                c = None
            pause(0.03)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.bad, self.bad[:5]


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
