"""Rows of scheduled jobs: found, locked, and moved by compare-and-set.

The verbs, and what a round decides, say what to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet

from ..conf import settings
from ..engines import engine_for
from ..errors import LetsGoError
from ..models import ScheduledJob


class Overtaken(LetsGoError):
    """The schedule was moved by another process after it was read; nothing was written."""


def alias_of(using: str | None) -> str:
    return using or settings().database


def lock(using: str, **wanted: Any) -> ScheduledJob | None:
    """Lock the one row that is wanted and read it, waiting for others; None if there is none.

    Call it inside a transaction.
    """
    return _locking(ScheduledJob.objects.using(using).filter(**wanted), using).first()


def lock_free(using: str, ids: Sequence[int]) -> list[ScheduledJob]:
    """Lock those of the rows that no other process has, in the order of their next runs, and read them.

    Call it inside a transaction.
    """
    rows = ScheduledJob.objects.using(using).filter(pk__in=ids).order_by("next_run_at", "pk")
    return list(_locking(rows, using, skip_locked=True))


def _locking(
    rows: QuerySet[ScheduledJob], using: str, *, skip_locked: bool = False
) -> QuerySet[ScheduledJob]:
    if not engine_for(using).skip_locked:
        # Where rows have no locks, a write takes the turn, were it of no row: a read that becomes a write
        # fails at once when another process wrote in between.
        ScheduledJob.objects.using(using).filter(pk=-1).update(version=F("version"))
    return rows.select_for_update(skip_locked=skip_locked)


def move(
    job: ScheduledJob, version: int, next_run_at: datetime | None, columns: dict[str, Any], using: str
) -> None:
    """Write columns of a row that still has this version and next run; else raise Overtaken.

    The lock alone would do where there is one. This also holds where it was lost, or where there was none.
    """
    rows = ScheduledJob.objects.using(using).filter(pk=job.pk, version=version)
    if next_run_at is None:
        rows = rows.filter(next_run_at__isnull=True)
    else:
        rows = rows.filter(next_run_at=next_run_at)
    columns["version"] = version + 1
    if not rows.update(**columns):
        raise Overtaken(f"The schedule {job.name!r} was moved by another process.")
    job.version = version + 1
