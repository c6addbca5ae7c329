"""Low-water marks: where in a lane a claim may begin, so that it does not read what is gone already.

While somebody holds an old snapshot, a dump for example, vacuum cannot take away the index entries of
messages that were claimed, and each claim would read all of them first. Kept in memory alone: a worker
that has just begun reads from the start.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from ..engines import Claim, ClaimRequest, Lane

# A transaction may commit this much later than it enqueued, and still be found by a claim at the mark.
MARGIN = timedelta(milliseconds=100)
# Claims and looks without the mark find what was committed later still, and what a stepped clock hides:
# they may take this part of the time, and come at the latest after so many seconds.
SHARE = 0.05
AT_THE_LATEST = 5.0


class Marks:
    """The marks of the lanes that one worker claims from; `enabled` False: it always reads from the start."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._marks: dict[tuple[str, int], datetime] = {}
        # When the next claim without the mark is due, and the next look.
        self._full_claim_at: dict[tuple[str, int], float] = {}
        self._full_look_at = 0.0

    def of(self, lane: Lane) -> datetime | None:
        """Return where the next claim of a lane begins; None: at its start."""
        key = (lane.queue, lane.priority)
        return self._marks.get(key) if time.monotonic() < self._full_claim_at.get(key, 0.0) else None

    def note(self, request: ClaimRequest, claim: Claim, *, seconds: float) -> None:
        """Learn from a claim, which took so many seconds."""
        if not self.enabled:
            return
        key = (request.lane.queue, request.lane.priority)
        if request.start_at is None:
            self._full_claim_at[key] = _next_full(seconds)
        if claim.looked_from is not None:
            self._marks[key] = claim.looked_from - MARGIN

    def of_lanes(self) -> list[Lane] | None:
        """Return the lanes that are enough to look at, each from its mark; None: all from the start."""
        if not self._marks or time.monotonic() >= self._full_look_at:
            return None
        return [Lane(queue, priority, mark) for (queue, priority), mark in self._marks.items()]

    def note_full_look(self, seconds: float) -> None:
        """Learn that all lanes were looked for, which took so many seconds."""
        self._full_look_at = _next_full(seconds)


def _next_full(seconds: float) -> float:
    return time.monotonic() + min(seconds / SHARE, AT_THE_LATEST)
