# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""apply.ddl: columns that come at the source while the stream runs. Each case of the table in README.md."""

import re

import pytest

from compare import assert_same
from servers import Database, withheld
from wait import wait_until

# what is done at the source: (name, before, change with rows behind it, the default afterwards, NOT NULL afterwards)
ADDED = [
    ("plain", [], ["alter table {t} add c text", "insert into {t}(id, c) values (10, 'x')"], None, False),
    ("rewritten", ["vacuum full {t}", "insert into {t}(id) values (9)"],
     ["alter table {t} add c text", "insert into {t}(id, c) values (10, 'x')"], None, False),
    ("const", [], ["alter table {t} add c int not null default 42", "insert into {t}(id) values (10)",
                   "update {t} set c = 7 where id = 1"], "42", True),
    ("quoted", [], ["""alter table {t} add "c" text default 'it''s \\ "q"'""", "insert into {t}(id, c) values (10, null)"],
     """'it''s \\ "q"'::text""", False),
    ("stable", [], ["alter table {t} add c timestamptz default now()", "insert into {t}(id) values (10)"], "now()", False),
    ("dropped_default", [], ["alter table {t} add c numeric(6,2) not null default 1.5", "alter table {t} alter c drop default",
                             "insert into {t}(id, c) values (10, 2)"], None, True),
    ("other_default", [], ["alter table {t} add c int default 1", "insert into {t}(id) values (10)",
                           "alter table {t} alter c set default 2", "insert into {t}(id) values (11)"], "2", False),
    ("later_default", ["insert into {t}(id) values (9)"],
     ["alter table {t} add c int", "alter table {t} alter c set default 5", "insert into {t}(id) values (10)"], "5", False),
    ("array", [], ["alter table {t} add c int[] default '{1,2}'", "insert into {t}(id, c) values (10, '{3}')"],
     "'{1,2}'::integer[]", False),
    ("box", [], ["alter table {t} add c box default '(1,1),(0,0)'", "insert into {t}(id) values (10)"],
     "'(1,1),(0,0)'::box", False),
    ("enum", [], ["alter table {t} add c mood default 'happy'", "insert into {t}(id, c) values (10, 'sad')"],
     "'happy'::mood", False),
    ("collated", [], ["""alter table {t} add c text collate "C" default 'b'""", "insert into {t}(id) values (10)"],
     "'b'::text", False),
    ("two", [], ["alter table {t} add c int, add d text default 'd'", "insert into {t}(id, c) values (10, 1)",
                 "alter table {t} add e date default '2024-02-29'", "update {t} set c = 3"], None, False),
    ("again", ["insert into {t}(id) values (9)"],
     ["alter table {t} drop v", "insert into {t}(id) values (10)", "alter table {t} add c bytea default '\\x00ff'",
      "insert into {t}(id) values (11)"], "'\\x00ff'::bytea", False),
    ("in_transaction", [], ["begin; insert into {t}(id) values (10); alter table {t} add c int default 3; "
                            "insert into {t}(id, c) values (11, 4); alter table {t} alter c set default 9; "
                            "insert into {t}(id) values (12); update {t} set v = 'w' where id < 11; commit"], "9", False),
    ("emptied", ["truncate {t}"], ["alter table {t} add c int not null", "insert into {t}(id, c) values (10, 1)"], None, True),
    ("full", ["alter table {t} replica identity full"],
     ["alter table {t} add c int default 8", "delete from {t} where id = 2", "update {t} set c = 9 where id = 3"], "8", False),
    ("root", [], ["alter table {t} add c int default 6", "insert into {t}(id) values (10), (250)",
                  "update {t} set c = 1 where id = 3"], "6", False),
    ("there_already", [], ["alter table {t} add c int default 6", "insert into {t}(id) values (10)"], "7", False),
]

DEFAULT = """select pg_get_expr(d.adbin, d.adrelid) from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid
and d.adnum = a.attnum where a.attrelid = %s::regclass and a.attname = 'c'"""
NOT_NULL = "select attnotnull from pg_attribute where attrelid = %s::regclass and attname = 'c'"


def make_tables(blue):
    blue.sql("create type mood as enum ('happy', 'sad')")
    for name, *_ in ADDED:
        if name == "root":
            blue.sql("create table t_root(id int primary key, v text) partition by range (id)",
                     "create table t_root_1 partition of t_root for values from (0) to (100)",
                     "create table t_root_2 partition of t_root for values from (100) to (1000)")
        else:
            blue.sql(f"create table t_{name}(id int primary key, v text)")
        blue.sql(f"insert into t_{name} select g, 'v' || g from generate_series(1, 5) g")


def change(blue, name, statements):
    for statement in statements:
        blue.sql(statement.replace("{t}", "t_" + name))


def check_added(blue, green):
    for name, _, _, default, not_null in ADDED:
        name = "t_" + name
        columns = blue.one("select string_agg(quote_ident(attname), ',' order by attnum) from pg_attribute where attrelid = "
                           "%s::regclass and attnum > 0 and not attisdropped", (name,))
        query = f"select {columns} from {name} order by id"
        assert green.rows(query) == blue.rows(query), name
        assert green.one(DEFAULT, (name,)) == default, name
        assert green.one(NOT_NULL, (name,)) == not_null, name


def refused(s, code, table):
    """The stream waits with this error; returns what the operator is told to do."""
    def look():
        for line in s.log().splitlines():
            found = re.search(rf'public\.{table}\b.* code={code} .* remedy="(.*)"$', line)
            if found:
                return found.group(1).replace('\\"', '"')
        return None
    try:
        return wait_until(look, 20, f"{code} of {table}")
    except AssertionError as e:
        raise AssertionError(f"{e}\n{s.log()[-3000:]}") from None


def test_added_columns(blue, green, make):
    make_tables(blue)
    s = make({"retry": {"breaker": {"pause": "1s"}}}).start()
    s.wait_synced()
    for name, before, statements, *_ in ADDED:
        change(blue, name, before)
    s.wait_applied()
    green.sql("alter table t_there_already add c bigint default 7")
    green.sql("update t_there_already set c = 6")
    for name, before, statements, *_ in ADDED:
        change(blue, name, statements)
    s.wait_applied()
    check_added(blue, green)
    assert s.metric("retries_total") in (0, None)
    assert green.one("select count(*) from sluice.audit where action = 'add column'") >= len(ADDED) - 1


def test_column_that_is_read_before_it_is_seen(own_clusters, green, make):
    """The transaction that adds it is in the stream while its commit waits for a standby: the catalog is behind."""
    db = Database(own_clusters("waits"), "b")
    db.sql("create table t(id int primary key)", "insert into t values (1)")
    s = make({"retry": {"breaker": {"pause": "1s"}}}, blue=db).start()
    s.wait_synced()
    with withheld(db, "alter table t add c text default 'old'", "insert into t values (2, 'new')"):
        wait_until(lambda: "PG-COMMIT-WAITS" in s.log(), 30, "it says what it waits for")
    s.wait_applied()
    assert_same(db, green)
    assert green.one("select c from t where id = 1") == "old"


# what cannot be told from the catalog: (name, before, the change, error, how it is cured besides what the remedy says)
STOPS = [
    ("volatile", [], ["alter table {t} add c double precision default random()", "insert into {t}(id) values (10)"],
     "PG-COLUMN-MISSING", True),
    ("volatile_dropped", [], ["alter table {t} add c uuid default gen_random_uuid()", "alter table {t} alter c drop default",
                              "insert into {t}(id) values (10)"], "PG-COLUMN-MISSING", True),
    ("serial", [], ["alter table {t} add c serial", "insert into {t}(id) values (10)"], "PG-COLUMN-MISSING", True),
    ("identity", [], ["alter table {t} add c int generated always as identity", "insert into {t}(id) values (10)"],
     "PG-COLUMN-MISSING", True),
    ("renamed", [], ["alter table {t} rename v to c", "insert into {t}(id, c) values (10, 'x')"], "PG-COLUMN-MISSING", False),
    ("swapped", ["alter table {t} add w text", "insert into {t}(id) values (9)"],
     ["alter table {t} rename v to x", "alter table {t} rename w to v", "alter table {t} rename x to w",
      "insert into {t}(id, v) values (10, 'x')"], "PG-COLUMN-RENAMED", None),
    ("anew", [], ["alter table {t} drop v", "alter table {t} add v text default 'new'", "insert into {t}(id) values (10)"],
     "PG-COLUMN-ANEW", False),
    ("type", [], ["create type size as enum ('s', 'm')", "alter table {t} add c size default 'm'",
                  "insert into {t}(id) values (10)"], "PG-TYPE-MISSING", None),
    ("key", [], ["alter table {t} add c int not null default 0", "alter table {t} drop constraint {t}_pkey",
                 "alter table {t} add primary key (id, c)", "insert into {t}(id, c) values (1, 1)"], "PG-COLUMN-MISSING", None),
    ("gone_not_null", ["alter table {t} alter v set default 'd'", "update {t} set v = 'x'", "alter table {t} alter v set not null"],
     ["alter table {t} drop v", "insert into {t}(id) values (10)"], "PG-COLUMN-DROPPED", False),
    ("narrow", [], ["alter table {t} alter v type numeric(10,4) using 1.2345", "insert into {t}(id, v) values (10, 1.2345)"],
     "PG-COLUMN-NARROW", None),
]

CURES = {
    "swapped": ["alter table {t} rename v to x", "alter table {t} rename w to v", "alter table {t} rename x to w"],
    "type": ["create type size as enum ('s', 'm')"],
    "key": ["alter table {t} add c int not null default 0", "alter table {t} drop constraint {t}_pkey",
            "alter table {t} add primary key (id, c)"],
    "narrow": ["alter table {t} alter v type numeric(10,4) using 1.2345"],
}


def test_changes_that_stop(blue, green, make):
    """Nothing is guessed: the stream waits with the exact statement, and goes on when that was run."""
    for name, *_ in STOPS:
        kind = "numeric(10,2)" if name == "narrow" else "text"
        blue.sql(f"create table t_{name}(id int primary key, v {kind})",
                 f"insert into t_{name}(id) select g from generate_series(1, 5) g")
    s = make({"retry": {"max": "100ms", "breaker": {"pause": "1s"}}}).start()
    s.wait_synced()
    for name, before, *_ in STOPS:
        change(blue, name, before)
    s.wait_applied()
    green.sql("alter table t_gone_not_null alter v set not null")
    for name, _, statements, code, values in STOPS:
        change(blue, name, statements)
        remedy = refused(s, code, "t_" + name)
        assert green.one(f"select count(*) from t_{name} where id = 10") == 0
        if name in CURES:
            change(green, name, CURES[name])
        else:
            green.sql(remedy)
        if values:  # "and the values of the rows that exist"
            for row, value in blue.rows(f"select id, c::text from t_{name} where id < 10"):
                green.conn.execute(f"update t_{name} set c = %s where id = %s", (value, row))
        s.wait_applied()
        assert_same(blue, green, ["t_" + name])


def test_source_far_ahead(blue, green, make):
    """The catalog is younger than the stream: a column that is gone again, values and types of later changes."""
    for name in ("gone", "twice", "backfilled", "emptied", "retyped"):
        blue.sql(f"create table {name}(id int primary key, v text)", f"insert into {name} values (1, 'a'), (2, 'b')")
    s = make({"retry": {"max": "100ms", "breaker": {"pause": "1s"}}}).start()
    s.wait_synced()
    blue.sql("insert into gone values (3, 'c')", "insert into backfilled values (3, 'c')")
    s.wait_applied()
    assert s.stop() == 0
    blue.sql("alter table gone add c int default 5", "insert into gone values (4, 'd', 6)", "alter table gone drop c",
             "insert into gone values (5, 'e')")
    blue.sql("alter table backfilled add c int", "update backfilled set c = id * 10", "alter table backfilled alter c set not null",
             "insert into backfilled values (4, 'd', 7)")
    blue.sql("insert into emptied values (3, 'x')", "truncate emptied", "alter table emptied add c int default random() * 10",
             "insert into emptied values (4, 'd', 7)")
    s.start()
    s.wait_applied()
    assert_same(blue, green, ["gone", "backfilled", "emptied"])
    assert green.rows("select id, c from gone order by id") == [(1, None), (2, None), (3, None), (4, 6), (5, None)]
    alarms = {a["code"]: a["remedy"] for a in s.status()["alarms"]}
    assert "PG-COLUMN-DIFFERS" in alarms
    assert green.one("select count(*) from sluice.audit where action = 'column differs'") >= 1
    assert s.stop() == 0
    blue.sql("alter table twice add c int default 1", "insert into twice values (3, 'c', 2)", "alter table twice drop c",
             "alter table twice add c int default 3", "insert into twice values (4, 'd', 4)")
    s.start()
    refused(s, "PG-COLUMN-MISSING", "twice")
    assert green.one("select count(*) from twice") == 2
    s.stop()


@pytest.mark.parametrize("replica", [True, False])
def test_killed_between_column_and_row(blue, green, make, replica):
    """The column comes and goes with the transaction that needs it; a lock that somebody holds is waited for in short turns."""
    blue.sql("create table t(id int primary key, v text)", "create table child(id int primary key, t int references t(id) "
             "deferrable)", "insert into t values (1, 'a')", "create table other(id int primary key)")
    user = {} if replica else {"target": {"user": "mover"}}
    if not replica:
        green.sql("drop role if exists mover", "create role mover login",
                  f'grant create on database "{green.name}" to mover', "grant create, usage on schema public to mover")
    s = make(user).start(env={"SLUICE_FAULT": "sink.pg.column_added:abort"})
    s.wait_synced()
    blue.sql("begin; insert into t values (2, 'b'); insert into child values (1, 2); alter table t add c int not null default 4; "
             "insert into t values (3, 'c', 5); insert into other values (1); commit")
    assert s.wait_exit() == -9
    assert green.one("select count(*) from t") == 1 and green.one("select count(*) from other") == 0
    assert green.one(NOT_NULL, ("t",)) is None
    holder = green.connect()
    holder.autocommit = False
    holder.execute("select * from t")
    s.start()
    wait_until(lambda: "PG-55P03" in s.log(), 30, "the lock is given up")
    assert green.one("select count(*) from t") == 1, "readers are not kept waiting"
    holder.rollback()
    holder.close()
    s.wait_applied()
    assert_same(blue, green)
    assert s.stop() == 0


def test_rights_are_missing(blue, green, make):
    blue.sql("create table t(id int primary key)", "insert into t values (1)")
    green.sql("drop role if exists writer", "create role writer login", "create table t(id int primary key)",
              f'grant create on database "{green.name}" to writer', "grant all on t to writer")
    s = make({"target": {"user": "writer"}, "snapshot": {"schema": "existing"}}).start()
    s.wait_synced()
    blue.sql("alter table t add c int default 1", "insert into t values (2)")
    green.sql(refused(s, "PG-TABLE-OWNER", "t"))
    s.wait_applied()
    assert_same(blue, green)
    s.stop()
    green.sql("revoke postgres from writer")


def test_ignored_columns(blue, green, make):
    blue.sql("create table t(id int primary key, v text)", "insert into t values (1, 'a')")
    s = make({"apply": {"ddl": "ignore"}}).start()
    s.wait_synced()
    blue.sql("alter table t add c int default 1, add d text", "insert into t values (2, 'b', 3, 'd')", "update t set v = 'w'")
    s.wait_applied()
    assert green.rows("select * from t order by id") == [(1, "w"), (2, "w")]
    assert [a["code"] for a in s.status()["alarms"]] == ["PG-COLUMN-IGNORED"]
    assert s.log().count("event=columns-ignored") == 1 and "c, d" in s.log()


def test_a_publication_of_the_operator(blue, green, make, number):
    """A leaf's new column is made in its root, and so in all of them; a column that comes into a list was there before."""
    for db in (blue, green):
        db.sql("create table p(id int primary key, v text) partition by range (id)",
               "create table p_1 partition of p for values from (0) to (100)",
               "create table p_2 partition of p for values from (100) to (200)", "insert into p values (1, 'a'), (101, 'b')")
        db.sql("create table listed(id int primary key, v text)")
    blue.sql("alter table listed add w text", "insert into listed values (1, 'v', 'w')", "alter table listed alter w drop default",
             "create publication leaves for table p, listed(id, v)", f"select pg_create_logical_replication_slot('leaves{number}', 'pgoutput')")
    s = make({"source": {"postgresql": {"publication": "leaves", "slot": f"leaves{number}"}}, "snapshot": {"mode": "none"}})
    green.sql("insert into listed values (1, 'v')")
    s.start()
    blue.sql("insert into p values (3, 'a'), (103, 'b')", "insert into listed values (4, 'v', 'w')")
    s.wait_applied()
    blue.sql("alter table p add c int default 2",
             "insert into p values (102, 'c', 3)", "insert into p values (2, 'd', 4)")
    s.wait_applied()
    assert_same(blue, green, ["p"])
    blue.sql("insert into listed values (2, 'v', 'w')", "alter publication leaves set table p, listed",
             "insert into listed values (3, 'v', 'w')")
    refused(s, "PG-COLUMN-MISSING", "listed")
    assert green.rows("select * from listed") in ([(1, "v"), (4, "v")], [(1, "v"), (4, "v"), (2, "v")])
    s.kill9()


def test_each_record_in_a_batch_of_its_own(blue, green, make, kafka_broker, number):
    """The row that needs a column may stand in another batch than its transaction's beginning."""
    blue.sql("create table t(id int primary key, v text)", "create table u(id int primary key)")
    kafka = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}
    reader, applier = (make(kafka, name=f"ke{number}", verb=verb) for verb in ("reader", "applier"))
    reader.start()
    applier.start(env={"SLUICE_PERIOD": "batch.records=1"})
    applier.wait_synced()
    blue.sql("insert into t values (1, 'a')", "alter table t add c int default 3", "insert into t values (2, 'b')",
             "begin; insert into u values (1); alter table t add d text; alter table u add e int; insert into t values (3, 'c', 4, 'd'); "
             "insert into u values (2, 2); update t set c = 9 where id = 1; commit", "insert into t values (4)")
    applier.wait_applied()
    assert_same(blue, green)
    assert reader.stop() == 0 and applier.stop() == 0


def test_column_through_a_log(blue, green, make, kafka_broker, number):
    """What the applier needs to know of a column travels with the relation: it was stopped when the column came."""
    blue.sql("create table t(id int primary key, v text)", "insert into t select g, 'v' from generate_series(1, 1000) g",
             "create table quiet(id int primary key)", "insert into quiet values (1)")

    def half(verb):
        return make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}},
                     "retry": {"breaker": {"pause": "1s"}}}, name=f"kd{number}", verb=verb).start()

    def same(table):
        query = f"select md5(string_agg(t::text, ',' order by t::text)) from {table} t"
        try:
            wait_until(lambda: green.one("select to_regclass(%s)", (table,)) and green.one(query) == blue.one(query), 30, table)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{reader.log()[-3000:]}\n{applier.log()[-3000:]}") from None

    def in_log():
        lsn = blue.one("select pg_logical_emit_message(true, 'test', 'x') - '0/0'::pg_lsn")
        wait_until(lambda: reader.confirmed_lsn() >= lsn, 30, "all is in the log")

    reader, applier = half("reader"), half("applier")
    same("t"), same("quiet")
    assert applier.stop() == 0
    blue.sql("vacuum full quiet", "alter table t add c int not null default 42", "insert into t(id, c) values (1001, 5)",
             "update t set v = 'w' where id < 10", "alter table quiet add c text", "insert into quiet values (2, 'x')")
    in_log()
    blue.sql("alter table t alter c set default 43", "vacuum full t", "alter table quiet add d box default '(1,1),(0,0)'")
    applier.start()
    refused(applier, "PG-COLUMN-MISSING", "quiet")  # its file is another one: nobody knows what its rows were given
    applier.kill9()
    green.sql("alter table quiet add c text")
    applier.start()
    same("t")
    assert green.one(NOT_NULL, ("t",)) and green.one("select count(*) from t where c = 42") == 1000
    blue.sql("insert into quiet values (3, 'y')")
    same("quiet")
    blue.sql("alter table t drop c", "alter table t add c int default 44", "insert into t(id) values (1002)")
    green.sql(refused(applier, "PG-COLUMN-ANEW", "t"))
    applier.kill9()
    applier.start()
    same("t")
    assert applier.stop() == 0 and reader.stop() == 0
