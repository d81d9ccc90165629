# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A sluice process under test: config, start, signals, status, exit code."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import psycopg

from servers import free_port
from wait import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
# the tables are looked at twice a minute; a test that waits for that need not wait so long
TABLES_OFTEN = {"SLUICE_PERIOD": "source.pg.tables=1000"}
BINARY = os.environ.get("SLUICE_BINARY", str(ROOT / "build" / "sluice"))


def merge(base, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


class Sluice:
    def __init__(self, blue, green, config=None, name="t", source_uri=None, target_uri=None, verb="run"):
        self.verb = verb
        self.blue, self.green, self.name = blue, green, name
        self.port = free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice-run-"))
        self.config = merge({
            "name": name,
            "source": {"uri": source_uri or blue.uri},
            "target": {"uri": target_uri or (green.uri if green else "")},
            "snapshot": {"workers": 2},
            "retry": {"base": "20ms", "max": "500ms"},
            "cutover": {"hold": "1s"},
            "http": {"listen": f"127.0.0.1:{self.port}"},
            # a group learns soon that one of its members was killed
            "transport": {"kafka": {"consumer_properties": {"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}}},
        }, config or {})
        if self.config["transport"].get("type") != "kafka":
            del self.config["transport"]
        self.file = self.dir / "sluice.yaml"
        self.process = None
        self.runs = 0
        self.slot = self.config["source"].get("postgresql", {}).get("slot", f"sluice_{name}")

    def write(self):
        # JSON is YAML
        self.file.write_text(json.dumps(self.config, indent=2))

    def command(self, *args, timeout=120, env=None):
        self.write()
        return subprocess.run([BINARY, "-c", str(self.file), *args], capture_output=True, text=True,
                              timeout=timeout, env={**os.environ, **(env or {})})

    def start(self, *args, env=None):
        self.write()
        self.runs += 1
        self.err = open(self.dir / f"stderr.{self.runs}", "wb")
        self.process = subprocess.Popen([BINARY, "-c", str(self.file), self.verb, *args], stdin=subprocess.DEVNULL,
                                        stdout=self.err, stderr=self.err, env={**os.environ, **(env or {})})
        return self

    def log(self):
        return "".join((self.dir / f"stderr.{i + 1}").read_text(errors="replace") for i in range(self.runs))

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, timeout=60):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s\n{self.log()[-4000:]}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def kill9(self):
        if self.running:
            self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM; the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def get(self, path):
        """(status, body) or None when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return None

    def status(self):
        answer = self.get("/status")
        return json.loads(answer[1]) if answer and answer[0] == 200 else None

    def metric(self, name):
        answer = self.get("/metrics")
        total, found = 0.0, False
        for line in (answer[1].splitlines() if answer else []):
            m = re.match(rf"sluice_{name}(\{{[^}}]*\}})? (\S+)", line)
            if m:
                total, found = total + float(m.group(2)), True
        return total if found else None

    def wait_status(self, condition, what, timeout=90):
        def look():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} while waiting for {what}\n"
                                     f"{self.log()[-4000:]}")
            status = self.status()
            return status if status and condition(status) else None
        try:
            return wait_until(look, timeout, what)
        except AssertionError as e:
            raise AssertionError(f"{e}\nstatus: {json.dumps(self.status())[:1500]}\n{self.log()[-3000:]}") from None

    def wait_phase(self, *phases, timeout=90):
        return self.wait_status(lambda s: s["phase"] in phases, f"phase {phases}", timeout)

    def wait_synced(self, timeout=90):
        return self.wait_phase("in-sync", "ready", timeout=timeout)

    def wait_state(self, *states, timeout=60):
        return self.wait_status(lambda s: s["state"]["name"] in states, f"state {states}", timeout)

    def wait_applied(self, timeout=90):
        """Everything committed at the source so far has arrived: a marker transaction has passed."""
        lsn = self.barrier()
        try:
            wait_until(lambda: self.alive() and self.stored_lsn() >= lsn, timeout, f"stored position {lsn:#x}")
        except AssertionError as e:
            raise AssertionError(f"{e}; stored {self.stored_lsn():#x}\n{self.log()[-4000:]}") from None

    def alive(self):
        assert self.process.poll() is None, f"ended with {self.process.returncode}\n{self.log()[-4000:]}"
        return True

    def barrier(self):
        with self.blue.connect() as c:
            c.execute("set synchronous_commit = on")
            return int(c.execute("select pg_logical_emit_message(true, 'test', 'marker') - '0/0'::pg_lsn").fetchone()[0])

    def stored_lsn(self):
        try:
            with self.green.connect() as c:
                row = c.execute("select resume from sluice.progress where stream = %s", (self.name,)).fetchone()
        except psycopg.Error:
            return 0
        return int.from_bytes(row[0], "big") if row and row[0] else 0

    def confirmed_lsn(self):
        row = self.blue.rows("select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s",
                             (self.slot,))
        return int(row[0][0]) if row and row[0][0] is not None else 0

    def until_synced(self, timeout=120, env=None):
        """A whole run that ends by itself once everything committed is durably applied."""
        self.start("--until-synced", env=env)
        code = self.wait_exit(timeout)
        assert code == 0, f"exit {code}\n{self.log()[-4000:]}"

    def close(self):
        if self.running:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)
