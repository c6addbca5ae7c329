"""Groups of rows, one transaction each; a row that spoils its group is taken out of it, and says why.

What is to be done with a row is told by the caller.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from django.db import DatabaseError, InterfaceError, transaction

from .. import planning
from ..engines import Engine, Fault, engine_for
from ..errors import LetsGoError
from ..models import Message, ScheduledJob
from ..signals import schedule_failed
from ..validation import storable
from . import occurrences, overlap
from .changes import Change, Round, is_left
from .locking import Overtaken, lock_free, move

logger = logging.getLogger("django_letsgo_worker.schedules")

# So many rows share a transaction: what one transaction and its statements cost is shared by them, and
# who waits for a locked row waits for a moment only.
GROUP = 500
LONGEST_PROBLEM = 2_000
# The columns that one statement writes for a group: all that firing moves.
FIRED = ("next_run_at", "next_planned_at", "planned_from", "problem", "last_run_at", "runs")

# What becomes of a locked row. Raises InvalidSchedule.
Act = Callable[[ScheduledJob, Round], Change]


@dataclass(slots=True)
class Attended:
    """What came of a group."""

    changes: list[Change] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


def attend(ids: Sequence[int], round: Round, act: Act) -> list[Message]:
    """Do to each of the rows what it needs, and return the messages made.

    Rows that another process has are left to it. A group that fails is halved until the row that spoils it
    is alone; that one has its `problem` then. Raises the database's error in an outage.
    """
    made: list[Message] = []
    waiting = deque(_cut(ids))
    while waiting:
        few = waiting.popleft()
        attended = _attend_alone(few[0], round, act) if len(few) == 1 else _attend_group(few, round, act)
        if attended is None:
            half = len(few) // 2
            waiting.extendleft((few[half:], few[:half]))
            continue
        made += attended.messages
        waiting.extend(_cut([one.job.pk for one in attended.changes if is_left(one, round)]))
    return made


def _cut(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + GROUP] for start in range(0, len(ids), GROUP))


def _attend_group(ids: Sequence[int], round: Round, act: Act) -> Attended | None:
    """Attend to rows in one transaction; None if one of them spoiled it, and nothing was written."""
    engine = engine_for(round.using)
    try:
        with engine.transaction():
            attended = _attend(lock_free(round.using, ids), round, act)
    except Overtaken:
        return None
    except Exception as error:
        if _passes(error, engine):
            return _left(error, engine, "A group of schedules")
        logger.debug("A group of %s schedules is taken apart: %s", len(ids), error)
        return None
    _log(attended.changes)
    return attended


def _attend_alone(job_id: int, round: Round, act: Act) -> Attended:
    """Attend to one row; what is wrong with it is noted in it."""
    engine = engine_for(round.using)
    attended = Attended()
    try:
        with engine.transaction():
            jobs = lock_free(round.using, [job_id])
            try:
                with engine.transaction():
                    attended = _attend(jobs, round, act)
            except Exception as error:
                if isinstance(error, Overtaken) or _passes(error, engine):
                    raise
                _note_problem(job_id, error, round)
    except Overtaken:
        logger.debug("Schedule %s was moved by another scheduler.", job_id)
        return Attended()
    except (DatabaseError, InterfaceError) as error:
        return _left(error, engine, f"Schedule {job_id}")
    _log(attended.changes)
    return attended


def _left(error: Exception, engine: Engine, what: str) -> Attended:
    """Leave rows whose transaction a deadlock has undone for the next round; other faults are raised."""
    # A transaction of the caller's would be gone too, and the caller must know.
    if engine.connection.in_atomic_block or not engine.is_transient(error):
        raise error
    logger.debug("%s is left for the next round: %s", what, error)
    return Attended()


def _passes(error: Exception, engine: Engine) -> bool:
    """Whether an error says nothing about the rows: a deadlock, no connection."""
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return False
    fault = engine.fault_of(error)
    # A doubtful one is the row's fault if the connection is as good as before.
    return fault in (Fault.TRANSIENT, Fault.OUTAGE) or (
        fault is Fault.DOUBTFUL and not engine.connection.is_usable()
    )


# -- one group, inside its transaction --------------------------------------------------------------------


def _attend(jobs: Sequence[ScheduledJob], round: Round, act: Act) -> Attended:
    attended = Attended()
    spoiled: dict[int, Exception] = {}
    overlap.release(jobs, round)
    decided = []
    for job in jobs:
        with _noting(spoiled, job):
            decided.append(act(job, round))
    known = occurrences.read_known(decided, round)
    records = []
    for change in decided:
        with _noting(spoiled, change.job):
            records += occurrences.records_of(change, known, round)
            attended.changes.append(change)
    # The rows are moved first: another scheduler that read them then finds nothing to fire.
    _write(attended.changes, round.using)
    attended.messages = occurrences.write(records, round)
    _delete_those_over(attended.changes, round.using)
    for job_id, error in spoiled.items():
        _note_problem(job_id, error, round)
    return attended


@contextmanager
def _noting(spoiled: dict[int, Exception], job: ScheduledJob) -> Iterator[None]:
    """Keep a row's own error, so that the others of its group go on; what the database says ends them all."""
    try:
        yield
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        spoiled[job.pk] = error


def _write(changes: Sequence[Change], using: str) -> None:
    """Write the columns that change, if the rows are still what was read; else raise Overtaken."""
    fired = []
    for change in changes:
        if change.next_run_at is not None and change.columns and change.columns.keys() <= set(FIRED):
            fired.append(change)
        elif change.columns:
            move(change.job, change.version, change.next_run_at, change.columns, using)
    if not fired:
        return
    rows = [
        (change.job.pk, change.version, change.next_run_at, *(getattr(change.job, name) for name in FIRED))
        for change in fired
    ]
    if engine_for(using).move_schedules(rows, FIRED) != len(rows):
        raise Overtaken("Schedules were moved by another process.")
    for change in fired:
        change.job.version = change.version + 1


def _delete_those_over(changes: Sequence[Change], using: str) -> None:
    over = [change for change in changes if _is_over(change.job)]
    if over:
        ScheduledJob.objects.using(using).filter(pk__in=[change.job.pk for change in over]).delete()
    for change in over:
        change.say(logging.INFO, "Schedule %r was deleted: it is over.")


def _is_over(job: ScheduledJob) -> bool:
    if not job.delete_when_over or job.waiting_message_id is not None or job.unsettled:
        return False
    return job.state == "completed"


def _log(changes: Sequence[Change]) -> None:
    for change in changes:
        said = {"schedule": change.job.name, "next_run_at": change.job.next_run_at}
        for level, line, arguments in change.lines:
            logger.log(level, line, *arguments, extra=said)


# -- problems ---------------------------------------------------------------------------------------------


def _note_problem(job_id: int, error: Exception, round: Round) -> None:
    """Note in the row why it cannot be planned or fired; one that cannot be planned has no next run."""
    job = ScheduledJob.objects.using(round.using).get(pk=job_id)
    problem = str(error) if isinstance(error, LetsGoError) else _sentence(error)
    problem = storable(problem, LONGEST_PROBLEM)
    stands = planning.is_planned(job) or planning.carries_on(job)
    if problem == job.problem and (stands or job.next_run_at is None):
        return
    change = Change(job, job.version, job.next_run_at)
    unsettled = None if stands else planning.to_note(planning.replaced_plans(job, round.clock))
    change.set(problem=problem)
    if not stands:
        change.set(next_run_at=None, next_planned_at=None, planned_from="", unsettled=unsettled)
    move(job, change.version, change.next_run_at, change.columns, round.using)
    logger.error("Schedule %r is broken: %s", job.name, problem, extra={"schedule": job.name})
    say = partial(schedule_failed.send_robust, sender=ScheduledJob, schedule=job, problem=problem)
    transaction.on_commit(say, using=round.using, robust=True)


def _sentence(error: Exception) -> str:
    # The further lines of a database's error may show the row's values.
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"
