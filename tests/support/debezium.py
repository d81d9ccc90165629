# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Debezium's PostgreSQL connector and its JDBC sink in a private Kafka Connect worker: the programs from Maven, kept in .cache/."""

import fcntl
import json
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import kafka
from servers import free_port
from wait import wait_until

VERSION = "3.7.0.Final"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>sluice</groupId><artifactId>debezium</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>{kafka.VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>{kafka.VERSION}</version></dependency>
<dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-postgres</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""


SINK_VERSION = "3.6.0.Final"
SINK_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>sluice</groupId><artifactId>jdbc-sink</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-jdbc</artifactId><version>{SINK_VERSION}</version>
<type>tar.gz</type><classifier>plugin</classifier><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>
</exclusions></dependency></dependencies></project>"""


def sink_jars():
    """The folder of the JDBC sink's jars, unpacked when it is not there."""
    libs = kafka.fetched(f"debezium-jdbc-{SINK_VERSION}", SINK_POM)
    with open(libs / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (libs / "unpacked").exists():
            subprocess.run(["tar", "-xzf", next(libs.glob("*.tar.gz"))], cwd=libs, check=True)
            (libs / "unpacked").touch()
    return libs / "debezium-connector-jdbc"


class Worker:
    """One worker with connectors, {name: settings}, on a class path of folders."""

    def __init__(self, broker, folders, connectors, **more):
        self.folders, self.connectors = folders, connectors
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="sluice-connect-"))
        self.port = free_port()
        self.process = None
        self.write("worker", {
            "bootstrap.servers": broker.bootstrap, "listeners": f"http://127.0.0.1:{self.port}",
            "offset.storage.file.filename": self.base / "offsets",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter", "plugin.discovery": "service_load",
            "connector.client.config.override.policy": "All", **more})
        for name, settings in connectors.items():
            self.write(name, {"name": name, "tasks.max": 1, **settings})
        (self.base / "log4j.properties").write_text(kafka.LOG4J)

    def write(self, name, settings):
        (self.base / f"{name}.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))

    def start(self):
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 f"-Dlog4j.configuration=file:{self.base}/log4j.properties", "-cp", ":".join(f"{f}/*" for f in self.folders),
                 "org.apache.kafka.connect.cli.ConnectStandalone", str(self.base / "worker.properties"),
                 *[str(self.base / f"{prefix}.properties") for prefix in self.connectors]], stdout=log, stderr=log)
        wait_until(lambda: all(self.state(p) == ("RUNNING", "RUNNING") for p in self.connectors), 90, "the connectors run")
        return self

    def log(self):
        return (self.base / "log").read_text(errors="replace")

    def state(self, prefix):
        assert self.process.poll() is None, self.log()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/connectors/{prefix}/status", timeout=5) as r:
                status = json.loads(r.read())
        except (urllib.error.HTTPError, OSError):
            return None
        assert "FAILED" not in json.dumps(status), json.dumps(status)[:3000]
        return status["connector"]["state"], (status["tasks"] or [{"state": None}])[0]["state"]

    def kill9(self):
        self.process.kill()
        self.process.wait(30)

    def destroy(self):
        if self.process:
            self.kill9()
        shutil.rmtree(self.base, ignore_errors=True)


class Debezium(Worker):
    """Connectors that differ in their settings. They share the publication `dbz` of the database."""

    def __init__(self, broker, db, connectors, flush_ms=60000):
        """connectors: {topic prefix: settings}; flush_ms: how often it remembers how far it is"""
        super().__init__(broker, [kafka.fetched(f"debezium-{VERSION}", POM)], {prefix: {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "plugin.name": "pgoutput", "database.hostname": "127.0.0.1", "database.port": db.cluster.port,
            "database.user": "postgres", "database.password": "none", "database.dbname": db.name,
            "topic.prefix": prefix, "slot.name": f"{db.name}_{prefix}", "publication.name": "dbz",
            "publication.autocreate.mode": "disabled", "poll.interval.ms": 20, "slot.drop.on.stop": "false",
            "schema.include.list": "public", "skipped.operations": "none", "status.update.interval.ms": 500,
            "producer.override.linger.ms": 0, "topic.creation.default.replication.factor": 1,
            "topic.creation.default.partitions": 1, **more} for prefix, more in connectors.items()},
            **{"offset.flush.interval.ms": flush_ms})


class JdbcSink(Worker):
    """The sink of another program, which keeps a table for each topic."""

    def __init__(self, broker, db, topics, **more):
        super().__init__(broker, [kafka.fetched(f"debezium-{VERSION}", POM)], {"sink": {
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "topics": ",".join(topics),
            "connection.url": f"jdbc:postgresql://127.0.0.1:{db.cluster.port}/{db.name}", "connection.username": "postgres",
            "connection.password": "none", "insert.mode": "upsert", "delete.enabled": "true", "primary.key.mode": "record_key",
            "schema.evolution": "none", "collection.name.format": "${source.table}",
            "consumer.override.auto.offset.reset": "earliest", **more}}, **{"plugin.path": sink_jars().parent})
