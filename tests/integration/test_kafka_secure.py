# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A broker with TLS, passwords and ACLs, prepared by nothing but the printed commands."""

import pytest

from certificates import make_authority
from compare import assert_same
from kafka import Broker
from wait import pause, wait_until

USERS = {"admin": "admin-2718", "sluice": "geheim-3141"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def secure(authority):
    broker = Broker(users=USERS, certificate=authority / "server.pem", **{"super.users": "User:ANONYMOUS;User:admin"})
    yield broker
    broker.destroy()


@pytest.fixture
def halves(make, number, secure, authority):
    def factory(verb, ca="ca", **more):
        login = {"security.protocol": "sasl_ssl", "sasl.mechanisms": "PLAIN", "sasl.username": "sluice",
                 "sasl.password": USERS["sluice"], "ssl.ca.location": str(authority / f"{ca}.pem"), **more}
        s = make({"transport": {"type": "kafka", "kafka": {
            "bootstrap_servers": secure.with_password, "create_topics": False, "properties": login}},
            "apply": {"on_error": "dead_letter"}}, name=f"s{number}", verb=verb)
        del s.config["target" if verb == "reader" else "source"]
        return s

    return factory


def administer(broker, authority, script):
    """As an administrator does it: the script as it was printed, and a file with the way in."""
    config = authority / "admin.properties"
    config.write_text("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nssl.truststore.type=PEM\n"
                      f"ssl.truststore.location={authority / 'ca.pem'}\n"
                      "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
                      f'username="admin" password="{USERS["admin"]}";\n')
    done = broker.run_script(script, ADMIN_CONFIG=str(config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_Z05_K02_the_printed_commands_are_enough(blue, green, halves, secure, authority, number):
    blue.sql("create table t(id int primary key, v int, w text)", "insert into t select g, g, 'copied' from generate_series(1, 300) g")
    green.sql("create table t(id int primary key, v int constraint small check (v < 1000), w text)")
    reader, applier = halves("reader"), halves("applier")
    assert "KAFKA-ACL" in reader.command("check").stdout
    # another authority, no TLS at all: nobody is talked to
    wrong = halves("reader", ca="other").command("check")
    assert wrong.returncode == 1 and "KAFKA-UNREACHABLE" in wrong.stdout and "certificate" in wrong.stdout, wrong.stdout
    plain = halves("reader", **{"security.protocol": "sasl_plaintext"}).command("check")
    assert plain.returncode == 1 and "KAFKA-UNREACHABLE" in plain.stdout, plain.stdout

    administer(secure, authority, reader.command("check", "--print", "kafka").stdout)
    for half in (reader, applier):
        done = half.command("check")
        assert done.returncode == 0 and "KAFKA-ACL" not in done.stdout, done.stdout
    reader.start()
    applier.start()
    applier.wait_synced()
    blue.sql("update t set v = v + 1 where id < 100", "insert into t values (301, 1, 'new')")
    applier.wait_applied()
    assert_same(blue, green)
    blue.sql("update t set v = 5000 where id = 7")
    wait_until(lambda: secure.ends(f"s{number}.dead-letters")[1] == 1, 60, "a letter with these rights")

    # K02: the broker stands still for a while, and nothing is confirmed, dropped or sent twice
    ends = secure.ends(f"s{number}.changes")[1]
    secure.pause()
    try:
        blue.sql("update t set w = 'slow' where id > 100")
        written = blue.one("select pg_current_wal_lsn()")
        for _ in range(20):
            assert reader.get("/livez")[0] == 200
            assert not blue.one("select confirmed_flush_lsn >= %s from pg_replication_slots where slot_name = %s",
                                (written, reader.slot))
            pause(0.25)
    finally:
        secure.go_on()
    wait_until(lambda: applier.alive() and green.one("select count(*) from t where w = 'slow'") == 201, 60, "it goes on")
    slow = [m[3]["sluice.id"] for m in secure.messages(f"s{number}.changes")[ends:] if m[3]["sluice.op"] == "U"]
    assert len(slow) == len(set(slow)) == 201
    assert not any(secret in half.log() for half in (reader, applier) for secret in USERS.values())
