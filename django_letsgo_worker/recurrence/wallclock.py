"""Patterns of wall times on the clock of a zone: where daylight saving is decided.

A pattern itself knows only wall times (`pattern`, `rrule`), and the zone only its offsets (`zones`).

The rule is that of Debian's cron(8), and the text tells which half applies. An interval job, whose minute or
hour begins with a star, runs whenever the clock shows a match: nothing in a gap, both passes of a repeated
hour. A fixed-time job that a gap of up to three hours swallows runs once, right after it, and in a repeated
hour only in the first pass. A rule of RFC 5545 is always a fixed-time job.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol

from . import english, zones
from .base import Newest
from .pattern import Pattern
from .zones import Span

# A longer jump is not daylight saving but a corrected calendar (Apia left out 30 December 2011): as in
# Debian, the new time simply counts, and missed runs are not made up.
LONGEST_GAP = timedelta(hours=3)
A_DAY = timedelta(days=1)


class WallTimes(Protocol):
    """A pattern: which wall times it matches; ranges are [start, end)."""

    @property
    def is_interval(self) -> bool:
        """Whether it is an interval job, or else a fixed-time job."""

    def matches(self, wall: datetime) -> bool: ...

    def matches_within(self, start: datetime, end: datetime) -> bool: ...

    def forwards(self, start: datetime, end: datetime) -> Iterator[datetime]: ...

    def backwards(self, start: datetime, end: datetime) -> Iterator[datetime]: ...

    def count(self, start: datetime, end: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class WallClock:
    """A pattern as the clock of `zone` shows it."""

    pattern: WallTimes
    zone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        start = zones.clamp(moment) + timedelta.resolution
        while start < zones.LATEST:
            span = zones.span_from(self.zone, start)
            yield from map(_aware, self._instants(span))
            # Sparse patterns: leap to the span of the next match, a day early because of the offset.
            following = next(self.pattern.forwards(span.end - A_DAY, zones.LATEST), None)
            if following is None:
                return
            start = max(span.end, following - A_DAY)

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        start, end = (zones.clamp(moment) + timedelta.resolution for moment in (after, until))
        newest: list[datetime] = []
        total = 0
        for span in reversed(zones.spans_between(self.zone, start, end)):
            total += self._count(span)
            newest += map(_aware, islice(self._instants_backwards(span), limit - len(newest)))
        return Newest(newest[::-1], total)

    def moves(self, occurrence: datetime) -> bool:
        return not self.pattern.matches(zones.wall_at(self.zone, occurrence))

    def _instants(self, span: Span) -> Iterator[datetime]:
        if self._is_moved_to_start(span):
            yield span.start
        yield from (wall - span.offset for wall in self.pattern.forwards(*self._walls(span)))

    def _instants_backwards(self, span: Span) -> Iterator[datetime]:
        yield from (wall - span.offset for wall in self.pattern.backwards(*self._walls(span)))
        if self._is_moved_to_start(span):
            yield span.start

    def _count(self, span: Span) -> int:
        return self.pattern.count(*self._walls(span)) + self._is_moved_to_start(span)

    def _walls(self, span: Span) -> tuple[datetime, datetime]:
        """Return the wall times of a span that count, end excluded."""
        first, end = span.start + span.offset, span.end + span.offset
        return (first, end) if self.pattern.is_interval else (max(first, span.unseen_from), end)

    def _is_moved_to_start(self, span: Span) -> bool:
        """Say whether the gap before this span swallowed a run, and its first instant has none anyway."""
        first = span.start + span.offset
        if self.pattern.is_interval or span.gap_from is None or first - span.gap_from > LONGEST_GAP:
            return False
        return self.pattern.matches_within(span.gap_from, first) and not self.pattern.matches(first)


@dataclass(frozen=True, slots=True)
class Cron(WallClock):
    """A cron expression's pattern on the clock of its zone."""

    pattern: Pattern

    def describe(self) -> str:
        return english.cron(self.pattern)


def _aware(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC)
