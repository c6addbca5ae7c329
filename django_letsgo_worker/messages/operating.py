"""Bulk operations: begin, find, stop and undo them; the only writer of BulkOperation but for its progress.

Workers work them off: see working_off.py.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from .. import validation
from ..conf import settings
from ..engines import engine_for
from ..errors import InvalidMessage, OperationNotFound, OperationRefused
from ..hints import suggestion
from ..models import BulkOperation
from .filters import filter_of
from .retrying import RETRIED

logger = logging.getLogger("django_letsgo_worker.messages")

State = BulkOperation.State
# The states of the messages that each kind is about.
STATES = {
    "retry": RETRIED,
    "redrive": ("dead",),
    "discard": ("dead",),
    "cancel": ("ready", "running", "retrying", "scheduled"),
    "move": ("ready", "retrying", "scheduled"),
}
UNDOABLE = ("retry", "redrive", "move")
SPREAD = ("retry", "redrive")


def operate(
    kind: str,
    *,
    over: float | timedelta | str | None = None,
    to_queue: str | None = None,
    by: str = "",
    reason: str = "",
    using: str | None = None,
    **filter: Any,
) -> BulkOperation:
    """Begin a bulk operation on all messages that a filter finds, and return it; a worker works it off.

    `kind` is retry (what waits for a retry or a delay runs now), redrive or discard (dead letters), cancel or
    move (what waits goes `to_queue`). `filter` narrows: type, queue, fingerprint, error_class, state,
    older_than (seconds, a timedelta or text such as 10m, since they were enqueued or, dead letters, since
    they ended); messages that come later are not touched. `over`, for retry and redrive, is seconds, a
    timedelta or text: the starts are spread evenly over it. `by` and `reason` say who does it and why, cut at
    150 and 255 characters. `using` is a database alias, the setting DATABASE if None.

    Each message is done once, whatever is killed. A worker is woken at once; until one lives, the operation
    waits. Raises InvalidMessage for a kind, a filter or an option that cannot be.
    """
    alias = using or settings().database
    operation = operation_of(kind, over=over, to_queue=to_queue, **filter)
    operation.by, operation.reason = validation.storable(by)[:150], validation.storable(reason)[:255]
    operation.created_at = engine_for(alias).clock()
    operation.save(using=alias)
    engine_for(alias).tell_of_operation()
    return operation


def operation_of(
    kind: str,
    *,
    over: float | timedelta | str | None = None,
    to_queue: str | None = None,
    **filter: Any,
) -> BulkOperation:
    """Return a bulk operation that is not written; InvalidMessage says why it cannot be: see operate()."""
    wanted = filter_of(filter, states_of(kind))
    if (to_queue is not None) != (kind == "move"):
        raise InvalidMessage("to_queue says where messages are moved: it is for move, and move needs it.")
    if over is not None and kind not in SPREAD:
        raise InvalidMessage("over spreads the starts of messages: it is for retry and redrive.")
    seconds = None if over is None else validation.check_delay("over", over)
    return BulkOperation(
        kind=kind,
        filter=wanted.as_json(),
        to_queue="" if to_queue is None else validation.check_name("queue", to_queue),
        over=timedelta(seconds=seconds) if seconds else None,
    )


def states_of(kind: str) -> tuple[str, ...]:
    """Return the states of the messages that a kind is about; InvalidMessage if there is no such kind."""
    if kind not in STATES:
        raise InvalidMessage(f"There is no kind of operation {kind!r}.{suggestion(str(kind), list(STATES))}")
    return STATES[kind]


def found_by(operation: BulkOperation, at: datetime, *, using: str) -> QuerySet[Any]:
    """Return the rows that an operation that began at a moment is about: what was there, or dead, by then.

    `at` is an aware datetime, `using` a database alias. Raises InvalidMessage for a filter that cannot be.
    """
    wanted = filter_of(operation.filter, states_of(operation.kind))
    if is_about_dead_letters(operation):
        return wanted.dead(at, using).filter(finished_at__lte=at)
    # A state is one of then: a message that is due meanwhile is no longer retrying.
    rows = wanted.live(at, using).filter(enqueued_at__lte=at)
    return rows.filter(visible_at__gt=at, leased_by=None) if operation.kind == "retry" else rows


def is_about_dead_letters(operation: BulkOperation) -> bool:
    return STATES[operation.kind] == ("dead",)


def find_operation(operation_id: int, *, using: str | None = None) -> BulkOperation:
    """Return the bulk operation `operation_id`; OperationNotFound if there is none.

    `using` is a database alias, the setting DATABASE if None.
    """
    return _one(BulkOperation.objects.using(using or settings().database), operation_id)


def _one(rows: QuerySet[BulkOperation], operation_id: int) -> BulkOperation:
    is_id = isinstance(operation_id, int) and 0 < operation_id < 2**63
    operation = rows.filter(pk=operation_id).first() if is_id else None
    if operation is None:
        raise OperationNotFound(operation_id)
    return operation


def stop_operation(operation_id: int, *, by: str = "", using: str | None = None) -> BulkOperation:
    """Stop the bulk operation `operation_id` and return it: what it has done stays done, the rest is left.

    `by`, a text, is logged: it says who does it. `using` is a database alias, the setting DATABASE if None.
    Raises OperationNotFound, and OperationRefused when it has ended.
    """
    alias = using or settings().database
    with transaction.atomic(using=alias):
        operation = _locked(operation_id, alias)
        if operation.state not in (State.WAITING, State.RUNNING):
            raise OperationRefused(operation.pk, f"cannot be stopped: it is {operation.state} already")
        operation.state, operation.finished_at = State.STOPPED, engine_for(alias).clock()
        operation.save(using=alias)
    _log(operation, by)
    return operation


def undo_operation(operation_id: int, *, by: str = "", using: str | None = None) -> BulkOperation:
    """Take back what the bulk operation `operation_id` did and what has not begun since; return it.

    One that goes on is stopped. A worker gives the messages back: a dead letter that was redriven, the time
    of one that was retried, the queue of one that was moved. `by` and `using` are stop_operation()'s. Raises
    OperationNotFound, and OperationRefused for a discard or a cancel, and for one that is undone already.
    """
    alias = using or settings().database
    with transaction.atomic(using=alias):
        operation = _locked(operation_id, alias)
        if operation.kind not in UNDOABLE:
            raise OperationRefused(
                operation.pk, f"cannot be undone: a {operation.kind} can only be stopped while it goes on"
            )
        if operation.state == State.UNDONE:
            raise OperationRefused(operation.pk, "cannot be undone: it is undone already")
        operation.state, operation.finished_at = State.UNDONE, None
        operation.save(using=alias)
    _log(operation, by)
    engine_for(alias).tell_of_operation()
    return operation


def _log(operation: BulkOperation, by: str) -> None:
    who = f" by {validation.storable(by, 150)}" if by else ""
    logger.info("Bulk operation %s (%s) was %s%s.", operation.pk, operation.kind, operation.state, who)


def _locked(operation_id: int, alias: str) -> BulkOperation:
    """Lock an operation; a batch that goes on ends first."""
    rows = BulkOperation.objects.using(alias)
    if engine_for(alias).skip_locked:
        return _one(rows.select_for_update(), operation_id)
    if isinstance(operation_id, int) and 0 < operation_id < 2**63:
        # A transaction that reads first cannot write once another has written.
        rows.filter(pk=operation_id).update(last_id=F("last_id"))
    return _one(rows, operation_id)


def pending(using: str) -> QuerySet[BulkOperation]:
    """Return the operations that a worker has something to do for."""
    goes_on = Q(state__in=[State.WAITING, State.RUNNING]) | Q(state=State.UNDONE, finished_at=None)
    return BulkOperation.objects.using(using).filter(goes_on)
