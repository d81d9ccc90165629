# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The page about Kafka: the program on it is run as printed, but for names and addresses."""

import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / "config" / "kafka.md"


def test_the_consumer_on_the_page_works(blue, green, make, kafka_broker, number):
    blue.sql("create table t(id int primary key, note text)", "insert into t values (1, 'copied')")
    s = make({"transport": {"type": "kafka", "kafka": {"bootstrap_servers": kafka_broker.bootstrap}}}, name=f"d{number}",
             verb="reader")
    s.until_synced()
    blue.sql("insert into t values (2, 'inserted')", "update t set note = 'updated' where id = 1", "delete from t where id = 2")
    s.until_synced()
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    assert len(program.splitlines()) <= 13
    program = program.replace("localhost:9092", kafka_broker.bootstrap).replace("shop.changes", f"d{number}.changes")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4, lines
    assert [re.search(r'"op":"(.)"', line).group(1) for line in lines] == ["r", "c", "u", "d"]
    # Unix times of now, also of copied rows
    assert all(re.search(r'"ts_ms":(1[7-9]|[2-9])\d{11},"snapshot"', line) for line in lines), lines
    assert "copied" in lines[0] and "updated" in lines[2]
