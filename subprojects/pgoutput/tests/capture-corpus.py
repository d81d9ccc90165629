#!/usr/bin/env python3
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
"""Captures the corpus from a real PostgreSQL server.

    capture-corpus.py --pg-bindir /usr/lib/postgresql/15/bin --output subprojects/pgoutput/tests/corpus

It makes a server of its own in a temporary directory, on a free port of 127.0.0.1, runs each scenario and
writes what pgoutput sends for it, one file per scenario and options, in the form that tests/capture.h
describes. Most are read with pg_logical_slot_get_binary_changes; where the transaction has to be seen while it
is open, a walsender is asked.

Ids, LSNs and times differ from run to run, so the expected texts have to be made anew afterwards
(pgoutput-golden --update) and both be read before they are committed. Needs nothing but Python. The server
refuses to run as root, then `runuser -u postgres` starts it.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

TIMEOUT_S = 30


class ServerError(Exception):
    pass


class Connection:
    """The few messages of the frontend protocol that are needed here, on a trusted connection."""

    def __init__(self, port, database="corpus", replication=False):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.file = self.sock.makefile("rb")
        params = {"user": "postgres", "database": database, "client_encoding": "UTF8"}
        if replication:
            params["replication"] = "database"
        body = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in params.items()) + b"\0"
        self.sock.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self._until_ready()

    def close(self):
        self.file.close()
        self.sock.close()

    def _receive(self):
        header = self.file.read(5)
        if len(header) < 5:
            raise ServerError("connection closed")
        kind, length = header[:1], struct.unpack("!i", header[1:])[0]
        body = self.file.read(length - 4)
        if kind == b"E":
            fields = dict((f[:1], f[1:].decode()) for f in body.split(b"\0") if f)
            raise ServerError(fields[b"M"])
        return kind, body

    def _until_ready(self):
        rows, error = [], None
        while True:
            try:
                kind, body = self._receive()
            except ServerError as e:
                if error is None and str(e) != "connection closed":
                    error = e
                    continue
                raise
            if kind == b"Z":
                if error:
                    raise error
                return rows
            if kind == b"D":
                rows.append(self._row(body))

    @staticmethod
    def _row(body):
        count, at, row = struct.unpack("!h", body[:2])[0], 2, []
        for _ in range(count):
            length = struct.unpack("!i", body[at : at + 4])[0]
            at += 4
            row.append(None if length < 0 else body[at : at + length].decode())
            at += max(length, 0)
        return row

    def _send_query(self, sql):
        body = sql.encode() + b"\0"
        self.sock.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)

    def query(self, sql):
        self._send_query(sql)
        return self._until_ready()

    def start_replication(self, slot, options):
        self._send_query(f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})")
        while self._receive()[0] != b"W":
            pass

    def messages(self):
        """Yields the body of each XLogData message."""
        while True:
            kind, body = self._receive()
            if kind == b"d" and body[:1] == b"w":
                yield body[25:]


class Server:
    def __init__(self, bindir, root):
        self.bindir, self.data = pathlib.Path(bindir), os.path.join(root, "data")
        self.prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.prefix:
            shutil.chown(root, "postgres")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]

    def _run(self, program, *args):
        command = [*self.prefix, str(self.bindir / program), "-D", self.data, *args]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def __enter__(self):
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "wal_level": "logical",
            "max_prepared_transactions": 10,
            "max_wal_senders": 10,
            "max_replication_slots": 20,
            "logical_decoding_work_mem": "64kB",
            "autovacuum": "off",
            "fsync": "off",
            "timezone": "UTC",
        }
        options = " ".join(f"-c {k}='{v}'" for k, v in settings.items())
        self._run("pg_ctl", "-w", "-l", os.path.join(os.path.dirname(self.data), "log"), "-o", options, "start")
        return self

    def __exit__(self, *_):
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def connect(self, **kwargs):
        return Connection(self.port, **kwargs)


class Corpus:
    def __init__(self, server, output):
        self.server, self.output = server, output
        self.sql = server.connect()

    def write(self, name, version, messages):
        data = bytes([version]) + b"".join(struct.pack("!I", len(m)) + m for m in messages)
        (self.output / f"{name}.bin").write_bytes(data)
        kinds = "".join(m[:1].decode() for m in messages)
        print(f"{name:32} {len(data):6} bytes  {kinds if len(kinds) < 60 else kinds[:57] + '...'}")

    @staticmethod
    def options(version, **more):
        return {"proto_version": str(version), "publication_names": "everything", **more}

    def changes(self, slot, options):
        args = ", ".join(f"'{k}', '{v}'" for k, v in options.items())
        rows = self.sql.query(
            f"SELECT data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, {args})"
        )
        return [bytes.fromhex(row[0][2:]) for row in rows]

    @contextlib.contextmanager
    def slot(self, name, two_phase=False):
        arguments = f"'{name}', 'pgoutput', false, {two_phase}"
        self.sql.query(f"SELECT pg_create_logical_replication_slot({arguments})")
        try:
            yield name
        finally:
            self.sql.query(f"SELECT pg_drop_replication_slot('{name}')")

    def scenario(self, name, statements, variants, two_phase=False):
        """statements: run one by one; None between two = read what there is so far, then go on.
        variants: {suffix: options}; each has a slot of its own over the same changes."""
        seen = {suffix: [] for suffix in variants}
        with contextlib.ExitStack() as stack:
            slots = {s: stack.enter_context(self.slot(f"s{i}", two_phase)) for i, s in enumerate(variants)}
            for statement in [*statements, None]:
                if statement is not None:
                    self.sql.query(statement)
                    continue
                for suffix, options in variants.items():
                    seen[suffix] += self.changes(slots[suffix], options)
        for suffix, options in variants.items():
            self.write(f"{name}-{suffix}", int(options["proto_version"]), seen[suffix])

    def streamed(self, name, options, statements, until):
        """A walsender follows while the statements run; None between two = wait until something was streamed.
        until: the kind byte of the message that ends the capture."""
        seen, version = [], int(options["proto_version"])
        with self.slot("walsender", "two_phase" in options):
            follower = self.server.connect(replication=True)
            follower.start_replication("walsender", ", ".join(f'"{k}" \'{v}\'' for k, v in options.items()))
            stream = follower.messages()
            writer = self.server.connect()
            for statement in statements:
                if statement is None:
                    while not seen or seen[-1][:1] != b"E":
                        seen.append(next(stream))
                else:
                    writer.query(statement)
            while not seen or seen[-1][:1] != until:
                seen.append(next(stream))
            follower.close()
            writer.close()
            # the slot can be dropped once the walsender is gone: this waits for it
            self.sql.query("SELECT pg_terminate_backend(active_pid, 30000) FROM pg_replication_slots WHERE active")
        self.write(name, version, seen)


SCHEMA = '''
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE point3 AS (x float8, y float8, z float8);
CREATE TABLE plain (id int PRIMARY KEY, name text, n numeric);
CREATE TABLE keyed_full (id int, name text); ALTER TABLE keyed_full REPLICA IDENTITY FULL;
CREATE TABLE keyed_index (id int, code text NOT NULL, v int);
CREATE UNIQUE INDEX keyed_index_code ON keyed_index (code);
ALTER TABLE keyed_index REPLICA IDENTITY USING INDEX keyed_index_code;
CREATE TABLE keyed_nothing (id int, name text); ALTER TABLE keyed_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE no_columns ();
CREATE TABLE toasted (id int PRIMARY KEY, small int, large text);
ALTER TABLE toasted ALTER large SET STORAGE EXTERNAL;
CREATE TABLE toasted_full (id int PRIMARY KEY, small int, large text);
ALTER TABLE toasted_full ALTER large SET STORAGE EXTERNAL; ALTER TABLE toasted_full REPLICA IDENTITY FULL;
CREATE TABLE parent (id serial PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY REFERENCES parent, v text);
CREATE TABLE listed (id int PRIMARY KEY, shown text, hidden text);
CREATE TABLE generated (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE part (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
CREATE SCHEMA "Odd ""schema""";
CREATE TABLE "Odd ""schema"""."tabelle äöü €" ("a b" int PRIMARY KEY, "ключ" text, "select" int,
 abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk int);
CREATE TABLE filler (n int, pad text);
CREATE TABLE types (id int PRIMARY KEY, i2 smallint, i8 bigint, n numeric, f4 real, f8 float8, b bool, c char(5), v varchar(20),
 t text,
 by bytea, d date, tm time(3), tz timetz, ts timestamp, tsz timestamptz, iv interval, u uuid, j json, jb jsonb, x xml,
 m money, bi bit(5),
 vb varbit, ip inet, ci cidr, mac macaddr, pt point, pg polygon, ti tid, ar int[], ar2 text[][], r int4range, mr nummultirange,
 tv tsvector, lsn pg_lsn, o oid, e mood, dm positive, co point3, ea mood[], jp jsonpath);
'''

PUBLICATIONS = '''
CREATE PUBLICATION everything FOR TABLE plain, keyed_full, keyed_index, keyed_nothing, no_columns, toasted,
 toasted_full, parent, child, listed, generated, types, wide, part, "Odd ""schema"""."tabelle äöü €";
CREATE PUBLICATION lists FOR TABLE listed (id, shown) WHERE (id > 10), part
 WITH (publish_via_partition_root = true);
CREATE PUBLICATION only_inserts FOR TABLE plain WITH (publish = 'insert');
'''

# an unpublished table fills the server's decoding memory, so that it streams, without making the capture long
FILL = "INSERT INTO filler SELECT n, repeat('x', 40) FROM generate_series(1, 900) n"

TYPES = r"""
INSERT INTO types VALUES (1, -32768, -9223372036854775808, 'NaN', '-Infinity', 'NaN', true, 'ab', 'ab',
 E'quote " tab \t é €',
 '\x0001ff', '0044-03-15 BC', '24:00', '23:59:59.999999-15:59', '294276-12-31 23:59:59.999999', 'infinity',
 '-178000000 years 5 mons -3 days 04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" :1e400}', '{"b": [1, null, 1e400]}',
 '<a>b</a>',
 '-92233720368547758.08', B'10101', B'101', '10.1.2.3/8', '2001:db8::/32',
 '08:00:2b:01:02:03', '(1.5,-2)', '((0,0),(1,1),(1,0))',
 '(42,7)', '{1,NULL,3}', '{{a,b},{c,"d e"}}', '[1,5)', '{[1.1,2.2),(5,)}', 'fat:2A cat:1', '16/B374D848', 4294967295,
 'happy', 7,
 '(1,2,3)', '{sad,ok}', '$.a[*] ? (@ > 1)');
INSERT INTO types (id) VALUES (2);
INSERT INTO types (id, t, by, n, f8, tsz, ar) VALUES
 (3, '', '', 123456789012345678901234567890.000000001, 5e-324, '2000-01-01 00:00:00+00', '{}');
UPDATE types SET n = 'Infinity', t = E'line\nline' WHERE id = 2;
"""

IDENTITIES = [
    "INSERT INTO plain VALUES (1, 'one', 1.10), (2, NULL, NULL)",
    "UPDATE plain SET name = 'uno' WHERE id = 1",
    "UPDATE plain SET id = 10 WHERE id = 1",
    "DELETE FROM plain",
    "INSERT INTO keyed_full VALUES (1, 'one'), (NULL, NULL)",
    "UPDATE keyed_full SET name = 'uno'",
    "DELETE FROM keyed_full",
    "INSERT INTO keyed_index VALUES (1, 'A', 1)",
    "UPDATE keyed_index SET v = 2",
    "UPDATE keyed_index SET code = 'B'",
    "DELETE FROM keyed_index",
    "INSERT INTO keyed_nothing VALUES (1, 'one')",
    "INSERT INTO no_columns DEFAULT VALUES",
]

TOAST = [
    "INSERT INTO toasted VALUES (1, 1, repeat('abcdefgh', 300))",
    "UPDATE toasted SET small = 2",
    "UPDATE toasted SET large = repeat('z', 2100)",
    "UPDATE toasted SET id = 5",
    "DELETE FROM toasted",
    "INSERT INTO toasted_full VALUES (1, 1, repeat('abcdefgh', 300))",
    "UPDATE toasted_full SET small = 2",
    "DELETE FROM toasted_full",
]

TRUNCATES = [
    "INSERT INTO parent (v) VALUES ('a'); INSERT INTO child VALUES (1, 'b')",
    "TRUNCATE parent, child, plain",
    "TRUNCATE parent CASCADE",
    "TRUNCATE parent, child RESTART IDENTITY",
    "TRUNCATE parent RESTART IDENTITY CASCADE",
]

MESSAGES = [
    "SELECT pg_logical_emit_message(false, 'sluice', 'immediate')",
    "BEGIN",
    "INSERT INTO plain VALUES (1, 'one', 1)",
    r"SELECT pg_logical_emit_message(true, 'sluice/ü', '\x00ff0a'::bytea)",
    "SELECT pg_logical_emit_message(false, 'within', 'but immediate')",
    "SELECT pg_logical_emit_message(true, '', '')",
    "COMMIT",
    "DELETE FROM plain",
]

ORIGINS = [
    "SELECT pg_replication_origin_session_setup('elsewhere')",
    "BEGIN",
    "SELECT pg_replication_origin_xact_setup('0/1234567', '2001-02-03 04:05:06+00')",
    "INSERT INTO plain VALUES (1, 'from elsewhere', 1)",
    "COMMIT",
    "SELECT pg_replication_origin_session_reset()",
    "DELETE FROM plain",
]

DDL = [
    "BEGIN",
    "INSERT INTO plain VALUES (1, 'one', 1)",
    "ALTER TABLE plain ADD extra mood DEFAULT 'ok'",
    "INSERT INTO plain VALUES (2, 'two', 2, 'sad')",
    "ALTER TABLE plain RENAME name TO label",
    "UPDATE plain SET label = 'zwei' WHERE id = 2",
    "ALTER TABLE plain DROP extra",
    "DELETE FROM plain",
    "COMMIT",
    "ALTER TABLE plain RENAME label TO name",
    "INSERT INTO generated (id, a) VALUES (1, 21)",
    "UPDATE generated SET a = 4",
    "INSERT INTO listed VALUES (1, 'a', 'b'), (11, 'c', 'd')",
    "UPDATE listed SET id = 12 WHERE id = 1",
    "UPDATE listed SET id = 2 WHERE id = 11",
    "INSERT INTO part VALUES (1, 'a')",
    "UPDATE part SET region = 'b'",
    "TRUNCATE part",
    '''INSERT INTO "Odd ""schema"""."tabelle äöü €" VALUES (1, 'ключ', 2, 3)''',
    "INSERT INTO wide (c0, c199) VALUES (0, 199)",
]


def run(corpus):
    o = corpus.options
    plain = {"v1": o(1), "v1-binary": o(1, binary="true")}
    small = {"v1": o(1), "v2-binary": o(2, binary="true", streaming="on")}
    corpus.scenario("types", TYPES.strip().split(";\n"), plain)
    corpus.scenario("identity", IDENTITIES, plain)
    corpus.scenario("toast", TOAST, small)
    corpus.scenario("truncate", TRUNCATES, small)
    messages = {"v1": o(1, messages="true"), "v3": o(3, messages="true", two_phase="true")}
    corpus.scenario("message", MESSAGES, messages, True)
    corpus.sql.query("SELECT pg_replication_origin_create('elsewhere')")
    corpus.scenario("origin", ORIGINS, small)
    lists = o(1, publication_names="lists")
    corpus.scenario("ddl", DDL, {**plain, "v1-lists": lists, "v1-inserts": o(1, publication_names="only_inserts")})

    stream = o(2, streaming="on", messages="true")
    rows = "INSERT INTO plain SELECT n, 'row ' || n, n FROM generate_series(1, 4) n"
    mixed = [
        "UPDATE plain SET id = 100 WHERE id = 1",
        "UPDATE plain SET name = 'x' WHERE id = 2",
        "DELETE FROM plain WHERE id = 3",
        "INSERT INTO types (id, e, dm) VALUES (1000, 'sad', 3)",
        "TRUNCATE parent, child",
        "SELECT pg_logical_emit_message(true, 'in stream', 'content')",
    ]
    undo = "TRUNCATE plain, types, filler CASCADE"
    variants = {"v2": stream, "v2-binary": {**stream, "binary": "true"}}
    savepoint = ["SAVEPOINT a", *mixed, FILL, "ROLLBACK TO a"]
    released = ["SAVEPOINT b", "INSERT INTO keyed_full VALUES (1, 'kept')", "RELEASE b"]
    corpus.scenario("stream-commit", ["BEGIN", rows, FILL, *mixed, FILL, "COMMIT"], variants)
    corpus.sql.query(undo)
    corpus.scenario("stream-origin", [*ORIGINS[:4], FILL, *ORIGINS[4:]], {"v2": stream})
    corpus.sql.query(undo)
    statements = ["BEGIN", rows, FILL, None, *savepoint, *released, FILL, "COMMIT"]
    corpus.streamed("stream-subabort-v2", stream, statements, b"c")
    corpus.sql.query(undo)
    corpus.streamed("stream-abort-v2", stream, ["BEGIN", rows, FILL, None, "ROLLBACK"], b"A")

    twophase = o(3, two_phase="true", messages="true")
    both = {**twophase, "streaming": "on"}
    prepare = ["BEGIN", "INSERT INTO keyed_full VALUES (7, 'prepared')", "PREPARE TRANSACTION 'gid with ü'", None]
    corpus.scenario("commit-prepared", [*prepare, "COMMIT PREPARED 'gid with ü'"], {"v3": twophase}, True)
    corpus.scenario("rollback-prepared", [*prepare, "ROLLBACK PREPARED 'gid with ü'"], {"v3": twophase}, True)
    large = ["BEGIN", rows, FILL, *mixed, FILL, "PREPARE TRANSACTION 'large'", None]
    corpus.scenario("stream-prepare", [*large, "COMMIT PREPARED 'large'"], {"v3": both}, True)
    corpus.sql.query(undo)
    binary = {"v3-binary": {**both, "binary": "true"}}
    corpus.scenario("stream-prepare-rollback", [*large, "ROLLBACK PREPARED 'large'"], binary, True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pg-bindir", default="/usr/lib/postgresql/15/bin")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root, Server(args.pg_bindir, root) as server:
        maintenance = server.connect(database="postgres")
        maintenance.query("CREATE DATABASE corpus")
        corpus = Corpus(server, args.output)
        corpus.sql.query(SCHEMA)
        corpus.sql.query("CREATE TABLE wide (" + ", ".join(f"c{i} int" for i in range(200)) + ")")
        corpus.sql.query(PUBLICATIONS)
        run(corpus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
