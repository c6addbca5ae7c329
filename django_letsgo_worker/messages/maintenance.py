"""Maintenance of messages: purge queues, expire what nobody claims, give up what is of unknown types.

Everything goes in batches, so that no statement holds many rows; when they run is decided elsewhere.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction

from .. import counts, failures
from ..conf import settings
from ..engines import Engine, Fault, engine_for, in_short
from ..errors import UnknownType
from ..models import Message, Process
from ..outcomes import dotted, error_entry, fingerprint, with_entry
from ..signals import message_died
from .operations import archive
from .pausing import paused_types
from .settlements import followers_of

logger = logging.getLogger("django_letsgo_worker.maintenance")

BATCH = 1_000
# How long a type may be unknown to every worker before its messages are given up.
UNKNOWN_FOR = timedelta(hours=24)


def purge_batch(queue: str, *, until: datetime, using: str | None = None) -> int:
    """Delete at most 1,000 live messages enqueued by `until`; return how many, 0 at the end."""
    alias = using or settings().database
    engine = engine_for(alias)
    for lane in engine.lanes():
        if lane.queue != queue:
            continue
        rows = Message.objects.using(alias).filter(
            queue=queue, priority=lane.priority, enqueued_at__lte=until
        )
        # Where rows have no locks, a transaction that reads first cannot write once another has written.
        with transaction.atomic(using=alias) if engine.skip_locked else nullcontext():
            free = rows.select_for_update(skip_locked=True)
            held = dict(free.order_by("visible_at").values_list("pk", "leased_by")[:BATCH])
            deleted = Message.objects.using(alias).filter(pk__in=list(held)).delete()[0]
            engine.tell_revoked({process for process in held.values() if process is not None})
        if deleted:
            return deleted
    return 0


def expire(*, now: datetime | None = None, using: str | None = None) -> int:
    """Archive at most 1,000 waiting messages whose deadline has passed; return how many.

    Claims do this too; here it is done for queues that are paused or that nobody serves.
    """
    alias = using or settings().database
    engine = engine_for(alias)
    clock = now or engine.clock()
    rows = Message.objects.using(alias).filter(deadline__lte=clock, leased_by=None).order_by("deadline")
    if not rows.exists():
        return 0
    with transaction.atomic(using=alias):
        late = rows.select_for_update(skip_locked=True)
        ended: list[tuple[str, str]] = []
        for message in late[:BATCH]:
            with _refusal_said(message, engine):
                archive(message, "expired", clock, alias)
                ended.append((message.queue, message.type))
        counts.ended_by_hand(ended, "expired", clock, alias)
    return len(ended)


@contextmanager
def _refusal_said(message: Message, engine: Engine) -> Iterator[None]:
    """Open a savepoint for one message of a batch: if the database refuses to move it, the others go on."""
    message_id = message.pk
    try:
        with engine.transaction():
            yield
    except DatabaseError as error:
        if engine.fault_of(error) is not Fault.REFUSAL:
            raise
        logger.error(
            "The database refuses to archive message %s (%s): %s", message_id, message.type, in_short(error)
        )


def give_up_unknown_types(*, now: datetime | None = None, using: str | None = None) -> int:
    """Make dead letters of messages that have been due for 24 h and whose type nobody knows.

    Only if a worker of the last 24 h served the queue, and none of them knows the type. What people have
    paused waits for them.
    """
    alias = using or settings().database
    engine = engine_for(alias)
    clock = now or engine.clock()
    processes = Process.objects.using(alias).filter(kind="worker", heartbeat_at__gte=clock - UNKNOWN_FOR)
    workers = list(processes.only("queues", "excluded_queues", "types"))
    known = {type for worker in workers for type in worker.types} | set(paused_types(using=alias))
    count = 0
    for lane in engine.lanes():
        if any(worker.serves(lane.queue) for worker in workers):
            count += _give_up_in_lane(lane.queue, lane.priority, known, clock, alias)
    return count


def _give_up_in_lane(queue: str, priority: int, known: set[str], clock: datetime, alias: str) -> int:
    engine = engine_for(alias)
    given_up: list[tuple[int, Message]] = []
    with transaction.atomic(using=alias):
        rows = Message.objects.using(alias).filter(queue=queue, priority=priority, leased_by=None)
        rows = rows.filter(visible_at__lte=clock - UNKNOWN_FOR).exclude(type__in=known).order_by("visible_at")
        old = rows.select_for_update(skip_locked=True)
        for message in old[:BATCH]:
            message_id = message.pk
            with _refusal_said(message, engine):
                _give_up(message, clock, alias)
                given_up.append((message_id, message))
        counts.ended_by_hand([(queue, message.type) for _, message in given_up], "dead", clock, alias)
    for message_id, message in given_up:
        logger.error(
            "Message %s is a dead letter: no worker has known its type %s for a day.",
            message_id,
            message.type,
        )
        message_died.send_robust(
            sender=Message,
            message_id=message_id,
            type=message.type,
            queue=queue,
            errors=message.errors,
            delivery=None,
        )
    _record_failures(given_up, clock, alias)
    return len(given_up)


def _record_failures(given_up: list[tuple[int, Message]], clock: datetime, alias: str) -> None:
    counts = Counter(message.type for _, message in given_up)
    newest = {message.type: (message_id, message) for message_id, message in given_up}
    failures.record(
        [
            failures.FailedAttempts(
                type=type,
                fingerprint=fingerprint(UnknownType(type)),
                error_class=message.errors[-1]["class"],
                message=message.errors[-1]["message"],
                traceback="",
                first_at=clock,
                last_at=clock,
                hours={failures.hour_of(clock): counts[type]},
                message_id=message_id,
            )
            for type, (message_id, message) in newest.items()
        ],
        using=alias,
    )


def _give_up(message: Message, clock: datetime, alias: str) -> None:
    error = UnknownType(message.type)
    at = clock.isoformat(timespec="microseconds")
    entry = error_entry(error, attempt=message.attempts, at=at, seconds=0.0, process="housekeeping")
    message.errors = with_entry(message.errors, entry)
    # A type that no worker knows has no on_dead; what follows every death follows this one too.
    following = followers_of(message, None, entry)
    archive(message, "dead", clock, alias, error_class=dotted(error), error_fingerprint=fingerprint(error))
    if following:
        engine_for(alias).insert_many(following)
