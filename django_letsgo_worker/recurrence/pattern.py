"""A cron pattern over naive wall time: which minutes it matches, walked both ways and counted.

No zone and no UTC here: a wall time is a naive datetime, and `wallclock` decides what a clock change does to
it.
"""

from bisect import bisect_left
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from croniter import croniter

from .days import EVERY_MONTH_DAY, EVERY_WEEKDAY, DayRule, days_in

A_SECOND, A_MINUTE = timedelta(seconds=1), timedelta(minutes=1)
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
EVERY_MINUTE, EVERY_HOUR, EVERY_MONTH = frozenset(range(60)), frozenset(range(24)), frozenset(range(1, 13))

# Twenty-eight successive years hold every kind of year: each weekday on 1 January, common and leap.
EVERY_KIND_OF_YEAR = range(2000, 2028)


@dataclass(frozen=True, slots=True)
class Pattern:
    """The fields of a cron expression; `years` is None when every year matches.

    `is_interval` says that the text of the minute or of the hour begins with a star.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: DayRule
    is_interval: bool
    years: frozenset[int] | None = None
    minutes_of_day: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        of_day = tuple(sorted(hour * 60 + minute for hour in self.hours for minute in self.minutes))
        object.__setattr__(self, "minutes_of_day", of_day)

    @property
    def ever_matches(self) -> bool:
        years = EVERY_KIND_OF_YEAR if self.years is None else sorted(self.years)
        return any(days_in(self.days, year, month) for year in years for month in self.months)

    def matches(self, wall: datetime) -> bool:
        return self.count(wall, wall + timedelta.resolution) == 1

    def forwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), oldest first."""
        start = _full_minute_from(start)
        if self.years is None and self.days.is_plain:
            return _walk(self._plain_text(), not self.days.both_must_match, start, end)
        return self._forwards_by_calendar(start, end)

    def _forwards_by_calendar(self, start: datetime, end: datetime) -> Iterator[datetime]:
        for midnight in self._midnights(start, end):
            walls = (midnight + minute * A_MINUTE for minute in self.minutes_of_day)
            yield from (wall for wall in walls if start <= wall < end)

    def backwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), newest first; meant for ranges of a year or so."""
        for midnight in reversed(list(self._midnights(start, end))):
            walls = (midnight + minute * A_MINUTE for minute in reversed(self.minutes_of_day))
            yield from (wall for wall in walls if start <= wall < end)

    def count(self, start: datetime, end: datetime) -> int:
        """Count the matches in [start, end) day by day: the cost does not grow with the matches in a day."""
        if start >= end:
            return 0
        start, end = _full_minute_from(start), _full_minute_from(end)
        total = 0
        for midnight in self._midnights(start, end):
            total += len(self.minutes_of_day)
            if midnight <= start:
                total -= self._count_before(start - midnight)
            if end < midnight + timedelta(days=1):
                total -= len(self.minutes_of_day) - self._count_before(end - midnight)
        return total

    def _count_before(self, time_of_day: timedelta) -> int:
        return bisect_left(self.minutes_of_day, time_of_day // A_MINUTE)

    def _midnights(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the beginnings of the matching days that touch [start, end), oldest first."""
        if self.years is not None:
            end = min(end, datetime(max(self.years) + 1, 1, 1))
        first = start.replace(hour=0, minute=0, second=0, microsecond=0)
        year, month = start.year, start.month
        while (year, month) <= (end.year, end.month):
            if month in self.months and (self.years is None or year in self.years):
                midnights = (datetime(year, month, day) for day in days_in(self.days, year, month))
                yield from (midnight for midnight in midnights if first <= midnight < end)
            year, month = year + month // 12, month % 12 + 1

    def _plain_text(self) -> str:
        """Spell the fields as lists of numbers, the only form that we give to croniter.

        The text as written would not do: croniter reads 5-5 as every minute, and 1-31 as a star.
        """
        month_days, week_days = self.days.month_days.numbers, self.days.week_days.numbers
        if self.days.is_every_day:
            month_days, week_days = EVERY_MONTH_DAY, EVERY_WEEKDAY
        spelled = (
            (self.minutes, EVERY_MINUTE),
            (self.hours, EVERY_HOUR),
            (month_days, EVERY_MONTH_DAY),
            (self.months, EVERY_MONTH),
            (week_days, EVERY_WEEKDAY),
        )
        return " ".join("*" if own == every else ",".join(map(str, sorted(own))) for own, every in spelled)


def _full_minute_from(wall: datetime) -> datetime:
    """Round up to a full minute: matches lie on full minutes only."""
    cut = wall.replace(second=0, microsecond=0)
    return cut if cut == wall else cut + A_MINUTE


# croniter walks plain five-field patterns forwards over naive wall time, and nothing else. Time zones, text
# as users write it and day forms beyond lists of numbers are kept from it: it reads them otherwise than we
# promise, or gets them wrong around a clock change.


def _walk(text: str, either_day: bool, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the wall times in [start, end) that match five fields of plain numbers.

    `start` is a whole minute. `either_day` joins the day fields with *or* where neither is a star, else both
    must match.
    """
    # A copy, because the position is kept inside: threads that share the parsed one would move each other.
    walker = copy(_parsed(text, either_day))
    wall: datetime = walker.get_next(datetime, start_time=start - A_SECOND)
    while wall < end:
        yield wall
        wall = walker.get_next(datetime)


@lru_cache(maxsize=4096)
def _parsed(text: str, either_day: bool) -> croniter:
    return croniter(text, EPOCH, day_or=either_day)
