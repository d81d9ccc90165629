# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Positions, slots and what may be confirmed."""

import threading

from compare import assert_same
from wait import pause, wait_until

KV = "create table t(id bigserial primary key, v int, w text)"


def sample_confirmed(s, stop, bad):
    """C6: nothing is confirmed before it is stored; looked at every 50 ms."""
    while not stop.is_set():
        try:
            with s.blue.connect() as b:
                row = b.execute("select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s",
                                (s.slot,)).fetchone()
            stored = s.stored_lsn()
        except Exception:
            row, stored = None, 0
        if row and row[0] is not None and stored and int(row[0]) > stored:
            bad.append((int(row[0]), stored))
        stop.wait(0.05)


def test_P33_copy_with_equal_lsns_and_kill(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    for round_ in range(3):
        with blue.connect() as c, c.cursor().copy("copy t(v, w) from stdin") as copy:
            for i in range(60000):
                copy.write_row((i, f"row {i}"))
        pause(0.1 * round_)
        s.kill9()
        s.start()
    s.wait_applied()
    assert green.one("select count(*) from t") == 180000
    assert_same(blue, green)


def test_P34_interleaved_transactions_and_restart(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    a, b = blue.connect(), blue.connect()
    a.execute("begin")
    a.execute("insert into t(v) select g from generate_series(1, 100) g")
    b.execute("insert into t(v) values (-1)")
    s.wait_applied()
    assert s.stop() == 0
    a.execute("insert into t(v) values (101)")
    a.execute("commit")
    b.execute("insert into t(v) values (-2)")
    s.start()
    s.wait_applied()
    assert_same(blue, green)
    a.close()
    b.close()


def test_P35_slot_ahead(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    assert s.stop() == 0
    blue.sql("insert into t(v) values (1)", "select pg_switch_wal()", "insert into t(v) values (2)")
    blue.sql(f"select pg_replication_slot_advance('{s.slot}', pg_current_wal_flush_lsn())")
    blue.sql("insert into t(v) values (3)")
    s.start()
    assert s.wait_exit() == 80
    assert "ahead" in s.log() and "PG-SLOT-AHEAD" in s.log()
    assert green.one("select count(*) from t") == 0


def test_P36_stored_ahead_of_slot(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    for i in range(5):
        blue.sql(f"insert into t(v) select g from generate_series(1, {2000 + i}) g")
        s.kill9()
        assert s.confirmed_lsn() <= s.stored_lsn()
        s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_P37_confirm_only_what_is_durable(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    stop, bad = threading.Event(), []
    watcher = threading.Thread(target=sample_confirmed, args=(s, stop, bad))
    watcher.start()
    blocker = green.connect()
    for i in range(4):
        blocker.execute("begin; lock table t in access exclusive mode")
        blue.sql("insert into t(v) select g from generate_series(1, 3000) g")
        before = s.confirmed_lsn()
        pause(0.7)
        assert s.confirmed_lsn() <= max(before, s.stored_lsn())
        blocker.execute("commit")
        s.wait_applied()
    stop.set()
    watcher.join()
    assert not bad, bad
    wait_until(lambda: s.confirmed_lsn() > 0 and s.confirmed_lsn() <= s.stored_lsn(), 20, "confirmed follows")
    blocker.close()


def test_P38_blue_crashes(own_clusters, green, make):
    from servers import Database
    cluster = own_clusters("crash")
    db = Database(cluster, "b")
    db.sql(KV)
    s = make(blue=db).start()
    s.wait_synced()
    for i in range(3):
        db.sql("insert into t(v) select g from generate_series(1, 5000) g")
        cluster.kill9()
        cluster.start()
        db.reconnect()
    s.wait_applied()
    assert_same(db, green)
    assert s.running


def test_P39_slot_missing(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    assert s.stop() == 0
    blue.sql(f"select pg_drop_replication_slot('{s.slot}')", "insert into t(v) values (1)")
    s.start()
    assert s.wait_exit() == 80
    assert "does not exist" in s.log()
    assert not blue.rows("select from pg_replication_slots where slot_name = %s", (s.slot,))


def test_P40_slot_lost(own_clusters, green, make):
    from servers import Database
    cluster = own_clusters("lost", "wal_level = logical\nmax_slot_wal_keep_size = 16MB\nmax_wal_size = 32MB\nmin_wal_size = 32MB")
    db = Database(cluster, "b")
    db.sql(KV)
    s = make(blue=db).start()
    s.wait_synced()
    assert s.stop() == 0
    for _ in range(8):
        db.sql("insert into t(v, w) select g, repeat('x', 500) from generate_series(1, 2000) g", "select pg_switch_wal()")
    db.sql("checkpoint")
    assert db.one(f"select wal_status from pg_replication_slots where slot_name = '{s.slot}'") == "lost"
    s.start()
    assert s.wait_exit() == 80
    assert "lost" in s.log()


def test_P43_slot_busy_is_waited_for(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    assert s.stop() == 0
    import subprocess
    other = subprocess.Popen(["pg_recvlogical", "-d", blue.uri, "-S", s.slot, "--start", "-o", "proto_version=1",
                              "-o", f"publication_names={s.slot}", "-f", "/dev/null", "-F", "0"],
                             stderr=subprocess.DEVNULL)
    holder = wait_until(lambda: blue.one(f"select active_pid from pg_replication_slots where slot_name = '{s.slot}'"), 20,
                        "slot active")
    s.start()
    s.wait_state("retrying")
    wait_until(lambda: f"active for PID {holder}" in s.log(), 20, "the holder's pid in the log")
    assert other.poll() is None, "the other reader must never be ended"
    other.kill()
    other.wait()
    blue.sql("insert into t(v) values (1)")
    s.wait_applied()
    assert_same(blue, green)


def test_P44_status_updates_while_the_target_is_blocked(own_clusters, green, make):
    from servers import Database
    cluster = own_clusters("timeout", "wal_level = logical\nwal_sender_timeout = 2s")
    db = Database(cluster, "b")
    db.sql(KV)
    s = make(blue=db).start()
    s.wait_synced()
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    db.sql("insert into t(v, w) select g, repeat('x', 200) from generate_series(1, 400000) g")
    pause(6)
    assert "terminating walsender" not in cluster.log()
    blocker.execute("commit")
    s.wait_applied()
    assert_same(db, green)
    assert s.metric("retries_total") == 0


def test_P53_final_lsn_equal_to_stored_end(blue, green, make):
    """Back-to-back commits: an end LSN equals the next final_lsn; each must be applied, once."""
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    for i in range(6):
        blue.sql(f"insert into t(v) values ({i})")
        s.wait_applied()
        assert s.stop() == 0
        blue.sql(f"insert into t(v) values ({100 + i})", f"insert into t(v) values ({200 + i})")
        s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_P56_until_synced_ends_on_an_idle_server(blue, green, make):
    blue.sql(KV, "insert into t(v) values (1)")
    s = make()
    s.until_synced()
    blue.sql("set synchronous_commit = off", "insert into t(v) values (2)", "select pg_switch_wal()")
    s.until_synced()
    assert_same(blue, green)
    s.until_synced()


def test_P57_keepalives_below_the_stored_point(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    old = blue.connect()
    old.execute("begin; insert into t(v) values (-1)")
    for i in range(3):
        blue.sql(f"insert into t(v) values ({i})")
        s.wait_applied()
        stored = s.stored_lsn()
        assert s.stop() == 0
        s.start()
        s.wait_state("running")
        pause(0.5)
        assert s.stored_lsn() >= stored
    old.execute("commit")
    s.wait_applied()
    assert_same(blue, green)
    old.close()


def test_P58_unpublished_backlog_shows_in_lag(blue, green, make):
    blue.sql(KV, "create table audit(x text)")
    s = make({"source": {"exclude": ["public.audit"]}}).start()
    s.wait_synced()
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    blue.sql("insert into t(v) values (1)", "insert into audit select repeat(md5(g::text), 30) from generate_series(1, 100000) g")
    s.wait_status(lambda st: (st["lag"]["bytes"] or 0) > 20 << 20, "a lag in bytes", 30)
    assert s.get("/cutover/ready")[0] == 503
    blocker.execute("commit")
    blocker.close()
    s.wait_applied(60)
    wait_until(lambda: s.status()["lag"]["bytes"] < 1 << 20, 30, "lag gone")


def test_P42_idle_table_does_not_hold_wal(blue, green, make, blue_cluster):
    from servers import Database
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    before = s.confirmed_lsn()
    other = Database(blue_cluster, "other_p42")
    other.sql("create table x as select repeat(md5(g::text), 20) from generate_series(1, 20000) g")
    wait_until(lambda: s.confirmed_lsn() > before + (4 << 20), 60, "confirmed moves on")
    assert s.confirmed_lsn() <= s.stored_lsn()
    s.kill9()
    s.start()
    s.wait_synced()
    other.drop()


def test_E02_positions_are_stable(blue, green, make):
    """The same change has the same position in every replay: replayed streams change nothing and are counted."""
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blue.sql("insert into t(v) select g from generate_series(1, 1000) g", "update t set v = v + 1")
    s.wait_applied()
    first = green.one("select position from sluice.progress")
    s.kill9()
    for _ in range(3):
        s.start()
        s.wait_state("running")
        s.kill9()
        assert green.one("select position from sluice.progress") == first
    assert_same(blue, green)


def test_E10_logical_messages(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blue.sql("select pg_logical_emit_message(false, 'app', 'not transactional')",
             "begin", "select pg_logical_emit_message(true, 'app', 'transactional')", "insert into t(v) values (1)", "rollback",
             "begin", "select pg_logical_emit_message(false, 'app', 'x')", "insert into t(v) values (2)", "commit")
    s.wait_applied()
    assert_same(blue, green)
