"""The scheduler's loop: a round, a wait until something is due, and so on until it is told to stop.

schedules knows what a round does to the rows. Any number of schedulers may run; none leads.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable

from django.db import Error, connections

from . import __version__, processes, schedules
from .conf import settings
from .engines import engine_for
from .errors import InvalidMessage, InvalidSchedule
from .maintenance import Maintenance
from .models import Process

logger = logging.getLogger("django_letsgo_worker.scheduler")

# Edits are noticed within this many seconds, and no scheduler sleeps longer.
LOOK_SECONDS = 1.0
# Planned times closer to each other than this are fired by one round.
SHORTEST_PAUSE = 0.02
# A row that is due and locked by another process is looked at again after this many seconds.
BLOCKED_PAUSE = 0.2
# A database's clock that goes back by more than this was corrected; by less, it is only being adjusted.
STEP_SECONDS = 1.0
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
        # The id up to which plans were checked; None when there is no need.
        self._mended_until: int | None = 0

    def run(self) -> None:
        """Run until told to stop; no fault of the database ends it."""
        try:
            while not self.stop.is_set():
                self.turned_at = time.monotonic()
                # Under DEBUG Django keeps each statement.
                connections[self.using].queries_log.clear()
                self.stop.wait(self._survive(self._round))
        finally:
            self._finish()

    # -- a round ---------------------------------------------------------------------------------------

    def _round(self) -> float:
        """Do all that is due, and return for how many seconds nothing will be."""
        while self._steps:
            self._steps[0]()
            self._steps.pop(0)
        looks = time.monotonic() >= self._looks_again_at
        if looks:
            self._looks_again_at = time.monotonic() + LOOK_SECONDS
        fired = schedules.fire_due(using=self.using, edits=looks)
        self._beat()
        if self._mend_plans() or self._keep_house():
            return SHORTEST_PAUSE
        return self._pause(SHORTEST_PAUSE if fired else BLOCKED_PAUSE)

    def _pause(self, when_due: float) -> float:
        until_look = self._looks_again_at - time.monotonic()
        until_next = schedules.seconds_until_next(using=self.using)
        if until_next is None:
            pause = until_look
        else:
            pause = min(until_look, until_next if until_next > 0 else when_due)
        return max(SHORTEST_PAUSE, pause)

    def _mend_plans(self) -> bool:
        """Check some of the plans, which a wrong clock may have made; return whether there are more."""
        if self._mended_until is not None:
            self._mended_until = schedules.mend_plans(self._mended_until, using=self.using)
        return self._mended_until is not None

    def _watch_clock(self) -> None:
        """Have all plans checked when the database's clock has gone back."""
        before = time.monotonic()
        clock = engine_for(self.using).clock().timestamp()
        # However long the answer took, the clock was read between the two moments.
        back = self._clock_lead - (clock - before)
        self._clock_lead = clock - time.monotonic()
        if back > STEP_SECONDS:
            logger.warning("The database's clock went back by %.0f seconds: all plans are checked.", back)
            self._mended_until = 0

    def _keep_house(self) -> bool:
        """Take a step of the housekeeping, whose faults hold up no schedule; return whether there is more."""
        try:
            return self._housekeeper.step()
        except Exception as error:
            if isinstance(error, Error) and engine_for(self.using).is_outage(error):
                # All schedules wait for the database, too.
                raise
            logger.exception("Scheduler %s could not do its housekeeping.", self.process.name)
            return False

    def _beat(self) -> None:
        if time.monotonic() < self._beats_again_at:
            return
        if processes.beat(self.process, busy=0, using=self.using):
            logger.info("Scheduler %s was asked to stop.", self.process.name)
            self.stop.set()
        self._watch_clock()
        self._beats_again_at = time.monotonic() + processes.SCHEDULER_BEATS_EVERY

    # -- beginning and end -----------------------------------------------------------------------------

    def _register(self) -> None:
        processes.register(self.process, self.using)
        self._beats_again_at = time.monotonic() + processes.SCHEDULER_BEATS_EVERY
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
            self._note_fault(error)
            connections[self.using].close()
            longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures, 10))
            return longest * random.uniform(0.5, 1.0)
        if self._failures:
            logger.info("Scheduler %s has recovered after %s faults.", self.process.name, self._failures)
            self._failures = 0
        return pause

    def _note_fault(self, error: Exception) -> None:
        if self._failures > 1:
            return
        if engine_for(self.using).is_outage(error):
            logger.warning("Scheduler %s waits for the database: %s", self.process.name, error)
        else:
            logger.exception("Scheduler %s tries again after a fault.", self.process.name)
