"""at(): one moment, written as wall time and settled in a zone.

Nothing here repeats.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django_letsgo_worker.errors import InvalidSchedule

from . import english, zones
from .base import Newest

MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
OFFSET = re.compile(r".*T.*(Z|[+-][0-9:]+)")


@dataclass(frozen=True, slots=True)
class Once:
    """A single moment, by the wall time that was written for it and its zone."""

    wall: datetime
    zone: str
    instant: datetime

    @classmethod
    def in_zone(cls, wall: datetime, zone: str) -> "Once":
        """Settle a wall time: at the end of the gap that skips it, in the first pass if it is repeated."""
        try:
            return cls(wall, zone, _first_instant(wall, zone))
        except (OverflowError, ValueError):
            sentence = f"Python's calendar has no room for {wall.isoformat()} in {zone}; write another year."
            raise InvalidSchedule(sentence) from None

    def after(self, moment: datetime) -> Iterator[datetime]:
        if self.instant > moment:
            yield self.instant

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        found = [self.instant] if after < self.instant <= until else []
        return Newest(found[:limit], len(found))

    def moves(self, occurrence: datetime) -> bool:
        return zones.wall_at(self.zone, occurrence) != self.wall

    def describe(self) -> str:
        return english.once(self.wall)


def _first_instant(wall: datetime, zone: str) -> datetime:
    instant = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    if zones.wall_at(zone, instant) == wall:
        return instant
    # Skipped: read with the offset from before the jump, the moment lies in the first span after it.
    naive = instant.replace(tzinfo=None)
    behind = zones.spans_between(zone, naive - timedelta(days=2), naive + timedelta.resolution)[-1]
    return behind.start.replace(tzinfo=UTC)


def read_at(text: str) -> datetime:
    """Read the text inside at(...), in upper case: a naive wall time."""
    text = text.strip(" ")
    if not MOMENT.fullmatch(text):
        why = "is in the schedule's own zone" if OFFSET.fullmatch(text) else "cannot be read"
        raise InvalidSchedule(f"The time in 'at({text})' {why}; write it as in at(2027-01-01T09:00:00).")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSchedule(f"No calendar has the time in 'at({text})'; write one that exists.") from None
