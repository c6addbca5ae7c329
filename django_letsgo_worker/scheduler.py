"""The scheduler's loop: a round, a wait until something is due, and so on until it is told to stop.

schedules knows what a round does to the rows. Any number of schedulers may run; none leads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import Error, connections

from . import __version__, processes, schedules
from .conf import on_database, settings
from .engines import engine_for
from .errors import InvalidMessage, InvalidSchedule
from .maintenance import Maintenance
from .models import Process

logger = logging.getLogger("django_letsgo_worker.scheduler")

# Edits are noticed within this many seconds, or within POLL_SECONDS if that is longer.
LOOK_SECONDS = 1.0
# Planned times closer to each other than this are fired by one round.
SHORTEST_PAUSE = 0.02
# A row that is due and locked by another process is looked at again after this many seconds.
BLOCKED_PAUSE = 0.2
# A database's clock that goes back by more than this was corrected; by less, it is only being adjusted.
STEP_SECONDS = 1.0
# A scheduler that did not look for longer than it had meant to was suspended, or had no database.
LONGEST_BREAK = timedelta(seconds=15)
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 10.0


class Scheduler:
    """One scheduler: run() fires what is due until `stop` is set.

    It works on any thread, on that thread's connection, which it closes at the end.
    """

    def __init__(
        self, name: str | None = None, using: str | None = None, stop: threading.Event | None = None
    ) -> None:
        self.using = using or settings().database
        self.stop = stop or threading.Event()
        self.look_seconds = max(LOOK_SECONDS, settings().poll_seconds or LOOK_SECONDS)
        host = socket.gethostname()
        self.process = Process(
            kind=Process.Kind.SCHEDULER,
            name=name or f"{host}:{os.getpid()}",
            host=host,
            pid=os.getpid(),
            queues=[],
            version=__version__,
        )
        self._housekeeper = Maintenance(self.using)
        self._steps: list[Callable[[], None]] = [self._register, self._sync_declared]
        self._failures = 0
        # The time of the loop's last turn, for the monitor.
        self.turned_at = time.monotonic()
        self._looks_again_at = self._beats_again_at = float("-inf")
        # By how much the database's clock was ahead of this machine's steady one, at the least.
        self._clock_lead = float("-inf")
        # The database's clock at the last look, and for how long no look was to be expected after it.
        self._clock: datetime | None = None
        self._pause = timedelta(0)
        # The id up to which plans were checked; None when there is no need.
        self._mended_until: int | None = 0

    def run(self) -> None:
        """Run until told to stop; no fault of the database ends it."""
        with on_database(self.using):
            self._run()

    def _run(self) -> None:
        # What is open was opened before.
        connections[self.using].close()
        engine_for(self.using).notice_silence()
        try:
            while not self.stop.is_set():
                self.turned_at = time.monotonic()
                # Under DEBUG Django keeps each statement.
                connections[self.using].queries_log.clear()
                pause = self._survive(self._round)
                # However long a round takes, that is no break: it was at work.
                self._pause = timedelta(seconds=pause + time.monotonic() - self.turned_at)
                self._rest(pause)
        finally:
            self._finish()

    @contextlib.contextmanager
    def on_a_thread(self) -> Iterator[None]:
        """Run on a thread of its own while the block runs."""
        thread = threading.Thread(target=self.run, name="letsgo-scheduler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join(timeout=10.0)

    def _rest(self, seconds: float) -> None:
        """Wait; where the database can tell that a schedule was saved, that ends the wait."""
        if self.look_seconds > LOOK_SECONDS:
            engine_for(self.using).rest(self.stop, seconds)
        else:
            self.stop.wait(seconds)

    # -- a round ---------------------------------------------------------------------------------------

    def _round(self) -> float:
        """Do all that is due, and return for how many seconds nothing will be."""
        while self._steps:
            self._steps[0]()
            self._steps.pop(0)
        asked_at = time.monotonic()
        look = self._look()
        self._note_clock(look.clock, asked_at)
        fired = bool(look.is_due or look.has_edits) and self._fire(look)
        if self._mend_plans() or self._keep_house():
            return SHORTEST_PAUSE
        if look.is_due:
            return SHORTEST_PAUSE if fired else BLOCKED_PAUSE
        until_next = min(self._beats_again_at - time.monotonic(), self._housekeeper.due_in)
        return max(SHORTEST_PAUSE, min(self.look_seconds, until_next, look.seconds_until_next))

    def _look(self) -> schedules.Look:
        """Look at the schedules, and record a heartbeat with the same statement when it is time for one."""
        if time.monotonic() < self._beats_again_at:
            return schedules.look(using=self.using)
        asked = schedules.looked_for(using=self.using)
        is_asked_to_stop, answers = processes.beat_and_ask(self.process, asked, using=self.using)
        self._beats_again_at = time.monotonic() + processes.scheduler_beats_every()
        if is_asked_to_stop:
            logger.info("Scheduler %s was asked to stop.", self.process.name)
            self.stop.set()
        return schedules.Look.of(answers, using=self.using)

    def _fire(self, look: schedules.Look) -> bool:
        """Fire what is due, and attend to edits, once a second; return whether messages were made."""
        edits = look.has_edits and time.monotonic() >= self._looks_again_at
        if edits:
            self._looks_again_at = time.monotonic() + LOOK_SECONDS
        return bool(schedules.fire_due(using=self.using, edits=edits, awake_since=self.process.awake_since))

    def _mend_plans(self) -> bool:
        """Check some of the plans, which a wrong clock may have made; return whether there are more."""
        if self._mended_until is not None:
            self._mended_until = schedules.mend_plans(self._mended_until, using=self.using)
        return self._mended_until is not None

    def _note_clock(self, clock: datetime, asked_at: float) -> None:
        """Note since when there was no break, and have all plans checked when the clock has gone back."""
        # However long the answer took, the clock was read between the two moments.
        back = self._clock_lead - (clock.timestamp() - asked_at)
        self._clock_lead = clock.timestamp() - time.monotonic()
        if back > STEP_SECONDS:
            logger.warning("The database's clock went back by %.0f seconds: all plans are checked.", back)
            self._mended_until = 0
        if self._clock is None or clock > self._clock + self._pause + LONGEST_BREAK or back > STEP_SECONDS:
            self.process.awake_since = clock
        self._clock = clock

    def _keep_house(self) -> bool:
        """Take a step of the housekeeping, whose faults hold up no schedule; return whether there is more."""
        try:
            return self._housekeeper.step(self._clock)
        except Exception as error:
            if self._is_outage(error):
                # All schedules wait for the database, too.
                raise
            logger.exception("Scheduler %s could not do its housekeeping.", self.process.name)
            return False

    # -- beginning and end -----------------------------------------------------------------------------

    def _register(self) -> None:
        processes.register(self.process, self.using)
        self._beats_again_at = time.monotonic() + processes.scheduler_beats_every()
        logger.info("Scheduler %s has started.", self.process.name)

    def _sync_declared(self) -> None:
        try:
            schedules.sync_declared(schedules.declared_in_code(), using=self.using)
        except (InvalidSchedule, InvalidMessage) as error:
            # One bad declaration must not keep all the other schedules from running.
            logger.error("The schedules declared in code were not brought in step: %s", error)

    def _finish(self) -> None:
        try:
            processes.finish(self.process, self.using)
        except Exception as error:
            logger.warning("Scheduler %s could not record that it stopped: %s", self.process.name, error)
        connections[self.using].close()
        logger.info("Scheduler %s has stopped.", self.process.name)

    # -- faults ----------------------------------------------------------------------------------------

    def _survive(self, step: Callable[[], float]) -> float:
        """Return what the step returns, or how long to wait after a fault; a row of faults is logged once."""
        try:
            pause = step()
        except Exception as error:
            self._failures += 1
            if self._is_outage(error):
                # It is not at work: what comes meanwhile is missed.
                self._clock = None
            self._note_fault(error)
            connections[self.using].close()
            longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures, 10))
            return longest * random.uniform(0.5, 1.0)
        if self._failures:
            logger.info("Scheduler %s has recovered after %s faults.", self.process.name, self._failures)
            self._failures = 0
        return pause

    def _is_outage(self, error: Exception) -> bool:
        """Whether the database is away; an error of our own says nothing about it."""
        return isinstance(error, Error) and engine_for(self.using).is_outage(error)

    def _note_fault(self, error: Exception) -> None:
        if self._failures > 1:
            return
        if self._is_outage(error):
            logger.warning("Scheduler %s waits for the database: %s", self.process.name, error)
        else:
            logger.exception("Scheduler %s tries again after a fault.", self.process.name)
