"""The planned times of one row that is due: each becomes a message, or the reason why there is none.

Call it with the row locked, in a transaction; firing finds the rows that are due.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.db import transaction

from .. import messages, planning
from ..models import Message, Occurrence, ScheduledJob
from ..planning import FormerPlan, Planned, spread_delay
from ..signals import occurrence_fired
from .locking import move

SCHEDULED = "letsgo:scheduled"
# The largest number that the column can hold on every engine.
HIGHEST_COUNT = 2**31 - 1


def fire(job: ScheduledJob, clock: datetime, using: str, now: datetime | None) -> list[Message]:
    """Move a due row to its next run and record every planned time up to now; return the messages."""
    due = planning.decide_due(job, clock)
    decided = _decided(job, due.occurrences, clock, using)
    # The row is moved first: another scheduler that read it then finds nothing to fire.
    move(
        job,
        using,
        next_run_at=due.next_run_at,
        next_planned_at=due.next_run_at,
        planned_from=planning.planned_text(job, due.next_run_at),
        problem="",
        last_run_at=clock if _fires(decided) else job.last_run_at,
    )
    return [message for planned in decided if (message := _record(job, planned, clock, using, now))]


def settle(
    job: ScheduledJob, former: list[FormerPlan], clock: datetime, using: str, now: datetime | None
) -> list[Message]:
    """Record the times that were due under plans that an edit replaced; return the messages."""
    due: dict[datetime, Planned] = {}
    left = []
    for plan in former:
        occurrences, rest = planning.look_back(plan, job, clock)
        due |= {planned.planned_at: planned for planned in occurrences}
        left += [rest] if rest else []
    decided = _decided(job, list(due.values()), clock, using)
    move(
        job,
        using,
        unsettled=planning.to_note(left),
        last_run_at=clock if _fires(decided) else job.last_run_at,
    )
    return [message for planned in decided if (message := _record(job, planned, clock, using, now))]


def _fires(decided: list[Planned]) -> bool:
    return any(not planned.skipped_because for planned in decided)


def _decided(job: ScheduledJob, due: list[Planned], clock: datetime, using: str) -> list[Planned]:
    """Return the planned times that have no occurrence yet, each with its last reason to be skipped."""
    occurrences = Occurrence.objects.using(using).filter(scheduled_job=job)
    times = [planned.planned_at for planned in due]
    # The clock stepped back, or next_run_at was set back: what was decided once stays so.
    known = set(occurrences.filter(planned_at__in=times).values_list("planned_at", flat=True))
    unfinished = job.overlap == ScheduledJob.Overlap.SKIP and _has_live_message(job, using)
    decided = []
    for planned in due:
        if planned.planned_at in known:
            continue
        if not planned.skipped_because and (reason := _reason(job, planned.planned_at, clock, unfinished)):
            planned = replace(planned, skipped_because=reason, skipped_count=1)
        unfinished |= job.overlap == ScheduledJob.Overlap.SKIP and not planned.skipped_because
        decided.append(planned)
    return decided


def _reason(job: ScheduledJob, planned_at: datetime, clock: datetime, unfinished: bool) -> str:
    if job.deadline is not None and visible_at(job, planned_at) + job.deadline <= clock:
        return "deadline: it had passed when this was noticed"
    if unfinished:
        return "overlap: an earlier message of this schedule is unfinished"
    return ""


def _has_live_message(job: ScheduledJob, using: str) -> bool:
    """Whether a message of the schedule lives, however it was made: planned, by hand, or redriven."""
    return Message.objects.using(using).filter(scheduled_job_id=job.pk).exists()


def _record(
    job: ScheduledJob, planned: Planned, clock: datetime, using: str, now: datetime | None
) -> Message | None:
    message = None
    if not planned.skipped_because:
        visible = visible_at(job, planned.planned_at)
        # A message that may start at once is given the database's clock: workers who remember how far
        # they have read would look past one from before.
        message = send(job, planned.planned_at, visible, at_once=visible <= clock, using=using, now=now)
    occurrence = Occurrence(
        scheduled_job=job,
        planned_at=planned.planned_at,
        fired_at=clock,
        message_id=None if message is None else message.pk,
        skipped_because=planned.skipped_because,
        skipped_count=min(planned.skipped_count, HIGHEST_COUNT),
    )
    occurrence.save(force_insert=True, using=using)
    announce = partial(
        occurrence_fired.send_robust, ScheduledJob, occurrence=occurrence, message=message, schedule=job
    )
    transaction.on_commit(announce, using=using, robust=True)
    return message


def visible_at(job: ScheduledJob, planned_at: datetime) -> datetime:
    """Return when the message of a planned time may start: the deadline counts from here."""
    return planned_at + spread_delay(job.pk, planned_at, job.spread)


def send(
    job: ScheduledJob,
    planned_at: datetime,
    visible: datetime,
    *,
    at_once: bool,
    using: str,
    now: datetime | None,
) -> Message:
    """Enqueue the message of a planned time, in the current transaction: at once, or from `visible` on."""
    return messages.enqueue_occurrence(
        job,
        planned_at,
        payload_of(job, planned_at),
        visible_at=None if at_once else visible,
        deadline=None if job.deadline is None else visible + job.deadline,
        using=using,
        now=now,
    )


def payload_of(job: ScheduledJob, planned_at: datetime) -> Any:
    """Return the row's payload; a scheduled event without one says which event it is.

    Its id is the same however often it is asked for, so that a receiver can tell events apart by it.
    """
    if job.type != SCHEDULED or job.payload is not None:
        return job.payload
    time = planned_at.isoformat()
    return {"id": str(uuid5(NAMESPACE_URL, f"letsgo:{job.pk}:{time}")), "time": time, "schedule": job.name}
