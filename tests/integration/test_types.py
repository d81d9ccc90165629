# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Every type of PostgreSQL's own, unchanged, by snapshot and by stream, as text and as binary."""

import pytest

from compare import assert_same

VALUES = {
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "1e-1000", "123456789012345678901234567890.0000001", "0", "-0.00"],
    "numeric(10,2)": ["12345678.91", "'NaN'"],
    "int2": ["-32768", "32767"], "int4": ["-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807", "9007199254740993"],
    "float4": ["'NaN'", "'-0'", "1.1", "3.4028235e38", "1e-45"],
    "float8": ["'NaN'", "'-0'", "5e-324", "1.7976931348623157e308", "0.1", "'-Infinity'"],
    "bool": ["true", "false"], "\"char\"": ["'a'", "''"], "name": ["'a name'"],
    "text": ["''", "E'tab\\tnewline\\ncr\\rback\\\\slash'", "'\\N'", "'\\.'", "'äöü€😀'", "'{\"a\",b}'", "'NULL'", "' '"],
    "varchar(20)": ["'x'", "'  padded  '"], "char(5)": ["'ab'", "''"],
    "bytea": ["''", "'\\x00ff5c27'", "decode(repeat('00ff0a5c', 500), 'hex')"],
    "date": ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'2024-02-29'"],
    "timestamp": ["'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'2000-01-01 00:00:00.000001'"],
    "timestamptz": ["'infinity'", "'2024-06-01 12:00:00.123456+02'", "'0001-01-01 00:00:00 BC'"],
    "time": ["'24:00'", "'00:00:00.000001'"], "timetz": ["'23:59:59.999999+14'"],
    "interval": ["'1 year 2 mons -3 days 04:05:06.789'", "'-1 microsecond'", "'178000000 years'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["'{\"a\":1, \"a\":2 , \"u\":\"\\u0000\"}'", "'  [1,  2]'", "'null'"],
    "jsonb": ["'{\"b\":1,\"a\":[1,2,{\"x\":null}]}'", "'1e400'", "'\"ä\"'"],
    "xml": ["'<a b=\"1\">text &amp; more</a>'", "'fragment <b/>'"],
    "int4[]": ["'{1,2,NULL}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'"],
    "text[]": ["array['a,b', 'c\"d', 'e\\f', '', 'NULL', null]", "'{}'"],
    "box[]": ["array['((1,2),(3,4))'::box, '((0,0),(1,1))'::box]"],
    "bytea[]": ["array['\\x00'::bytea, '\\x5c'::bytea]"],
    "int4range": ["'[1,10)'", "'empty'", "'(,5]'"], "numrange": ["'[1.5,2.5]'"], "tstzrange": ["'[2024-01-01,infinity)'"],
    "int4multirange": ["'{[1,3),[5,8)}'", "'{}'"],
    "inet": ["'192.168.1.5/24'", "'::1'"], "cidr": ["'10.0.0.0/8'"], "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "bit(5)": ["B'10101'"], "varbit": ["B''", "B'1010101010101'"],
    "point": ["'(1.5,-2.25)'", "'(NaN,0)'"], "line": ["'{1,2,3}'"], "lseg": ["'[(0,0),(1,1)]'"], "box": ["'((1,1),(0,0))'"],
    "path": ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"], "polygon": ["'((0,0),(1,1),(2,0))'"], "circle": ["'<(0,0),5>'"],
    "tsvector": ["'fat:1A cat:2,3B ''q''''uote'''"], "tsquery": ["'fat & (rat | !cat:B)'"],
    "money": ["'-12345.67'"], "oid": ["4294967295"], "pg_lsn": ["'FFFFFFFF/FFFFFFFF'"], "txid_snapshot": ["'10:20:10,14,15'"],
    "mood": ["'happy'", "'it''s \"odd\", ok'"], "positive": ["5"], "pair": ["row(1, 'a \"q\", b', '{1,2}')", "row(null, '', null)"],
    "pair[]": ["array[row(1, 'x', '{3}')::pair, null]"], "mood[]": ["array['sad', 'happy']::mood[]"],
    "hstore": ["'a=>1, \"b c\"=>NULL, d=>\"q\\\"\"'"], "citext": ["'MiXed'"],
    "jsonpath": ["'$.a[*] ? (@ > 1)'"], "regclass": ["'pg_class'"],
}


def build(db, where):
    db.sql("create extension hstore", "create extension citext",
           "create type mood as enum ('sad', 'happy', 'it''s \"odd\", ok')", "create domain positive as int check (value > 0)",
           "create type pair as (n int, t text, l int[])")
    for i, type_name in enumerate(VALUES):
        db.sql(f"create table v{i}(id serial primary key, v {type_name})")
    fill(db)


def fill(db):
    db.sql("set xmloption = content")
    for i, (type_name, values) in enumerate(VALUES.items()):
        for value in [*values, "null"]:
            db.sql(f"insert into v{i}(v) values (({value})::{type_name})")


def change(db):
    """Every value arrives by insert and by update too."""
    fill(db)
    for i, (type_name, values) in enumerate(VALUES.items()):
        for k, value in enumerate([*values, "null"]):
            db.sql(f"update v{i} set v = ({value})::{type_name} where id = {len(values) + 1 - k}")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_types(blue, green, make, binary):
    build(blue, "blue")
    s = make({"source": {"postgresql": {"binary": binary}}}).start()
    s.wait_synced(120)
    assert_same(blue, green)
    change(blue)
    s.wait_applied()
    assert_same(blue, green)
    assert s.stop() == 0


def test_binary_where_every_type_is_built_in(blue, green, make):
    own = {"mood", "positive", "pair", "hstore", "citext"}
    kept = {k: v for k, v in VALUES.items() if k not in own and "[]" not in k}
    for i, type_name in enumerate(kept):
        blue.sql(f"create table v{i}(id serial primary key, v {type_name})")
    s = make({"source": {"postgresql": {"binary": True}}}).start()
    s.wait_synced()
    for i, (type_name, values) in enumerate(kept.items()):
        for value in [*values, "null"]:
            blue.sql(f"insert into v{i}(v) values (({value})::{type_name})")
    query = blue.rows("select query from pg_stat_activity where application_name like 'sluice_%/stream' and "
                      "datname = current_database()")
    assert "binary" in query[0][0], query
    s.wait_applied()
    for i, (type_name, values) in enumerate(kept.items()):
        blue.sql(f"update v{i} set v = (select max(v::text) from v{i} o)::{type_name} where id = 1")
    s.wait_applied()
    assert_same(blue, green)


def test_E08_settings_of_roles_change_no_value(blue, green, make):
    for db in (blue, green):
        for setting in ("datestyle = 'German, DMY'", "intervalstyle = 'sql_standard'", "timezone = 'Asia/Kathmandu'",
                        "extra_float_digits = -3", "bytea_output = 'escape'", "lc_monetary = 'C'", "xmloption = 'document'"):
            db.sql(f"alter database {db.name} set {setting}")
        db.reconnect()
    build(blue, "blue")
    s = make().start()
    s.wait_synced(120)
    change(blue)
    s.wait_applied()
    assert_same(blue, green)


def test_E01_null_empty_absent(blue, green, make):
    blue.sql("create table t(id int primary key, a text, b bytea, c text)", "alter table t alter c set storage external")
    s = make().start()
    s.wait_synced()
    blue.sql("insert into t values (1, null, null, repeat('x', 9000)), (2, '', '', repeat('y', 9000)), (3, 'NULL', '\\x', null)",
             "update t set a = '' where id = 1", "update t set a = null where id = 2", "update t set b = null where id = 3",
             "update t set c = null where id = 1", "update t set c = '' where id = 3")
    s.wait_applied()
    assert_same(blue, green)
    assert green.rows("select id, a is null, b is null, c is null, length(c) from t order by id") == [
        (1, False, True, True, None), (2, True, False, False, 9000), (3, False, True, False, 0)]
