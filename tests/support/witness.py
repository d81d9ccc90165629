# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""What a log of layout tables has to hold: the changes that the server tells a slot of the test's own; and what may be confirmed."""

import collections
import struct
import threading
import time

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from wait import pause

NOTHING = "0" * 32


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from(f">{form}", self.data, self.at)[0]
        self.at += struct.calcsize(f">{form}")
        return value

    def text(self):
        end = self.data.index(0, self.at)
        value, self.at = self.data[self.at:end].decode(), end + 1
        return value

    def row(self):
        values = []
        for _ in range(self.take("h")):
            kind = self.take("c")
            n = self.take("i") if kind == b"t" else 0
            values.append(self.data[self.at:self.at + n] if kind == b"t" else None)
            self.at += n
        return values


def halves(op, cur, keys):
    """The letters of the messages that a change of a row is told with; its key stands in the first columns."""
    mark = cur.take("c")
    if op != "U" or mark == b"N":
        return op
    before, _, after = cur.row(), cur.take("c"), cur.row()
    return "DI" if any(after[i] is not None and before[i] != after[i] for i in range(keys)) else "U"


class Witness:
    """A slot beside sluice's, from before the first change on; keys: {table: columns of its key}, where that is not one."""

    def __init__(self, blue, number, keys):
        self.blue, self.slot, self.keys = blue, f"witness_{number}", keys
        blue.sql(f"create publication {self.slot} for all tables",
                 f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")

    def changes(self):
        """{table: {place in the log, as its header has it: letter}}, for good: they are told once."""
        names, found = {}, collections.defaultdict(dict)
        for (data,) in self.blue.rows("select data from pg_logical_slot_get_binary_changes(%s, null, null, 'proto_version', '1', "
                                      "'publication_names', %s, 'messages', 'true')", (self.slot, self.slot)):
            cur = Cursor(bytes(data))
            kind = cur.take("c").decode()
            if kind == "B":
                final, ordinal = cur.take("Q"), 0
            elif kind == "R":
                oid = cur.take("I")
                names[oid] = f"{cur.text()}.{cur.text()}"
            ordinal += kind in "IUDTM"
            if kind in "IUD":
                table = names[cur.take("I")]
                for half, op in enumerate(halves(kind, cur, self.keys.get(table, 1))):
                    found[table][f"{final:016x}{2 * ordinal + half:016x}"] = op
            elif kind == "T":
                n, _ = cur.take("I"), cur.take("b")
                for _ in range(n):
                    found[names[cur.take("I")]][f"{final:016x}{2 * ordinal:016x}"] = "T"
        return found


def reign_of(headers):
    number, name = headers["sluice.reign"].split("-")
    return int(number), name


class Reigns:
    """Which reign holds a partition, message by message."""

    def __init__(self):
        self.reign = (0, "")

    def counts(self, headers):
        reign = reign_of(headers)
        if headers["sluice.op"] == "F":
            self.reign = max(self.reign, reign, key=lambda r: r[0])
            return False
        return reign == self.reign


def followed(messages):
    """What an applier takes of a partition: (places in order, {place: letter}, how many of the reign that rules are there twice,
    how many were written by one that was replaced). Fails where the chain is broken."""
    reigns, last, order, found, twice, late = Reigns(), NOTHING, [], {}, 0, 0
    for offset, _, _, headers in messages:
        if "sluice.op" not in headers:
            continue  # behind a delete, for compaction
        counts = reigns.counts(headers)
        late += not counts and headers["sluice.op"] != "F"
        if not counts or "sluice.position" not in headers:
            continue
        if headers["sluice.op"] == "X":
            assert headers["sluice.prev"] == last, f"offset {offset}: a reader went on from {headers['sluice.prev']}, not {last}"
        elif headers["sluice.prev"] == last:
            last = headers["sluice.position"]
            order.append(last)
            found[last] = headers["sluice.op"]
        else:
            assert headers["sluice.position"] <= last, f"offset {offset}: {headers} does not follow from {last}"
            twice += 1
    return order, found, twice, late


class ConfirmedLog:
    """`with ConfirmedLog(reader, broker):` fails at its end when a look found the slot ahead of the newest heartbeat in the log.

    A broker that was killed may hide its newest messages for a moment: such a look is judged at the end, by the heartbeats that had
    been produced by then."""

    def __init__(self, reader, broker):
        self.reader, self.broker = reader, broker
        self.topic = TopicPartition(f"{reader.config['name']}.heartbeat", 0, 0)
        self.looks, self.doubts, self.beats, self.failure, self.over = 0, [], [], None, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            assert not self.failure, self.failure
            ahead = [d for d in self.doubts if not any(at <= d[0] and resume >= d[1] for at, resume in self.beats)]
            assert not ahead, f"confirmed before it was in the log (when, confirmed, in the log): {ahead[:3]}"
            assert len(self.doubts) <= self.looks // 20, f"{len(self.doubts)} of {self.looks} looks doubtful"
            assert self.looks > 20, f"only {self.looks} looks"

    def run(self):
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "watch", "enable.auto.commit": False,
                             "log_level": 0})
        try:
            consumer.assign([self.topic])
            self.watch(consumer)
        except Exception as e:  # noqa: BLE001 - a watch that ended has seen nothing
            self.failure = repr(e)
        finally:
            consumer.close()

    def watch(self, consumer):
        reigns, stored, at, last = Reigns(), 0, 0, False
        while not last:
            last = self.over.wait(0.05)  # one more look, which comes to the end
            confirmed, now = self.confirmed(), time.time() * 1000
            end = self.end(consumer)
            while at < end:
                for m in consumer.consume(500, timeout=0.2):
                    if m.error():
                        continue  # the broker is away: what it had it has
                    headers = {k: v.decode(errors="replace") for k, v in m.headers() or []}
                    at = m.offset() + 1
                    if reigns.counts(headers) and headers.get("sluice.resume"):
                        stored = max(stored, int(headers["sluice.resume"], 16))
                        self.beats.append((m.timestamp()[1], stored))
            if stored and confirmed:
                self.looks += 1
                if confirmed > stored:
                    self.doubts.append((now, confirmed, stored))

    def confirmed(self):
        """Looked at before the log is: that can only have grown since."""
        try:
            with self.reader.blue.connect() as c:
                row = c.execute("select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s",
                                (self.reader.slot,)).fetchone()
        except psycopg.Error:
            return 0
        return int(row[0]) if row and row[0] is not None else 0

    def end(self, consumer):
        until = time.monotonic() + 120
        while True:
            try:
                return consumer.get_watermark_offsets(self.topic, timeout=1)[1]
            except KafkaException:
                assert time.monotonic() < until, "nobody says where the log ends"
                pause(0.1)  # it is away, or the reader has not made the topic yet
