"""Schedules declared in code by `@schedule`, kept until a scheduler brings their rows in step.

Nothing is planned or written here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, Unpack

from . import payloads, planning, registry, typed
from .errors import InvalidSchedule
from .functions import Place, place_of
from .hints import no_option
from .recurrence import Recurrence
from .validation import show

F = TypeVar("F")


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
    expression: str, *, name: str | None = None, timezone: str = "UTC", payload: Any = None,
    args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
    **fields: Unpack[planning.DeclaredFields],
) -> Callable[[F], F]:  # fmt: skip
    """Declare a schedule for the handler or the task below; it stands above `@handler` or `@task`.

    Schedulers bring its row in step when they start: the code decides what is said here, people decide
    whether it is on. `expression` is when it runs: rate(5 minutes), @every 90s, five cron fields, a macro
    such as @daily, AWS's cron(...), rrule(FREQ=WEEKLY;BYDAY=MO), or at(2027-01-01T09:00:00); `timezone` the
    IANA name of the zone whose clock it follows. `name` is the handler's type by default. `payload`, `queue`,
    `priority` and `max_attempts` are those of its messages; None means what the handler or the settings say.
    A task has `args` and `kwargs` instead of a payload.

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
    payload = payload_of(payload, args, kwargs)
    text = payloads.encode(payload, None)
    columns = _columns({**fields})

    def declare(function: F) -> F:
        handler = _handler_of(function)
        typed.check(handler.type, text)
        registry.check_payload(handler.type, payloads.as_json(payload))
        place = place_of(function, sys._getframe(1))
        add(Declared(
            name=name or handler.type, schedule=expression, type=handler.type, timezone=timezone,
            payload=payloads.as_json(payload), fields=columns, place=handler.place, declared=place,
        ))  # fmt: skip
        return function

    return declare


def payload_of(payload: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Any:
    """Return the payload of a schedule's messages: as given, or that of a task with these arguments."""
    if args is None and kwargs is None:
        return payload
    if payload is not None:
        raise InvalidSchedule("Give a payload, or the args and kwargs of a task, not both.", field="payload")
    if isinstance(args, (str, bytes)) or not isinstance(kwargs or {}, Mapping):
        raise InvalidSchedule("args is a list of arguments, and kwargs a dictionary.", field="payload")
    return {"args": list(args or ()), "kwargs": dict(kwargs or {})}


def type_of(thing: Any) -> str:
    """Return the type of a task's messages, or of those of a function below @handler (InvalidSchedule)."""
    handler = registry.behind(thing)
    if handler is None:
        raise InvalidSchedule(f"{show(thing)} is no type, no handler, and no task of ours.", field="type")
    return handler.type


def _handler_of(function: Any) -> registry.Handler:
    handler = registry.behind(function)
    if handler is None:
        raise InvalidSchedule("@schedule goes above @handler: the function below is not a handler.")
    return handler


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as columns; InvalidSchedule for an unknown field."""
    unknown = sorted(set(fields) - planning.DECLARED_FIELDS)
    if unknown:
        known = ("name", "timezone", "payload", *sorted(planning.DECLARED_FIELDS))
        raise InvalidSchedule(no_option("A schedule", unknown, known), field=unknown[0])
    return planning.as_columns(fields)


def add(new: Declared) -> None:
    """Keep a schedule; InvalidSchedule if another one has its name."""
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
