"""The runs of schedules: the results of the last ones, and the times of the next ones.

Planning decides when a schedule runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.db.models import OuterRef, Subquery

from ..models import ArchivedMessage, Message, Occurrence, ScheduledJob
from .work import state_of


@dataclass(frozen=True, slots=True)
class Run:
    """One occurrence and, if it still exists, its message."""

    occurrence: Occurrence
    message: Message | ArchivedMessage | None

    def result(self, now: datetime) -> str:
        """Return an outcome, a live message's state, skipped, or pruned."""
        if self.occurrence.message_id is None:
            return "skipped"
        return state_of(self.message, now) if self.message else "pruned"


def newest_runs(job_ids: Sequence[int], *, using: str) -> dict[int, Run]:
    """Return the newest occurrence of each of these schedules, by three statements."""
    if not job_ids:
        return {}
    newest = Occurrence.objects.filter(scheduled_job=OuterRef("pk")).order_by("-planned_at").values("pk")[:1]
    jobs = ScheduledJob.objects.using(using).filter(pk__in=job_ids)
    ids = jobs.annotate(newest=Subquery(newest)).values("newest")
    occurrences = Occurrence.objects.using(using).filter(pk__in=ids)
    return {run.occurrence.scheduled_job_id: run for run in _with_messages(occurrences, using)}


def last_runs(job_id: int, count: int, *, using: str) -> list[Run]:
    """Return the newest occurrences of one schedule, newest first."""
    rows = Occurrence.objects.using(using).filter(scheduled_job_id=job_id).order_by("-planned_at")
    return _with_messages(rows[:count], using)


def _with_messages(occurrences: Iterable[Occurrence], using: str) -> list[Run]:
    rows = list(occurrences)
    ids = [row.message_id for row in rows if row.message_id is not None]
    found: dict[int, Message | ArchivedMessage] = {}
    if ids:
        live = Message.objects.using(using).filter(pk__in=ids)
        found |= {m.pk: m for m in live.only("pk", "type", "visible_at", "leased_by", "attempts")}
        ended = ArchivedMessage.objects.using(using).filter(pk__in=ids)
        columns = ("pk", "type", "outcome", "finished_at", "seconds", "error_class")
        found |= {m.pk: m for m in ended.only(*columns)}
    return [Run(row, None if row.message_id is None else found.get(row.message_id)) for row in rows]


def next_runs(job: ScheduledJob, count: int, now: datetime) -> list[datetime]:
    """Return the next planned times; for a schedule that is off, those that it would have if it were on.

    Raises InvalidSchedule.
    """
    if job.enabled:
        return job.next_runs(count)
    times = islice(job.recurrence.occurrences_after(now), count)
    return [moment for moment in times if job.ends_at is None or moment <= job.ends_at]
