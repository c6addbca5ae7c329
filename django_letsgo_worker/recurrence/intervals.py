"""rate() and @every: elapsed time on a grid that only its anchor fixes.

No wall clock and no zone: an hour is 3,600 seconds whatever the clocks do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from django_letsgo_worker.errors import InvalidSchedule

from . import english
from .base import Newest

UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
RATE = re.compile(r"([0-9]{1,6}) +(MINUTE|HOUR|DAY)S?")

# The units of Go's time.ParseDuration; its µs comes here as us.
SECONDS_PER_UNIT = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
GO_TERM = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|ms|s|m|h)")
GO_DURATION = re.compile(rf"\+?(?:(?:{GO_TERM.pattern})+|0)")
DAYS_OR_WEEKS = re.compile(r"([1-9][0-9]{0,2})([dw])")
SHORTEST, LONGEST = 1, 366 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Interval:
    """The length of an interval, and its unit if it was given in one: 60 minutes equal an hour."""

    length: timedelta
    unit: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Grid:
    """Every `anchor + k * interval`, k >= 0; without an anchor the moment asked about is the anchor."""

    interval: Interval
    anchor: datetime | None

    def after(self, moment: datetime) -> Iterator[datetime]:
        anchor = self.anchor or moment
        index = max(0, self._index_at(anchor, moment) + 1)
        while True:
            try:
                occurrence = anchor + index * self.interval.length
            except OverflowError:  # the calendar ends with the year 9999
                return
            yield occurrence
            index += 1

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        anchor = self.anchor or after
        first = max(0, self._index_at(anchor, after) + 1)
        end = self._index_at(anchor, until) + 1
        total = max(0, end - first)
        indexes = range(end - min(limit, total), end)
        return Newest([anchor + index * self.interval.length for index in indexes], total)

    def _index_at(self, anchor: datetime, moment: datetime) -> int:
        return (moment - anchor) // self.interval.length

    def moves(self, occurrence: datetime) -> bool:
        return False

    def describe(self) -> str:
        return english.interval(self.interval.length, self.interval.unit)


def read_rate(text: str) -> Interval:
    """Read the text inside rate(...), in upper case."""
    match = RATE.fullmatch(text.strip(" "))
    if match is None:
        raise InvalidSchedule(_rate_refusal(text))
    unit = match[2].lower()
    length = int(match[1]) * UNITS[unit]
    if not length:
        raise InvalidSchedule("A rate of 0 never comes round; write at least rate(1 minute).")
    return Interval(length, unit)


def _rate_refusal(text: str) -> str:
    if re.search(r"SEC", text):
        return "rate() has no seconds; write @every and a duration instead, such as @every 30s."
    if match := re.fullmatch(r" *([0-9]{1,3}) *WEEKS? *", text):
        return f"rate() has no weeks; write rate({int(match[1]) * 7} days) instead."
    return (
        f"'rate({text.lower()})' cannot be read; write a whole number of at most 6 digits, a space, "
        "and minutes, hours or days, such as rate(5 minutes)."
    )


def read_every(text: str) -> Interval:
    """Read the duration behind @every, as Go writes it: 90s, 1h30m, 1.5h."""
    text = text.strip(" ")
    if GO_DURATION.fullmatch(text) is None:
        raise InvalidSchedule(_every_refusal(text))
    terms: list[tuple[str, str]] = GO_TERM.findall(text)
    lengths = [Fraction(number.rstrip(".")) * SECONDS_PER_UNIT[unit] for number, unit in terms]
    seconds = sum(lengths, Fraction(0))
    if seconds.denominator != 1 or seconds < SHORTEST:
        raise InvalidSchedule(f"@every counts whole seconds, unlike {text!r}; write @every 1s or longer.")
    if seconds > LONGEST:
        raise InvalidSchedule(f"@every goes up to 366 days, and {text!r} is longer; write @yearly or a date.")
    return Interval(timedelta(seconds=int(seconds)))


def _every_refusal(text: str) -> str:
    if match := DAYS_OR_WEEKS.fullmatch(text):
        days = int(match[1]) * (7 if match[2] == "w" else 1)
        rate = f"rate({days} {'day' if days == 1 else 'days'})"
        in_hours = f"@every {days * 24}h or " if days <= 366 else ""
        return f"@every has no days or weeks; write {in_hours}{rate} instead."
    if text.startswith("-"):
        return f"@every cannot run backwards; write {text.lstrip('-') or '1h'!r} without the minus."
    if re.fullmatch(r"[0-9]{1,6} +(minute|hour|day)s?", text, re.IGNORECASE):
        return f"@every takes a duration such as 5m; write rate({text.lower()}) instead."
    return f"@every takes a duration of h, m and s, such as 90s, 5m or 1h30m; {text!r} is not one."
