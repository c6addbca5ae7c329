"""Which lanes to claim from, in which order, and when to look again.

Priorities are strict; lanes of one priority take turns, so that no queue starves another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ..engines import Engine, Lane
from .marks import Marks

# How long a found list of lanes, and the end of a look past unknown types, are believed, in seconds.
BELIEVED_FOR = 1.0
CLOCK_BELIEVED_FOR = 60.0
# The pause after a claim in vain, in seconds; it doubles up to BELIEVED_FOR.
FIRST_PAUSE = 0.05
# Our idea of the database's clock may be wrong by this, and by what asking for it took.
MOMENTS = timedelta(milliseconds=50)


class Lanes:
    """The lanes that a worker knows of, found at most once a second while it is busy."""

    def __init__(self, engine: Engine, queues: tuple[str, ...] | None, marks: Marks) -> None:
        self.engine = engine
        self.queues = queues
        self.marks = marks
        self._known: dict[tuple[str, int], datetime] = {}
        self._looked_at = float("-inf")
        self._turn = 0
        # Whether every lane that had messages at the last look is still known, with its earliest.
        self.are_all_known = False
        # Whether the last list of due lanes was made moments before one more became due: our idea of the
        # database's clock may have been that wrong.
        self.is_due_soon = False
        self._past_unknown: dict[tuple[str, int], tuple[float, datetime]] = {}
        # The database's clock minus ours, so that "not yet" can be told without asking.
        self._skew = timedelta(0)
        self._clock_read_at = float("-inf")
        self._moments = MOMENTS
        # How often in a row a lane with visible messages was claimed from in vain: they are of unknown
        # types, or locked, or our idea of the database's clock is ahead; and until when to leave it alone.
        self._in_vain: dict[tuple[str, int], tuple[int, float]] = {}

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._skew

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self._looked_at >= BELIEVED_FOR

    def forget(self) -> None:
        """Look again before the next rest: something became visible that no look has seen."""
        self._looked_at = float("-inf")
        self.are_all_known = False

    def put_back(self) -> None:
        """Note that messages were put back: lanes that were tried in vain may have them."""
        self._in_vain.clear()
        self.forget()

    def learned(self) -> None:
        """Note that types are known now that were passed over until here."""
        self._past_unknown.clear()
        self.put_back()

    def look(self, *, waiting: bool) -> None:
        """Find all lanes but the paused ones; `waiting` says that this worker rests if nothing is due."""
        if time.monotonic() - self._clock_read_at > CLOCK_BELIEVED_FOR:
            self._read_clock()
        asked_at, marked = time.monotonic(), self.marks.of_lanes()
        found = self.engine.lanes(waiting=waiting, queues=self.queues, marked=marked)
        if marked is None:
            self.marks.note_full_look(time.monotonic() - asked_at)
        self._known = {
            (lane.queue, lane.priority): self._worth_a_claim_at(lane)
            for lane in found
            if (self.queues is None or lane.queue in self.queues) and not lane.is_paused
        }
        self._looked_at = time.monotonic()
        self.are_all_known = True

    def _read_clock(self) -> None:
        asked_at = datetime.now(UTC)
        clock = self.engine.clock()
        took = datetime.now(UTC) - asked_at
        self._skew = clock - (asked_at + took / 2)
        self._moments = max(MOMENTS, took)
        self._clock_read_at = time.monotonic()

    def _worth_a_claim_at(self, lane: Lane) -> datetime:
        """Return when to claim from a lane: when its first message is visible, later if that was in vain."""
        now = self._now()
        visible_at = lane.next_visible_at or now
        _, not_before = self._in_vain.get((lane.queue, lane.priority), (0, 0.0))
        pause = not_before - time.monotonic()
        return visible_at if pause <= 0 else max(visible_at, now + timedelta(seconds=pause))

    def look_after_rest(self, ended_by: str) -> None:
        """Look again after a poll; after somebody's write also at the lanes that were tried in vain."""
        if ended_by == "written":
            self._in_vain.clear()
        if ended_by != "rung":
            self.forget()

    def add(self, queue: str, priority: int) -> None:
        """Take in a lane that a wake-up named."""
        if self.queues is None or queue in self.queues:
            self._known[queue, priority] = self._now()
            self._in_vain.pop((queue, priority), None)

    def drained(self, lane: Lane, *, in_vain: bool) -> None:
        """Note that a claim found less than it asked for, or nothing at all."""
        key = (lane.queue, lane.priority)
        self._known.pop(key, None)
        self.are_all_known = False
        if in_vain:
            times, _ = self._in_vain.get(key, (0, 0.0))
            pause = min(BELIEVED_FOR, FIRST_PAUSE * 2 ** min(times, 10))
            self._in_vain[key] = (times + 1, time.monotonic() + pause)
        else:
            self._in_vain.pop(key, None)

    def due(self) -> list[Lane]:
        """Return the lanes that may have due messages, best first."""
        now = self._now()
        self.is_due_soon = any(
            now < moment <= now + self._moments and key not in self._in_vain
            for key, moment in self._known.items()
        )
        due = [key for key, visible_at in self._known.items() if visible_at <= now]
        if not due:
            return []
        self._turn += 1
        return [Lane(queue, priority) for queue, priority in self._in_turn(due)]

    def _in_turn(self, keys: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        by_priority: dict[int, list[tuple[str, int]]] = {}
        for key in sorted(keys):
            by_priority.setdefault(key[1], []).append(key)
        ordered: list[tuple[str, int]] = []
        for priority in sorted(by_priority, reverse=True):
            peers = by_priority[priority]
            first = self._turn % len(peers)
            ordered += peers[first:] + peers[:first]
        return ordered

    def next_due_in(self) -> float | None:
        """Return the seconds until the earliest known message is visible; None when none is known."""
        if not self._known:
            return None
        return max(0.0, (min(self._known.values()) - self._now()).total_seconds())

    # -- unknown types at the head of a lane --------------------------------------------------------

    def remember_past(self, lane: Lane, looked_until: datetime) -> None:
        """Note how far a claim looked past types that this process does not know."""
        self._past_unknown[lane.queue, lane.priority] = (time.monotonic(), looked_until)

    def start_at(self, lane: Lane) -> datetime | None:
        """Return where the next claim of this lane begins, for a second after such a look."""
        at, until = self._past_unknown.get((lane.queue, lane.priority), (float("-inf"), None))
        return until if time.monotonic() - at < BELIEVED_FOR else None
