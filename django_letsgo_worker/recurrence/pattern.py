"""A cron pattern over naive wall time: which minutes it matches, walked both ways and counted.

No zone and no UTC here: a wall time is a naive datetime, and `wallclock` decides what a clock change does to
it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .days import DayRule, days_in, month_of

A_MINUTE = timedelta(minutes=1)
LAST_MINUTE = 24 * 60 - 1
EVERY_HOUR, EVERY_MONTH = frozenset(range(24)), frozenset(range(1, 13))

# Twenty-eight successive years hold every kind of year: each weekday on 1 January, common and leap.
EVERY_KIND_OF_YEAR = range(2000, 2028)

Day = tuple[int, int, int]


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

    @property
    def ever_matches(self) -> bool:
        years = EVERY_KIND_OF_YEAR if self.years is None else sorted(self.years)
        return any(days_in(self.days, month_of(year, month)) for year in years for month in self.months)

    def matches(self, wall: datetime) -> bool:
        return self.matches_within(wall, wall + timedelta.resolution)

    def matches_within(self, start: datetime, end: datetime) -> bool:
        return next(self.forwards(start, end), None) is not None

    def forwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), oldest first."""
        return self._walk(start, end, 1)

    def backwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), newest first."""
        return self._walk(start, end, -1)

    def _walk(self, start: datetime, end: datetime, direction: int) -> Iterator[datetime]:
        hours, minutes = sorted(self.hours)[::direction], sorted(self.minutes)[::direction]
        for day, since, until in self._days(start, end, direction):
            for hour in hours:
                # By whole hours first, lest the first match of a day cost by the minutes before it.
                if since - 60 < hour * 60 <= until:
                    for minute in minutes:
                        if since <= hour * 60 + minute <= until:
                            yield datetime(*day, hour, minute)

    def count(self, start: datetime, end: datetime) -> int:
        """Count the matches in [start, end) day by day: the cost does not grow with the matches in a day."""
        hours, minutes = sorted(self.hours), sorted(self.minutes)

        def count_before(minute_of_day: int) -> int:
            hour, minute = divmod(minute_of_day, 60)
            within_hour = bisect_left(minutes, minute) if hour in self.hours else 0
            return bisect_left(hours, hour) * len(minutes) + within_hour

        whole_day, total = len(hours) * len(minutes), 0
        for _, since, until in self._days(start, end):
            is_whole = since == 0 and until == LAST_MINUTE
            total += whole_day if is_whole else count_before(until + 1) - count_before(since)
        return total

    def _days(self, start: datetime, end: datetime, direction: int = 1) -> Iterator[tuple[Day, int, int]]:
        """Yield the matching days that [start, end) touches, and the first and last minute of each in it."""
        if start >= end:
            return
        first, last = full_minute_from(start), full_minute_from(end) - A_MINUTE
        first_day, last_day = (first.year, first.month, first.day), (last.year, last.month, last.day)
        for year, month in self._months(first_day[:2], last_day[:2], direction):
            for number in days_in(self.days, month_of(year, month))[::direction]:
                day = (year, month, number)
                if first_day <= day <= last_day:
                    since = first.hour * 60 + first.minute if day == first_day else 0
                    until = last.hour * 60 + last.minute if day == last_day else LAST_MINUTE
                    yield day, since, until

    def _months(
        self, first: tuple[int, int], last: tuple[int, int], direction: int
    ) -> Iterator[tuple[int, int]]:
        years: Sequence[int] = range(first[0], last[0] + 1)
        if self.years is not None:
            years = sorted(year for year in self.years if first[0] <= year <= last[0])
        months = sorted(self.months)[::direction]
        for year in years[::direction]:
            for month in months:
                if first <= (year, month) <= last:
                    yield year, month


def full_minute_from(wall: datetime) -> datetime:
    """Round up to a full minute: matches lie on full minutes only."""
    if wall.second or wall.microsecond:
        return wall.replace(second=0, microsecond=0) + A_MINUTE
    return wall
