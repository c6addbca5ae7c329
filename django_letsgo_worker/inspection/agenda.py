"""The agenda: what the schedules plan for the next day, by the hour, so that pile-ups show.

Planning decides when a schedule runs; what ran is in runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import takewhile

from ..errors import InvalidSchedule
from ..models import ScheduledJob, SchedulesPause

A_DAY, AN_HOUR, A_QUARTER = timedelta(days=1), timedelta(hours=1), timedelta(minutes=15)
# How many schedules an agenda looks at.
MOST_JOBS = 300
# A schedule with more runs in an hour than these is told in one line.
MOST_IN_AN_HOUR = 4


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One planned time of a schedule; one that should have come already is late.

    One that a pause of all schedules holds back is paused, and never late.
    """

    job: ScheduledJob
    at: datetime
    is_late: bool
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour on the clock of the agenda's zone, and the runs of each of its quarters."""

    since: datetime
    quarters: tuple[list[PlannedRun], list[PlannedRun], list[PlannedRun], list[PlannedRun]]

    @property
    def runs(self) -> list[PlannedRun]:
        return [run for quarter in self.quarters for run in quarter]


@dataclass(frozen=True, slots=True)
class Frequent:
    """A schedule that runs too often to be listed run by run, and how often it does."""

    job: ScheduledJob
    count: int


@dataclass(frozen=True, slots=True)
class Agenda:
    """The next day, hour by hour; beside it the frequent schedules."""

    hours: list[Hour]
    frequent: list[Frequent]

    @property
    def fullest(self) -> Hour:
        """The hour with the most runs, the first of them."""
        return max(self.hours, key=lambda hour: len(hour.runs))


def jobs_of_next_day(now: datetime, *, using: str) -> list[ScheduledJob]:
    """Return the schedules that run within a day, the next ones first: one more than an agenda looks at."""
    rows = ScheduledJob.objects.using(using).filter(enabled=True, problem="", next_run_at__lt=now + A_DAY)
    return list(rows.defer("payload").order_by("next_run_at", "pk")[: MOST_JOBS + 1])


def agenda_of(
    jobs: Sequence[ScheduledJob], now: datetime, zone: tzinfo, pause: SchedulesPause | None = None
) -> Agenda:
    """Return what these schedules plan from now on for a day, by the hours on the clock of a zone.

    `pause` is the one that all schedules are in.
    """
    until = now + A_DAY
    local = now.astimezone(zone)
    begin = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    hours = [Hour(begin + n * AN_HOUR, ([], [], [], [])) for n in range(-(-(until - begin) // AN_HOUR))]
    frequent = []
    for job in jobs:
        times = _times(job, until, begin)
        if times is None:
            frequent.append(Frequent(job, _count(job, until)))
            continue
        for at in times:
            hour, rest = divmod(max(at, now) - begin, AN_HOUR)
            is_paused = pause is not None and pause.holds(at)
            run = PlannedRun(job, at, is_late=at < now and not is_paused, is_paused=is_paused)
            hours[hour].quarters[rest // A_QUARTER].append(run)
    for hour_shown in hours:
        for quarter in hour_shown.quarters:
            quarter.sort(key=lambda run: (run.at, run.job.name))
    return Agenda(hours, frequent)


def _times(job: ScheduledJob, until: datetime, begin: datetime) -> list[datetime] | None:
    """Return the planned times of a schedule, or None if one hour has too many of them."""
    in_hour = Counter[int]()
    times = []
    for at in _planned(job, until):
        hour = (at - begin) // AN_HOUR
        in_hour[hour] += 1
        if in_hour[hour] > MOST_IN_AN_HOUR:
            return None
        times.append(at)
    return times


def _planned(job: ScheduledJob, until: datetime) -> Iterator[datetime]:
    assert job.next_run_at is not None
    yield job.next_run_at
    try:
        later = job.recurrence.occurrences_after(job.next_run_at)
    except InvalidSchedule:
        # Edited into nonsense a moment ago: what was planned stands until a scheduler looks.
        return
    last = _last(job, until)
    yield from takewhile(lambda at: at <= last, later)


def _count(job: ScheduledJob, until: datetime) -> int:
    assert job.next_run_at is not None
    return 1 + job.recurrence.newest_between(job.next_run_at, _last(job, until), 0).total


def _last(job: ScheduledJob, until: datetime) -> datetime:
    """Return the last moment at which a schedule may still run."""
    last = until - timedelta.resolution
    return last if job.ends_at is None else min(last, job.ends_at)
