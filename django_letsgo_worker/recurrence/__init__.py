"""Schedules: from the text of one to its occurrences, and to a description in English.

Pure: no database, no thread, no clock; callers know the time, and decide what is due, missed or late.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django_letsgo_worker.errors import InvalidSchedule

from . import zones
from .base import Form, Newest
from .exclusions import Exclusions
from .grammar import Reading, read
from .intervals import Grid, Interval
from .once import Once
from .pattern import Pattern
from .rrule import Rule, Ruled
from .wallclock import Cron

__all__ = ["Exclusions", "Newest", "Recurrence"]


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A valid schedule; `parse` makes one.

    `expression` is its text as written; `timezone` is the IANA name whose clock cron forms, rrule() and at()
    follow. `anchor` (UTC) fixes the grid of rate() and @every, is the DTSTART of rrule(), and means nothing
    to the other forms.
    """

    expression: str
    timezone: str
    anchor: datetime | None
    _form: Form = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC", *, anchor: datetime | None = None) -> "Recurrence":
        """Read a schedule.

        `expression` is rate(5 minutes), @every 90s, five cron fields, a macro such as @daily, AWS's
        cron(...), rrule(FREQ=WEEKLY;BYDAY=MO) or at(2027-01-01T09:00:00); `timezone` the IANA name of a zone;
        `anchor` an aware datetime. Without an anchor, the moment that each question starts from is the anchor
        of rate(), @every and rrule(): the first occurrence of rate() and @every is one interval after it.

        Raises InvalidSchedule, whose text is one sentence that says what to write instead, and whose `field`
        is "schedule" or "timezone"; ValueError for an anchor without a zone.
        """
        if not isinstance(expression, str):
            given = type(expression).__name__
            raise InvalidSchedule(f"A schedule is text such as 'rate(5 minutes)', not {given}.")
        reading = read(expression)
        zone = zones.check(timezone)
        in_utc = None if anchor is None else _utc(anchor, "anchor")
        return cls(expression, zone, in_utc, _settle(reading, zone, in_utc))

    @property
    def needs_anchor(self) -> bool:
        """Whether its times depend on where it begins: rate(), @every and rrule()."""
        return isinstance(self._form, (Grid, Ruled))

    @property
    def is_once(self) -> bool:
        """Whether this has one occurrence only (at)."""
        return isinstance(self._form, Once)

    def means_the_same_as(self, other: "Recurrence") -> bool:
        """Whether `other` names the same times, in one zone and on one grid, however it is spelled."""
        return (self.timezone, self._form) == (other.timezone, other._form)

    def occurrences_after(self, moment: datetime) -> Iterator[datetime]:
        """Iterate over the occurrences strictly after `moment`, an aware datetime: aware, UTC, increasing.

        Ends after the one occurrence of at(), after the last year of AWS's form, and with the COUNT or UNTIL
        of rrule(). Raises ValueError for a moment without a zone.
        """
        return self._form.after(_utc(moment, "moment"))

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        """Return the newest occurrences in (`after`, `until`], oldest first, and the number of all.

        Both are aware datetimes; `limit` is how many are returned at most. The number is exact and found by
        arithmetic: over intervals or, for cron forms and rrule(), over days, so that a long absence costs by
        its years and not by its occurrences. Raises ValueError for moments without a zone.
        """
        return self._form.newest_between(_utc(after, "beginning"), _utc(until, "end"), limit)

    def is_moved(self, occurrence: datetime) -> bool:
        """Whether a clock change moved `occurrence`, an aware datetime, off the wall time that is named.

        This is so for one that the spring gap swallowed and that comes at the first instant after it.
        """
        return self._form.moves(_utc(occurrence, "occurrence"))

    def describe(self) -> str:
        """Say in English when it runs, such as "at 02:30, Monday to Friday"; the zone is not named."""
        return self._form.describe()


def _settle(reading: Reading, zone: str, anchor: datetime | None) -> Form:
    if isinstance(reading, Interval):
        return Grid(reading, anchor)
    if isinstance(reading, Pattern):
        return Cron(reading, zone)
    if isinstance(reading, Rule):
        return Ruled.settle(reading, zone, anchor)
    return Once.in_zone(reading, zone)


def _utc(moment: datetime, name: str) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"The {name} {moment.isoformat()} has no time zone; give an aware datetime.")
    return moment.astimezone(UTC)
