"""Plans: the next run of a schedule, its grid, and the values that both were computed from.

due decides what becomes of a time that has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

from ..errors import InvalidSchedule
from ..recurrence import Recurrence

# An at() that was written a moment ago is still run.
PAST_TOLERANCE = timedelta(seconds=60)
JUST_BEFORE = timedelta(microseconds=1)

# The first line of what a plan was computed from, by (enabled, has a next run, has no runs left). "off,
# planned" is never stored, so that a time set by hand on a row that is switched off is noticed and cleared.
# Where the last does not count it is False.
STATES = {
    (True, True, False): "on",
    (True, False, False): "completed",
    (True, False, True): "ran out",
    (False, False, False): "off",
    (False, True, False): "off, planned",
}


class Plannable(Protocol):
    """The values of a schedule that its planned times follow from."""

    schedule: str
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    enabled: bool
    anchor: datetime | None
    next_run_at: datetime | None
    planned_from: str
    # How many runs there may be in all, and how many there were.
    max_runs: int | None
    runs: int


class PlannedJob(Plannable, Protocol):
    """The same, and the next run as the plan said it."""

    next_planned_at: datetime | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of planning; `next_run_at` None means never again, or switched off."""

    anchor: datetime
    next_run_at: datetime | None
    planned_from: str


def moment_text(moment: datetime | None) -> str:
    if moment is None:
        return "-"
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def planned_text(job: Plannable, next_run_at: datetime | None) -> str:
    """Return the values that a plan of this row is computed from, as one text; models.planned is its SQL.

    Schedulers of two releases may share a database: if they wrote this differently, each would plan
    again what the other planned, and a rate would never run.
    """
    has_next = next_run_at is not None
    state = STATES[bool(job.enabled), has_next, bool(job.enabled) and not has_next and has_no_runs_left(job)]
    return f"{state}\n{_rule_text(job.starts_at, job.ends_at, job.timezone, job.schedule)}"


@lru_cache(maxsize=4096)
def _rule_text(
    starts_at: datetime | None, ends_at: datetime | None, timezone: object, schedule: object
) -> str:
    return f"{moment_text(starts_at)}\n{moment_text(ends_at)}\n{timezone}\n{schedule}"


def has_no_runs_left(job: Plannable) -> bool:
    """Whether there were as many runs as there may be."""
    return job.max_runs is not None and job.runs >= job.max_runs


def is_planned(job: Plannable) -> bool:
    """Whether the row's plan was computed from the row as it is now."""
    return job.anchor is not None and job.planned_from == planned_text(job, job.next_run_at)


def is_due(job: Plannable, now: datetime) -> bool:
    """Whether the next run has come."""
    return job.enabled and job.next_run_at is not None and job.next_run_at <= now


def carries_on(job: Plannable) -> bool:
    """Whether the next run stands: the rule and its bounds mean what they meant when the row was planned.

    It was set by hand then, or the rule is only spelled differently.
    """
    if not job.enabled or job.next_run_at is None or job.anchor is None or is_new_or_edited(job):
        return False
    return job.planned_from.split("\n")[1:3] == [moment_text(job.starts_at), moment_text(job.ends_at)]


def is_new_or_edited(job: Plannable) -> bool:
    """Whether the expression or its zone was never planned, in whatever spelling."""
    lines = job.planned_from.split("\n", 4)
    return len(lines) < 5 or not _means_the_same((lines[4], lines[3]), (job.schedule, job.timezone))


def _means_the_same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two pairs of an expression and its zone name the same times."""
    if one == other:
        return True
    try:
        return Recurrence.parse(*one).means_the_same_as(Recurrence.parse(*other))
    except InvalidSchedule:
        return False


def plan(job: Plannable, now: datetime, *, anchor: datetime | None = None) -> Plan:
    """Plan a row from now on: missed runs are not made up.

    The anchor, if none is given, moves only with the expression or starts_at. Raises InvalidSchedule, also
    for a new at() that is past, unless the row `may_be_over`.
    """
    anchor = anchor or _anchor(job, now)
    recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=anchor)
    after = now
    if recurrence.is_once and is_new_or_edited(job) and not getattr(job, "may_be_over", False):
        after -= PAST_TOLERANCE
        if next(recurrence.occurrences_after(after), None) is None:
            raise InvalidSchedule(f"{job.schedule} is past in {job.timezone}; write a time in the future.")
    next_run_at = first_run(job, recurrence, after) if job.enabled else None
    return Plan(anchor, next_run_at, planned_text(job, next_run_at))


def mend(job: PlannedJob, now: datetime) -> Plan | None:
    """Return another plan for a row that was planned while the clock was ahead; None if its plan stands.

    A correct clock never plans beyond the first run after it. A next run that was set by hand stands.
    Raises InvalidSchedule.
    """
    if not (job.enabled and is_planned(job) and job.next_run_at == job.next_planned_at):
        return None
    anchor = job.anchor
    assert anchor is not None
    # A future anchor may have been chosen on purpose, but then the next run is not planned after it.
    is_behind_anchor = job.next_run_at is None or job.next_run_at > anchor
    if anchor > now and anchor != job.starts_at and is_behind_anchor:
        anchor = now
    recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=anchor)
    first = first_run(job, recurrence, now)
    if first is None or (job.next_run_at is not None and job.next_run_at <= first):
        return None
    return Plan(anchor, first, planned_text(job, first))


def _anchor(job: Plannable, now: datetime) -> datetime:
    lines = job.planned_from.split("\n", 4)
    if job.anchor is None or len(lines) < 5 or lines[1] != moment_text(job.starts_at):
        return job.starts_at or now
    # The grid does not move with the zone.
    same = _means_the_same((lines[4], job.timezone), (job.schedule, job.timezone))
    return job.anchor if same else job.starts_at or now


def first_run(job: Plannable, recurrence: Recurrence, after: datetime) -> datetime | None:
    """Return the first occurrence later than `after` and within the row's bounds, both inclusive."""
    if has_no_runs_left(job):
        return None
    if job.starts_at is not None:
        after = max(after, job.starts_at - JUST_BEFORE)
    occurrence = next(recurrence.occurrences_after(after), None)
    if occurrence is not None and job.ends_at is not None and occurrence > job.ends_at:
        return None
    return occurrence
