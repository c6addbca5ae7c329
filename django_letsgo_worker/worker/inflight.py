"""The in-memory table of claimed messages, from claim to settlement.

Only this table and the wake-up are shared between the worker's threads. No database here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ..delivery import Control, Delivery
from ..engines import Claimed, Settlement
from ..outcomes import Outcome
from ..registry import Handler

WAITING, RUNNING, FINISHED = "waiting", "running", "finished"
# Finished too, but the database refuses its outcome: it is tried again later.
UNWRITTEN = "unwritten"


@dataclass(slots=True, eq=False)
class InFlight:
    """A claimed message in this process."""

    claimed: Claimed
    handler: Handler
    control: Control
    state: str = WAITING
    delivery: Delivery | None = None
    # By this process's clock: when it was claimed, when its handler began, and when that ended.
    claimed_at: float = field(default_factory=time.monotonic)
    started: float = 0.0
    ended: float = 0.0
    outcome: Outcome | None = None
    # The decision about the exception of its handler, made where that was raised.
    decided: Outcome | None = None
    # The handler's own transaction has written the outcome already, or nobody can know whether.
    settled: bool = False
    # What its handler's own transaction has written.
    settled_as: str | None = None
    settlement: Settlement | None = None
    # It must not run: this is its settlement, known since it was claimed.
    refusal: Settlement | None = None
    # It may kill the process, and therefore runs alone.
    is_suspect: bool = False
    # A thread of the pool may take it, if it is not taken back first.
    is_ready: bool = False
    timed_out: bool = False
    # Its handler runs on the event loop: it keeps no thread.
    on_loop: bool = False
    # The lease is gone: nothing that the handler returns is recorded.
    lost: bool = False
    # The drain ended first: it is given back while its code may still run.
    interrupted: bool = False
    # The connection on which its own transaction runs, for an atomic handler.
    connection: BaseDatabaseWrapper | None = None
    # A first attempt to settle it may have been carried out.
    uncertain: bool = False
    # Ends the task of an async handler, from any thread.
    cancel: Callable[[], object] = lambda: None
    # How often the database refused its outcome, whether that was said, and when it is tried again.
    refusals: int = 0
    is_reported: bool = False
    again_at: float = 0.0

    @property
    def lease(self) -> tuple[int, int]:
        return self.claimed.id, self.claimed.receipt

    @property
    def seconds(self) -> float:
        """The seconds that the handler ran."""
        return max(0.0, self.ended - self.started) if self.started else 0.0

    @property
    def waited(self) -> float:
        """The seconds from when it was due to when its handler began."""
        claimed, held = self.claimed, self.started - self.claimed_at
        if claimed.due_at is None:
            return held
        return (claimed.leased_at - claimed.due_at).total_seconds() + held


class Load(NamedTuple):
    """The load that keeps a worker from claiming more."""

    # Deliveries that wait or run.
    held: int
    # Whether one of them runs alone.
    has_suspect: bool
    # Outcomes that the database refuses.
    unwritten: int


@dataclass(slots=True)
class InFlightTable:
    """All claimed messages of a process by id, under one lock."""

    seats: int
    # Messages that may begin, in order: any thread of the pool takes the next.
    ready: deque[InFlight] = field(default_factory=deque)
    # Nothing that is added from here on may begin.
    is_closed: bool = False
    # How many were ever taken in.
    taken: int = 0
    _held: dict[int, InFlight] = field(default_factory=dict)
    _finished: list[InFlight] = field(default_factory=list)
    _aside: list[InFlight] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    # How many deliveries have begun since the process started.
    begun: int = 0
    # A moving average of how long a delivery keeps a thread, in seconds; long until the first has ended.
    seconds_each: float = 1.0
    _is_watched: bool = False
    _changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._lock)

    def add(self, entries: Iterable[InFlight]) -> None:
        """Take in what was claimed: it begins as seats become free, and what must not run is finished."""
        with self._lock:
            for entry in entries:
                self.taken += 1
                self._held[entry.claimed.id] = entry
                if entry.refusal is not None:
                    entry.state = FINISHED
                    self._finished.append(entry)
                elif not entry.is_suspect:
                    self._let_begin(entry)
            self._let_suspect_begin()

    def _let_begin(self, entry: InFlight) -> None:
        if not entry.is_ready and not self.is_closed:
            entry.is_ready = True
            self.ready.append(entry)

    def _let_suspect_begin(self) -> None:
        """Let a message that may kill the process begin, once it is alone."""
        beside = (entry for entry in self._held.values() if entry.state != UNWRITTEN)
        first, second = next(beside, None), next(beside, None)
        if first is None or second is not None:
            return
        if first.is_suspect and first.state == WAITING:
            self._let_begin(first)

    def close(self) -> None:
        """Let nothing begin that is added from here on."""
        with self._lock:
            self.is_closed = True

    def begin(self, entry: InFlight) -> bool:
        """Mark a waiting message as running; False when it was taken back meanwhile."""
        with self._lock:
            if self._held.get(entry.claimed.id) is not entry or entry.state != WAITING:
                return False
            entry.state, entry.started = RUNNING, time.monotonic()
            self.begun += 1
            return True

    def finish(self, entry: InFlight, outcome: Outcome, *, settled: bool = False) -> None:
        """Mark a running message as finished; its seat is free."""
        with self._lock:
            if self._held.get(entry.claimed.id) is entry and not entry.interrupted:
                entry.state, entry.ended = FINISHED, time.monotonic()
                entry.outcome, entry.settled = outcome, settled
                if not entry.on_loop:
                    self.seconds_each += 0.1 * (entry.ended - entry.started - self.seconds_each)
                if not settled:
                    # Its own transaction, if it had one, was rolled back: the settlement made there is void.
                    entry.settlement = None
                self._finished.append(entry)
            self._tell()

    def take_finished(self) -> list[InFlight]:
        """Return what has finished since the last call."""
        with self._lock:
            if self._aside:
                self._finish_aside(time.monotonic())
            finished, self._finished = self._finished, []
            return finished

    def set_aside(self, entry: InFlight, seconds: float) -> None:
        """Keep a finished message whose outcome is refused out of the batches, for this many seconds."""
        with self._lock:
            entry.state, entry.again_at = UNWRITTEN, time.monotonic() + seconds
            self._aside.append(entry)
            self._let_suspect_begin()
            self._tell()

    def try_again(self) -> None:
        """Put all that is set aside into the next batch."""
        with self._lock:
            self._finish_aside(float("inf"))

    def _finish_aside(self, until: float) -> None:
        due = [entry for entry in self._aside if entry.again_at <= until]
        self._aside = [entry for entry in self._aside if entry.again_at > until]
        for entry in due:
            entry.state = FINISHED
        self._finished += due

    @property
    def next_try_in(self) -> float:
        """The seconds until the first refused outcome is to be tried again."""
        with self._lock:
            return min((entry.again_at for entry in self._aside), default=float("inf")) - time.monotonic()

    def put_back(self, entries: Iterable[InFlight]) -> None:
        """Return finished messages that could not be settled yet, to be settled with the next batch."""
        with self._lock:
            self._finished[:0] = [entry for entry in entries if self._held.get(entry.claimed.id) is entry]

    def drop(self, entries: Iterable[InFlight]) -> None:
        """Let go of messages that are settled, released or lost."""
        with self._lock:
            for entry in entries:
                if self._held.get(entry.claimed.id) is entry:
                    del self._held[entry.claimed.id]
            self._let_suspect_begin()
            self._tell()

    def take_back_waiting(self) -> list[InFlight]:
        """Take what has not begun out of the pool's reach, to be released."""
        with self._lock:
            waiting = [entry for entry in self._held.values() if entry.state == WAITING]
            for entry in waiting:
                entry.state = FINISHED
            return waiting

    def interrupt_running(self) -> list[InFlight]:
        """Mark running messages as finished without an outcome, so that they are given back."""
        with self._lock:
            running = [entry for entry in self._held.values() if entry.state == RUNNING]
            for entry in running:
                entry.interrupted, entry.state, entry.ended = True, FINISHED, time.monotonic()
            self._finished += running
            return running

    def lose(self, entry: InFlight) -> bool:
        """Let go of a message whose lease is gone; False when it was settled meanwhile.

        One that waits never begins; one that runs continues, and its outcome is not recorded.
        """
        with self._lock:
            if self._held.get(entry.claimed.id) is not entry or entry.state in (FINISHED, UNWRITTEN):
                return False
            if entry.state == WAITING:
                del self._held[entry.claimed.id]
                self._let_suspect_begin()
            self._tell()
            return True

    def _tell(self) -> None:
        if self._is_watched:
            self._changed.notify_all()

    def in_state(self, *states: str) -> list[InFlight]:
        with self._lock:
            return [entry for entry in self._held.values() if entry.state in states]

    def count_stuck(self, seconds: float) -> int:
        """Return how many have kept a thread for longer than `seconds`."""
        since = time.monotonic() - seconds
        return sum(1 for entry in self.in_state(RUNNING) if entry.started < since and not entry.on_loop)

    def count_waiting_sync(self, most: int) -> int:
        """Return how many wait for a thread that runs their handlers, counting no further than `most`."""
        with self._lock:
            held = self._held.values()
            waiting = (1 for entry in held if entry.state == WAITING and not entry.handler.is_async)
            return sum(islice(waiting, most))

    def leases(self) -> list[InFlight]:
        """Return all messages whose leases this process must renew."""
        with self._lock:
            return [entry for entry in self._held.values() if not entry.lost]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight but what the database refuses."""
        with self._lock:
            return all(entry.state == UNWRITTEN for entry in self._held.values())

    @property
    def load(self) -> Load:
        with self._lock:
            held = [entry for entry in self._held.values() if entry.state in (WAITING, RUNNING)]
            return Load(len(held), any(entry.is_suspect for entry in held), len(self._aside))

    def unwritten(self) -> list[InFlight]:
        """Return those whose outcome is known here, and not yet in the database."""
        finished = self.in_state(FINISHED, UNWRITTEN)
        return [entry for entry in finished if not entry.settled and (entry.outcome or entry.refusal)]

    def wait_until_idle(self, timeout: float, hurry: threading.Event) -> bool:
        """Wait until nothing waits or runs, at most `timeout` seconds or until told to hurry; True if so."""
        end = time.monotonic() + timeout
        with self._lock:
            self._is_watched = True
            while any(entry.state in (WAITING, RUNNING) for entry in self._held.values()):
                left = end - time.monotonic()
                if left <= 0 or hurry.is_set():
                    return False
                # Not longer than this: setting `hurry` does not notify us.
                self._changed.wait(min(left, 0.1))
            return True
