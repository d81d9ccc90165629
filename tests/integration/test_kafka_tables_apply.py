# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Layout tables: dead letters, --until-synced, and columns that come while several appliers share the partitions."""

import json
import re

from compare import assert_same
from test_kafka import halves  # noqa: F401
from test_kafka_letters import CHECKED, TABLE, published
from test_kafka_tables import wait_applied, wait_synced_one
from wait import wait_until

LETTERS = {"apply": {"on_error": "dead_letter"}}


def test_A14_a_refused_row_blocks_its_key_alone(blue, green, halves, kafka_broker, number):
    """Two appliers; what follows of the key follows into the letters, in order, whichever partition it goes to; then all is retried."""
    blue.sql(TABLE, "insert into item select g, g, 'start' from generate_series(1, 200) g")
    green.sql(CHECKED)
    reader, first = halves(LETTERS, layout="tables", partitions=4)
    second = halves(LETTERS, layout="tables", partitions=4)[1]
    for process in (reader, first, second):
        process.start()
    wait_synced_one(first, second)
    blue.sql("update item set v = 5000 where id = 3", "insert into item values (500, 7000, 'new')")
    wait_applied(first, second)
    blue.sql("update item set note = 'behind' where id = 3", "update item set note = 'newer' where id = 500",
             "update item set note = 'other' where id <> 3", "update item set v = 3 where id = 3", "delete from item where id = 3",
             "insert into item values (3, 1, 'again')", "delete from item where id = 500")
    wait_applied(first, second)
    assert green.rows("select v, note from item where id = 3") == [(3, "start")]
    assert green.one("select count(*) from item where note = 'other'") == 199
    keys = {}
    for key, *letter in green.rows("select key_hash, op, error_code, id from sluice.dead_letters where state = 'pending' order by id"):
        keys.setdefault(bytes(key), []).append(letter)
    others, letters = sorted(keys.values(), key=lambda of_key: of_key[0][0])  # an insert, an update
    assert [letter[:2] for letter in letters] == [["update", "PG-23514"]] + 2 * [["update", "BLOCKED"]] + [
        ["delete", "BLOCKED"], ["insert", "BLOCKED"]]
    assert [letter[:2] for letter in others] == [["insert", "PG-23514"]] + 2 * [["update", "BLOCKED"]] + [["delete", "BLOCKED"]]
    for applier in (first, second):  # each knows of all
        wait_until(lambda: applier.metric("dead_letters_pending") == 9, 10, "nine letters")
        assert "dead_letters" in [r["code"] for r in applier.status()["ready"]["reasons"]]
    told = published(kafka_broker, f"k{number}.dead-letters", 9)
    assert {letter["table"] for _, letter in told} == {"public.item"}
    shown = json.loads(first.command("dead-letters", "list", "--json").stdout)
    assert len(shown["dead_letters"] if isinstance(shown, dict) else shown) == 9
    ids = [str(letter[2]) for letter in letters]
    assert first.command("dead-letters", "retry", ids[0]).returncode == 1
    green.sql("alter table item drop constraint small")
    assert first.command("dead-letters", "retry", *ids).returncode == 0
    assert second.command("dead-letters", "discard", *[str(letter[2]) for letter in others], "--reason", "gone").returncode == 0
    wait_until(lambda: first.metric("dead_letters_pending") == second.metric("dead_letters_pending") == 0, 30, "no letter is left")
    blue.sql("update item set v = v + 1 where id in (3, 4)")
    wait_applied(first, second)
    # the key may have been blocked some seconds longer
    late = [str(row[0]) for row in green.rows("select id from sluice.dead_letters where state = 'pending'")]
    assert len(late) <= 1 and (not late or first.command("dead-letters", "retry", *late).returncode == 0)
    assert_same(blue, green)


def test_until_synced(blue, green, halves):
    """Each half, and both in one process, come to the end that the option names, not earlier and not later."""
    blue.sql(TABLE, "insert into item select g, g, 'start' from generate_series(1, 500) g", "create table quiet(id int primary key)")
    reader, applier = halves(layout="tables", partitions=4)
    reader.until_synced()
    # nobody to ask: the log's end counts, and no reader has to run
    source = applier.config["source"]
    applier.config["source"] = {"type": "postgresql"}
    applier.until_synced()
    assert_same(blue, green)
    assert "of=log" in applier.log()
    # it asks the source: changes of which the log has nothing yet are waited for, in every partition
    applier.config["source"] = source
    blue.sql("update item set v = v + 1", "update item set id = id + 1000 where id % 3 = 0", "insert into quiet values (1)")
    applier.start("--until-synced")
    wait_until(lambda: applier.log().count("event=end-point") == 2 or not applier.running, 30, "the end point is known")
    assert applier.running
    reader.start()
    assert applier.wait_exit() == 0 and "of=source" in applier.log()
    assert_same(blue, green)
    # two of them: each ends once all is applied, whoever has the partitions
    blue.sql("update item set v = v + 1")
    other = halves(layout="tables", partitions=4)[1]
    for process in (applier, other):
        process.start("--until-synced")
    assert applier.wait_exit() == 0 and other.wait_exit() == 0
    assert_same(blue, green)
    assert reader.stop() == 0
    blue.sql("update item set v = v + 1")
    applier.verb = "run"
    applier.until_synced()
    assert_same(blue, green)


def test_added_columns_with_defaults(blue, green, halves):
    """Partitions, and appliers, come to the new description at different times; each row has what the source has."""
    blue.sql("create table item(id int primary key, v int)", "insert into item select g, g from generate_series(1, 2000) g",
             "create table other(id int primary key, v int)", "insert into other select g, g from generate_series(1, 50) g")
    reader, first = halves(layout="tables", partitions=4)
    second = halves(layout="tables", partitions=4)[1]
    for process in (reader, first, second):
        process.start()
    wait_synced_one(first, second)
    for i in range(4):
        blue.sql(f"update item set v = v + 1 where id % 3 = {i % 3}",
                 f"alter table item add c{i} int not null default {i * 11}", f"insert into item(id, v) values ({5000 + i}, 0)",
                 f"alter table item alter c{i} set default 99", f"insert into item(id, v) values ({6000 + i}, 0)",
                 f"update item set c{i} = v where id % 5 = {i}", f"alter table other add c{i} text default 'd{i}'",
                 f"update other set id = id + 1000 where id % 10 = {i}")
    wait_applied(first, second)
    query = "select * from {} order by id"
    for table in ("item", "other"):
        assert green.rows(query.format(table)) == blue.rows(query.format(table)), table
    assert green.one("select count(*) from sluice.audit where action = 'add column'") == 8
    assert green.one("select count(*) from sluice.audit where action = 'column differs'") == 4  # the other default
    # no applier ends; of two that both hold rows of the table one begins again
    tried = [re.search(r"code=(\S+)", line)[1] for a in (first, second) for line in a.log().split("event=assigned", 1)[-1].splitlines()
             if "event=retry " in line]
    assert set(tried) <= {"PG-55P03", "PG-40P01"}, tried
