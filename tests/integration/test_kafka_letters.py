# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Dead letters with a log: stored in the target with progress, and published to their topic from there."""

import json

import pytest

from wait import wait_until

TABLE = "create table item(id int primary key, v int, note text)"
CHECKED = TABLE.replace("v int", "v int constraint small check (v < 1000)")


@pytest.fixture
def halves(make, kafka_broker, number):
    def factory(verb, **kafka):
        return make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap, **kafka}},
                     "apply": {"on_error": "dead_letter"}}, name=f"dl{number}", verb=verb)

    factory.topic = f"dl{number}.dead-letters"
    return factory


def stored(green, where="true"):
    return green.one(f"select count(*) from sluice.dead_letters where {where}")


def both(blue, green, halves, **kafka):
    blue.sql(TABLE, "insert into item select g, g, 'start' from generate_series(1, 20) g")
    green.sql(CHECKED)
    reader, applier = halves("reader", **kafka).start(), halves("applier", **kafka).start()
    wait_until(lambda: applier.alive() and reader.alive() and green.one("select count(*) from item") == 20, 60, "the copy")
    applier.wait_synced(30)
    return reader, applier


def published(broker, topic, count):
    """The topic's messages as (headers, letter), once there are so many."""
    wait_until(lambda: topic in broker.admin.list_topics(timeout=5).topics and broker.ends(topic)[1] >= count, 60,
               f"{count} messages in {topic}")
    found = broker.messages(topic)
    assert len(found) == count
    for _, key, value, headers in found:
        letter = json.loads(value)
        assert json.loads(key) == {"id": letter["id"]} and headers["sluice.letter"] == str(letter["id"])
        for name in ("state", "position", "table"):
            assert headers[f"sluice.{name}"] == letter[name]
        assert headers["sluice.error.code"] == letter["error_code"] and headers["sluice.error.message"] == letter["message"]
        assert headers["sluice.error.class"] == letter["error_class"] and headers["sluice.attempts"] == str(letter["attempts"])
    return [(headers, json.loads(value)) for _, _, value, headers in found]


@pytest.mark.parametrize("kind", ["json", "binary"])
def test_A14_letters_are_published_whole(blue, green, halves, kafka_broker, kind):
    _, applier = both(blue, green, halves, format=kind)
    blue.sql("update item set v = 5000, note = null where id = 3", "update item set note = 'behind' where id = 3",
             "insert into item values (21, 9999, 'Käse \\ \"q\"')")
    first = published(kafka_broker, halves.topic, 3)
    assert [(m["table"], m["op"], m["state"], m["attempts"], m["error_code"]) for _, m in first] == [
        ("public.item", "update", "pending", 1, "PG-23514"), ("public.item", "update", "pending", 1, "BLOCKED"),
        ("public.item", "insert", "pending", 1, "PG-23514")]
    # the message is what the command shows
    for _, letter in first:
        shown = json.loads(applier.command("dead-letters", "show", str(letter["id"]), "--json", "--show-values").stdout)
        assert shown == letter and letter["record"]
    assert "9999" in json.dumps(first[2][1]["record"]) and "Käse" in json.dumps(first[2][1]["record"], ensure_ascii=False)
    ids = [str(m["id"]) for _, m in first]
    # a retry that fails, one that succeeds, one given up: by a process that knows the target only, the applier being away
    applier.kill9()
    del applier.config["source"]
    assert applier.command("dead-letters", "retry", ids[0]).returncode == 1
    green.sql("alter table item drop constraint small")
    assert applier.command("dead-letters", "retry", ids[0], ids[1]).returncode == 0
    assert applier.command("dead-letters", "discard", ids[2], "--reason", "made up").returncode == 0
    assert stored(green, "published <> 'pending/1'") == 0
    # killed between the ack and the mark: told again, with the same id
    applier.start(env={"SLUICE_FAULT": "sink.pg.announced:abort@3"})
    assert applier.wait_exit() == -9
    applier.start()
    again = published(kafka_broker, halves.topic, 9)[3:]
    assert [(str(m["id"]), m["state"], m["attempts"], m["reason"]) for _, m in again] == 2 * [
        (ids[0], "retried", 2, None), (ids[1], "retried", 1, None), (ids[2], "discarded", 1, "made up")]
    assert [h["sluice.id"] for h, _ in again[:3]] == [h["sluice.id"] for h, _ in again[3:]]
    assert len({h["sluice.id"] for h, _ in first + again}) == 6
    blue.sql("update item set note = 'goes on' where id = 3")
    wait_until(lambda: green.rows("select v, note from item where id = 3") == [(5000, "goes on")], 30, "the key is free")
    assert stored(green, "published is distinct from state || '/' || attempts") == 0


def test_A15_a_topic_that_is_gone_loses_no_letter(blue, green, halves, kafka_broker):
    reader, applier = both(blue, green, halves)
    applier.stop()
    reader.stop()
    kafka_broker.delete(halves.topic)
    applier = halves("applier", create_topics=False).start()
    reader.start()
    wait_until(lambda: halves.topic in kafka_broker.admin.list_topics(timeout=5).topics, 30, "the reader makes it again")
    kafka_broker.delete(halves.topic)
    blue.sql("update item set v = 5000 where id = 3", "update item set note = 'goes on' where id = 4")
    applier.wait_status(lambda s: "KAFKA-LETTERS" in [a["code"] for a in s["alarms"]], "the alarm", 60)
    # stored, and the stream goes on
    wait_until(lambda: green.one("select note from item where id = 4") == "goes on", 30, "others go on")
    assert stored(green) == 1 and stored(green, "published is null") == 1
    assert applier.running and "code=KAFKA-TOPIC-MISSING" in applier.log()
    # an applier that may make topics needs nobody
    applier.stop()
    applier = halves("applier").start()
    (headers, letter), = published(kafka_broker, halves.topic, 1)
    assert letter["id"] == green.one("select id from sluice.dead_letters") and headers["sluice.state"] == "pending"
    applier.wait_status(lambda s: not s["alarms"], "no alarm", 30)


def test_A14_a_letter_larger_than_a_message(blue, green, halves, kafka_broker):
    """The copy of a large row in a letter is larger than its change in the log."""
    _, applier = both(blue, green, halves, format="binary")
    blue.sql("alter table item alter note set storage external")
    # quotes double in JSON: what the log took in binary has no room here
    blue.sql("insert into item values (30, 5000, repeat('\"', 700000))", "insert into item values (31, 5000, 'small')")
    large, small = published(kafka_broker, halves.topic, 2)
    assert "record" not in large[1] and large[1]["error_code"] == "PG-23514"
    assert small[1]["record"]
    shown = applier.command("dead-letters", "show", str(large[1]["id"]), "--json", "--show-values").stdout
    assert len(shown) > 1400000


def test_A14_a_target_of_the_layout_before(blue, green, halves, kafka_broker):
    """Letters that were stored before there was a topic to tell are told."""
    _, applier = both(blue, green, halves)
    blue.sql("update item set v = 5000 where id = 3")
    published(kafka_broker, halves.topic, 1)
    applier.stop()
    green.sql("alter table sluice.dead_letters drop column published", "update sluice.layout set version = 1")
    applier.start()
    first, again = published(kafka_broker, halves.topic, 2)
    assert first[0]["sluice.id"] == again[0]["sluice.id"]
    assert green.one("select version from sluice.layout") == 2
