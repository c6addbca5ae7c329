"""The turns that lanes take: which of those with due messages is asked next, and when others will have some.

Priorities are strict; lanes of one priority take turns, so that no queue starves another. What is asked of
this for each batch costs as much with thousands of lanes as with one. No database here.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

Key = tuple[str, int]


class Turns:
    """Lanes by queue and priority, and when each has a due message, by this process's clock."""

    def __init__(self) -> None:
        # Those that are due, by priority, in the order in which they are asked.
        self._lines: dict[int, OrderedDict[Key, None]] = {}
        self._later: dict[Key, float] = {}
        # Before this moment none of the later ones is due.
        self._none_before = float("inf")

    def __iter__(self) -> Iterator[Key]:
        yield from [key for line in self._lines.values() for key in line]
        yield from list(self._later)

    def put(self, key: Key, due_at: float) -> None:
        """Take in a lane, behind its peers; one that is due already stays where it is."""
        if due_at <= time.monotonic():
            self._later.pop(key, None)
            self._lines.setdefault(key[1], OrderedDict()).setdefault(key)
            return
        self.discard(key)
        self._later[key] = due_at
        self._none_before = min(self._none_before, due_at)

    def discard(self, key: Key) -> None:
        self._later.pop(key, None)
        line = self._lines.get(key[1])
        if line is not None:
            line.pop(key, None)
            if not line:
                del self._lines[key[1]]

    def asked(self, key: Key) -> None:
        """Let its peers go first the next time."""
        line = self._lines.get(key[1])
        if line is not None and key in line:
            line.move_to_end(key)

    def first(self, most: int) -> list[Key]:
        """Return the lanes to ask next, best first."""
        self._move_up()
        in_order = (key for priority in sorted(self._lines, reverse=True) for key in self._lines[priority])
        return list(islice(in_order, most))

    @property
    def due(self) -> int:
        """How many lanes have due messages."""
        self._move_up()
        return sum(map(len, self._lines.values()))

    @property
    def next_at(self) -> float:
        """When the first of all is due; infinite when there is none."""
        return float("-inf") if self._lines else min(self._later.values(), default=float("inf"))

    def _move_up(self) -> None:
        now = time.monotonic()
        if now < self._none_before:
            return
        for due_at, key in sorted((due_at, key) for key, due_at in self._later.items() if due_at <= now):
            self.put(key, due_at)
        self._none_before = min(self._later.values(), default=float("inf"))
