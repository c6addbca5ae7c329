"""Low-water marks: where in a lane a claim may begin, so that it does not read what is gone already.

While another session holds an old snapshot, a dump for example, vacuum cannot take away the index entries
of messages that were claimed, and each claim would read all of them first. The same mark leads past
messages of types that this process does not know. Kept in memory alone: a worker that has just begun
reads from the start.
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
    """The marks of the lanes that one worker claims from."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int], datetime] = {}
        # When the next claim without the mark is due, and the next look.
        self._full_claim_at: dict[tuple[str, int], float] = {}
        self._full_look_at = 0.0
        # Lanes where claims are still on their way past unknown types, and how many seconds they have
        # taken: a claim from the start would begin that way again, and none would ever reach its end.
        self._passing: dict[tuple[str, int], float] = {}

    def of(self, lane: Lane) -> datetime | None:
        """Return where the next claim of a lane begins; None: at its start."""
        may_use_it = lane.key in self._passing or time.monotonic() < self._full_claim_at.get(lane.key, 0.0)
        return self._marks.get(lane.key) if may_use_it else None

    def note(self, request: ClaimRequest, claim: Claim, *, seconds: float) -> None:
        """Learn from a claim, which took so many seconds."""
        key = request.lane.key
        is_full = request.start_at is None or key in self._passing
        seconds += self._passing.pop(key, 0.0)
        if claim.passed_all and not claim.saw_all:
            self._passing[key] = seconds
        elif is_full:
            self._full_claim_at[key] = _next_full(seconds)
        if claim.unknown and claim.looked_until is not None:
            # No margin: many may have become visible together, and the claim would not get past them.
            self._marks[key] = claim.looked_until
        elif claim.looked_from is not None:
            self._marks[key] = claim.looked_from - MARGIN

    def of_lanes(self) -> list[Lane] | None:
        """Return the lanes to look at, each from its mark; None: all of them, from the start."""
        if not self._marks or not self.full_look_in():
            return None
        return [Lane(queue, priority, mark) for (queue, priority), mark in self._marks.items()]

    def note_full_look(self, seconds: float) -> None:
        """Learn that all lanes were looked for, which took so many seconds."""
        self._full_look_at = _next_full(seconds)

    def full_look_in(self) -> float:
        """Return the seconds until a look at all lanes is due."""
        return max(0.0, self._full_look_at - time.monotonic())

    def forget(self) -> None:
        """Read all lanes from their start next time."""
        self._marks.clear()
        self._passing.clear()


def _next_full(seconds: float) -> float:
    return time.monotonic() + min(seconds / SHARE, AT_THE_LATEST)
