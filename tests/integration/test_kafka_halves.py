# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Reader and applier as two processes: what each shows of the other, which of them is behind, and how both come to an end."""

import json
import math
import signal

import pytest

from compare import assert_same, same
from wait import pause, wait_until

TABLE = "create table item(id int primary key, v int, note text)"
ROWS = "insert into item select g, g, repeat('x', 50) from generate_series(1, 500) g"
CHANGE = "update item set v = v + 1 where id <= 300"
LATE = 5  # seconds after which a half counts as silent


@pytest.fixture
def halves(make, kafka_broker, number):
    """halves("reader"), halves("applier"): processes of one stream."""
    made = []

    def factory(verb, config=None, **more):
        kafka = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}
        kafka["transport"]["kafka"].update(more.pop("kafka", {}))
        made.append(make({**kafka, **(config or {})}, name=f"kh{number}", verb=verb, **more))
        return made[-1]

    yield factory
    for process in made:  # shown with a failure
        print(process.verb, process.log()[-2500:])


def lag(process):
    return process.status()["lag"]["seconds"]


def wait_lag(process, least, most, timeout=30):
    return process.wait_status(lambda s: s["lag"]["seconds"] is not None and least <= s["lag"]["seconds"] <= most,
                               f"lag between {least} and {most}", timeout)


def both(blue, green, halves, **more):
    blue.sql(TABLE, ROWS)
    reader, applier = halves("reader", **more).start(), halves("applier", **more).start()
    same(blue, green)
    blue.sql(CHANGE)
    same(blue, green)
    wait_lag(applier, 0, 3)
    wait_lag(reader, 0, 3)
    return reader, applier


def test_lag_from_end_to_end_on_both_sides(blue, green, halves, kafka_broker):
    blue.sql(TABLE, ROWS)
    reader = halves("reader").start()
    # nobody has applied anything: unknown, not 0
    status = reader.wait_status(lambda s: s["transport"]["reader"]["seconds"] == 0, "the reader has kept up")
    assert status["lag"]["seconds"] is None and status["transport"]["applier"]["seconds"] is None
    assert math.isnan(reader.metric("lag_seconds"))
    # it keeps its partition while it is stopped, or cut off
    applier = halves("applier", kafka={"consumer_properties": {"session.timeout.ms": "45000"}}).start()
    same(blue, green)
    blue.sql(CHANGE)
    same(blue, green)
    for half in (applier, reader):
        half.wait_status(lambda s: s["lag"]["bytes"] is not None, "the distance is known")
        wait_lag(half, 0, 3)
    status = reader.wait_status(lambda s: s["transport"]["behind"] == "none", "nobody is behind")
    assert status["transport"]["reign"].startswith("1-") and status["transport"]["layout"] == "stream"
    assert [(p["topic"], p["held"]) for p in status["transport"]["partitions"]] == [(f"{reader.name}.changes", False)]
    assert reader.metric("kafka_produce_duration_seconds_count") > 0
    assert reader.metric("kafka_consumer_lag_records") is None
    assert applier.status()["transport"]["partitions"][0]["held"]
    wait_until(lambda: applier.wait_synced() and reader.status()["phase"] == applier.status()["phase"], 30,
               "the reader knows the applier's phase")

    applier.signal(signal.SIGSTOP)
    blue.sql(CHANGE)
    status = wait_lag(reader, LATE + 1, 60)
    assert status["transport"]["behind"] == "applier" and status["transport"]["applier"]["silent"]
    assert status["transport"]["applier"]["records"] > 300 and status["transport"]["reader"]["seconds"] < 3
    assert status["lag"]["bytes"] > 10000
    assert reader.metric("lag_seconds") > LATE
    shown = reader.command("status").stdout
    assert "behind     the applier" in shown and "silent since" in shown, shown
    applier.signal(signal.SIGCONT)
    same(blue, green)
    wait_lag(reader, 0, 3)

    reader.signal(signal.SIGSTOP)
    blue.sql(CHANGE)
    status = wait_lag(applier, LATE + 1, 60)
    assert status["transport"]["behind"] == "reader" and status["transport"]["reader"]["silent"]
    assert not status["source"]["connected"]
    shown = applier.command("status").stdout
    assert "behind     the reader" in shown, shown
    reader.signal(signal.SIGCONT)
    same(blue, green)
    for half in (applier, reader):  # which has not heard of the other meanwhile
        wait_lag(half, 0, 3)

    kafka_broker.pause()
    try:
        blue.sql(CHANGE)
        wait_lag(reader, LATE + 1, 60)
        # what was last heard of the applier may be old already, so the lag is there before the reader's part of it is a second
        reader.wait_status(lambda s: s["lag"]["seconds"] > LATE and s["transport"]["reader"]["seconds"] > 1, "the reader is behind, too")
        wait_lag(applier, LATE + 1, 60)
    finally:
        kafka_broker.go_on()
    same(blue, green)
    for half in (reader, applier):
        wait_lag(half, 0, 3, 60)
    assert_same(blue, green)


@pytest.mark.parametrize("way", ["direct", "stream", "tables"])
def test_ready_whatever_others_write(blue, green, halves, make, way):
    """What another application writes on the same server, now and then or all the time, is WAL that is none of ours, and read at
    once: who is ready stays so, but for a moment in which this machine has no time."""
    blue.sql("create table t(id int primary key)", "create table others(id int)", "insert into t values (1)")
    config = {"source": {"exclude": ["public.others"]}}
    if way == "direct":
        s = make(config).start()
    else:
        if way == "tables":  # what several appliers know of each other goes through the target
            config["cutover"] = {"max_lag": "2s"}
            halves("applier", config, kafka={"layout": way, "partitions": 2}).start()
        halves("reader", config, kafka={"layout": way, "partitions": 2}).start()
        s = halves("applier", config, kafka={"layout": way, "partitions": 2}).start()
    s.wait_synced()
    s.wait_status(lambda st: st["ready"]["ready"] and st["state"]["name"] == "running", "ready", 30)
    seen = []
    for i in range(40):
        for _ in range(12):
            if i == 0 or i >= 16:  # less often than progress is stored, then without an end
                blue.sql("insert into others values (1)")
            pause(0.02)
        status = s.status()
        seen.append((status["phase"], status["lag"]["seconds"], status["ready"]["ready"]))
    for part in (seen[:16], seen[16:]):
        assert sum(ready for _, _, ready in part) >= len(part) * 0.8, seen


def test_status_without_a_service(blue, green, halves):
    """What both have left with the brokers tells which half had work left, and the source how long ago."""
    reader, applier = both(blue, green, halves)
    applier.stop()
    at = reader.wait_status(lambda s: s["transport"]["partitions"][0]["offset"] > 800, "the applier's last word")
    at = at["transport"]["partitions"][0]["offset"]
    blue.sql(CHANGE)
    reader.wait_status(lambda s: s["transport"]["partitions"][0]["end"] > at + 300, "the log has more")
    reader.stop()
    status = json.loads(reader.command("status", "--json").stdout)
    assert status["from"] == "databases" and status["lag"]["seconds"] > 0 and status["lag"]["bytes"] > 0
    log = status["transport"]
    assert log["applier"]["records"] > 300 and log["partitions"][0]["offset"] >= at
    assert log["applier"]["heard_at"] < log["reader"]["heard_at"] and log["reader"]["bytes"] is not None
    shown = applier.command("status").stdout
    assert "no service answers" in shown and "records behind the log" in shown and "behind the source" in shown, shown


def test_until_synced(blue, green, halves):
    """Each half, and both in one process, come to the end that the option names, not earlier and not later."""
    blue.sql(TABLE, ROWS, "create table later(id int primary key)")
    reader = halves("reader")
    reader.until_synced()
    # the applier has nobody to ask: the log's end counts, and no reader has to run
    blind = halves("applier")
    blind.config["source"] = {"type": "postgresql"}
    blind.until_synced()
    assert_same(blue, green)
    assert "of=log" in blind.log() and blind.wait_exit() == 0
    # it asks the source itself: changes of which the log has nothing yet are waited for
    blue.sql(CHANGE, "insert into later values (1)")
    applier = halves("applier").start("--until-synced")
    wait_until(lambda: "event=end-point" in applier.log(), 30, "the end point is known")
    assert applier.alive()
    reader.start()
    assert applier.wait_exit() == 0 and "of=source" in applier.log()
    assert_same(blue, green)
    blue.sql(CHANGE)
    applier.start("--until", f"{applier.barrier() >> 32:X}/{applier.barrier() & 0xffffffff:X}")
    assert applier.wait_exit() == 0
    assert_same(blue, green)
    reader.stop()
    blue.sql(CHANGE)
    halves("run").until_synced()
    assert_same(blue, green)
    # another source's position would mean nothing
    other = halves("applier", source_uri=blue.cluster.uri("postgres")).start("--until-synced")
    assert other.wait_exit() == 78 and "UNTIL-SOURCE" in other.log()


def test_snapshot_only(blue, green, halves):
    """The reader ends behind the copy, the applier once it is applied with its keys; both again find nothing to do."""
    blue.sql(TABLE, ROWS, "create unique index on item(note, id)")
    only = {"snapshot": {"mode": "only"}}
    applier = halves("applier", only).start()
    reader = halves("reader", only).start()
    assert reader.wait_exit() == 0 and applier.wait_exit() == 0
    assert_same(blue, green)
    assert green.one("select count(*) from pg_index where indrelid = 'item'::regclass and indisvalid") == 2
    assert reader.start().wait_exit() == 0 and applier.start().wait_exit() == 0
    assert halves("run", only).start().wait_exit() == 0
    blue.sql(CHANGE)
    reader.config["snapshot"] = applier.config["snapshot"] = {}
    applier.start("--until-synced")
    reader.start("--until-synced")
    assert reader.wait_exit() == 0 and applier.wait_exit() == 0
    assert_same(blue, green)


def test_the_source_is_remembered(blue, green, halves):
    reader, applier = both(blue, green, halves)
    identity = blue.one("select system_identifier::text || '/' || current_database() from pg_control_system()")
    assert green.rows("select identity from sluice.progress where topic <> ''") == [(identity,)]
    assert applier.status()["source"]["identity"] == identity
    applier.stop()
    green.sql("update sluice.progress set identity = '1/other' where topic <> ''")
    blue.sql(CHANGE)
    applier.start()
    assert applier.wait_exit() == 80
    assert identity in applier.log() and "1/other" in applier.log()
    # the same before anything of the partition was applied
    green.sql("update sluice.progress set \"offset\" = null, position = null, resume = null, reign = null")
    applier.start()
    assert applier.wait_exit() == 80 and "RESYNC-IDENTITY" in applier.log()


def test_keys_that_take_longer_than_the_group_waits(blue, green, halves):
    """The end of a copy, longer than max.poll.interval.ms: no rebalance, and nothing is applied meanwhile."""
    blue.sql(TABLE, ROWS)
    green.sql(TABLE)
    blocker = green.connect()
    blocker.execute("begin; lock table item in share update exclusive mode")  # rows may come, ANALYZE has to wait
    group = {"consumer_properties": {"session.timeout.ms": "6000", "max.poll.interval.ms": "6000"}}
    reader = halves("reader").start()
    applier = halves("applier", kafka=group).start()
    applier.wait_status(lambda s: "snapshot-post" in applier.log(), "the copy is applied")
    epoch = green.one("select epoch from sluice.progress where topic <> ''")
    blue.sql(CHANGE)
    reader.wait_status(lambda s: (s["transport"]["applier"]["records"] or 0) > 300, "changes are in the log")
    assert applier.status()["phase"] == "snapshot"
    pause(9)
    assert green.one("select sum(v) from item") == sum(range(501))
    assert "event=revoked" not in applier.log()
    assert green.one("select epoch from sluice.progress where topic <> ''") == epoch
    blocker.execute("commit")
    same(blue, green)
    applier.wait_synced()
    assert_same(blue, green)


def test_the_end_of_a_copy_is_looked_for_again(blue, green, halves):
    """A table that another applier finishes later, and dies before it has seen that it was the last one."""
    reader, applier = both(blue, green, halves)
    applier.wait_synced()
    applier.stop()
    done = green.rows("delete from sluice.migration where key = 'table/public.item/done' returning stream, key, value")
    green.sql("delete from sluice.migration where key like 'snapshot/complete%'")
    applier.start()
    applier.wait_phase("snapshot")
    green.rows("insert into sluice.migration(stream, key, value) values (%s, %s, %s) returning 1", done[0])
    applier.wait_synced()
    assert green.one("select count(*) from sluice.migration where key = 'snapshot/complete'") == 1


def test_a_partition_that_is_gone_has_no_lag(blue, green, halves):
    group = {"consumer_properties": {"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}}
    reader, first = both(blue, green, halves, kafka=group)
    wait_until(lambda: first.metric("kafka_consumer_lag_records") is not None, 30, "the first one's lag")
    second = halves("applier", kafka=group).start()
    second.wait_state("standby")
    assert second.metric("kafka_consumer_lag_records") is None
    first.signal(signal.SIGSTOP)
    second.wait_state("running")
    wait_until(lambda: second.metric("kafka_consumer_lag_records") is not None, 30, "the second one's lag")
    first.signal(signal.SIGCONT)
    wait_until(lambda: first.metric("kafka_consumer_lag_records") is None, 30, "none at the first one")
    blue.sql(CHANGE)
    same(blue, green)


def test_who_lost_its_partition_does_not_go_on_saying_ready(blue, green, halves, kafka_broker):
    """While another applier has the partition a standby shows that one's lag; while the brokers are away nobody stays at what was."""
    reader, first = both(blue, green, halves)
    first.wait_phase("ready")
    second = halves("applier").start()

    def standby():
        states = {a: (s["state"]["name"], s["phase"]) for a in (first, second) if a.alive() and (s := a.status())}
        runs = [a for a, (state, _) in states.items() if state == "running"]
        knows = [a for a, (state, phase) in states.items() if state == "standby" and phase in ("in-sync", "ready")]
        return runs and knows and knows[0]

    idle = wait_until(standby, 30, "one stands by and knows the other's phase")
    blue.sql(CHANGE)
    same(blue, green)
    wait_lag(idle, 0, 3)
    assert not idle.status()["ready"]["ready"]
    kafka_broker.pause()
    try:
        for half in (first, second, reader):
            wait_lag(half, 12, 60)
            status = half.wait_status(lambda s: s["phase"] == "catching-up", "what was ready is not any more", 10)
            assert status["transport"]["behind"] != "none" and not status["ready"]["ready"]
            assert half.metric("lag_seconds") > 12 and half.metric("cutover_ready") == 0
    finally:
        kafka_broker.go_on()
    blue.sql(CHANGE)
    same(blue, green)
    for half in (first, second, reader):
        wait_lag(half, 0, 3, 60)
        half.wait_synced()
