"""Overlap: what a planned time does while an earlier message of its schedule is unfinished.

A message that waits for earlier ones is held back: it is there, but not visible, and its schedule names it.
Each look of a scheduler asks whether they have ended, and lets it start then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from .. import messages, processes
from ..conf import settings
from ..models import Message, Process, ScheduledJob
from ..validation import END_OF_TIME
from .changes import Round

HELD = END_OF_TIME
SKIP, QUEUE, REPLACE = ScheduledJob.Overlap.SKIP, ScheduledJob.Overlap.QUEUE, ScheduledJob.Overlap.REPLACE


@dataclass(slots=True)
class Earlier:
    """The live messages of one schedule, however they were made: planned, by hand, or redriven."""

    # Those that may start or have started, and those that are held back.
    free: int = 0
    held: int = 0
    # Whether the next run has to wait for one that runs, or for the code of one that was cancelled.
    is_running: bool = False
    # Those that the next run replaces, locked.
    replaced: list[Message] = field(default_factory=list)

    def reason(self, overlap: str, *, is_last: bool) -> str:
        """Return why a planned time is skipped, "" if it is not."""
        if overlap == SKIP and (self.free or self.held):
            return "overlap: an earlier message of this schedule is unfinished"
        if overlap == QUEUE and self.held:
            return "overlap: an earlier message of this schedule waits already"
        if overlap == REPLACE and not is_last:
            return "overlap: the next run replaces it"
        return ""

    def holds(self, overlap: str) -> bool:
        """Whether the message of a planned time has to wait for earlier ones."""
        return bool(self.free) if overlap == QUEUE else overlap == REPLACE and self.is_running

    def add(self, *, is_held: bool) -> None:
        self.held += is_held
        self.free += not is_held


def earlier_messages(jobs: Sequence[ScheduledJob], using: str) -> dict[int, Earlier]:
    """Return what lives of each of these schedules."""
    found = {job.pk: Earlier(is_running=bool(job.waiting_behind)) for job in jobs}
    counted = [job.pk for job in jobs if job.overlap != REPLACE]
    for message in _live(counted, using).only("scheduled_job_id", "visible_at"):
        _of(message, found).add(is_held=message.visible_at == HELD)
    replacing = [job.pk for job in jobs if job.overlap == REPLACE]
    locked = list(_live(replacing, using).select_for_update(skip_locked=True)) if replacing else []
    for message in locked:
        earlier = _of(message, found)
        earlier.replaced.append(message)
        earlier.is_running |= message.leased_by is not None
    # Another process is about to claim the others, or an atomic handler has them in its transaction.
    others = _live(replacing, using).exclude(pk__in=[message.pk for message in locked])
    for message in others.only("scheduled_job_id"):
        _of(message, found).is_running = True
    return found


def _of(message: Message, found: dict[int, Earlier]) -> Earlier:
    assert message.scheduled_job_id is not None
    return found[message.scheduled_job_id]


def _live(job_ids: Sequence[int], using: str) -> QuerySet[Message]:
    return Message.objects.using(using).filter(scheduled_job_id__in=job_ids)


def replace_earlier(job: ScheduledJob, earlier: Earlier, round: Round) -> None:
    """Cancel the messages that the next run replaces, and note whose code still runs: it is told."""
    if not earlier.replaced:
        return
    messages.cancel_locked(earlier.replaced, round.clock, round.using)
    told_at = round.clock.isoformat()
    told = [
        [message.pk, str(message.leased_by), told_at]
        for message in earlier.replaced
        if message.leased_by is not None
    ]
    job.waiting_behind = [*(job.waiting_behind or ()), *told]


def hold(job: ScheduledJob, message: Message, using: str) -> None:
    """Note which message waits, and behind the code of which cancelled ones."""
    job.waiting_message_id = message.pk
    _note(job, using)


def release(jobs: Sequence[ScheduledJob], round: Round) -> None:
    """Let those of the waiting messages start before which nothing runs any more."""
    waiting = [job for job in jobs if job.waiting_message_id is not None]
    if not waiting:
        return
    living = _live([job.pk for job in waiting], round.using).values_list("scheduled_job_id", "pk")
    busy = {job_id for job_id, id in living if id not in {job.waiting_message_id for job in waiting}}
    running = _Running(round)
    free: list[int] = []
    for job in waiting:
        before, job.waiting_behind = job.waiting_behind, running.among(job.waiting_behind)
        if job.pk not in busy and job.waiting_behind is None:
            free += [job.waiting_message_id] if job.waiting_message_id else []
            job.waiting_message_id = None
        if before != job.waiting_behind or job.waiting_message_id is None:
            _note(job, round.using)
    messages.let_start(free, HELD, using=round.using, now=round.now)


def release_of_deleted(instance: ScheduledJob, using: str, **kwargs: Any) -> None:
    """Let the message start that waited, now that no schedule names it any more."""
    if instance.waiting_message_id is not None:
        messages.let_start([instance.waiting_message_id], HELD, using=using)


def _note(job: ScheduledJob, using: str) -> None:
    columns = {"waiting_message_id": job.waiting_message_id, "waiting_behind": job.waiting_behind}
    ScheduledJob.objects.using(using).filter(pk=job.pk).update(**columns)


class _Running:
    """Tells whether the code of a cancelled message still runs, by what its worker says of itself."""

    def __init__(self, round: Round) -> None:
        self.round = round
        self._processes: dict[str, Process | None] = {}

    def among(self, behind: Any) -> list[Any] | None:
        return [one for one in behind or () if self._runs(*one)] or None

    def _runs(self, message_id: int, process_id: str, told_at: str) -> bool:
        if process_id not in self._processes:
            rows = Process.objects.using(self.round.using)
            self._processes[process_id] = rows.filter(pk=UUID(process_id)).first()
        process = self._processes[process_id]
        if process is None or process.state == Process.State.STOPPED:
            return False
        if process.heartbeat_at < self.round.clock - processes.silent_after(process.kind):
            return False
        # A heartbeat renews leases first, and learns what was cancelled; only then is its row written.
        beat = timedelta(seconds=settings().lease_seconds / 3)
        has_learnt = process.heartbeat_at > datetime.fromisoformat(told_at) + beat
        return message_id in process.overrunning or not has_learnt
