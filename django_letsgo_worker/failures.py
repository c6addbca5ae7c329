"""Verbs on failures: record failed attempts in groups, and forget old groups; the only writer of Failure.

What makes two failed attempts one failure is decided in outcomes; the groups are read by inspection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.db.models import Q, QuerySet

from .conf import settings
from .engines import Engine, engine_for
from .models import Failure
from .validation import storable

# The fingerprint of a type's failures beyond this many: an unstable one must not flood the table.
OTHER, MOST_OF_A_TYPE = "other", 500
# How many hours are counted apart, how many versions are remembered, and how many groups are written at once.
HOURS, VERSIONS, BATCH = 48, 20, 100
# The longest message and traceback that are kept, in bytes.
MOST_WORDS, MOST_TRACEBACK = 1_000, 16_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempts:
    """Failed attempts of one type and fingerprint; the facts of the last of them stand for all.

    `hours` are numbers of attempts by the beginning of their hour.
    """

    type: str
    fingerprint: str
    error_class: str
    message: str
    traceback: str
    first_at: datetime
    last_at: datetime
    hours: Mapping[datetime, int]
    message_id: int
    version: str = ""

    @property
    def key(self) -> Key:
        return self.type, self.fingerprint


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def record(attempts: Iterable[FailedAttempts], *, using: str | None = None) -> None:
    """Add failed attempts to their groups, in transactions of a hundred groups at most.

    `using` is a database alias, the setting DATABASE if None.
    """
    engine = engine_for(using or settings().database)
    ordered = sorted(attempts, key=lambda some: some.key)
    for start in range(0, len(ordered), BATCH):
        with engine.transaction():
            _record(ordered[start : start + BATCH], engine)


def _record(attempts: Sequence[FailedAttempts], engine: Engine) -> None:
    if not engine.skip_locked:
        # A transaction that reads first cannot write once another has written: this takes the lock, and
        # changes nothing.
        _rows(engine).filter(pk=0).update(count=0)
    rows = _locked({some.key for some in attempts}, engine)
    new = [some for some in attempts if some.key not in rows]
    if new:
        attempts = _within_bounds(attempts, new, engine)
        new = [some for some in attempts if some.key not in rows]
        # Sorted, as everywhere: who waits for another's row holds none that the other will want.
        made = {some.key: _new_row(some) for some in new}
        _rows(engine).bulk_create([made[key] for key in sorted(made)], ignore_conflicts=True)
        rows |= _locked(made, engine)
    for some in attempts:
        if some.key in rows:
            _add(rows[some.key], some)
    changed = ["error_class", "message", "first_at", "last_at", "count", "recent", "versions"]
    _rows(engine).bulk_update(rows.values(), [*changed, "last_message_id", "last_traceback"])


def _rows(engine: Engine) -> QuerySet[Failure]:
    return Failure.objects.using(engine.connection.alias)


def _locked(keys: Iterable[Key], engine: Engine) -> dict[Key, Failure]:
    """Lock the groups of these keys, in order; return those that are there."""
    by_type: dict[str, list[str]] = {}
    for type, fingerprint in sorted(keys):
        by_type.setdefault(type, []).append(fingerprint)
    chosen = Q()
    for type, fingerprints in by_type.items():
        chosen |= Q(type=type, fingerprint__in=fingerprints)
    if not by_type:
        return {}
    rows = _rows(engine).filter(chosen).order_by("pk").select_for_update()
    return {(row.type, row.fingerprint): row for row in rows}


def _within_bounds(
    attempts: Sequence[FailedAttempts], new: Sequence[FailedAttempts], engine: Engine
) -> list[FailedAttempts]:
    """Put new groups of a type that has too many under its group of the others."""
    full = set()
    for type in {some.type for some in new}:
        there = _rows(engine).filter(type=type).values("pk")[:MOST_OF_A_TYPE].count()
        if there + sum(1 for some in new if some.type == type) > MOST_OF_A_TYPE:
            full.add(type)
    moved = {some.key for some in new if some.type in full}
    return [replace(some, fingerprint=OTHER) if some.key in moved else some for some in attempts]


def _new_row(some: FailedAttempts) -> Failure:
    return Failure(type=some.type, fingerprint=some.fingerprint, first_at=some.first_at, last_at=some.last_at)


def _add(row: Failure, some: FailedAttempts) -> None:
    """Add attempts to their group; the newest ones are its face."""
    if some.last_at >= row.last_at:
        row.error_class = storable(some.error_class, 255)
        row.message = storable(some.message, MOST_WORDS)
        row.last_traceback = storable(some.traceback, MOST_TRACEBACK)
        row.last_message_id = some.message_id
    row.first_at, row.last_at = min(row.first_at, some.first_at), max(row.last_at, some.last_at)
    row.count += sum(some.hours.values())
    row.recent = _with_hours(row.recent, some.hours)
    if some.version and some.version not in row.versions:
        row.versions = [*row.versions, some.version][-VERSIONS:]


def _with_hours(recent: list[list[str | int]], hours: Mapping[datetime, int]) -> list[list[str | int]]:
    counts = {str(hour): int(count) for hour, count in recent}
    for hour, count in hours.items():
        name = hour_of(hour).isoformat()
        counts[name] = counts.get(name, 0) + count
    pairs: list[list[str | int]] = [[hour, counts[hour]] for hour in sorted(counts)]
    return pairs[-HOURS:]


def forget_old(*, now: datetime | None = None, using: str | None = None) -> int:
    """Delete at most a hundred groups last met KEEP_DEAD_FOR days ago; return how many, 0 at the end.

    `now` is an aware datetime in place of the database's clock, `using` a database alias, the setting
    DATABASE if None.
    """
    engine = engine_for(using or settings().database)
    clock = now or engine.clock()
    try:
        before = clock - timedelta(days=settings().keep_dead_for)
    except OverflowError:
        return 0
    old = _rows(engine).filter(last_at__lt=before)
    ids = list(old.order_by("last_at").values_list("pk", flat=True)[:BATCH])
    # Asked again: one may have been met meanwhile.
    return old.filter(pk__in=ids).delete()[0] if ids else 0
