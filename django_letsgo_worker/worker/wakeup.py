"""Wake-ups: a finished delivery, a notification or another process's write ends a worker's rest early.

Polling is the fallback: a lost wake-up delays a message by one poll at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from django.db import Error, connections

from ..engines import Engine, adopt_own_connection

logger = logging.getLogger("django_letsgo_worker.worker")

# Seconds between looks whether another process wrote to a SQLite file; a look takes some microseconds.
GLANCE_SECONDS = 0.005
# How soon a process listens once it is needed, or tries again, in seconds.
PAUSE_SECONDS = 1.0


class Wakeup:
    """The wake-up of one worker process. Any thread may set it off; only the loop waits for it."""

    def __init__(self) -> None:
        self.listening = False
        # By which name this process alone is told; None where it is not, or does not listen.
        self.listener: str | None = None
        # Whether the queues of this process lack listeners without it.
        self.is_needed = True
        self._set_off = threading.Event()
        self._lock = threading.Lock()
        self._named: set[tuple[str, int]] = set()
        self._version: int | None = None
        self._told_of_operation = False

    @property
    def is_told(self) -> bool:
        """Whether this process hears of new messages, or enough others do."""
        return self.listening or not self.is_needed

    def wake(self) -> None:
        """End the rest."""
        if not self._set_off.is_set():
            self._set_off.set()

    def name(self, lane: tuple[str, int]) -> None:
        """End the rest, with the lane that has work."""
        with self._lock:
            self._named.add(lane)
        self._set_off.set()

    def tell_of_operation(self) -> None:
        """End the rest, since a bulk operation waits."""
        with self._lock:
            self._told_of_operation = True
        self._set_off.set()

    def take_operation(self) -> bool:
        """Return whether a bulk operation was told of since the last call."""
        with self._lock:
            told, self._told_of_operation = self._told_of_operation, False
        return told

    def take(self) -> set[tuple[str, int]]:
        """Return the lanes named since the last call; a wake-up from here on counts for the next rest."""
        self._set_off.clear()
        with self._lock:
            named, self._named = self._named, set()
        return named

    def note_version(self, engine: Engine) -> None:
        """Remember what the file looked like before a look at its lanes."""
        self._version = engine.data_version()

    def wait(self, seconds: float, engine: Engine | None = None) -> str:
        """Rest for at most `seconds`; return what ended it: "woken", "written" or "time"."""
        if engine is None or self._version is None:
            return "woken" if self._set_off.wait(seconds) else "time"
        end = time.monotonic() + seconds
        while not self._set_off.wait(min(GLANCE_SECONDS, max(0.0, end - time.monotonic()))):
            if engine.data_version() != self._version:
                return "written"
            if time.monotonic() >= end:
                return "time"
        return "woken"


class Listener(threading.Thread):
    """Listens for notifications on its own connection, where the engine has them."""

    def __init__(self, using: str, wakeup: Wakeup, process: UUID, on_revoked: Callable[[], None]) -> None:
        super().__init__(name="letsgo-listener", daemon=True)
        self.using = using
        self.wakeup = wakeup
        self.process = process
        # Called when messages that this process holds were cancelled or deleted.
        self.on_revoked = on_revoked
        self.stopping = threading.Event()
        self.engine: Engine | None = None

    def run(self) -> None:
        self.engine = adopt_own_connection(self.using)
        try:
            while not self.stopping.is_set():
                if self.wakeup.is_needed:
                    self._listen(self.engine)
                self.stopping.wait(PAUSE_SECONDS)
        finally:
            connections.close_all()

    def _listen(self, engine: Engine) -> None:
        try:
            for named in engine.listen(self._is_over, self._heard):
                if named is None:
                    self.wakeup.tell_of_operation()
                elif not isinstance(named, UUID):
                    self.wakeup.name(named)
                elif named == self.process:
                    self.on_revoked()
        except Error as error:
            # stop() aborts the connection on purpose.
            if self.wakeup.listening and not self.stopping.is_set():
                logger.info("Notifications are interrupted, polling goes on: %s", str(error).strip())
        finally:
            self.wakeup.listening, self.wakeup.listener = False, None
            engine.connection.close()

    def _is_over(self) -> bool:
        return self.stopping.is_set() or not self.wakeup.is_needed

    def _heard(self, listener: str | None) -> None:
        self.wakeup.listening, self.wakeup.listener = True, listener
        # Notifications that were sent before are lost: the loop looks for what they were about.
        self.wakeup.tell_of_operation()

    def stop(self) -> None:
        """End it, and its connection, without waiting for the next notification."""
        self.stopping.set()
        if self.engine is not None:
            self.engine.abort_connection()
        if self.is_alive():
            self.join(timeout=2.0)
