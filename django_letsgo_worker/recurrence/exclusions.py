"""Exclusions: the days on which a schedule does not run, as dates, ranges, yearly days and calendars.

Whether a planned time falls on one is decided by its date in the zone of the schedule; what becomes of it
then is planning's.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import NoReturn

from django_letsgo_worker import calendars
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.validation import show

from . import english, zones

LONGEST = 2_000
SEPARATORS = re.compile(r"[,\s]+")
DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
YEARLY = re.compile(r"([0-9]{2})-([0-9]{2})")
# A year that has every day, for yearly ones.
LEAP_YEAR = 2000


@dataclass(frozen=True, slots=True)
class Dates:
    """The days from `first` to `last`, both of them included."""

    first: date
    last: date

    def holds(self, day: date) -> bool:
        return self.first <= day <= self.last

    def reason(self) -> str:
        return "excepted" if self.first == self.last else f"in {self.first}..{self.last}"

    def in_english(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class YearlyDays:
    """The days from `first` to `last` of every year, as month and day; a range may wrap the year."""

    first: tuple[int, int]
    last: tuple[int, int]

    def holds(self, day: date) -> bool:
        it = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= it <= self.last
        return it >= self.first or it <= self.last

    def reason(self) -> str:
        ends = [f"{month:02}-{day:02}" for month, day in (self.first, self.last)]
        return f"excepted as {ends[0]}" if self.first == self.last else f"in {'..'.join(ends)}"

    def in_english(self) -> str:
        ends = [f"{day} {english.MONTHS[month]}" for month, day in (self.first, self.last)]
        return ends[0] if self.first == self.last else " to ".join(ends)


@dataclass(frozen=True, slots=True)
class Named:
    """The days of the calendar of this name."""

    name: str

    def holds(self, day: date) -> bool:
        return calendars.get(self.name).excludes(day)

    def reason(self) -> str:
        return f"in the calendar {self.name!r}"

    def in_english(self) -> str:
        return f"the days of the calendar {self.name!r}"


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Valid exclusions, false if there are none; `parse` makes them."""

    days: tuple[Dates | YearlyDays, ...]
    calendars: tuple[Named, ...]

    @classmethod
    def parse(cls, text: str) -> "Exclusions":
        """Read exclusions: items with commas, blanks or line breaks between them.

        An item is a date (2026-12-25), a range of them (2026-12-24..2027-01-02), a day of every year (12-25),
        a range of those (12-24..01-02), or the name of a calendar, which need not be registered here:
        `check_calendars` asks that. Kept, so that a text is read once.

        Raises InvalidSchedule for the field "except_on", whose text is one sentence.
        """
        if not isinstance(text, str):
            given = type(text).__name__
            raise _refusal(f"except_on is text such as '12-25, 12-31', not {given}.")
        return _read(text)

    def __bool__(self) -> bool:
        return bool(self.days or self.calendars)

    def check_calendars(self) -> None:
        """Refuse names of calendars that nobody registered here (InvalidSchedule)."""
        for each in self.calendars:
            calendars.get(each.name)

    def reason(self, moment: datetime, timezone: str) -> str:
        """Return why a planned moment is excluded, by its date in the zone, or "" if it is not.

        Such as "2026-12-25 is in 12-24..01-02". `moment` is an aware datetime (else ValueError), `timezone`
        an IANA name. Calendars are asked last. Raises InvalidSchedule for a calendar that nobody registered
        here, or that fails.
        """
        if moment.utcoffset() is None:
            raise ValueError(f"The moment {moment.isoformat()} has no time zone; give an aware datetime.")
        day = zones.wall_at(zones.check(timezone), moment).date()
        found = next((each for each in (*self.days, *self.calendars) if each.holds(day)), None)
        return f"{day} is {found.reason()}" if found else ""

    def describe(self) -> str:
        """Say in English on which days it does not run, such as "not on 25 December"; "" if on all."""
        said = [each.in_english() for each in (*self.days, *self.calendars)]
        return f"not on {english.listed(said)}" if said else ""


@lru_cache(maxsize=4096)
def _read(text: str) -> Exclusions:
    if len(text) > LONGEST:
        raise _refusal(
            f"except_on has at most {LONGEST:,} characters, not {len(text):,}; "
            "put so many days into a calendar."
        )
    items = [_read_item(item) for item in SEPARATORS.split(text) if item]
    days = [item for item in items if not isinstance(item, Named)]
    return Exclusions(tuple(days), tuple(item for item in items if isinstance(item, Named)))


def _read_item(item: str) -> Dates | YearlyDays | Named:
    ends = item.split("..")
    if len(ends) == 1 and calendars.NAME.fullmatch(item):
        return Named(item)
    if len(ends) > 2 or not all(map(_is_day, ends)):
        _refuse_unreadable(item)
    are_dates = {bool(DATE.fullmatch(end)) for end in ends}
    if len(are_dates) > 1:
        raise _refusal(
            f"{item!r} mixes a day of one year with a day of every year; write both ends with a year, "
            "or both without."
        )
    if are_dates == {False}:
        first, *more = [_yearly(end) for end in ends]
        return YearlyDays(first, *(more or [first]))
    return _dates(ends)


def _is_day(text: str) -> bool:
    return bool(DATE.fullmatch(text) or YEARLY.fullmatch(text))


def _dates(ends: list[str]) -> Dates:
    first, last = (_date(end, end) for end in (ends[0], ends[-1]))
    if last < first:
        raise _refusal(f"'{first}..{last}' runs backwards; write {last}..{first} instead.")
    return Dates(first, last)


def _yearly(text: str) -> tuple[int, int]:
    found = _date(f"{LEAP_YEAR}-{text}", text)
    return found.month, found.day


def _date(text: str, written: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _refusal(f"No calendar has the day {written!r}; write one that exists.") from None


def _refuse_unreadable(item: str) -> NoReturn:
    lower = item.lower()
    if item != lower and calendars.NAME.fullmatch(lower):
        raise _refusal(f"{item!r} is no date, and names of calendars are lower-case; write {lower!r}.")
    raise _refusal(
        f"{show(item)} is no day, no range and no name of a calendar; write for example 2026-12-25, 12-25, "
        "12-24..01-02 or holidays."
    )


def _refusal(sentence: str) -> InvalidSchedule:
    return InvalidSchedule(sentence, field="except_on")
