"""Retry: let messages that wait for a retry or a delay run now.

Dead letters are redriven instead: see operations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from ..conf import settings
from ..engines import Engine, engine_for
from ..errors import MessageEnded, MessageNotFound, MessageRunning
from ..models import ArchivedMessage, Message
from ..outcomes import retry_entry, with_entry
from .filters import filter_of
from .operations import BATCH, BulkResult, lock_live

# What waits for its time, and so can be retried.
RETRIED = ("retrying", "scheduled")
CHANGED = ("visible_at", "receipt", "errors")


def retry(message_id: int, *, by: str = "", reason: str = "", using: str | None = None) -> Message:
    """Let the message `message_id`, which waits for a retry or a delay, run now; return it.

    Its attempts stay as they are. Who does it (`by`) and why (`reason`), both text, are recorded with its
    errors. One that is due already is left as it is. `using` is a database alias, the setting DATABASE if
    None. Raises MessageNotFound when there is no such message, MessageRunning when it runs, MessageEnded when
    it has ended, MessageInTransaction when an atomic handler holds it.
    """
    alias = using or settings().database
    engine = engine_for(alias)
    with transaction.atomic(using=alias):
        try:
            message = lock_live(message_id, alias)
        except MessageNotFound:
            ended = ArchivedMessage.objects.using(alias).filter(pk=message_id).first()
            if ended is None:
                raise MessageNotFound(message_id) from None
            raise MessageEnded(message_id, ended.outcome) from None
        clock = engine.clock()
        if message.visible_at > clock and message.leased_by is not None:
            raise MessageRunning(message_id)
        if message.visible_at > clock:
            make_due([message], lambda _message: clock, clock, by=by, reason=reason)
            message.save(update_fields=CHANGED, using=alias)
            engine.notify(message.queue, message.priority)
        return message


def retry_many(*, by: str = "", reason: str = "", using: str | None = None, **filter: Any) -> BulkResult:
    """Let all messages that wait for a retry or a delay run now; return how many, and how many could not.

    `filter` narrows them: type, queue, fingerprint, error_class, state ("retrying" or "scheduled"),
    older_than (seconds since they were enqueued, or a timedelta). `by`, `reason` and `using` are retry()'s.
    It goes in batches of 500, each a transaction. Raises InvalidMessage for a filter that does not exist.
    """
    alias = using or settings().database
    engine = engine_for(alias)
    wanted = filter_of(filter, RETRIED)
    clock, last, done, skipped = engine.clock(), 0, 0, 0
    while True:
        rows = wanted.live(clock, alias).filter(pk__gt=last, visible_at__gt=clock, leased_by=None)
        ids = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if not ids:
            return BulkResult(done, skipped)
        with transaction.atomic(using=alias):
            found = lock_waiting(ids, alias, engine)
            changed = make_due(found, lambda _message: clock, clock, by=by, reason=reason)
            Message.objects.using(alias).bulk_update(changed, CHANGED)
            tell_lanes(changed, engine)
        last, done, skipped = ids[-1], done + len(changed), skipped + len(ids) - len(changed)


def lock_waiting(message_ids: Sequence[int], alias: str, engine: Engine) -> list[Message]:
    """Lock those of the messages that nobody holds, inside the current transaction, in the order of ids."""
    if not engine.skip_locked:
        # A transaction that reads first cannot write once another has written.
        Message.objects.using(alias).filter(pk=message_ids[0]).update(receipt=F("receipt"))
    rows = Message.objects.using(alias).filter(pk__in=message_ids).order_by("pk")
    found = rows.select_for_update(skip_locked=True)
    return [message for message in found if message.leased_by is None]


def make_due(
    messages: Iterable[Message],
    due_at: Callable[[Message], datetime],
    clock: datetime,
    *,
    by: str,
    reason: str,
) -> list[Message]:
    """Make locked messages due at a moment of their own, in memory; return those that had waited."""
    entry = retry_entry(at=clock, by=by, reason=reason)
    changed = [message for message in messages if message.visible_at > clock]
    for message in changed:
        message.visible_at = due_at(message)
        message.receipt += 1
        if message.attempts or by or reason:
            message.errors = with_entry(message.errors, entry)
    return changed


def tell_lanes(messages: Iterable[Message], engine: Engine) -> None:
    """Wake idle workers for the lanes of these messages."""
    for queue, priority in {(message.queue, message.priority) for message in messages}:
        engine.notify(queue, priority)
