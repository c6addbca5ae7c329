"""A Rule: the parts of an RFC 5545 recurrence rule as values, and what it takes over from its beginning.

No text and no walk here. Weekdays are numbered 0 = Monday to 6 = Sunday, as the standard library has them.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime

EVERY_MONTH_DAY = frozenset(range(1, 32))
EVERY_WEEKDAY = frozenset((0, weekday) for weekday in range(7))
COARSE = ("YEARLY", "MONTHLY", "WEEKLY")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the parts say; an empty set is a part that is not there.

    `week_days` are pairs: which one of the month or year (0: each of them, -1: the last), and the weekday.
    `until` is naive where it is wall time, and aware where it is UTC.
    """

    frequency: str
    interval: int = 1
    months: frozenset[int] = frozenset()
    weeks: frozenset[int] = frozenset()
    year_days: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    week_days: frozenset[tuple[int, int]] = frozenset()
    hours: frozenset[int] = frozenset()
    minutes: frozenset[int] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0
    count: int | None = None
    until: datetime | None = None

    @property
    def is_coarse(self) -> bool:
        """Whether a period has several days, of which the rule may take one by its position."""
        return self.frequency in COARSE

    @property
    def names_days(self) -> bool:
        return bool(self.weeks or self.year_days or self.month_days or self.week_days)

    @property
    def has_day_filter(self) -> bool:
        return self.names_days or bool(self.months)

    def begun_at(self, start: datetime) -> "Rule":
        """Return the rule with what it leaves open, such as the time of day, taken from its beginning."""
        rule = self
        if not self.names_days:
            if self.frequency == "YEARLY":
                months = self.months or frozenset({start.month})
                rule = replace(rule, months=months, month_days=frozenset({start.day}))
            elif self.frequency == "MONTHLY":
                rule = replace(rule, month_days=frozenset({start.day}))
            elif self.frequency == "WEEKLY":
                rule = replace(rule, week_days=frozenset({(0, start.weekday())}))
        return rule._with_time(start.hour, start.minute)

    def begun_anywhere(self) -> "Rule":
        """Return the rule with every day that it leaves open: what no beginning brings, this does not."""
        rule = replace(self, interval=1)
        if not self.names_days:
            if self.frequency == "WEEKLY":
                rule = replace(rule, week_days=EVERY_WEEKDAY)
            elif self.is_coarse:
                rule = replace(rule, month_days=EVERY_MONTH_DAY)
        return rule._with_time(0, 0)

    def _with_time(self, hour: int, minute: int) -> "Rule":
        hours, minutes = self.hours, self.minutes
        if self.frequency not in ("HOURLY", "MINUTELY"):
            hours = hours or frozenset({hour})
        if self.frequency != "MINUTELY":
            minutes = minutes or frozenset({minute})
        return replace(self, hours=hours, minutes=minutes)

    def period_of(self, day: date) -> int:
        """Return the number of the year, month, week or day that the frequency counts, and `day` lies in."""
        if self.frequency == "YEARLY":
            return day.year
        if self.frequency == "MONTHLY":
            return day.year * 12 + day.month - 1
        if self.frequency == "WEEKLY":
            # 1 January of the year 1 is a Monday, and the ordinal 1.
            return (day.toordinal() - 1 - self.week_start) // 7
        return day.toordinal()

    def first_day_of(self, period: int) -> datetime:
        """Return the midnight with which a period begins."""
        if self.frequency == "YEARLY":
            return datetime(period, 1, 1)
        if self.frequency == "MONTHLY":
            return datetime(period // 12, period % 12 + 1, 1)
        ordinal = period * 7 + 1 + self.week_start if self.frequency == "WEEKLY" else period
        return datetime.fromordinal(ordinal)
