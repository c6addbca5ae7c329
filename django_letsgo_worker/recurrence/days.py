"""Days of a month that a pair of day fields means: a calendar, with no clock in it.

Text is read elsewhere. Weekdays are numbered 0 = Sunday to 6 = Saturday throughout. The rules are
tuples because each step looks their days up, and a dataclass takes three times as long to be hashed.
"""

import calendar
from functools import lru_cache
from typing import NamedTuple

SUNDAY, SATURDAY = 0, 6
EVERY_MONTH_DAY = frozenset(range(1, 32))
EVERY_WEEKDAY = frozenset(range(7))


class Month(NamedTuple):
    """All that tells one month's days from another's: there are only 28 of these."""

    first_weekday: int
    length: int

    def weekday(self, day: int) -> int:
        return (self.first_weekday + day - 1) % 7

    def nearest_weekday(self, day: int) -> int:
        """Return the day from Monday to Friday nearest to `day` without leaving the month."""
        weekday = self.weekday(day)
        if weekday == SATURDAY:
            return day - 1 if day > 1 else day + 2
        if weekday == SUNDAY:
            return day + 1 if day < self.length else day - 2
        return day


@lru_cache(maxsize=4096)
def month_of(year: int, month: int) -> Month:
    monday_is_0, length = calendar.monthrange(year, month)
    return Month((monday_is_0 + 1) % 7, length)


class MonthDays(NamedTuple):
    """The day-of-month field: plain numbers, L (last day), LW (last weekday) and nW (weekday nearest n)."""

    numbers: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    includes_last: bool = False
    includes_last_weekday: bool = False

    @property
    def is_plain(self) -> bool:
        return not (self.nearest or self.includes_last or self.includes_last_weekday)

    @property
    def is_whole(self) -> bool:
        return self.numbers == EVERY_MONTH_DAY

    def matching(self, month: Month) -> set[int]:
        days = {day for day in self.numbers if day <= month.length}
        if self.includes_last:
            days.add(month.length)
        if self.includes_last_weekday:
            days.add(month.nearest_weekday(month.length))
        # 31W in a short month names no day at all, as in Quartz; clamping would invent a run.
        days.update(month.nearest_weekday(day) for day in self.nearest if day <= month.length)
        return days


class WeekDays(NamedTuple):
    """The day-of-week field: weekdays, d#n (the n-th of the month) and dL (the last of the month)."""

    numbers: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()

    @property
    def is_plain(self) -> bool:
        return not (self.nth or self.last)

    @property
    def is_whole(self) -> bool:
        return self.numbers == EVERY_WEEKDAY

    def matching(self, month: Month) -> set[int]:
        return {
            day for day in range(1, month.length + 1) if self._matches(month.weekday(day), day, month.length)
        }

    def _matches(self, weekday: int, day: int, length: int) -> bool:
        return (
            weekday in self.numbers
            or (weekday, (day + 6) // 7) in self.nth
            or (weekday in self.last and day > length - 7)
        )


class DayRule(NamedTuple):
    """Both day fields together: both must match, or either may."""

    month_days: MonthDays
    week_days: WeekDays
    both_must_match: bool

    @property
    def is_every_day(self) -> bool:
        whole = (self.month_days.is_whole, self.week_days.is_whole)
        return all(whole) if self.both_must_match else any(whole)


@lru_cache(maxsize=16384)
def days_in(rule: DayRule, month: Month) -> tuple[int, ...]:
    """Return the matching days of a month, in order."""
    by_month = rule.month_days.matching(month)
    by_week = rule.week_days.matching(month)
    return tuple(sorted(by_month & by_week if rule.both_must_match else by_month | by_week))
