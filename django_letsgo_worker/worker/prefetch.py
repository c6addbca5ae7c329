"""How much to claim: the free seats, and what will start within a tenth of a second.

Short handlers need messages waiting for them, or each would pay a round trip; long ones must not
hoard what another process could begin.
"""

from __future__ import annotations

import random
import time

from .inflight import RUNNING, WAITING, InFlightTable
from .options import Options

AHEAD_SECONDS = 0.1
MOST_AHEAD = 500
# What waits beyond the seats is filled up once so much of all is gone.
REFILLED_AT = 0.5
# How quickly an old pace is forgotten, in seconds.
MEMORY = 0.5


class Pace:
    """The measured number of deliveries that begin in a second."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self._begun = 0
        self._at = time.monotonic()

    def measure(self, begun: int, now: float | None = None) -> None:
        """Take in how many have begun since the process started."""
        now = time.monotonic() if now is None else now
        passed = now - self._at
        if passed < 0.01:
            return
        rate = (begun - self._begun) / passed
        weight = min(1.0, passed / MEMORY)
        self.per_second += weight * (rate - self.per_second)
        self._begun, self._at = begun, now

    @property
    def prefetch(self) -> int:
        """How many messages beyond the free seats will start within a tenth of a second."""
        return min(MOST_AHEAD, int(self.per_second * AHEAD_SECONDS))


class LoopStats:
    """What the worker loop has done, for whoever watches it: when it last came round, and its results."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.results = {"claimed": 0, "empty": 0, "error": 0}

    def note(self, claimed: bool) -> None:
        """Note a round, and whether it claimed messages."""
        self.at = time.monotonic()
        self.results["claimed" if claimed else "empty"] += 1

    def failed(self) -> float:
        """Note a round that failed; return how long to wait before the next, with jitter, in seconds."""
        self.at = time.monotonic()
        self.results["error"] += 1
        return random.uniform(0.1, 1.0)


class Prefetch:
    """How many messages to claim now."""

    def __init__(self, options: Options, inflight: InFlightTable) -> None:
        self.options = options
        self.inflight = inflight
        self.pace = Pace()
        self._taken = 0

    def took(self, count: int) -> None:
        """Note that so many were claimed."""
        self._taken += count

    @property
    def is_sated(self) -> bool:
        """Whether the process has taken as many as it was told to, and holds none of them any more."""
        most = self.options.max_messages
        return most is not None and self._taken >= most and self.inflight.is_empty

    def now(self) -> tuple[int, int]:
        """Return how many fit: in free seats, and beyond them."""
        self.pace.measure(self.inflight.begun)
        held = self.inflight.in_state(WAITING, RUNNING)
        if any(entry.claimed.is_poison_suspect for entry in held):
            # It runs with nothing beside it.
            return 0, 0
        most = self.inflight.seats + self.pace.prefetch
        free = max(0, self.inflight.seats - len(held))
        prefetch = max(0, most - len(held) - free)
        if not free and prefetch < most * REFILLED_AT:
            # Every seat has something to do: a claim for each message that begins would cost more than it.
            prefetch = 0
        if self.options.max_messages is None:
            return free, prefetch
        left = max(0, self.options.max_messages - self._taken)
        return min(free, left), min(prefetch, max(0, left - free))
