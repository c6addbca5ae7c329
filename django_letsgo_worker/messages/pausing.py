"""Pauses: what is written of each, and the verbs for types, which pause as queues do.

The only writer of PausedType. Claims read it themselves; the verbs for queues are elsewhere.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from .. import validation
from ..conf import settings
from ..engines import Engine, engine_for
from ..models import PausedType

logger = logging.getLogger("django_letsgo_worker.messages")


def pause_type(
    name: str,
    *,
    by: str = "",
    reason: str = "",
    seconds: float | timedelta | None = None,
    resume_at: datetime | None = None,
    using: str | None = None,
) -> PausedType:
    """Let no worker claim the type `name` until resume_type(), `resume_at`, or `seconds` from now.

    `resume_at` is an aware datetime, `seconds` a number above 0 or a timedelta, which wins; the type resumes
    within a minute of either. `by` and `reason` say who does it and why; they are cut at 150 and 255
    characters. `using` is a database alias, the setting DATABASE if None. The next claim of each worker
    passes over its messages; those that run continue, and new ones may be enqueued. Raises InvalidMessage
    for an invalid name or time.
    """
    alias = using or settings().database
    validation.check_name("type", name)
    clock = engine_for(alias).clock()
    facts = pause_facts(clock, by=by, reason=reason, seconds=seconds, resume_at=resume_at)
    paused, _ = PausedType.objects.using(alias).update_or_create(name=name, defaults=facts)
    return paused


def pause_facts(
    clock: datetime,
    *,
    by: str,
    reason: str,
    seconds: float | timedelta | None,
    resume_at: datetime | None,
) -> dict[str, Any]:
    """Return the columns of a pause, of a type or a queue, that begins at `clock`.

    `by`, `reason`, `seconds` and `resume_at` are those of pause_type(). Raises InvalidMessage for an invalid
    time.
    """
    if seconds is not None:
        resume_at = clock + timedelta(
            seconds=validation.check_seconds("seconds", seconds, least_exclusive=True)
        )
    elif resume_at is not None:
        resume_at = validation.check_moment("resume_at", resume_at)
    return {"paused_at": clock, "paused_by": by[:150], "pause_reason": reason[:255], "resume_at": resume_at}


def resume_type(name: str, *, by: str = "", using: str | None = None) -> bool:
    """Let workers claim messages of the type `name` again; return whether it was paused.

    `by` says who does it, in the log. `using` is a database alias, the setting DATABASE if None. Waiting
    workers find its messages at once, busy ones within five seconds.
    """
    alias = using or settings().database
    deleted, _ = PausedType.objects.using(alias).filter(name=name).delete()
    if deleted:
        logger.info("The type %s was resumed%s.", name, f" by {by}" if by else "")
        _tell_workers(engine_for(alias))
    return bool(deleted)


def _tell_workers(engine: Engine) -> None:
    """Tell idle workers of each lane with due messages, where that is possible: any may have the type."""
    for lane in engine.lanes() if engine.can_listen else ():
        if not (lane.due_in or lane.is_paused):
            engine.notify(lane.queue, lane.priority)


def paused_types(*, using: str | None = None) -> dict[str, PausedType]:
    """Return the types that are paused, by name: each row says since when, by whom, why and until when.

    `using` is a database alias, the setting DATABASE if None.
    """
    rows = PausedType.objects.using(using or settings().database).order_by("name")
    return {row.name: row for row in rows}


def resume_due_types(*, now: datetime | None = None, using: str | None = None) -> int:
    """Resume the types whose time has come; return how many.

    `now` is an aware datetime in place of the database's clock, `using` a database alias, DATABASE of the
    settings if None.
    """
    alias = using or settings().database
    clock = now or engine_for(alias).clock()
    due = PausedType.objects.using(alias).filter(resume_at__lte=clock)
    return sum(resume_type(name, using=alias) for name in list(due.values_list("name", flat=True)))
