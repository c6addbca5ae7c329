"""Schedules declared in code by `@schedule`, kept until a scheduler brings their rows in step.

Nothing is planned or written here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, Unpack

from . import planning, registry, typed, validation
from .errors import InvalidSchedule
from .functions import Place, place_of
from .hints import no_option
from .recurrence import Recurrence

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One schedule as the code declares it; `fields` are further columns that it decides."""

    name: str
    schedule: str
    type: str
    timezone: str = "UTC"
    payload: Any = field(default=None, repr=False)
    fields: dict[str, Any] = field(default_factory=dict)
    # Where the code says it, for people and for comparison.
    place: str = field(default="", compare=False)
    declared: Place | None = field(default=None, compare=False, repr=False)

    def columns(self) -> dict[str, Any]:
        """Return the columns that the code decides, and their values."""
        return {
            "schedule": self.schedule,
            "type": self.type,
            "timezone": self.timezone,
            "payload": self.payload,
            **self.fields,
        }


_declared: dict[str, Declared] = {}


def schedule(
    expression: str,
    *,
    name: str | None = None,
    timezone: str = "UTC",
    payload: Any = None,
    **fields: Unpack[planning.DeclaredFields],
) -> Callable[[F], F]:
    """Declare a schedule for the handler below; it stands above `@handler`.

    Schedulers bring its row in step when they start: the code decides what is said here, people decide
    whether it is on. `expression` is when it runs: rate(5 minutes), @every 90s, five cron fields, a macro
    such as @daily, AWS's cron(...), rrule(FREQ=WEEKLY;BYDAY=MO), or at(2027-01-01T09:00:00); `timezone` the
    IANA name of the zone whose clock it follows. `name` is the handler's type by default. `payload`, `queue`,
    `priority` and `max_attempts` are those of its messages; None means what the handler or the settings say.

    It runs from `starts_at` to `ends_at`, aware datetimes, but not on the days of `except_on` (text such as
    "12-24..01-02, holidays"); after `max_runs` runs it is over, and deleted if `delete_when_over`.
    `pause_after_failures` dead runs in a row switch it off. `deadline` is how long after its planned time and
    spread a message may begin, `misfire_grace` how late a run is on time: seconds or timedeltas. `misfire`
    says which later ones come: "once" (the newest), "skip" (none), "all"; `overlap` how one comes while an
    earlier message lives: "allow" (all the same), "skip" (not), "queue" (after it; one at most waits),
    "replace" (it is cancelled first). `spread` delays each by a part of so many minutes.
    Raises InvalidSchedule or InvalidMessage for anything that cannot be a schedule.
    """
    Recurrence.parse(expression, timezone)
    text = validation.encode("payload", payload, None)
    columns = _columns({**fields})

    def declare(function: F) -> F:
        handler = _handler_of(function)
        typed.check(handler.type, text)
        place = place_of(function, sys._getframe(1))
        _add(Declared(
            name=name or handler.type, schedule=expression, type=handler.type, timezone=timezone,
            payload=payload, fields=columns, place=handler.place, declared=place,
        ))  # fmt: skip
        return function

    return declare


def _handler_of(function: Any) -> registry.Handler:
    for handler in registry.handlers():
        if _is_behind(handler, function):
            return handler
    raise InvalidSchedule("@schedule goes above @handler: the function below is not a handler.")


def _is_behind(handler: registry.Handler, function: Any) -> bool:
    """Whether the function is this handler's: that of a @message_type class stands behind its reader."""
    return function in (handler.function, getattr(handler.function, "__wrapped__", None))


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as columns; InvalidSchedule for an unknown field."""
    unknown = sorted(set(fields) - planning.DECLARED_FIELDS)
    if unknown:
        known = ("name", "timezone", "payload", *sorted(planning.DECLARED_FIELDS))
        raise InvalidSchedule(no_option("A schedule", unknown, known), field=unknown[0])
    return planning.as_columns(fields)


def _add(new: Declared) -> None:
    old = _declared.get(new.name)
    if old is not None and not _is_replaced(old, new):
        if old.place == new.place:
            raise InvalidSchedule(f"Two schedules of {new.place} are named {new.name!r}: give one a name=.")
        raise InvalidSchedule(f"Two schedules are named {new.name!r}: by {old.place} and by {new.place}.")
    _declared[new.name] = new


def _is_replaced(old: Declared, new: Declared) -> bool:
    """Whether `new` is `old`, declared again: its module was reloaded, or its line ran once more."""
    if old.declared is None or new.declared is None:
        return old.place == new.place
    return new.declared.is_after_reload_of(old.declared) or new.declared.is_again(old.declared)


def declared() -> list[Declared]:
    """Return the schedules that handlers declare."""
    return list(_declared.values())


def remove(name: str) -> None:
    """Forget a declaration, for tests."""
    _declared.pop(name, None)
