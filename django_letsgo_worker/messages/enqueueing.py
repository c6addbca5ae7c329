"""Enqueue: one INSERT on the caller's connection, in the caller's transaction; or the key's live twin.

arguments.py decides what may be a message, before any SQL. No engine lets the constraint on unique keys fire,
so the caller's transaction stays usable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal, TypedDict, Unpack

from asgiref.sync import sync_to_async
from django.db import DatabaseError, Error, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import context
from ..conf import settings
from ..engines import Inserted, NewRow, engine_for
from ..errors import DuplicateMessage, InvalidMessage
from ..hints import with_hints
from ..models import Message, ScheduledJob
from ..signals import message_enqueued
from ..typed import TypedMessage
from ..validation import private
from .arguments import Given, Many, check_on_conflict, row_of

# The number of times that a live twin may vanish between our INSERT and our look at it before we give up.
TRIES = 100

# What the database computes of a new message, and what its other columns are, unless the row says more.
MADE = ("enqueued_at", "visible_at", "deadline")
DEFAULTS = {
    field.attname: field.get_default() for field in Message._meta.concrete_fields if field.attname not in MADE
}

# Half of json.loads(): in what was just written nothing is around the value.
_read = json.JSONDecoder().raw_decode

OnConflict = Literal["return", "replace", "raise"]


class EnqueueOptions(TypedDict, total=False):
    """The options of enqueue(), for code that passes them on."""

    delay: float | timedelta | str | None
    visible_at: datetime | None
    queue: str | None
    priority: int | None
    max_attempts: int | None
    deadline: datetime | timedelta | str | None
    unique_key: str | None
    on_conflict: OnConflict
    headers: Mapping[str, Any] | None
    using: str | None


@private(Error, TypeError)
@with_hints("enqueue()")
def enqueue(
    type: str | Mapping[str, Any] | TypedMessage,
    payload: Any = None,
    *,
    delay: float | timedelta | str | None = None,
    visible_at: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    deadline: datetime | timedelta | str | None = None,
    unique_key: str | None = None,
    on_conflict: OnConflict = "return",
    headers: Mapping[str, Any] | None = None,
    using: str | None = None,
) -> Message:
    """Add a message; it exists if and only if the caller's transaction commits.

    `type` is a handler's, with a `payload` of JSON values; or a mapping {"type": ..., "payload": ...}, or an
    object of a @message_type class, its own payload. It may start after `delay` (seconds, a timedelta, or
    text: 90s, 10m, 1h30m, 2d) or from `visible_at` on (an aware datetime), and not after `deadline` (that, or
    a timedelta or text from now). `queue`, `priority` (-100 to 100, larger is sooner) and `max_attempts` (1
    to 32,000) are the handler's if None. `unique_key`, 1 to 200 characters, is that of one live message of
    the type: `on_conflict` return gives the live one back unchanged, replace gives it the new payload, times
    and options unless it runs, raise is DuplicateMessage. `headers` is a dictionary of JSON values beside the
    payload, `using` a database alias, the setting DATABASE if None.

    The returned message says in `created` whether it is new. Raises InvalidMessage before any SQL; nothing
    that it raises leaves the caller's transaction unusable.
    """
    carried = context.captured()
    check_on_conflict(on_conflict)
    given = Given(
        type=type, payload=payload, delay=delay, visible_at=visible_at, queue=queue, priority=priority,
        max_attempts=max_attempts, deadline=deadline, unique_key=unique_key, headers=headers,
    )  # fmt: skip
    return _send(row_of(given, carried), on_conflict, using or settings().database)


@private(Error, TypeError)
async def aenqueue(
    type: str | Mapping[str, Any] | TypedMessage, payload: Any = None, **options: Unpack[EnqueueOptions]
) -> Message:
    """Add a message from async code.

    `type`, `payload` and the options are those of enqueue(): `delay`, `visible_at`, `queue`, `priority`,
    `max_attempts`, `deadline`, `unique_key`, `on_conflict`, `headers` and `using`. The INSERT is done on the
    thread of sync_to_async(), so in the transaction of that thread, if there is one.
    """
    return await sync_to_async(enqueue, thread_sensitive=True)(type, payload, **options)


@private(Error)
def enqueue_many(messages: Iterable[Any], *, using: str | None = None, **defaults: Any) -> list[int]:
    """Add many messages in few statements; return their ids in order.

    `messages` are mappings with `type`, `payload` and any option of enqueue() but `using`, (type, payload)
    pairs, or objects of @message_type classes; `defaults` are options for those that do not say, `using` is
    the database alias of all. All are checked before the first is written, and all are written or none.
    Raises InvalidMessage, which gives the position of the first that is wrong, or DuplicateMessage.
    """
    alias = using or settings().database
    many, rows = Many(defaults, context.captured()), []
    for place, message in enumerate(messages):
        try:
            rows.append(many.row_of(message))
        except InvalidMessage as error:
            raise InvalidMessage(f"Message {place}: {error}") from None
    if not rows:
        return []
    with transaction.atomic(using=alias):
        return _send_rows(rows, alias, is_batch=True)[1]


def occurrence_row(
    job: ScheduledJob,
    planned_at: datetime,
    payload: Any,
    *,
    visible_at: datetime | None,
    deadline: datetime | None,
    **headers: Any,
) -> NewRow:
    """Return the message of a planned time, checked; visible_at None means at once."""
    given = Given(
        type=job.type, payload=payload,
        queue=job.queue, priority=job.priority, max_attempts=job.max_attempts,
    )  # fmt: skip
    row = row_of(given, {"schedule": job.name, **headers})
    # Each planned time has a message of its own, even if its type has one for each payload.
    return replace(
        row, visible_at=visible_at, deadline=deadline, scheduled_job_id=job.pk, planned_at=planned_at,
        unique_key=None,
    )  # fmt: skip


def enqueue_occurrences(rows: Sequence[NewRow], using: str, now: datetime | None = None) -> list[Message]:
    """Add the messages of planned times, in the current transaction; return them in order.

    Their moments are read from the database when they are asked for.
    """
    if not rows:
        return []
    sent, ids = _send_rows([(row, "return") for row in rows], using, now)
    made = [_in_hand(row, id, {}, using) for (row, _), id in zip(sent, ids, strict=True)]
    for message in made:
        _say_enqueued(message, using)
    return made


# -- the INSERT, and the carriers around it ------------------------------------------------------------------

# A row, and how to treat a live twin of its key.
Rows = Sequence[tuple[NewRow, str]]


def _send(row: NewRow, on_conflict: str, alias: str) -> Message:
    around = context.senders()
    if not around:
        return _insert(row, on_conflict, alias)
    with context.sending(around, [row]) as sending:
        message = _insert(sending.rows[0], on_conflict, alias)
        sending.ids, sending.created = [message.pk], bool(message.created)
    return message


def _send_rows(
    rows: Rows, alias: str, now: datetime | None = None, *, is_batch: bool = False
) -> tuple[Rows, list[int]]:
    """Insert rows; return them as they were written, and their ids."""
    around = context.senders()
    if not around:
        return rows, _insert_rows(rows, alias, now)
    with context.sending(around, [row for row, _ in rows], is_batch=is_batch) as sending:
        rows = [(row, on_conflict) for row, (_, on_conflict) in zip(sending.rows, rows, strict=True)]
        sending.ids = ids = _insert_rows(rows, alias, now)
    return rows, ids


_length = attrgetter("length")


def _insert_rows(rows: Rows, alias: str, now: datetime | None = None) -> list[int]:
    ids: list[int] = []
    waiting: list[NewRow] = []
    engine = engine_for(alias)

    def flush() -> None:
        for group in engine.in_groups(waiting, _length, engine.chunk):
            ids.extend(engine.insert_many(group, now))
        waiting.clear()

    for row, on_conflict in rows:
        if row.unique_key is None:
            waiting.append(row)
        else:
            flush()
            ids.append(_insert(row, on_conflict, alias, now).pk)
    flush()
    for queue, priority in {(row.queue, row.priority) for row, _ in rows}:
        _notify_on_commit(engine.connection, queue, priority)
    return ids


def _insert(row: NewRow, on_conflict: str, alias: str, now: datetime | None = None) -> Message:
    """Insert the row, or treat the live twin as on_conflict says."""
    engine = engine_for(alias)
    for tried in range(TRIES):
        try:
            inserted = engine.insert(row, now)
        except DatabaseError as error:
            # Two that enqueue the same key deadlocked. That ended the caller's transaction, if there is
            # one; the statement alone is tried again.
            if engine.connection.in_atomic_block or tried == TRIES - 1 or not engine.is_transient(error):
                raise
            continue
        if inserted is not None:
            return _announce(row, inserted, engine.connection)
        twin = _twin_of(row, on_conflict, alias)
        if twin is not None:
            return twin
    assert row.unique_key is not None
    raise DuplicateMessage(row.type, row.unique_key, why="it kept changing while enqueue() retried")


def _announce(row: NewRow, inserted: Inserted, connection: BaseDatabaseWrapper) -> Message:
    made = {
        "enqueued_at": inserted.enqueued_at,
        "visible_at": inserted.visible_at,
        "deadline": inserted.deadline,
    }
    # MySQL has no RETURNING: there these columns are deferred, and read on access.
    known = {} if inserted.enqueued_at is None else made
    message = _in_hand(row, inserted.id, known, connection.alias)
    if not inserted.notified:
        _notify_on_commit(connection, row.queue, row.priority)
    _say_enqueued(message, connection.alias)
    return message


def _in_hand(row: NewRow, id: int, made: Mapping[str, Any], alias: str) -> Message:
    """Return the message that was written as this row; what the database made, if not given, is deferred."""
    facts = {
        **DEFAULTS,
        **made,
        "id": id,
        "type": row.type,
        # Read from the text: what the caller gave is the caller's, and reading is the fastest copy.
        "payload": _read(row.payload)[0],
        "headers": {} if row.headers == "{}" else _read(row.headers)[0],
        "queue": row.queue,
        "priority": row.priority,
        "max_attempts": row.max_attempts,
        "unique_key": row.unique_key,
        "scheduled_job_id": row.scheduled_job_id,
        "planned_at": row.planned_at,
        "errors": [],
    }
    message = Message.in_hand(alias, facts, payload=row.payload, headers=row.headers, errors="[]")
    message.created = True
    return message


def _say_enqueued(message: Message, alias: str) -> None:
    if message_enqueued.receivers and message_enqueued.has_listeners(Message):
        message_enqueued.send_robust(sender=Message, message=message, using=alias)


# -- live twins ----------------------------------------------------------------------------------------------


def _twin_of(row: NewRow, on_conflict: str, alias: str) -> Message | None:
    """Return the live twin as on_conflict wants it, or None if it is gone by now."""
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
        twin = twins.select_for_update(skip_locked=True).first()
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
    _notify(alias, row.queue, row.priority)
    return twin


def _refuse_locked_twin(row: NewRow, alias: str) -> None:
    """Raise DuplicateMessage if the twin is there but locked; return if it is gone."""
    assert row.unique_key is not None
    twin = Message.objects.using(alias).filter(type=row.type, unique_key=row.unique_key).first()
    if twin is not None:
        raise DuplicateMessage(row.type, row.unique_key, message_id=twin.pk, why="it is running")


# -- idle workers --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Notify:
    """Wakes the idle workers of a lane when a transaction commits."""

    alias: str
    queue: str
    priority: int

    def __call__(self) -> None:
        engine_for(self.alias).notify(self.queue, self.priority)


def _notify(alias: str, queue: str, priority: int) -> None:
    connection = connections[alias]
    if connection.in_atomic_block:
        _notify_on_commit(connection, queue, priority)
    else:
        engine_for(alias).notify(queue, priority)


def _notify_on_commit(connection: BaseDatabaseWrapper, queue: str, priority: int) -> None:
    """Check again at commit: inside a transaction the INSERT saw the idle workers of that moment."""
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        return
    call = _Notify(connection.alias, queue, priority)
    last = connection.run_on_commit[-1:]
    if not last or last[0][1] != call or last[0][0] != set(connection.savepoint_ids):
        transaction.on_commit(call, using=connection.alias, robust=True)
