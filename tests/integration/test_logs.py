# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""No row value and no secret in anything that sluice writes or answers, whatever goes wrong."""

import json
import pathlib

import pytest

from servers import Database
from wait import wait_until

SECRET = "pw-canary-51c7"
VALUE = "value-canary-9be2"
NUMBER = 918273645546372  # a value that is no text


@pytest.fixture
def secured(own_clusters):
    """Servers that ask for a password; sluice's role owns its databases."""
    made = []
    for name in ("logblue", "loggreen"):
        cluster = own_clusters(name)
        db = Database(cluster, "b" if name == "logblue" else "g")
        db.sql(f"create role app login replication superuser password '{SECRET}'")
        hba = cluster.data / "pg_hba.conf"
        hba.write_text("host all app 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        cluster.reload()
        made.append(db)
    yield made
    for db in made:
        db.conn.close()


def uri(db):
    return db.cluster.uri(db.name, user="app").replace("app@", f"app:{SECRET}@")


def everything_said(s, *commands):
    """Log, answers of HTTP, output of the commands, the process as others on the host see it."""
    said = {"log": s.log()}
    if s.running:
        for path in ("/status?tables=100", "/metrics", "/cutover/ready", "/livez", "/readyz", "/", "/nothing"):
            said[path] = str(s.get(path))
        said["cmdline"] = pathlib.Path(f"/proc/{s.process.pid}/cmdline").read_text()
        said["titles on blue"] = str(s.blue.rows("select application_name from pg_stat_activity"))
    for command in commands:
        done = s.command(*command)
        said[" ".join(command)] = done.stdout + done.stderr
    return said


def assert_silent(said):
    for where, text in said.items():
        for canary in (SECRET, VALUE, str(NUMBER)):
            assert canary not in text, f"{canary} in {where}: …{text[max(0, text.index(canary) - 300):][:400]}"


COMMANDS = (["status"], ["status", "--json"], ["check"], ["check", "--json"], ["ready"], ["dead-letters", "list"],
            ["dead-letters", "list", "--json"], ["dead-letters", "show", "1"])

BREAK = {
    "check": "alter table {t} add constraint c check (n < 10)",
    "unique": "create unique index u on {t} (w)",
    "exclude": "create extension btree_gist; alter table {t} add constraint x exclude using gist (n with =)",
    "too narrow": "alter table {t} alter w type varchar(8)",
    "other type": "alter table {t} alter w type int using null",
    "enum": "create type mood as enum ('sad'); alter table {t} alter w type mood using null",
    "domain": "create domain short as text check (length(value) < 5); alter table {t} alter w type short using null",
    "trigger": "create function no() returns trigger language plpgsql as $$ begin raise exception 'refused: %', new.w using "
               "detail = new.w, hint = new.w; end $$; create trigger no before insert on {t} for each row execute function no(); "
               "alter table {t} enable always trigger no",
    "missing column": "alter table {t} drop column w",
    "missing table": "drop table {t}",
    "not null": "alter table {t} add column must int not null",
}


@pytest.mark.parametrize("policy", ["stop", "dead_letter"])
def test_C8_every_way_a_row_can_be_refused(secured, make, policy):
    blue, green = secured
    for i, name in enumerate(BREAK):
        blue.sql(f"create table t{i}(id int primary key, n bigint, w text)")
    s = make({"apply": {"on_error": policy}, "log": {"level": "debug"}}, blue=blue, green=green, source_uri=uri(blue), target_uri=uri(green))
    s.start()
    s.wait_synced()
    for i, (name, breaks) in enumerate(BREAK.items()):
        blue.sql(f"insert into t{i} values (1, 1, '{VALUE}-0')")
        s.wait_applied()
        if name in ("too narrow", "other type", "enum", "domain", "not null"):
            green.sql(f"truncate t{i}")
        green.sql(breaks.replace("{t}", f"t{i}"))
        second = f"{VALUE}-0" if name == "unique" else f"{VALUE}-1"
        blue.sql(f"insert into t{i} values (2, {1 if name == 'exclude' else NUMBER}, '{second}')")
        if policy == "stop" or name in ("missing column", "missing table"):
            wait_until(lambda: s.process.poll() is not None or (s.status() or {"state": {"name": ""}})["state"]["name"] == "retrying",
                       60, f"{name} is refused")
        else:
            s.wait_applied()
        assert_silent(everything_said(s, *COMMANDS))
        if policy != "stop" and name not in ("missing column", "missing table"):
            continue  # became a dead letter
        s.kill9()
        green.sql(f"drop table if exists t{i}", f"create table t{i}(id int primary key, n bigint, w text)")
        if name == "exclude":
            green.sql("drop extension if exists btree_gist")
        green.sql("drop type if exists mood cascade", "drop domain if exists short cascade")
        s.start()
        s.wait_applied()
    assert_silent(everything_said(s, *COMMANDS))


def test_C8_secrets_when_servers_refuse(secured, make):
    blue, green = secured
    s = make(blue=blue, green=green, source_uri=uri(blue).replace(f"{SECRET}@", f"wrong-{SECRET}@"), target_uri=uri(green))
    s.start()
    assert s.wait_exit() == 77
    assert_silent(everything_said(s, ["check"], ["check", "--print", "source"], ["status"]))
    s = make(blue=blue, green=green, source_uri=uri(blue) + "&sslmode=require", target_uri=uri(green), name="tls")
    done = s.command("check")
    assert done.returncode != 0
    assert_silent({"check": done.stdout + done.stderr})
    broken = make(blue=blue, green=green, source_uri=f"postgresql://app:{SECRET}@127.0.0.1:notaport/b", target_uri=uri(green), name="port")
    done = broken.command("run")
    assert done.returncode == 78, done.stderr
    assert_silent({"run": done.stdout + done.stderr})


def test_C8_secret_in_files_and_variables(secured, make, tmp_path):
    blue, green = secured
    secret = tmp_path / "password"
    secret.write_text(SECRET + "\n")
    s = make({"source": {"password": f"${{file:{secret}}}"}, "target": {"password": "${GREEN_PASSWORD}"}, "log": {"level": "debug"}},
             blue=blue, green=green, source_uri=blue.cluster.uri(blue.name, user="app"), target_uri=green.cluster.uri(green.name, user="app"))
    blue.sql("create table t(id int primary key, w text)", f"insert into t values (1, '{VALUE}')")
    s.start(env={"GREEN_PASSWORD": SECRET})
    s.wait_synced()
    assert green.one("select w from t") == VALUE
    assert_silent(everything_said(s))


@pytest.mark.parametrize("where", ["passfile", "file"])
def test_rotated_password_is_read_again(secured, make, tmp_path, where):
    """A service goes on with the new password as soon as its file holds it."""
    blue, green = secured
    file = tmp_path / "secret"

    def store(password):
        file.write_text(f"*:*:*:app:{password}\n" if where == "passfile" else password)
        file.chmod(0o600)

    store(SECRET)
    config = {"source": {"password": f"${{file:{file}}}"}} if where == "file" else {}
    params = {"passfile": str(file)} if where == "passfile" else {}
    blue.sql("create table t(id int primary key)")
    s = make({**config, "retry": {"breaker": {"pause": "1s"}}}, blue=blue, green=green, target_uri=uri(green),
             source_uri=blue.cluster.uri(blue.name, user="app", **params)).start()
    s.wait_synced()
    blue.sql("alter role app password 'rotated'", "insert into t values (1)",
             "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice_%' and datname = current_database()")
    s.wait_state("retrying")
    wait_until(lambda: s.status()["state"]["code"] == "PG-AUTH", 20, "the refusal is shown")
    store("rotated")
    s.wait_applied()
    assert green.one("select count(*) from t") == 1
    assert_silent(everything_said(s))


def test_log_lines_are_parseable(blue, green, make):
    blue.sql("create table t(id int primary key, w text)")
    s = make({"log": {"format": "json", "level": "debug"}}).start()
    s.wait_synced()
    blue.sql("insert into t values (1, E'line\\nbreak \"quoted\"')")
    s.wait_applied()
    green.sql("alter table t add constraint \"odd \"\"name\"\"\nof two lines\" check (id < 2)")
    blue.sql("insert into t values (2, 'x')")
    assert s.wait_exit() == 65
    lines = [json.loads(line) for line in s.log().splitlines()]
    assert len(lines) > 5 and all({"time", "level", "msg", "event"} <= set(line) for line in lines), lines[:3]
    assert {"started", "phase"} <= {line["event"] for line in lines}
