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
# Claims without the mark find what was committed later still, and what a stepped clock hides: they may
# take this part of the time, and come at the latest after so many seconds.
SHARE = 0.05
AT_THE_LATEST = 5.0


class Marks:
    """The marks of the lanes that one worker claims from."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int], datetime] = {}
        # When the next claim without the mark is due.
        self._full_at: dict[tuple[str, int], float] = {}

    def of(self, lane: Lane) -> datetime | None:
        """Return where the next claim of a lane begins; None: at its start."""
        key = (lane.queue, lane.priority)
        return self._marks.get(key) if time.monotonic() < self._full_at.get(key, 0.0) else None

    def note(self, request: ClaimRequest, claim: Claim, *, seconds: float) -> None:
        """Learn from a claim, which took so many seconds."""
        key = (request.lane.queue, request.lane.priority)
        if request.start_at is None:
            self._full_at[key] = time.monotonic() + min(seconds / SHARE, AT_THE_LATEST)
        if claim.looked_from is not None:
            self._marks[key] = claim.looked_from - MARGIN
