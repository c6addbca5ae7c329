"""Working off bulk operations: a batch of messages in one transaction, with the progress that it made.

A kill at any instruction thus leaves each message done once, or not yet. What operations there are, and
what they may be, is in operating.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error, transaction
from django.db.models import F, Q

from ..conf import settings
from ..engines import Engine, Fault, engine_for, in_short
from ..models import BulkOperation, BulkOperationItem, DeadLetter, Message
from ..outcomes import KEPT_ERRORS
from .operating import State, found_by, is_about_dead_letters, pending
from .operations import (
    BATCH,
    cancel_locked,
    discard_many,
    lock_dead,
    redrive_locked,
    restore_dead,
)
from .retrying import CHANGED, lock_waiting, make_due, tell_lanes

logger = logging.getLogger("django_letsgo_worker.maintenance")

# So many operations go on at once; others wait until one of them has ended.
MOST_AT_ONCE = 100
# How many ended operations are forgotten at once.
FORGOTTEN = 100


class Chosen(NamedTuple):
    """A message that is next, and when it ended, if it is a dead letter."""

    id: int
    ended_at: datetime | None


def work_off_operations(*, now: datetime | None = None, using: str | None = None) -> bool:
    """Do a batch of the oldest bulk operation that goes on; return whether there was one to do.

    Several workers share the operations: each has one of them locked for the time of a batch. `now` is an
    aware datetime in place of the database's clock, `using` a database alias, DATABASE of the settings if
    None.
    """
    alias = using or settings().database
    ids = list(pending(alias).order_by("pk").values_list("pk", flat=True)[:MOST_AT_ONCE])
    return any(_is_batch_done(id, alias, now) for id in ids)


def _is_batch_done(id: int, alias: str, now: datetime | None) -> bool:
    """Do a batch of an operation; what the database refuses of it holds up no other."""
    try:
        return _Batch(id, alias, now).do()
    except Error as error:
        if engine_for(alias).fault_of(error) is not Fault.REFUSAL:
            raise
        logger.error("A batch of the bulk operation %s was refused: %s", id, in_short(error))
        return False
    except Exception:
        # A row that no verb has written may hold anything: it must not end a worker each time.
        logger.exception("Bulk operation %s is stopped: it cannot be worked off.", id)
        clock = now or engine_for(alias).clock()
        pending(alias).filter(pk=id).update(state=State.STOPPED, finished_at=clock)
        return True


def forget_operations(*, now: datetime, using: str) -> int:
    """Delete at most 100 operations that ended longer ago than dead letters are kept; return how many."""
    before = now - timedelta(days=settings().keep_dead_for)
    old = BulkOperation.objects.using(using).filter(finished_at__lt=before).order_by("pk")
    ids = list(old.values_list("pk", flat=True)[:FORGOTTEN])
    if ids:
        BulkOperationItem.objects.using(using).filter(operation__in=ids).delete()
        BulkOperation.objects.using(using).filter(pk__in=ids).delete()
    return len(ids)


class _Batch:
    """One batch of one operation."""

    def __init__(self, id: int, alias: str, now: datetime | None) -> None:
        self.id = id
        self.alias = alias
        self.engine: Engine = engine_for(alias)
        self.now = now
        self.items: list[BulkOperationItem] = []

    def do(self) -> bool:
        """Do it; False when another process does, or when the operation has ended meanwhile."""
        with transaction.atomic(using=self.alias):
            operation = self._lock()
            if operation is None:
                return False
            self.operation = operation
            self.clock = self.now or self.engine.clock()
            if operation.state == State.UNDONE:
                self._give_back()
            else:
                self._go_on()
            operation.save(using=self.alias)
        return True

    def _lock(self) -> BulkOperation | None:
        rows = pending(self.alias).filter(pk=self.id)
        if self.engine.skip_locked:
            return rows.select_for_update(skip_locked=True).first()
        # A transaction that reads first cannot write once another has written.
        rows.update(last_id=F("last_id"))
        return rows.first()

    # -- going on ------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        operation = self.operation
        if operation.state == State.WAITING:
            operation.state, operation.started_at = State.RUNNING, self.clock
            operation.total = self._rows().count()
        chosen = self._choose()
        if not chosen:
            operation.state, operation.finished_at = State.DONE, self.clock
            return
        act: Callable[[list[int]], int] = getattr(self, f"_{operation.kind}")
        done = act([one.id for one in chosen])
        BulkOperationItem.objects.using(self.alias).bulk_create(self.items)
        operation.done += done
        operation.skipped += len(chosen) - done
        self._note_progress(chosen[-1])

    def _note_progress(self, last: Chosen) -> None:
        self.operation.last_id, self.operation.last_at = last.id, last.ended_at

    def _rows(self) -> Any:
        return found_by(self.operation, self.operation.created_at, using=self.alias)

    def _choose(self) -> list[Chosen]:
        """Return the next messages, in an order that what is done to them does not change."""
        last_id, last_at = self.operation.last_id, self.operation.last_at
        if not is_about_dead_letters(self.operation):
            ids = self._rows().filter(pk__gt=last_id).order_by("pk").values_list("pk", flat=True)
            return [Chosen(id, None) for id in ids[:BATCH]]
        rows = self._rows()
        if last_at is not None:
            behind = Q(finished_at__gt=last_at) | Q(finished_at=last_at, pk__gt=last_id)
            # The first is for the index.
            rows = rows.filter(Q(finished_at__gte=last_at) & behind)
        return [
            Chosen(*row)
            for row in rows.order_by("finished_at", "pk").values_list("pk", "finished_at")[:BATCH]
        ]

    # -- the kinds -----------------------------------------------------------------------------------------

    def _retry(self, ids: list[int]) -> int:
        found = lock_waiting(ids, self.alias, self.engine)
        before = {message.pk: {"visible_at": _text(message.visible_at)} for message in found}
        due = self._due_times(ids)
        changed = make_due(
            found,
            lambda message: due[message.pk],
            self.clock,
            by=self.operation.by,
            reason=self.operation.reason,
        )
        Message.objects.using(self.alias).bulk_update(changed, CHANGED)
        tell_lanes(changed, self.engine)
        self._remember(changed, before)
        return len(changed)

    def _move(self, ids: list[int]) -> int:
        found = lock_waiting(ids, self.alias, self.engine)
        before = {message.pk: {"queue": message.queue} for message in found}
        for message in found:
            message.queue = self.operation.to_queue
            message.receipt += 1
        Message.objects.using(self.alias).bulk_update(found, ["queue", "receipt"])
        tell_lanes(found, self.engine)
        self._remember(found, before)
        return len(found)

    def _cancel(self, ids: list[int]) -> int:
        rows = Message.objects.using(self.alias).filter(pk__in=ids).order_by("pk")
        found = list(rows.select_for_update(skip_locked=True))
        cancel_locked(found, self.clock, self.alias)
        return len(found)

    def _redrive(self, ids: list[int]) -> int:
        dead = lock_dead(ids, self.alias)
        before = {letter.pk: _facts_of(letter) for letter in dead}
        lives = redrive_locked(
            dead,
            self.alias,
            by=self.operation.by,
            reason=self.operation.reason,
            due_at=self._due_times(ids),
        )
        self._remember(lives, before)
        return len(lives)

    def _discard(self, ids: list[int]) -> int:
        return discard_many(ids, using=self.alias).done

    def _due_times(self, ids: Sequence[int]) -> dict[int, datetime]:
        """Return when each is due: at once, or at its place among all, spread evenly over the time."""
        over, total = self.operation.over, max(1, self.operation.total)
        began, first = self.operation.started_at or self.clock, self.operation.done + self.operation.skipped
        if over is None:
            return dict.fromkeys(ids, self.clock)
        return {id: began + over * min(1.0, (first + n) / total) for n, id in enumerate(ids)}

    def _remember(self, changed: Sequence[Message], before: dict[int, dict[str, Any]]) -> None:
        """Note what messages were, and the receipt under which they are left."""
        self.items += [
            BulkOperationItem(
                operation=self.operation,
                message_id=message.pk,
                receipt=message.receipt,
                before=before[message.pk],
            )
            for message in changed
        ]

    # -- giving back ---------------------------------------------------------------------------------------

    def _give_back(self) -> None:
        items = list(self.operation.items.using(self.alias).order_by("pk")[:BATCH])
        if not items:
            self.operation.finished_at = self.clock
            return
        by_message = {item.message_id: item for item in items}
        found = lock_waiting(sorted(by_message), self.alias, self.engine)
        # Whoever has begun it, or changed it by hand, has another receipt.
        untouched = [message for message in found if message.receipt == by_message[message.pk].receipt]
        give: Callable[[list[Message], dict[int, BulkOperationItem]], None]
        give = getattr(self, f"_give_back_{self.operation.kind}")
        give(untouched, by_message)
        self.operation.given_back += len(untouched)
        BulkOperationItem.objects.using(self.alias).filter(pk__in=[item.pk for item in items]).delete()

    def _give_back_retry(self, messages: list[Message], items: dict[int, BulkOperationItem]) -> None:
        for message in messages:
            message.visible_at = datetime.fromisoformat(items[message.pk].before["visible_at"])
            message.receipt += 1
        Message.objects.using(self.alias).bulk_update(messages, ["visible_at", "receipt"])

    def _give_back_move(self, messages: list[Message], items: dict[int, BulkOperationItem]) -> None:
        for message in messages:
            message.queue = items[message.pk].before["queue"]
            message.receipt += 1
        Message.objects.using(self.alias).bulk_update(messages, ["queue", "receipt"])
        tell_lanes(messages, self.engine)

    def _give_back_redrive(self, messages: list[Message], items: dict[int, BulkOperationItem]) -> None:
        letters = {message.pk: items[message.pk].before for message in messages}
        restore_dead(messages, letters, self.alias, self.engine)


# What a redrive changes of a dead letter.
_REDRIVEN = (
    "attempts", "deaths", "visible_at", "deadline", "leased_by", "leased_at", "finished_at", "seconds",
    "error_class", "error_fingerprint",
)  # fmt: skip


def _facts_of(letter: DeadLetter) -> dict[str, Any]:
    facts = {name: _text(getattr(letter, name)) for name in _REDRIVEN}
    # Else all of them are there still, before the entry of the redrive.
    if not isinstance(letter.errors, list) or len(letter.errors) >= KEPT_ERRORS:
        facts["errors"] = letter.errors
    return facts


def _text(value: Any) -> Any:
    """Return a value as JSON has it; a model's field reads it back."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value
