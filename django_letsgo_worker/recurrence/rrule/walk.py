"""The walk of a rule over naive wall time, from its beginning: dateutil finds the days, the minutes are ours.

No zone and no UTC here, as in `pattern`. The beginning of the walk is moved forward by whole intervals, so
that a step costs the same however long ago the rule began.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any

from dateutil import rrule as dateutil

from .. import zones
from ..pattern import A_MINUTE, full_minute_from
from .rule import EVERY_MONTH_DAY, Rule

FREQUENCIES = {
    "YEARLY": dateutil.YEARLY,
    "MONTHLY": dateutil.MONTHLY,
    "WEEKLY": dateutil.WEEKLY,
    "DAILY": dateutil.DAILY,
}
A_DAY, AN_HOUR = timedelta(days=1), 60
# The years at the end of Python's calendar, where dateutil's search ends by itself: they hold each kind of
# year, so that what never comes in them never comes.
LAST_YEARS = (datetime(9972, 1, 1), datetime(9999, 12, 31, 23, 59))
# How long a rule may keep its beginning waiting for the first time.
LONGEST_WAIT = 120

# A midnight and the minutes of that day, in order.
Day = tuple[datetime, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Walk:
    """A rule whose parts are complete, from `start` on: the wall time of a full minute."""

    rule: Rule
    start: datetime

    @property
    def is_interval(self) -> bool:
        """A rule is a fixed-time job, whatever its frequency: see `wallclock`."""
        return False

    def matches(self, wall: datetime) -> bool:
        return self.matches_within(wall, wall + timedelta.resolution)

    def matches_within(self, start: datetime, end: datetime) -> bool:
        return next(self._days(start, end), None) is not None

    def forwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), oldest first."""
        for midnight, minutes in self._days(start, end):
            for minute in minutes:
                yield midnight + timedelta(minutes=minute)

    def backwards(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the matches in [start, end), newest first; it keeps the days of the range."""
        for midnight, minutes in reversed(list(self._days(start, end))):
            for minute in reversed(minutes):
                yield midnight + timedelta(minutes=minute)

    def count(self, start: datetime, end: datetime) -> int:
        """Count the matches in [start, end) day by day: the cost does not grow with the matches in a day."""
        return sum(len(minutes) for _, minutes in self._days(start, end))

    def _days(self, start: datetime, end: datetime) -> Iterator[Day]:
        """Yield the days in [start, end) with a match, and those of their minutes that lie in it."""
        first, last = max(full_minute_from(start), self.start), full_minute_from(end) - A_MINUTE
        if self.rule.until is not None and self.rule.until.tzinfo is None:
            last = min(last, self.rule.until)
        if first > last:
            return
        for midnight, minutes in self._days_from(_midnight(first)):
            if midnight > last:
                return
            if midnight < first or last - midnight < A_DAY:
                low, high = (first - midnight) // A_MINUTE, (last - midnight) // A_MINUTE
                minutes = tuple(minute for minute in minutes if low <= minute <= high)
            if minutes:
                yield midnight, minutes

    def _days_from(self, since: datetime) -> Iterator[Day]:
        found = self._search(since)
        if self.rule.is_coarse and self.rule.positions:
            for midnight, walls in groupby(found, _midnight):
                yield midnight, tuple((wall - midnight) // A_MINUTE for wall in walls)
        else:
            minutes_of = self._minutes()
            yield from ((midnight, minutes_of(midnight)) for midnight in found)

    def _search(self, since: datetime) -> Iterator[datetime]:
        """Let dateutil find the days from the period of `since` on, a few earlier ones among them."""
        rule = self.rule
        if rule.is_coarse or not rule.has_day_filter:
            frequency = rule.frequency if rule.is_coarse else "DAILY"
            interval = 1 if rule.frequency in ("HOURLY", "MINUTELY") else rule.interval
            return iter(
                _dateutil(replace(rule, frequency=frequency, interval=interval), self._aligned(since))
            )
        # Month by month: day by day, dateutil takes a step for each day that does not match.
        begin, first = since.replace(day=1), rule.period_of(self.start)
        days = _dateutil(_by_month(rule), begin)
        if rule.frequency == "DAILY":
            return (day for day in days if (rule.period_of(day) - first) % rule.interval == 0)
        return days

    def _aligned(self, since: datetime) -> datetime:
        """Return the beginning of the last period at or before `since` that is in step with the start."""
        rule = self.rule
        if rule.frequency in ("HOURLY", "MINUTELY"):
            return since
        first = rule.period_of(self.start)
        periods = rule.period_of(since) - first
        return rule.first_day_of(first + periods - periods % rule.interval)

    def _minutes(self) -> Callable[[datetime], tuple[int, ...]]:
        """Return what tells the minutes of a day, by its midnight."""
        rule = self.rule
        if rule.frequency not in ("HOURLY", "MINUTELY"):
            all_days = _minutes_of_a_day(rule)
            return lambda midnight: all_days
        step = rule.interval * (AN_HOUR if rule.frequency == "HOURLY" else 1)
        begin = self.start - timedelta(minutes=self.start.minute if rule.frequency == "HOURLY" else 0)
        phases = replace(rule, interval=1, until=None, count=None)
        return lambda midnight: _minutes_in_step(phases, step, (begin - midnight) // A_MINUTE % step)


def _midnight(wall: datetime) -> datetime:
    return datetime(wall.year, wall.month, wall.day)


def _by_month(rule: Rule) -> Rule:
    month_days = rule.month_days if rule.names_days else EVERY_MONTH_DAY
    return replace(rule, frequency="MONTHLY", interval=1, month_days=month_days, positions=frozenset())


def _dateutil(rule: Rule, start: datetime) -> Iterator[datetime]:
    """Return dateutil's walk of a rule that begins with a period; of its days only, but for positions."""
    by_time = rule.is_coarse and rule.positions
    found: Iterator[datetime] = iter(
        dateutil.rrule(
            FREQUENCIES[rule.frequency],
            dtstart=start,
            interval=rule.interval,
            wkst=rule.week_start,
            bysetpos=sorted(rule.positions) if by_time else None,
            bymonth=sorted(rule.months) or None,
            bymonthday=sorted(rule.month_days) or None,
            byyearday=sorted(rule.year_days) or None,
            byweekno=sorted(rule.weeks) or None,
            byweekday=_weekdays(rule) or None,
            byhour=sorted(rule.hours) if by_time else 0,
            byminute=sorted(rule.minutes) if by_time else 0,
            bysecond=0,
        )
    )
    return found


def _weekdays(rule: Rule) -> list[Any]:
    """Spell the weekdays: beside a numbered one dateutil takes a plain one for a second condition."""
    if any(which for which, _ in rule.week_days):
        most = 53 if rule.frequency == "YEARLY" and not rule.months else 5
        numbers = {0: range(1, most + 1)}
        pairs = {(n, day) for which, day in rule.week_days for n in numbers.get(which, (which,))}
        return [dateutil.weekday(day, n) for n, day in sorted(pairs)]
    return sorted(day for _, day in rule.week_days)


@lru_cache(maxsize=1024)
def _minutes_of_a_day(rule: Rule) -> tuple[int, ...]:
    minutes = sorted(hour * AN_HOUR + minute for hour in rule.hours for minute in rule.minutes)
    return _at_positions(minutes, rule.positions if rule.frequency == "DAILY" else frozenset())


@lru_cache(maxsize=1024)
def _minutes_in_step(rule: Rule, step: int, phase: int) -> tuple[int, ...]:
    """Return the minutes of a day whose first step is `phase` minutes after midnight."""
    steps = range(phase, 24 * AN_HOUR, step)
    if rule.frequency == "MINUTELY":
        sets = [[minute] for minute in steps if not rule.minutes or minute % AN_HOUR in rule.minutes]
    else:
        sets = [[hour + minute for minute in sorted(rule.minutes)] for hour in steps]
    allowed = (one for one in sets if not rule.hours or one[0] // AN_HOUR in rule.hours)
    return tuple(minute for one in allowed for minute in _at_positions(one, rule.positions))


def _at_positions(minutes: list[int], positions: frozenset[int]) -> tuple[int, ...]:
    """Return those at the positions, 1 for the first and -1 for the last; without any, all."""
    size = len(minutes)
    places = {position - 1 if position > 0 else size + position for position in positions}
    return tuple(minute for place, minute in enumerate(minutes) if not positions or place in places)


# -- rules that never come ----------------------------------------------------------------------------------


def ever_comes(rule: Rule) -> bool:
    """Whether the rule comes at all, wherever it begins."""
    return _comes_in_some_year(rule.begun_anywhere())


def _comes_in_some_year(rule: Rule) -> bool:
    walk = Walk(replace(rule, interval=1, until=None), LAST_YEARS[0])
    return walk.matches_within(*LAST_YEARS)


@lru_cache(maxsize=4096)
def comes_from(rule: Rule, start: datetime, since: datetime) -> bool:
    """Whether a complete rule comes from `since` on within LONGEST_WAIT years of its start, whenever it ends."""
    rule = replace(rule, until=None, count=None)
    if not _comes_in_some_year(rule):
        return False
    if rule.interval == 1:
        return True
    end = min(start.replace(day=1, year=min(start.year + LONGEST_WAIT, 9999)), zones.LATEST)
    if not rule.is_coarse:
        return Walk(rule, start).matches_within(since, end)
    # dateutil cannot be stopped in a search for what is never in step.
    first = rule.period_of(start)
    found = Walk(replace(rule, interval=1), start).forwards(since, end)
    return any((rule.period_of(wall) - first) % rule.interval == 0 for wall in found)
