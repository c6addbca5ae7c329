"""Seats: the threads that run handlers; the event loop that runs the async ones is in looping.py.

What a seat takes and gives back is a Hand; when messages are claimed is the exchange's.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any
from uuid import UUID

from django.db import connections

from ..messages import working
from ..outcomes import Outcome
from . import running
from .hands import Hand, Hands
from .isolation import ConnectionKeeper
from .looping import EventLoop
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# A seat is woken for so many seconds of waiting work; one whose handler runs longer counts as taken.
WORTH_A_THREAD = 0.002


class Seats:
    """As many handler threads as the process has seats. The wake-up rings whenever one has finished."""

    def __init__(self, hands: Hands, wakeup: Wakeup, *, using: str, process: UUID, name: str) -> None:
        self.hands = hands
        self.wakeup = wakeup
        self.using = using
        self.process = process
        self.name = name
        self.loop = EventLoop()
        # Called when a handler with a time-out begins.
        self.on_timed: Callable[[], None] = lambda: None
        # Claimed and not begun, in order; any seat takes the next.
        self._waiting: deque[Hand] = deque()
        self._called = threading.Condition()
        self._resting = 0
        self._stopping = False
        # Daemons: at the end of a drain that was cut short, nothing waits for a handler that never ends.
        self._threads = [
            threading.Thread(target=self._sit, name=f"letsgo-seat-{n}", daemon=True)
            for n in range(hands.seats)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, hands: Iterable[Hand]) -> None:
        """Hand over messages; they begin in order as seats become free."""
        self._waiting.extend(hands)
        self.rouse()

    def rouse(self) -> bool:
        """Wake as many seats as the waiting messages need; return whether some wait while seats rest.

        Work that is done in microseconds is left to the few that are awake: a thread that wakes up only
        to find the next one working holds up both.
        """
        waiting = len(self._waiting)
        if not waiting or not self._resting:
            return False
        enough = ceil(waiting * self.hands.seconds_each / WORTH_A_THREAD)
        with self._called:
            awake = self.hands.seats - self._resting - self.hands.count_stuck(WORTH_A_THREAD)
            self._called.notify(max(0, min(waiting, max(1, enough)) - awake))
        return True

    def stop(self, timeout: float) -> None:
        """Let the threads end once they are done; call it when nothing is in hand."""
        with self._called:
            self._stopping = True
            self._called.notify_all()
        for thread in self._threads:
            thread.join(timeout)
        self.loop.stop()

    def _next(self) -> Hand | None:
        """Return the next message once there is one; None at the end."""
        while True:
            try:
                return self._waiting.popleft()
            except IndexError:
                pass
            with self._called:
                if self._stopping:
                    return None
                if not self._waiting:
                    self._resting += 1
                    self._called.wait()
                    self._resting -= 1

    def _sit(self) -> None:
        keeper = ConnectionKeeper()
        try:
            while (hand := self._next()) is not None:
                if self.hands.begin(hand):
                    self._serve(hand, keeper)
        finally:
            connections.close_all()

    def _serve(self, hand: Hand, keeper: ConnectionKeeper) -> None:
        """One delivery, from its first line to its outcome; nothing that it does ends the thread."""
        try:
            keeper.before()
            if hand.handler.timeout is not None:
                self.on_timed()
            hand.delivery = working.delivery_of(hand.claimed, hand.signals)
            if running.announce(hand):
                # A receiver may leave anything behind, too.
                keeper.after()
            outcome, settled = running.run(
                hand, self._call, using=self.using, process=self.process, process_name=self.name
            )
        except BaseException as error:
            logger.exception("Message %s could not be handed to its handler.", hand.claimed.id)
            outcome, settled = _unhanded(hand, error), False
        try:
            keeper.after()
        except Exception:
            logger.exception("The connections of a seat could not be tidied up.")
            connections.close_all()
        self.hands.finish(hand, outcome, settled=settled)
        self.wakeup.ring()

    def _call(self, hand: Hand) -> Any:
        assert hand.delivery is not None
        if hand.handler.is_async:
            # Its ORM calls have a connection of their own; this thread's would be one too many.
            connections.close_all()
            return self.loop.run(hand.handler.function, hand.delivery, hand.handler.timeout)
        return hand.handler.function(hand.delivery)


def _unhanded(hand: Hand, error: BaseException) -> Outcome:
    """What becomes of a message whose payload cannot be read, or whose seat broke."""
    if hand.delivery is not None:
        return running.outcome_of(hand, error, None)
    if hand.claimed.attempts >= hand.claimed.max_attempts:
        return Outcome(name="dead", exception=error, recorded=True)
    return Outcome(name="retry", delay_seconds=60.0, exception=error, recorded=True)
