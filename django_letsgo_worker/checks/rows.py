"""Checks of rows: messages and schedules without a handler here, and queues without a worker.

They are made when Django is told which databases to check, best before a deploy, with the new code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from .. import registry
from ..engines import engine_for
from ..errors import NotReady
from ..inspection import Snapshot, alias_of_queue, types_waiting
from ..models import Message, Process, ScheduledJob


@register(Tags.database)
def check_rows(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Report waiting messages, schedules and queues that will not be handled."""
    alias = alias_of_queue()
    if alias is None or alias not in (databases or ()) or not _can_be_read(alias):
        return []
    return [*_check_messages(alias), *_check_schedules(alias), *_check_queues(alias)]


def _can_be_read(alias: str) -> bool:
    """Return whether there is anything to read: `migrate` makes these checks before it makes the tables."""
    try:
        engine_for(alias)
    except NotReady:
        # Another check reports it.
        return False
    tables = connections[alias].introspection.table_names()
    return all(model._meta.db_table in tables for model in (Message, ScheduledJob, Process))


def _check_messages(alias: str) -> Iterator[CheckMessage]:
    for type, queue in sorted(types_waiting(alias, engine_for(alias).lanes()).items()):
        if registry.find(type) is None:
            yield Warning(
                f"Messages of {type!r} wait in the queue {queue!r}, but this code has no handler for them.",
                hint="Keep its handler until they are done, or cancel them.",
                id="letsgo_worker.W010",
            )


def _check_schedules(alias: str) -> Iterator[CheckMessage]:
    rows = ScheduledJob.objects.using(alias).filter(enabled=True).order_by("name")
    for name, type in rows.values_list("name", "type"):
        if registry.find(type) is None:
            yield Warning(
                f"The schedule {name!r} enqueues {type!r}, but this code has no handler for it.",
                hint="Keep its handler, or switch the schedule off.",
                id="letsgo_worker.W011",
            )


def _check_queues(alias: str) -> Iterator[CheckMessage]:
    snapshot = Snapshot(alias)
    due = {
        lane.queue
        for lane in snapshot.lanes
        if lane.next_visible_at is not None and lane.next_visible_at <= snapshot.now
    }
    for queue in sorted(due):
        if not snapshot.workers_of(queue):
            yield Warning(
                f"Messages are due in the queue {queue!r}, but no living worker serves it.",
                hint=f"Run `manage.py runworker`, or one with `--queues {queue}`.",
                id="letsgo_worker.W012",
            )
