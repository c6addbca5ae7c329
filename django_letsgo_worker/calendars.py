"""Calendars: days on which nothing runs, told by a function of the project that `@calendar` gives a name.

Which schedule leaves out the days of which calendar is in recurrence/exclusions.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from . import functions, validation
from .errors import DuplicateCalendar, InvalidSchedule
from .functions import Place
from .hints import suggestion

F = TypeVar("F", bound="Callable[[date], bool]")

# The first is a letter, so that no name can be taken for a date.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Calendar:
    """A function that says whether nothing runs on a day, and its name."""

    name: str
    function: Callable[[date], Any]
    # Where the code registers it.
    registered: Place = field(compare=False, repr=False)

    @property
    def place(self) -> str:
        """The place of the function, for people: module, name and line."""
        return f"{functions.dotted(self.function)} (line {self.registered.lines[-1][1]})"

    def is_replaced_by(self, new: Calendar) -> bool:
        """Whether `new` is this one, registered again: its module was reloaded, or its line ran once more."""
        if new.registered.is_after_reload_of(self.registered):
            return True
        is_same = functions.dotted(new.function) == functions.dotted(self.function)
        return is_same and new.registered.is_again(self.registered)

    def excludes(self, day: date) -> bool:
        """Whether nothing runs on this day; InvalidSchedule if the function cannot say."""
        try:
            answer = self.function(day)
        except Exception as error:
            raise InvalidSchedule(
                f"The calendar {self.name!r} failed for {day}, with {type(error).__name__}: {error}; "
                "mend its function, or take it out of the schedule.",
                field="except_on",
            ) from error
        if not isinstance(answer, bool):
            raise InvalidSchedule(
                f"The calendar {self.name!r} returned {validation.show(answer)} for {day}; "
                "its function returns True or False.",
                field="except_on",
            )
        return answer


_calendars: dict[str, Calendar] = {}
_lock = threading.Lock()


def calendar(name: str) -> Callable[[F], F]:
    """Make the function below a calendar: it is given a date, and returns whether nothing runs on that day.

    Schedules name it in their `except_on`. `name` is 1 to 64 lower-case letters, digits, - and _, of which
    the first is a letter. The function is called wherever a run is planned, so it is quick, and answers the
    same for a day each time.

    Raises InvalidSchedule for another name, TypeError for a function that cannot be a calendar, and
    DuplicateCalendar when another function has the name.
    """
    check_name(name)

    def register(function: F) -> F:
        _check_function(name, function)
        _add(Calendar(name, function, functions.place_of(function, sys._getframe(1))))
        return function

    return register


def check_name(name: Any) -> None:
    """Refuse what cannot be the name of a calendar (InvalidSchedule)."""
    if not isinstance(name, str):
        raise InvalidSchedule(
            f"A calendar has a name; write @calendar('holidays'), not one of {type(name).__name__}.",
            field="except_on",
        )
    if NAME.fullmatch(name) is None:
        raise InvalidSchedule(
            f"{validation.show(name)} is no name of a calendar; write 1 to 64 lower-case letters, digits, "
            "- and _, of which the first is a letter.",
            field="except_on",
        )


def _check_function(name: str, function: Any) -> None:
    if (why := functions.misfit(function, None)) is not None:
        raise TypeError(f"The calendar {name!r} is called with a date and nothing else: {why}.")
    if functions.is_async(function) or functions.is_generator(function):
        raise TypeError(
            f"The calendar {name!r} is a plain function that returns True or False: no async, no yield."
        )


def _add(new: Calendar) -> None:
    with _lock:
        old = _calendars.get(new.name)
        if old is not None and not old.is_replaced_by(new):
            raise DuplicateCalendar(new.name, old.place, new.place)
        _calendars[new.name] = new


def names() -> list[str]:
    """Return the names of all calendars, sorted."""
    return sorted(_calendars)


def get(name: str) -> Calendar:
    """Return the calendar of this name; InvalidSchedule when nobody has registered one here."""
    found = _calendars.get(name)
    if found is None:
        hint = suggestion(name, names()) or " Register it with @calendar, or take it out."
        raise InvalidSchedule(f"There is no calendar {name!r} here.{hint}", field="except_on")
    return found


def remove(name: str) -> None:
    """Forget a calendar, for tests."""
    _calendars.pop(name, None)
