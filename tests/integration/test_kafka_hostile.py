# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Messages that nobody should have written, through the real consumer: the applier ends with 65, and says where they stand."""

import json
import re

import pytest
from confluent_kafka import Producer

DEEP = 100000


def event(row, op="c"):
    return json.dumps({"op": op, "before": None, "after": row, "source": {"schema": "public", "table": "t", "lsn": 1}}).encode()


GOOD = event({"id": 1, "v": "first", "j": "{}"})
HOSTILE = {
    "deep": b"[" * DEEP, "deep_value": GOOD.replace(b'"first"', b'{"a":' * DEEP + b"1" + b"}" * DEEP), "cut": GOOD[:-9],
    "huge": GOOD.replace(b'"id": 1', b'"id": 1e999999999'), "long": GOOD.replace(b'"id": 1', b'"id": ' + b"9" * DEEP),
    "fraction": GOOD.replace(b'"id": 1', b'"id": 2.5'), "object": GOOD.replace(b'"id": 1', b'"id": {"geheim": 1}'),
    "row": GOOD.replace(b'{"id": 1, "v": "first", "j": "{}"}', b"[1, 2]"), "op": GOOD.replace(b'"c"', b"7"),
    "utf8": GOOD.replace(b"first", b"\xff\xc0\xaf geheim"), "surrogate": GOOD.replace(b"first", b"\\ud800 geheim"),
    "binary": bytes(range(256)), "text": b"geheim", "number": b"17", "two": GOOD + GOOD,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_E06_hostile_json(green, make, kafka_broker, number, kind):
    green.sql("create table t(id int primary key, v text, j jsonb)")
    prefix, topic = f"h{number}", f"h{number}.public.t"
    kafka_broker.create(topic)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    for id, value in ((1, GOOD), (2, HOSTILE[kind]), (3, event({"id": 3, "v": "behind", "j": None}))):
        producer.produce(topic, key=json.dumps({"id": id}), value=value)
    producer.flush()
    kafka = {"bootstrap_servers": kafka_broker.bootstrap, "events": "debezium", "prefix": prefix}
    applier = make({"transport": {"type": "kafka", "kafka": kafka}}, name=prefix, verb="applier")
    del applier.config["source"]
    applier.start()
    assert applier.wait_exit() == 65, applier.log()
    fatal, = [line for line in applier.log().splitlines() if "event=fatal" in line]
    assert topic in fatal and re.search(r"partition 0\b.*offset 1\b", fatal), fatal
    assert "geheim" not in fatal and len(applier.log()) < 20000
    assert green.rows("select id from t") in ([], [(1,)])
