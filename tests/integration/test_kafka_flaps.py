# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Ways to the broker and to the target that come and go: what each half does meanwhile, and how often it tries."""

import time

import pytest

from compare import assert_same
from wait import pause, wait_until

RETRY = {"base": "100ms", "max": "400ms", "breaker": {"failures": 6, "pause": "3s"}}


class Flapping:
    """Reader and applier, each with a way of its own to the broker; one to the target."""

    def __init__(self, blue, green, make, broker, ways, name):
        self.blue, self.green, self.ways = blue, green, ways
        self.to_broker, self.to_green = ways
        kafka = {"bootstrap_servers": f"127.0.0.1:{self.to_broker.port}"}
        config = {"transport": {"type": "kafka", "kafka": kafka}, "retry": RETRY}
        self.reader = make(config, name=name, verb="reader")
        self.applier = make(config, name=name, verb="applier", target_uri=green.cluster.uri(green.name, port=self.to_green.port))

    def change(self):
        self.blue.sql("update t set v = v + 1 where id <= 100")

    def flap(self, way):
        for _ in range(4):
            way.refuse = not way.refuse
            way.cut()
            self.change()
            pause(0.7)
        way.refuse = False

    def wait_same(self):
        self.change()
        query = "select sum(v), count(*) from t"
        wait_until(lambda: self.reader.alive() and self.applier.alive() and self.green.rows(query) == self.blue.rows(query), 60,
                   "green has what blue has")


def down(way):
    way.refuse = True
    way.cut()
    return way.accepted, time.monotonic()


def tries(way, since):
    """Connections a second since the way was closed."""
    return (way.accepted - since[0]) / (time.monotonic() - since[1])


@pytest.fixture
def flapping(blue, green, make, own_broker, proxy_for, green_cluster, number):
    blue.sql("create table t(id int primary key, v int)", "insert into t select g, 0 from generate_series(1, 1000) g")
    to_broker = proxy_for(0)
    broker = own_broker(**{"advertised.listeners": f"PLAINTEXT://127.0.0.1:{to_broker.port}"})
    to_broker.target = broker.port
    f = Flapping(blue, green, make, broker, (to_broker, proxy_for(green_cluster.port)), f"fl{number}")
    f.reader.start()
    f.applier.start()
    f.applier.wait_synced()
    f.wait_same()
    return f


def test_A16_a_target_that_flaps(flapping):
    f = flapping
    since = down(f.to_green)
    status = f.applier.wait_status(lambda s: s["state"]["name"] == "retrying" and s["state"]["next_retry_at"], "it retries")
    assert status["errors"]["last"]["class"] == "transient" and status["target"]["connected"] is False
    # a run of failures opens the breaker: from now on one attempt in each pause
    wait_until(lambda: f.applier.metric("breaker_open") == 1, 30, "the breaker is open")
    assert f.applier.metric("retries_total") >= RETRY["breaker"]["failures"]
    opened, before = (f.to_green.accepted, time.monotonic()), f.applier.metric("retries_total")
    wait_until(lambda: f.applier.metric("retries_total") >= before + 2, 20, "two more attempts")
    assert tries(f.to_green, opened) < 2 and tries(f.to_green, since) < 20
    assert f.applier.command("dead-letters", "list").returncode == 69
    # the process is well, and says what it waits for; the other half does not notice
    assert f.applier.get("/livez")[0] == 200 and f.applier.get("/readyz")[0] == 200 and f.applier.get("/cutover/ready")[0] == 503
    assert f.reader.status()["state"]["name"] == "running" and f.reader.metric("retries_total") == 0
    f.flap(f.to_green)
    f.applier.wait_state("running")
    f.wait_same()
    assert f.applier.metric("breaker_open") == 0 and f.applier.status()["state"]["next_retry_at"] is None
    assert f.applier.status()["target"]["connected"] is True
    assert_same(f.blue, f.green)


def retries_kafka(status):
    last = status["errors"]["last"]
    return status["state"]["name"] == "retrying" and last is not None and last["code"].startswith("KAFKA")


def test_A16_a_broker_that_flaps(flapping):
    f = flapping
    f.flap(f.to_broker)
    f.wait_same()
    since = down(f.to_broker)
    f.change()
    # the clients mend their connections by themselves, for a while; then each half begins anew
    f.applier.wait_status(retries_kafka, "the applier retries", 40)
    assert f.applier.get("/livez")[0] == 200 and f.reader.get("/livez")[0] == 200
    f.reader.kill9()
    f.reader.start()
    f.reader.wait_status(retries_kafka, "the reader retries")
    wait_until(lambda: time.monotonic() - since[1] > 15, 20, "some time has passed")
    assert tries(f.to_broker, since) < 10
    # whoever asks once gets an answer, and whoever is told to end ends, with nobody there
    asked = f.reader.command("check", timeout=60)
    assert asked.returncode == 1 and "KAFKA" in asked.stdout
    for half in (f.applier, f.reader):
        # in the middle of an attempt, with a question under way that nobody answers
        before = half.metric("retries_total")
        wait_until(lambda: half.metric("retries_total") > before, 60, "another attempt")
        pause(1)
        began = time.monotonic()
        assert half.stop() == 0
        assert time.monotonic() - began < 6
    f.reader.start()
    f.applier.start()
    f.to_broker.refuse = False
    f.wait_same()
    assert_same(f.blue, f.green)
