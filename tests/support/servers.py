# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Private PostgreSQL servers: own directory, free loopback port, gone with the test."""

import contextlib
import glob
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import psycopg

from wait import wait_until

SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
shared_buffers = 64MB
max_wal_size = 1GB
max_connections = 200
max_replication_slots = 40
max_wal_senders = 40
max_prepared_transactions = 10
wal_retrieve_retry_interval = 100ms
log_min_messages = warning
log_line_prefix = '%m [%p] %q%a '
"""


def free_port():
    """Below the range from which the kernel takes ports of outgoing connections: there it may be gone before it is used, or
    while a server that had it is away."""
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.SystemRandom().randrange(10000, max(low, 11000))
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def default_bindir():
    if os.environ.get("PG_BINDIR"):
        return os.environ["PG_BINDIR"]
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    assert found, "no PostgreSQL server is installed (postgresql-15)"
    return os.path.dirname(found[-1])


def as_server_user(argv):
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else argv


class Cluster:
    def __init__(self, name, bindir=None, settings=""):
        self.name = name
        self.bindir = bindir or default_bindir()
        self.port = free_port()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix=f"sluice-{name}-"))
        self.data = self.base / "data"
        self.logfile = self.base / "log"
        if os.geteuid() == 0:
            shutil.chown(self.base, "postgres")
        os.chmod(self.base, 0o755)
        self.tool("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-N")
        self.append(f"{SETTINGS}\nport = {self.port}\nunix_socket_directories = ''\n{settings}\n")
        self.start()

    def tool(self, program, *args, check=True):
        argv = as_server_user([f"{self.bindir}/{program}", *map(str, args)])
        return subprocess.run(argv, check=check, capture_output=True, text=True, cwd="/")

    def append(self, text, file="postgresql.conf"):
        path = self.data / file
        subprocess.run(as_server_user(["tee", "-a", str(path)]), input=text, text=True, check=True,
                       stdout=subprocess.DEVNULL, cwd="/")

    def start(self):
        started = self.tool("pg_ctl", "-D", self.data, "-l", self.logfile, "-w", "-t", "60", "start", check=False)
        assert started.returncode == 0, started.stderr + self.log()

    def stop(self, mode="fast"):
        self.tool("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop", check=False)

    def restart(self):
        self.stop()
        self.start()

    def reload(self):
        self.tool("pg_ctl", "-D", self.data, "reload")

    def kill9(self):
        """The postmaster dies, its children notice and end; shared memory is gone."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        wait_until(lambda: not any(os.path.exists(f"/proc/{p}") and "Z" not in state(p) for p in [pid, *children]),
                   30, "server processes gone")
        # a process id that is used again would look like the old server to pg_ctl
        subprocess.run(as_server_user(["rm", "-f", str(self.data / "postmaster.pid")]), check=True, cwd="/")

    def log(self):
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def uri(self, db="postgres", user="postgres", port=None, **params):
        query = "&".join(f"{k}={v}" for k, v in {"sslmode": "disable", **params}.items())
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{db}?{query}"

    def connect(self, db="postgres", user="postgres", **kw):
        return psycopg.connect(self.uri(db, user), autocommit=True, **kw)

    def destroy(self):
        self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)


def state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@contextlib.contextmanager
def withheld(db, *statements):
    """They are committed and in the WAL, but nobody sees it before this ends: the commit waits for a standby that never comes."""
    db.sql("alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
    wait_until(lambda: db.one("show synchronous_standby_names") == "nobody", 10, "the server wants a standby")
    with db.connect() as c, db.connect() as other:
        pid = c.execute("select pg_backend_pid()").fetchone()[0]

        def work():
            with c.transaction():
                for statement in statements:
                    c.execute(statement)

        thread = threading.Thread(target=work)
        thread.start()
        waits = "select 1 from pg_stat_activity where pid = %s and wait_event = 'SyncRep'"
        try:
            wait_until(lambda: other.execute(waits, (pid,)).fetchone(), 20, "the commit waits")
            yield
        finally:
            other.execute("select pg_cancel_backend(%s)", (pid,))  # of the wait, not of the transaction
            thread.join()
            other.execute("set synchronous_commit = local")
            other.execute("alter system reset synchronous_standby_names")
            other.execute("select pg_reload_conf()")


class Database:
    """One database on a cluster; `sql` runs statements, `rows`/`one` fetch."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        with cluster.connect() as c:
            c.execute(f'create database "{name}" template template0')
        self.conn = cluster.connect(name)

    @property
    def uri(self):
        return self.cluster.uri(self.name)

    def connect(self, user="postgres", **kw):
        return self.cluster.connect(self.name, user, **kw)

    def reconnect(self):
        with contextlib.suppress(Exception):
            self.conn.close()
        self.conn = self.cluster.connect(self.name)

    def sql(self, *statements):
        for statement in statements:
            self.conn.execute(statement)

    def rows(self, query, params=None):
        return self.conn.execute(query, params).fetchall()

    def one(self, query, params=None):
        row = self.conn.execute(query, params).fetchone()
        return row[0] if row else None

    def psql(self, text):
        done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.uri], input=text, text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stderr

    def drop(self):
        with contextlib.suppress(Exception):
            self.conn.close()
        with self.cluster.connect() as c:
            c.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> "
                      "pg_backend_pid()", (self.name,))
            wait_until(lambda: not c.execute("select 1 from pg_replication_slots where database = %s and active",
                                             (self.name,)).fetchall(), 20, "slots inactive")
            c.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s",
                      (self.name,))
            for (gid,) in c.execute("select gid from pg_prepared_xacts where database = %s", (self.name,)).fetchall():
                with self.cluster.connect(self.name) as d:
                    d.execute(f"rollback prepared '{gid}'")
            c.execute(f'drop database if exists "{self.name}" with (force)')
