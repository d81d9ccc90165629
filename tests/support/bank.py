# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A load whose every look tells whether a transaction was split, lost or doubled."""

import random
import threading

from wait import pause

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
        while not self.stop.wait(0.004):
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
