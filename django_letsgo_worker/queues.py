"""Verbs on queues: pause, resume, list and purge; the only writer of Queue.

A queue exists by having messages; only one that was paused once has a row.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from . import messages, validation
from .conf import settings
from .engines import engine_for
from .models import Queue


def pause(
    name: str,
    *,
    by: str = "",
    reason: str = "",
    resume_at: datetime | None = None,
    seconds: float | timedelta | None = None,
    using: str | None = None,
) -> Queue:
    """Let no worker claim from the queue `name` until resume(), `resume_at`, or `seconds` from now.

    `resume_at` is an aware datetime, `seconds` a number above 0 or a timedelta, which wins; the queue resumes
    within a minute of either. `by` and `reason` say who does it and why; they are cut at 150 and 255
    characters. `using` is a database alias, the setting DATABASE if None. Workers notice within a second;
    messages that run continue. Raises InvalidMessage for an invalid name or time.
    """
    alias = using or settings().database
    validation.check_name("queue", name)
    clock = engine_for(alias).clock()
    facts = messages.pause_facts(clock, by=by, reason=reason, seconds=seconds, resume_at=resume_at)
    queue, _ = Queue.objects.using(alias).update_or_create(name=name, defaults=facts)
    return queue


def resume(name: str, *, using: str | None = None) -> bool:
    """Let workers claim from the queue `name` again; return whether it was paused.

    `using` is a database alias, the setting DATABASE if None.
    """
    alias = using or settings().database
    return _resume(name, alias)


def _resume(name: str, alias: str) -> bool:
    rows = Queue.objects.using(alias).filter(name=name, paused_at__isnull=False)
    changed = rows.update(paused_at=None, paused_by="", pause_reason="", resume_at=None)
    if changed:
        engine_for(alias).notify(name, 0)
    return bool(changed)


def paused(*, using: str | None = None) -> set[str]:
    """Return the names of the paused queues in the database `using`."""
    alias = using or settings().database
    rows = Queue.objects.using(alias).filter(paused_at__isnull=False)
    return set(rows.values_list("name", flat=True))


def resume_due(*, now: datetime | None = None, using: str | None = None) -> int:
    """Resume the queues whose time has come; return how many."""
    alias = using or settings().database
    clock = now or engine_for(alias).clock()
    due = Queue.objects.using(alias).filter(Q(paused_at__isnull=False) & Q(resume_at__lte=clock))
    return sum(_resume(name, alias) for name in list(due.values_list("name", flat=True)))


def names(*, using: str | None = None) -> list[str]:
    """Return the queues that have messages or a row, sorted; found by skipping through the index."""
    alias = using or settings().database
    found = {lane.queue for lane in engine_for(alias).lanes()}
    return sorted(found | set(Queue.objects.using(alias).values_list("name", flat=True)))


def purge(name: str, *, using: str | None = None) -> int:
    """Delete the live messages that the queue `name` has now, even those that run; return how many.

    Nothing is archived. A process that runs one loses its lease; one that an atomic handler holds in its
    transaction is left alone. `using` is a database alias, the setting DATABASE if None. Raises
    InvalidMessage for an invalid name.
    """
    alias = using or settings().database
    validation.check_name("queue", name)
    until = engine_for(alias).clock()
    total = 0
    while batch := messages.purge_batch(name, until=until, using=alias):
        total += batch
    return total
