# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""What `sluice check` finds at real brokers, and that its commands cure it."""

import json

import pytest

from compare import assert_same
from wait import wait_until

PASSWORD = "geheim-3141"


@pytest.fixture
def sluice(make, number):
    """Makes a sluice whose databases need no server: only the brokers are looked at."""

    def factory(bootstrap, verb="reader", **kafka):
        s = make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": bootstrap, **kafka}}}, name=f"c{number}",
                 verb=verb)
        s.config["source"] = {"type": "generator", "generator": {"transactions": 3}}
        s.config["target"] = {"type": "discard"}
        return s

    return factory


def findings(s):
    """{(level, code)} of the side kafka, and its texts."""
    done = s.command("check", "--json")
    found = json.loads(done.stdout)
    kafka = found["kafka"]["findings"]
    assert done.returncode == (1 if any(f["level"] == "fail" for f in kafka) else 0)
    return {(f["level"], f["code"]) for f in kafka if f["code"]}, kafka


def test_nothing_there_yet(sluice, kafka_broker, number):
    s = sluice(kafka_broker.bootstrap)
    codes, kafka = findings(s)
    assert codes == {("warn", "KAFKA-ONE-REPLICA")}
    assert "4 topics will be created" in [f["text"] for f in kafka]
    assert not [t for t in kafka_broker.admin.list_topics(timeout=10).topics if t.startswith(f"c{number}.")]
    codes, kafka = findings(sluice(kafka_broker.bootstrap, create_topics=False))
    assert ("fail", "KAFKA-TOPIC-MISSING") in codes
    assert all(f["exit_code"] == 78 and f["remedy"].startswith("kafka-topics.sh") for f in kafka if f["level"] == "fail")


def test_K10_topics_are_made_by_the_printed_commands(sluice, kafka_broker, number):
    s = sluice(kafka_broker.bootstrap, create_topics=False)
    topics = [f"c{number}.{name}" for name in ("changes", "schemas", "state", "dead-letters")]
    # without a broker to ask the commands are those for several of them
    offline = s.command("check", "--print", "kafka", "--offline").stdout
    assert all(f"--topic {t} " in offline for t in topics) and "min.insync.replicas=2" in offline
    printed = s.command("check", "--print", "kafka")
    assert printed.returncode == 0
    commands = "".join(line for line in printed.stdout.splitlines(True) if not line.startswith("kafka-acls.sh"))
    done = kafka_broker.run_script(commands)
    assert done.returncode == 0, done.stderr
    assert findings(s)[0] == {("warn", "KAFKA-ONE-REPLICA")}
    for topic in topics:
        config = kafka_broker.config(topic)
        assert config["retention.ms"] == config["retention.bytes"] == "-1"
        assert config["cleanup.policy"] == ("compact" if topic.endswith(("schemas", "state")) else "delete")
        assert config["min.insync.replicas"] == "1"
    # looking has written nothing
    assert [kafka_broker.ends(t) for t in topics] == [(0, 0)] * 4


def test_K20_what_would_lose_something_is_refused_and_cured(sluice, kafka_broker, number):
    s = sluice(kafka_broker.bootstrap)
    changes, state = f"c{number}.changes", f"c{number}.state"
    kafka_broker.create(changes, cleanup_policy="compact", max_message_bytes=20000, min_insync_replicas=2)
    kafka_broker.create(state, cleanup_policy="delete", retention_ms=1000000)
    codes, _ = findings(s)
    assert codes == {("fail", "KAFKA-COMPACT"), ("fail", "KAFKA-RETENTION"), ("fail", "KAFKA-MESSAGE-SIZE"),
                     ("fail", "KAFKA-MIN-INSYNC"), ("warn", "KAFKA-ONE-REPLICA")}
    assert s.start().wait_exit(60) == 78
    assert "KAFKA-RETENTION" in s.log() or "KAFKA-COMPACT" in s.log()
    assert kafka_broker.ends(changes) == (0, 0)
    lines = s.command("check", "--print", "kafka").stdout.splitlines(True)
    done = kafka_broker.run_script("".join(line for line in lines if line.startswith(("#", "kafka-configs.sh"))))
    assert done.returncode == 0, done.stderr
    assert findings(s)[0] == {("warn", "KAFKA-ONE-REPLICA")}


def test_retention_that_is_shorter_than_configured(sluice, kafka_broker, number):
    kafka_broker.create(f"c{number}.changes", retention_ms=3600000, retention_bytes=1000000)
    codes, kafka = findings(sluice(kafka_broker.bootstrap))
    assert ("warn", "KAFKA-RETENTION") in codes
    assert len([f for f in kafka if f["code"] == "KAFKA-RETENTION"]) == 2
    codes, kafka = findings(sluice(kafka_broker.bootstrap, retention="1h"))
    assert len([f for f in kafka if f["code"] == "KAFKA-RETENTION"]) == 1


def test_K11_partitions_were_added(sluice, kafka_broker, number):
    kafka_broker.create(f"c{number}.changes", partitions=2, retention_ms=-1)
    s = sluice(kafka_broker.bootstrap)
    codes, kafka = findings(s)
    assert ("fail", "KAFKA-PARTITIONS") in codes
    assert s.start().wait_exit(60) == 78
    assert "KAFKA-PARTITIONS" in s.log()


def test_broker_unreachable(sluice):
    codes, kafka = findings(sluice("127.0.0.1:1"))
    assert codes == {("fail", "KAFKA-UNREACHABLE")}
    assert kafka[0]["exit_code"] == 69 and "Connection refused" in kafka[0]["text"]


def test_missing_acls_one_after_the_other(sluice, own_broker, number):
    broker = own_broker(users={"sluice": PASSWORD})
    login = {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN", "sasl.username": "sluice"}
    wrong = sluice(broker.with_password, properties={**login, "sasl.password": f"{PASSWORD}-wrong"})
    codes, kafka = findings(wrong)
    assert codes == {("fail", "KAFKA-AUTH")} and kafka[0]["exit_code"] == 77
    s = sluice(broker.with_password, properties={**login, "sasl.password": PASSWORD})
    codes, kafka = findings(s)
    assert codes == {("fail", "KAFKA-ACL")} and all(f["exit_code"] == 77 for f in kafka if f["level"] == "fail")
    texts = [f["text"] for f in kafka]
    assert f"using group sluice-c{number} is not allowed" in texts

    acls = [line for line in s.command("check", "--print", "kafka").stdout.splitlines() if line.startswith("kafka-acls.sh")]
    assert len(acls) == 3 and all("'User:sluice'" in line for line in acls)
    # the administrator's way in is the listener without passwords
    topic, group, cluster = [line.replace(broker.with_password, broker.bootstrap) for line in acls]

    def grant(line):
        done = broker.run_script(line)
        assert done.returncode == 0, done.stderr

    seen = topic.replace(" --operation Read", "").replace(" --operation Write", "").replace(" --operation Create", "")
    grant(seen)
    texts = [f["text"] for f in findings(s)[1]]
    assert f"creating topic c{number}.changes is not allowed" in texts
    for name, policy in (("changes", "delete"), ("schemas", "compact"), ("state", "compact"), ("dead-letters", "delete")):
        broker.create(f"c{number}.{name}", retention_ms=-1, cleanup_policy=policy)
    texts = [f["text"] for f in findings(s)[1]]
    assert f"writing topic c{number}.state is not allowed" in texts
    assert f"reading topic c{number}.state is not allowed" in texts
    for line in (topic, group, cluster):
        grant(line)
    assert findings(s)[0] == {("warn", "KAFKA-ONE-REPLICA")}
    assert [broker.ends(f"c{number}.{name}") for name in ("changes", "state")] == [(0, 0)] * 2
    # and with these the reader does all that it does
    s.start()
    s.wait_state("running")
    wait_until(lambda: s.alive() and broker.ends(f"c{number}.changes")[1] > 3, 60, "more than the log's taking over is in it")
    assert s.stop() == 0
    assert PASSWORD not in s.log() + str(kafka) + s.command("check", "--print", "kafka").stdout


def test_only_what_this_machine_has_is_looked_at(make, kafka_broker, number, green):
    s = make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}, name=f"c{number}",
             verb="applier")
    del s.config["source"]
    done = s.command("check")
    assert "source  not looked at: this config has no source.uri" in done.stdout, done.stdout + done.stderr
    assert "kafka   " in done.stdout
    refused = s.command("run")
    assert refused.returncode == 78 and "source.uri is required" in refused.stderr


def test_each_half_knows_one_database_only(blue, green, make, kafka_broker, number):
    blue.sql("create table t(id int primary key, note text)", "insert into t values (1, 'copied')")
    settings = {"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}
    reader = make(settings, name=f"c{number}", verb="reader")
    applier = make(settings, name=f"c{number}", verb="applier")
    del reader.config["target"], applier.config["source"]
    reader.start()
    applier.start()
    applier.wait_synced()
    blue.sql("insert into t values (2, 'streamed')")
    applier.wait_applied()
    assert_same(blue, green)
    for half in (reader, applier):
        assert half.command("status", "--json").returncode == 0
        assert half.stop() == 0
        assert half.command("status", "--json").returncode == 0  # from the one database


def test_print_needs_kafka(make, green):
    done = make().command("check", "--print", "kafka")
    assert done.returncode == 64 and "transport.type" in done.stderr


def test_layout_tables(make, blue, kafka_broker, number):
    """Topics of the source's tables: missing, made by the printed commands, spoilt, grown, and as a machine without a source sees them."""
    blue.sql("create table a(id int primary key)", 'create table "B c"(id int primary key, mail text unique)', "create table bare(x int)")

    def sluice(**kafka):
        s = make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap, "layout": "tables", "partitions": 3,
                                                           **kafka}}}, name=f"c{number}", verb="reader")
        s.config["target"] = {"type": "discard"}
        return s

    def look(s):
        found = json.loads(s.command("check", "--json").stdout)["kafka"]
        assert "layout tables" in found["title"]
        return sorted((f["level"], f["code"], f["text"].split()[1]) for f in found["findings"] if f["code"] and f["code"] != "KAFKA-ONE-REPLICA"), found

    a, b, bare = f"c{number}.public.a", f"c{number}.public.B_x20_c", ("fail", "KAFKA-NO-KEY", "has")
    found, all_of = look(sluice())
    assert found == [bare] and "8 topics will be created" in [f["text"] for f in all_of["findings"]]
    blue.sql("drop table bare")
    s = sluice(create_topics=False)
    names = [f"c{number}.{name}" for name in ("heartbeat", "transaction", "message", "schemas", "state", "dead-letters")]
    names += [a, b]
    assert look(s)[0] == sorted(("fail", "KAFKA-TOPIC-MISSING", name) for name in names)
    offline = s.command("check", "--print", "kafka", "--offline").stdout
    assert a not in offline and "topics of tables are not among these" in offline
    commands = [line for line in s.command("check", "--print", "kafka").stdout.splitlines(True) if line.startswith("kafka-topics.sh")]
    assert len(commands) == 8
    # a tool takes seconds to start: those of the tables are made by it
    done = kafka_broker.run_script("".join(line for line in commands if ".public." in line))
    assert done.returncode == 0, done.stderr
    for name in names[:-2]:
        kafka_broker.create(name, retention_ms=-1, cleanup_policy="compact" if name.endswith(("schemas", "state")) else "delete")
    assert (kafka_broker.partitions(a), kafka_broker.partitions(b)) == (3, 1)
    found, all_of = look(s)
    assert found == [] and "2 topics of tables" in [f["text"] for f in all_of["findings"]]
    # the reader takes them, and remembers how many partitions they have
    blue.sql("insert into a select generate_series(1, 9)", "insert into \"B c\" values (1, 'x')")
    s.until_synced()
    assert look(s)[0] == []
    kafka_broker.grow(a, 4)
    kafka_broker.grow(b, 2)
    kafka_broker.set(a, **{"cleanup.policy": "compact", "max.message.bytes": "20000", "min.insync.replicas": "2"})
    spoilt = [("fail", "KAFKA-COMPACT", a), ("fail", "KAFKA-MESSAGE-SIZE", a), ("fail", "KAFKA-MIN-INSYNC", a),
              ("fail", "KAFKA-PARTITIONS", a), ("fail", "KAFKA-PARTITIONS", b)]
    assert look(s)[0] == sorted(spoilt + [("fail", "KAFKA-TIED", b)])
    del s.config["source"]
    assert look(s)[0] == sorted(spoilt)
