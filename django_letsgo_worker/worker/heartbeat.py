"""The heartbeat: renews the leases of all that is in hand, on a thread and a connection of its own.

It also says that the process lives, hears that it should stop, and tells handlers that their time is up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.db import Error, connections

from .. import processes, registry
from ..engines import Engine, Refused, adopt_own_connection, in_short
from ..models import Process
from .announce import Announcer
from .hands import RUNNING, Hand, Hands
from .isolation import force_close
from .options import Options
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# After a failed heartbeat the next is tried this soon, in seconds.
TRY_AGAIN = 0.5


class Heartbeat(threading.Thread):
    """Beats every third of the lease. `renewing` is set while leases can be renewed."""

    def __init__(
        self,
        options: Options,
        process: Process,
        hands: Hands,
        wakeup: Wakeup,
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(name="letsgo-heartbeat", daemon=True)
        self.options = options
        self.process = process
        self.hands = hands
        self.wakeup = wakeup
        self.announcer = Announcer()
        self.on_stop = on_stop
        self.renewing = threading.Event()
        self.renewing.set()
        self._ending = threading.Event()
        self._kick = threading.Event()
        self._beat_at = time.monotonic()
        # Whether all went well at this beat, and whether something went wrong at the last one.
        self._is_well = True
        self._failing = False
        self._due_now = False
        self._looked_at = time.monotonic()
        self._is_revoked = False

    def end(self) -> None:
        """Say that the process has ended, and end."""
        self._ending.set()
        self._kick.set()

    def say(self, state: str) -> None:
        """Write the process's new state at once."""
        self.process.state = state
        self._due_now = True
        self._kick.set()

    def kick(self) -> None:
        """Look again when the next time-out is: a handler with one has begun."""
        self._kick.set()

    def look_for_revoked(self) -> None:
        """See at once which messages are this process's no longer."""
        self._is_revoked = True
        self._kick.set()

    def run(self) -> None:
        engine = adopt_own_connection(self.options.using)
        next_beat = time.monotonic() + self.options.lease_seconds / 3
        try:
            while not self._ending.is_set():
                next_step = min(next_beat, self._next_timeout(), self._next_look())
                self._kick.wait(max(0.0, next_step - time.monotonic()))
                self._kick.clear()
                self._tell_timed_out()
                if self._is_revoked or time.monotonic() >= self._next_look():
                    self._look(engine)
                if (self._due_now or time.monotonic() >= next_beat) and not self._ending.is_set():
                    self._due_now = False
                    worked = self._beat(engine)
                    next_beat = time.monotonic() + (self.options.lease_seconds / 3 if worked else TRY_AGAIN)
            self._say_goodbye()
        finally:
            connections.close_all()

    def _say_goodbye(self) -> None:
        try:
            processes.finish(self.process, self.options.using)
        except Error as error:
            logger.warning("The end of this process could not be written: %s", in_short(error))

    # -- leases -------------------------------------------------------------------------------------

    def _beat(self, engine: Engine) -> bool:
        """Renew the leases, and say that this process lives; return whether both were done."""
        self._is_well = True
        try:
            self._renew(engine)
        except Error as error:
            self._failed(error)
            return False
        self._beat_at = time.monotonic()
        self.renewing.set()
        try:
            processes.tell_types(self.process, registry.types(), self.options.using)
            busy = len(self.hands.in_state(RUNNING))
            if processes.beat(self.process, busy=busy, using=self.options.using):
                self.on_stop()
        except Error as error:
            # The leases hold all the same.
            self._say_once("The row of this process cannot be written, trying again: %s", error)
            return False
        self._failing = not self._is_well
        return True

    def _renew(self, engine: Engine) -> None:
        hands = self.hands.leases()
        if not hands:
            return
        renewed = self._renew_or_singly(engine, [hand.lease for hand in hands])
        # Not renewed: its own handler's transaction has it locked, it was settled meanwhile, or it is lost.
        self._let_go_of_lost(engine, [hand for hand in hands if hand.claimed.id not in renewed])

    def _let_go_of_lost(self, engine: Engine, hands: Sequence[Hand]) -> None:
        # Asks nothing where there is nothing to ask for.
        held = engine.still_held(self.process.pk, [hand.lease for hand in hands])
        for hand in hands:
            if hand.claimed.id not in held:
                self._lose(hand)

    def _lose(self, hand: Hand) -> None:
        """Tell a handler that its lease is gone; an async one is cancelled."""
        if self.hands.lose(hand):
            self.announcer.lost(hand)
            hand.cancel()

    def _next_look(self) -> float:
        """When to see what was cancelled or deleted, where no notification tells."""
        if self.wakeup.listening:
            return float("inf")
        return self._looked_at + (self.options.poll_seconds or 1.0)

    def _look(self, engine: Engine) -> None:
        self._is_revoked, self._looked_at = False, time.monotonic()
        try:
            self._let_go_of_lost(engine, self.hands.leases())
        except Error:
            # The next heartbeat says so.
            force_close(connections[self.options.using])

    def _renew_or_singly(self, engine: Engine, leases: list[tuple[int, int]]) -> set[int]:
        """Renew all leases in one statement; where the database refuses that, each that it lets us renew."""
        renew = partial(engine.renew, self.process.pk, seconds=self.options.lease_seconds)
        try:
            return engine.insist(lambda: renew(leases))
        except Refused as refused:
            self._say_once("Leases are renewed one by one, since the database refuses some: %s", refused)
        renewed: set[int] = set()
        for lease in leases:
            with contextlib.suppress(Refused):
                renewed |= engine.insist(partial(renew, [lease]))
        return renewed

    def _say_once(self, sentence: str, error: Exception) -> None:
        """Say what is wrong, unless it was so at the last beat."""
        self._is_well = False
        if not self._failing:
            self._failing = True
            logger.warning(sentence, in_short(error))

    def _failed(self, error: Error) -> None:
        force_close(connections[self.options.using])
        self._say_once("Leases cannot be renewed, trying again: %s", error)
        if time.monotonic() - self._beat_at >= self.options.lease_seconds:
            # All have lapsed: others may hold them now.
            self.renewing.clear()
            for hand in self.hands.leases():
                self._lose(hand)

    # -- time-outs ----------------------------------------------------------------------------------

    def _timed(self) -> list[tuple[float, Hand]]:
        running = self.hands.in_state(RUNNING)
        return [
            (hand.started + hand.handler.timeout, hand)
            for hand in running
            if hand.handler.timeout is not None and not hand.timed_out
        ]

    def _next_timeout(self) -> float:
        return min((at for at, _ in self._timed()), default=float("inf"))

    def _tell_timed_out(self) -> None:
        """Tell sync handlers that their time is up; async ones are cancelled on their loop."""
        now = time.monotonic()
        for at, hand in self._timed():
            if at <= now:
                hand.timed_out = True
                hand.signals.should_stop = True
                if not hand.handler.is_async and hand.delivery is not None:
                    hand.delivery.log.warning(
                        "Message %s (%s) runs longer than its time-out of %g s.",
                        hand.claimed.id,
                        hand.claimed.type,
                        hand.handler.timeout,
                    )
