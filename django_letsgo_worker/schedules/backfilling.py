"""Backfill: messages for past planned times that have no occurrence, once however often it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from ..engines import engine_for
from ..errors import InvalidSchedule, ScheduleNotFound
from ..models import ScheduledJob
from ..planning import JUST_BEFORE, Planned, Watch, exclusion
from ..validation import check_delay, check_moment
from . import occurrences
from .attending import GROUP
from .changes import Change, Round
from .locking import alias_of, lock
from .operations import find
from .overlap import Earlier

logger = logging.getLogger("django_letsgo_worker.schedules")

MOST = 100_000


def backfill(
    name: str,
    start: datetime,
    end: datetime,
    over: timedelta | float | str | None = None,
    *,
    by: str = "",
    using: str | None = None,
    now: datetime | None = None,
) -> int:
    """Give each planned time of the schedule `name` from `start` to `end` that has no occurrence a message.

    Both are aware datetimes, inclusive; `end` is not in the future. It goes by the rule that the schedule has
    now, on or off; times outside its bounds, and days on which it does not run, are left out. The messages
    are made in order, in transactions of 500; they start at once, or spread over a time that `over` gives:
    a timedelta, seconds, or text such as 2h. Overlap, misfire and max_runs do not count. A planned time that
    ran, or was skipped, stays as it is: asking again, also after a crash or from two processes, adds nothing.
    Their occurrences are marked as backfilled, and the messages have the header `backfill`.

    `by` says in the log who asks. `using` is a database alias, the setting DATABASE if None; `now` an aware
    datetime in place of its clock. Returns how many messages were made. Raises ScheduleNotFound,
    InvalidSchedule for a range that is no past one, or has more than 100,000 planned times, InvalidMessage
    for a naive moment or a schedule that cannot become a message.
    """
    alias = alias_of(using)
    round = Round(alias, Watch(now or engine_for(alias).clock()), now)
    job = find(name, using=alias)
    times = planned_between(job, *_range(start, end, round.clock))
    length = None if over is None else timedelta(seconds=check_delay("over", over))
    made = 0
    for first in range(0, len(times), GROUP):
        some = [
            (moment, None if length is None else round.clock + length * place / len(times))
            for place, moment in enumerate(times[first : first + GROUP], first)
        ]
        made += _fill(job, some, round)
    line = "Schedule %r was backfilled%s: %s messages for %s planned times."
    logger.info(line, name, f" by {by}" if by else "", made, len(times))
    return made


def _range(start: datetime, end: datetime, clock: datetime) -> tuple[datetime, datetime]:
    start, end = check_moment("start", start), check_moment("end", end)
    if end > clock:
        raise InvalidSchedule(
            f"A backfill ends in the past, not at {end.isoformat()}: what comes runs by itself.",
            field="end",
        )
    if start > end:
        raise InvalidSchedule(
            f"A backfill from {start.isoformat()} cannot end at {end.isoformat()}.", field="start"
        )
    return start, end


def planned_between(job: ScheduledJob, start: datetime, end: datetime) -> list[datetime]:
    """Return the planned times of a schedule in [start, end], within its bounds, but for excluded days.

    Raises InvalidSchedule if there are more than 100,000, or if the row cannot be read.
    """
    recurrence = job.recurrence
    after = max(start, job.starts_at or start) - JUST_BEFORE
    if recurrence.needs_anchor and job.starts_at is None and job.anchor is not None:
        # The first run is one interval after the schedule was made.
        after = max(after, job.anchor)
    until = min(end, job.ends_at or end)
    count = recurrence.newest_between(after, until, 0).total if until > after else 0
    if count > MOST:
        raise InvalidSchedule(
            f"There are {count:,} planned times in that range, and {MOST:,} at most are backfilled at once: "
            "give a shorter one.",
            field="start",
        )
    times = islice(recurrence.occurrences_after(after), count)
    return [moment for moment in times if not exclusion(job, moment)]


def _fill(job: ScheduledJob, times: Sequence[tuple[datetime, datetime | None]], round: Round) -> int:
    """Make up for some of the planned times, in one transaction."""
    engine = engine_for(round.using)
    with engine.transaction():
        locked = lock(round.using, pk=job.pk)
        if locked is None:
            raise ScheduleNotFound(job.name)
        if (locked.schedule, locked.timezone, locked.anchor) != (job.schedule, job.timezone, job.anchor):
            raise InvalidSchedule(f"Schedule {job.name!r} was edited while it was backfilled: ask again.")
        known = set(engine.known_occurrences([(job.pk, moment) for moment, _ in times]))
        change = Change(locked, locked.version, locked.next_run_at)
        records = [
            occurrences.Record(
                change,
                Planned(moment),
                Earlier(),
                row=occurrences.row_of(locked, moment, starts_at or round.clock, starts_at, backfill=True),
                is_backfill=True,
            )
            for moment, starts_at in times
            if (job.pk, moment) not in known
        ]
        return len(occurrences.write(records, round))
