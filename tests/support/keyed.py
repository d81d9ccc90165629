# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A load for tables whose rows are ordered by key alone, and a look at the target that tells when a row went back in time."""

import random
import threading

import psycopg

from wait import pause

TABLES = ("register", "pair", "whole", "big", "tied", "wiped", "history", "filler")
WRITERS = 2  # each has its own keys, so a row's versions are in the order of their commits
KEYS = 1200
MADE = """
create table register(id int primary key, ver bigint not null, note text);
insert into register select g, 0, repeat('x', g % 40) from generate_series(1, 1000) g;
create table pair(a int, b text, v int, primary key (a, b));
insert into pair select g, 'k' || g, g from generate_series(1, 300) g;
create table whole(id int primary key, v text);
alter table whole replica identity full;
insert into whole select g, 'w' from generate_series(1, 300) g;
create table big(id int primary key, doc text not null, n int);
alter table big alter doc set storage external;
insert into big select g, repeat(md5(g::text), 100), 0 from generate_series(1, 60) g;
create table tied(id int primary key, email text not null unique deferrable initially deferred);
insert into tied select g, 'm' || g from generate_series(1, 100) g;
create table wiped(id int primary key, v int);
insert into wiped select g, 0 from generate_series(1, 200) g;
create table history(n bigserial primary key, w int, v int);
create table filler(id int primary key, w text);
insert into filler select g, repeat('f', 300) from generate_series(1, 12000) g;
create sequence version;
"""


class Keyed:
    """Writers on blue; a look at green, over and over: no row of the register ever gets an older version."""

    def __init__(self, blue, green, seed):
        self.blue, self.green, self.seed = blue, green, seed
        self.stop = threading.Event()
        self.threads, self.back, self.transactions, self.looks, self.refused = [], [], 0, 0, 0
        self.blue.sql(*MADE.strip().split(";\n")[:-1], MADE.strip().split(";\n")[-1].rstrip(";"))

    def start(self):
        for target in (*(lambda me=i: self.write(me) for i in range(WRITERS)), self.look):
            self.threads.append(threading.Thread(target=target))
            self.threads[-1].start()

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        self.threads = []

    def statements(self, rng, me):
        """One to four changes, each of rows whose keys are this writer's."""
        def key(least=1, most=KEYS):
            return rng.randrange(least, most) // WRITERS * WRITERS + me

        for _ in range(rng.randint(1, 4)):
            a, b = key(), key()
            yield rng.choice((
                f"update register set ver = nextval('version') where id = {a}",
                f"update register set ver = nextval('version') where id in ({a}, {b})",
                f"update register set ver = nextval('version'), id = {b} where id = {a}",
                f"delete from register where id = {a}",
                f"insert into register values ({a}, nextval('version'), 'new') on conflict do nothing",
                f"insert into register values ({b}, nextval('version'), 'new') on conflict do nothing",
                f"update pair set v = v + 1 where a = {key(1, 300)}",
                f"update pair set b = md5(b) where a = {key(1, 300)}",
                f"update whole set v = md5(v) where id = {key(1, 300)}",
                f"update whole set id = {key(1, 400)} where id = {key(1, 300)}",
                f"update big set n = n + 1 where id = {key(1, 60)}",
                f"update big set id = {key(1, 90)}, n = n + 1 where id = {key(1, 90)}",
                f"update big set doc = repeat(md5({rng.random()}::text), 100) where id = {key(1, 90)}",
                f"delete from big where id = {key(1, 90)}",
                f"insert into big values ({key(1, 90)}, repeat(md5({rng.random()}::text), 100), 0) on conflict do nothing",
                "update tied x set email = y.email from tied y "
                f"where (x.id, y.id) in (({(s := key(1, 100))}, {(t := key(1, 100))}), ({t}, {s})) and x.id <> y.id",
                f"insert into wiped values ({key(1, 400)}, 1) on conflict do nothing",
                f"update wiped set v = v + 1 where id = {key(1, 400)}",
                "truncate wiped" if rng.random() < 0.1 else f"delete from wiped where id = {key(1, 400)}",
                f"insert into history(w, v) select {me}, g from generate_series(1, {rng.randint(1, 20)}) g",
            ))

    def write(self, me):
        rng = random.Random(f"{self.seed} {me}")
        c = None
        while not self.stop.wait(0.01):
            try:
                c = c or self.blue.connect()
                with c.transaction(force_rollback=rng.random() < 0.03):
                    for statement in self.statements(rng, me):
                        c.execute(statement)
                self.transactions += 1
            except psycopg.IntegrityError:
                self.refused += 1  # the new key is taken
            except psycopg.Error:
                c = None
                pause(0.05)

    def look(self):
        newest, c = {}, None
        while not self.stop.is_set():
            try:
                c = c or self.green.connect()
                for key, version in c.execute("select id, ver from register").fetchall():
                    if version < newest.get(key, 0):
                        self.back.append((key, version, newest[key]))
                    newest[key] = version
                self.looks += 1
            except psycopg.Error:
                c = None
            pause(0.03)
