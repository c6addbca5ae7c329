"""Schedules that the code declares, brought in step with their rows when a scheduler starts.

The code decides expression, zone, type and payload; people decide whether a row is on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError

from .. import planning, registry
from ..conf import settings
from ..declarations import Declared, declared
from ..engines import engine_for
from ..errors import InvalidSchedule
from ..models import ScheduledJob
from .locking import alias_of, lock
from .occurrences import SCHEDULED

logger = logging.getLogger("django_letsgo_worker.schedules")

BUILT_IN = "worker"
VANISHED = "no longer declared in code"


def declared_in_settings() -> list[Declared]:
    """Return the built-in schedule as SCHEDULE and SCHEDULE_TIMEZONE ask for it; none if SCHEDULE is empty.

    Raises InvalidSchedule, which names the setting.
    """
    asked = settings()
    if not asked.schedule:
        return []
    declared = Declared(
        name=BUILT_IN, schedule=asked.schedule, type=SCHEDULED, timezone=asked.schedule_timezone
    )
    try:
        planning.check_expression(declared.schedule, declared.timezone)
    except InvalidSchedule as error:
        key = "SCHEDULE" if error.field == "schedule" else "SCHEDULE_TIMEZONE"
        raise InvalidSchedule(f"LETSGO_WORKER[{key!r}] is refused: {error}", field=error.field) from None
    return [declared]


def is_built_in_used() -> bool:
    """Whether the project handles what the built-in schedule sends; our own handler only logs it."""
    handler = registry.find(SCHEDULED)
    return handler is not None and not handler.is_shipped


def declared_in_code() -> list[Declared]:
    """Return the built-in schedule and those that handlers declare; the settings win a name."""
    built_in = declared_in_settings()
    return built_in + [one for one in declared() if one.name != BUILT_IN]


def sync_declared(
    declarations: Iterable[Declared], *, using: str | None = None, now: datetime | None = None
) -> None:
    """Make the rows say what the code declares; nothing is written where they already do.

    A row that was made by hand under a declared name is left alone, with a warning. A schedule that is no
    longer declared is switched off with that reason, and on again when it comes back; only the built-in
    schedule's row is removed. Raises InvalidSchedule or InvalidMessage.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    wanted = {one.name: one for one in declarations}
    rows = {row.name: row for row in ScheduledJob.objects.using(alias).filter(name__in=wanted)}
    for one in wanted.values():
        if one.name not in rows:
            _create(one, alias, clock)
        elif not rows[one.name].declared_in_code:
            logger.warning("Schedule %r was made by hand; the one declared in code is not used.", one.name)
        elif _differs(rows[one.name], one):
            _bring_in_step(one, alias, clock)
    gone = ScheduledJob.objects.using(alias).filter(declared_in_code=True).exclude(name__in=wanted)
    for name in gone.values_list("name", flat=True):
        _retire(name, alias, clock)


def _differs(row: ScheduledJob, declared: Declared) -> bool:
    if not row.enabled and row.switch_reason == VANISHED:
        return True
    return any(getattr(row, column) != value for column, value in declared.columns().items())


def _create(declared: Declared, using: str, clock: datetime) -> None:
    job = ScheduledJob(name=declared.name, declared_in_code=True, **declared.columns())
    _check(job, clock)
    try:
        with engine_for(using).transaction():
            job.save(using=using, force_insert=True, now=clock)
    except IntegrityError:
        # Another scheduler, started at the same moment, was first.
        logger.debug("Schedule %r already exists.", declared.name)
    else:
        logger.info("Schedule %r, declared in code, was added.", job.name, extra={"schedule": job.name})


def _bring_in_step(declared: Declared, using: str, clock: datetime) -> None:
    with engine_for(using).transaction():
        job = lock(using, name=declared.name)
        if job is None or not _differs(job, declared):
            return
        if not job.enabled and job.switch_reason == VANISHED:
            job.enabled, job.next_run_at = True, None
        for column, value in declared.columns().items():
            setattr(job, column, value)
        _check(job, clock)
        job.save(using=using, now=clock)
    logger.info("Schedule %r was changed to what the code says.", job.name, extra={"schedule": job.name})


def _check(job: ScheduledJob, clock: datetime) -> None:
    for _field, refusal in planning.refusals(job, clock):
        raise type(refusal)(f"The declared schedule {job.name!r} is refused: {refusal}")


def _retire(name: str, using: str, clock: datetime) -> None:
    with engine_for(using).transaction():
        job = lock(using, name=name)
        if job is None or not job.declared_in_code:
            return
        if name == BUILT_IN:
            job.delete(using=using)
            logger.info("Schedule %r was removed: the setting SCHEDULE is empty.", name)
        elif job.enabled:
            job.enabled, job.resume_at = False, None
            job.switched_at, job.switched_by, job.switch_reason = clock, "", VANISHED
            job.save(using=using, now=clock)
            logger.warning("Schedule %r was switched off: %s.", name, VANISHED, extra={"schedule": name})
