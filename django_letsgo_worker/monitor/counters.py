"""Counts of one process, in memory, and in a file as well where a parent gathers them.

Who counts what is in counting.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

from .metrics import BUCKETS, SUM, Key
from .mmap_counters import Ledger

LIMITS = (*(f"{limit:g}" for limit in BUCKETS), "+Inf")


class Tally:
    """Values by key; each change is written through to the ledger at once."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._ledger = ledger
        self._values: dict[Key, float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        with self._lock:
            self._write((name, labels), self._values.get((name, labels), 0.0) + amount)

    def put(self, name: str, *labels: str, value: float) -> None:
        with self._lock:
            self._write((name, labels), value)

    def observe(self, name: str, value: float) -> None:
        """Count a value of a histogram."""
        self.add(name, LIMITS[bisect_left(BUCKETS, value)])
        self.add(name, SUM, amount=value)

    def values(self) -> dict[Key, float]:
        with self._lock:
            return dict(self._values)

    def _write(self, key: Key, value: float) -> None:
        self._values[key] = value
        if self._ledger is not None:
            self._ledger.write(key, value)
