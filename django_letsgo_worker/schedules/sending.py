"""A planned time becomes a message.

Whether it does, and that it does so once, is decided in firing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .. import messages
from ..models import Message, ScheduledJob
from ..planning import spread_delay

SCHEDULED = "letsgo:scheduled"


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
        job.pk,
        job.name,
        planned_at,
        job.type,
        payload_of(job, planned_at),
        visible_at=None if at_once else visible,
        queue=job.queue,
        priority=job.priority,
        max_attempts=job.max_attempts,
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
