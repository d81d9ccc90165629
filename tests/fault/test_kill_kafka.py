# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""kill -9 and SIGSTOP of readers, appliers and the broker, under transfers between accounts with a constant sum."""

import os
import random
import re
import signal

import pytest

from compare import assert_same
from kafka import QUICK
from wait import pause, wait_until


@pytest.fixture
def half(make, own_broker, number):
    """half(verb) makes one half of the stream; all share a broker that the test may kill."""
    broker = own_broker(**QUICK)

    def factory(verb, kind="json"):
        return make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": broker.bootstrap, "format": kind}}},
                    name=f"k{number}", verb=verb)

    factory.broker = broker
    return factory


def whole(bank, blue, green, *running):
    """The load has ended and everything has arrived."""
    bank.end()

    def same():
        for s in running:
            s.alive()
        return all(blue.rows(f"select count(*), coalesce(sum(hashtext(x::text)), 0) from {t} x") ==
                   green.rows(f"select count(*), coalesce(sum(hashtext(x::text)), 0) from {t} x")
                   for t in ("account", "history", "log"))
    wait_until(same, 90, "green has what blue has")
    assert_same(blue, green)
    assert bank.looks > 20


def begun(bank, *running):
    """The copy is over and the stream has begun: from now on green is a consistent prefix of blue."""
    bank.start()

    def streams():
        return sum(s.alive() and s.metric("applied_transactions_total") or 0 for s in running) > 20
    wait_until(streams, 90, "the stream has begun")
    bank.check = True


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_random_kills_of_both_halves(bank, blue, green, half, kind):
    rng = random.Random(int(os.environ.get("SEED", "1")))
    both = [half("reader", kind).start(), half("applier", kind).start()]
    begun(bank, *both)
    for _ in range(10):
        pause(rng.uniform(0.2, 1.5))
        s = rng.choice(both)
        s.kill9()
        s.start()
    whole(bank, blue, green, *both)


def test_stopped_appliers_wake_up(bank, blue, green, half):
    """Three appliers of one partition; whoever has it is stopped, another takes over, the first wakes up."""
    rng = random.Random(int(os.environ.get("SEED", "2")))
    reader = half("reader").start()
    appliers = [half("applier").start() for _ in range(3)]
    begun(bank, reader, *appliers)
    for _ in range(3):
        epoch = green.one("select max(epoch) from sluice.progress")
        claims = [(int(e), s) for s in appliers for e in re.findall(r"a partition is ours.* epoch=(\d+) ", s.log())]
        owner = max(claims, key=lambda claim: claim[0])[1]
        owner.signal(signal.SIGSTOP)
        wait_until(lambda: green.one("select max(epoch) from sluice.progress") > epoch, 60, "a successor")
        pause(rng.uniform(0.1, 1))
        owner.signal(signal.SIGCONT)
    whole(bank, blue, green, reader, *appliers)


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_storm_of_broker_and_halves(bank, blue, green, half, kind):
    rng = random.Random(int(os.environ.get("SEED", "3")))
    both = [half("reader", kind).start(), half("applier", kind).start()]
    begun(bank, *both)
    for i in range(6 * int(os.environ.get("ROUNDS", "1"))):
        pause(rng.uniform(0.5, 2))
        if i % 3 == 0:
            half.broker.kill9()
            pause(rng.uniform(0, 1))
            half.broker.start()
        elif i % 3 == 1:
            half.broker.pause()
            pause(rng.uniform(0.5, 3))
            half.broker.go_on()
        else:
            s = rng.choice(both)
            s.signal(signal.SIGSTOP)
            pause(rng.uniform(0.5, 6))  # the group gives a member up after three seconds
            s.signal(signal.SIGCONT)
    whole(bank, blue, green, *both)


def test_kill_of_the_applier_at_every_fault_point(bank, blue, green, half, tmp_path):
    reader, applier = half("reader").start(), half("applier")
    listing = tmp_path / "points"
    applier.start()
    begun(bank, reader, applier)
    applier.stop()
    applier.start(env={"SLUICE_FAULT_LIST": str(listing)})
    wait_until(lambda: applier.alive() and (applier.metric("applied_transactions_total") or 0) > 50, 60, "it applies")
    applier.stop()
    points = sorted(p for p in set(listing.read_text().split()) if not p.startswith("snapshot."))
    assert len([p for p in points if p.startswith("transport.kafka.")]) >= 3, points
    for point in points:
        applier.start(env={"SLUICE_FAULT": f"{point}:abort@1"})
        wait_until(lambda: applier.process.poll() is not None, 30, point)
        assert applier.process.returncode == -9, (point, applier.log()[-2000:])
    applier.start(env={"SLUICE_FAULT": ",".join(f"{p}:error@{2 + i % 4}" for i, p in enumerate(points))})
    wait_until(lambda: applier.alive() and (applier.metric("retries_total") or 0) >= len(points) // 2, 60, "retries")
    whole(bank, blue, green, reader, applier)
