# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Source and target over encrypted connections."""

import random
import subprocess

from certificates import make_authority
from compare import assert_same
from servers import Database, as_server_user
from wait import wait_until


def encrypted(cluster, authority):
    for name in ("server.crt", "server.key"):
        cluster.append((authority / name).read_text(), file=name)
    subprocess.run(as_server_user(["chmod", "600", str(cluster.data / "server.key")]), check=True, cwd="/")
    cluster.append("ssl = on")
    cluster.reload()


def test_everything_goes_over_tls(own_clusters, make, tmp_path):
    """The copy, then rows of all sizes one by one; a certificate of another authority is refused."""
    authority = make_authority(tmp_path)
    cluster = own_clusters("tls")
    encrypted(cluster, authority)
    blue, green = Database(cluster, "b"), Database(cluster, "g")
    blue.sql("create table t(id int primary key, doc text)", "alter table t alter doc set storage external",
             "insert into t select g, repeat(md5(g::text), g) from generate_series(1, 300) g")
    trusted = {"sslmode": "verify-ca", "sslrootcert": authority / "ca.pem"}
    other = make(blue=blue, green=green, source_uri=cluster.uri("b", **{**trusted, "sslrootcert": authority / "other.pem"}),
                 target_uri=cluster.uri("g", **trusted), name="other")
    refused = other.command("check")
    assert refused.returncode != 0 and "certificate" in refused.stdout + refused.stderr
    s = make(blue=blue, green=green, source_uri=cluster.uri("b", **trusted), target_uri=cluster.uri("g", **trusted))
    s.start()
    s.wait_synced()
    assert_same(blue, green)
    sessions = blue.rows("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'sluice%'")
    assert len(sessions) >= 3 and all(ssl for ssl, in sessions), sessions
    rng = random.Random(5)
    for i in range(1000, 1060):
        blue.sql(f"insert into t values ({i}, repeat('x', {rng.choice((100, 8000, 16384, 40000, 300000)) + rng.randrange(-90, 500)}))")
        wait_until(lambda: s.alive() and green.rows("select 1 from t where id = %s", (i,)), 2, f"row {i}")
    assert_same(blue, green)
    assert s.stop() == 0
