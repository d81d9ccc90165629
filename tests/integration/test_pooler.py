# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A pooler in front of the target: sessions do not belong to us, so epochs, settings and locks would not either."""

import os
import shutil
import subprocess
import tempfile

import psycopg
import pytest
from servers import as_server_user, free_port
from wait import wait_until


@pytest.fixture
def pooler(green):
    """A real pgbouncer in transaction mode in front of green's server; gives its port."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:" + os.environ["PATH"])
    assert program, "pgbouncer is not installed"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sluice-pooler-") as folder:
        os.chmod(folder, 0o755)
        with open(f"{folder}/pgbouncer.ini", "w", encoding="utf-8") as out:
            out.write(f"[databases]\n* = host=127.0.0.1 port={green.cluster.port} user=postgres\n[pgbouncer]\n"
                      f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
                      "pool_mode = transaction\ndefault_pool_size = 20\n"
                      "ignore_startup_parameters = extra_float_digits,options,application_name\n")
        process = subprocess.Popen(as_server_user([program, "-q", f"{folder}/pgbouncer.ini"]), cwd="/")
        uri = f"postgresql://postgres@127.0.0.1:{port}/{green.name}?sslmode=disable"

        def answers():
            try:
                psycopg.connect(uri, connect_timeout=2).close()
                return True
            except psycopg.OperationalError:
                return False

        try:
            wait_until(answers, 30, "pgbouncer answers")
            yield uri
        finally:
            process.terminate()
            process.wait(30)


def test_A25_a_transaction_pooler_is_refused(blue, green, make, pooler):
    blue.sql("CREATE TABLE t (id int PRIMARY KEY)")
    blue.sql("INSERT INTO t VALUES (1)")
    sluice = make(target_uri=pooler)
    check = sluice.command("check")
    assert check.returncode == 1
    assert "PG-POOLER" in check.stdout, check.stdout
    run = sluice.command("run", "--until-synced")
    assert run.returncode == 78, run.stderr
    assert "PG-POOLER" in run.stderr
    # refused before anything was made
    assert green.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'sluice'") == 0
    assert blue.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'sluice%'"
                    " AND database = current_database()") == 0
