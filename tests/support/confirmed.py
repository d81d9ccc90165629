# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""C6: what the slot has confirmed is never ahead of what green has stored; looked at every 50 ms while a test runs."""

import contextlib
import threading

import psycopg

CONFIRMED = "select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s"
STORED = "select resume from sluice.progress where stream = %s"


class ConfirmedWatch:
    """`with ConfirmedWatch(s) as watch: …` fails at its end when a look found the slot ahead."""

    def __init__(self, sluice):
        self.sluice, self.looks, self.ahead = sluice, 0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            assert not self.ahead, f"confirmed before it was stored (confirmed, stored): {self.ahead[:3]}"
            assert self.looks > 5, f"only {self.looks} looks"

    def run(self):
        blue = green = None
        while not self.over.is_set():
            try:
                blue = blue or self.sluice.blue.connect()
                green = green or self.sluice.green.connect()
                # in this order: what is stored can only have grown since
                confirmed = blue.execute(CONFIRMED, (self.sluice.slot,)).fetchone()
                stored = green.execute(STORED, (self.sluice.name,)).fetchone()
                if confirmed and confirmed[0] is not None and stored and stored[0]:
                    self.looks += 1
                    pair = int(confirmed[0]), int.from_bytes(stored[0], "big")
                    if pair[0] > pair[1]:
                        self.ahead.append(pair)
            except psycopg.Error:
                blue = green = None
            self.over.wait(0.05)
        for c in (blue, green):
            if c:
                with contextlib.suppress(psycopg.Error):
                    c.close()
