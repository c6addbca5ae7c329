"""What a worker process has in hand: claimed messages, from their claim to their settlement.

Only this object is shared between the worker's threads. No database here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from django.db.backends.base.base import BaseDatabaseWrapper

from ..delivery import Delivery, Signals
from ..engines import Claimed, Settlement
from ..outcomes import Outcome
from ..registry import Handler

WAITING, RUNNING, FINISHED = "waiting", "running", "finished"
# Finished too, but the database refuses what became of it: it is tried again later.
UNWRITTEN = "unwritten"


@dataclass(slots=True, eq=False)
class Hand:
    """One claimed message in this process."""

    claimed: Claimed
    handler: Handler
    signals: Signals
    state: str = WAITING
    delivery: Delivery | None = None
    started: float = 0.0
    ended: float = 0.0
    outcome: Outcome | None = None
    # What was decided about the exception of its handler, where that was raised.
    decided: Outcome | None = None
    # The handler's own transaction has written the outcome already, or nobody can know whether.
    settled: bool = False
    settlement: Settlement | None = None
    # It must not run: what becomes of it was known when it was claimed.
    refused: Settlement | None = None
    timed_out: bool = False
    # Its handler runs on the event loop: it keeps no thread.
    on_loop: bool = False
    # The lease is gone: nothing that the handler returns is recorded.
    lost: bool = False
    # The end of the drain came first: given back while its code may still run.
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
        """How long the handler ran."""
        return max(0.0, self.ended - self.started) if self.started else 0.0


@dataclass(slots=True)
class Hands:
    """All of them, by message id, under one lock."""

    seats: int
    _held: dict[int, Hand] = field(default_factory=dict)
    _finished: list[Hand] = field(default_factory=list)
    _aside: list[Hand] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _begun: int = 0
    # How long a delivery keeps a thread, the latest ones foremost; long until the first has ended.
    seconds_each: float = 1.0
    _is_watched: bool = False

    def add(self, hands: Iterable[Hand]) -> None:
        with self._changed:
            for hand in hands:
                self._held[hand.claimed.id] = hand
                if hand.refused is not None:
                    hand.state = FINISHED
                    self._finished.append(hand)

    def begin(self, hand: Hand) -> bool:
        """Mark a waiting message as running; False when it was taken back meanwhile."""
        with self._changed:
            if self._held.get(hand.claimed.id) is not hand or hand.state != WAITING:
                return False
            hand.state, hand.started = RUNNING, time.monotonic()
            self._begun += 1
            return True

    def finish(self, hand: Hand, outcome: Outcome, *, settled: bool = False) -> None:
        """Mark a running message as finished; its seat is free."""
        with self._changed:
            if self._held.get(hand.claimed.id) is hand and not hand.interrupted:
                hand.state, hand.ended = FINISHED, time.monotonic()
                hand.outcome, hand.settled = outcome, settled
                if not hand.on_loop:
                    self.seconds_each += 0.1 * (hand.ended - hand.started - self.seconds_each)
                if not settled:
                    # What its own transaction would have written is not what became of it.
                    hand.settlement = None
                self._finished.append(hand)
            self._tell()

    def take_finished(self) -> list[Hand]:
        """Return what has finished since the last call."""
        with self._changed:
            if self._aside:
                self._finish_aside(time.monotonic())
            finished, self._finished = self._finished, []
            return finished

    def set_aside(self, hand: Hand, seconds: float) -> None:
        """Keep a finished message whose outcome is refused out of the rounds, for so many seconds."""
        with self._changed:
            hand.state, hand.again_at = UNWRITTEN, time.monotonic() + seconds
            self._aside.append(hand)
            self._tell()

    def try_again(self) -> None:
        """Put all that is set aside into the next round."""
        with self._changed:
            self._finish_aside(float("inf"))

    def _finish_aside(self, until: float) -> None:
        due = [hand for hand in self._aside if hand.again_at <= until]
        self._aside = [hand for hand in self._aside if hand.again_at > until]
        for hand in due:
            hand.state = FINISHED
        self._finished += due

    @property
    def next_try_in(self) -> float:
        """How many seconds until the first outcome that was refused is to be tried again."""
        with self._changed:
            return min((hand.again_at for hand in self._aside), default=float("inf")) - time.monotonic()

    def put_back(self, hands: Iterable[Hand]) -> None:
        """Return finished messages that could not be settled yet."""
        with self._changed:
            self._finished[:0] = [hand for hand in hands if self._held.get(hand.claimed.id) is hand]

    def drop(self, hands: Iterable[Hand]) -> None:
        """Let go of messages that are settled, released or lost."""
        with self._changed:
            for hand in hands:
                if self._held.get(hand.claimed.id) is hand:
                    del self._held[hand.claimed.id]
            self._tell()

    def take_back_waiting(self) -> list[Hand]:
        """Take what has not begun out of the seats' reach, to be released."""
        with self._changed:
            waiting = [hand for hand in self._held.values() if hand.state == WAITING]
            for hand in waiting:
                hand.state = FINISHED
            return waiting

    def interrupt_running(self) -> list[Hand]:
        """Count what still runs as finished without an outcome, so that it is given back."""
        with self._changed:
            running = [hand for hand in self._held.values() if hand.state == RUNNING]
            for hand in running:
                hand.interrupted, hand.state, hand.ended = True, FINISHED, time.monotonic()
            self._finished += running
            return running

    def lose(self, hand: Hand) -> bool:
        """Let go of a message whose lease is gone; False when it was settled meanwhile.

        One that waits never begins; one that runs goes on, and its outcome is not recorded.
        """
        with self._changed:
            if self._held.get(hand.claimed.id) is not hand or hand.state in (FINISHED, UNWRITTEN):
                return False
            if hand.state == WAITING:
                del self._held[hand.claimed.id]
            self._tell()
            return True

    def _tell(self) -> None:
        if self._is_watched:
            self._changed.notify_all()

    def in_state(self, *states: str) -> list[Hand]:
        with self._changed:
            return [hand for hand in self._held.values() if hand.state in states]

    def count_stuck(self, seconds: float) -> int:
        """Return how many have kept a thread for longer than this."""
        since = time.monotonic() - seconds
        return sum(1 for hand in self.in_state(RUNNING) if hand.started < since and not hand.on_loop)

    def count_waiting_sync(self, most: int) -> int:
        """Return how many wait for a thread that runs their handlers; no further than `most` is counted."""
        with self._changed:
            held = self._held.values()
            waiting = (1 for hand in held if hand.state == WAITING and not hand.handler.is_async)
            return sum(islice(waiting, most))

    def leases(self) -> list[Hand]:
        """Return all messages whose leases this process must renew."""
        with self._changed:
            return [hand for hand in self._held.values() if not hand.lost]

    @property
    def begun(self) -> int:
        """How many have begun since the process started."""
        return self._begun

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in hand but what the database refuses."""
        with self._changed:
            return all(hand.state == UNWRITTEN for hand in self._held.values())

    @property
    def count_aside(self) -> int:
        """How many outcomes wait here that the database has refused."""
        return len(self._aside)

    def unwritten(self) -> list[Hand]:
        """Return those whose outcome is known here, and not yet in the database."""
        finished = self.in_state(FINISHED, UNWRITTEN)
        return [hand for hand in finished if not hand.settled and (hand.outcome or hand.refused)]

    def wait_until_idle(self, timeout: float, hurry: threading.Event) -> bool:
        """Wait until nothing waits or runs, at most `timeout` seconds or until told to hurry; True if so."""
        end = time.monotonic() + timeout
        with self._changed:
            self._is_watched = True
            while any(hand.state in (WAITING, RUNNING) for hand in self._held.values()):
                left = end - time.monotonic()
                if left <= 0 or hurry.is_set():
                    return False
                # Not longer than this: whoever sets `hurry` does not notify us.
                self._changed.wait(min(left, 0.1))
            return True
