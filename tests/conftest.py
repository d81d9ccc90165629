# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Fixtures: one pair of servers for all tests of a worker, fresh databases for each test."""

import itertools
import pathlib
import sys

import pytest
from xdist.scheduler import LoadScopeScheduling

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))

from bank import Bank  # noqa: E402
from kafka import Broker  # noqa: E402
from proxy import Proxy  # noqa: E402
from servers import Cluster, Database  # noqa: E402
from sluice import Sluice  # noqa: E402

numbers = itertools.count(1)

# what takes longer than ten seconds begins first, so that no worker is left with it alone at the end; the longest of all first
LONG = ["test_kill_copy", "test_kill_kafka_sink", "test_kafka_brokers", "test_kill.py", "test_kill_kafka", "test_A16_a_broker",
        "test_K16", "test_K28_a_swap", "test_P13_memory", "test_every_step_of_taking_over", "test_missing_acls",
        "test_ready_under_steady_writes", "test_two_readers_one_log", "test_copy_begun_anew", "test_C8_every_way", "test_versions"]


class Scheduling(LoadScopeScheduling):
    """One test after the other to whoever is free, in the order above; three brokers are started by one worker only."""

    def _split_scope(self, nodeid):
        return "brokers" if "test_kafka_brokers" in nodeid else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: next((i for i, name in enumerate(LONG) if name in item.nodeid), len(LONG)))


@pytest.fixture(scope="session")
def blue_cluster():
    cluster = Cluster("blue", settings="wal_level = logical\nwal_sender_timeout = 20s")
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def green_cluster():
    cluster = Cluster("green")
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def kafka_broker():
    broker = Broker()
    yield broker
    broker.destroy()


@pytest.fixture
def own_broker():
    """A broker that the test may kill; properties as arguments."""
    made = []

    def factory(**properties):
        made.append(Broker(**properties))
        return made[-1]

    yield factory
    for broker in made:
        broker.destroy()


@pytest.fixture
def number():
    return next(numbers)


@pytest.fixture
def blue(blue_cluster, number):
    db = Database(blue_cluster, f"b{number}")
    yield db
    db.drop()


@pytest.fixture
def green(green_cluster, number):
    db = Database(green_cluster, f"g{number}")
    yield db
    db.drop()


@pytest.fixture
def make(blue, green, number):
    """Makes Sluice objects that end with the test; names differ between tests, since slots belong to the server."""
    made = []

    def factory(config=None, **kw):
        kw.setdefault("name", f"t{number}")
        instance = Sluice(kw.pop("blue", blue), kw.pop("green", green), config, **kw)
        made.append(instance)
        return instance

    yield factory
    for instance in made:
        instance.close()


@pytest.fixture
def bank(blue, green, number):
    """Transfers between accounts; what is not ended yet ends with the test."""
    b = Bank(blue, green, number)
    b.create()
    yield b
    b.stop.set()
    for t in b.threads:
        t.join()


@pytest.fixture
def own_clusters():
    """A pair of servers that the test may kill."""
    made = []

    def factory(name, settings="wal_level = logical", bindir=None):
        made.append(Cluster(name, bindir=bindir, settings=settings))
        return made[-1]

    yield factory
    for cluster in made:
        cluster.destroy()


@pytest.fixture
def proxy_for():
    made = []

    def factory(port):
        made.append(Proxy(port))
        return made[-1]

    yield factory
    for proxy in made:
        proxy.close()
