"""Celery's schedules, crontab() and schedule(), as expressions of ours.

A crontab of Celery's runs where all five fields match; ours, like cron, where one of the two day fields does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, NoReturn

from ...errors import InvalidSchedule
from ...validation import show
from .exceptions import UnsupportedCelery

MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
WEEKDAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a crontab: its name and bounds, and names of its numbers by their first three letters."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def all(self) -> list[int]:
        return list(range(self.low, self.high + 1))

    def read(self, given: Any) -> list[int]:
        """Return the numbers that a field allows, in order, of a number, text as in cron, or a list."""
        if isinstance(given, str):
            found = {number for part in given.split(",") for number in self._part(part.strip())}
        elif isinstance(given, Iterable):
            found = {self._checked(number, given) for number in given}
        else:
            found = {self._checked(given, given)}
        return sorted(found)

    def text(self, given: Any) -> str:
        """Return the field as we write it: a star, a step as it was given, or a list of ranges."""
        numbers = self.read(given)
        if numbers == self.all:
            return "*"
        # By the text we tell a job that runs at intervals from one that runs at a time of day.
        if isinstance(given, str) and given.startswith("*/") and given[2:].isdecimal() and len(numbers) > 1:
            return given
        return ",".join(_ranges(numbers))

    def _part(self, text: str) -> list[int]:
        span, slash, step = text.partition("/")
        if slash and not (step.isdecimal() and int(step) and (span == "*" or "-" in span)):
            self._refuse(text)
        if span == "*":
            found = self.all
        else:
            first, dash, last = span.partition("-")
            low = self._number(first, text)
            high = self._number(last, text) if dash else low
            # As in Celery, a range may run over the end of the field.
            beyond = range(self.low, high + 1) if high < low else ()
            found = [*range(low, (self.high if high < low else high) + 1), *beyond]
        return found[:: int(step)] if slash else found

    def _number(self, text: str, given: str) -> int:
        number = int(text) if text.isdecimal() and len(text) < 4 else self.names.get(text[:3].lower())
        return self._checked(number, given)

    def _checked(self, number: Any, given: Any) -> int:
        if not isinstance(number, int) or isinstance(number, bool) or not self.low <= number <= self.high:
            self._refuse(given)
        return number

    def _refuse(self, given: Any) -> NoReturn:
        raise InvalidSchedule(
            f"{self.name}={show(given)} is no field of a crontab(): write numbers from {self.low} to "
            f"{self.high}, such as 4, '1,5', '1-5' or '*/2'."
        )


MINUTE, HOUR = _Field("minute", 0, 59), _Field("hour", 0, 23)
DAY_OF_WEEK = _Field("day_of_week", 0, 6, WEEKDAYS)
DAY_OF_MONTH, MONTH = _Field("day_of_month", 1, 31), _Field("month_of_year", 1, 12, MONTHS)


def _ranges(numbers: list[int]) -> list[str]:
    """Return numbers in order as a list of ranges: 1-3, 7."""
    ends = [before for before, after in pairwise(numbers) if after != before + 1] + numbers[-1:]
    starts = numbers[:1] + [after for before, after in pairwise(numbers) if after != before + 1]
    return [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class crontab:  # noqa: N801 - Celery's name
    """A schedule of five fields, all of which must match, on the clock of the app's zone.

    `minute`, `hour`, `day_of_week` (0 to 6, from Sunday, or names), `day_of_month` and `month_of_year` are
    numbers, text as in cron, or lists of numbers. Raises InvalidSchedule for anything else.
    """

    minute: Any = "*"
    hour: Any = "*"
    day_of_week: Any = "*"
    day_of_month: Any = "*"
    month_of_year: Any = "*"

    def __post_init__(self) -> None:
        # Whatever is wrong is said where it stands.
        _ = self.expression

    @classmethod
    def from_string(cls, text: str) -> crontab:
        """Return that of a `text` of five fields in cron's order; still, all of them must match."""
        fields = text.split()
        if len(fields) != 5:
            raise InvalidSchedule(f"{show(text)} has {len(fields)} parts: write five, such as '0 9 * * mon'.")
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    @property
    def expression(self) -> str:
        """The same as an expression of ours."""
        days, weekdays = DAY_OF_MONTH.text(self.day_of_month), DAY_OF_WEEK.text(self.day_of_week)
        if not (days.startswith("*") or weekdays.startswith("*")):
            return self._rule()
        # With a star at the beginning of one of the two, both must match here too.
        fields = (
            MINUTE.text(self.minute),
            HOUR.text(self.hour),
            days,
            MONTH.text(self.month_of_year),
            weekdays,
        )
        return " ".join(fields)

    def _rule(self) -> str:
        """Return it as an rrule(), whose parts must all match."""
        parts: dict[str, list[Any]] = {
            "BYMONTH": MONTH.read(self.month_of_year),
            "BYMONTHDAY": DAY_OF_MONTH.read(self.day_of_month),
            "BYDAY": [
                name[:2].upper() for name in WEEKDAYS if WEEKDAYS[name] in DAY_OF_WEEK.read(self.day_of_week)
            ],
            "BYHOUR": HOUR.read(self.hour),
            "BYMINUTE": MINUTE.read(self.minute),
        }
        whole = {"BYMONTH": MONTH.all, "BYHOUR": HOUR.all, "BYMINUTE": MINUTE.all}
        every = [name for name in parts if parts[name] == whole.get(name)]
        frequency = "MINUTELY" if "BYMINUTE" in every else "HOURLY" if "BYHOUR" in every else "MONTHLY"
        text = [f"{name}={','.join(str(one) for one in parts[name])}" for name in parts if name not in every]
        return f"rrule({';'.join([f'FREQ={frequency}', *text])})"


@dataclass(frozen=True, slots=True)
class schedule:  # noqa: N801 - Celery's name
    """A schedule of elapsed time: `run_every` is a timedelta or seconds, a whole number of them, 1 at least.

    Raises InvalidSchedule for others, UnsupportedCelery for `relative`.
    """

    run_every: timedelta | float
    relative: bool = False

    def __post_init__(self) -> None:
        if self.relative:
            raise UnsupportedCelery(
                "relative=True is not here: write a crontab(), such as crontab(minute=0) for each full hour."
            )
        _ = self.expression

    @property
    def expression(self) -> str:
        """The same as an expression of ours."""
        every = self.run_every
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 1 or seconds % 1:
            raise InvalidSchedule(
                f"A schedule runs every so many whole seconds, 1 at least, not {show(every)}."
            )
        return f"@every {int(seconds)}s"


def solar(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse the sun, whatever `args` and `kwargs`."""
    raise UnsupportedCelery(
        "solar() has no counterpart: let a daily schedule enqueue the message with eta= at the sun's time."
    )


def expression_of(given: Any) -> str:
    """Return the expression of a schedule: crontab(), schedule(), a timedelta, or a number of seconds."""
    if isinstance(given, (crontab, schedule)):
        return given.expression
    if isinstance(given, (timedelta, int, float)):
        return schedule(given).expression
    raise UnsupportedCelery(
        f"A schedule is crontab(), a timedelta or a number of seconds, not {show(given)}: import crontab "
        "from django_letsgo_worker.contrib.celery.schedules."
    )
