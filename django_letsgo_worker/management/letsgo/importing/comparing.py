"""Comparison of a foreign schedule with ours: the next 50 runs, and those around the next clock changes.

A Rule tells what a foreign scheduler does; what is done about a difference is not decided here.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import islice, takewhile
from math import inf
from operator import itemgetter
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from .... import planning
from ....errors import InvalidMessage, InvalidSchedule
from ....models import ScheduledJob
from ....recurrence import Recurrence

RUNS = 50
# Two clock changes are spring's and autumn's. So many runs around one reach beyond it even minute by minute.
CHANGES, LONGEST_LOOK, RUNS_AT_A_CHANGE = 2, timedelta(days=400), 300
BEFORE, AFTER = timedelta(hours=3), timedelta(hours=27)
AN_HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)


class Rule(Protocol):
    """A foreign schedule, as its own scheduler runs it when it is punctual and never stops."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Iterate over its runs strictly after `moment`."""


@dataclass(frozen=True, slots=True)
class Every:
    """Elapsed time on a grid: what both packages make of intervals."""

    first: datetime
    length: timedelta

    def after(self, moment: datetime) -> Iterator[datetime]:
        passed = (moment - self.first) // self.length + 1
        run = self.first + max(0, passed) * self.length
        while True:
            yield run
            run += self.length


@dataclass(frozen=True, slots=True)
class At:
    """One moment."""

    moment: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        return iter([self.moment] if self.moment > moment else [])


@dataclass(frozen=True, slots=True)
class Compared:
    """A schedule of ours, its next run, and the first difference: when and which; none is an empty text."""

    fields: dict[str, Any] = field(repr=False)
    next_run_at: datetime | None = None
    differs_at: datetime | None = None
    why: str = ""
    refusal: str = ""


def best(
    name: str,
    fields: Mapping[str, Any],
    choices: Sequence[Mapping[str, Any]],
    rule: Rule,
    zone: str,
    now: datetime,
) -> Compared:
    """Return the first of the choices whose runs are those of the rule, else the one that comes nearest.

    A choice is the part of our fields that says when; `zone` is the one that the rule follows.
    """
    found: list[tuple[float, Compared]] = []
    theirs = lru_cache(maxsize=None)(partial(_theirs, rule, fields.get("ends_at")))
    for choice in choices:
        distance, compared = _compare(name, {**fields, **choice}, theirs, zone, now)
        if not distance:
            return compared
        found.append((distance, compared))
    return min(found, key=itemgetter(0))[1]


def _theirs(rule: Rule, ends_at: datetime | None, window: _Window) -> list[datetime]:
    return window.of(_until(ends_at, rule.after(window.after)))


def _compare(
    name: str,
    fields: dict[str, Any],
    theirs_in: Callable[[_Window], list[datetime]],
    zone: str,
    now: datetime,
) -> tuple[float, Compared]:
    """Compare one choice; return also how far the runs of both are apart."""
    try:
        job = ScheduledJob(name=name, **planning.as_columns(fields))
        for _field, refusal in planning.refusals(job, now):
            raise refusal
    except (InvalidSchedule, InvalidMessage) as error:
        return inf, Compared(fields, refusal=str(error))
    distance, first = 0.0, None
    for window in _windows(job, zone, now):
        theirs, ours = theirs_in(window), window.of(_ours(job, window.after))
        distance += _distance(theirs, ours) + _distance(ours, theirs)
        first = first or _first_difference(theirs, ours, ZoneInfo(zone))
    differs_at, why = first or (None, "")
    return distance, Compared(fields, next(_ours(job, now), None), differs_at, why)


def _distance(some: Sequence[datetime], others: Sequence[datetime]) -> float:
    """Return the seconds from each of some moments to the nearest of others, a day at most, in all."""
    seconds = 0.0
    for moment in some:
        place = bisect(others, moment)
        near = (abs(moment - other) for other in others[max(0, place - 1) : place + 1])
        seconds += min(*near, A_DAY, A_DAY).total_seconds()
    return seconds


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of time to compare: from `after` on, up to a number of runs, or to the end of a change."""

    after: datetime
    until: datetime | None
    count: int

    def of(self, runs: Iterator[datetime]) -> list[datetime]:
        return list(islice(_until(self.until, runs), self.count))


def _windows(job: ScheduledJob, zone: str, now: datetime) -> Iterator[_Window]:
    count = RUNS if job.max_runs is None else min(RUNS, job.max_runs)
    begin = now if job.starts_at is None else max(now, job.starts_at - planning.JUST_BEFORE)
    # From now: a run of theirs before ours begin is a difference.
    yield _Window(now, None, count)
    if count == RUNS:
        for change in clock_changes({zone, job.timezone}, begin):
            yield _Window(max(begin, change - BEFORE), change + AFTER, RUNS_AT_A_CHANGE)


def clock_changes(zones: Iterable[str], moment: datetime) -> list[datetime]:
    """Return the hours, after `moment`, with the next two clock changes of each of these zones."""
    return sorted({hour for zone in zones for hour in islice(_changes(ZoneInfo(zone), moment), CHANGES)})


def _changes(zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    def moves(start: datetime, length: timedelta) -> bool:
        return start.astimezone(zone).utcoffset() != (start + length).astimezone(zone).utcoffset()

    for number in range(LONGEST_LOOK // A_DAY):
        day = moment + number * A_DAY
        if moves(day, A_DAY):
            yield from (hour for part in range(24) if moves(hour := day + part * AN_HOUR, AN_HOUR))


def _ours(job: ScheduledJob, after: datetime) -> Iterator[datetime]:
    recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=job.starts_at or after)
    begin = after if job.starts_at is None else max(after, job.starts_at - planning.JUST_BEFORE)
    return _until(job.ends_at, recurrence.occurrences_after(begin))


def _until(last: datetime | None, runs: Iterator[datetime]) -> Iterator[datetime]:
    return runs if last is None else takewhile(lambda run: run <= last, runs)


def _first_difference(
    theirs: Sequence[datetime], ours: Sequence[datetime], zone: ZoneInfo
) -> tuple[datetime, str] | None:
    """Return when two ascending lists first differ, and how."""
    place = next((n for n, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), None)
    if place is None and len(theirs) == len(ours):
        return None
    place = min(len(theirs), len(ours)) if place is None else place
    their, our = (runs[place] if place < len(runs) else None for runs in (theirs, ours))
    at = min(run for run in (their, our) if run is not None)
    if our is None or (at == their and our in theirs):
        what = f"theirs runs at {_text(at, zone)}, and ours does not"
    elif their is None or (at == our and their in ours):
        what = f"ours runs at {_text(at, zone)}, and theirs does not"
    else:
        what = f"theirs runs at {_text(their, zone)}, and ours at {_text(our, zone)}"
    return at, f"{_near_a_change(at, zone)}{what}"


def _near_a_change(moment: datetime, zone: ZoneInfo) -> str:
    before, after = ((moment + length).astimezone(zone).utcoffset() for length in (-AFTER, BEFORE))
    return "" if before == after else "at a clock change "


def _text(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment in the zone of its schedule, as precise as it is."""
    local = moment.astimezone(zone)
    precision = "microseconds" if local.microsecond else "seconds" if local.second else "minutes"
    return f"{local.replace(tzinfo=None).isoformat(' ', precision)} {local.tzname()}"
