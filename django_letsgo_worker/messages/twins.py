"""Live twins: what enqueue() does about a live message with the same type and unique key.

No engine lets the constraint fire, so the caller's transaction stays usable.
"""

from __future__ import annotations

import json
from datetime import timedelta

from django.db import OperationalError, connections, transaction

from ..engines import NewRow, engine_for
from ..errors import DuplicateMessage
from ..models import Message
from .notify import notify


def twin_of(row: NewRow, on_conflict: str, alias: str) -> Message | None:
    """Return the live twin as on_conflict wants it, or None when it has gone meanwhile."""
    assert row.unique_key is not None
    if on_conflict == "replace":
        return _replace(row, alias)
    twin = _look_at_twin(row, alias)
    if twin is not None:
        if on_conflict == "raise":
            raise DuplicateMessage(row.type, row.unique_key, message_id=twin.pk)
        twin.created = False
    return twin


def _look_at_twin(row: NewRow, alias: str) -> Message | None:
    """Return the live twin as it is now, whatever older state the caller's transaction sees."""
    twins = Message.objects.using(alias).filter(type=row.type, unique_key=row.unique_key)
    connection = connections[alias]
    if connection.vendor != "mysql" or not connection.in_atomic_block:
        return twins.first()
    # Under REPEATABLE READ a plain read may show a twin that has ended, or miss the one that the INSERT
    # ran into; a locking read sees the present. It does not wait: what is locked is there.
    try:
        return twins.select_for_update(nowait=True).first()
    except OperationalError:
        return twins.first()


def _replace(row: NewRow, alias: str) -> Message | None:
    """Give a waiting twin the new payload, times and options under its id."""
    assert row.unique_key is not None
    engine = engine_for(alias)
    with transaction.atomic(using=alias):
        twins = Message.objects.using(alias).filter(type=row.type, unique_key=row.unique_key)
        locked = twins.select_for_update(skip_locked=True) if engine.skip_locked else twins
        twin = locked.first()
        if twin is None:
            _refuse_locked_twin(row, alias)
            return None
        clock = engine.clock()
        if twin.leased_by is not None:
            raise DuplicateMessage(row.type, row.unique_key, message_id=twin.pk, why="it is running")
        twin.payload, twin.headers = json.loads(row.payload), json.loads(row.headers)
        twin.queue, twin.priority, twin.max_attempts = row.queue, row.priority, row.max_attempts
        twin.visible_at = row.visible_at or clock + timedelta(seconds=row.delay_seconds)
        twin.deadline = row.deadline
        if row.deadline_seconds is not None:
            twin.deadline = clock + timedelta(seconds=row.deadline_seconds)
        twin.attempts, twin.receipt = 0, twin.receipt + 1
        twin.save(using=alias)
        twin.created = False
    notify(alias, row.queue, row.priority)
    return twin


def _refuse_locked_twin(row: NewRow, alias: str) -> None:
    """Raise when the twin is there but locked; return when it has gone."""
    assert row.unique_key is not None
    twin = Message.objects.using(alias).filter(type=row.type, unique_key=row.unique_key).first()
    if twin is not None:
        raise DuplicateMessage(row.type, row.unique_key, message_id=twin.pk, why="it is running")
