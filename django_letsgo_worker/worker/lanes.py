"""The lanes that a worker claims from: where in each a claim begins, when to look again.

The order in which they are asked is in turns.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..engines import Claim, ClaimRequest, Engine, Lane, Rest
from ..registry import DEFAULT_QUEUE
from .options import Options
from .turns import Turns

# How long a found list of lanes is believed while there is work, in seconds; longer, up to so many seconds,
# where looks would take more than this share of the time.
BELIEVED_FOR = 1.0
BELIEVED_AT_MOST = 5.0
SHARE_OF_LOOKS = 0.05
# As many lanes as are asked at once, if there are not more messages wanted.
ASKED_AT_ONCE = 100
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
    """The lanes that a worker knows of, found once a second while it is busy; less often if they are many."""

    def __init__(self, engine: Engine, options: Options, watermarks: Watermarks) -> None:
        self.engine = engine
        self.options = options
        self.watermarks = watermarks
        self._turns = Turns()
        # The database's clock when each lane was looked at.
        self._read_at: dict[tuple[str, int], datetime] = {}
        # By lane: a claim found nothing for this process there, only unknown or paused types, and what others
        # have locked.
        self._not_for_us: dict[tuple[str, int], NotForUs] = {}
        self._looked_at = float("-inf")
        # How long the last look took, in seconds.
        self._look_took = 0.0
        # Whether more lanes were due than were asked.
        self.has_unasked = False
        # Whether the earliest message of every lane that had any at the last look is still known.
        self.are_all_known = False
        # Whether this worker has said in the database that it waits for work, and as which listener.
        self.said_waiting = False
        self.listener: str | None = None
        # Whether somebody must listen for its queues, and too few others do.
        self.is_needed = True
        # The queues for which that can be said, and those for which it is to be made possible.
        self._named: set[str] = set()
        self._unnamed = {DEFAULT_QUEUE} if options.queues is None else set(options.queues)

    @property
    def is_stale(self) -> bool:
        believed_for = max(BELIEVED_FOR, min(self._look_took / SHARE_OF_LOOKS, BELIEVED_AT_MOST))
        return time.monotonic() - self._looked_at >= believed_for

    def forget(self) -> None:
        """Look again before the next rest: something became visible that no look has seen."""
        self._looked_at = float("-inf")
        self.are_all_known = False

    def forget_all(self) -> None:
        """Look again, and say anew that this worker waits: the database may have crashed."""
        self.forget()
        self.said_waiting = False
        self._unnamed |= self._named
        self._named.clear()

    def learned(self) -> None:
        """Note that types are known now that were passed over until here."""
        self._not_for_us.clear()
        self.watermarks.forget()
        self.forget()

    def look(self, *, rest: Rest | None = None) -> None:
        """Find the lanes that are not paused; with `rest` the worker rests unless one is due, and says so."""
        if rest and self._unnamed:
            self.engine.name_queues(self._unnamed)
            self._named |= self._unnamed
            self._unnamed = set()
        asked_at, marked = time.monotonic(), self.watermarks.of_lanes()
        if rest is None:
            found = self.engine.lanes(marked)
        else:
            found, self.is_needed = self.engine.last_look(rest, marked)
            self.said_waiting, self.listener = True, rest.listener
        self._looked_at = time.monotonic()
        if marked is None:
            self.watermarks.note_full_look(self._looked_at - asked_at)
        # A look from the marks passes over lanes that have none.
        self.are_all_known = marked is None
        due_at = self._due_at([lane for lane in found if self._takes(lane)])
        looked_at = self._turns if marked is None else [lane.key for lane in marked]
        for key in looked_at:
            if key not in due_at:
                self._turns.discard(key)
        self._know(due_at)
        self._look_took = time.monotonic() - asked_at

    def look_for_known(self, types: Sequence[str]) -> bool:
        """Whether any message of these types is due, locked or not: the truth, whatever is remembered."""
        lanes = [lane for lane in self.engine.lanes() if self._takes(lane) and not lane.due_in]
        due = [lane for lane in lanes if self.engine.has_due(lane, types)]
        self._not_for_us.clear()
        self.watermarks.forget()
        self._know(self._due_at(due))
        return bool(due)

    def _takes(self, lane: Lane) -> bool:
        return self.options.serves(lane.queue) and not lane.is_paused

    def _know(self, due_at: Mapping[tuple[str, int], float]) -> None:
        for key, moment in due_at.items():
            self._turns.put(key, moment)

    def _due_at(self, found: Sequence[Lane]) -> dict[tuple[str, int], float]:
        """Return when each of the lanes that were found has a message for this process."""
        due_at: dict[tuple[str, int], float] = {}
        past = [lane for lane in (self._past_what_is_not_for_us(lane) for lane in found) if lane is not None]
        behind = {lane.key: lane for lane in self.engine.lanes(past)} if past else {}
        passed = {lane.key for lane in past}
        for lane in found:
            first = behind.get(lane.key) if lane.key in passed else lane
            if first is not None:
                due_at[lane.key] = self._looked_at + first.due_in
            if lane.key in passed and not self._not_for_us[lane.key].is_full:
                # Only a claim from its mark found nothing. What it passed may be a message that committed
                # late: nobody else would look before the next poll.
                again_at = self.watermarks.full_claim_at(lane.key)
                due_at[lane.key] = min(again_at, due_at.get(lane.key, again_at))
            if lane.read_at is not None:
                self._read_at[lane.key] = lane.read_at
        return due_at

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
        if self.options.serves(queue):
            self._turns.put((queue, priority), time.monotonic())
            self._not_for_us.pop((queue, priority), None)

    def note(self, claims: Iterable[TimedClaim]) -> None:
        """Learn from claims where the next ones may begin, and which lanes are empty."""
        for request, claim, seconds in claims:
            if request.lane.queue not in self._named:
                self._unnamed.add(request.lane.queue)
            self._turns.asked(request.lane.key)
            is_full = self.watermarks.note(request, claim, seconds=seconds)
            if claim.saw_all and not claim.left:
                self.drained(request.lane, claim, is_full=is_full)

    def say_busy(self, queues: set[str]) -> None:
        """Take back that this worker waits for these queues: it has as many messages as it can take."""
        self.engine.say_busy(queues, self.listener)
        self.said_waiting = False

    def drained(self, lane: Lane, claim: Claim, *, is_full: bool = True) -> None:
        """Note that a claim left nothing in a lane that it could have taken."""
        self._turns.discard(lane.key)
        self.are_all_known = False
        until = claim.looked_until or self._read_at.get(lane.key)
        if not claim.rows and until is not None:
            self._not_for_us[lane.key] = NotForUs(until, time.monotonic(), is_full)

    @property
    def has_due(self) -> bool:
        return bool(self._turns.due)

    def due(self, wanted: int = 0) -> list[Lane]:
        """Return lanes that may have due messages, best first, each from where a claim may begin.

        Not all of them: enough for as many messages as are wanted, if each has one.
        """
        keys = self._turns.first(max(wanted, ASKED_AT_ONCE))
        self.has_unasked = len(keys) < self._turns.due
        return [Lane(*key, next_visible_at=self.watermarks.of(key)) for key in keys]

    def next_due_in(self) -> float | None:
        """Return the seconds until there may be something to claim; None when nothing is known of."""
        due_in = self._turns.next_at - time.monotonic()
        if not self.are_all_known:
            due_in = min(due_in, self.watermarks.full_look_in())
        return None if due_in == float("inf") else max(0.0, due_in)


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
