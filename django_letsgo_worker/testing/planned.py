"""Schedules in a test: fire what is due, step from one planned time to the next, list a year of them.

What a planned time becomes is decided in schedules and planning.
"""

from __future__ import annotations

from datetime import datetime
from itertools import takewhile

from django.db import connections
from django.db.models import Min

from .. import schedules, validation
from ..conf import settings
from ..engines import engine_for
from ..errors import LetsGoError
from ..models import Message, ScheduledJob
from ..recurrence import Recurrence
from .transactions import run_callbacks

AT_MOST = 10_000


def fire_due(
    now: datetime | None = None, *, until: datetime | None = None, using: str | None = None
) -> list[Message]:
    """Fire every planned time that has come, as a scheduler would; return the messages made.

    `now`, an aware datetime, stands in for the clock. With `until` the clock then moves on from one planned
    time to the next, so that each one up to that moment fires in its turn and on time; `now` alone makes one
    late round, in which the rules for misfires count. The messages become visible at their planned times.

    Raises LetsGoError when there are more than 10,000 planned times until then.
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
    expression: str, start: datetime, end: datetime, timezone: str = "UTC"
) -> list[datetime]:
    """Return the planned times of a schedule from `start` on and before `end`: aware, in UTC, in order.

    rate() and @every count from `start`, as if the schedule had that as its `starts_at`. Raises
    InvalidSchedule for an expression or a zone that is none, InvalidMessage for a naive moment.
    """
    start, end = validation.check_moment("start", start), validation.check_moment("end", end)
    recurrence = Recurrence.parse(expression, timezone, anchor=start)
    # Strictly after the instant before it.
    occurrences = recurrence.occurrences_after(start - datetime.resolution)
    return list(takewhile(lambda occurrence: occurrence < end, occurrences))
