# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The only way tests wait: a condition with a time limit, and the last value in the failure."""

import threading
import time

_never = threading.Event()


def pause(seconds):
    _never.wait(seconds)


def wait_until(condition, timeout, what, interval=0.05):
    end = time.monotonic() + timeout
    last = None
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}; last value: {last!r}")
        pause(interval)
