# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Exactly once on green: lost connections, other writers, constraints, dead letters."""

import pytest

from compare import assert_same
from wait import pause, wait_until

KV = "create table t(id bigserial primary key, v int, w text)"
HISTORY = "create table h(n bigserial primary key, who int)"


def test_A02_connection_lost_after_commit_was_sent(blue, green, make, proxy_for, green_cluster):
    proxy = proxy_for(green_cluster.port)
    blue.sql(HISTORY)
    s = make(target_uri=green_cluster.uri(green.name, port=proxy.port)).start()
    s.wait_synced()
    for i in range(6):
        proxy.drop_commit = 1
        blue.sql(f"insert into h(who) select {i} from generate_series(1, 50)")
        wait_until(lambda: proxy.drop_commit == 0, 30, "a reply to COMMIT was dropped")
        s.wait_applied()
    assert proxy.dropped_commits == 6
    assert_same(blue, green)


def test_A03_deadlock_with_a_writer_on_green(blue, green, make):
    blue.sql(KV, "insert into t(v) select g from generate_series(1, 100) g")
    s = make().start()
    s.wait_synced()
    green.sql("set deadlock_timeout = '10s'")
    other = green.connect()
    other.execute("set deadlock_timeout = '10s'")
    for i in range(3):
        other.execute("begin; update t set w = w where id = 90")
        blue.sql("begin", "update t set v = v + 1 where id = 10", "update t set v = v + 1 where id = 90", "commit")
        pause(0.3)
        try:
            other.execute("update t set w = w where id = 10")
            other.execute("commit")
        except Exception:
            other.execute("rollback")
        s.wait_applied()
    assert_same(blue, green)
    other.close()


def test_A04_unique_violation_by_another_writer(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    green.sql("insert into t values (1000, 5, 'green')")
    blue.sql("insert into t values (1000, 6, 'blue')")
    assert s.wait_exit() == 65
    assert "t_pkey" in s.log()
    assert "public.t" in s.log()
    s.config["apply"] = {"conflict": "target_wins"}
    s.start()
    s.wait_applied()
    assert green.one("select w from t where id = 1000") == "green"
    s.stop()
    green.sql("insert into t values (2000, 5, 'green')")
    blue.sql("insert into t values (2000, 6, 'blue')")
    s.config["apply"] = {"conflict": "source_wins"}
    s.start()
    s.wait_applied()
    assert green.one("select w from t where id = 2000") == "blue"
    wait_until(lambda: s.metric("conflicts_total") == 1, 20, "conflicts_total 1")


def test_A06_replay_changes_nothing(blue, green, make):
    """A kill between the target's commit and the confirmation makes the server send it all again."""
    blue.sql(KV, HISTORY)
    s = make().start()
    s.wait_synced()
    s.stop()
    for _ in range(4):
        s.start(env={"SLUICE_FAULT": "pipeline.reader.confirm:abort@1"})
        blue.sql("insert into h(who) select g from generate_series(1, 5000) g", "insert into t(v) select g from generate_series(1, 3000) g",
                 "update t set v = v + 1", "delete from t where id % 3 = 0")
        assert s.wait_exit() == -9
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_A14_dead_letters(blue, green, make):
    blue.sql(KV)
    s = make({"apply": {"on_error": "dead_letter"}}).start()
    s.wait_synced()
    green.sql("alter table t add constraint small check (v < 1000)")
    blue.sql("begin", "insert into t(id, v) values (1, 1)", "insert into t(id, v, w) values (2, 5000, 'secretvalue')",
             "insert into t(id, v) values (3, 3)", "commit")
    s.wait_applied()  # else the later UPDATE could mend the row before it is written
    blue.sql("update t set v = 7 where id = 2", "update t set v = 8 where id = 3")
    s.wait_applied()
    assert green.rows("select id, v from t order by id") == [(1, 1), (3, 8)]
    # the key is blocked: its later records wait behind the first one
    assert green.one("select count(*) from sluice.dead_letters where state = 'pending'") == 2
    wait_until(lambda: s.metric("dead_letters_pending") == 2, 20, "dead_letters_pending 2")
    listed = s.command("dead-letters", "list")
    assert listed.returncode == 0 and "public.t" in listed.stdout and "secretvalue" not in listed.stdout + s.log()
    ready = s.command("ready")
    assert ready.returncode == 1 and "dead_letters" in ready.stdout
    ids = [str(r[0]) for r in green.rows("select id from sluice.dead_letters order by id")]
    green.sql("alter table t drop constraint small")
    done = s.command("dead-letters", "retry", *ids)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(blue, green)


def test_A14_stop_is_the_default(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    green.sql("alter table t add constraint small check (v < 1000)")
    blue.sql("insert into t(id, v) values (1, 1)", "insert into t(id, v, w) values (2, 5000, 'secretvalue')")
    assert s.wait_exit() == 65
    assert "public.t" in s.log() and "secretvalue" not in s.log() and "5000" not in s.log().split("small")[-1][:200]
    green.sql("alter table t drop constraint small")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_A21_old_commit_still_in_flight(blue, green, make, proxy_for, green_cluster):
    proxy = proxy_for(green_cluster.port)
    blue.sql(HISTORY)
    s = make(target_uri=green_cluster.uri(green.name, port=proxy.port)).start()
    s.wait_synced()
    for i in range(4):
        blue.sql(f"insert into h(who) select {i} from generate_series(1, 2000)")
        pause(0.01 * i)
        proxy.stall()
        pause(0.1)
        s.kill9()
        proxy.resume()
        s.start()
        s.wait_applied()
    assert_same(blue, green)


def test_A22_deferrable_unique(blue, green, make):
    blue.sql("create table t(id int primary key, u int unique deferrable initially deferred)",
             "insert into t select g, g from generate_series(1, 10) g")
    s = make().start()
    s.wait_synced()
    blue.sql("begin", "update t set u = 2 where id = 1", "update t set u = 1 where id = 2", "commit")
    s.wait_applied()
    assert_same(blue, green)
    green.sql("insert into t values (99, 50)")
    blue.sql("insert into t values (11, 50)")
    assert s.wait_exit() == 65, "a second equal key must not be accepted in silence"
    assert green.one("select count(*) from t where u = 50") == 1


def test_A24_stopped_applier_does_not_block_its_successor(blue, green, make):
    blue.sql(KV)
    first = make().start()
    first.wait_synced()
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    blue.sql("insert into t(v) values (1)")
    wait_until(lambda: green.rows("select 1 from pg_stat_activity where application_name like 'sluice_%%/apply' and "
                                  "wait_event_type = 'Lock' and datname = current_database()"), 20, "apply waits in a transaction")
    first.signal(19)
    blocker.execute("commit")
    blocker.close()
    # what would hold the source: the stopped process's sessions there are ended by the network or an operator
    blue.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_%' and datname = current_database()")
    second = make(name=first.name).start()
    second.wait_applied(60)
    assert_same(blue, green)
    first.signal(18)
    blue.sql("insert into t(v) values (2)")
    second.wait_applied()
    assert_same(blue, green)


def test_swapped_unique_values(blue, green, make):
    blue.sql("create table t(id int primary key, email text unique)", "insert into t select g, 'm' || g from generate_series(1, 50) g")
    s = make().start()
    s.wait_synced()
    for i in range(1, 20, 2):
        blue.sql("begin", f"update t set email = 'tmp' where id = {i}", f"update t set email = 'm{i}' where id = {i + 1}",
                 f"update t set email = 'm{i + 1}' where id = {i}", "commit")
    s.wait_applied()
    assert_same(blue, green)


def test_rows_of_a_table_that_inherits(blue, green, make):
    """They are not the parent's own, though it shows them: equal keys, equal rows, an emptied parent."""
    blue.sql("create table parent(id int primary key, v int)", "create table child(primary key (id)) inherits (parent)",
             "insert into parent select g, 0 from generate_series(1, 50) g", "insert into child select g, 1 from generate_series(1, 50) g",
             "create table plain(a int)", "alter table plain replica identity full", "create table same() inherits (plain)",
             "alter table same replica identity full", "insert into same values (1), (1), (2)", "insert into plain values (1), (1), (2)",
             "create table swap(id int primary key, u int unique deferrable initially deferred)",
             "create table swapped(primary key (id)) inherits (swap)",
             "insert into swapped select g, g from generate_series(1, 9) g", "insert into swap select g, g from generate_series(1, 9) g")
    s = make().start()
    s.wait_synced()
    for statement in ("update only parent set v = v + 2", "update child set v = v + 2 where id % 2 = 0",
                      "update only parent set id = id + 100 where id < 5",
                      "delete from only parent where id % 3 = 0", "delete from child where id % 4 = 0",
                      "delete from only plain where ctid = (select min(ctid) from only plain)", "update same set a = a + 1",
                      "update only swap set u = 10 - u", "truncate only parent"):
        blue.sql(statement)
        s.wait_applied()
        assert_same(blue, green)


def test_triggers_on_green(blue, green, make):
    """Ordinary triggers do not fire twice; one that is enabled ALWAYS sees every row, in order."""
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    green.sql("create table seen(n serial, op text, id bigint)",
              "create function note() returns trigger language plpgsql set search_path = public as $$ begin "
              "insert into seen(op, id) values (tg_op, coalesce(new.id, old.id)); return null; end $$",
              "create trigger ordinary after insert on t for each row execute function note()",
              "create trigger always after insert or update or delete on t for each row execute function note()",
              "alter table t enable always trigger always")
    s.stop()
    s.start()
    blue.sql("begin", "insert into t(id) values (1), (2)", "update t set v = 1 where id = 1", "delete from t where id = 1", "commit")
    s.wait_applied()
    assert_same(blue, green, ["t"])
    assert green.rows("select op, id from seen order by n") == [("INSERT", 1), ("INSERT", 2), ("UPDATE", 1), ("DELETE", 1)]


def test_green_restarts(own_clusters, blue, make):
    from servers import Database
    cluster = own_clusters("greencrash", "")
    db = Database(cluster, "g")
    blue.sql(KV, HISTORY)
    s = make(green=db).start()
    s.wait_synced()
    for i in range(3):
        blue.sql("insert into t(v) select g from generate_series(1, 20000) g", f"insert into h(who) values ({i})")
        cluster.kill9()
        cluster.start()
    db.reconnect()
    s.wait_applied()
    assert_same(blue, db)


def test_connections_are_cut(blue, green, make, proxy_for, blue_cluster, green_cluster):
    to_blue, to_green = proxy_for(blue_cluster.port), proxy_for(green_cluster.port)
    blue.sql(KV, HISTORY)
    s = make(source_uri=blue_cluster.uri(blue.name, port=to_blue.port),
             target_uri=green_cluster.uri(green.name, port=to_green.port)).start()
    s.wait_synced()
    for i in range(8):
        blue.sql(f"insert into h(who) select {i} from generate_series(1, 3000)", "insert into t(v) select g from generate_series(1, 3000) g")
        (to_blue if i % 2 else to_green).cut()
        blue.sql("update t set v = v + 1 where id % 10 = 0")
    to_green.trickle_bytes = 3
    blue.sql("insert into t(v) select g from generate_series(1, 200) g")
    pause(1)
    to_green.trickle_bytes = 0
    s.wait_applied()
    assert_same(blue, green)


def test_large_transaction_in_bounded_memory(blue, green, make):
    blue.sql(KV)
    s = make({"limits": {"batch_memory": "16MiB"}}).start()
    s.wait_synced()
    blue.sql("begin", "insert into t(v, w) select g, repeat('z', 200) from generate_series(1, 300000) g",
             "update t set v = v + 1 where id % 2 = 0", "delete from t where id % 7 = 0", "commit")
    seen = []
    wait_until(lambda: seen.append(green.one("select count(*) from t")) or seen[-1] > 0 or s.process.poll() is not None, 120, "rows on green")
    s.wait_applied(120)
    full = green.one("select count(*) from t")
    assert set(seen) <= {0, full}, "a transaction was visible in part"
    assert_same(blue, green)
    assert s.metric("queue_bytes") is not None


@pytest.mark.parametrize("change,code,word", [
    ("alter table t alter w type varchar(3)", 65, "value too long"),
    ("alter table t drop column w", None, "w"),
    ("drop table t", None, "public.t"),
])
def test_target_table_does_not_fit(blue, green, make, change, code, word):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    green.sql(change)
    blue.sql("insert into t(v, w) values (1, 'toolong')")
    if code:
        assert s.wait_exit() == code
    else:
        s.wait_state("retrying")
    assert word in s.log()
    assert "toolong" not in s.log()
    if code is None and "column" in change:
        green.sql("alter table t add column w text")
        s.wait_applied()
        assert_same(blue, green)
