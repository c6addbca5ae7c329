"""How much to claim: the free seats, and what will start within a tenth of a second.

Short handlers need messages waiting for them, or each would pay a round trip; long ones must not
hoard what another process could begin.
"""

from __future__ import annotations

import random
import time

from .hands import RUNNING, WAITING, Hands
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
    def ahead(self) -> int:
        """How many messages beyond the free seats will start within a tenth of a second."""
        return min(MOST_AHEAD, int(self.per_second * AHEAD_SECONDS))


class Turns:
    """What the exchange's loop has done, for whoever watches it: when it last came round, and its results."""

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


class Appetite:
    """How many messages fit into a process's hands now."""

    def __init__(self, options: Options, hands: Hands) -> None:
        self.options = options
        self.hands = hands
        self.pace = Pace()
        self._taken = 0

    def took(self, count: int) -> None:
        """Note that so many were claimed."""
        self._taken += count

    @property
    def is_sated(self) -> bool:
        """Whether the process has taken as many as it was told to, and holds none of them any more."""
        most = self.options.max_messages
        return most is not None and self._taken >= most and self.hands.is_empty

    def now(self) -> tuple[int, int]:
        """Return how many fit: in free seats, and beyond them."""
        self.pace.measure(self.hands.begun)
        held = self.hands.in_state(WAITING, RUNNING)
        if any(hand.claimed.is_suspect for hand in held):
            # It runs with nothing beside it.
            return 0, 0
        most = self.hands.seats + self.pace.ahead
        free = max(0, self.hands.seats - len(held))
        ahead = max(0, most - len(held) - free)
        if not free and ahead < most * REFILLED_AT:
            # Every seat has something to do: a claim for each message that begins would cost more than it.
            ahead = 0
        if self.options.max_messages is None:
            return free, ahead
        left = max(0, self.options.max_messages - self._taken)
        return min(free, left), min(ahead, max(0, left - free))
