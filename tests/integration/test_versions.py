# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The oldest and the newest supported servers, on either side: copy, stream, types, a kill."""

import contextlib

import pytest

from compare import assert_same
from servers import Cluster, Database
from versions import unpacked

NAMES = {
    "t": "id bigserial primary key, v int, w text",
    "nokey": "a int, b text",
    "types": "id int primary key, n numeric, f float8, ts timestamptz, d date, i interval, b bytea, j jsonb, js json, u uuid, "
             "a text[], r int4range, mr int4multirange, ip inet, bits varbit, c \"char\", p point, tv tsvector, m money, l pg_lsn",
}
ROWS = [
    "1, 'NaN', '-0', 'infinity', '0044-03-15 BC', '1 year -3 days 04:05:06.789', '\\x00ff5c', '{\"a\":[1,null]}', '{\"b\":1, \"b\":2}', "
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a,b\",NULL,\"\"}', '[1,10)', '{[1,3),[5,8)}', '192.168.1.5/24', B'10101', 'a', "
    "'(1.5,-2)', 'fat:1A', '-12.34', '16/B374D848'",
    "2, 'Infinity', 5e-324, '294276-12-31 23:59:59.999999+00', '5874897-12-31', '-1 microsecond', '', 'null', '[ 1 ]', null, '{}', "
    "'empty', '{}', '::1', B'', '', '(NaN,0)', '', '0', '0/0'",
    "3, 1e-400, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null",
]


@pytest.fixture(scope="module")
def pair():
    """Clusters by major version, started when first asked for; 0 is the installed version."""
    with contextlib.ExitStack() as stack:
        made = {}

        def cluster(major):
            if major not in made:
                bindir = stack.enter_context(unpacked(major)) if major else None
                made[major] = Cluster(f"v{major}", bindir=bindir, settings="wal_level = logical")
                stack.callback(made[major].destroy)
            return made[major]

        yield cluster


def create(db):
    for name, columns in NAMES.items():
        db.sql(f"create table {name}({columns})")
    db.sql("alter table nokey replica identity full")


def change(db, base):
    db.sql("insert into t(v, w) select g, repeat('x', 100) from generate_series(1, 3000) g",
           "insert into nokey select g % 5, 'n' from generate_series(1, 50) g",
           "update t set v = v + 1 where id % 3 = 0", "delete from t where id % 7 = 0",
           "delete from nokey where ctid = (select min(ctid) from nokey)",
           *[f"insert into types values ({row.replace(row[0], str(base + int(row[0])), 1)})" for row in ROWS],
           f"update types set n = n where id = {base + 1}", f"update types set f = '-Infinity' where id = {base + 3}")


@pytest.mark.parametrize("source,target,schema", [(14, 17, "auto"), (14, 0, "auto"), (0, 18, "auto"), (17, 14, "existing"),
                                                  (18, 0, "existing")])
def test_versions(pair, make, number, source, target, schema):
    blue, green = Database(pair(source), f"vb{number}"), Database(pair(target), f"vg{number}")
    try:
        create(blue)
        if schema == "existing":
            create(green)
        change(blue, 0)
        s = make({"snapshot": {"schema": schema}}, blue=blue, green=green).start()
        s.wait_synced()
        assert_same(blue, green)
        change(blue, 10)
        s.kill9()
        change(blue, 20)
        s.start()
        s.wait_applied()
        assert_same(blue, green)
        assert s.stop() == 0
        done = s.command("check")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        s.close()
        blue.drop()
        green.drop()
