# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A log into PostgreSQL: progress per partition, the copy's rows and marks, dead letters, appliers that change places."""

import json
import signal

import pytest

from compare import assert_same, same
from wait import pause, wait_until

TABLE = "create table item(id int primary key, v int, note text)"


@pytest.fixture
def halves(make, kafka_broker, number):
    """Makes processes of one stream: halves("reader"), halves("applier")."""
    made = []

    def factory(verb, **more):
        made.append(make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}, **more},
                         name=f"ks{number}", verb=verb))
        return made[-1]

    yield factory
    for process in made:  # shown with a failure
        print(process.verb, process.log()[-2500:])


def progress(green):
    return green.rows("select topic, partition, epoch, \"offset\", reign, position is not null from sluice.progress "
                      "where topic <> '' order by 1, 2")


def test_copy_and_changes(blue, green, halves):
    blue.sql(TABLE, "insert into item select g, g, repeat('x', 300) from generate_series(1, 30000) g",
             "create table other(a int, b text, primary key (b, a))", "insert into other values (1, 'one'), (2, 'two')")
    reader, applier = halves("reader").start(), halves("applier").start()
    same(blue, green)
    blue.sql("update item set v = v + 1 where id % 10 = 0", "delete from item where id % 7 = 0",
             "insert into item select g, g, null from generate_series(30001, 30100) g", "update other set a = 5 where a = 1")
    same(blue, green)
    same(blue, green, "other")
    rows = progress(green)
    assert len(rows) == 1 and rows[0][3] > 30000 and rows[0][4].startswith("1-") and rows[0][5]
    chunks = green.rows("select table_name, sum(rows), max(attempt) from sluice.snapshot_chunks group by 1 order by 1")
    assert chunks == [("public.item", 30000, 1), ("public.other", 2, 1)]
    assert green.rows("select key from sluice.migration where key like 'table/%/done' order by 1") == [
        ("table/public.item/done",), ("table/public.other/done",)]
    assert applier.metric("snapshot_rows_total") == 30002
    assert applier.stop() == 0
    blue.sql("update item set note = 'later' where id < 100")
    applier.start()
    same(blue, green)
    assert_same(blue, green)
    assert applier.stop() == 0
    assert reader.stop() == 0


def test_a_table_with_rows_of_somebody_is_refused(blue, green, halves):
    blue.sql(TABLE, "insert into item values (1, 1, 'a')")
    green.sql(TABLE, "insert into item values (9, 9, 'mine')")
    halves("reader").start()
    applier = halves("applier").start()
    assert applier.wait_exit() == 78
    assert "TARGET-NOT-EMPTY" in applier.log() and "item" in applier.log()
    assert green.rows("select id from item") == [(9,)]


def test_copy_begun_anew(blue, green, halves):
    """Both halves are killed again and again while the tables are copied: rows of earlier attempts go."""
    blue.sql(TABLE, "insert into item select g, g, repeat('y', 2000) from generate_series(1, 40000) g")
    reader, applier = halves("reader").start(), halves("applier").start()
    for round_ in range(6):
        pause(0.4 + 0.35 * round_)
        if round_ % 2:
            applier.kill9()
            applier.start()
        reader.kill9()
        reader.start()
    blue.sql("update item set v = -v where id % 3 = 0")
    same(blue, green)
    attempts = green.one("select max(attempt) from sluice.snapshot_chunks")
    assert green.rows("select sum(rows), min(attempt) from sluice.snapshot_chunks") == [(40000, attempts)]


@pytest.mark.parametrize("env", [{}, {"SLUICE_PERIOD": "batch.records=1"}], ids=["", "short of memory"])
def test_K16_paused_applier_wakes_up(blue, green, halves, env):
    """The one that was stopped has lost its partitions; what it sends then changes nothing, and it goes on when they come back,
    also where its client had paused them."""
    blue.sql(TABLE, "create table history(n bigserial primary key, item int)",
             "insert into item select g, 0, '' from generate_series(1, 100) g")
    halves("reader").start()
    first = halves("applier").start(env=env)
    same(blue, green)
    epochs = {(t, p): e for t, p, e, *_ in progress(green)}
    change = ("with u as (update item set v = v + 1 where id % 5 = {0} returning id) "
              "insert into history(item) select id from u")
    blue.sql(change.format(0))
    first.signal(signal.SIGSTOP)
    second = halves("applier").start()
    for i in range(1, 5):
        blue.sql(change.format(i))
        pause(0.2)
    same(blue, green, "history")
    taken = [row for row in progress(green) if row[2] > epochs.get(row[:2], 0)]
    assert taken, "the second applier has raised the epochs"
    first.signal(signal.SIGCONT)
    for i in range(5):
        blue.sql(change.format(i))
    same(blue, green)
    same(blue, green, "history")
    assert second.stop() == 0
    blue.sql(change.format(3))
    same(blue, green)
    same(blue, green, "history")


def test_A14_poison_record_from_a_log(blue, green, halves):
    blue.sql(TABLE, "insert into item select g, g, 'start' from generate_series(1, 20) g")
    green.sql(TABLE.replace("v int", "v int constraint small check (v < 1000)"))
    halves("reader").start()
    applier = halves("applier", apply={"on_error": "dead_letter"}).start()
    same(blue, green)
    blue.sql("update item set v = 5000 where id = 3", "update item set note = 'behind' where id = 3",
             "update item set note = 'free' where id = 4", "update item set v = 7, note = 'fits' where id = 3",
             "insert into item values (21, 9999, 'too large')")
    wait_until(lambda: green.one("select count(*) from sluice.dead_letters") == 4, 60, "four letters")
    wait_until(lambda: green.one("select note from item where id = 4") == "free", 60, "another key goes on")
    assert green.rows("select v, note from item where id = 3") == [(3, "start")]
    assert green.rows("select error_code, attempts, position is not null from sluice.dead_letters order by id") == [
        ("PG-23514", 1, True), ("BLOCKED", 1, True), ("BLOCKED", 1, True), ("PG-23514", 1, True)]
    letters = json.loads(applier.command("dead-letters", "list", "--json").stdout)
    letters = letters if isinstance(letters, list) else letters["dead_letters"]
    ids = [letter["id"] for letter in letters]
    # the later ones wait for the first
    assert applier.command("dead-letters", "retry", str(ids[1])).returncode != 0
    green.sql("alter table item drop constraint small")
    for i in ids[:3]:
        done = applier.command("dead-letters", "retry", str(i))
        assert done.returncode == 0, done.stderr
    assert applier.command("dead-letters", "discard", str(ids[3]), "--reason", "made up").returncode == 0
    blue.sql("delete from item where id = 21")
    assert green.rows("select v, note from item where id = 3") == [(7, "fits")]
    blue.sql("update item set note = 'goes on' where id = 3")
    # the key is free within seconds of its last letter
    wait_until(lambda: green.one("select count(*) from sluice.dead_letters where state = 'pending'") or
               green.one("select note from item where id = 3") == "goes on", 60, "the key is free")


def test_A15_letter_that_cannot_be_written(blue, green, halves):
    blue.sql(TABLE, "insert into item values (1, 1, 'a')")
    green.sql(TABLE.replace("v int", "v int constraint small check (v < 1000)"))
    halves("reader").start()
    applier = halves("applier", apply={"on_error": "dead_letter"}).start()
    same(blue, green)
    green.sql("alter table sluice.dead_letters add constraint none check (false)")
    before = progress(green)
    blue.sql("update item set v = 5000")
    assert applier.wait_exit() == 65
    assert green.rows("select v from item") == [(1,)]
    assert [row[5] for row in progress(green)] == [row[5] for row in before]
