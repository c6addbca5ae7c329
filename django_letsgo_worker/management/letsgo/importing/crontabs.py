"""Celery's crontabs: their fields, the times at which beat runs them, and expressions of ours for the same.

The tests hold this against Celery's own class. No table and no row here.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

Numbers = tuple[int, ...]
Five = tuple[str, str, str, str, str]

# Celery's bounds, in which 7 is no Sunday. It knows names by three letters, in whatever field.
LOWEST, HIGHEST = (0, 0, 1, 1, 0), (59, 23, 31, 12, 6)
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMES = {name: number for number, name in enumerate(WEEKDAYS)} | {
    name: number for number, name in enumerate(MONTHS, 1)
}
RANGE = re.compile(r"(\w+?)-(\w+)(?:/(\w*))?")
STAR = re.compile(r"\*(?:/(\w*)|\Z)")
STEP = re.compile(r"\*/([1-9][0-9]?)")
RRULE_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
# The longest wait for a day: 29 February on one weekday, across a century that has none.
MOST_DAYS = 41 * 366
A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Crontab:
    """A crontab of Celery's on the clock of its zone: all five fields must match, both of the days, too."""

    texts: Five
    minutes: Numbers
    hours: Numbers
    days: Numbers
    months: Numbers
    weekdays: Numbers
    timezone: str

    @classmethod
    def read(cls, texts: Five, timezone: str) -> Crontab:
        """Read the fields in the order of a crontab; ValueError for what Celery cannot read either."""
        minutes, hours, days, months, weekdays = map(_read, texts, LOWEST, HIGHEST)
        found = cls(texts, minutes, hours, days, months, weekdays, timezone)
        if found._next_day(date(2027, 1, 1)) is None:
            raise ValueError("no date ever matches it")
        return found

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Iterate over the moments, strictly after `moment`, at which a punctual beat runs it.

        Beat looks for the next match on the wall clock and takes that for the clock's first pass. So a time
        that spring skips comes as much later as the clock jumps, and autumn's second pass has no run.
        """
        zone, last = ZoneInfo(self.timezone), moment
        wall = moment.astimezone(zone).replace(tzinfo=None)
        while (found := self._next_wall(wall)) is not None:
            instant = found.replace(tzinfo=zone).astimezone(UTC)
            wall = instant.astimezone(zone).replace(tzinfo=None)
            if instant > last:
                yield instant
                last = instant

    def _next_wall(self, wall: datetime) -> datetime | None:
        if self._has(wall.date()):
            now, hours = (wall.hour, wall.minute), self.hours[bisect_left(self.hours, wall.hour) :]
            later = (clock for clock in product(hours, self.minutes) if clock > now)
            if (found := next(later, None)) is not None:
                return datetime.combine(wall.date(), time(*found))
        day = self._next_day(wall.date() + A_DAY)
        return None if day is None else datetime.combine(day, time(self.hours[0], self.minutes[0]))

    def _next_day(self, day: date) -> date | None:
        last = min(day.toordinal() + MOST_DAYS, date(9000, 1, 1).toordinal())
        days = map(date.fromordinal, range(day.toordinal(), last))
        return next(filter(self._has, days), None)

    def _has(self, day: date) -> bool:
        is_in_month = day.month in self.months and day.day in self.days
        return is_in_month and day.isoweekday() % 7 in self.weekdays

    def expressions(self) -> list[str]:
        """Return expressions of ours for it, the one that reads best first: they differ at clock changes.

        Written with a star, minutes and hours follow our rule of interval jobs; with numbers, that of fixed
        times.
        """
        days = self._day_fields()
        if days is None:
            return [self._rule()]
        day, weekday = days
        minute, hour, _day, month, _weekday = self._fields()
        clocks = (f"{minute} {hour}", f"{_without_star(minute, 59)} {_without_star(hour, 23)}")
        return list(dict.fromkeys(f"{clock} {day} {month} {weekday}" for clock in clocks))

    def _fields(self) -> list[str]:
        numbers = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return list(map(_field, self.texts, numbers, LOWEST, HIGHEST))

    def _day_fields(self) -> tuple[str, str] | None:
        """Return both day fields so that both must match, or None where five fields cannot say that.

        In ours they do when one of the two begins with a star, or by the week: `MON#2` is 8 to 14.
        """
        _minute, _hour, day, _month, weekday = self._fields()
        if day.startswith("*") or weekday.startswith("*"):
            return day, weekday
        weeks = [week for week in range(1, 5) if {*range(week * 7 - 6, week * 7 + 1)} <= {*self.days}]
        if len(self.days) != len(weeks) * 7:
            return None
        return "*", ",".join(f"{weekday}#{week}" for weekday in self.weekdays for week in weeks)

    def _rule(self) -> str:
        """Return the rule of RFC 5545 in which both day fields must match."""
        every_minute, every_hour = (
            len(numbers) == high + 1 for numbers, high in ((self.minutes, 59), (self.hours, 23))
        )
        # What a finer frequency does not name is every minute, or every hour: the text stays short.
        frequency = "MINUTELY" if every_minute else "HOURLY" if every_hour else "DAILY"
        parts = {
            "FREQ": frequency,
            "BYMONTH": "" if len(self.months) == 12 else _joined(self.months),
            "BYMONTHDAY": _joined(self.days),
            "BYDAY": ",".join(RRULE_WEEKDAYS[weekday] for weekday in self.weekdays),
            "BYHOUR": "" if every_hour else _joined(self.hours),
            "BYMINUTE": "" if every_minute else _joined(self.minutes),
        }
        return f"rrule({';'.join(f'{name}={value}' for name, value in parts.items() if value)})"


# -- Celery's fields, read ---------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _read(text: str, low: int, high: int) -> Numbers:
    """Read a field as crontab_parser does, slips included: what follows a range or a step is passed over."""
    found: set[int] = set()
    for part in text.split(","):
        if match := RANGE.match(part):
            first, last = (_number(word, low, high) for word in match.group(1, 2))
            # A range that runs backwards goes on at the other end.
            ends = [(first, last)] if first <= last else [(first, high), (low, last)]
            numbers = [number for start, end in ends for number in range(start, end + 1)]
            found.update(numbers[:: _step(match[3])])
        elif match := STAR.match(part):
            found.update(range(low, high + 1, _step(match[1])))
        else:
            found.add(_number(part, low, high))
    return tuple(sorted(found))


def _step(word: str | None) -> int:
    step = 1 if word is None else int(word)
    if step < 1:
        raise ValueError(f"the step {word!r} is not above 0")
    return step


def _number(word: str, low: int, high: int) -> int:
    try:
        number = int(word)
    except ValueError:
        number = NAMES.get(word[:3].lower(), -1)
    if not low <= number <= high:
        raise ValueError(f"{word!r} is not from {low} to {high}")
    return number


# -- fields of ours, written -------------------------------------------------------------------------------


def _field(text: str, numbers: Numbers, low: int, high: int) -> str:
    """Return a field for these numbers; a step of the whole field is kept as it was written."""
    if len(numbers) == high - low + 1:
        return "*"
    if (match := STEP.fullmatch(text)) and int(match[1]) <= high - low:
        return text
    return spelled(numbers)


def _without_star(text: str, high: int) -> str:
    return text.replace("*", f"0-{high}")


def spelled(numbers: Numbers) -> str:
    """Return ascending numbers as a field: 1-5,7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else _joined(tuple(run)) for run in runs)


def _joined(numbers: Numbers) -> str:
    return ",".join(map(str, numbers))
