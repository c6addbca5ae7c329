"""Former plans: those that an edit replaced before all of their due times fired, and what becomes of these.

They are noted where a row is planned, and settled by a scheduler's next round. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ..errors import InvalidSchedule
from ..recurrence import Recurrence
from .due import DueJob, Planned, Span, Watch
from .plans import STATES, PlannedJob, is_due, moment_text

SWITCHED_OFF = "edit: the schedule was switched off before it ran"
UNREADABLE = "edit: the rule that it was planned by can no longer be read"

OFF = STATES[False, False, False]
OVER = (STATES[True, False, False], STATES[True, False, True])
MOMENTS = ("starts_at", "ends_at", "anchor", "next_run_at")


class Replaceable(DueJob, PlannedJob, Protocol):
    """The values of a row about its plan, and about those before it."""

    unsettled: Any


@dataclass(slots=True)
class FormerPlan:
    """A plan from the first time that was not fired, `next_run_at`, to `ends_at`: the edit, at the latest."""

    schedule: str
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    anchor: datetime | None
    next_run_at: datetime | None
    # The row's, when it is settled.
    misfire: str = "once"
    misfire_grace: timedelta = timedelta(0)
    except_on: str = ""
    enabled: bool = True
    planned_from: str = ""
    # The row has its own count of runs, for all of its plans.
    max_runs: int | None = None
    runs: int = 0


def noted_plans(job: Replaceable) -> list[FormerPlan]:
    """Return the former plans that the row has kept, oldest first."""
    return [_read(facts) for facts in job.unsettled or ()]


def replaced_plans(job: Replaceable, now: datetime) -> list[FormerPlan]:
    """Return the noted plans, and the plan in force, which ends now, if times of it have come."""
    lines = job.planned_from.split("\n", 4)
    if len(lines) < 5 or lines[0] == OFF:
        return noted_plans(job)
    # A next run that was set by hand has taken the place of the planned one; one that was cleared has not.
    first = job.next_run_at or (None if lines[0] in OVER else job.next_planned_at)
    if first is None or first > now:
        return noted_plans(job)
    ends_at = _moment(lines[2])
    former = FormerPlan(
        schedule=lines[4],
        timezone=lines[3],
        starts_at=_moment(lines[1]),
        ends_at=now if ends_at is None else min(ends_at, now),
        anchor=job.anchor,
        next_run_at=first,
    )
    return [*noted_plans(job), former]


def to_note(plans: Iterable[FormerPlan]) -> list[dict[str, str]] | None:
    """Return former plans as the row keeps them; None for none."""
    noted = [
        {"schedule": plan.schedule, "timezone": plan.timezone}
        | {name: moment_text(getattr(plan, name)) for name in MOMENTS}
        for plan in plans
    ]
    return noted or None


def look_back(plan: FormerPlan, job: DueJob, watch: Watch) -> tuple[list[Planned], FormerPlan | None]:
    """Decide about the times of a former plan by the row's misfire rule; also return what is left of it."""
    if not is_due(plan, watch.now):  # the clock went back
        return [], plan
    try:
        if not job.enabled:
            return [_skipped(plan)], None
        due = watch.decide(
            replace(plan, misfire=job.misfire, misfire_grace=job.misfire_grace, except_on=job.except_on)
        )
    except InvalidSchedule:
        return [Planned(_first(plan), UNREADABLE, 1)], None
    left = None if due.next_run_at is None else replace(plan, next_run_at=due.next_run_at)
    return due.occurrences, left


def _first(plan: FormerPlan) -> datetime:
    assert plan.next_run_at is not None
    return plan.next_run_at


def _skipped(plan: FormerPlan) -> Planned:
    """All times of a plan whose schedule was switched off, as one."""
    recurrence = Recurrence.parse(plan.schedule, plan.timezone, anchor=plan.anchor)
    first = _first(plan)
    newest, after_first = recurrence.newest_between(first, max(first, plan.ends_at or first), 1)
    return Planned([first, *newest][-1], SWITCHED_OFF, after_first + 1, Span(recurrence, first))


def _read(facts: dict[str, str]) -> FormerPlan:
    moments: dict[str, Any] = {name: _moment(facts[name]) for name in MOMENTS}
    return FormerPlan(schedule=facts["schedule"], timezone=facts["timezone"], **moments)


def _moment(text: str) -> datetime | None:
    return None if text == "-" else datetime.fromisoformat(text).replace(tzinfo=UTC)
