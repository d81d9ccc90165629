# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The README's own commands, on two servers with its roles: from nothing to an application on green."""

import os
import pathlib
import re
import shlex
import subprocess

import pytest

from compare import assert_same
from servers import Database, free_port
from sluice import BINARY
from wait import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", README, re.S)


def commands():
    """The lines behind a $ of the README, continued lines joined, comments left out."""
    found = []
    for block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            else:
                found[-1] += "\n" + line
    return [c for c in found if not c.startswith("#")]


@pytest.fixture
def shop(own_clusters, tmp_path):
    """Servers with the README's roles, and a shell in which its commands run as they stand there."""
    blue, green = own_clusters("readmeblue"), own_clusters("readmegreen", "")
    b = Database(blue, "shop")
    b.sql("create table orders(id bigserial primary key, note text)", "create table audit(what text)", "create sequence invoice start 500",
          "insert into orders(note) select 'n' || g from generate_series(1, 2000) g", "insert into audit values ('a'), ('a')")
    with green.connect() as c:
        roles = [block.replace("…", "x") for block in blocks("sql") if "CREATE ROLE" in block]
        assert len(roles) == 2 and "on blue" in roles[0] and "on green" in roles[1]
        for statement in roles[1].split(";")[:-1]:
            c.execute(statement)
    b.sql(*[s for s in roles[0].split(";")[:-1]])
    port = free_port()
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLUICE_HTTP_LISTEN": f"127.0.0.1:{port}",
           "SLUICE_CUTOVER_HOLD": "1s"}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sluice").symlink_to(BINARY)

    def shell(command, **kw):
        for name, cluster in (("blue", blue), ("green", green)):
            command = re.sub(rf"-h {name} +", f"-h 127.0.0.1 -p {cluster.port} ", command)
            command = command.replace(f"@{name}/shop", f"@127.0.0.1:{cluster.port}/shop?sslmode=disable")
        return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, **kw)

    yield b, green, shell, env, tmp_path
    b.conn.close()


def find(all_commands, start):
    return next(c for c in all_commands if c.startswith(start))


def test_readme(shop):
    blue, green_cluster, shell, env, folder = shop
    known = commands()
    export = shlex.split(find(known, "export ").split("export ", 1)[1])
    made = shell("; ".join(f"export {shlex.quote(e)}" for e in export) + '; echo "$SLUICE_SOURCE_URI $SLUICE_TARGET_URI"')
    env["SLUICE_SOURCE_URI"], env["SLUICE_TARGET_URI"] = made.stdout.split()
    init = shell(find(known, "sluice init"))
    assert init.returncode == 0, init.stderr
    for command in ("sluice check --print source", "sluice check --print target"):
        done = shell("set -o pipefail; " + find(known, command))
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    done = shell("sluice check")
    assert done.returncode == 0 and "0 FAIL" in done.stdout, done.stdout + done.stderr

    with open(folder / "log", "wb") as log:
        service = subprocess.Popen([BINARY, "run"], cwd=folder, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: service.poll() is not None or shell("sluice status --json").stdout.find('"from":"service"') > 0, 30, "the service answers")
        ready = shell(find(known, "sluice ready"))
        assert ready.returncode == 0, ready.stdout + ready.stderr + (folder / "log").read_text()[-2000:]
        assert "phase ready" in shell("sluice status").stdout
        blue.sql("insert into orders(note) values ('late')", "delete from audit where ctid = (select min(ctid) from audit)",
                 "select nextval('invoice')", "select nextval('invoice')")
        stop = find(known, "kill %1; wait %1; ")
        service.terminate()
        assert service.wait(30) == 0
        done = shell(stop.removeprefix("kill %1; wait %1; "))
        assert done.returncode == 0, done.stderr[-3000:]
    finally:
        service.kill()
        service.wait()
    with green_cluster.connect("shop") as c:
        green = type("Green", (), {"sql": lambda self, *a: [c.execute(x) for x in a],
                                   "rows": lambda self, q: c.execute(q).fetchall()})()
        assert_same(blue, green)
        done = shell("set -o pipefail; " + next(k for k in known if "pg_sequences" in k))
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        assert c.execute("select nextval('invoice'), nextval('orders_id_seq')").fetchone() == (502, 2002)
        assert c.execute("insert into orders(note) values ('on green') returning id").fetchone() == (2003,)
    blue.sql("select pg_drop_replication_slot('sluice_shop')", "drop publication sluice_shop")


def test_every_command_of_the_readme_exists():
    for verb in sorted(set(re.findall(r"\bsluice ([a-z][a-z-]+)\b(?= |`|$|\n)", "\n".join(commands())))):
        done = subprocess.run([BINARY, verb, "--help"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, verb


def test_every_setting_of_the_readme_exists():
    reference = (ROOT / "config" / "reference.md").read_text()
    for key in set(re.findall(r"`((?:source|target|snapshot|apply|cutover|limits|http|run|retry)\.[a-z_.]+)", README)):
        assert f"`{key}`" in reference or f"`{key}." in reference, key


def test_files_of_the_readme_exist():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
