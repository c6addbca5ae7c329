"""Verbs for people on messages: find, cancel, redrive, discard.

Each adds 1 to the receipt of a live message, so that its holder can no longer write anything. None waits for
a message that an atomic handler holds: that raises MessageInTransaction, or the message is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import JSONField

from .. import counts
from ..conf import settings
from ..engines import ARCHIVE, TABLE, Engine, engine_for
from ..errors import DuplicateMessage, LetsGoError, MessageInTransaction, MessageNotFound
from ..models import ArchivedMessage, DeadLetter, Message
from ..outcomes import redrive_entry, with_entry
from ..validation import exact_json
from .enqueueing import enqueue
from .settlements import kept_outcomes

BATCH = 500
# Of a redrive: the payload that the dead letter has.
SAME: Any = object()
# The columns that a message has in both tables, those that it gets at its end, and those that are JSON.
_SHARED = tuple(field.attname for field in Message._meta.concrete_fields)
_ARCHIVED = ArchivedMessage._meta.concrete_fields
_ENDED = tuple(field.attname for field in _ARCHIVED if field.attname not in _SHARED)
_JSON = frozenset(field.attname for field in _ARCHIVED if isinstance(field, JSONField))


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The numbers of chosen rows: those that were changed, and those that were left as they are."""

    done: int
    skipped: int


def find(message_id: int, *, using: str | None = None) -> Message | ArchivedMessage:
    """Return the message of this id, live or archived, by one statement; MessageNotFound if neither.

    `message_id` is a whole number, `using` a database alias, the setting DATABASE if None.
    """
    alias = using or settings().database
    engine = engine_for(alias)

    def column(name: str) -> str:
        return f"{engine.json_text(name)} AS {name}" if name in _JSON else name

    shared = ", ".join(column(name) for name in _SHARED)
    sql = f"""
        SELECT {shared}, {", ".join(f"NULL AS {name}" for name in _ENDED)} FROM {TABLE} WHERE id = %s
        UNION ALL
        SELECT {shared}, {", ".join(column(name) for name in _ENDED)} FROM {ARCHIVE} WHERE id = %s
    """
    if isinstance(message_id, bool) or not isinstance(message_id, int) or not _possible([message_id]):
        raise MessageNotFound(message_id)
    for found in ArchivedMessage.objects.using(alias).raw(sql, [message_id, message_id]):
        return found if found.outcome else _as_live(found)
    raise MessageNotFound(message_id)


def _as_live(found: ArchivedMessage) -> Message:
    message = Message(**{name: getattr(found, name) for name in _SHARED})
    message._state.adding, message._state.db = False, found._state.db
    message._remember()
    return message


def cancel(message_id: int, *, using: str | None = None) -> ArchivedMessage:
    """Archive the live message `message_id` as cancelled, even if it runs; return its archived row.

    A running async handler is cancelled; a sync one continues, with `delivery.lease_lost` and `should_stop`
    set. Neither records anything. On PostgreSQL its worker is told at once, elsewhere it
    finds out within POLL_SECONDS. `using` is a database alias, the setting DATABASE if None. Raises
    MessageNotFound when no live message has this id, MessageInTransaction when an atomic handler holds it.
    """
    alias = using or settings().database
    with transaction.atomic(using=alias):
        message = lock_live(message_id, alias)
        clock = engine_for(alias).clock()
        counts.ended_by_hand([(message.queue, message.type)], "cancelled", clock, alias)
        return archive(message, "cancelled", clock, alias)


def lock_live(message_id: int, alias: str) -> Message:
    """Lock a live message without waiting, inside the current transaction."""
    rows = Message.objects.using(alias).filter(pk=message_id)
    if message := rows.select_for_update(skip_locked=True).first():
        return message
    if engine_for(alias).skip_locked and rows.exists():
        raise MessageInTransaction(message_id)
    raise MessageNotFound(message_id, "live message")


def cancel_locked(messages: Sequence[Message], clock: datetime, alias: str) -> None:
    """Archive locked messages as cancelled, even if they run: their workers are told as by cancel()."""
    counts.ended_by_hand([(one.queue, one.type) for one in messages], "cancelled", clock, alias)
    archive_many(messages, "cancelled", clock, alias)


def let_start(
    message_ids: Sequence[int], held_until: datetime, *, using: str, now: datetime | None = None
) -> None:
    """Make messages visible that are held back until this moment; others stay as they are."""
    rows = Message.objects.using(using).filter(pk__in=message_ids, visible_at=held_until)
    lanes = set(rows.values_list("queue", "priority")) if message_ids else ()
    engine = engine_for(using)
    if lanes:
        rows.update(visible_at=now or engine.clock())
    for queue, priority in sorted(lanes):
        engine.notify(queue, priority)


def archive(message: Message, outcome: str, clock: datetime, alias: str, **facts: Any) -> ArchivedMessage:
    """Move a locked message to the archive by hand: its holder is revoked."""
    return archive_many([message], outcome, clock, alias, **facts)[0]


def archive_many(
    messages: Sequence[Message], outcome: str, clock: datetime, alias: str, **facts: Any
) -> list[ArchivedMessage]:
    """Move locked messages to the archive by hand: their holders are revoked."""
    engine, ended = engine_for(alias), []
    for message in messages:
        values = {name: getattr(message, name) for name in _SHARED}
        values |= {"receipt": message.receipt + 1, "outcome": outcome, "finished_at": clock, **facts}
        values["error_fingerprint"] = values["error_fingerprint"] or ""
        ended.append(ArchivedMessage(**values))
    if outcome in kept_outcomes():
        for group in engine.in_groups(ended, _length):
            ArchivedMessage.objects.using(alias).bulk_create(group)
    Message.objects.using(alias).filter(pk__in=[message.pk for message in messages]).delete()
    engine.tell_revoked({message.leased_by for message in messages if message.leased_by is not None})
    return ended


def _possible(message_ids: Sequence[int]) -> list[int]:
    """Leave out numbers that cannot be ids: beyond 64 bits they are an error to some drivers."""
    return [message_id for message_id in message_ids if 0 < message_id < 2**63]


def redrive(
    message_id: int, *, payload: Any = SAME, by: str = "", reason: str = "", using: str | None = None
) -> Message:
    """Make the dead letter `message_id` a live message again, visible now, with no attempt used.

    Its errors are kept, with a further entry that says who redrove it (`by`) and why (`reason`), both text;
    its deadline is cleared. With a `payload` the dead letter stays, and a copy with that payload is enqueued
    and returned: its headers say of which dead letter it is one (`redriven_from`), and the dead letter's new
    entry which message is its copy (`copy`). `using` is a database alias, the setting DATABASE if None.
    Raises MessageNotFound when there is no such dead letter, DuplicateMessage when a live message has its
    unique key, InvalidMessage for an unfit payload.
    """
    alias = using or settings().database
    with transaction.atomic(using=alias):
        if payload is not SAME:
            return _redrive_copy(message_id, payload, alias, by, reason)
        if _redrive_batch([message_id], alias, by, reason):
            return Message.objects.using(alias).get(pk=message_id)
        raise _why_not_redriven(message_id, alias)


def _why_not_redriven(message_id: int, alias: str) -> LetsGoError:
    dead = DeadLetter.objects.using(alias).filter(pk__in=_possible([message_id])).first()
    if dead is None:
        return MessageNotFound(message_id, "dead letter")
    twins = Message.objects.using(alias).filter(type=dead.type, unique_key=dead.unique_key)
    if dead.unique_key is None or not twins.exists():
        # Another process is redriving it at this moment.
        return MessageInTransaction(message_id)
    return DuplicateMessage(dead.type, dead.unique_key, message_id=message_id)


def _redrive_copy(message_id: int, payload: Any, alias: str, by: str, reason: str) -> Message:
    """Enqueue a copy of a dead letter with another payload; each says of the other that it is there."""
    dead = lock_dead([message_id], alias)
    if not dead:
        raise _why_not_redriven(message_id, alias)
    (letter,) = dead
    # A row that others inserted may have anything there.
    headers = letter.headers if isinstance(letter.headers, dict) else {}
    copy = enqueue(
        letter.type,
        payload,
        queue=letter.queue,
        priority=letter.priority,
        max_attempts=letter.max_attempts,
        unique_key=letter.unique_key,
        on_conflict="raise",
        headers={**headers, "redriven_from": letter.pk},
        using=alias,
    )
    entry = redrive_entry(at=engine_for(alias).clock(), by=by, reason=reason) | {"copy": copy.pk}
    letter.errors = with_entry(letter.errors, entry)
    letter.save(update_fields=["errors"], using=alias)
    return copy


def redrive_many(
    message_ids: Sequence[int], *, by: str = "", reason: str = "", using: str | None = None
) -> BulkResult:
    """Redrive the dead letters `message_ids` in batches of 500; return how many were, and how many not.

    Those that are gone are skipped, and so are those whose unique key lives again. `by`, `reason` and `using`
    are redrive()'s.
    """
    alias = using or settings().database
    done = 0
    for start in range(0, len(message_ids), BATCH):
        with transaction.atomic(using=alias):
            done += _redrive_batch(message_ids[start : start + BATCH], alias, by, reason)
    return BulkResult(done, len(message_ids) - done)


def _redrive_batch(message_ids: Sequence[int], alias: str, by: str, reason: str) -> int:
    dead = lock_dead(message_ids, alias)
    return len(redrive_locked(dead, alias, by=by, reason=reason))


def lock_dead(message_ids: Sequence[int], alias: str) -> list[DeadLetter]:
    """Lock those of the dead letters that nobody else is redriving, inside the current transaction."""
    rows = DeadLetter.objects.using(alias).filter(pk__in=_possible(message_ids)).order_by("pk")
    return list(rows.select_for_update(skip_locked=True))


def redrive_locked(
    dead: Sequence[DeadLetter],
    alias: str,
    *,
    by: str,
    reason: str,
    due_at: Mapping[int, datetime] | None = None,
) -> list[Message]:
    """Make locked dead letters live messages, due now or when `due_at` says; return those that live.

    A message that was enqueued with the same key meanwhile stays, and so does the dead letter.
    """
    if not dead:
        return []
    engine = engine_for(alias)
    clock = engine.clock()
    entry = redrive_entry(at=clock, by=by, reason=reason)
    messages = [_redriven(letter, (due_at or {}).get(letter.pk, clock), entry) for letter in dead]
    for group in engine.in_groups(messages, _length):
        # A constraint that fires would end the transaction.
        Message.objects.using(alias).bulk_create(group, ignore_conflicts=True)
    ids = [message.pk for message in messages]
    living = set(Message.objects.using(alias).filter(pk__in=ids).values_list("pk", flat=True))
    lives = [message for message in messages if message.pk in living]
    ArchivedMessage.objects.using(alias).filter(pk__in=living).delete()
    for queue, priority in {(message.queue, message.priority) for message in lives}:
        engine.notify(queue, priority)
    return lives


def _redriven(letter: DeadLetter, due_at: datetime, entry: dict[str, Any]) -> Message:
    values = {name: getattr(letter, name) for name in _SHARED}
    values |= {"attempts": 0, "deaths": 0, "receipt": letter.receipt + 1, "visible_at": due_at}
    values |= {"deadline": None, "leased_by": None, "leased_at": None}
    values["error_fingerprint"] = letter.error_fingerprint or None
    return Message(**values | {"errors": with_entry(letter.errors, entry)})


def restore_dead(
    messages: Sequence[Message], before: Mapping[int, Mapping[str, Any]], alias: str, engine: Engine
) -> None:
    """Make locked messages that were redriven, and have not begun, the dead letters of `before` again."""
    letters = []
    for message in messages:
        values = {name: getattr(message, name) for name in _SHARED} | {"errors": message.errors[:-1]}
        values |= {**before[message.pk], "receipt": message.receipt + 1, "outcome": "dead"}
        letters.append(ArchivedMessage(**values))
    for group in engine.in_groups(letters, _length):
        ArchivedMessage.objects.using(alias).bulk_create(group)
    Message.objects.using(alias).filter(pk__in=[message.pk for message in messages]).delete()


def _length(message: Message | ArchivedMessage) -> int:
    return sum(len(exact_json(getattr(message, name))) for name in ("payload", "headers", "errors"))


def discard(message_id: int, *, using: str | None = None) -> None:
    """Delete the dead letter `message_id`; MessageNotFound when there is none with this id.

    `using` is a database alias, the setting DATABASE if None.
    """
    if not discard_many([message_id], using=using).done:
        raise MessageNotFound(message_id, "dead letter")


def discard_many(message_ids: Sequence[int], *, using: str | None = None) -> BulkResult:
    """Delete the dead letters `message_ids` in batches of 500; return how many were, and how many not.

    `using` is a database alias, the setting DATABASE if None.
    """
    alias = using or settings().database
    done = 0
    for start in range(0, len(message_ids), BATCH):
        batch = _possible(message_ids[start : start + BATCH])
        done += ArchivedMessage.objects.using(alias).filter(pk__in=batch, outcome="dead").delete()[0]
    return BulkResult(done, len(message_ids) - done)
