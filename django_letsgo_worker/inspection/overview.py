"""What stands on one page about all of the queue: the work now, the next runs, new versions of workers.

Problems and rates have modules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..models import LIVE_STATES, ArchivedMessage, Message, Process, ScheduledJob
from .snapshot import Snapshot
from .work import Work, total


@dataclass(frozen=True, slots=True)
class Totals:
    """The work of all queues by state, a count that hit a cap as AtLeast, and who is there to do it."""

    ready: int
    running: int
    retrying: int
    scheduled: int
    dead: int
    oldest_ready: datetime | None
    queues: int
    workers: int
    seats: int
    schedulers: int


def totals(snapshot: Snapshot) -> Totals:
    """Return the work of all queues together, at the moment of the snapshot."""
    work = list(snapshot.work({lane.queue for lane in snapshot.lanes}).values())
    oldest = [one.oldest_ready for one in work if one.oldest_ready is not None]
    return Totals(
        **_by_state(work),
        dead=total(snapshot.dead.values()),
        oldest_ready=min(oldest, default=None),
        queues=len(work),
        workers=len(snapshot.workers),
        seats=sum(worker.seats for worker in snapshot.workers),
        schedulers=sum(1 for one in snapshot.living if one.kind == Process.Kind.SCHEDULER),
    )


def live_by_state(snapshot: Snapshot) -> dict[str, int]:
    """Return how many live messages are in each state, and all of them as `live`."""
    counts = _by_state(list(snapshot.work({lane.queue for lane in snapshot.lanes}).values()))
    return {"live": total(counts.values()), **counts}


def _by_state(work: Sequence[Work]) -> dict[str, int]:
    return {name: total(getattr(one, name) for one in work) for name in LIVE_STATES}


def next_jobs(using: str, count: int) -> list[ScheduledJob]:
    """Return the schedules that run next, without their payloads."""
    rows = ScheduledJob.objects.using(using).filter(enabled=True, next_run_at__isnull=False)
    return list(rows.defer("payload").order_by("next_run_at")[:count])


def has_history(using: str) -> bool:
    """Return whether anything was ever enqueued, as far as the rows still say."""
    return any(model.objects.using(using).exists() for model in (Message, ArchivedMessage))


def new_versions(processes: Sequence[Process]) -> list[tuple[datetime, str]]:
    """Return when workers of a version began that none had before, of the processes of the last day."""
    found: list[tuple[datetime, str]] = []
    workers = [one for one in processes if one.kind == Process.Kind.WORKER and one.version]
    for worker in sorted(workers, key=lambda one: one.started_at):
        if worker.version not in {version for _at, version in found}:
            found.append((worker.started_at, worker.version))
    # The first one is no news: what ran before it is not known any more.
    return found[1:]
