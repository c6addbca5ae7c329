"""Rows of scheduled jobs: found, locked, and moved by compare-and-set.

operations, firing, occurrences and sync decide what to write.
"""

from __future__ import annotations

from typing import Any

from django.db.models import F

from ..conf import settings
from ..engines import engine_for
from ..errors import LetsGoError
from ..models import ScheduledJob


class Overtaken(LetsGoError):
    """The schedule was moved by another process after it was read; nothing was written."""


def alias_of(using: str | None) -> str:
    return using or settings().database


def lock(using: str, *, skip_locked: bool = False, **wanted: Any) -> ScheduledJob | None:
    """Lock the one row that is wanted and read it; None if there is none, or if another process has it.

    Without skip_locked it waits for others. Call it inside a transaction.
    """
    rows = ScheduledJob.objects.using(using).filter(**wanted)
    engine = engine_for(using)
    if not engine.skip_locked:
        # Where rows have no locks, a write takes the turn: a read that becomes a write fails at once
        # when another process wrote in between.
        rows.update(version=F("version"))
    return rows.select_for_update(skip_locked=skip_locked and engine.skip_locked).first()


def move(job: ScheduledJob, using: str, **columns: Any) -> None:
    """Write columns of a row, if its plan is still the one that was read; else raise Overtaken.

    The lock alone would do where there is one. This also holds where it was lost, or where there was none.
    """
    rows = ScheduledJob.objects.using(using).filter(pk=job.pk, version=job.version)
    if job.next_run_at is None:
        rows = rows.filter(next_run_at__isnull=True)
    else:
        rows = rows.filter(next_run_at=job.next_run_at)
    columns["version"] = job.version + 1
    if not rows.update(**columns):
        raise Overtaken(f"The schedule {job.name!r} was moved by another process.")
    for name, value in columns.items():
        setattr(job, name, value)
