# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Topics that Debezium's PostgreSQL connector wrote, applied by us: PostgreSQL → Debezium → Kafka → sluice applier → PostgreSQL."""

import json
import random
import threading

import pytest
from confluent_kafka import Consumer, TopicPartition

from compare import SETTINGS
from debezium import Debezium
from servers import Database
from wait import pause, wait_until

# what every mode carries; the names of the columns are c0, c1 …
VALUES = {
    "numeric": ["0", "1e-1000", "-123456789012345678901234567890.1234567"], "numeric(10,2)": ["12345678.91", "-0.01", "7"],
    "int2": ["-32768", "32767"], "int4": ["-2147483648", "2147483647"], "int8": ["-9223372036854775808", "9007199254740993"],
    "float4": ["'NaN'", "'-0'", "1.1", "3.4028235e38", "1e-45"],
    "float8": ["'NaN'", "'-0'", "5e-324", "1.7976931348623157e308", "0.1", "'-Infinity'", "1e15"],
    "bool": ["true", "false"], "\"char\"": ["'a'", "''"],
    "text": ["''", "E'tab\\tnewline\\ncr\\rback\\\\slash'", "'\\N'", "'äöü€😀'", "'{\"a\",b}'", "'NULL'", "' '"],
    "varchar(20)": ["'x'", "'  padded  '"], "char(5)": ["'ab'", "''"],
    "bytea": ["''", "'\\x00ff5c27fbef'", "decode(repeat('00ff0a5c', 500), 'hex')"],
    "date": ["'2024-02-29'", "'1969-12-31'", "'9999-12-31'"],
    "timestamp": ["'infinity'", "'-infinity'", "'2000-01-01 00:00:00.000001'", "'1969-12-31 23:59:59.999999'", "'2024-06-01 12:00'"],
    "timestamp(3)": ["'2000-01-01 00:00:00.123'", "'1969-12-31 23:59:59.999'"],
    "timestamptz": ["'infinity'", "'2024-06-01 12:00:00.123456+02'", "'0001-01-01 00:00:00+00 BC'",
                    "'294276-12-31 23:59:59.999999+00'", "'-infinity'"],
    "time": ["'00:00:00.000001'", "'23:59:59.999999'"], "time(3)": ["'00:00:00.123'", "'23:59:59'"],
    "timetz": ["'11:51:30.123789+00'"], "interval": ["'1 year 2 mons -3 days 04:05:06.789'", "'-1 microsecond'"],
    "interval second": ["'04:05:06.789'", "'-00:00:01.5'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["'{\"a\":1, \"a\":2 , \"u\":\"\\u0000\"}'", "'  [1,  2]'", "'null'"],
    "jsonb": ["'{\"b\":1,\"a\":[1,2,{\"x\":null}]}'", "'1e40'", "'\"ä\"'"], "xml": ["'<a b=\"1\">text &amp; more</a>'"],
    "int4[]": ["'{1,2,NULL}'", "'{}'"], "text[]": ["array['a,b', 'c\"d', 'e\\f', '', 'NULL', null]", "'{}'"],
    "bytea[]": ["array['\\x00'::bytea, '\\x5c'::bytea]"], "numeric(10,2)[]": ["'{1.50,NULL,-3.25}'"], "bool[]": ["'{t,f}'"],
    "int8[]": ["'{9223372036854775807}'"], "int2[]": ["'{1,2}'"], "oid[]": ["'{4294967295}'"], "float4[]": ["'{1.1,NaN}'"],
    "numeric[]": ["'{1.5,NULL}'"], "varchar(5)[]": ["'{ab}'"], "char(3)[]": ["'{ab}'"], "json[]": ["array['{\"a\": 1}'::json]"],
    "inet[]": ["'{10.0.0.1}'"], "timetz[]": ["'{00:00:00.5+00}'"], "int4range[]": ["array['[1,3)'::int4range]"],
    "citext[]": ["'{Ab}'"], "hstore[]": ["array['a=>1'::hstore]"], "tsvector[]": ["array['a'::tsvector]"],
    "date[]": ["'{2024-02-29}'"], "timestamptz[]": ["'{2024-02-29 10:00:00.5+00}'"], "uuid[]": ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"],
    "int4range": ["'[1,10)'", "'empty'", "'(,5]'"], "numrange": ["'[1.5,2.5]'"], "tstzrange": ["'[2024-01-01,infinity)'"],
    "inet": ["'192.168.1.5/24'", "'::1'"], "cidr": ["'10.0.0.0/8'"], "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"], "bit(1)": ["B'1'", "B'0'"], "bit(5)": ["B'10101'", "B'00001'"], "varbit": ["B''", "B'1010101010101'"],
    "point": ["'(1.5,-2.25)'"], "line": ["'{1,2,3}'"], "lseg": ["'[(0,0),(1,1)]'"], "box": ["'((1,1),(0,0))'"],
    "path": ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"], "polygon": ["'((0,0),(1,1),(2,0))'"], "circle": ["'<(0,0),5>'"],
    "tsvector": ["'fat:1A cat:2,3B ''q''''uote'''"], "money": ["'-12345.67'", "'0.5'"], "oid": ["4294967295"],
    "mood": ["'happy'", "'it''s \"odd\", ok'"], "positive": ["5"], "price": ["12.50"], "mood[]": ["array['sad', 'happy']::mood[]"],
    "hstore": ["'a=>1, \"b c\"=>NULL, d=>\"q\\\"\"'"], "citext": ["'MiXed'"],
}
TYPES = list(VALUES)
JSON = {"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter", "key.converter.schemas.enable": "false"}
# settings of the connector; those that a message without a schema does not tell are ours too
MODES = {
    "inl": {},
    "usec": {**JSON, "time.precision.mode": "adaptive_time_microseconds", "decimal.handling.mode": "string",
             "binary.handling.mode": "hex", "interval.handling.mode": "string"},
    "micro": {**JSON, "time.precision.mode": "microseconds", "binary.handling.mode": "base64-url-safe",
              "hstore.handling.mode": "map"},
    "iso": {"time.precision.mode": "isostring", "decimal.handling.mode": "string", "binary.handling.mode": "base64",
            "interval.handling.mode": "string"},
    "con": {**JSON, "time.precision.mode": "connect", "decimal.handling.mode": "double"},
    "nano": {**JSON, "time.precision.mode": "nanoseconds", "decimal.handling.mode": "string"},
    "parts": {**JSON, "time.precision.mode": "structured", "interval.handling.mode": "string"},
}
# types of which a mode loses something; in both modes of base64 an unsent bytea comes as null
UNSENT = "toast.b"
LOST = {"inl": ["interval"], "micro": ["interval", UNSENT], "con": ["interval", "numeric", "timestamp", "time"],
        "nano": ["interval"], "iso": [UNSENT]}
OURS = {"time.precision.mode": "time_precision_mode", "decimal.handling.mode": "decimal_handling_mode",
        "binary.handling.mode": "binary_handling_mode", "interval.handling.mode": "interval_handling_mode"}
OTHERS = ("create table toast(id int primary key, n int, t text, b bytea, j jsonb, a text[], i int[], h hstore)",
          *[f"alter table toast alter {c} set storage external" for c in "tbjaih"],
          "create table composite(a int, b text, c int, primary key (b, a))", "create table emptied(id int primary key)",
          "create table whole(a int, b text)", "alter table whole replica identity full",
          "create table filled(id int primary key, t text not null, n numeric(10,2) not null, ts timestamptz not null)")
BIG = "(select string_agg(md5(g::text), '') from generate_series(1, 200) g)"


def schema(db):
    db.sql("create extension hstore", "create extension citext",
           "create type mood as enum ('sad', 'happy', 'it''s \"odd\", ok')", "create domain positive as int check (value > 0)",
           "create domain price as numeric(8,2)", "set xmloption = content",
           f"create table wide(id serial primary key, {', '.join(f'c{i} {t}' for i, t in enumerate(TYPES))})", *OTHERS)


def fill(db, shift=0):
    """Rows of which each has one value of each type, and one of nulls."""
    for k in range(max(map(len, VALUES.values()))):
        row = [f"({v[(k + shift) % len(v)]})::{t}" for t, v in VALUES.items()]
        db.sql(f"insert into wide values (default, {', '.join(row)})")
    db.sql("insert into wide default values")


def change(db):
    fill(db, 1)
    for k in (1, 2, 3):
        row = [f"c{i} = ({v[k % len(v)]})::{t}" for i, (t, v) in enumerate(VALUES.items())]
        db.sql(f"update wide set {', '.join(row)} where id = {k}")
    db.sql("update wide set " + ", ".join(f"c{i} = null" for i in range(len(TYPES))) + " where id = 4", "delete from wide where id = 5",
           f"insert into toast select g, 1, {BIG}, {BIG}::bytea, to_jsonb({BIG}), array[{BIG}], "
           f"(select array_agg(x) from generate_series(1, 3000) x), hstore('a', {BIG}) from generate_series(1, 3) g",
           "update toast set n = 2", "update toast set id = 7 where id = 2", "delete from toast where id = 3",
           "update toast set t = 'short', n = 3 where id = 7",
           "insert into composite values (1, 'x', 1), (2, 'x', 2), (3, 'y', 3)", "update composite set c = 5 where a = 1",
           "update composite set a = 9 where a = 2", "delete from composite where a = 3",
           "insert into emptied select generate_series(1, 10)", "truncate emptied", "insert into emptied values (3), (77)",
           "insert into whole values (1, 'a'), (1, 'a'), (2, null)", "update whole set b = 'z' where a = 2",
           "delete from whole where ctid = (select min(ctid) from whole where a = 1)",
           "insert into filled values (1, 'x', 1.5, now()), (2, 'y', 2, now())", "update filled set n = 3", "delete from filled where id = 1",
           "select pg_logical_emit_message(true, 'somebody', 'else')",
           # in a snapshot Debezium loses the era
           *[f"insert into wide (c{TYPES.index('date')}) values ('{d}')" for d in ("infinity", "-infinity", "0044-03-15 BC")])


def columns(lost=()):
    return ", ".join(f"c{i}::text" for i, t in enumerate(TYPES) if t not in lost)


def contents(db, lost=()):
    db.sql(SETTINGS)
    found = {"wide": db.rows(f"select id, {columns(lost)} from wide order by id")}
    toast = "n, t, j, a, i, h" + ("" if UNSENT in lost else ", b")
    found["toast"] = db.rows(f"select md5(row({toast})::text), id from toast order by id")
    for table, key in (("composite", "a"), ("emptied", "id"), ("whole", "a, b"), ("filled", "id")):
        found[table] = db.rows(f"select md5(r::text), {key} from {table} r order by {key}")
    return found


def difference(blue, green, lost=()):
    """Empty when they are the same, else the first difference, cut."""
    want, have = contents(blue, lost), contents(green, lost)
    names = ["id", *(t for t in TYPES if t not in lost)]
    for table, rows in want.items():
        if len(rows) != len(have[table]):
            return f"{table}: {len(rows)} rows, {len(have[table])} here"
        for a, b in zip(rows, have[table]):
            for i, (x, y) in enumerate(zip(a, b)):
                if x != y:
                    return f"{table} row {a[0]} {names[i] if table == 'wide' else i}: {str(x)[:80]!r} became {str(y)[:80]!r}"
    return ""


@pytest.fixture
def greens(green_cluster, number):
    made = []

    def factory(name):
        made.append(Database(green_cluster, f"g{number}_{name}"))
        return made[-1]

    yield factory
    for db in made:
        db.drop()


@pytest.fixture
def applier(make, kafka_broker):
    """applier(prefix, green, settings of the connector): one that reads Debezium's topics."""

    def factory(prefix, green, settings=None, **more):
        ours = {OURS[k]: v for k, v in (settings or {}).items() if k in OURS}
        if settings is not None and JSON.items() - settings.items():  # the schema tells it
            ours = {k: v for k, v in ours.items() if k == "binary_handling_mode"}
        s = make({"transport": {"type": "kafka", "kafka": {
            "bootstrap_servers": kafka_broker.bootstrap, "prefix": prefix, "events": "debezium", "debezium": ours}}, **more},
            name=green.name, green=green, verb="applier")
        del s.config["source"]
        return s

    return factory


@pytest.fixture
def debezium(kafka_broker, blue):
    made = []

    def factory(connectors, **more):
        blue.sql("create publication dbz for all tables")
        made.append(Debezium(kafka_broker, blue, connectors, **more))
        return made[-1].start()

    yield factory
    for d in made:
        d.destroy()


def wait_same(blue, green, applier, lost=()):
    try:
        wait_until(lambda: applier.alive() and not difference(blue, green, lost), 60, "the same rows")
    except AssertionError as e:
        raise AssertionError(f"{applier.name}: {difference(blue, green, lost)}; {e}\n{applier.log()[-2000:]}") from None


def test_every_mode_and_type(blue, greens, applier, debezium):
    schema(blue)
    fill(blue)
    lost = {p: [f"public.{t if t == UNSENT else f'wide.c{TYPES.index(t)}'}" for t in LOST.get(p, ())] for p in MODES}
    debezium({f"{blue.name}{p}": {**s, **({"column.exclude.list": ",".join(lost[p])} if lost[p] else {})}
              for p, s in MODES.items()})
    running = {}
    for p, settings in MODES.items():
        green = greens(p)
        schema(green)
        running[p] = green, applier(f"{blue.name}{p}", green, settings).start()
    change(blue)
    for p, (green, process) in running.items():
        wait_same(blue, green, process, LOST.get(p, ()))
        assert process.stop() == 0


class Load(threading.Thread):
    """Changes until it is told to stop: rows come back, long texts stay unchanged; in `moved` keys change, too."""

    def __init__(self, db):
        super().__init__(daemon=True)
        self.conn, self.ended, self.random = db.connect(), threading.Event(), random.Random(7)
        self.start()

    def run(self):
        while not self.ended.wait(0.002):
            a, b, t = self.random.randrange(200), self.random.randrange(200), self.random.choice(["item", "moved"])
            self.conn.execute(self.random.choice([
                f"insert into {t} values ({a}, 0, {BIG}), ({b + 200}, 0, 'short') on conflict do nothing",
                f"update {t} set v = v + 1 where id % 10 = {a % 10}", f"delete from {t} where id = {a}",
                f"update moved set id = {a} where id = {b} and not exists (select 1 from moved where id = {a})",
                f"update {t} set note = 'n{b}' where id = {a}",
                f"with d as (delete from {t} where id = {a} returning *) insert into {t} select id, v, note from d"]))

    def stop(self):
        self.ended.set()
        self.join(30)
        self.conn.close()


def repeated(broker, topic):
    """Messages with the position of an earlier one of their partition, and all."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.partition.eof": True})
    partitions = broker.admin.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    seen, again, left = set(), 0, len(partitions)
    while left:
        m = consumer.poll(20)
        assert m is not None, "the end of the topic"
        if m.error():
            left -= 1
        elif m.value():
            at = m.partition(), m.key(), json.loads(m.value())["source"]["lsn"]
            again += at in seen
            seen.add(at)
    consumer.close()
    return again, len(seen) + again


def test_kills(blue, greens, applier, debezium, kafka_broker):
    """Appliers and Debezium die in the middle, again and again; two appliers share the partitions."""
    green, prefix = greens("k"), f"{blue.name}k"
    for table in ("item", "moved"):
        blue.sql(f"create table {table}(id int primary key, v int, note text)", f"alter table {table} alter note set storage external")
        green.sql(f"create table {table}(id int primary key, v int, note text)")
    blue.sql("alter table moved replica identity full")
    # without a snapshot: one that is begun again does not tell of rows deleted meanwhile
    d = debezium({prefix: {**JSON, "topic.creation.default.partitions": 3, "snapshot.mode": "no_data"}}, flush_ms=1000)
    pair = [applier(prefix, green, JSON).start() for _ in range(2)]
    load = Load(blue)
    for round_ in range(5):
        pause(1.2)
        pair[round_ % 2].kill9()
        if round_ in (1, 3):
            d.kill9()
            d.start()
        pair[round_ % 2].start()
    pause(1)
    load.stop()
    query = "select 'item' t, id, v, md5(note) from item union all select 'moved', id, v, md5(note) from moved"
    try:
        wait_until(lambda: set(blue.rows(query)) == set(green.rows(query)), 60, "the same rows")
    except AssertionError as e:
        have, want = set(green.rows(query)), set(blue.rows(query))
        raise AssertionError(f"{e}; missing {sorted(want - have)[:5]}, too many {sorted(have - want)[:5]}\n"
                             f"{pair[0].log()[-1500:]}\n{pair[1].log()[-1500:]}") from None
    again, all_ = repeated(kafka_broker, f"{prefix}.public.item")
    assert again > 20, f"{again} of {all_} messages are repetitions"
    assert not any("level=error" in process.log() for process in pair)
    assert green.one("select count(*) from sluice.progress where \"offset\" is not null") == 6


def test_what_is_refused(blue, greens, applier, debezium, kafka_broker):
    blue.sql("create table t(id int primary key, v int)", "insert into t values (1, 1), (2, 2)", "create table many(id int primary key)")
    green, prefix, topic = greens("r"), f"{blue.name}r", f"{blue.name}r.public.t"
    green.sql("create table t(id int, v int)", "create table many(id int primary key)")
    debezium({prefix: {"table.include.list": "public.t"},
              f"{prefix}n": {**JSON, "table.include.list": "public.many", "topic.creation.default.partitions": 2}})
    s = applier(prefix, green)
    for verb in ("run", "reader"):
        done = s.command(verb)
        assert done.returncode == 78 and "DEBEZIUM-READER" in done.stderr, done.stderr
    # a change that is told twice must not become two rows
    s.start()
    assert s.wait_exit() == 65 and "PG-KEY-MISSING" in s.log() and "ADD PRIMARY KEY" in s.log()
    found = s.command("check", "--json")
    assert found.returncode == 0 and "1 topic of Debezium" in found.stdout and "KAFKA-RETENTION" in found.stdout, found.stdout
    green.sql("alter table t add primary key (id)")
    s.start()
    rows = "select * from t order by id"
    wait_until(lambda: s.alive() and green.rows(rows) == [(1, 1), (2, 2)], 60, "the snapshot")
    pause(1)  # what was applied is durable: from here on it is a service that ran
    # a column that only the source has
    blue.sql("alter table t add note text", "update t set note = 'new' where id = 1")
    s.wait_status(lambda st: "PG-COLUMN-MISSING" in json.dumps(st), "the column is missed")
    green.sql("alter table t add note text")
    wait_until(lambda: s.alive() and green.rows(rows) == blue.rows(rows), 60, "the column")
    # a type that would round in silence
    blue.sql("alter table t add n numeric", "alter table t alter n type numeric(10,2)")
    green.sql("alter table t add n numeric(10,1)")
    blue.sql("insert into t values (3, 3, '', 1.5)")
    wait_until(lambda: s.alive() and green.rows(rows) == blue.rows(rows), 60, "a value that fits")
    blue.sql("insert into t values (4, 4, '', 7771.55)")
    assert s.wait_exit() == 65 and "DEBEZIUM-VALUE" in s.log() and "7771.5" not in s.log()
    green.sql("alter table t alter n type numeric(10,2)")
    s.start()
    wait_until(lambda: s.alive() and green.rows(rows) == blue.rows(rows), 60, "the type is wide enough")
    assert s.stop() == 0
    # what comes next was deleted
    low = kafka_broker.ends(topic)[1] + 3
    blue.sql(*[f"insert into t values ({i}, {i})" for i in range(11, 16)])
    wait_until(lambda: kafka_broker.ends(topic)[1] > low, 30, "the messages are there")
    kafka_broker.delete_records(topic, low)
    s.start()
    assert s.wait_exit() == 80 and "KAFKA-LOG-GONE" in s.log()
    # and for one that begins, too, unless it is told otherwise
    s.config["name"] = s.name = f"{green.name}2"
    s.start()
    assert s.wait_exit() == 80
    s.config["transport"]["kafka"]["debezium"]["start"] = "oldest"
    s.start()
    wait_until(lambda: s.alive() and green.one("select v from t where id = 15") == 15, 60, "what is left")
    assert green.one("select count(*) from t where id = 11") == 0
    assert s.stop() == 0
    # TRUNCATE has no place among several partitions
    other = applier(f"{prefix}n", green, JSON)
    other.config["name"] = other.name = f"{green.name}n"
    blue.sql("insert into many select generate_series(1, 20)", "truncate many", "insert into many values (7), (99)")
    other.start()
    assert other.wait_exit() == 65 and "DEBEZIUM-TRUNCATE" in other.log()
    other.config["transport"]["kafka"]["debezium"]["truncate"] = "ignore"
    other.start()
    wait_until(lambda: other.alive() and green.one("select count(*) from many") == 21, 60, "all rows that ever were")
    assert other.stop() == 0
