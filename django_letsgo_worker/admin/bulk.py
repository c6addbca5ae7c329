"""Actions on all that match, however many: in batches of ids, for a limited time, with a count at the end.

What is done to a batch is the pages' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

BATCH = 500
# Proxies give a request up after 30 s or so; what is left then is said instead.
BUDGET_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows were changed, how many were left as they are, and whether that is all."""

    done: int
    skipped: int
    is_all: bool


def in_batches(batches: Iterator[list[Any]], act: Callable[[list[Any]], int]) -> Tally:
    """Call `act` with one batch after the other; it returns how many rows it changed."""
    give_up_at = time.monotonic() + BUDGET_SECONDS
    done = seen = 0
    for batch in batches:
        done += act(batch)
        seen += len(batch)
        if time.monotonic() > give_up_at:
            return Tally(done, seen - done, next(batches, None) is None)
    return Tally(done, seen - done, True)


def ended_until(queryset: QuerySet[Any], until: datetime) -> Iterator[list[Any]]:
    """Yield archived messages that ended by `until`, oldest first, with id and type only.

    Whatever ends later stays out: a message redriven here may fail again at once.
    """
    rows = (
        queryset.filter(finished_at__lte=until)
        .order_by("finished_at", "pk")
        .only("pk", "type", "finished_at")
    )
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        at, pk = batch[-1].finished_at, batch[-1].pk
        further = rows.filter(finished_at__gte=at).filter(Q(finished_at__gt=at) | Q(pk__gt=pk))
        batch = list(further[:BATCH])


def first_ones(queryset: QuerySet[Any], failed: Collection[Any]) -> Iterator[list[Any]]:
    """Yield the first rows again and again, for as long as there are others than those that `failed`.

    For actions after which a row is gone, on lists that only show those that come first.
    """
    rows = queryset.only("pk", "type")
    while batch := list(rows.exclude(pk__in=list(failed))[:BATCH]):
        yield batch
