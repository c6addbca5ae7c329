"""What a handler calls to be counted, in the worker's own process; no other module is imported here.

How messages are counted decides what a benchmark says, so all contestants are counted in this one way.
Watching the live table would disturb the claims that are measured, and would favour those that keep few
rows there. So a handler only counts in memory, and at every so many messages (LETSGO_BENCH_EVERY, one of
a few hundred marks) its process appends (count, monotonic clock) to a file of its own. CLOCK_MONOTONIC is
one clock for all processes of a Linux machine. A rate begins at the first mark, so starting an interpreter
is excluded for everybody alike. It ends when the database shows that nothing is left: a handler may run
long before its message is acknowledged, and a queue that acknowledges late must not look fast.
"""

from __future__ import annotations

import itertools
import os
import struct
import time

MARK = struct.Struct("qq")

_numbers = itertools.count(1)
_every = int(os.environ.get("LETSGO_BENCH_EVERY", "1"))
_files: dict[tuple[str, int], int] = {}


def handled() -> None:
    """Count one message. The counter's step is atomic in CPython: threads need no lock."""
    number = next(_numbers)
    if number % _every == 0 or number == 1:
        _append("handled", number, time.monotonic_ns())


def picked_up(sent: int) -> None:
    """Note when a message that was sent at `sent` began to be handled: now."""
    _append("picked-up", sent, time.monotonic_ns())


def _append(kind: str, first: int, second: int) -> None:
    # The process is part of the key: some workers fork after they have imported this.
    key = kind, os.getpid()
    if key not in _files:
        path = os.path.join(os.environ["LETSGO_BENCH_TALLIES"], f"{kind}-{key[1]}")  # noqa: PTH118
        _files[key] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_files[key], MARK.pack(first, second))
