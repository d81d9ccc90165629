# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""First, do no harm to blue: what the application on blue must never notice."""

import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

from compare import assert_same
from confirmed import ConfirmedWatch
from sluice import TABLES_OFTEN
from wait import pause, wait_until

KV = "create table t(id bigserial primary key, v int, w text)"
OURS = "select pid, application_name from pg_stat_activity where application_name like 'sluice_%%' and datname = current_database()"
# everything in a catalog that a tool might have left behind
CATALOG = """
select 'table', oid::regclass::text || relreplident::text from pg_class where relkind in ('r', 'v', 'S', 'i', 'p')
    and relnamespace::regnamespace::text !~ '^pg_(toast|temp)'
union all select 'trigger', tgname || tgenabled::text from pg_trigger union all select 'function', oid::text from pg_proc
union all select 'event trigger', evtname from pg_event_trigger union all select 'schema', nspname from pg_namespace where nspname !~ '^pg_t'
union all select 'setting', setdatabase::text || setconfig::text from pg_db_role_setting where setdatabase = (
    select oid from pg_database where datname = current_database())
union all select 'publication', pubname from pg_publication
union all select 'slot', slot_name from pg_replication_slots where database = current_database()
"""


def catalog(db):
    return set(db.rows(CATALOG))


def shop(db, rows=30000):
    db.sql(KV, f"insert into t(v, w) select g, repeat('x', 200) from generate_series(1, {rows}) g")


def test_nothing_but_publication_and_slot_on_blue(blue, green, make):
    shop(blue, 2000)
    before = catalog(blue)
    s = make()
    done = s.command("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert catalog(blue) == before and not green.rows("select 1 from pg_namespace where nspname = 'sluice'"), "check changes nothing"
    s.start()
    s.wait_synced()
    blue.sql("update t set v = v + 1")
    s.wait_applied()
    assert catalog(blue) - before == {("publication", f"sluice_{s.name}"), ("slot", f"sluice_{s.name}")}
    assert s.stop() == 0
    wait_until(lambda: not blue.rows(OURS), 20, "no session of ours is left on blue")


def test_sessions_are_named_and_few(blue, green, make):
    shop(blue, 60000)
    s = make({"snapshot": {"chunk": "1MiB", "workers": 3}}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:sleep=1500@3"})
    most, parts = 0, set()

    def look():
        nonlocal most
        sessions = [name for _, name in blue.rows(OURS)]
        most = max(most, len(sessions))
        parts.update(sessions)
        return (s.status() or {}).get("phase") in ("in-sync", "ready")

    wait_until(look, 90, "in-sync", interval=0.02)
    assert most <= 3 + 4, f"{most} sessions on blue with 3 workers"
    assert all(p.startswith(f"sluice_{s.name}/") for p in parts), parts
    assert {p.split("/")[1] for p in parts} <= {"lease", "stream", "snapshot", "monitor", "check", "dump"}, parts
    # pg_stat_activity without application_name: a session of ours that does not say whose it is
    assert not blue.rows("select 1 from pg_stat_activity where datname = current_database() and backend_type in ('client backend', "
                         "'walsender') and application_name = '' and pid <> pg_backend_pid() and usename <> 'postgres'")
    s.wait_applied()
    assert_same(blue, green)


@pytest.mark.parametrize("ddl", ["alter table t add column extra int", "truncate t"])
def test_our_lock_gives_way(blue, green, make, ddl):
    """An application's DDL that waits for our copy stops every SELECT behind it: the copy has to step aside."""
    shop(blue, 60000)
    s = make({"snapshot": {"chunk": "1MiB", "workers": 1}}).start(env={"SLUICE_FAULT": "snapshot.chunk_mid:sleep=20000@4"})
    wait_until(lambda: blue.rows("select 1 from pg_locks where relation = 't'::regclass and pid in (select pid from pg_stat_activity "
                                 "where application_name like 'sluice_%%/snapshot')"), 30, "our chunk holds its lock")
    pause(0.3)
    began = time.monotonic()
    blue.sql(ddl)
    took = time.monotonic() - began
    assert took < 5, f"{ddl} waited {took:.1f} s for us"
    blue.sql("insert into t(v) values (-5)")
    s.kill9()
    if "column" in ddl:
        return
    s.start()
    s.wait_synced()
    s.wait_applied()
    assert_same(blue, green)


def test_xmin_is_free_after_the_copy(blue, green, make):
    shop(blue)
    s = make().start()
    s.wait_synced()
    blue.sql("update t set v = v + 1 where id < 100")
    s.wait_applied()
    assert not blue.rows("select 1 from pg_replication_slots where slot_name = %s and xmin is not null", (s.slot,))
    wait_until(lambda: blue.rows("select count(*) from pg_stat_activity where application_name like 'sluice_%%' and datname = "
                                 "current_database() and backend_xmin is not null and backend_type = 'client backend'") == [(0,)],
               20, "no session of ours holds xmin")
    assert not blue.rows("select 1 from pg_replication_slots where database = current_database() and temporary")


def test_wal_is_let_go(blue, green, make):
    """restart_lsn follows: blue does not keep the WAL of what green has."""
    shop(blue, 1000)
    s = make().start()
    s.wait_synced()
    kept = "select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) from pg_replication_slots where slot_name = %s"
    for _ in range(3):
        blue.sql("update t set v = v + 1, w = repeat('y', 2000)")
    s.wait_applied()

    def look():
        blue.sql("checkpoint")
        return int(blue.rows(kept, (s.slot,))[0][0]) < 1 << 20

    wait_until(look, 60, "less than 1 MiB of WAL is kept", interval=1)


def test_P55_dropped_key_raises_an_alarm(blue, green, make):
    blue.sql(KV, "create table other(id int primary key, v int)", "insert into other values (1, 1)")
    s = make().start(env=TABLES_OFTEN)
    s.wait_synced()
    blue.sql("alter table other drop constraint other_pkey")
    status = s.wait_status(lambda st: [a for a in st["alarms"] if a["code"] == "PG-IDENTITY"], "the alarm PG-IDENTITY", 45)
    alarm = next(a for a in status["alarms"] if a["code"] == "PG-IDENTITY")
    assert "public.other" in alarm["message"] and "REPLICA IDENTITY FULL" in alarm["remedy"]
    blue.sql(alarm["remedy"])
    blue.sql("update other set v = 2")
    s.wait_applied()
    assert_same(blue, green)
    s.wait_status(lambda st: not [a for a in st["alarms"] if a["code"] == "PG-IDENTITY"], "the alarm is over", 45)


def test_P55_dropped_key_with_full(blue, green, make):
    blue.sql(KV, "create table other(id int primary key, v int)", "insert into other values (1, 1)")
    s = make({"source": {"postgresql": {"no_identity": "full"}}}).start(env=TABLES_OFTEN)
    s.wait_synced()
    blue.sql("alter table other drop constraint other_pkey")
    wait_until(lambda: s.alive() and blue.one("select relreplident from pg_class where oid = 'other'::regclass") == "f", 45,
               "REPLICA IDENTITY FULL is set")
    blue.sql("update other set v = 2")
    s.wait_applied()
    assert_same(blue, green)


def test_new_table_blocks_ready(blue, green, make):
    blue.sql(KV)
    s = make().start(env=TABLES_OFTEN)
    s.wait_synced()
    blue.sql("create table later(id int primary key)", "insert into later values (1)")
    status = s.wait_status(lambda st: "new_tables" in [r["code"] for r in st["ready"]["reasons"]], "the reason new_tables", 45)
    assert any("later" in a["message"] for a in status["alarms"]), status["alarms"]
    done = s.command("ready", "--wait", "60s")
    assert done.returncode == 1, "time does not cure this"
    blue.sql("drop table later")
    s.wait_status(lambda st: "new_tables" not in [r["code"] for r in st["ready"]["reasons"]], "the reason is gone", 45)


def test_ready_under_steady_writes(blue, green, make, tmp_path):
    """Lag is that of the oldest change that is missing, not that of the last look: a busy blue gets ready too."""
    blue.sql(KV, "insert into t(v) select g from generate_series(1, 1000) g")
    s = make({"cutover": {"max_lag": "900ms", "hold": "5s"}}).start()
    s.wait_synced()
    script = tmp_path / "load.sql"
    script.write_text("\\set k random(1, 1000)\nbegin;\ninsert into t(v) values (:k);\nupdate t set v = v + 1 where id = :k;\ncommit;\n"
                      "update t set v = 7 where id = :k;\n")
    load = subprocess.Popen([f"{blue.cluster.bindir}/pgbench", "-n", "-f", script, "-c", "2", "-R", "2000", "-T", "600", blue.uri],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lags = []
    try:
        s.wait_status(lambda st: lags.append(st["lag"]["seconds"]) or st["ready"]["ready"] and len(lags) > 150, "ready while others write", 45)
        high = sum(lag > 0.9 for lag in lags)
        assert high < len(lags) / 10, f"{high} of {len(lags)} looks: {lags}"
    finally:
        load.kill()
        load.wait()
    s.wait_applied()
    assert_same(blue, green)


def test_P18_prepared_transaction(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blue.sql("begin", "insert into t(v) values (1)", "prepare transaction 'sluice-p18'",
             "begin", "insert into t(v) values (2)", "prepare transaction 'sluice-p18-b'")
    s.wait_applied()
    assert green.one("select count(*) from t") == 0
    s.wait_status(lambda st: "prepared_transactions" in [r["code"] for r in st["ready"]["reasons"]], "the reason", 20)
    s.kill9()
    blue.sql("commit prepared 'sluice-p18'", "rollback prepared 'sluice-p18-b'")
    s.start()
    s.wait_applied()
    assert green.rows("select v from t") == [(1,)]
    assert_same(blue, green)


def test_P16_savepoints(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blue.sql("begin", "insert into t(v) values (1)", "savepoint a", "insert into t(v) select g from generate_series(1, 500) g",
             "savepoint b", "update t set v = -1", "rollback to b", "insert into t(v) values (2)", "rollback to a",
             "insert into t(v) values (3)", "commit", "begin", "insert into t(v) values (9)", "rollback")
    s.wait_applied()
    assert sorted(r[0] for r in green.rows("select v from t")) == [1, 3]
    assert_same(blue, green)


def test_C6_under_every_fault(blue, green, make, proxy_for, blue_cluster, green_cluster):
    """Cut connections, stopped process, locks, kills: the slot is never ahead of green."""
    to_blue, to_green = proxy_for(blue_cluster.port), proxy_for(green_cluster.port)
    blue.sql(KV)
    s = make(source_uri=blue_cluster.uri(blue.name, port=to_blue.port),
             target_uri=green_cluster.uri(green.name, port=to_green.port)).start()
    s.wait_synced()
    over = threading.Event()

    def load():
        with blue.connect() as c:
            while not over.wait(0.005):
                c.execute("insert into t(v, w) select g, 'w' from generate_series(1, 50) g")
                c.execute("update t set v = v + 1 where id % 17 = 0")

    writer = threading.Thread(target=load)
    writer.start()
    try:
        with ConfirmedWatch(s):
            for i in range(12):
                pause(0.15)
                match i % 6:
                    case 0: to_green.cut()
                    case 1: to_blue.cut()
                    case 2: to_green.drop_commit = 1
                    case 3:
                        s.kill9()
                        s.start()
                    case 4:
                        s.signal(signal.SIGSTOP)
                        pause(0.3)
                        s.signal(signal.SIGCONT)
                    case 5:
                        with green.connect() as c:
                            c.execute("begin; lock table t in access exclusive mode")
                            pause(0.4)
    finally:
        over.set()
        writer.join()
    to_green.drop_commit = 0
    s.wait_applied()
    assert_same(blue, green)


def peak_mb(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) >> 10


def test_P13_memory_does_not_depend_on_the_transaction(blue, green, make):
    """The same peak for 100 thousand and for 2 million rows in one transaction."""
    blue.sql("create table t(id int primary key, v int, w text)")
    peaks = []
    s = make({"limits": {"batch_memory": "16MiB"}})
    env = {"ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=4:exitcode=99"}
    for low, high in ((1, 100000), (100001, 2100000)):
        s.start(env=env)
        s.wait_synced()
        blue.sql(f"insert into t select g, 0, repeat('m', 60) from generate_series({low}, {high}) g")
        s.wait_applied(200)
        peaks.append(peak_mb(s.process.pid))
        assert s.stop() == 0
    assert peaks[1] < peaks[0] + 48, f"peak in MiB: {peaks}"
    assert green.one("select count(*) from t") == 2100000
