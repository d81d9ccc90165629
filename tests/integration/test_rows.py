# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Changes of rows: unchanged TOAST, keys, identities, tables without a key."""

from compare import assert_same
from wait import wait_until

LONG = "repeat(md5('{0}'), 200)"  # 6 kB, out of line with storage external


def toast_table(db, name="t", extra=""):
    db.sql(f"create table {name}(id int primary key, n int, long text {extra})",
           f"alter table {name} alter column long set storage external")


def test_P01_unchanged_toast(blue, green, make):
    toast_table(blue)
    blue.sql(f"insert into t select g, 0, {LONG.format('a')} || g from generate_series(1, 50) g")
    s = make().start()
    s.wait_synced()
    blue.sql("update t set n = n + 1", "update t set n = n + 1 where id % 2 = 0")
    blue.sql("begin", f"insert into t values (100, 0, {LONG.format('new')})", "update t set n = 7 where id = 100", "commit")
    s.wait_applied()
    assert green.one("select count(*) from t where long is null or length(long) < 6000") == 0
    assert_same(blue, green)
    assert s.stop() == 0


def test_P02_unchanged_toast_under_full_identity(blue, green, make):
    toast_table(blue)
    blue.sql("alter table t drop constraint t_pkey", "alter table t replica identity full",
             f"insert into t select g, 0, {LONG.format('b')} from generate_series(1, 20) g")
    s = make().start()
    s.wait_synced()
    blue.sql("update t set n = 5 where id < 10", "delete from t where id = 3")
    s.wait_applied()
    assert_same(blue, green)


def test_P03_key_change(blue, green, make):
    toast_table(blue)
    blue.sql(f"insert into t select g, 0, {LONG.format('c')} from generate_series(1, 20) g")
    s = make().start()
    s.wait_synced()
    blue.sql("update t set id = id + 1000 where id <= 5",
             "begin", "update t set id = 500 where id = 6", "update t set n = 9 where id = 500",
             f"insert into t values (6, 1, {LONG.format('x')})", "commit",
             f"update t set id = id + 2000, long = {LONG.format('y')} where id between 10 and 12",
             "begin", "update t set id = -1 where id = 15", "update t set id = 15 where id = 16",
             "update t set id = 16 where id = -1", "commit")
    s.wait_applied()
    assert_same(blue, green)


def test_P04_no_replica_identity(blue, green, make):
    blue.sql("create table nokey(a int)", "create table t(id int primary key)", "insert into nokey values (1)")
    refused = make()
    done = refused.command("check")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ALTER TABLE public.nokey REPLICA IDENTITY FULL;" in done.stdout
    assert "PG-IDENTITY" in done.stdout
    refused.start()
    assert refused.wait_exit() == 78
    assert "nokey" in refused.log()
    blue.sql("update nokey set a = 2")  # the application's own update still works
    assert blue.one("select count(*) from pg_publication_tables where tablename = 'nokey'") == 0

    s = make({"source": {"postgresql": {"no_identity": "insert_only"}}}).start()
    s.wait_synced()
    blue.sql("insert into nokey values (10)", "insert into t values (1)")
    s.wait_applied()
    assert sorted(r[0] for r in green.rows("select a from nokey")) == [2, 10]
    blue.sql("update nokey set a = 11 where a = 10", "delete from nokey where a = 2")
    assert s.stop() == 0


def test_P04_full_is_set_when_asked(blue, green, make):
    blue.sql("create table nokey(a int, b text)", "insert into nokey values (1, 'x'), (1, 'x')")
    s = make({"source": {"postgresql": {"no_identity": "full"}}}).start()
    s.wait_synced()
    blue.sql("delete from nokey where ctid = (select min(ctid) from nokey)", "update nokey set b = null")
    s.wait_applied()
    assert_same(blue, green)


def test_P05_exactly_one_of_equal_rows(blue, green, make):
    blue.sql("create table dup(a int, j json, p point, f float8, t text)", "alter table dup replica identity full",
             """insert into dup select 1, '{"k": 1}', '(1,2)', 'NaN', null from generate_series(1, 3)""",
             """insert into dup values (2, '{"k":1}', '(0,0)', '-0', 'a'), (2, '{"k":1}', '(0,0)', '0', 'a')""")
    s = make().start()
    s.wait_synced()
    blue.sql("delete from dup where ctid = (select min(ctid) from dup where a = 1)")
    blue.sql("update dup set a = 9 where ctid = (select min(ctid) from dup where a = 1)")
    blue.sql("delete from dup where a = 2 and f::text = '-0'")
    s.wait_applied()
    assert green.one("select count(*) from dup where a = 1") == 1
    assert green.rows("select f::text from dup where a = 2") == [("0",)]
    assert_same(blue, green)


def test_P06_identity_using_another_index(blue, green, make):
    blue.sql("create table t(a int not null, b int not null, v int)", "create unique index t_a on t(a)",
             "create unique index t_b on t(b)", "alter table t replica identity using index t_a",
             "insert into t select g, -g, 0 from generate_series(1, 100) g")
    s = make().start()
    s.wait_synced()
    blue.sql("update t set v = 1 where a <= 50", "update t set a = a + 1000 where a <= 3",
             "alter table t replica identity using index t_b",
             "update t set v = 2 where b < -50", "delete from t where b = -100", "update t set b = b - 1000 where b = -7")
    s.wait_applied()
    assert_same(blue, green)


def test_P10_generated_column(blue, green, make):
    blue.sql("create table t(id int primary key, a int, d int generated always as (a * 2) stored)",
             "insert into t values (1, 1), (2, 2)")
    s = make().start()
    s.wait_synced()
    blue.sql("insert into t values (3, 3)", "update t set a = 10 where id = 1")
    s.wait_applied()
    assert_same(blue, green)


def test_P11_identity_always(blue, green, make):
    blue.sql("create table t(id int generated always as identity primary key, v int)", "insert into t(v) values (1), (2)")
    s = make().start()
    s.wait_synced()
    blue.sql("insert into t(v) values (3)", "update t set v = 20 where id = 2", "update t set id = default where id = 1",
             "delete from t where id = 2")
    s.wait_applied()
    assert_same(blue, green)


def test_P07_truncate(blue, green, make):
    blue.sql("create table p(id serial primary key)", "create table c(id int primary key, p int references p)",
             "insert into p select from generate_series(1, 5)", "insert into c select g, g from generate_series(1, 5) g")
    s = make().start()
    s.wait_synced()
    blue.sql("truncate p restart identity cascade", "insert into p default values", "insert into c values (1, 1)")
    s.wait_applied()
    assert_same(blue, green)


def test_many_operations_on_few_keys(blue, green, make):
    blue.sql("create table t(id int primary key, v int, w text)")
    s = make().start()
    s.wait_synced()
    blue.psql("""
    do $$ declare k int; begin
      for i in 1..4000 loop
        k := (random() * 12)::int;
        case (random() * 3)::int
          when 0 then insert into t values (k, i, 'i' || i) on conflict (id) do update set v = excluded.v;
          when 1 then update t set v = i where id = k;
          when 2 then delete from t where id = k;
          else update t set id = 100 + k where id = k and not exists (select from t where id = 100 + k);
               update t set id = k, w = 'back' where id = 100 + k and not exists (select from t where id = k);
        end case;
        if random() < 0.2 then commit; end if;
      end loop; end $$""")
    s.wait_applied()
    assert_same(blue, green)


def test_A05_missing_row(blue, green, make):
    """A05: an UPDATE or DELETE that finds no row stops, or is counted, as the config says."""
    blue.sql("create table t(id int primary key, v int)", "insert into t select g, 0 from generate_series(1, 10) g")
    s = make().start()
    s.wait_synced()
    green.sql("delete from t where id = 5")
    blue.sql("update t set v = 1 where id = 5")
    assert s.wait_exit() == 65
    assert "public.t" in s.log()
    again = make({"apply": {"missing_row": "warn"}}).start()
    again.wait_applied()
    wait_until(lambda: again.metric("missing_rows_total") == 1, 20, "missing_rows_total 1")
    blue.sql("update t set v = 2 where id = 6")
    again.wait_applied()
    assert green.one("select v from t where id = 6") == 2
