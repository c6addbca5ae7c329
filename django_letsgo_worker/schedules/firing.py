"""One round of a scheduler: notice edited rows, fire what is due, each row in its own transaction.

When the next round is due is the scheduler's to know; what becomes of a planned time, planning's.
"""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime
from functools import partial

from django.db import DatabaseError, InterfaceError, connections, transaction

from .. import planning
from ..engines import Engine, Fault, engine_for
from ..errors import LetsGoError
from ..models import Message, ScheduledJob
from ..payloads import storable
from ..signals import schedule_failed
from .recording import fire
from .rows import Overtaken, alias_of, lock, move

logger = logging.getLogger("django_letsgo_worker.schedules")

# Broken rows are tried again with every look, so that they mend by themselves; a few at a time, so that
# a thousand of them do not hold up the others.
BROKEN_AT_ONCE = 20
LONGEST_PROBLEM = 2_000


def fire_due(
    now: datetime | None = None, *, using: str | None = None, limit: int = 1_000, edits: bool = True
) -> list[Message]:
    """Fire every planned time that has come, and return the messages made.

    One transaction per schedule: what is wrong with one row is said in its `problem`, and stops no
    other. Rows that were edited since they were planned are planned anew; `edits=False` looks for due
    ones only, through the index. At most `limit` schedules in one call.
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
    """Switch on what was switched off until now; return how many. Each round does so too."""
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    ids = list(ScheduledJob.objects.using(alias).to_resume(clock).values_list("pk", flat=True))
    for job_id in ids:
        _attend(job_id, clock, alias, now)
    return len(ids)


def seconds_until_next(now: datetime | None = None, *, using: str | None = None) -> float | None:
    """Return how long until the next planned time of a schedule that works; None when there is none."""
    alias = alias_of(using)
    rows = ScheduledJob.objects.using(alias).filter(enabled=True, problem="", next_run_at__isnull=False)
    next_run_at = rows.order_by("next_run_at").values_list("next_run_at", flat=True).first()
    if next_run_at is None:
        return None
    return (next_run_at - (now or engine_for(alias).clock())).total_seconds()


def _waiting(using: str, now: datetime, limit: int, edits: bool) -> list[int]:
    rows = ScheduledJob.objects.using(using)
    wanted = rows.needing_a_look(now) if edits else rows.due(now)
    working = wanted.filter(problem="").order_by("next_run_at", "pk").values_list("pk", flat=True)
    ids = list(working[:limit])
    if edits:
        broken = rows.exclude(problem="").order_by("?").values_list("pk", flat=True)
        ids += broken[:BROKEN_AT_ONCE]
    return ids


def _attend(job_id: int, clock: datetime, using: str, now: datetime | None) -> tuple[list[Message], bool]:
    """Do what one row needs; return the messages made, and whether it is due once more."""
    engine = engine_for(using)
    try:
        with engine.transaction():
            job = lock(using, skip_locked=True, pk=job_id)
            if job is None:
                return [], False
            try:
                with engine.transaction():
                    return _bring_up_to_date(job, clock, using, now)
            except Exception as error:
                if _passes(error, engine):
                    raise
                _note_problem(job_id, error, using)
    except Overtaken:
        logger.debug("Schedule %s was moved by another scheduler.", job_id)
    except (DatabaseError, InterfaceError) as error:
        # A deadlock has undone this row's transaction: the next round tries again. A transaction of the
        # caller's went with it, so then he must know.
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
    # One that may be the row's fault is, where the connection is as good as before.
    return fault in (Fault.TRANSIENT, Fault.OUTAGE) or (
        fault is Fault.DOUBTFUL and not engine.connection.is_usable()
    )


def _bring_up_to_date(
    job: ScheduledJob, clock: datetime, using: str, now: datetime | None
) -> tuple[list[Message], bool]:
    if not job.enabled and job.resume_at is not None and job.resume_at <= clock:
        _resume(job, clock, using)
    elif not planning.is_planned(job):
        _replan(job, clock, using)
    if job.enabled and job.next_run_at is not None and job.next_run_at <= clock:
        messages = fire(job, clock, using, now)
        return messages, job.next_run_at is not None and job.next_run_at <= clock
    if job.problem:
        move(job, using, problem="")
    return [], False


def _resume(job: ScheduledJob, clock: datetime, using: str) -> None:
    job.enabled = True
    plan = planning.make(job, clock)
    move(
        job,
        using,
        enabled=True,
        resume_at=None,
        switched_at=clock,
        switched_by="",
        switch_reason="",
        anchor=plan.anchor,
        next_run_at=plan.next_run_at,
        planned_from=plan.planned_from,
        problem="",
    )
    logger.info("Schedule %r is on again, as was planned.", job.name, extra={"schedule": job.name})


def _replan(job: ScheduledJob, clock: datetime, using: str) -> None:
    """Plan a row that was edited past save(); a next run that was set by hand stays."""
    if planning.carries_on(job):
        assert job.anchor is not None
        plan = planning.Plan(job.anchor, job.next_run_at, planning.planned_text(job, job.next_run_at))
    else:
        plan = planning.make(job, clock)
    move(
        job,
        using,
        anchor=plan.anchor,
        next_run_at=plan.next_run_at,
        planned_from=plan.planned_from,
        problem="",
    )
    said = {"schedule": job.name, "next_run_at": plan.next_run_at}
    logger.info("Schedule %r was planned anew; its next run: %s.", job.name, plan.next_run_at, extra=said)


def _note_problem(job_id: int, error: Exception, using: str) -> None:
    """Say in the row why it cannot be planned or fired; one that can't be planned has no next run."""
    job = ScheduledJob.objects.using(using).get(pk=job_id)
    problem = str(error) if isinstance(error, LetsGoError) else _sentence(error)
    problem = storable(problem, LONGEST_PROBLEM)
    planned = {} if planning.is_planned(job) else {"next_run_at": None, "planned_from": ""}
    if problem == job.problem and (not planned or job.next_run_at is None):
        return
    move(job, using, problem=problem, **planned)
    logger.error("Schedule %r is broken: %s", job.name, problem, extra={"schedule": job.name})
    say = partial(schedule_failed.send_robust, sender=ScheduledJob, schedule=job, problem=problem)
    transaction.on_commit(say, using=using, robust=True)


def _sentence(error: Exception) -> str:
    # The further lines of a database's error may show the row's values.
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"
