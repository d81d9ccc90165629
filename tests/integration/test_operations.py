# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Commands, exit codes, signals, bad input: what an operator meets."""

import os
import signal
import subprocess

import pytest

from compare import assert_same
from servers import Database
from sluice import BINARY
from wait import pause, wait_until

KV = "create table t(id bigserial primary key, v int, w text)"
CANARY = "canary-7f3a9"


def run(*args, env=None, **kw):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}, **kw)


def test_O02_sigterm_drains(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blue.sql("insert into t(v, w) select g, repeat('x', 100) from generate_series(1, 100000) g")
    pause(0.3)
    assert s.stop(60) == 0
    assert s.confirmed_lsn() <= s.stored_lsn()
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_O02_second_sigterm_exits_at_once(blue, green, make):
    blue.sql(KV)
    s = make().start()
    s.wait_synced()
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    blue.sql("insert into t(v) values (1)")
    pause(0.5)
    s.signal(signal.SIGTERM)
    pause(0.5)
    assert s.running
    s.signal(signal.SIGTERM)
    assert s.wait_exit(5) == 143
    blocker.execute("commit")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_O02_grace_period_ends(blue, green, make):
    blue.sql(KV)
    s = make({"run": {"grace_period": "1s"}}).start()
    s.wait_synced()
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    blue.sql("insert into t(v) values (1)")
    pause(0.5)
    s.signal(signal.SIGTERM)
    assert s.wait_exit(10) == 143
    blocker.execute("commit")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_O05_standby_takes_over(blue, green, make):
    blue.sql(KV)
    first = make().start()
    first.wait_synced()
    second = make(name=first.name).start()
    second.wait_state("standby")
    third = make(name=first.name).start("--no-standby")
    assert third.wait_exit() == 81
    blue.sql("insert into t(v) values (1)")
    first.wait_applied()
    first.kill9()
    blue.sql("insert into t(v) values (2)")
    second.wait_applied()
    assert_same(blue, green)


def test_O06_config_errors_all_at_once(tmp_path):
    bad = tmp_path / "sluice.yaml"
    bad.write_text(f"""name: Bad Name
source:
  uri: postgresql://u:{CANARY}@127.0.0.1/x
  includes: ["a"]
  postgresql: {{no_identity: maybe}}
target:
  uri: ${{MISSING_VARIABLE}}
snapshot: {{workers: many, chunk: 12parsecs}}
retry: {{base: fast}}
transport: {{type: kafka}}
on_fatal: yes
""")
    done = run("-c", str(bad), "run")
    assert done.returncode == 78
    text = done.stdout + done.stderr
    for word in ("name", "includes", "no_identity", "MISSING_VARIABLE", "workers", "chunk", "base", "on_fatal"):
        assert word in text, (word, text)
    assert "sluice.yaml:4" in text or ":4:" in text
    assert CANARY not in text


@pytest.mark.parametrize("args", [[], ["fly"], ["run", "--fast"], ["check", "--print", "moon"], ["--set", "x", "run"]])
def test_wrong_command_line(args):
    done = run(*args)
    assert done.returncode == 64, done.stdout + done.stderr
    assert "sluice" in done.stderr + done.stdout


def test_help_and_version():
    for command in ("init", "check", "run", "status", "ready", "dead-letters", "config-reference"):
        done = run(command, "--help")
        assert done.returncode == 0 and "exit" in done.stdout.lower() and len(done.stdout) > 400, command
    version = run("--version")
    assert version.returncode == 0 and "libpq" in version.stdout


def test_init_and_check(blue, green, make, tmp_path):
    blue.sql(KV)
    env = {"SLUICE_SOURCE_URI": blue.uri.replace("postgres@", f"postgres:{CANARY}@"), "SLUICE_TARGET_URI": green.uri}
    done = run("init", env=env)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout
    file = tmp_path / "sluice.yaml"
    file.write_text(done.stdout)
    done = run("-c", str(file), "check", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wal_level=logical" in done.stdout and "0 FAIL" in done.stdout and "Nothing was changed." in done.stdout
    offline = run("-c", str(file), "check", "--offline", env=env)
    assert offline.returncode == 0, offline.stdout + offline.stderr


def test_check_finds_that_sluice_would_be_a_standby(own_clusters, green, make):
    """Commits on the source would wait until they are applied, and some for ever: what they wait for waits for them."""
    cluster = own_clusters("standby")
    s = make(blue=Database(cluster, "b"))
    assert "PG-SYNC-NAMES" not in s.command("check").stdout
    with cluster.connect() as c:
        c.execute("alter system set synchronous_standby_names = 'FIRST 1 (*)'")
        c.execute("select pg_reload_conf()")
    wait_until(lambda: "PG-SYNC-NAMES" in s.command("check").stdout, 20, "check says so")


def test_check_prints_remedies_that_work(blue, green, make):
    blue.sql(KV, "create table audit(x int)", "create role fresh login")
    s = make(source_uri=blue.cluster.uri(blue.name, user="fresh"))
    try:
        done = s.command("check")
        assert done.returncode == 1
        assert "may not replicate" in done.stdout and "PG-ROLE" in done.stdout
        sql = s.command("check", "--print", "source").stdout
        assert "public.t TO fresh;" in sql
        assert "ALTER TABLE public.audit REPLICA IDENTITY FULL;" in sql
        blue.psql(sql)
        blue.psql(s.command("check", "--print", "source").stdout)
        done = s.command("check")
        assert "FAIL " not in done.stdout.split("target")[0], done.stdout
        s.start()
        s.wait_synced()
        blue.sql("insert into t(v) values (1)")
        s.wait_applied()
        assert_same(blue, green)
        s.stop()
    finally:
        s.close()
        blue.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'fresh'", "drop owned by fresh")
        blue.sql("drop role fresh")


def test_wrong_password(own_clusters, green, make):
    from servers import Database
    cluster = own_clusters("password")
    db = Database(cluster, "b")
    db.sql(KV, f"create role app login replication password '{CANARY}'")
    hba = cluster.data / "pg_hba.conf"
    text = hba.read_text()
    hba.write_text("host all app 127.0.0.1/32 scram-sha-256\n" + text)
    cluster.reload()
    s = make(blue=db, source_uri=cluster.uri("b", user="app").replace("app@", "app:wrong-" + CANARY + "@")).start()
    assert s.wait_exit() == 77
    assert "app" in s.log() and CANARY not in s.log()


def test_missing_grants_are_exact(blue, green, make):
    blue.sql(KV, "create role poor login")
    try:
        s = make(source_uri=blue.cluster.uri(blue.name, user="poor")).start()
        assert s.wait_exit() == 77
        assert 'ALTER ROLE \\"poor\\" REPLICATION' in s.log() or 'ALTER ROLE "poor" REPLICATION' in s.log()
    finally:
        blue.sql("drop role poor")


def test_wal_level(own_clusters, green, make):
    from servers import Database
    cluster = own_clusters("replica", "wal_level = replica")
    db = Database(cluster, "b")
    db.sql(KV)
    s = make(blue=db).start()
    assert s.wait_exit() == 78
    assert "ALTER SYSTEM SET wal_level = logical" in s.log()


def test_slot_of_somebody_else(blue, green, make):
    blue.sql(KV)
    s = make()
    blue.sql(f"select pg_create_logical_replication_slot('{s.slot}', 'pgoutput')")
    s.start()
    assert s.wait_exit() == 78
    assert "not ours" in s.log()
    assert blue.rows("select from pg_replication_slots where slot_name = %s", (s.slot,))


def test_snapshot_none_needs_the_slot(blue, green, make):
    blue.sql(KV)
    s = make({"snapshot": {"mode": "none"}}).start()
    assert s.wait_exit() == 78
    blue.sql(f"create publication {s.slot} for table t")
    blue.sql(f"select pg_create_logical_replication_slot('{s.slot}', 'pgoutput')")
    green.sql(KV)
    blue.sql("insert into t(v) values (1)")
    s.start()
    s.wait_applied()
    assert_same(blue, green)


def test_missing_table_on_green(blue, green, make):
    blue.sql(KV)
    s = make({"snapshot": {"schema": "existing"}}).start()
    assert s.wait_exit() in (65, 78)
    assert "public.t" in s.log()


def test_source_that_cannot_be_reached_is_retried(blue, green, make, proxy_for, blue_cluster):
    blue.sql(KV)
    proxy = proxy_for(blue_cluster.port)
    proxy.refuse = True
    s = make(source_uri=blue_cluster.uri(blue.name, port=proxy.port)).start()
    s.wait_state("retrying")
    assert s.get("/livez")[0] == 200 and s.get("/readyz")[0] == 200
    proxy.refuse = False
    s.wait_synced()
    assert_same(blue, green)


def test_status_ready_metrics(blue, green, make):
    blue.sql(KV, "insert into t(v) values (1)")
    s = make({"cutover": {"hold": "1s"}}).start()
    s.wait_phase("ready", timeout=60)
    assert s.get("/cutover/ready")[0] == 200
    done = s.command("ready")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = s.command("status")
    assert shown.returncode == 0 and " -> " in shown.stdout and "phase ready" in shown.stdout
    for name in ("lag_seconds", "lag_bytes", "cutover_ready", "read_records_total", "applied_transactions_total",
                 "retries_total", "source_slot_retained_bytes", "queue_bytes", "commit_to_apply_seconds_count"):
        assert s.metric(name) is not None, name
    assert s.get("/nothing")[0] == 404
    blocker = green.connect()
    blocker.execute("begin; lock table t in access exclusive mode")
    blue.sql("insert into t(v) values (2)")
    wait_until(lambda: s.get("/cutover/ready")[0] == 503, 30, "not ready while blocked")
    done = s.command("ready")
    assert done.returncode == 1 and "lag" in done.stdout
    blocker.execute("commit")
    assert s.command("ready", "--wait", "60s").returncode == 0
    assert s.stop() == 0
    assert s.command("status").returncode == 0


def test_on_fatal_hold(blue, green, make):
    blue.sql(KV)
    s = make({"on_fatal": "hold"}).start()
    s.wait_synced()
    green.sql("alter table t add constraint small check (v < 10)")
    blue.sql("insert into t(v) values (50)")
    status = s.wait_state("blocked")
    assert status["state"]["reason"]
    assert s.get("/livez")[0] == 200
    assert s.stop() == 65


def test_no_value_or_secret_in_any_output(blue, green, make):
    blue.sql(KV, f"insert into t(v, w) values (1, '{CANARY}')")
    s = make({"log": {"level": "debug"}}).start()
    s.wait_synced()
    green.sql("create unique index u on t(w)", f"delete from t", f"insert into t values (77, 1, '{CANARY}-2')")
    blue.sql(f"insert into t(v, w) values (2, '{CANARY}-2')")
    assert s.wait_exit() == 65
    assert CANARY not in s.log()


def test_generator_to_discard(make):
    s = make({"source": {"type": "generator", "uri": "", "generator": {"transactions": 5000, "rows_per_transaction": 20}},
              "target": {"type": "discard", "uri": ""}, "snapshot": {"mode": "none"}})
    s.start("--until-synced")
    assert s.wait_exit(60) == 0
