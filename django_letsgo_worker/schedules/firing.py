"""One round of a scheduler: notice edited rows, fire what is due, each row in its own transaction.

The scheduler knows when the next round is due; planning decides what becomes of a planned time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from .. import planning
from ..engines import Engine, Fault, engine_for
from ..errors import InvalidSchedule, LetsGoError
from ..models import Message, ScheduledJob
from ..signals import schedule_failed
from ..validation import storable
from .locking import Overtaken, alias_of, lock, move
from .occurrences import fire, settle

logger = logging.getLogger("django_letsgo_worker.schedules")

# Broken rows are tried again with every look, so that they recover by themselves; a few at a time, so that
# a thousand of them do not hold up the others.
BROKEN_AT_ONCE = 20
# The same of edited rows: a mass edit is worked off over several looks.
EDITED_AT_ONCE = 100
# So few that what is due meanwhile waits less than a tenth of a second.
MENDED_AT_ONCE = 100
LONGEST_PROBLEM = 2_000

# An action on a locked row; it returns the messages made, and whether the row is due once more.
Act = Callable[[ScheduledJob, datetime, str, datetime | None], tuple[list[Message], bool]]


def fire_due(
    now: datetime | None = None, *, using: str | None = None, limit: int = 1_000, edits: bool = True
) -> list[Message]:
    """Fire every planned time that has come, and return the messages made.

    One transaction per schedule: an error of one row is noted in its `problem`, and stops no other. One call
    fires at most `limit` schedules that are due, the earliest first, and then attends to at most 100 that
    were edited since they were planned; `edits=False` leaves those for another call.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    made: list[Message] = []
    waiting = deque(_waiting(alias, clock, limit, edits))
    while waiting:
        job_id = waiting.popleft()
        messages, is_still_due = _attend(job_id, clock, alias, now)
        made += messages
        if is_still_due:
            waiting.append(job_id)
    return made


def resume_due(now: datetime | None = None, *, using: str | None = None) -> int:
    """Switch on the schedules that were switched off until now; return how many. Each round does so too."""
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    ids = list(ScheduledJob.objects.using(alias).to_resume(clock).values_list("pk", flat=True))
    for job_id in ids:
        _attend(job_id, clock, alias, now)
    return len(ids)


def mend_plans(after: int = 0, now: datetime | None = None, *, using: str | None = None) -> int | None:
    """Plan again what was planned while the clock was ahead: a next run beyond what the rule gives from now.

    One call looks at 100 schedules with ids above `after`, and returns the last of them, or None when none
    is left. What was fired meanwhile does not fire again; a next run set by hand stays.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    rows = ScheduledJob.objects.using(alias).filter(enabled=True, pk__gt=after).order_by("pk")
    looked_at = list(rows.defer("payload")[:MENDED_AT_ONCE])
    for job in looked_at:
        if _mended(job, clock) is not None:
            _attend(job.pk, clock, alias, now, _mend)
    return looked_at[-1].pk if len(looked_at) == MENDED_AT_ONCE else None


def seconds_until_next(now: datetime | None = None, *, using: str | None = None) -> float | None:
    """Return the seconds until the next planned time of a schedule that works; None when there is none."""
    alias = alias_of(using)
    rows = ScheduledJob.objects.using(alias).filter(enabled=True, problem="", next_run_at__isnull=False)
    next_run_at = rows.order_by("next_run_at").values_list("next_run_at", flat=True).first()
    if next_run_at is None:
        return None
    return (next_run_at - (now or engine_for(alias).clock())).total_seconds()


def _waiting(using: str, now: datetime, limit: int, edits: bool) -> list[int]:
    """Return the rows to attend to: those that are due first, through the index, whatever was edited."""
    rows = ScheduledJob.objects.using(using)
    working, broken = rows.filter(problem=""), rows.exclude(problem="")
    ids = list(working.due(now).order_by("next_run_at", "pk").values_list("pk", flat=True)[:limit])
    if edits:
        # In random order: rows that only look edited, or that another scheduler has, then block no others.
        edited = working.needing_a_look(now).order_by("?").values_list("pk", flat=True)
        ids += edited[:EDITED_AT_ONCE]
        ids += broken.order_by("?").values_list("pk", flat=True)[:BROKEN_AT_ONCE]
    return list(dict.fromkeys(ids))


def _attend(
    job_id: int, clock: datetime, using: str, now: datetime | None, act: Act | None = None
) -> tuple[list[Message], bool]:
    """Do what one row needs; return the messages made, and whether it is due once more."""
    engine = engine_for(using)
    try:
        with engine.transaction():
            job = lock(using, skip_locked=True, pk=job_id)
            if job is None:
                return [], False
            try:
                with engine.transaction():
                    return (act or _bring_up_to_date)(job, clock, using, now)
            except Exception as error:
                if _passes(error, engine):
                    raise
                _note_problem(job_id, error, clock, using)
    except Overtaken:
        logger.debug("Schedule %s was moved by another scheduler.", job_id)
    except (DatabaseError, InterfaceError) as error:
        # A deadlock has undone this row's transaction: the next round tries again. A transaction of the
        # caller's would be gone too, and the caller must know.
        if connections[using].in_atomic_block or not engine.is_transient(error):
            raise
        logger.debug("Schedule %s is left for the next round: %s", job_id, error)
    return [], False


def _passes(error: Exception, engine: Engine) -> bool:
    """Whether an error says nothing about the row: overtaken, a deadlock, no connection."""
    if isinstance(error, Overtaken):
        return True
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return False
    fault = engine.fault_of(error)
    # A doubtful one is the row's fault if the connection is as good as before.
    return fault in (Fault.TRANSIENT, Fault.OUTAGE) or (
        fault is Fault.DOUBTFUL and not engine.connection.is_usable()
    )


def _bring_up_to_date(
    job: ScheduledJob, clock: datetime, using: str, now: datetime | None
) -> tuple[list[Message], bool]:
    # Times that were due under a plan that an edit replaced are settled before the row is planned again.
    messages = _settle(job, clock, using, now)
    if not job.enabled and job.resume_at is not None and job.resume_at <= clock:
        _resume(job, clock, using)
    elif not planning.is_planned(job):
        _replan(job, clock, using)
    if planning.is_due(job, clock):
        messages += fire(job, clock, using, now)
    elif job.problem:
        move(job, using, problem="")
    is_left = any(planning.is_due(plan, clock) for plan in planning.noted_plans(job))
    return messages, is_left or planning.is_due(job, clock)


def _settle(job: ScheduledJob, clock: datetime, using: str, now: datetime | None) -> list[Message]:
    """Fire or skip the times that were due under plans that edits replaced."""
    stands = planning.is_planned(job) or planning.carries_on(job)
    former = planning.noted_plans(job) if stands else planning.replaced_plans(job, clock)
    if not former:
        return []
    messages = settle(job, former, clock, using, now)
    said = {"schedule": job.name, "messages": len(messages)}
    line = "Schedule %r was edited while it was due; the runs due before the edit made %s messages."
    logger.info(line, job.name, len(messages), extra=said)
    return messages


def _mend(job: ScheduledJob, clock: datetime, using: str, now: datetime | None) -> tuple[list[Message], bool]:
    plan = _mended(job, clock)
    if plan is not None:
        _move_to(job, plan, using)
        line = "Schedule %r had been planned by a clock that was ahead; its next run: %s."
        logger.warning(line, job.name, plan.next_run_at, extra=_said(job))
    return [], False


def _mended(job: ScheduledJob, clock: datetime) -> planning.Plan | None:
    try:
        return planning.mend(job, clock)
    except InvalidSchedule:
        # The row is broken, which firing it reports.
        return None


def _move_to(job: ScheduledJob, plan: planning.Plan, using: str, **columns: Any) -> None:
    move(
        job,
        using,
        anchor=plan.anchor,
        next_run_at=plan.next_run_at,
        next_planned_at=plan.next_run_at,
        planned_from=plan.planned_from,
        problem="",
        **columns,
    )


def _said(job: ScheduledJob) -> dict[str, Any]:
    return {"schedule": job.name, "next_run_at": job.next_run_at}


def _resume(job: ScheduledJob, clock: datetime, using: str) -> None:
    job.enabled = True
    plan = planning.plan(job, clock)
    switch = {"switched_at": clock, "switched_by": "", "switch_reason": ""}
    _move_to(job, plan, using, enabled=True, resume_at=None, **switch)
    logger.info("Schedule %r was switched on again, as planned.", job.name, extra={"schedule": job.name})


def _replan(job: ScheduledJob, clock: datetime, using: str) -> None:
    """Plan a row that was edited past save(); a next run that was set by hand stays."""
    if planning.carries_on(job):
        move(job, using, planned_from=planning.planned_text(job, job.next_run_at), problem="")
        return
    plan = planning.plan(job, clock)
    _move_to(job, plan, using)
    line = "Schedule %r was planned again; its next run: %s."
    logger.info(line, job.name, plan.next_run_at, extra=_said(job))


def _note_problem(job_id: int, error: Exception, clock: datetime, using: str) -> None:
    """Note in the row why it cannot be planned or fired; one that cannot be planned has no next run."""
    job = ScheduledJob.objects.using(using).get(pk=job_id)
    problem = str(error) if isinstance(error, LetsGoError) else _sentence(error)
    problem = storable(problem, LONGEST_PROBLEM)
    stands = planning.is_planned(job) or planning.carries_on(job)
    if problem == job.problem and (stands or job.next_run_at is None):
        return
    columns: dict[str, Any] = {"problem": problem}
    if not stands:
        columns |= {"next_run_at": None, "next_planned_at": None, "planned_from": ""}
        columns["unsettled"] = planning.to_note(planning.replaced_plans(job, clock))
    move(job, using, **columns)
    logger.error("Schedule %r is broken: %s", job.name, problem, extra={"schedule": job.name})
    say = partial(schedule_failed.send_robust, sender=ScheduledJob, schedule=job, problem=problem)
    transaction.on_commit(say, using=using, robust=True)


def _sentence(error: Exception) -> str:
    # The further lines of a database's error may show the row's values.
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"
