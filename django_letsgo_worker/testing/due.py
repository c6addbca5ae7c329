"""drain() and fire_due(): do what is due on the caller's thread and connection, as workers and schedulers do.

The worker's code runs the deliveries, and that of schedules fires; transactions.py deals with the caller's
transactions.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from django.db import connections
from django.db.models import Min

from .. import counts, failures, registry, schedules, validation
from ..conf import on_database, settings
from ..delivery import Control
from ..engines import Claimed, ClaimRequest, Lane, Settlement, engine_for
from ..errors import InvalidMessage, LetsGoError
from ..messages import settlements, work_off_operations
from ..models import Message, ScheduledJob
from ..recurrence import Exclusions, Recurrence
from ..worker import executor
from ..worker.events import Events
from ..worker.inflight import InFlight
from ..worker.options import default_name
from .transactions import Surroundings, run_callbacks

logger = logging.getLogger("django_letsgo_worker.testing")

AT_MOST = 10_000
ENDLESS = (
    "drain() has run {:,} deliveries, and one of the type {!r} is due again: does its handler enqueue or "
    "snooze itself without a delay? at_most= allows more."
)


def drain(
    queues: Iterable[str] | None = None,
    *,
    now: datetime | None = None,
    using: str | None = None,
    at_most: int = AT_MOST,
) -> int:
    """Handle all that is due, and what that enqueues; return how many deliveries were run.

    Everything happens on this thread and its connection, as a worker would do it: first the bulk
    operations that wait, then the messages, highest priority first, then the oldest. `using` is the
    alias, that of the settings by default. `queues` are names, None means all; paused ones, and types that
    are paused or unknown, are left alone. `now`, an aware datetime, stands in for the clock: messages are
    due, and pauses count, as of then. A retry waits until `now` is moved past its pause. Inside a
    transaction, such as a TestCase's, each delivery has a savepoint, and its callbacks on commit run.

    Raises LetsGoError if there is still work after `at_most` deliveries, InvalidMessage for an invalid queue
    or moment.
    """
    with on_database(using):
        return _Drain(_names(queues), now, settings().database, at_most).run()


def _names(queues: Iterable[str] | None) -> frozenset[str] | None:
    if queues is None:
        return None
    if isinstance(queues, str):
        raise InvalidMessage(f"queues is a list of names, such as [{queues!r}].")
    return frozenset(validation.check_name("queue", name) for name in queues)


class _Drain:
    """One call of drain(): a worker without threads, which has one message in flight at a time."""

    def __init__(self, queues: frozenset[str] | None, now: datetime | None, using: str, at_most: int) -> None:
        self.queues = queues
        self.now = None if now is None else validation.check_moment("now", now)
        self.using = using
        self.at_most = at_most
        self.engine = engine_for(using)
        self.process = uuid4()
        self.name = default_name()
        self.lease_seconds = settings().lease_seconds
        self.events = Events()

    def run(self) -> int:
        while work_off_operations(now=self.now, using=self.using):
            pass
        handled = 0
        while True:
            registered = len(self.engine.connection.run_on_commit)
            entry = self._next(may_run=handled < self.at_most)
            if entry is None:
                counts.add(self.events.counting.take_all(), self.using)
                self._record_failures()
                return handled
            if entry.refusal is None:
                self._deliver(entry)
                handled += 1
            self._run_callbacks(entry, registered)

    def _record_failures(self) -> None:
        if not self.events.failures.is_empty:
            clock = self.now or self.engine.clock()
            failures.record(self.events.failures.so_far(clock), using=self.using)

    def _next(self, *, may_run: bool) -> InFlight | None:
        """Claim a message; what must not run is settled at once."""
        with self.engine.transaction():
            claimed = self._claim()
            if claimed is None:
                return None
            entry = self._take_in(claimed)
            if entry.refusal is None:
                if not may_run:
                    # Raised here, it takes back the claim.
                    raise LetsGoError(ENDLESS.format(self.at_most, claimed.type))
                return entry
            written = self._settle(entry.refusal)
        self.events.settled(entry, written)
        return entry

    # -- claim and settle -----------------------------------------------------------------------------

    def _claim(self) -> Claimed | None:
        lanes = [lane for lane in self.engine.lanes() if self._serves(lane)]
        for lane in sorted(lanes, key=_sooner):
            if (claimed := self._claim_from(lane)) is not None:
                return claimed
        return None

    def _serves(self, lane: Lane) -> bool:
        return self.queues is None or lane.queue in self.queues

    def _claim_from(self, lane: Lane) -> Claimed | None:
        """Claim the first due message of a lane, however many of unknown types stand before it."""
        start_at = None
        while True:
            claim = self.engine.claim(
                ClaimRequest(
                    lane=lane,
                    types=registry.types(),
                    process=self.process,
                    lease_seconds=self.lease_seconds,
                    free=1,
                    start_at=start_at,
                    now=self.now,
                )
            )
            self.events.unknown(lane.queue, claim.unknown)
            if claim.rows:
                lost = settlements.note_lost_attempts(claim.rows, self.using)
                self.events.claimed(claim.rows)
                self.engine.write_errors(self.process, lost)
                return claim.rows[0]
            if any(registry.find(type) for type in claim.unknown):
                continue  # a receiver of the signal has registered its handler
            if claim.saw_all:
                return None
            start_at = claim.looked_until

    def _settle(self, settlement: Settlement) -> str | None:
        with self.engine.transaction():
            kept = settlements.kept_outcomes()
            written = self.engine.settle(self.process, [settlement], keep=kept, now=self.now)
        return written.get(settlement.id)

    # -- one delivery ---------------------------------------------------------------------------------

    def _take_in(self, claimed: Claimed) -> InFlight:
        payload = settlements.payload_of(claimed) if registry.is_narrowed(claimed.type) else None
        entry = InFlight(claimed, registry.choose(claimed.type, payload), Control())
        entry.refusal = settlements.refusal_of(claimed, self.name, entry.handler)
        if not entry.handler.is_async:
            # An event loop has no connection, and nobody else takes what it has in flight here.
            entry.control.extend = lambda lease, seconds: bool(
                self.engine.renew(self.process, [lease], seconds, self.now)
            )
        return entry

    def _deliver(self, entry: InFlight) -> None:
        surroundings = Surroundings()
        registered = len(self.engine.connection.run_on_commit)
        entry.started = time.monotonic()
        try:
            entry.delivery = settlements.delivery_of(entry.claimed, entry.control)
        except (ValueError, RecursionError) as error:
            entry.outcome = executor.unhanded(entry, error)
            self.events.settled(entry, self._settle(self._settlement(entry)))
            return
        executor.announce(entry)
        entry.outcome, entry.settled = executor.run(
            entry,
            # An atomic handler has a savepoint in the queue's database already.
            surroundings.wrap(_call, but_for=self.using if entry.handler.atomic else None),
            using=self.using,
            process=self.process,
            process_name=self.name,
            now=self.now,
        )
        entry.ended = time.monotonic()
        surroundings.restore(entry)
        self._run_callbacks(entry, registered)
        self.events.settled(entry, None if entry.settled else self._settle(self._settlement(entry)))

    def _settlement(self, entry: InFlight) -> Settlement:
        assert entry.outcome is not None
        entry.settlement = settlements.settlement_of(
            entry.claimed,
            entry.outcome,
            seconds=entry.seconds,
            process=self.name,
            handler=entry.handler,
        )
        return entry.settlement

    def _run_callbacks(self, entry: InFlight, registered: int) -> None:
        """Run what an atomic handler, or a receiver of a signal, left for the commit of the test."""
        error = run_callbacks(self.engine.connection, registered)
        if error is not None:
            logger.error("A callback on commit of message %s failed.", entry.claimed.id, exc_info=error)


def _sooner(lane: Lane) -> tuple[int, datetime, str]:
    return -lane.priority, lane.next_visible_at or validation.END_OF_TIME, lane.queue


def _call(entry: InFlight) -> Any:
    if entry.handler.is_async:
        result, error = async_to_sync(executor.attempt_async)(entry)
        if error is not None:
            raise error
        return result
    with _told_in_time(entry):
        return executor.call(entry)


@contextlib.contextmanager
def _told_in_time(entry: InFlight) -> Iterator[None]:
    """Set `should_stop` when the time-out of a sync handler has passed, as a worker's heartbeat does."""
    if entry.handler.timeout is None:
        yield
        return
    timer = threading.Timer(entry.handler.timeout, setattr, (entry.control, "should_stop", True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


# -- schedules ----------------------------------------------------------------------------------------------


def fire_due(
    now: datetime | None = None, *, until: datetime | None = None, using: str | None = None
) -> list[Message]:
    """Fire every planned time that has come, as a scheduler would; return the messages made.

    `now`, an aware datetime, stands in for the clock. With `until` the clock then moves on from one planned
    time to the next, so that each one up to that moment fires in its turn and on time; `now` alone makes one
    late round, in which the rules for misfires count. The messages become visible at their planned times.
    `using` is the alias, that of the settings by default.

    Raises LetsGoError if there are more than 10,000 planned times until then.
    """
    alias = using or settings().database
    if now is not None:
        now = validation.check_moment("now", now)
    if until is None:
        return _fire(now, alias)
    until = validation.check_moment("until", until)
    made = _fire(min(now or engine_for(alias).clock(), until), alias)
    for _ in range(AT_MOST):
        moment = _next_moment(alias)
        if moment is None or moment > until:
            return made
        made += _fire(moment, alias)
    raise LetsGoError(
        f"fire_due() has gone through {AT_MOST:,} planned times, and there are more until "
        f"{until.isoformat()}: choose an earlier moment, or list them with occurrences_between()."
    )


def _fire(now: datetime | None, alias: str) -> list[Message]:
    connection = connections[alias]
    registered = len(connection.run_on_commit)
    made = schedules.fire_due(now, using=alias)
    # Inside a transaction of the caller no commit will run them; those of schedules never fail.
    run_callbacks(connection, registered)
    return made


def _next_moment(alias: str) -> datetime | None:
    """Return when a scheduler has something to do next: a run, or a schedule to switch on again."""
    working = ScheduledJob.objects.using(alias).filter(problem="")
    moments = (
        working.filter(enabled=True).aggregate(moment=Min("next_run_at")),
        working.filter(enabled=False).aggregate(moment=Min("resume_at")),
    )
    return min((found["moment"] for found in moments if found["moment"] is not None), default=None)


def occurrences_between(
    expression: str, start: datetime, end: datetime, timezone: str = "UTC", except_on: str = ""
) -> list[datetime]:
    """Return the planned times of `expression` from `start` on and before `end`: aware, in UTC, in order.

    Both moments are aware datetimes; `timezone` is the IANA name of the zone whose clock it follows. rate(),
    @every and rrule() count from `start`, as if the schedule had that as its `starts_at`. Times on the days
    of `except_on`, such as "12-24..01-02, holidays", are left out. Raises InvalidSchedule for an invalid
    expression, zone or `except_on`, also for a calendar that is unknown or fails; InvalidMessage for a naive
    moment.
    """
    start, end = validation.check_moment("start", start), validation.check_moment("end", end)
    recurrence = Recurrence.parse(expression, timezone, anchor=start)
    exclusions = Exclusions.parse(except_on)
    exclusions.check_calendars()
    # Strictly after the instant before it.
    occurrences = recurrence.occurrences_after(start - datetime.resolution)
    within = takewhile(lambda occurrence: occurrence < end, occurrences)
    return [occurrence for occurrence in within if not exclusions.reason(occurrence, timezone)]
