"""The heartbeat: renews the leases of all that is in flight, on its own thread and connection.

It also records that the process lives, learns that it should stop, and tells handlers that their time is up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import Error, connections

from .. import processes, registry
from ..conf import on_database
from ..engines import Engine, Refused, adopt_own_connection, in_short
from ..models import Process
from .events import Events
from .inflight import RUNNING, InFlight, InFlightTable
from .isolation import force_close
from .options import Options
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# After a failed heartbeat the next is tried this soon, in seconds.
TRY_AGAIN = 0.5


def _progress_of(running: Sequence[InFlight]) -> dict[str, Any]:
    """Return what handlers said of how far they are, as the column has it."""
    said = ((entry.lease, entry.control.progress) for entry in running)
    return {str(id): [receipt, *progress] for (id, receipt), progress in said if progress is not None}


class Heartbeat(threading.Thread):
    """Beats every third of the lease. `renewing` is set while leases can be renewed."""

    def __init__(
        self,
        options: Options,
        process: Process,
        inflight: InFlightTable,
        wakeup: Wakeup,
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(name="letsgo-heartbeat", daemon=True)
        self.options = options
        self.process = process
        self.inflight = inflight
        self.wakeup = wakeup
        self.events = Events()
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
        """Record that the process has ended, and end the thread."""
        self._ending.set()
        self._kick.set()

    def say(self, state: str) -> None:
        """Write the process's new state at once."""
        self.process.state = state
        self._due_now = True
        self._kick.set()

    def wake(self) -> None:
        """Work out again when the next time-out is: a handler with one has begun."""
        self._kick.set()

    def look_for_revoked(self) -> None:
        """Find out at once which messages no longer belong to this process."""
        self._is_revoked = True
        self._kick.set()

    def run(self) -> None:
        with on_database(self.options.using):
            self._run()

    def _run(self) -> None:
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
        """Renew the leases, and record that this process lives; return whether both were done."""
        self._is_well = True
        try:
            self._renew(engine)
        except Error as error:
            self._failed(error)
            return False
        self._beat_at = time.monotonic()
        if not self.renewing.is_set():
            self.renewing.set()
            # The loop rests, since it might claim nothing.
            self.wakeup.wake()
        try:
            processes.tell_types(self.process, registry.types(), self.options.using)
            running = self.inflight.in_state(RUNNING)
            self.process.overrunning = [entry.claimed.id for entry in running if entry.lost]
            self.process.progress = _progress_of(running)
            if processes.beat(self.process, busy=len(running), using=self.options.using):
                self.on_stop()
        except Error as error:
            # The leases hold all the same.
            self._say_once("The row of this process cannot be written, trying again: %s", error)
            return False
        self._failing = not self._is_well
        return True

    def _renew(self, engine: Engine) -> None:
        entries = self.inflight.leases()
        if not entries:
            return
        renewed = self._renew_or_singly(engine, [entry.lease for entry in entries])
        # Not renewed: its own handler's transaction has it locked, it was settled meanwhile, or it is lost.
        self._let_go_of_lost(engine, [entry for entry in entries if entry.claimed.id not in renewed])

    def _let_go_of_lost(self, engine: Engine, entries: Sequence[InFlight]) -> None:
        # Without leases this runs no statement.
        held = engine.still_held(self.process.pk, [entry.lease for entry in entries])
        for entry in entries:
            if entry.claimed.id not in held:
                self._lose(entry)

    def _lose(self, entry: InFlight) -> None:
        """Tell a handler that its lease is gone; an async one is cancelled."""
        if self.inflight.lose(entry):
            self.events.lost(entry)
            entry.cancel()
            # Somebody may wait for its code to end.
            self._due_now = True

    def _next_look(self) -> float:
        """Return when to look for cancelled and deleted messages, where no notification reports them."""
        if self.wakeup.listening:
            return float("inf")
        return self._looked_at + (self.options.poll_seconds or 1.0)

    def _look(self, engine: Engine) -> None:
        self._is_revoked, self._looked_at = False, time.monotonic()
        try:
            self._let_go_of_lost(engine, self.inflight.leases())
        except Error:
            # The next heartbeat says so.
            force_close(connections[self.options.using])

    def _renew_or_singly(self, engine: Engine, leases: list[tuple[int, int]]) -> set[int]:
        """Renew all leases in one statement; if the database refuses that, one by one, where it allows it."""
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
        """Log what is wrong, unless the last beat failed too."""
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
            for entry in self.inflight.leases():
                self._lose(entry)

    # -- time-outs ----------------------------------------------------------------------------------

    def _timed(self) -> list[tuple[float, InFlight]]:
        running = self.inflight.in_state(RUNNING)
        return [
            (entry.started + entry.handler.timeout, entry)
            for entry in running
            if entry.handler.timeout is not None and not entry.timed_out
        ]

    def _next_timeout(self) -> float:
        return min((at for at, _ in self._timed()), default=float("inf"))

    def _tell_timed_out(self) -> None:
        """Tell sync handlers that their time is up; async ones are cancelled on their loop."""
        now = time.monotonic()
        for at, entry in self._timed():
            if at <= now:
                entry.timed_out = True
                entry.control.should_stop = True
                if not entry.handler.is_async and entry.delivery is not None:
                    entry.delivery.log.warning(
                        "Message %s (%s) runs longer than its time-out of %g s.",
                        entry.claimed.id,
                        entry.claimed.type,
                        entry.handler.timeout,
                    )
