"""Counts of what became of messages: the only writer of Statistic.

Each process adds up for itself and brings its counts here, a minute's at once; nothing is read back for it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.db import Error, connections, transaction
from django.db.models import Q, QuerySet

from . import histograms
from .conf import settings
from .engines import Refused, engine_for, in_short
from .histograms import Histogram
from .models import Statistic

logger = logging.getLogger("django_letsgo_worker.statistics")

OUTCOMES = ("succeeded", "failed", "dead", "cancelled", "expired")
KEY = ("span", "at", "queue", "type")
COLUMNS = (*OUTCOMES, "run", "wait", "depth")
# How many rows are made, locked and written at once.
BATCH = 200
# How many old rows are deleted at once.
FORGOTTEN = 1_000


class Place(NamedTuple):
    """A queue, a type, and the minute in which something became of its messages."""

    minute: datetime
    queue: str
    type: str


@dataclass(slots=True)
class Count:
    """How many ended how, how long they ran and had waited, and the most that were due at one moment."""

    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    expired: int = 0
    run: Histogram = field(default_factory=dict)
    wait: Histogram = field(default_factory=dict)
    depth: int = 0

    def add(self, other: Count) -> None:
        """Add what another one has counted."""
        for name in OUTCOMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        histograms.add_to(self.run, other.run)
        histograms.add_to(self.wait, other.wait)
        self.depth = max(self.depth, other.depth)


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's minute, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def add(counts: Mapping[Place, Count], using: str) -> None:
    """Add counts to the rows of their minutes and hours, which are made where they are missing.

    All rows are locked in one order, in one transaction: processes that write together lose nothing. A commit
    of which nobody knows whether it was carried out is not repeated: nothing is counted twice.
    """
    rows = _by_span(counts)
    keys = sorted(rows)
    if not keys:
        return
    is_committing = False
    try:
        with transaction.atomic(using=using):
            for start in range(0, len(keys), BATCH):
                _add_batch({key: rows[key] for key in keys[start : start + BATCH]}, using)
            is_committing = True
    except Error as error:
        if not (is_committing and engine_for(using).is_outage(error)):
            raise
        logger.warning("Statistics of a minute may be missing, their commit broke off: %s", in_short(error))


def _by_span(counts: Mapping[Place, Count]) -> dict[tuple[int, datetime, str, str], list[Count]]:
    """Return what is to be added to the row of each minute and of each hour."""
    rows: dict[tuple[int, datetime, str, str], list[Count]] = {}
    for place, count in counts.items():
        for span, at in ((Statistic.MINUTE, place.minute), (Statistic.HOUR, place.minute.replace(minute=0))):
            rows.setdefault((span, at, place.queue, place.type), []).append(count)
    return rows


def _add_batch(rows: Mapping[tuple[int, datetime, str, str], Sequence[Count]], using: str) -> None:
    objects = Statistic.objects.using(using)
    new = [Statistic(span=span, at=at, queue=queue, type=type) for span, at, queue, type in rows]
    # First, also because the first statement of a transaction must write where writers exclude each other.
    objects.bulk_create(new, ignore_conflicts=True)
    spans, moments, queues, types = (set(column) for column in zip(*rows, strict=True))
    found = objects.filter(span__in=spans, at__in=moments, queue__in=queues, type__in=types)
    statistics = [row for row in found.select_for_update().order_by(*KEY) if _key(row) in rows]
    for statistic in statistics:
        _add_to_row(statistic, rows[_key(statistic)])
    # They are there: that makes an update of it, which costs a tenth of bulk_update().
    has_target = connections[using].features.supports_update_conflicts_with_target
    objects.bulk_create(
        statistics,
        update_conflicts=True,
        update_fields=COLUMNS,
        unique_fields=KEY if has_target else None,
    )


def _key(row: Statistic) -> tuple[int, datetime, str, str]:
    return row.span, row.at, row.queue, row.type


def count_of(row: Statistic) -> Count:
    """Return what a row has counted."""
    run, wait = histograms.read(row.run), histograms.read(row.wait)
    return Count(row.succeeded, row.failed, row.dead, row.cancelled, row.expired, run, wait, row.depth)


def _add_to_row(row: Statistic, counts: Sequence[Count]) -> None:
    total = count_of(row)
    for count in counts:
        total.add(count)
    for name in (*OUTCOMES, "depth"):
        setattr(row, name, getattr(total, name))
    row.run, row.wait = _sorted(total.run), _sorted(total.wait)


def _sorted(histogram: Histogram) -> dict[str, int]:
    return {str(bucket): histogram[bucket] for bucket in sorted(histogram)}


def note_depths(depths: Mapping[tuple[str, str], int], clock: datetime, using: str) -> None:
    """Note how many messages are due now, by queue and type: the most of a minute, and of an hour, stays.

    It is done again where that may help, since it counts nothing twice.
    """
    minute = minute_of(clock)
    counts = {Place(minute, *names): Count(depth=int(depth)) for names, depth in depths.items()}
    try:
        engine_for(using).insist(partial(add, counts, using))
    except Refused as refused:
        logger.warning("How many messages are due could not be written: %s", in_short(refused))


def ended_by_hand(ended: Iterable[tuple[str, str]], outcome: str, clock: datetime, using: str) -> None:
    """Count messages that ended outside a worker, as queues and types, once their transaction has committed.

    Not in it: the rows of a minute would be locked for as long as the caller's transaction lasts.
    """
    numbers = Counter(ended)
    minute = minute_of(clock)
    counts = {
        Place(minute, queue, type): _ended(outcome, number) for (queue, type), number in numbers.items()
    }
    if counts:
        transaction.on_commit(partial(_add_or_say, counts, using), using=using)


def _ended(outcome: str, number: int) -> Count:
    count = Count()
    setattr(count, outcome, number)
    return count


def _add_or_say(counts: Mapping[Place, Count], using: str) -> None:
    try:
        add(counts, using)
    except Error as error:
        logger.warning("Statistics of messages that ended could not be written: %s", in_short(error))


def forget_batch(*, now: datetime | None = None, using: str | None = None) -> int:
    """Delete at most 1,000 rows that are older than the settings say; return how many.

    `now` is an aware datetime in place of the database's clock, `using` a database alias, DATABASE of the
    settings if None.
    """
    alias = using or settings().database
    rows = old_statistics(now or engine_for(alias).clock(), alias)
    ids = list(rows.order_by("at").values_list("pk", flat=True)[:FORGOTTEN])
    return Statistic.objects.using(alias).filter(pk__in=ids).delete()[0] if ids else 0


def old_statistics(clock: datetime, using: str) -> QuerySet[Statistic]:
    """Return the rows that are older than the settings say."""
    minutes = clock - timedelta(days=settings().keep_statistics_for)
    hours = clock - timedelta(days=settings().keep_hourly_statistics_for)
    is_old = Q(span=Statistic.MINUTE, at__lt=minutes) | Q(span=Statistic.HOUR, at__lt=hours)
    return Statistic.objects.using(using).filter(is_old)
