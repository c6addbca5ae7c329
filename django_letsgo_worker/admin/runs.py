"""What became of the runs of schedules, looked up for a whole page at once: occurrences and their messages.

How it looks is for the page of schedules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Subquery

from ..models import ArchivedMessage, Message, Occurrence, ScheduledJob
from .snapshot import Reading


@dataclass(frozen=True, slots=True)
class Run:
    """One occurrence and, as far as it still exists, its message."""

    occurrence: Occurrence
    message: Message | ArchivedMessage | None

    def result(self, now: datetime) -> str:
        """Return an outcome, a live message's state, skipped, or pruned."""
        if self.occurrence.message_id is None:
            return "skipped"
        if isinstance(self.message, ArchivedMessage):
            return str(self.message.outcome)
        return self.message.state_at(now) if self.message else "pruned"


def newest_runs(page: Reading, job_ids: Sequence[int]) -> dict[int, Run]:
    """Return the newest occurrence of each of these schedules, by three statements."""
    if not job_ids:
        return {}
    newest = Occurrence.objects.filter(scheduled_job=OuterRef("pk")).order_by("-planned_at").values("pk")[:1]
    jobs = ScheduledJob.objects.using(page.using).filter(pk__in=job_ids)
    ids = jobs.annotate(newest=Subquery(newest)).values("newest")
    occurrences = Occurrence.objects.using(page.using).filter(pk__in=ids)
    return {run.occurrence.scheduled_job_id: run for run in _with_messages(page, occurrences)}


def last_runs(page: Reading, job_id: int, count: int) -> list[Run]:
    """Return the newest occurrences of one schedule, the newest first."""
    rows = Occurrence.objects.using(page.using).filter(scheduled_job_id=job_id).order_by("-planned_at")
    return _with_messages(page, rows[:count])


def _with_messages(page: Reading, occurrences: Iterable[Occurrence]) -> list[Run]:
    rows = list(occurrences)
    ids = [row.message_id for row in rows if row.message_id is not None]
    found: dict[int, Message | ArchivedMessage] = {}
    if ids:
        live = Message.objects.using(page.using).filter(pk__in=ids)
        found |= {m.pk: m for m in live.only("pk", "type", "visible_at", "leased_by", "attempts")}
        ended = ArchivedMessage.objects.using(page.using).filter(pk__in=ids)
        columns = ("pk", "type", "outcome", "finished_at", "seconds", "error_class")
        found |= {m.pk: m for m in ended.only(*columns)}
    return [Run(row, None if row.message_id is None else found.get(row.message_id)) for row in rows]
