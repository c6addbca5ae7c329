"""What one round does to a row: its columns that change, and the planned times that have come.

Decided on the locked row in memory; occurrences.py records the planned times, attending.py writes the rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from .. import planning
from ..models import ScheduledJob
from ..planning import FormerPlan, Planned, Watch


@dataclass(frozen=True, slots=True)
class Round:
    """One look at the schedules of a database: its moment, and what all of its decisions have in common."""

    using: str
    watch: Watch
    # What stands in for the clock of the database in what is written; None outside of tests.
    now: datetime | None = None
    # Nothing fires: all schedules are paused.
    is_paused: bool = False

    @property
    def clock(self) -> datetime:
        return self.watch.now


@dataclass(slots=True, eq=False)
class Change:
    """What becomes of one row; the row in memory is changed at once."""

    job: ScheduledJob
    # The row as it was read: nothing is written if it is another one by then.
    version: int
    next_run_at: datetime | None
    columns: dict[str, Any] = field(default_factory=dict)
    # The times that have come, under former plans first, each with the rule's reason to skip it.
    planned: list[Planned] = field(default_factory=list)
    # What the log is told when all is written: level, line and arguments.
    lines: list[tuple[int, str, tuple[Any, ...]]] = field(default_factory=list)

    def set(self, **columns: Any) -> None:
        for name, value in columns.items():
            setattr(self.job, name, value)
        self.columns.update(columns)

    def say(self, level: int, line: str, *arguments: Any) -> None:
        self.lines.append((level, line, (self.job.name, *arguments)))


def change_of(job: ScheduledJob, round: Round) -> Change:
    """Return what a locked row needs: settled, resumed, planned, and fired if it is due by then.

    Raises InvalidSchedule for a row that cannot be planned.
    """
    change = Change(job, job.version, job.next_run_at)
    is_planned = planning.is_planned(job)
    if not is_planned or job.unsettled:
        # Times that were due under a plan that an edit replaced are settled before the row is planned again.
        _settle(change, round, stands=is_planned or planning.carries_on(job))
    if not job.enabled and job.resume_at is not None and job.resume_at <= round.clock:
        _resume(change, round)
    elif not is_planned:
        _replan(change, round)
    if planning.is_due(job, round.clock) and not round.is_paused:
        _fire(change, round)
    elif job.problem:
        change.set(problem="")
    return change


def is_left(change: Change, round: Round) -> bool:
    """Whether the row is due once more: not all of its times fit into one round."""
    if round.is_paused:
        return False
    former = planning.noted_plans(change.job) if change.job.unsettled else []
    is_due = partial(planning.is_due, now=round.clock)
    return is_due(change.job) or any(map(is_due, former))


def mended(job: ScheduledJob, round: Round) -> Change:
    """Return the change of a row that was planned while the clock was ahead; empty if its plan stands."""
    change = Change(job, job.version, job.next_run_at)
    plan = planning.mend(job, round.clock)
    if plan is not None:
        _move_to(change, plan)
        line = "Schedule %r had been planned by a clock that was ahead; its next run: %s."
        change.say(logging.WARNING, line, plan.next_run_at)
    return change


def _settle(change: Change, round: Round, *, stands: bool) -> None:
    """Take up the times that were due under plans that edits replaced."""
    job = change.job
    former = planning.noted_plans(job) if stands else planning.replaced_plans(job, round.clock)
    if round.is_paused and not stands:
        # Nothing runs: what was due is settled after the pause.
        change.set(unsettled=planning.to_note(former))
    if round.is_paused or not former:
        return
    due: dict[datetime, Planned] = {}
    left: list[FormerPlan] = []
    for plan in former:
        occurrences, rest = planning.look_back(plan, job, round.watch)
        due |= {planned.planned_at: planned for planned in occurrences}
        left += [rest] if rest else []
    change.planned += due.values()
    change.set(unsettled=planning.to_note(left))
    change.say(
        logging.INFO, "Schedule %r was edited while it was due; %s runs were due before the edit.", len(due)
    )


def _resume(change: Change, round: Round) -> None:
    job = change.job
    job.enabled = True
    plan = planning.plan(job, round.clock)
    switch = {"switched_at": round.clock, "switched_by": "", "switch_reason": ""}
    _move_to(change, plan, enabled=True, resume_at=None, **switch)
    change.say(logging.INFO, "Schedule %r was switched on again, as planned.")


def _replan(change: Change, round: Round) -> None:
    """Plan a row that was edited past save(); a next run that was set by hand stays."""
    job = change.job
    if planning.carries_on(job):
        change.set(planned_from=planning.planned_text(job, job.next_run_at), problem="")
        return
    plan = planning.plan(job, round.clock)
    _move_to(change, plan)
    change.say(logging.INFO, "Schedule %r was planned again; its next run: %s.", plan.next_run_at)


def _move_to(change: Change, plan: planning.Plan, **columns: Any) -> None:
    change.set(
        anchor=plan.anchor,
        next_run_at=plan.next_run_at,
        next_planned_at=plan.next_run_at,
        planned_from=plan.planned_from,
        problem="",
        **columns,
    )


def _fire(change: Change, round: Round) -> None:
    """Take up every planned time until now, and move the row to its next run."""
    due = round.watch.decide(change.job)
    change.planned += due.occurrences
    go_on(change, due.next_run_at)


def go_on(change: Change, next_run_at: datetime | None) -> None:
    """Give a row that works its next run, or none."""
    change.set(
        next_run_at=next_run_at,
        next_planned_at=next_run_at,
        planned_from=planning.planned_text(change.job, next_run_at),
        problem="",
    )
