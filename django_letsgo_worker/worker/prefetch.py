"""The prefetch: how much to claim for the free seats, and beyond them for the next tenth of a second.

Short handlers need messages waiting for them, or each would pay a round trip; long ones must not
hoard what another process could begin.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ..engines import Claim
from .inflight import InFlightTable, Load
from .options import Options

PREFETCH_SECONDS = 0.1
MOST_PREFETCHED = 500
# With all seats taken, nothing is claimed until this part of all that may be held is missing: fewer, larger
# claims.
REFILLED_AT = 0.5
# How quickly an old pace is forgotten, in seconds.
MEMORY = 0.5


class Wanted(NamedTuple):
    """The number of messages to claim: into free seats, and beyond them."""

    free: int
    prefetch: int

    def after(self, claim: Claim) -> Wanted:
        """Return how many may still be claimed after a claim; nothing beside a suspect."""
        if any(message.is_poison_suspect for message in claim.rows):
            return Wanted(0, 0)
        used = min(self.free, len(claim.rows))
        return Wanted(self.free - used, self.prefetch - (len(claim.rows) - used))


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
        """The number of messages beyond the free seats that will begin within a tenth of a second."""
        return min(MOST_PREFETCHED, int(self.per_second * PREFETCH_SECONDS))


class Prefetch:
    """Decides how many messages to claim now."""

    def __init__(self, options: Options, inflight: InFlightTable) -> None:
        self.options = options
        self.inflight = inflight
        self.pace = Pace()
        # Whether the latest claims left messages that may run in a free seat only, and found none.
        self._lacks_seats = False

    def note(self, *, lacks_seats: bool) -> None:
        """Learn from a batch whether it left messages that need a free seat."""
        self._lacks_seats = lacks_seats

    @property
    def is_sated(self) -> bool:
        """Whether the process has taken as many as it was told to, and no longer holds any of them."""
        most = self.options.max_messages
        return most is not None and self.inflight.taken >= most and self.inflight.is_empty

    def now(self, load: Load) -> Wanted:
        """Return how many messages to claim now: into free seats, and beyond them."""
        self.pace.measure(self.inflight.begun)
        if load.has_suspect:
            # It runs with nothing beside it.
            return Wanted(0, 0)
        seats, held = self.inflight.seats, load.held
        most = seats + self.pace.prefetch
        free = max(0, seats - held)
        prefetch = max(0, most - held - free)
        if not free and prefetch < most * REFILLED_AT:
            # Every seat has something to do: a claim for each message that begins would not pay.
            prefetch = 0
        if self._lacks_seats:
            # Messages that wait for a free seat must not wait for all that could be taken beyond the seats.
            prefetch = 0
        if self.options.max_messages is None:
            return Wanted(free, prefetch)
        left = max(0, self.options.max_messages - self.inflight.taken)
        return Wanted(min(free, left), min(prefetch, max(0, left - free)))
