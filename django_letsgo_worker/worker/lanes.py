"""The lanes that a worker claims from: their order, where in each a claim begins, when to look again.

Priorities are strict; lanes of one priority take turns, so that no queue starves another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..engines import Claim, ClaimRequest, Engine, Lane

# How long a found list of lanes is believed while there is work, in seconds.
BELIEVED_FOR = 1.0
# The step from one moment that a database can store to the next.
RIGHT_AFTER = timedelta(microseconds=1)
# A transaction may commit this much later than it enqueued, and still be found by a claim at the mark.
MARGIN = timedelta(milliseconds=100)
# Claims and looks without the mark find what was committed later still, and what a stepped clock hides:
# they may take this share of the time, and come at the latest after this many seconds.
SHARE = 0.05
AT_THE_LATEST = 5.0


class TimedClaim(NamedTuple):
    """A claim from one lane, and how many seconds it took."""

    request: ClaimRequest
    claim: Claim
    seconds: float


class NotForUs(NamedTuple):
    """Nothing in a lane that became visible up to a moment is for this process, as of when it was noted."""

    until: datetime
    noted_at: float
    # Whether it was read from the start; a claim from the mark sees nothing that committed late.
    is_full: bool


class Lanes:
    """The lanes that a worker knows of, found at most once a second while it is busy."""

    def __init__(self, engine: Engine, queues: tuple[str, ...] | None, watermarks: Watermarks) -> None:
        self.engine = engine
        self.queues = queues
        self.watermarks = watermarks
        # When each lane has a message that is due, by this process's clock.
        self._due_at: dict[tuple[str, int], float] = {}
        # The database's clock when each lane was looked at.
        self._read_at: dict[tuple[str, int], datetime] = {}
        # By lane: a claim found nothing for this process there, only unknown or paused types, and what others
        # have locked.
        self._not_for_us: dict[tuple[str, int], NotForUs] = {}
        self._looked_at = float("-inf")
        self._turn = 0
        # Whether the earliest message of every lane that had any at the last look is still known.
        self.are_all_known = False
        # Whether this worker has said in the database that it waits for work.
        self.said_waiting = False

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self._looked_at >= BELIEVED_FOR

    def forget(self) -> None:
        """Look again before the next rest: something became visible that no look has seen."""
        self._looked_at = float("-inf")
        self.are_all_known = False

    def learned(self) -> None:
        """Note that types are known now that were passed over until here."""
        self._not_for_us.clear()
        self.watermarks.forget()
        self.forget()

    def look(self, *, waiting: bool) -> None:
        """Find the lanes that are not paused; `waiting` says that this worker rests if nothing is due."""
        asked_at, marked = time.monotonic(), self.watermarks.of_lanes()
        found = self.engine.lanes(waiting=waiting, queues=self.queues, marked=marked)
        self._looked_at = time.monotonic()
        if marked is None:
            self.watermarks.note_full_look(self._looked_at - asked_at)
            self._due_at.clear()
        for lane in marked or ():
            self._due_at.pop(lane.key, None)
        # A look from the marks passes over lanes that have none.
        self.are_all_known = marked is None
        self.said_waiting = self.said_waiting or waiting
        self._know([lane for lane in found if self._serves(lane)])

    def look_for_known(self, types: Sequence[str]) -> bool:
        """Whether any message of these types is due, locked or not: the truth, whatever is remembered."""
        lanes = [lane for lane in self.engine.lanes() if self._serves(lane) and not lane.due_in]
        due = [lane for lane in lanes if self.engine.has_due(lane, types)]
        self._not_for_us.clear()
        self.watermarks.forget()
        self._know(due)
        return bool(due)

    def _serves(self, lane: Lane) -> bool:
        return (self.queues is None or lane.queue in self.queues) and not lane.is_paused

    def _know(self, found: Sequence[Lane]) -> None:
        past = [lane for lane in (self._past_what_is_not_for_us(lane) for lane in found) if lane is not None]
        behind = {lane.key: lane for lane in self.engine.lanes(marked=past)} if past else {}
        passed = {lane.key for lane in past}
        for lane in found:
            first = behind.get(lane.key) if lane.key in passed else lane
            if first is not None:
                self._due_at[lane.key] = self._looked_at + first.due_in
            if lane.key in passed:
                self._claim_again_in_full(lane.key)
            if lane.read_at is not None:
                self._read_at[lane.key] = lane.read_at

    def _claim_again_in_full(self, key: tuple[str, int]) -> None:
        """Claim from the start of a lane that is passed over, if only a claim from its mark found nothing.

        What it passed may be a message that committed late: nobody else would look before the next poll.
        """
        if not self._not_for_us[key].is_full:
            due_at = self.watermarks.full_claim_at(key)
            self._due_at[key] = min(due_at, self._due_at.get(key, due_at))

    def _past_what_is_not_for_us(self, lane: Lane) -> Lane | None:
        """Return from where to look for this process's first message in a lane; None where that is it."""
        noted = self._not_for_us.get(lane.key)
        if noted is None or lane.next_visible_at is None or lane.next_visible_at > noted.until:
            return None
        if time.monotonic() - noted.noted_at >= BELIEVED_FOR:
            del self._not_for_us[lane.key]
            return None
        return replace(lane, next_visible_at=noted.until + RIGHT_AFTER)

    def look_after_rest(self, ended_by: str) -> None:
        """Forget, after a poll or another process's write, the lanes and what was not for this process."""
        if ended_by != "woken":
            self._not_for_us.clear()
            self.forget()

    def add(self, queue: str, priority: int) -> None:
        """Take in a lane that a wake-up named."""
        if self.queues is None or queue in self.queues:
            self._due_at[queue, priority] = time.monotonic()
            self._not_for_us.pop((queue, priority), None)

    def note(self, claims: Iterable[TimedClaim]) -> None:
        """Learn from claims where the next ones may begin, and which lanes are empty."""
        for request, claim, seconds in claims:
            is_full = self.watermarks.note(request, claim, seconds=seconds)
            if claim.saw_all and not claim.left:
                self.drained(request.lane, claim, is_full=is_full)

    def say_busy(self, queues: set[str]) -> None:
        """Take back that this worker waits for these queues: it has as many messages as it can take."""
        self.engine.set_waiting(queues, False)
        self.said_waiting = False

    def drained(self, lane: Lane, claim: Claim, *, is_full: bool = True) -> None:
        """Note that a claim left nothing in a lane that it could have taken."""
        self._due_at.pop(lane.key, None)
        self.are_all_known = False
        until = claim.looked_until or self._read_at.get(lane.key)
        if not claim.rows and until is not None:
            self._not_for_us[lane.key] = NotForUs(until, time.monotonic(), is_full)

    @property
    def has_due(self) -> bool:
        now = time.monotonic()
        return any(due_at <= now for due_at in self._due_at.values())

    def due(self) -> list[Lane]:
        """Return the lanes that may have due messages, best first, each from where a claim may begin."""
        now = time.monotonic()
        due = [key for key, due_at in self._due_at.items() if due_at <= now]
        if not due:
            return []
        self._turn += 1
        return [Lane(*key, next_visible_at=self.watermarks.of(key)) for key in self._in_turn(due)]

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
        """Return the seconds until there may be something to claim; None when nothing is known of."""
        known = [due_at - time.monotonic() for due_at in self._due_at.values()]
        if not self.are_all_known:
            known.append(self.watermarks.full_look_in())
        return max(0.0, min(known)) if known else None


class Watermarks:
    """Low-water marks: where in a lane a claim may begin, so that it does not read what is gone already.

    While another session holds an old snapshot, a dump for example, vacuum cannot take away the index
    entries of messages that were claimed, and each claim would read all of them first. The same mark leads
    past messages of types that this process does not know. Kept in memory alone: a worker that has just
    begun reads from the start.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int], datetime] = {}
        # When the next claim without the mark is due, and the next look.
        self._full_claim_at: dict[tuple[str, int], float] = {}
        self._full_look_at = 0.0
        # Lanes where claims are still on their way past unknown types, and how many seconds they have
        # taken: a claim from the start would begin that way again, and none would ever reach its end.
        self._passing: dict[tuple[str, int], float] = {}

    def of(self, key: tuple[str, int]) -> datetime | None:
        """Return where the next claim of a lane begins; None: at its start."""
        may_use_it = key in self._passing or time.monotonic() < self._full_claim_at.get(key, 0.0)
        return self._marks.get(key) if may_use_it else None

    def full_claim_at(self, key: tuple[str, int]) -> float:
        """Return when the next claim of a lane begins at its start."""
        return self._full_claim_at.get(key, 0.0)

    def note(self, request: ClaimRequest, claim: Claim, *, seconds: float) -> bool:
        """Learn from a claim and from how long it took; return whether its lane was read from the start."""
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
        return is_full

    def of_lanes(self) -> list[Lane] | None:
        """Return the lanes to look at, each from its mark; None: all of them, from the start."""
        if not self._marks or not self.full_look_in():
            return None
        return [Lane(queue, priority, mark) for (queue, priority), mark in self._marks.items()]

    def note_full_look(self, seconds: float) -> None:
        """Note that all lanes were looked for, and how long that took."""
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
