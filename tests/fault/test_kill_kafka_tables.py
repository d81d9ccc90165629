# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables under storms: readers, appliers and the broker are killed and stopped, partitions move, stopped ones wake up.

ROUNDS faults of each kind (1), in an order and with pauses that SEED decides."""

import contextlib
import json
import os
import random
import signal
import time

import psycopg
import pytest

from compare import assert_same, differences
from kafka import QUICK
from keyed import TABLES, Keyed
from pack import unpacked
from wait import pause, wait_until
from witness import ConfirmedLog, Witness, followed

PARTITIONS = 4
# a stopped member is given up soon, a working one never on a busy machine
MEMBER = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "300"}


class Storm:
    """Two readers, one of them standing by, and three appliers of one log."""

    def __init__(self, blue, green, broker, make, name, kind, seed):
        self.blue, self.green, self.broker = blue, green, broker
        self.rng = random.Random(seed)
        self.moved = self.taken_over = 0
        self.done = []
        kafka = {"bootstrap_servers": broker.bootstrap, "layout": "tables", "partitions": PARTITIONS, "format": kind,
                 "consumer_properties": MEMBER}
        config = {"transport": {"type": "kafka", "kafka": kafka}, "snapshot": {"chunk": "1MiB"}}
        self.readers = [make(config, name=name, verb="reader") for _ in range(2)]
        self.appliers = [make(config, name=name, verb="applier") for _ in range(3)]

    def start(self):
        for s in (*self.readers, *self.appliers):
            s.start()

    def alive(self):
        return all(s.alive() for s in (*self.readers, *self.appliers))

    def ruling(self):
        """The reader that has the lease."""
        def look():
            return next((r for r in self.readers if r.alive() and ((r.status() or {}).get("state") or {}).get("name") == "running"), None)
        return wait_until(look, 60, "one of the readers rules")

    def epochs(self):
        with contextlib.suppress(psycopg.Error):
            return int(self.green.one("select coalesce(sum(epoch), 0) from sluice.progress"))
        return 0  # the copy has not made it yet

    def kill(self, s):
        s.kill9()
        pause(self.rng.uniform(0, 0.5))
        s.start()

    def kill_reader(self):
        self.kill(self.ruling())

    def kill_applier(self):
        self.kill(self.rng.choice(self.appliers))

    def kill_all(self):
        for s in (self.readers[0], self.readers[1], *self.appliers):
            s.kill9()
        for s in (*self.appliers, *self.readers):
            s.start()

    def stop_reader(self):
        """For less than it takes to give itself up."""
        reader = self.ruling()
        reader.signal(signal.SIGSTOP)
        pause(self.rng.uniform(0.3, 2))
        reader.signal(signal.SIGCONT)

    def replace_reader(self):
        """It is stopped with what its producer holds, loses lease and slot to the other one, and wakes up behind it."""
        old = self.ruling()
        other = next(r for r in self.readers if r is not old)
        runs = other.log().count("streaming has begun")
        old.signal(signal.SIGSTOP)
        self.blue.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_%' and "
                      "datname = current_database()")
        wait_until(lambda: other.alive() and other.log().count("streaming has begun") > runs, 60, "the other one takes over")
        self.taken_over += 1
        pause(self.rng.uniform(0, 0.5))
        old.signal(signal.SIGCONT)

    def leave_and_join(self):
        applier = self.rng.choice(self.appliers)
        assert applier.stop() == 0, applier.log()[-3000:]
        pause(self.rng.uniform(0, 1))
        applier.start()

    def holds(self, applier):
        partitions = ((applier.alive() and applier.status() or {}).get("transport") or {}).get("partitions") or []
        return any(p["held"] for p in partitions)

    def stop_applier(self):
        """Until others have its partitions."""
        applier = wait_until(lambda: next((a for a in self.rng.sample(self.appliers, 3) if self.holds(a)), None), 60,
                             "one of the appliers has partitions")
        before = self.epochs()
        applier.signal(signal.SIGSTOP)
        wait_until(lambda: self.epochs() > before, 60, "a partition has moved")
        self.moved += 1
        pause(self.rng.uniform(0, 1))
        applier.signal(signal.SIGCONT)

    def kill_broker(self):
        self.broker.kill9()
        pause(self.rng.uniform(0, 0.5))
        self.broker.start()

    def stop_broker(self):
        self.broker.pause()
        pause(self.rng.uniform(0.5, 3))
        self.broker.go_on()

    def rage(self, faults):
        for fault in faults:
            self.alive()
            began = time.monotonic()
            fault()
            self.done.append(f"{fault.__name__} {time.monotonic() - began:.1f}s")
            pause(self.rng.uniform(0.1, 1.2))

    def tell(self):
        for s in (*self.readers, *self.appliers):
            print(s.verb, s.port, json.dumps(s.status())[:3000], s.log()[-3000:], sep="\n")
        print(self.green.rows("select topic, partition, epoch, \"offset\", reign from sluice.progress order by 1, 2"))
        print(self.green.rows("select topic, partition, passed from sluice.passed order by 1, 2"))
        print(*differences(self.blue, self.green), sep="\n")

    def wait_synced(self):
        wait_until(lambda: self.alive() and any((a.status() or {}).get("phase") in ("in-sync", "ready") for a in self.appliers), 60,
                   "an applier is in sync")

    def wait_same(self):
        query = " union all ".join(f"select '{t}', count(*), coalesce(sum(hashtext(x::text)), 0) from {t} x" for t in TABLES)
        wait_until(lambda: self.alive() and self.green.rows(query) == self.blue.rows(query), 120, "green has what blue has")


def position(lsn):
    return f"{lsn:016x}{0:016x}"


def assert_log_complete(storm, name, expected, since):
    """Each change once, behind the one before it; before since, tables that were copied again may leave some out."""
    total, twice, late = 0, 0, 0
    for table in TABLES:
        topic, found = f"{name}.public.{table}", {}
        parts = storm.broker.partitions(topic)
        assert parts == (1 if table == "tied" else PARTITIONS)
        keys = {}
        for part in range(parts):
            messages = list(unpacked(storm.broker.messages(topic, part)))
            for _, key, _, headers in messages:
                if headers.get("sluice.op", "-") in "IUDR" and key is not None:
                    assert keys.setdefault(key, part) == part, f"{table}: a key in two partitions"
            order, ops, again, replaced = followed(messages)
            ops = {place: op for place, op in ops.items() if op in "IUDT"}
            assert order == sorted(order), table
            assert all(op == "T" and found[p] == "T" for p, op in ops.items() if p in found), f"{table}: a change in two partitions"
            found.update(ops)
            twice, late, total = twice + again, late + replaced, total + len(ops)
        wanted = expected.get(f"public.{table}", {})
        assert not found.items() - wanted.items(), f"{table}: the source knows nothing of {sorted(found.items() - wanted.items())[:3]}"
        missing = sorted(i for i in wanted.items() - found.items() if i[0] >= since)
        assert not missing, f"{table}: {len(missing)} of {len(wanted)} changes are not in the log: {missing[:3]}"
    return total, twice, late


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["json", "binary"])
def test_storm(blue, green, make, own_broker, number, kind):
    seed, rounds = int(os.environ.get("SEED", "1")), int(os.environ.get("ROUNDS", "1"))
    print(f"SEED={seed} ROUNDS={rounds}", flush=True)
    storm = Storm(blue, green, own_broker(**QUICK), make, f"ks{number}", kind, f"{seed} {kind}")
    load = Keyed(blue, green, seed)
    witness = Witness(blue, number, {"public.pair": 2})
    began = time.monotonic()
    try:
        storm.start()
        load.start()
        with ConfirmedLog(storm.readers[0], storm.broker):
            copying = [storm.kill_reader, storm.kill_applier, storm.kill_all, storm.stop_reader, storm.kill_broker]
            storm.rng.shuffle(copying)
            storm.rage(copying[:2 + rounds])
            storm.wait_synced()
            storm.done.append(f"in sync after {time.monotonic() - began:.1f}s")
            since = position(int(blue.one("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")))
            faults = [storm.kill_reader, storm.kill_applier, storm.stop_reader, storm.replace_reader, storm.leave_and_join,
                      storm.stop_applier, storm.kill_broker, storm.stop_broker]
            for _ in range(rounds):
                storm.rng.shuffle(faults)
                storm.rage(faults)
            load.end()
            storm.done.append(f"the load ends after {time.monotonic() - began:.1f}s")
            storm.wait_same()
            storm.done.append(f"the same after {time.monotonic() - began:.1f}s")
    except AssertionError:
        storm.tell()
        raise
    finally:
        load.end()
        print(*storm.done, f"moved={storm.moved} taken_over={storm.taken_over} transactions={load.transactions} looks={load.looks}",
              sep="\n")
    assert_same(blue, green)
    assert not load.back, f"rows of the target went back (key, version, newer one before): {load.back[:5]}"
    total, twice, late = assert_log_complete(storm, f"ks{number}", witness.changes(), since)
    print(f"after {time.monotonic() - began:.1f}s: {total} changes in the log, {twice} twice, {late} of readers that were replaced")
    assert not twice
    assert load.transactions > 200 and load.looks > 50 and storm.moved and storm.taken_over
