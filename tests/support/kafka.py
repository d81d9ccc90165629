# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A private Apache Kafka broker: its programs from Maven, kept in .cache/, data in a folder of its own, gone with the test."""

import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType

from pack import unpacked
from servers import free_port
from wait import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "3.9.1"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>sluice</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""
TOOLS = {"kafka-topics": "org.apache.kafka.tools.TopicCommand", "kafka-acls": "kafka.admin.AclCommand",
         "kafka-configs": "kafka.admin.ConfigCommand"}
# programs that live for seconds: what is compiled well is never used
SHORT = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
# of a broker that is killed: it may come back once the controller has given up the one before it
QUICK = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 300}
LOG4J = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m%n
"""


def fetched(name, pom):
    """The folder of the jars that a pom names, fetched when it is not there."""
    cache = pathlib.Path(os.environ.get("SLUICE_CACHE_DIR", ROOT / ".cache")) / name
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = cache / "complete"
        if not complete.exists() or complete.read_text() != pom:
            (cache / "pom.xml").write_text(pom)
            done = subprocess.run(["mvn", "-q", "-B", "-f", str(cache / "pom.xml"), "dependency:copy-dependencies",
                                   f"-DoutputDirectory={cache}/libs"], capture_output=True, text=True, cwd="/",
                                  timeout=600)
            assert done.returncode == 0, f"{name} cannot be fetched: {done.stdout[-500:]}"
            complete.write_text(pom)
    return cache / "libs"


class Broker:
    """One node, broker and controller in one. users ({name: password}): a second listener, for whom ACLs count; with TLS where
    there is a certificate (a PEM file with key and certificate).
    quorum (its number, the controllers' ports): one of several, started by whoever makes them."""

    def __init__(self, users=None, quorum=None, certificate=None, **properties):
        self.libs = fetched(f"kafka-{VERSION}", POM)
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="sluice-kafka-"))
        self.port = free_port()
        self.node, controllers = quorum or (1, [free_port()])
        controller = controllers[self.node - 1]
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process = None
        settings = {
            "process.roles": "broker,controller", "node.id": self.node,
            "controller.quorum.voters": ",".join(f"{i}@127.0.0.1:{p}" for i, p in enumerate(controllers, 1)),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self.base / "data", "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000,
            "log.retention.check.interval.ms": 1000, "log.segment.delete.delay.ms": 100, **properties,
        }
        if users:
            self.demand_passwords(settings, users, certificate)
            settings.update(properties)
        (self.base / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        (self.base / "log4j.properties").write_text(LOG4J)
        self.java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c",
                  self.base / "server.properties")
        if not quorum:
            self.start()

    def demand_passwords(self, settings, users, certificate):
        port = free_port()
        self.with_password = f"127.0.0.1:{port}"
        names = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        settings["listeners"] += f",SASL://{self.with_password}"
        settings["advertised.listeners"] += f",SASL://{self.with_password}"
        settings["listener.security.protocol.map"] += f",SASL:SASL_{'SSL' if certificate else 'PLAINTEXT'}"
        if certificate:
            settings["listener.name.sasl.ssl.keystore.type"] = "PEM"
            settings["listener.name.sasl.ssl.keystore.location"] = certificate
        settings["sasl.enabled.mechanisms"] = "PLAIN"
        settings["listener.name.sasl.plain.sasl.jaas.config"] = \
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {names};"
        settings["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        settings["super.users"] = "User:ANONYMOUS"

    def java(self, program, *args):
        done = subprocess.run([*SHORT, "-cp", f"{self.libs}/*", program, *map(str, args)],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_script(self, script, **environment):
        """A shell script of Kafka's own tools, as an administrator has them in PATH."""
        tools = self.base / "bin"
        tools.mkdir(exist_ok=True)
        java = " ".join(SHORT)
        for tool, program in TOOLS.items():
            path = tools / f"{tool}.sh"
            path.write_text(f'#!/bin/sh\nexec {java} -cp "{self.libs}/*" {program} "$@"\n')
            path.chmod(0o755)
        return subprocess.run(["sh", "-e"], input=script, capture_output=True, text=True, timeout=300,
                              env={**os.environ, **environment, "PATH": f"{tools}:{os.environ['PATH']}"})

    def launch(self):
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xms192m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 f"-Dlog4j.configuration=file:{self.base}/log4j.properties", "-cp", f"{self.libs}/*", "kafka.Kafka",
                 str(self.base / "server.properties")], stdout=log, stderr=log)
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def start(self):
        self.launch()
        wait_until(self.answers, 60, "Kafka answers")

    def answers(self):
        assert self.process.poll() is None, (self.base / "log").read_text(errors="replace")[-2000:]
        try:
            return bool(self.admin.list_topics(timeout=2).brokers)
        except Exception:  # noqa: BLE001 - the client's own errors, while it is not there yet
            return False

    def signal(self, number):
        self.process.send_signal(number)

    def kill9(self):
        self.process.kill()
        self.process.wait(30)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def destroy(self):
        self.process.kill()
        self.process.wait(30)
        shutil.rmtree(self.base, ignore_errors=True)

    def create(self, topic, partitions=1, replicas=1, **config):
        settings = {k.replace("_", "."): str(v) for k, v in config.items()}
        self.admin.create_topics([NewTopic(topic, partitions, replicas, config=settings)])[topic].result(30)

    def delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in self.admin.list_topics(timeout=5).topics, 30, f"{topic} is deleted")

    def config(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {k: v.value for k, v in self.admin.describe_configs([resource])[resource].result(30).items()}

    def set(self, topic, **settings):
        entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def delete_records(self, topic, offset):
        part = TopicPartition(topic, 0, offset)
        for done in self.admin.delete_records([part]).values():
            done.result(30)

    def ends(self, topic):
        """First offset, and the one behind the last."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "log_level": 0})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        finally:
            consumer.close()

    def partitions(self, topic):
        return len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)

    def grow(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)
        wait_until(lambda: self.partitions(topic) == partitions, 30, f"{topic} has {partitions} partitions")

    def messages(self, topic, partition=0):
        """Everything in a partition: list of (offset, key, value, headers)."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False,
                             "log_level": 0})
        found = []
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, low)])
            while low < high:
                # one by one: asked for many the client waits for all of them, or for the whole time
                m = consumer.poll(10)
                assert m is not None, f"{topic} {partition}: nothing behind {found[-1:]} of {high}"
                assert not m.error(), m.error()
                found.append((m.offset(), m.key(), m.value(), {k: v.decode(errors="replace") for k, v in m.headers() or []}))
                low = m.offset() + 1
        finally:
            consumer.close()
        return found


class Brokers:
    """Three nodes."""

    def __init__(self, **properties):
        controllers = [free_port() for _ in range(3)]
        shared = {"offsets.topic.replication.factor": 3, "default.replication.factor": 3, **properties}
        self.nodes = [Broker(quorum=(number, controllers), **shared) for number in (1, 2, 3)]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            wait_until(lambda: node.answers() and len(node.admin.list_topics(timeout=5).brokers) == 3, 90, "three nodes")

    def partition(self, topic):
        """What a living node says about partition 0: leader, replicas, isrs."""
        node = next(n for n in self.nodes if n.process.poll() is None)
        return node.admin.list_topics(topic, timeout=10).topics[topic].partitions[0]

    def leader(self, topic):
        number = self.partition(topic).leader
        return next((n for n in self.nodes if n.node == number), None)

    def wait_in_sync(self, topic, count):
        wait_until(lambda: len(self.partition(topic).isrs) == count, 90, f"{count} replicas in sync")

    def destroy(self):
        for node in self.nodes:
            node.destroy()


def in_order(messages):
    """What appliers make of a log: the records that count, by the rules of reigns; fences and the like left out."""
    reign, counted = (0, ""), []
    for message in unpacked(messages):
        headers = message[3]
        number, name = re.fullmatch(r"(\d+)-([0-9a-f]{16})", headers["sluice.reign"]).groups()
        if headers["sluice.op"] == "F":
            if int(number) > reign[0]:
                reign = (int(number), name)
        elif (int(number), name) == reign and headers["sluice.op"] != "X":
            counted.append(message)
    return counted
